//! What a [`Queue`](super::Queue) is without the type of its items: each operation on messages,
//! once for all types.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{self, Instant};

use super::taking::Claimed;
use crate::client::{Client, ConnectedQueue, LocalQueue, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message};
use crate::provider::{Delivery, GetOptions, ONCE_WINDOW, Provider, Put, PutOptions, Wait};
use crate::retry::{Backoff, MaxAttempts};

/// The default lease time.
const LEASE_TIME: Duration = Duration::from_secs(30);

/// How many leases one take may lose in a row while it buries messages that are out of attempts.
/// More than that is not by chance.
const MAX_LOST_IN_A_ROW: u32 = 8;

/// What a handle and its clones share, so that a clone counts one reference.
#[derive(Debug)]
struct Origin {
    client: Client,
    local: Arc<LocalQueue>,
    /// Set by the first operation on a connected bus, which stays on its session.
    connected: OnceLock<Arc<ConnectedQueue>>,
}

/// A queue of one bus and the settings of one handle on it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    origin: Arc<Origin>,
    pub(super) maxsize: Option<usize>,
    pub(crate) max_attempts: MaxAttempts,
    pub(crate) lease_time: Duration,
    pub(super) once_window: Duration,
    pub(super) headers: Headers,
}

impl Handle {
    pub(super) fn new(client: &Client, name: &str) -> Self {
        Self {
            origin: Arc::new(Origin {
                client: client.clone(),
                local: client.queues().queue(name),
                connected: OnceLock::new(),
            }),
            maxsize: None,
            max_attempts: MaxAttempts::default(),
            lease_time: LEASE_TIME,
            once_window: ONCE_WINDOW,
            headers: Headers::new(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.origin.client
    }

    pub(crate) fn local(&self) -> &Arc<LocalQueue> {
        &self.origin.local
    }

    /// Returns the name if it and the limits are valid.
    pub(crate) fn name(&self) -> Result<&str> {
        self.check_limits()?;
        self.local().checked_name()
    }

    /// Returns the provider, unless the runtime of the bus has ended.
    pub(super) fn live(&self, verb: &str) -> Result<&dyn Provider> {
        Ok(&**self.session(verb)?.provider())
    }

    /// Returns the session of the bus if the limits of this handle are valid.
    pub(super) fn session(&self, verb: &str) -> Result<&Arc<Session>> {
        self.check_limits()?;
        self.client().session(|| self.context(verb))
    }

    /// Returns the context of an error: the provider, the operation and the queue.
    pub(crate) fn context(&self, verb: &str) -> String {
        format!(
            "{}: {verb} `{}`",
            self.client().provider_name(),
            self.local().name()
        )
    }

    pub(crate) fn error(&self, kind: ErrorKind, verb: &str) -> Error {
        Error::new(kind, self.context(verb))
    }

    /// Puts messages, waiting for space until the deadline. Tries again only when the queue was
    /// full: after any other error the messages may be in it.
    pub(super) async fn put(
        &self,
        messages: Vec<Message>,
        opts: PutOptions,
        deadline: Deadline,
    ) -> Result<Put> {
        let name = self.name()?;
        for message in &messages {
            self.client()
                .check_size(|| self.context("put to"), message)?;
        }
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let Some(maxsize) = self.maxsize else {
            return self.ask(name, messages, opts).await;
        };
        if messages.len() > maxsize {
            return Err(self.error(ErrorKind::Full, "put to"));
        }
        let opts = opts.maxsize(NonZeroUsize::new(maxsize));
        let mut backoff = Backoff::put();
        loop {
            // Before the try, so that space which becomes free in between is noticed.
            let mut space = pin!(self.local().space());
            space.as_mut().enable();
            let full = match self.ask(name, messages.clone(), opts.clone()).await {
                Err(error) if error.kind() == ErrorKind::Full => error,
                done => return done,
            };
            let Some(left) = deadline.left() else {
                return Err(full);
            };
            tokio::select! {
                () = space => {}
                () = self.local().closed() => {}
                () = time::sleep(backoff.next_wait().min(left)) => {}
            }
        }
    }

    /// Puts a message that becomes ready later. It needs no space: the bound is for ready messages.
    pub(super) async fn put_delayed(&self, message: Message, delay: Duration) -> Result<Put> {
        let name = self.name()?;
        self.client()
            .check_size(|| self.context("put to"), &message)?;
        let opts = PutOptions::default().delay(delay);
        self.ask(name, vec![message], opts).await
    }

    /// Calls the provider, unless this queue is closed.
    async fn ask(&self, name: &str, messages: Vec<Message>, opts: PutOptions) -> Result<Put> {
        if self.local().is_closed() {
            return Err(self.error(ErrorKind::Closed, "put to"));
        }
        let provider = self.live("put to")?;
        provider.queue_put(name, messages, opts).await
    }

    fn connected(&self, session: &Arc<Session>) -> &Arc<ConnectedQueue> {
        let connected = &self.origin.connected;
        connected.get_or_init(|| self.local().connected(session))
    }

    /// Takes messages; see [`ConnectedQueue::take`].
    pub(super) async fn take(&self, verb: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let queue = self.connected(self.session(verb)?);
        queue.take(verb, opts).await
    }

    /// Leases the message at the front. Messages that are out of attempts become dead letters.
    pub(super) async fn claim(&self, deadline: Deadline) -> Result<Option<Claimed>> {
        let session = self.session("lease from")?;
        let queue = self.connected(session);
        let mut backoff = Backoff::put();
        let mut lost = 0;
        loop {
            let opts = GetOptions::default().wait(deadline.wait());
            let claimed = queue.claim(Some(session), self.lease_time, opts).await?;
            let Some(claimed) = claimed.into_iter().next() else {
                return Ok(None);
            };
            let Some(reason) = self.max_attempts.bury_reason(claimed.attempt) else {
                return Ok(Some(claimed));
            };
            let Err(error) = claimed.claim.bury(claimed.attempt, reason).await else {
                continue;
            };
            lost += 1;
            if error.kind() != ErrorKind::LeaseLost || lost == MAX_LOST_IN_A_ROW {
                return Err(error);
            }
            // It took so long that another taker has the message.
            time::sleep(backoff.next_wait()).await;
        }
    }

    pub(super) fn unreadable<T>(&self, verb: &str, message: &Message, cause: Error) -> Error {
        let context = format!("{} as `{}`", self.context(verb), std::any::type_name::<T>());
        Error::new(ErrorKind::Codec, context)
            .with_source(cause)
            .with_payload(message.body.clone())
    }
}

/// The time until which an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// No bound.
    pub(super) const NEVER: Self = Self(None);

    /// A time from now. No bound if no clock reaches that time.
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// Returns the time that is left, or `None` if it is over.
    fn left(self) -> Option<Duration> {
        let Some(at) = self.0 else {
            return Some(Duration::MAX);
        };
        Some(at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn wait(self) -> Wait {
        match (self.0, self.left()) {
            (None, _) => Wait::Forever,
            (Some(_), Some(left)) => Wait::For(left),
            (Some(_), None) => Wait::No,
        }
    }
}
