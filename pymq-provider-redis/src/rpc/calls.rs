//! Calls under way: one reply inbox for all of them, drained by one task from the first call on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pymq_core::name::RESERVED_PREFIX;
use pymq_core::provider::{Replies, ReplyInlet, RequestOptions, Target, replies};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::envelope::{Response, read_response, write_request};
use super::outbox::{Caller, Outbox};
use crate::connection::{Fault, Live, Remedy, Version, pause};
use crate::core::Core;

/// How long the server may keep a connection waiting for an answer; in vain, it is asked again. A connection is found dead
/// after twice that: nothing waits at its other end any more, or it would get the next answers.
const BLOCK: Duration = Duration::from_secs(2);

/// The most answers taken at once.
const BATCH: usize = 256;

/// The calls of a provider.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
    outbox: Outbox,
}

#[derive(Debug)]
struct Shared {
    core: Core,
    /// The name of the list our answers come to.
    inbox: String,
    next_id: AtomicU64,
    pending: Mutex<HashMap<u64, ReplyInlet>>,
    is_drained: AtomicBool,
}

impl Calls {
    pub(crate) fn new(core: Core) -> Self {
        let inbox = format!("{RESERVED_PREFIX}{}", uuid::Uuid::new_v4());
        let outbox = Outbox::start(core.clone());
        let shared = Shared {
            core,
            inbox,
            next_id: AtomicU64::new(1),
            pending: Mutex::default(),
            is_drained: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            outbox,
        }
    }

    /// Counts those that somebody still waits for.
    pub(crate) fn under_way(&self) -> usize {
        self.shared.pending().len()
    }

    /// Sends a request if anyone serves the channel; if nobody does, one to a single server hears it where the reply would
    /// come. Dropping the replies forgets the call.
    pub(crate) async fn request(
        &self,
        channel: &str,
        message: &Message,
        opts: &RequestOptions,
    ) -> Result<Replies> {
        let shared = &self.shared;
        let context = || format!("redis: call `{channel}`");
        let deadline = opts
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let forget = Arc::clone(shared);
        let (inlet, replies) = replies(move |_| drop(forget.pending().remove(&id)));
        shared.pending().insert(id, inlet.clone());
        // After a close, nobody ends what was not there yet.
        shared.core.check_open(context)?;
        if !shared.is_drained.swap(true, Ordering::Relaxed) {
            shared.core.spawn(Arc::clone(shared).drain());
        }
        let request = write_request(channel, id, &shared.inbox, message)?;
        shared.core.limits.check_publish(context, request.len())?;
        let name = shared.core.keys.name(channel);
        let failed = |fault: Fault| fault.into_error(&context(), shared.core.connector.address());
        if opts.to == Target::One {
            let caller = Caller::One(inlet);
            self.outbox
                .send(name, request, caller, deadline)
                .await
                .map_err(failed)?;
            return Ok(replies.expecting(1));
        }
        let (caller, counted) = oneshot::channel();
        let caller = Caller::All(caller);
        self.outbox
            .send(name, request, caller, deadline)
            .await
            .map_err(failed)?;
        let servers = counted
            .await
            .unwrap_or_else(|_| Err(failed(Fault::closed())))?;
        Ok(replies.expecting(servers))
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, HashMap<u64, ReplyInlet>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes answers until the provider is closed.
    async fn drain(self: Arc<Self>) {
        let ending = Ending(&self);
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = self.keep_draining() => {}
        }
        drop(ending);
        if self.core.commands.is_up() {
            let del = || {
                let mut cmd = redis::cmd("DEL");
                cmd.arg(self.core.keys.name(&self.inbox));
                cmd
            };
            let deleted: Result<()> = self
                .core
                .commands
                .query(|| "redis: close".to_owned(), del)
                .await;
            if let Err(error) = deleted {
                tracing::debug!(queue = self.inbox, %error, "the reply inbox ends by its own expiry");
            }
        }
    }

    async fn keep_draining(&self) {
        let mut last = None;
        let mut link = self.core.link("replies");
        loop {
            let report = |fault| link.down(fault);
            let live = self.core.connector.dial_again(last, drop, report).await;
            link.up();
            let fault = self.take_from(&live).await;
            tracing::warn!(
                queue = self.inbox,
                "the reply inbox is interrupted: {fault}"
            );
            if fault.remedy == Remedy::Reconnect {
                live.give_up();
            } else {
                live.lost.cancel();
            }
            link.down(fault);
            last = Some(live.past());
        }
    }

    /// Takes answers from one connection for as long as it is good for that.
    async fn take_from(&self, live: &Live) -> Fault {
        let mut failures = 0;
        loop {
            match self.take(live).await {
                Ok(answers) => {
                    failures = 0;
                    for answer in answers {
                        self.deliver(&answer);
                    }
                    continue;
                }
                Err(fault) if matches!(fault.remedy, Remedy::Lost | Remedy::Reconnect) => {
                    return fault;
                }
                // It passes, and the answers keep.
                Err(fault) if fault.remedy == Remedy::Wait => {}
                // The server refuses: no call will ever be answered, and each should know why.
                Err(fault) => self.end_all(
                    &fault.into_error("redis: take answers", self.core.connector.address()),
                ),
            }
            sleep(pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Waits for answers and takes all there are; none when none came in [`BLOCK`].
    async fn take(&self, live: &Live) -> Result<Vec<Bytes>, Fault> {
        let mut connection = live.connection.clone();
        let key = self.core.keys.name(&self.inbox);
        let taken = async {
            if self.core.version >= Version(7, 0) {
                let mut pop = redis::cmd("BLMPOP");
                pop.arg(BLOCK.as_secs())
                    .arg(1)
                    .arg(&key)
                    .arg("RIGHT")
                    .arg("COUNT")
                    .arg(BATCH);
                let taken: Option<(String, Vec<Bytes>)> = pop.query_async(&mut connection).await?;
                return Ok(taken.map(|(_, answers)| answers).unwrap_or_default());
            }
            let first: Option<(String, Bytes)> = redis::cmd("BRPOP")
                .arg(&key)
                .arg(BLOCK.as_secs())
                .query_async(&mut connection)
                .await?;
            let Some((_, first)) = first else {
                return Ok(Vec::new());
            };
            let rest: Option<Vec<Bytes>> = redis::cmd("RPOP")
                .arg(&key)
                .arg(BATCH)
                .query_async(&mut connection)
                .await?;
            Ok([first]
                .into_iter()
                .chain(rest.into_iter().flatten())
                .collect())
        };
        match timeout(BLOCK * 2, taken).await {
            Ok(taken) => taken.map_err(Fault::of_command),
            Err(_elapsed) => Err(Fault::timeout()),
        }
    }

    fn deliver(&self, answer: &Bytes) {
        let Some(Response { id, reply }) = read_response(answer) else {
            tracing::warn!(
                queue = self.inbox,
                bytes = answer.len(),
                "an answer that cannot be read"
            );
            return;
        };
        let inlet = self.pending().get(&id).cloned();
        if !inlet.is_some_and(|inlet| inlet.push(reply)) {
            self.core.health.late_reply();
        }
    }

    fn end_all(&self, error: &Error) {
        for inlet in self.pending().values() {
            inlet.end(error.clone());
        }
    }
}

/// Ends all calls when the task that takes their answers ends, also when its runtime drops it.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0
            .end_all(&Error::new(ErrorKind::Closed, "redis: call"));
    }
}
