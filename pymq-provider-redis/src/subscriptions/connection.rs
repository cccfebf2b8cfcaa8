//! The connection for subscriptions and watches: it is kept up, gets the planned changes, and is
//! checked by `PING`.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use super::Subscriptions;
use super::table::{Plan, Target};
use super::watch::ANSWER_LIMIT;
use crate::connection::{Command, Connection, Fault, Remedy};
use crate::core::HealthReporter;

/// How often the connection is checked.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The most targets in one command.
const MAX_TARGETS: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Subscribe,
    Unsubscribe,
}

/// Ends all subscriptions when the task that serves them ends, for any reason.
struct CloseTableOnDrop<'a>(&'a Subscriptions);

impl Drop for CloseTableOnDrop<'_> {
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Closed, "redis: subscription");
        let mut state = self.0.shared.lock();
        state.table.close(&error);
        state.watches.end_all();
        drop(state);
        self.0.set_connection(Err(Some(Fault::closed())));
    }
}

impl Subscriptions {
    /// Keeps a connection with all subscriptions until the provider is closed.
    pub(super) async fn run(self) {
        let ending = CloseTableOnDrop(&self);
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = self.keep_up() => {}
        }
        drop(ending);
    }

    async fn keep_up(&self) {
        let mut last = None;
        let mut health = self.core.health_reporter("subscriptions");
        loop {
            let subscriptions = self.clone();
            let connection = self.shared.lock().table.connection();
            let on_push = move |push| subscriptions.deliver(connection, push);
            let report = |fault: Fault| {
                health.down(fault.clone());
                self.set_connection(Err(Some(fault)));
            };
            let connection = self.core.connector.reconnect(last, on_push, report).await;
            let connection = Arc::new(connection);
            self.set_connection(Ok(Arc::clone(&connection)));
            let served = async {
                let Err(fault) = self.serve(&connection, &mut health).await;
                fault
            };
            let fault = tokio::select! {
                biased;
                fault = served => fault,
                // It may be given up while an answer of a silent server is awaited.
                () = connection.lost.cancelled() => Fault::lost(),
            };
            tracing::warn!(
                address = self.core.connector.address(),
                "the connection for subscriptions is lost, connecting again: {fault}"
            );
            // The connection delivers nothing more from here on.
            connection.end(&fault);
            self.core.connector.note(&fault);
            self.set_connection(Err(Some(fault.clone())));
            let mut state = self.shared.lock();
            state.table.disconnected();
            state.watches.end_all();
            drop(state);
            health.down(fault);
            last = Some(connection.history());
        }
    }

    /// Sends Redis what is planned, until the connection is lost.
    async fn serve(
        &self,
        connection: &Arc<Connection>,
        health: &mut HealthReporter,
    ) -> Result<Infallible, Fault> {
        loop {
            let plan = self.shared.lock().table.plan();
            if !plan.is_empty() {
                self.carry_out(&plan, connection).await?;
                continue;
            }
            // Every subscription is confirmed, or was refused and has its error.
            health.up();
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = sleep(PING_INTERVAL) => self.ping(connection).await?,
            }
        }
    }

    async fn carry_out(&self, plan: &Plan, connection: &Connection) -> Result<(), Fault> {
        for targets in plan.unsubscribe.chunks(MAX_TARGETS) {
            self.send(Verb::Unsubscribe, targets, connection).await?;
            self.shared.lock().table.unsubscribed(targets);
        }
        for targets in plan.subscribe.chunks(MAX_TARGETS) {
            self.subscribe(targets, connection).await?;
        }
        Ok(())
    }

    /// Subscribes. If Redis refuses several targets, only one may be the cause: each is tried
    /// alone.
    async fn subscribe(&self, targets: &[Target], connection: &Connection) -> Result<(), Fault> {
        match (
            self.send(Verb::Subscribe, targets, connection).await,
            targets,
        ) {
            (Ok(()), _) => self.shared.lock().table.subscribed(targets),
            (Err(fault), _) if fault.remedy != Remedy::None => return Err(fault),
            (Err(fault), [target]) => {
                let error = fault
                    .clone()
                    .into_error(&self.context(target), self.core.connector.address());
                self.shared.lock().table.refused(target, &fault, &error);
            }
            (Err(_), several) => {
                for target in several {
                    Box::pin(self.subscribe(std::slice::from_ref(target), connection)).await?;
                }
            }
        }
        Ok(())
    }

    fn context(&self, target: &Target) -> String {
        let name = target.name();
        format!(
            "redis: subscription to `{}`",
            self.core.keys.strip(name).unwrap_or(name)
        )
    }

    /// Sends one command for each kind of target and waits for all confirmations.
    async fn send(
        &self,
        verb: Verb,
        targets: &[Target],
        connection: &Connection,
    ) -> Result<(), Fault> {
        let (mut channels, mut patterns, mut shards) = (Vec::new(), Vec::new(), Vec::new());
        for target in targets {
            match target {
                Target::Channel(name) => channels.push(name.as_str()),
                Target::Pattern(name) => patterns.push(name.as_str()),
                Target::Shard(name) => shards.push(name.as_str()),
            }
        }
        let [of_channels, of_patterns, of_shards] = match verb {
            Verb::Subscribe => ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"],
            Verb::Unsubscribe => ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"],
        };
        let all = [
            (of_channels, channels),
            (of_patterns, patterns),
            (of_shards, shards),
        ];
        let sent = async {
            for (name, targets) in all {
                if targets.is_empty() {
                    continue;
                }
                let command = Command::new([name].into_iter().chain(targets.iter().copied()));
                if name == "SUNSUBSCRIBE" {
                    // Its own confirmation looks like the news that the slot has moved.
                    let command = command.answered_by(Command::new(["PING"]));
                    connection.query::<()>(command).await?;
                } else {
                    connection.query_confirmed(command, targets.len()).await?;
                }
            }
            Ok(())
        };
        self.answer(sent).await
    }

    async fn ping(&self, connection: &Arc<Connection>) -> Result<(), Fault> {
        let mut pong = pin!(self.answer(connection.query(Command::new(["PING"]))));
        let in_time = timeout(ANSWER_LIMIT, pong.as_mut()).await;
        let is_late = in_time.is_err();
        let pong = match in_time {
            Ok(pong) => pong,
            Err(_elapsed) => {
                // The watches end. Subscriptions wait for the `op_timeout`: a gap costs them more.
                let doubt = Fault::timeout().with_known_outcome();
                self.set_connection(Err(Some(doubt)));
                self.shared.lock().watches.end_all();
                pong.await
            }
        };
        match pong {
            Err(fault) if fault.remedy == Remedy::Lost => return Err(fault),
            // A refusal also proves that the connection works.
            Ok(()) | Err(_) => {}
        }
        if is_late {
            self.set_connection(Ok(Arc::clone(connection)));
        }
        Ok(())
    }

    /// Waits for an answer. No answer within the `op_timeout` means a half-open connection.
    async fn answer(&self, answer: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
        match timeout(self.core.connector.op_timeout(), answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Fault::timeout()),
        }
    }
}
