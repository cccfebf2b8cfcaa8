//! The implementer's contract: what a transport must do to carry the bus.
//!
//! Users hold a `Bus`; this module is for the authors of providers. A provider moves names and
//! bytes and holds **no policy**: no retries, call deadlines, dead-letter rules, codecs or handler tasks.
//! Those live once, above the seam.
//!
//! # How to write one
//!
//! 1. Implement [`Provider`]. There are no provided methods: a decorator that forgets one must not compile.
//! 2. Make what a subscription hands out with [`subscription`], and push into the [`Inlet`]
//!    from the task that reads your transport. Pushing never waits.
//! 3. For remote calls, either implement the two RPC methods with [`requests`] and [`replies`], or answer
//!    [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) in both and wrap the
//!    provider in [`rpc_over_topics`].
//! 4. Implement [`Connect`](crate::Connect) for your configuration and [`Scheme`](crate::Scheme) for
//!    your URLs.
//! 5. Make one [`Health`], report to it what becomes of your connections, and close it when you are closed.
//! 6. Run the conformance suite against it.
//!
//! # Errors
//!
//! The context of an error starts with the provider and the operation: ``"redis: put to `jobs`"``. After
//! [`close`](Provider::close) every method answers `Closed`. What a provider does not declare in its
//! [`Capabilities`] it refuses with `Unsupported`, and nothing happens.

mod buffer;
mod contents;
mod delivery;
mod health;
mod options;
mod over_topics;
mod replies;
mod requests;
mod subscription;
mod times;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use super::over_topics::open_frames;
}

use std::fmt;

use async_trait::async_trait;

pub use self::buffer::{BufferLimits, Detached, WhenFull};
pub use self::contents::{Part, QueueStats, Redrive, Stored};
pub use self::delivery::{Delivery, Receipt, Settle};
pub use self::health::{Health, Lifecycle, LifecycleEvent, Link, Requirement, Status};
pub use self::options::{
    Capabilities, Filter, GetOptions, Put, PutOptions, RequestOptions, Target, Wait,
};
pub use self::over_topics::{RpcOverTopics, rpc_over_topics};
pub use self::replies::{Replies, ReplyInlet, replies};
pub use self::requests::{Reply, Request, RequestInlet, Requests, requests};
pub use self::subscription::{Incoming, Inlet, Subscription, subscription};
pub use self::times::{
    MAX_ONCE_WINDOW, MIN_LEASE, MIN_ONCE_WINDOW, ONCE_WINDOW, lease_time, once_window,
};
pub use crate::time::MAX_DURATION;

use crate::error::Result;
use crate::message::Message;

/// A transport that carries topics, queues and RPC channels.
///
/// Names are checked above the seam; a provider takes them as they are, the reserved `__rpc_` ones included.
/// Every method may be called concurrently from many tasks.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Returns the word that stands for this provider in errors and spans, such as `"redis"`.
    fn name(&self) -> &'static str;

    /// Returns what this provider can do. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// Returns what this provider reports about itself: the same all the time it lives.
    fn health(&self) -> &Health;

    /// Sends a message to everyone subscribed to the topic now, and returns how many it reached: each
    /// provider handle counts once for its subscriptions to the topic and once for each pattern of its that matches.
    ///
    /// # Delivery
    ///
    /// At most once, in order for each publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the message may or may not have been sent.
    async fn publish(&self, topic: &str, message: Message) -> Result<usize>;

    /// Subscribes to a topic or a pattern; resolves once it is live, so that a publish by anyone after that
    /// is received.
    ///
    /// The subscription outlives outages: a provider reconnects by itself and marks what may be missing with
    /// [`Inlet::gap`]. Requests of [`rpc_request`](Self::rpc_request) are never seen here.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays subscribed.
    async fn subscribe(&self, filter: Filter) -> Result<Subscription>;

    /// Appends messages to the back of a queue, in order, all or none.
    ///
    /// Never waits for space: with [`PutOptions::maxsize`], a queue whose ready messages and these would exceed it
    /// answers [`Full`](crate::ErrorKind::Full). The check and the put are one atomic step.
    ///
    /// A provider may limit what is put at once. Beyond its limit it puts nothing and answers
    /// [`TooLarge`](crate::ErrorKind::TooLarge). The Redis provider takes 1,000,000 messages of 256 MiB together, and
    /// with any [`PutOptions`] 10,000 messages of 64 MiB together; a larger message may be put alone.
    ///
    /// # Delivery
    ///
    /// Once [`Put::New`] is returned the messages are in the queue, put by this call, also where the provider had to send
    /// it twice. [`Put::Known`] says for all of them that an earlier put of the id had put them, and that this one changed
    /// nothing. Without an id, or without messages, the answer is `New`; without messages no id is used up. After an error
    /// with [`outcome_unknown`](crate::Error::outcome_unknown) the messages may be in the queue.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the messages may or may not have been put: all or none of them.
    async fn queue_put(&self, queue: &str, messages: Vec<Message>, opts: PutOptions)
    -> Result<Put>;

    /// Takes up to [`max`](GetOptions::max) messages from the front of a queue, waiting as told while there are none.
    ///
    /// Returns as soon as there is at least one message; an empty answer means that nothing came in time, and that
    /// a look at the end of the wait found nothing. Where the queue cannot be looked at, the answer is an error. Without a
    /// lease the messages are gone from the queue; with one they are hidden until settled or until it ends, and
    /// each carries a [`Receipt`]. A lease starts when the message is taken. Waiting survives outages.
    ///
    /// # Delivery
    ///
    /// Each message goes to one taker. With a lease: at least once. Taken again, its attempt is one higher.
    /// A single consumer gets the messages in order, also if it drops some of its takes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropped early, no message is lost, and none has its attempt counted: what was taken for
    /// the caller goes back to the front.
    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>>;

    /// Settles leased messages, one after the other; answers one result for each, in order.
    ///
    /// What one call gives back to the front keeps the order of the call: the first of it is the next to be taken.
    /// So a prefetched batch that is released stays first in, first out.
    ///
    /// A receipt whose lease is over (settled, expired, taken by another) is
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) and changes nothing. So is a receipt that is malformed.
    ///
    /// A provider may settle many in several steps. When a later step fails, the results before it stand, and each
    /// settlement that was not made has the error of that step.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some or all may have been settled.
    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>>;

    /// Looks at up to `max` messages of a part of the queue, the next to leave first, and takes nothing.
    ///
    /// Messages that are due and those whose lease has ended are seen in line, as
    /// [`queue_stats`](Self::queue_stats) counts them.
    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>>;

    /// Moves dead letters to the back of the queue as new messages with no attempt counted, and returns how many.
    /// Ids are taken in the order given.
    ///
    /// Moves the letters that are there when it begins, in one step or in several. A message that dies again meanwhile
    /// is neither moved again nor counted.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some or all may have been moved.
    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize>;

    /// Removes everything in a part of the queue and returns how much that was. Leased messages stay leased; what is due
    /// and what has its lease ended is in line, as [`queue_stats`](Self::queue_stats) counts it.
    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize>;

    /// Counts the messages in each part of the queue. Messages that are due and leases that have ended are
    /// counted as ready. A provider may count more than 1,000 leases in several steps; what moves meanwhile may be
    /// counted twice or not at all.
    async fn queue_stats(&self, queue: &str) -> Result<QueueStats>;

    /// Starts to serve an RPC channel; resolves once requests by anyone reach it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays served.
    async fn rpc_listen(&self, channel: &str) -> Result<Requests>;

    /// Sends a request, whose body is the JSON array of positional arguments, to one or all servers of a channel.
    ///
    /// With nobody listening it is [`NoSuchRemote`](crate::ErrorKind::NoSuchRemote) at once, and nothing is sent. What goes
    /// to [`Target::One`] need not be sent when this resolves: that error, and any other by which it is not sent, may
    /// come where the reply would.
    ///
    /// # Delivery
    ///
    /// At most once for each server. [`Target::One`] runs on exactly one server that speaks this protocol.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the request may or may not have been sent; answers are forgotten.
    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies>;

    /// Closes this handle: wakes every waiter and ends every subscription with `Closed`, sends the replies already
    /// given, and frees what it holds. Idempotent; other handles on the same backend go on.
    ///
    /// When the runtime of a bus ends, this future is polled once, after the [`health`](Self::health) was closed: what
    /// callers wait for should end by then.
    async fn close(&self) -> Result<()>;
}
