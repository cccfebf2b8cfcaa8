//! [`Node`]: one server, and the connection for commands to it, which is replaced whenever it is
//! lost.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::clock::Clock;
use super::connector::Connector;
use super::dialer::Connection;
use super::fault::Fault;
use crate::core::HealthReporter;

/// A server with one connection for every command that does not block.
#[derive(Debug)]
pub(super) struct Node {
    connector: Connector,
    state: watch::Receiver<State>,
    /// The server's clock.
    clock: Arc<Clock>,
}

/// The state of the connection. Only the supervisor writes it.
#[derive(Clone, Debug)]
enum State {
    Up(Arc<Connection>),
    /// With the failure of the last attempt to connect.
    Down(Option<Fault>),
    Closed,
}

impl Node {
    /// Starts on the first connection, if there is one. Spawn the returned supervisor: it runs
    /// until `end` resolves.
    pub(super) fn start(
        connector: Connector,
        first: Option<Connection>,
        health: HealthReporter,
        end: impl Future<Output = ()> + Send,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let first = first.map(Arc::new);
        let state = match &first {
            Some(first) => State::Up(Arc::clone(first)),
            None => State::Down(None),
        };
        let (sender, state) = watch::channel(state);
        let clock = Arc::<Clock>::default();
        let node = Self {
            connector: connector.clone(),
            state,
            clock: Arc::clone(&clock),
        };
        let supervisor = async move {
            tokio::select! {
                () = end => {}
                () = keep_up(connector, first, &sender, health, &clock) => {}
            }
            // Published first: a caller that loses its answer then finds the cause.
            if let State::Up(connection) = sender.send_replace(State::Closed) {
                connection.fail_commands();
            }
        };
        (Arc::new(node), supervisor)
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns what is known of the server's clock.
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Returns the current connection.
    pub(super) fn current(&self) -> Option<Arc<Connection>> {
        match &*self.state.borrow() {
            State::Up(connection) => Some(Arc::clone(connection)),
            State::Down(_) | State::Closed => None,
        }
    }

    /// Tells whether there will be no connection any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(&*self.state.borrow(), State::Closed)
    }

    /// Waits until there will be no connection any more.
    pub(super) async fn closed(&self) {
        let mut state = self.state.clone();
        // An error means the same.
        drop(state.wait_for(|state| matches!(state, State::Closed)).await);
    }

    /// Waits for a connection until the deadline.
    pub(super) async fn next(&self, deadline: Instant) -> Result<Arc<Connection>, Fault> {
        let mut state = self.state.clone();
        let found = timeout_at(
            deadline,
            state.wait_for(|state| match state {
                State::Up(connection) => !connection.lost.is_cancelled(),
                State::Down(_) => false,
                State::Closed => true,
            }),
        );
        match found.await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => return Ok(Arc::clone(connection)),
                State::Down(_) | State::Closed => return Err(Fault::closed()),
            },
            // The supervisor has ended: the runtime is shutting down.
            Ok(Err(_)) => return Err(Fault::closed()),
            Err(_elapsed) => {}
        }
        match &*self.state.borrow() {
            State::Down(Some(fault)) => Err(fault.clone()),
            _ => Err(Fault::no_connection()),
        }
    }

    /// Returns why there is no connection now, or `None` if there is one.
    pub(super) fn why_down(&self) -> Option<Fault> {
        match &*self.state.borrow() {
            State::Up(connection) if !connection.lost.is_cancelled() => None,
            State::Down(Some(fault)) => Some(fault.clone().with_known_outcome()),
            State::Up(_) | State::Down(None) => Some(Fault::no_connection()),
            State::Closed => Some(Fault::closed()),
        }
    }

    /// Waits until the current connection is lost, or the next one if there is none now.
    pub(super) fn loss(&self) -> impl Future<Output = ()> + Send + use<> {
        let now = self.current().map(|connection| connection.lost.clone());
        let mut state = self.state.clone();
        async move {
            let lost = match now {
                Some(lost) => lost,
                None => match state.wait_for(|state| matches!(state, State::Up(_))).await {
                    Ok(state) => match &*state {
                        State::Up(connection) => connection.lost.clone(),
                        State::Down(_) | State::Closed => return,
                    },
                    // The runtime is shutting down.
                    Err(_) => return,
                },
            };
            lost.cancelled().await;
        }
    }
}

/// Replaces the connection each time it is lost, without end.
async fn keep_up(
    connector: Connector,
    first: Option<Arc<Connection>>,
    state: &watch::Sender<State>,
    mut health: HealthReporter,
    clock: &Clock,
) {
    let mut current = first;
    let mut last = None;
    loop {
        if let Some(connection) = current.take() {
            health.up();
            connection.lost.cancelled().await;
            tracing::warn!(
                address = connector.address(),
                "connection lost, connecting again"
            );
            // Published first: a caller that loses its answer then finds the cause.
            state.send_replace(State::Down(None));
            connection.fail_commands();
            clock.forget();
            health.down(Fault::lost());
            last = Some(connection.history());
        }
        let report = |fault: Fault| {
            health.down(fault.clone());
            state.send_replace(State::Down(Some(fault)));
        };
        let next = connector.reconnect(last.take(), drop, report).await;
        tracing::info!(address = connector.address(), "connected");
        let next = Arc::new(next);
        state.send_replace(State::Up(Arc::clone(&next)));
        current = Some(next);
    }
}
