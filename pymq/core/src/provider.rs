//! The contract for providers: what a transport must do to carry the bus.
//!
//! Applications use a `Bus`. This module is for the authors of providers. A provider moves names
//! and bytes and holds **no policy**: no retries, call deadlines, dead-letter rules, codecs or
//! handler tasks. Those exist once, above the seam.
//!
//! # How to write a provider
//!
//! 1. Implement [`Provider`]. It has no provided methods, so that a decorator that forgets one does
//!    not compile.
//! 2. Create each subscription with [`subscription`]. Push messages into its [`Inlet`] from the
//!    task that reads your transport. A push never waits.
//! 3. For remote calls, implement the two RPC methods with [`requests`] and [`replies`]. Or return
//!    [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from both, and wrap the provider
//!    with the crate `pymq-rpc-over-topics`.
//! 4. Implement [`Connect`](crate::Connect) for your configuration, and [`Scheme`](crate::Scheme)
//!    for your URLs.
//! 5. Create one [`Health`]. Report the state of your connections to it, and close it in
//!    [`close`](Provider::close).
//! 6. Run the conformance suite on the provider: the crate `pymq-conformance`, as a dev-dependency.
//!
//! # Errors
//!
//! The context of an error starts with the provider and the operation: ``"redis: put to `jobs`"``.
//! After [`close`](Provider::close) every method fails with `Closed`. An operation or option that
//! needs a capability which the provider does not declare in its [`Capabilities`] fails with
//! `Unsupported` and has no effect.

mod buffer;
mod contents;
mod delivery;
mod health;
mod options;
mod replies;
mod requests;
mod runner;
mod subscription;
mod times;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::buffer::{BufferLimits, Detached, WhenFull};
pub use self::contents::{Part, QueueStats, Redrive, Stored};
pub use self::delivery::{Delivery, Receipt, Settle};
pub use self::health::{Health, Lifecycle, LifecycleEvent, Link, Requirement, Status};
pub use self::options::{
    Capabilities, Filter, GetOptions, Put, PutOptions, RequestOptions, Target, Wait,
};
pub use self::replies::{Replies, ReplyInlet, replies};
pub(crate) use self::requests::Respond;
pub use self::requests::{Reply, Request, RequestInlet, Requests, requests};
pub(crate) use self::runner::Runner;
pub use self::subscription::{Incoming, Inlet, Subscription, subscription};
pub use self::times::{
    MAX_ONCE_WINDOW, MIN_LEASE, MIN_ONCE_WINDOW, ONCE_WINDOW, lease_time, once_window,
};
pub use crate::time::MAX_DURATION;

use crate::error::Result;
use crate::message::Message;

/// A transport that carries topics, queues and RPC channels.
///
/// Names are checked above the seam. A provider accepts every name, including those with the
/// reserved prefix `__rpc_`. Many tasks may call every method at the same time.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of this provider in errors and spans, such as `"redis"`.
    fn name(&self) -> &'static str;

    /// Returns what this provider can do. The answer never changes.
    fn capabilities(&self) -> Capabilities;

    /// Returns the health of this provider. It is always the same one.
    fn health(&self) -> &Health;

    /// Sends a message to all current subscribers of the topic, and returns how many it reached.
    ///
    /// Each provider handle counts once for all its subscriptions to the topic, and once for each
    /// of its patterns that matches. The number is exact where [`counted`](Capabilities::counted)
    /// is declared.
    ///
    /// # Delivery
    ///
    /// At most once, in order for each publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the message may or may not be sent.
    async fn publish(&self, topic: &str, message: Message) -> Result<usize>;

    /// Does what [`publish`](Self::publish) does, at once. A provider that would have to wait returns
    /// the message, and `publish` is called with it.
    ///
    /// This is the only method that a provider need not have. It saves the allocation of a future.
    ///
    /// # Delivery
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// The message, if it was not published. The inner result is that of `publish`.
    fn try_publish(&self, topic: &str, message: Message) -> Result<Result<usize>, Message> {
        let _ = topic;
        Err(message)
    }

    /// Sends messages to topics in their order, and returns for each how many subscribers it
    /// reached, as [`publish`](Self::publish) does.
    ///
    /// A provider with a network sends them in few round trips. The result of each message stands at
    /// its place. If one is refused, the others are sent.
    ///
    /// # Delivery
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the messages up to any one of them may have been sent.
    async fn publish_all(&self, messages: Vec<(Arc<str>, Message)>) -> Vec<Result<usize>>;

    /// Subscribes to a topic or a pattern. The subscription receives every message that is
    /// published after this future resolves.
    ///
    /// The subscription outlives outages: the provider reconnects by itself, and marks with
    /// [`Inlet::gap`] where messages may be missing. A subscription never receives requests of
    /// [`rpc_request`](Self::rpc_request).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays subscribed.
    async fn subscribe(&self, filter: Filter) -> Result<Subscription>;

    /// Appends messages to the back of a queue, in order: all or none where
    /// [`atomic_batches`](Capabilities::atomic_batches) is declared.
    ///
    /// It never waits for space. If the ready messages and these together would exceed
    /// [`PutOptions::maxsize`], it fails with [`Full`](crate::ErrorKind::Full). The check and the
    /// put are one atomic step.
    ///
    /// A provider may limit how much one call puts. Beyond its limit it puts nothing and fails
    /// with [`TooLarge`](crate::ErrorKind::TooLarge). The Redis provider accepts 1,000,000
    /// messages of 256 MiB together. With any [`PutOptions`] it accepts 10,000 messages of 64 MiB
    /// together. A larger message may be put alone.
    ///
    /// # Delivery
    ///
    /// [`Put::New`] means that this call has put the messages into the queue once, even if the
    /// provider had to send the command twice. [`Put::Known`] means that an earlier put with the
    /// same id has put the messages, and that this call changed nothing. Without an id the result
    /// is `New`. Without messages the result is `New`, and the id stays unknown. After an error
    /// with [`outcome_unknown`](crate::Error::outcome_unknown) the messages may be in the queue.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, all of the messages or none of them are put.
    async fn queue_put(&self, queue: &str, messages: Vec<Message>, opts: PutOptions)
    -> Result<Put>;

    /// Takes up to [`max`](GetOptions::max) messages from the front of a queue. While there are
    /// none, it waits as long as [`wait`](GetOptions::wait) says.
    ///
    /// It returns as soon as there is at least one message. An empty result means that a check at
    /// the end of the wait found no message. If the queue cannot be checked, the result is an
    /// error. Waiting survives outages.
    ///
    /// Without a lease, the messages are removed from the queue. With a lease, they are hidden
    /// until they are settled or the lease ends, and each has a [`Receipt`]. A lease starts when
    /// the message is taken.
    ///
    /// # Delivery
    ///
    /// Each message goes to one taker. With a lease: at least once. When it is taken again, its
    /// attempt is one higher. A single consumer gets the messages in order, even if it drops some
    /// of its takes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. If the future is dropped early, no message is lost and no attempt is counted:
    /// messages that were taken for the caller go back to the front.
    async fn queue_get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>>;

    /// Settles leased messages one after the other. Returns one result for each, in order.
    ///
    /// Where [`front`](Capabilities::front) is declared, messages that are given back go to the
    /// front. Without it, it may go anywhere in the queue. Where [`fenced`](Capabilities::fenced)
    /// is declared, the receipt of a lease that has ended never succeeds.
    ///
    /// The messages that one call gives back to the front keep the order of the call: the first of
    /// them is the next to be taken. So a prefetched batch that is released stays first in, first
    /// out.
    ///
    /// A settlement fails with [`LeaseLost`](crate::ErrorKind::LeaseLost) and changes nothing if
    /// the lease has ended (settled, expired, or taken again) or if the receipt is malformed.
    ///
    /// A provider may settle many messages in several steps. If a later step fails, the results of
    /// the earlier steps stay, and each remaining settlement gets the error of the failed step.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of the messages may be settled.
    async fn queue_settle(
        &self,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>>;

    /// Returns up to `max` messages of a part of the queue, in the order in which they leave it. It
    /// takes nothing.
    ///
    /// Due messages, and messages after the end of their lease, are in the ready part, as in
    /// [`queue_stats`](Self::queue_stats).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. It changes nothing.
    async fn queue_peek(&self, queue: &str, part: Part, max: usize) -> Result<Vec<Stored>>;

    /// Moves dead letters to the back of the queue, as new messages without attempts. Returns how
    /// many it moved. Ids are processed in the given order.
    ///
    /// It moves the dead letters that exist when it begins, in one step or in several. A message
    /// that becomes a dead letter again during the call is neither moved again nor counted.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of the dead letters may be moved.
    async fn queue_redrive(&self, queue: &str, which: Redrive) -> Result<usize>;

    /// Removes all messages of a part of the queue and returns how many. Leased messages stay
    /// leased.
    ///
    /// Due messages, and messages after the end of their lease, are in the ready part, as in
    /// [`queue_stats`](Self::queue_stats).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the messages may or may not be removed.
    async fn queue_clear(&self, queue: &str, part: Part) -> Result<usize>;

    /// Counts the messages in each part of the queue, exactly where
    /// [`exact_stats`](Capabilities::exact_stats) is declared. Due messages, and messages after the
    /// end of their lease, count as ready.
    ///
    /// A provider may count more than 1,000 leases in several steps. A message that moves between
    /// the steps may be counted twice or not at all.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. It changes nothing.
    async fn queue_stats(&self, queue: &str) -> Result<QueueStats>;

    /// Starts to serve an RPC channel. All requests that are sent after this future resolves reach
    /// it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays served.
    async fn rpc_listen(&self, channel: &str) -> Result<Requests>;

    /// Sends a request to one or all servers of a channel. Its body is the JSON array of positional
    /// arguments.
    ///
    /// Without a server it fails with [`NoSuchRemote`](crate::ErrorKind::NoSuchRemote) at once,
    /// and nothing is sent. A request to [`Target::One`] may be sent after this future resolves.
    /// Then this error, and every other error that prevents the sending, comes in place of the
    /// reply.
    ///
    /// # Delivery
    ///
    /// At most once for each server. [`Target::One`] runs on exactly one server that speaks this
    /// protocol.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the request may or may not be sent, and replies are dropped.
    async fn rpc_request(
        &self,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies>;

    /// Closes this handle. Idempotent; other handles on the same server or broker are not affected.
    ///
    /// It wakes every waiting caller and ends every subscription with `Closed`, sends the replies
    /// that were already given, and frees all resources.
    ///
    /// When the runtime of a bus ends, this future is polled once, after the
    /// [`health`](Self::health) was closed. That poll should end everything that callers wait for.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the handle may be closed in part. A second call closes it.
    async fn close(&self) -> Result<()>;
}
