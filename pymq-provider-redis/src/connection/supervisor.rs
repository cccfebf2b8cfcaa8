//! Keeps the connection for commands up.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::batched::BatchedConnection;
use super::clock::Clock;
use super::commands::State;
use super::connector::Connector;
use super::fault::Fault;
use crate::core::HealthReporter;

/// Replaces the connection each time it is lost, without end.
pub(super) async fn supervise(
    connector: Connector,
    first: Arc<BatchedConnection>,
    writer: impl Future<Output = ()>,
    state: watch::Sender<State>,
    mut health: HealthReporter,
    clock: Arc<Clock>,
    disconnect: CancellationToken,
) {
    let keep_up = async {
        let mut connection = first;
        health.up();
        serve(&connection, writer).await;
        loop {
            tracing::warn!(
                address = connector.address(),
                "connection lost, connecting again"
            );
            state.send_replace(State::Down(None));
            clock.forget();
            health.down(Fault::lost());
            let report = |fault: Fault| {
                health.down(fault.clone());
                state.send_replace(State::Down(Some(fault)));
            };
            let history = connection.inner.history();
            drop(connection);
            let next = connector.reconnect(Some(history), drop, report).await;
            tracing::info!(address = connector.address(), "connected again");
            let writer;
            (connection, writer) = BatchedConnection::new(next);
            state.send_replace(State::Up(Arc::clone(&connection)));
            health.up();
            serve(&connection, writer).await;
        }
    };
    // Kept alive until the state change is published, so that a caller whose answer is lost can
    // read the cause.
    let mut keep_up = pin!(keep_up);
    tokio::select! {
        () = disconnect.cancelled() => {}
        () = keep_up.as_mut() => {}
    }
    state.send_replace(State::Closed);
}

/// Runs the writer of a connection until the connection is lost.
async fn serve(connection: &BatchedConnection, writer: impl Future<Output = ()>) {
    tokio::select! {
        () = connection.inner.lost.cancelled() => {}
        () = writer => {}
    }
}
