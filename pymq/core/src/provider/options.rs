//! The words of the seam: options, settlements, parts of a queue, counts. All of them grow by fields,
//! never by meaning.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{Message, MessageId};

/// The shortest lease there is, 10 ms: one that is over before its message arrives would only send the message in
/// circles.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Returns how long a lease lasts that is asked for with `time`: at least [`MIN_LEASE`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pymq::provider::{MIN_LEASE, lease_time};
///
/// assert_eq!(lease_time(Duration::ZERO), MIN_LEASE);
/// assert_eq!(lease_time(Duration::from_secs(5)), Duration::from_secs(5));
/// ```
pub fn lease_time(time: Duration) -> Duration {
    time.max(MIN_LEASE)
}

/// How long the id of a put is known unless told otherwise, 2 minutes.
pub const ONCE_WINDOW: Duration = Duration::from_secs(2 * 60);

/// The shortest time for which an id is known, 1 second: in less, a put can hardly be repeated.
pub const MIN_ONCE_WINDOW: Duration = Duration::from_secs(1);

/// The longest time for which an id is known, 30 days: each known id takes memory of the provider.
pub const MAX_ONCE_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Returns how long an id is known that is put with the window `time`: at least [`MIN_ONCE_WINDOW`], at most
/// [`MAX_ONCE_WINDOW`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pymq::provider::{MAX_ONCE_WINDOW, MIN_ONCE_WINDOW, once_window};
///
/// assert_eq!(once_window(Duration::ZERO), MIN_ONCE_WINDOW);
/// assert_eq!(once_window(Duration::from_secs(3_600)), Duration::from_secs(3_600));
/// assert_eq!(once_window(Duration::MAX), MAX_ONCE_WINDOW);
/// ```
pub fn once_window(time: Duration) -> Duration {
    time.clamp(MIN_ONCE_WINDOW, MAX_ONCE_WINDOW)
}

/// What a provider can do besides topics, queues and RPC channels.
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
    reason = "five independent facts, read by name"
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
}

/// What a subscription listens to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// One topic by its exact name; glob characters have no meaning.
    Topic(String),
    /// Every topic that a Redis glob matches, see [`glob`](crate::glob).
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

/// How a batch is put.
///
/// With any of these a provider may limit the batch, as it puts all or nothing: see
/// [`queue_put`](super::Provider::queue_put).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PutOptions {
    /// The most ready messages the queue may hold afterwards; none is unbounded. What is leased or not due takes no place,
    /// so a delayed put always fits, and what is given back or becomes due may exceed the bound.
    pub maxsize: Option<NonZeroUsize>,
    /// How long the messages stay hidden; zero puts them in line now. Those that are due join at the back in the order in
    /// which they are due, and of the same moment in the order in which they were put.
    pub delay: Duration,
    /// Makes a put with the same id to the same queue within the [`window`](Self::window) a no-op that succeeds as
    /// [`Put::Known`], whatever became of the messages meanwhile. A put that is refused does not use up its id.
    pub once: Option<MessageId>,
    /// How long the id is known from the moment its messages are put; [`ONCE_WINDOW`] unless set, and always between
    /// [`MIN_ONCE_WINDOW`] and [`MAX_ONCE_WINDOW`]. A put of a known id does not change it.
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
    /// Bounds the queue.
    #[must_use]
    pub fn maxsize(mut self, maxsize: Option<NonZeroUsize>) -> Self {
        self.maxsize = maxsize;
        self
    }

    /// Hides the messages for a while.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Makes a repetition harmless.
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

/// What a put did.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Put {
    /// It put its messages.
    New,
    /// It put nothing: an earlier put of the same id did, within its window.
    Known,
}

/// How messages are taken.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GetOptions {
    /// The most messages to take.
    pub max: NonZeroUsize,
    /// Whether to wait while there are none.
    pub wait: Wait,
    /// Leases the messages for this long instead of removing them, at least for [`MIN_LEASE`].
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
    /// Takes up to so many.
    #[must_use]
    pub fn max(mut self, max: NonZeroUsize) -> Self {
        self.max = max;
        self
    }

    /// Waits while there are none.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Leases instead of removing.
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
    /// Not at all.
    No,
    /// At most so long. Zero is the same as [`Wait::No`], never "for ever".
    For(Duration),
    /// Until one comes or the provider is closed.
    Forever,
}

/// A message taken from a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// What was put.
    pub message: Message,
    /// How often it has been taken, this time included; starts at 1.
    pub attempt: u32,
    /// What settles it; present exactly when it is leased.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(message: Message, attempt: u32, receipt: Option<Receipt>) -> Self {
        Self {
            message,
            attempt,
            receipt,
        }
    }
}

/// The proof of holding a lease: opaque bytes made by the provider.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Receipt(Bytes);

impl Receipt {
    /// Wraps what the provider needs to find the lease again.
    pub fn new(receipt: impl Into<Bytes>) -> Self {
        Self(receipt.into())
    }

    /// Returns what the provider put in.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What becomes of a leased message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Settle {
    /// It is done: remove it.
    Ack,
    /// It failed: give it back, now to the front of the queue, or hidden for a while first and then to the back.
    Nack {
        /// How long it stays hidden.
        delay: Duration,
    },
    /// It was not started: back to the front, and this attempt is not counted.
    Release,
    /// It needs more time: the lease ends so long from now.
    Extend {
        /// From now, at least [`MIN_LEASE`].
        lease: Duration,
    },
    /// It is out of attempts or unreadable: to the dead letters.
    Bury {
        /// Why.
        reason: String,
    },
}

/// A part of a queue that can be looked at and cleared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// In line.
    Ready,
    /// Not due yet.
    Delayed,
    /// Dead letters.
    Dead,
}

/// A message as it lies in a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// What was put.
    pub message: Message,
    /// How often it has been taken so far.
    pub attempt: u32,
    /// Names a dead letter for [`Redrive::Ids`]; absent in the other parts.
    pub id: Option<MessageId>,
    /// Why a dead letter died; absent in the other parts.
    pub reason: Option<String>,
}

impl Stored {
    /// Creates a message in line or delayed.
    pub fn new(message: Message, attempt: u32) -> Self {
        Self {
            message,
            attempt,
            id: None,
            reason: None,
        }
    }

    /// Creates a dead letter.
    pub fn dead(message: Message, attempt: u32, id: MessageId, reason: impl Into<String>) -> Self {
        Self {
            message,
            attempt,
            id: Some(id),
            reason: Some(reason.into()),
        }
    }
}

/// Which dead letters go back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Redrive {
    /// All there are, the oldest first.
    All,
    /// These; ids that are not there are passed over.
    Ids(Vec<MessageId>),
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// In line.
    pub ready: usize,
    /// Not due yet.
    pub delayed: usize,
    /// Held by somebody.
    pub leased: usize,
    /// Dead letters.
    pub dead: usize,
}

impl QueueStats {
    /// Creates counts of ready, delayed, leased and dead messages.
    pub fn new(ready: usize, delayed: usize, leased: usize, dead: usize) -> Self {
        Self {
            ready,
            delayed,
            leased,
            dead,
        }
    }

    /// Counts what is not finished: ready, delayed and leased.
    pub fn unfinished(&self) -> usize {
        self.ready + self.delayed + self.leased
    }
}

/// How a request is sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// To one server or to all.
    pub to: Target,
    /// The time the caller has left; travels with the request, and a server does not start an expired one.
    pub timeout: Option<Duration>,
}

impl RequestOptions {
    /// Chooses one server or all.
    #[must_use]
    pub fn to(mut self, to: Target) -> Self {
        self.to = to;
        self
    }

    /// Sets the time the caller has left.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// Which servers run a request.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// Exactly one.
    #[default]
    One,
    /// Every one there is.
    All,
}
