//! The options of the operations of a [`Provider`](super::Provider), and what a provider declares.
//!
//! A later version may add fields. It never changes the meaning of one.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::times::ONCE_WINDOW;
use crate::message::MessageId;

/// What a provider supports besides topics, queues and RPC channels, and which promises it makes.
///
/// The first five are features. A provider refuses a feature that it does not declare with
/// [`Unsupported`](crate::ErrorKind::Unsupported). The other five are promises. Without a promise
/// the operation still works, and the documentation of the field says what holds. The conformance
/// suite tests what a provider declares, and what holds without the rest.
///
/// # Examples
///
/// ```
/// use pymq::provider::Capabilities;
///
/// let capabilities = Capabilities::none().with_patterns().with_leases();
///
/// assert!(capabilities.patterns && !capabilities.delays);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "ten independent facts, read by name"
)]
pub struct Capabilities {
    /// Subscriptions to patterns.
    pub patterns: bool,
    /// Leases: settle, redelivery, dead letters.
    pub leases: bool,
    /// Delayed puts and nacks.
    pub delays: bool,
    /// Other processes can take part.
    pub shared: bool,
    /// Queues survive this process.
    pub durable: bool,
    /// [`publish`](super::Provider::publish) returns exactly how many subscribers it reached.
    ///
    /// Without it, the number is 0 when the message reached no subscriber, and at least 1 when it
    /// reached some. The crate `pymq-rpc-over-topics` needs a provider that counts.
    pub counted: bool,
    /// [`queue_stats`](super::Provider::queue_stats) returns the counts of this moment.
    ///
    /// Without it, the counts may be those of an earlier moment. If nothing else happens to the
    /// queue, repeated calls become exact.
    pub exact_stats: bool,
    /// A message that is given back goes to the front of its queue: by a nack without a delay, by a
    /// release, by the end of its lease. Several that are given back in one call keep their order.
    ///
    /// Without it, such a message joins its queue anywhere. It can be taken at once, its attempt is
    /// counted as with it, and no message is lost.
    pub front: bool,
    /// A stale receipt never succeeds: a settlement with the receipt of a lease that is over is
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) and changes nothing.
    ///
    /// Without it, such a settlement may succeed, also while another taker has the message. The
    /// message is then settled as requested, and no other message is changed. A message is gone
    /// only when a settlement that succeeded acked it.
    pub fenced: bool,
    /// [`queue_put`](super::Provider::queue_put) puts all messages of a call or none.
    ///
    /// Without it, a put that fails, or that is dropped, may have put the first messages of its
    /// batch. It never puts others, and never one twice. A bus refuses to put several items with a
    /// maxsize then: it would wait for space, and its next try would put the first ones again.
    pub atomic_batches: bool,
}

impl Capabilities {
    /// Nothing beyond the required.
    pub const fn none() -> Self {
        Self {
            patterns: false,
            leases: false,
            delays: false,
            shared: false,
            durable: false,
            counted: false,
            exact_stats: false,
            front: false,
            fenced: false,
            atomic_batches: false,
        }
    }

    /// Adds patterns.
    #[must_use]
    pub const fn with_patterns(mut self) -> Self {
        self.patterns = true;
        self
    }

    /// Adds leases.
    #[must_use]
    pub const fn with_leases(mut self) -> Self {
        self.leases = true;
        self
    }

    /// Adds delays.
    #[must_use]
    pub const fn with_delays(mut self) -> Self {
        self.delays = true;
        self
    }

    /// Adds sharing between processes.
    #[must_use]
    pub const fn with_shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Adds durability.
    #[must_use]
    pub const fn with_durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Adds exact counts of what a publish reached.
    #[must_use]
    pub const fn with_counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Adds exact counts of the messages in a queue.
    #[must_use]
    pub const fn with_exact_stats(mut self) -> Self {
        self.exact_stats = true;
        self
    }

    /// Adds that messages which are given back go to the front of the queue.
    #[must_use]
    pub const fn with_front(mut self) -> Self {
        self.front = true;
        self
    }

    /// Adds that stale receipts never succeed.
    #[must_use]
    pub const fn with_fenced(mut self) -> Self {
        self.fenced = true;
        self
    }

    /// Adds batches that are put as a whole or not at all.
    #[must_use]
    pub const fn with_atomic_batches(mut self) -> Self {
        self.atomic_batches = true;
        self
    }
}

/// What a subscription subscribes to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// One topic by its exact name; glob characters have no meaning.
    Topic(String),
    /// Every topic that matches a Redis glob, see [`glob`](crate::glob).
    Pattern(String),
}

impl Filter {
    /// Returns the name or the glob.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(text) | Self::Pattern(text) => text,
        }
    }
}

/// How messages are put.
///
/// With any of these options, a provider may limit the number and size of the messages, because it
/// puts all of them or none: see [`queue_put`](super::Provider::queue_put).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PutOptions {
    /// The most ready messages that the queue may hold after the put; `None` means no limit.
    ///
    /// Leased and delayed messages do not count. So a delayed put always fits, and messages that
    /// are given back or become due may exceed the limit.
    pub maxsize: Option<NonZeroUsize>,
    /// How long the messages are hidden. Zero makes them ready now.
    ///
    /// Due messages join the back of the queue in the order of their due times. Messages with the
    /// same due time keep the order in which they were put.
    pub delay: Duration,
    /// The id of this put. A second put with the same id to the same queue within the
    /// [`window`](Self::window) does nothing and returns [`Put::Known`], even if the messages have
    /// been taken since. The id of a refused put stays unknown.
    pub once: Option<MessageId>,
    /// How long the id is known after its messages are put, [`ONCE_WINDOW`] by default.
    ///
    /// It is always between [`MIN_ONCE_WINDOW`](super::MIN_ONCE_WINDOW) and
    /// [`MAX_ONCE_WINDOW`](super::MAX_ONCE_WINDOW). A put of a known id does not change it.
    pub window: Duration,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            maxsize: None,
            delay: Duration::ZERO,
            once: None,
            window: ONCE_WINDOW,
        }
    }
}

impl PutOptions {
    /// Limits the number of ready messages.
    #[must_use]
    pub fn maxsize(mut self, maxsize: Option<NonZeroUsize>) -> Self {
        self.maxsize = maxsize;
        self
    }

    /// Hides the messages for this time.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the id, so that a repeated put does nothing.
    #[must_use]
    pub fn once(mut self, id: MessageId) -> Self {
        self.once = Some(id);
        self
    }

    /// Sets how long the id is known.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }
}

/// The result of a put.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Put {
    /// The messages were put.
    New,
    /// Nothing was put, because an earlier put with the same id has put the messages.
    Known,
}

/// How messages are taken.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GetOptions {
    /// The maximum number of messages to take.
    pub max: NonZeroUsize,
    /// How long to wait for a first message.
    pub wait: Wait,
    /// The duration of the lease, at least [`MIN_LEASE`](super::MIN_LEASE). `None` removes the
    /// messages from the queue instead.
    pub lease: Option<Duration>,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            max: NonZeroUsize::MIN,
            wait: Wait::No,
            lease: None,
        }
    }
}

impl GetOptions {
    /// Takes up to this number of messages.
    #[must_use]
    pub fn max(mut self, max: NonZeroUsize) -> Self {
        self.max = max;
        self
    }

    /// Waits for a first message.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Leases the messages instead of removing them.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
}

/// How long a take waits for a first message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Wait {
    /// It does not wait.
    No,
    /// At most this time. Zero is the same as [`Wait::No`].
    For(Duration),
    /// Until there is a message or the provider is closed.
    Forever,
}

/// How a request is sent.
#[derive(Clone, Debug, Default, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// Which servers run the request.
    pub to: Target,
    /// The time that the caller has left. It is sent with the request, and a server does not start
    /// an expired request.
    pub timeout: Option<Duration>,
    /// When the time begins, if the caller has looked at the clock.
    pub(crate) start: Option<Instant>,
}

impl PartialEq for RequestOptions {
    /// Compares what is public, because `start` only saves a look at the clock.
    fn eq(&self, other: &Self) -> bool {
        (self.to, self.timeout) == (other.to, other.timeout)
    }
}

impl RequestOptions {
    /// Sets which servers run the request.
    #[must_use]
    pub fn to(mut self, to: Target) -> Self {
        self.to = to;
        self
    }

    /// Sets the time that the caller has left.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns when the time begins: when the caller looked at the clock, or else now.
    pub fn start(&self) -> Instant {
        self.start.unwrap_or_else(Instant::now)
    }
}

/// Which servers run a request.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// Exactly one server.
    #[default]
    One,
    /// All servers.
    All,
}
