//! Keeps the connection for commands up.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::commands::State;
use super::connector::Connector;
use super::dialer::Connection;
use super::fault::Fault;
use crate::core::HealthReporter;

/// Replaces the connection each time it is lost, without end.
pub(super) async fn supervise(
    connector: Connector,
    first: Arc<Connection>,
    state: watch::Sender<State>,
    mut health: HealthReporter,
    clock: Arc<Clock>,
    disconnect: CancellationToken,
) {
    let keep_up = async {
        let mut connection = first;
        health.up();
        connection.lost.cancelled().await;
        loop {
            tracing::warn!(
                address = connector.address(),
                "connection lost, connecting again"
            );
            // Published first: a caller that loses its answer then finds the cause.
            state.send_replace(State::Down(None));
            connection.fail_commands();
            clock.forget();
            health.down(Fault::lost());
            let report = |fault: Fault| {
                health.down(fault.clone());
                state.send_replace(State::Down(Some(fault)));
            };
            let history = connection.history();
            drop(connection);
            let next = connector.reconnect(Some(history), drop, report).await;
            tracing::info!(address = connector.address(), "connected again");
            connection = Arc::new(next);
            state.send_replace(State::Up(Arc::clone(&connection)));
            health.up();
            connection.lost.cancelled().await;
        }
    };
    tokio::select! {
        () = disconnect.cancelled() => {}
        () = keep_up => {}
    }
    // Published first: a caller that loses its answer then finds the cause.
    if let State::Up(connection) = state.send_replace(State::Closed) {
        connection.fail_commands();
    }
}
