//! One item and its handler: what the handler is given, and how it reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::super::unreadable_reason;
use super::outcome::Outcome;
use super::runners::Exchange;
use crate::client::Ticket;
use crate::codec::Decode;
use crate::error::Result;
use crate::handler::{Handler, Handling};
use crate::isolation::Isolated;
use crate::message::{Headers, Message};
use crate::state::States;

/// What is known about an item besides its value.
///
/// A handler of a [worker](crate::Queue::worker) gets it as its second argument.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::queue::ItemMeta;
///
/// async fn bill(order: u64, meta: ItemMeta) {
///     let tenant = meta.headers().get("tenant");
///     println!("{} {order}: attempt {} for {tenant:?}", meta.queue(), meta.attempt());
/// }
///
/// let orders = bus.queue::<u64>("orders");
/// let worker = orders.worker(bill).start()?;
///
/// orders.header("tenant", "a").put(&17).await?;
///
/// orders.join().await?;
/// worker.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ItemMeta {
    queue: Arc<str>,
    attempt: u32,
    headers: Headers,
}

impl ItemMeta {
    pub(super) fn new(queue: Arc<str>, attempt: u32, headers: Headers) -> Self {
        Self {
            queue,
            attempt,
            headers,
        }
    }

    /// Returns the name of the queue.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Returns how often the item has been handed out, including this time. It starts at 1. Above
    /// 1, the work may have been done before, in part or in full.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the headers with which the item was put.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

/// A handler without its types: it decodes an item, then handles it.
pub(super) type ItemFn = Arc<dyn Fn(&Message, ItemMeta) -> Working + Send + Sync>;

/// A handler that works on one item.
pub(super) enum Working {
    Handling(Handling),
    /// The item cannot be decoded, for this reason.
    Unreadable(String),
}

impl Future for Working {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self {
            Self::Handling(handling) => handling.as_mut().poll(cx).map(|handled| match handled {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error),
            }),
            Self::Unreadable(reason) => Poll::Ready(Outcome::Unreadable(std::mem::take(reason))),
        }
    }
}

/// Erases the types of a handler.
pub(super) fn erase<T, Form>(
    handler: impl Handler<T, Form, ItemMeta>,
    states: &States,
) -> Result<ItemFn>
where
    T: Decode + 'static,
{
    let handler = Isolated::new(handler.bind(states)?);
    Ok(Arc::new(move |message, meta| match T::decode(message) {
        Ok(item) => Working::Handling(handler(item, meta)),
        Err(error) => Working::Unreadable(unreadable_reason::<T>(&error)),
    }))
}

/// The report of a handler that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) message: Message,
}

/// Reports to the worker that an item is finished, also when it is dropped. So the worker is told
/// even if the future of a handler panics while it is dropped.
#[derive(Debug)]
pub(super) struct Report<'a> {
    to: &'a Exchange,
    ticket: Ticket,
    message: Message,
    began: Instant,
    outcome: Outcome,
    is_sent: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(to: &'a Exchange, ticket: Ticket, message: Message, began: Instant) -> Self {
        Self {
            to,
            ticket,
            message,
            began,
            outcome: Outcome::Dropped,
            is_sent: false,
        }
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the report instead of sending it.
    pub(super) fn end(mut self, outcome: Outcome, now: Instant) -> Finished {
        self.outcome = outcome;
        self.is_sent = true;
        self.take(now)
    }

    fn take(&mut self, now: Instant) -> Finished {
        Finished {
            ticket: self.ticket,
            outcome: std::mem::replace(&mut self.outcome, Outcome::Done),
            took: now - self.began,
            message: std::mem::take(&mut self.message),
        }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if self.is_sent {
            return;
        }
        if std::thread::panicking() {
            self.outcome = Outcome::Panicked("while the handler was dropped".to_owned());
        }
        let finished = self.take(Instant::now());
        // If the worker is gone, the bus gives its leases back, or they end.
        self.to.finish(finished);
    }
}
