//! The connection of the subscriptions: kept up without end, told what is planned, asked now and then whether it still
//! lives.

use std::convert::Infallible;
use std::time::Duration;

use pymq_core::{Error, ErrorKind};
use redis::RedisResult;
use tokio::time::{sleep, timeout};

use super::Subscriptions;
use super::table::{Plan, Target};
use crate::connection::{Fault, Live, Remedy};
use crate::core::LinkTo;

/// So long after the last change the connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The most targets named in one command.
const BATCH: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Join,
    Leave,
}

/// Ends all subscriptions when the task that serves them ends, also when its runtime drops it.
struct Ending<'a>(&'a Subscriptions);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Closed, "redis: subscription");
        self.0.shared.lock().table.close(&error);
    }
}

impl Subscriptions {
    /// Keeps a connection with all subscriptions until the provider is closed.
    pub(super) async fn run(self) {
        let ending = Ending(&self);
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = self.keep_up() => {}
        }
        drop(ending);
    }

    async fn keep_up(&self) {
        let mut last = None;
        let mut link = self.core.link("subscriptions");
        loop {
            let subscriptions = self.clone();
            let connection = self.shared.lock().table.connection();
            let on_push = move |push| subscriptions.deliver(connection, push);
            let report = |fault: Fault| {
                link.down(fault.clone());
                self.shared.lock().down = Some(fault);
            };
            let live = self.core.connector.dial_again(last, on_push, report).await;
            self.shared.lock().down = None;
            let Err(fault) = self.serve(&live, &mut link).await;
            tracing::warn!(
                address = self.core.connector.address(),
                "subscriptions interrupted: {fault}"
            );
            // Whoever ended it: from here on there is nothing to expect from it.
            if fault.remedy == Remedy::Lost {
                live.lost.cancel();
            } else {
                live.give_up();
            }
            self.shared.lock().table.lost();
            link.down(fault);
            last = Some(live.past());
        }
    }

    /// Tells Redis what is planned, until the connection is lost.
    async fn serve(&self, live: &Live, link: &mut LinkTo) -> Result<Infallible, Fault> {
        loop {
            let plan = self.shared.lock().table.plan();
            if !plan.is_empty() {
                self.carry_out(&plan, live).await?;
                continue;
            }
            // Everything that is wanted is confirmed, or refused and told so.
            link.up();
            tokio::select! {
                biased;
                () = live.lost.cancelled() => return Err(Fault::lost()),
                () = self.shared.changed.notified() => {}
                () = sleep(PING_EVERY) => self.ping(live).await?,
            }
        }
    }

    async fn carry_out(&self, plan: &Plan, live: &Live) -> Result<(), Fault> {
        for targets in plan.leave.chunks(BATCH) {
            self.tell(Verb::Leave, targets, live).await?;
            self.shared.lock().table.left(targets);
        }
        for targets in plan.join.chunks(BATCH) {
            self.join(targets, live).await?;
        }
        Ok(())
    }

    /// Subscribes. What Redis refuses of several may be one of them only, so then each is tried by itself.
    async fn join(&self, targets: &[Target], live: &Live) -> Result<(), Fault> {
        match (self.tell(Verb::Join, targets, live).await, targets) {
            (Ok(()), _) => self.shared.lock().table.joined(targets),
            (Err(fault), _) if fault.remedy != Remedy::None => return Err(fault),
            (Err(fault), [target]) => {
                let error = fault
                    .clone()
                    .into_error(&self.context(target), self.core.connector.address());
                self.shared.lock().table.refused(target, &fault, &error);
            }
            (Err(_), several) => {
                for target in several {
                    Box::pin(self.join(std::slice::from_ref(target), live)).await?;
                }
            }
        }
        Ok(())
    }

    fn context(&self, target: &Target) -> String {
        let (Target::Channel(name) | Target::Pattern(name)) = target;
        format!(
            "redis: subscription to `{}`",
            self.core.keys.strip(name).unwrap_or(name)
        )
    }

    /// Sends one command for each kind of target and waits for all confirmations.
    async fn tell(&self, verb: Verb, targets: &[Target], live: &Live) -> Result<(), Fault> {
        let (mut channels, mut patterns) = (Vec::new(), Vec::new());
        for target in targets {
            match target {
                Target::Channel(name) => channels.push(name.as_str()),
                Target::Pattern(name) => patterns.push(name.as_str()),
            }
        }
        let mut connection = live.connection.clone();
        let told = async {
            if !channels.is_empty() {
                match verb {
                    Verb::Join => connection.subscribe(channels).await?,
                    Verb::Leave => connection.unsubscribe(channels).await?,
                }
            }
            if !patterns.is_empty() {
                match verb {
                    Verb::Join => connection.psubscribe(patterns).await?,
                    Verb::Leave => connection.punsubscribe(patterns).await?,
                }
            }
            Ok(())
        };
        self.answer(told).await
    }

    async fn ping(&self, live: &Live) -> Result<(), Fault> {
        let mut connection = live.connection.clone();
        let asked = async { redis::cmd("PING").query_async(&mut connection).await };
        match self.answer(asked).await {
            Err(fault) if fault.remedy == Remedy::Lost => Err(fault),
            // A refusal is an answer too.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Waits for an answer as long as for any command; none in time means that the connection is half open.
    async fn answer(&self, asked: impl Future<Output = RedisResult<()>>) -> Result<(), Fault> {
        match timeout(self.core.connector.op_timeout(), asked).await {
            Ok(answer) => answer.map_err(Fault::of_command),
            Err(_elapsed) => Err(Fault::timeout()),
        }
    }
}
