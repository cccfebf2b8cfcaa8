//! Keeps the one connection for commands up.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::commands::State;
use super::connector::Connector;
use super::fault::Fault;
use super::line::Line;
use crate::core::LinkTo;

/// Replaces the connection each time it is lost, without end.
pub(super) async fn supervise(
    connector: Connector,
    first: Arc<Line>,
    writer: impl Future<Output = ()>,
    state: watch::Sender<State>,
    mut told: LinkTo,
    clock: Arc<Clock>,
    hangup: CancellationToken,
) {
    let keep_up = async {
        let mut line = first;
        told.up();
        serve(&line, writer).await;
        loop {
            tracing::warn!(address = connector.address(), "connection lost");
            state.send_replace(State::Down(None));
            clock.forget();
            told.down(Fault::lost());
            let report = |fault: Fault| {
                told.down(fault.clone());
                state.send_replace(State::Down(Some(fault)));
            };
            let past = line.live.past();
            drop(line);
            let next = connector.dial_again(Some(past), drop, report).await;
            tracing::info!(address = connector.address(), "connected again");
            let writer;
            (line, writer) = Line::new(next);
            state.send_replace(State::Up(Arc::clone(&line)));
            told.up();
            serve(&line, writer).await;
        }
    };
    // Outlives the news, so that whoever loses an answer by its end finds out why.
    let mut keep_up = pin!(keep_up);
    tokio::select! {
        () = hangup.cancelled() => {}
        () = keep_up.as_mut() => {}
    }
    state.send_replace(State::Closed);
}

/// Runs the writer of a connection until that is lost.
async fn serve(line: &Line, writer: impl Future<Output = ()>) {
    tokio::select! {
        () = line.live.lost.cancelled() => {}
        () = writer => {}
    }
}
