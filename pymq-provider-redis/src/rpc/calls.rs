//! Calls in flight. One task takes the answers to all of them from one inbox, from the first call
//! on.

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
use super::request_sender::{Caller, RequestSender};
use crate::connection::{Command, Connection, Fault, Remedy, Version, pause};
use crate::core::Core;

/// How long the server blocks while it waits for an answer. A connection counts as dead after twice
/// this time. By then the server has ended the command, so it cannot take later answers.
const BLOCK_LIMIT: Duration = Duration::from_secs(2);

/// A call with a longer timeout has no deadline. Lua could not compute its times exactly, because
/// its numbers are exact up to 2^53.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(1 << 52);

/// The most answers taken at once.
const MAX_ANSWERS: usize = 256;

/// The calls of a provider.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
    sender: RequestSender,
}

#[derive(Debug)]
struct Shared {
    core: Core,
    /// The name of the list for our answers.
    inbox: String,
    next_id: AtomicU64,
    pending: Mutex<HashMap<u64, ReplyInlet>>,
    is_drained: AtomicBool,
}

impl Calls {
    pub(crate) fn new(core: Core) -> Self {
        let inbox = format!("{RESERVED_PREFIX}{}", uuid::Uuid::new_v4());
        let sender = RequestSender::start(core.clone());
        let shared = Shared {
            core,
            inbox,
            next_id: AtomicU64::new(1),
            pending: Mutex::default(),
            is_drained: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            sender,
        }
    }

    /// Counts the calls that a caller still waits for.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.pending().len()
    }

    /// Sends a request if the channel has a server. If there is none, a request to one server ends
    /// with an error in the replies. Dropping the replies forgets the call.
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
            .filter(|timeout| *timeout <= LONGEST_TIMEOUT)
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let forget = Arc::clone(shared);
        let (inlet, replies) = replies(move |_| drop(forget.pending().remove(&id)));
        shared.pending().insert(id, inlet.clone());
        // A `close` ends the calls that it finds. This call may be later.
        shared.core.check_open(context)?;
        if !shared.is_drained.swap(true, Ordering::Relaxed) {
            shared.core.spawn(Arc::clone(shared).drain());
        }
        let request = write_request(channel, id, &shared.inbox, message, deadline.is_some())?;
        shared.core.limits.check_publish(context, request.len())?;
        let name = shared.core.keys.name(channel);
        let failed = |fault: Fault| fault.into_error(&context(), shared.core.connector.address());
        if opts.to == Target::One {
            let caller = Caller::One(inlet);
            self.sender
                .send(name, request, caller, deadline)
                .await
                .map_err(failed)?;
            return Ok(replies.expecting(1));
        }
        let (caller, counted) = oneshot::channel();
        let caller = Caller::All(caller);
        self.sender
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
        let ending = EndCallsOnDrop(&self);
        tokio::select! {
            () = self.core.close.cancelled() => {}
            () = self.keep_draining() => {}
        }
        drop(ending);
        if self.core.commands.is_up() {
            let del = || Command::new(["DEL", &self.core.keys.name(&self.inbox)]);
            let deleted: Result<()> = self
                .core
                .commands
                .query(|| "redis: close".to_owned(), del)
                .await;
            if let Err(error) = deleted {
                tracing::debug!(queue = self.inbox, %error, "cannot delete the inbox, it expires");
            }
        }
    }

    async fn keep_draining(&self) {
        let mut last = None;
        let mut health = self.core.health_reporter("replies");
        loop {
            let report = |fault| health.down(fault);
            let connection = self.core.connector.reconnect(last, drop, report).await;
            health.up();
            let fault = self.take_from(&connection).await;
            tracing::warn!(
                queue = self.inbox,
                "the connection for replies is lost, connecting again: {fault}"
            );
            if fault.remedy == Remedy::Reconnect {
                connection.abandon();
            } else {
                connection.lost.cancel();
            }
            health.down(fault);
            last = Some(connection.history());
        }
    }

    /// Takes answers from one connection as long as it is usable.
    async fn take_from(&self, connection: &Connection) -> Fault {
        let mut failures = 0;
        loop {
            match self.take(connection).await {
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
                // It is transient, and the answers stay in the list.
                Err(fault) if fault.remedy == Remedy::Wait => {}
                // The server refuses: no call gets an answer, and each caller gets the cause.
                Err(fault) => self.end_all(
                    &fault.into_error("redis: take answers", self.core.connector.address()),
                ),
            }
            sleep(pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Waits for answers and takes all there are, or none if none came within [`BLOCK_LIMIT`].
    async fn take(&self, connection: &Connection) -> Result<Vec<Bytes>, Fault> {
        let key = self.core.keys.name(&self.inbox);
        let limit = BLOCK_LIMIT.as_secs().to_string();
        let count = MAX_ANSWERS.to_string();
        let taken = async {
            if self.core.version >= Version(7, 0) {
                let pop = ["BLMPOP", &limit, "1", &key, "RIGHT", "COUNT", &count];
                let taken: Option<(Bytes, Vec<Bytes>)> =
                    connection.query(Command::new(pop)).await?;
                return Ok(taken.map(|(_, answers)| answers).unwrap_or_default());
            }
            let pop = Command::new(["BRPOP", &key, &limit]);
            let first: Option<(Bytes, Bytes)> = connection.query(pop).await?;
            let Some((_, first)) = first else {
                return Ok(Vec::new());
            };
            let pop = Command::new(["RPOP", &key, &count]);
            let rest: Option<Vec<Bytes>> = connection.query(pop).await?;
            Ok([first]
                .into_iter()
                .chain(rest.into_iter().flatten())
                .collect())
        };
        match timeout(BLOCK_LIMIT * 2, taken).await {
            Ok(taken) => taken,
            Err(_elapsed) => Err(Fault::timeout()),
        }
    }

    fn deliver(&self, answer: &Bytes) {
        let Some(Response { id, reply }) = read_response(answer) else {
            tracing::warn!(
                queue = self.inbox,
                bytes = answer.len(),
                "cannot read an answer, dropping it"
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

/// Ends all calls when the task that takes their answers ends, for any reason.
struct EndCallsOnDrop<'a>(&'a Shared);

impl Drop for EndCallsOnDrop<'_> {
    fn drop(&mut self) {
        self.0
            .end_all(&Error::new(ErrorKind::Closed, "redis: call"));
    }
}
