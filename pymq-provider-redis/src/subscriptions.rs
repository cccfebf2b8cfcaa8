//! Subscriptions: one connection, one wire subscription for each topic or pattern however many listen here, and one
//! task that tells Redis what the [`Table`] plans. Messages go straight from the task that reads the connection into
//! the bounded buffers of those who listen; nothing waits, and nothing is queued in between.

mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pymq::provider::Detached;
use pymq::{Error, ErrorKind, Result};
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use self::table::{Plan, Table, TargetRef};
pub(crate) use self::table::{Sink, Target};
use crate::connection::{Fault, Live, Remedy};
use crate::core::Core;
use crate::rpc;
use crate::wire;

/// So long after the last change the connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The most targets named in one command.
const BATCH: usize = 512;

/// The subscriptions of a provider. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Subscriptions {
    core: Core,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A std mutex: the critical sections are a few moves and never an await.
    state: Mutex<State>,
    /// There is something to plan.
    changed: Notify,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// The task runs, and with it the connection: from the first subscription on.
    is_started: bool,
    /// Why there is no connection.
    down: Option<Fault>,
}

impl Subscriptions {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            shared: Arc::default(),
        }
    }

    /// Makes what a local subscription to the target is known by, before it is attached.
    pub(crate) fn ticket(&self, target: Target) -> Ticket {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        Ticket {
            subscriptions: self.clone(),
            target,
            id,
        }
    }

    /// Adds a local subscription and waits until Redis has confirmed it.
    pub(crate) async fn attach(
        &self,
        context: impl Fn() -> String + Send,
        ticket: &Ticket,
        sink: Sink,
    ) -> Result<()> {
        let error = |fault: Fault| fault.into_error(&context(), self.core.connector.address());
        let confirmed = {
            let mut state = self.shared.lock();
            let confirmed = state
                .table
                .attach(&ticket.target, ticket.id, sink)
                .map_err(error)?;
            if !std::mem::replace(&mut state.is_started, true) {
                self.core.tasks.spawn(self.clone().run());
            }
            confirmed
        };
        let Some(confirmed) = confirmed else {
            return Ok(());
        };
        self.shared.changed.notify_one();
        match timeout(self.core.connector.op_timeout(), confirmed).await {
            Ok(Ok(outcome)) => outcome.map_err(error),
            // The task is gone without a word: the runtime is shutting down.
            Ok(Err(_)) => Err(error(Fault::closed())),
            Err(_elapsed) => {
                let down = self.shared.lock().down.clone();
                Err(error(down.unwrap_or_else(|| {
                    Fault::new(ErrorKind::Timeout, "no confirmation in time")
                })))
            }
        }
    }

    /// Keeps a connection with all subscriptions until the provider is closed.
    async fn run(self) {
        let keep_up = async {
            let mut last = None;
            loop {
                let subscriptions = self.clone();
                let on_push = move |push| subscriptions.deliver(push);
                let report = |fault| self.shared.lock().down = Some(fault);
                let live = self
                    .core
                    .connector
                    .dial_again(last.as_ref(), on_push, report)
                    .await;
                self.shared.lock().down = None;
                self.serve(&live).await;
                // Whoever ended it: from here on there is nothing to expect from it.
                live.lost.cancel();
                self.shared.lock().table.lost();
                last = Some(live);
            }
        };
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = keep_up => {}
        }
        self.shared
            .lock()
            .table
            .close(&Error::new(ErrorKind::Closed, "redis: subscription"));
    }

    /// Tells Redis what is planned, until the connection is lost.
    async fn serve(&self, live: &Live) {
        loop {
            let plan = self.shared.lock().table.plan();
            if !plan.join.is_empty() || !plan.leave.is_empty() {
                let Ok(()) = self.carry_out(plan, live).await else {
                    return;
                };
                continue;
            }
            tokio::select! {
                biased;
                () = live.lost.cancelled() => return,
                () = self.shared.changed.notified() => {}
                () = sleep(PING_EVERY) => {
                    let mut connection = live.connection.clone();
                    let pong = async { redis::cmd("PING").query_async::<()>(&mut connection).await };
                    // A refusal is an answer too.
                    let Ok(()) = self.answer(pong).await.or_else(unless_broken) else { return };
                }
            }
        }
    }

    async fn carry_out(&self, plan: Plan, live: &Live) -> Result<(), Fault> {
        for targets in plan.leave.chunks(BATCH) {
            self.tell(Verb::Leave, targets, live).await?;
            let mut state = self.shared.lock();
            targets
                .iter()
                .for_each(|target| state.table.left(target.clone()));
        }
        for targets in plan.join.chunks(BATCH) {
            match self
                .tell(Verb::Join, targets, live)
                .await
                .or_else(unless_refused)
            {
                Ok(None) => {
                    let mut state = self.shared.lock();
                    targets
                        .iter()
                        .for_each(|target| state.table.joined(target.clone()));
                }
                // One of them spoils it for all: each by itself, then.
                Ok(Some(_)) if targets.len() > 1 => self.join_each(targets, live).await?,
                Ok(Some(fault)) => self.refuse(&targets[0], &fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn join_each(&self, targets: &[Target], live: &Live) -> Result<(), Fault> {
        for target in targets {
            match self
                .tell(Verb::Join, std::slice::from_ref(target), live)
                .await
                .or_else(unless_refused)?
            {
                None => self.shared.lock().table.joined(target.clone()),
                Some(fault) => self.refuse(target, &fault),
            }
        }
        Ok(())
    }

    fn refuse(&self, target: &Target, fault: &Fault) {
        let error = fault
            .clone()
            .into_error("redis: subscription", self.core.connector.address());
        self.shared.lock().table.refused(target, fault, &error);
    }

    /// Sends one command for each kind of target and waits for all confirmations.
    async fn tell(
        &self,
        verb: Verb,
        targets: &[Target],
        live: &Live,
    ) -> Result<Option<Fault>, Fault> {
        let (mut channels, mut patterns) = (Vec::new(), Vec::new());
        for target in targets {
            match target {
                Target::Channel(name) => channels.push(name.as_str()),
                Target::Pattern(name) => patterns.push(name.as_str()),
            }
        }
        let mut connection = live.connection.clone();
        if !channels.is_empty() {
            self.answer(async {
                match verb {
                    Verb::Join => connection.subscribe(channels).await,
                    Verb::Leave => connection.unsubscribe(channels).await,
                }
            })
            .await?;
        }
        if !patterns.is_empty() {
            self.answer(async {
                match verb {
                    Verb::Join => connection.psubscribe(patterns).await,
                    Verb::Leave => connection.punsubscribe(patterns).await,
                }
            })
            .await?;
        }
        Ok(None)
    }

    /// Waits for an answer as long as for any command; none in time means that the connection is half open.
    async fn answer(&self, asked: impl Future<Output = RedisResult<()>>) -> Result<(), Fault> {
        match timeout(self.core.connector.op_timeout(), asked).await {
            Ok(answer) => answer.map_err(Fault::of_command),
            Err(_elapsed) => Err(Fault::timeout()),
        }
    }

    /// Takes a push message to those who listen. Runs in the task that reads the connection.
    fn deliver(&self, push: PushInfo) {
        let is_pattern = match push.kind {
            PushKind::Message => false,
            PushKind::PMessage => true,
            _ => return,
        };
        let mut parts = push.data.into_iter().filter_map(|part| match part {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        let pattern = if is_pattern { parts.next() } else { None };
        let (Some(channel), Some(payload)) = (parts.next(), parts.next()) else {
            return;
        };
        // A name that is not UTF-8 is none of ours.
        let Ok(channel) = std::str::from_utf8(&channel) else {
            return;
        };
        let Some(topic) = self.core.keys.strip(channel) else {
            return;
        };
        if rpc::is_request(&payload) {
            let server = if is_pattern {
                None
            } else {
                self.shared.lock().table.server(channel)
            };
            if let Some(server) = server {
                server.receive(&payload);
            }
            return;
        }
        let message = wire::decode(payload);
        let topic: Arc<str> = topic.into();
        let target = match pattern.as_deref().map(std::str::from_utf8) {
            None => TargetRef::Channel(channel),
            Some(Ok(pattern)) => TargetRef::Pattern(pattern),
            Some(Err(_)) => return,
        };
        self.shared.lock().table.deliver(target, &topic, &message);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a local subscription is known by.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    subscriptions: Subscriptions,
    target: Target,
    id: u64,
}

impl Ticket {
    /// Returns what takes the subscription back; does nothing for one that never was.
    pub(crate) fn give_back(&self) -> impl FnOnce(Detached) + Send + Sync + use<> {
        let Self {
            subscriptions,
            target,
            id,
        } = self.clone();
        move |detached| {
            subscriptions
                .shared
                .lock()
                .table
                .detach(&target, id, detached);
            subscriptions.shared.changed.notify_one();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Join,
    Leave,
}

/// Keeps only what breaks the connection: silence, or its end.
fn unless_broken(fault: Fault) -> Result<(), Fault> {
    if fault.remedy == Remedy::Lost {
        Err(fault)
    } else {
        Ok(())
    }
}

/// Turns the refusal of a subscription into a value; what passes with time is tried again on a new connection.
fn unless_refused(fault: Fault) -> Result<Option<Fault>, Fault> {
    if fault.remedy == Remedy::None {
        Ok(Some(fault))
    } else {
        Err(fault)
    }
}
