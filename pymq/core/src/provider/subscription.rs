//! A subscription to a topic or a pattern: the [`Inlet`] into which a provider pushes messages, and
//! the [`Subscription`] that it returns.
//!
//! A full buffer drops the oldest or the newest messages, and the reader sees how many.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::buffer::{BufferLimits, Detached, Receiver, Shared, State, WhenFull};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Published;
use crate::name::RESERVED_PREFIX;
use crate::provider::Filter;

/// What a subscription yields.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// A message and the topic on which it was published.
    Message(Published),
    /// Messages are missing here.
    Lagged {
        /// How many; `None` if the number is unknown, as after an outage.
        missed: Option<u64>,
    },
}

/// Creates the two ends of a subscription to `filter`.
///
/// `detach` runs once, when the receiving end is dropped or unsubscribed. Drop its [`Detached`]
/// when the provider no longer delivers.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use pymq::message::{Message, Published};
/// use pymq::provider::{Filter, Incoming, subscription};
///
/// let filter = Filter::Topic("news".into());
/// let (inlet, mut subscription) = subscription(&filter, |detached| drop(detached));
/// let published = Published::new("news", Message::json("1"));
/// inlet.push(published.clone());
///
/// assert_eq!(subscription.recv().await?, Incoming::Message(published));
/// # Ok(()) }
/// ```
pub fn subscription(
    filter: &Filter,
    detach: impl FnOnce(Detached) + Send + Sync + 'static,
) -> (Inlet, Subscription) {
    let shared = Shared::new(BufferLimits::default());
    let inlet = Inlet {
        shared: Arc::clone(&shared),
        is_pattern: matches!(filter, Filter::Pattern(_)),
    };
    (
        inlet,
        Subscription {
            receiver: Receiver::new(shared, detach),
        },
    )
}

/// The provider's end of a subscription. A push never waits and never fails.
#[derive(Clone, Debug)]
pub struct Inlet {
    shared: Arc<Shared<Incoming>>,
    is_pattern: bool,
}

impl Inlet {
    /// Delivers a message. A full buffer drops its oldest messages or this one, and the reader sees
    /// [`Incoming::Lagged`].
    ///
    /// A subscription to a pattern never receives topics with the reserved prefix `__rpc_`.
    #[inline]
    pub fn push(&self, published: Published) {
        if self.is_pattern && published.topic().starts_with(RESERVED_PREFIX) {
            return;
        }
        let item = Incoming::Message(published);
        // If the reader is gone, the message is dropped.
        drop(self.shared.push(item, push));
    }

    /// Marks that an unknown number of messages may be missing, as after a reconnect.
    pub fn gap(&self) {
        drop(self.shared.push(Incoming::Lagged { missed: None }, push));
    }

    /// Ends the subscription. The reader gets the buffered messages, then this error.
    pub fn end(&self, error: Error) {
        self.shared.end(error);
    }

    /// Tells whether the receiving end is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.is_detached()
    }
}

/// The receiving end of a subscription, a [`Stream`] of [`Incoming`]. Dropping it unsubscribes.
pub struct Subscription {
    receiver: Receiver<Incoming>,
}

impl Subscription {
    /// Waits for the next message or lag.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the provider was closed, or another error that
    /// ended the subscription. Each further call returns the same error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A message is removed only when it is returned.
    pub async fn recv(&mut self) -> Result<Incoming> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next message or lag.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming>> {
        self.receiver.shared.poll(cx, pop)
    }

    /// Changes the limits of the buffer, from the next message on.
    pub fn set_limits(&mut self, limits: BufferLimits) {
        self.receiver.shared.lock().limits = limits;
    }

    /// Changes which messages a full buffer drops, from the next message on.
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.receiver.shared.lock().when_full = when_full;
    }

    /// Stops new messages and resolves when the provider no longer delivers. Buffered messages can
    /// still be read, then the result is `Closed`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the provider still detaches. Call it again before you read
    /// to the end.
    pub async fn detach(&mut self) {
        self.receiver.detach().await;
        self.receiver
            .shared
            .end(Error::new(ErrorKind::Closed, "subscribe"));
    }

    /// Accepts no new messages from now on. Buffered messages can still be read, then the result is
    /// `Closed`. The future resolves when the provider no longer delivers.
    pub(crate) fn seal(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let closed = Error::new(ErrorKind::Closed, "subscribe");
        self.receiver.shared.end(closed);
        self.receiver.detach()
    }

    /// Ends the subscription and resolves when the provider no longer delivers to it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the subscription still ends.
    pub async fn unsubscribe(mut self) {
        self.receiver.detach().await;
    }
}

impl Stream for Subscription {
    type Item = Result<Incoming>;

    /// Yields the results of [`recv`](Self::recv), and ends where that returns `Closed`.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(crate::error::end_of_stream)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("buffer", &self.receiver.shared)
            .finish()
    }
}

/// Appends an item. A full buffer drops messages as [`WhenFull`] says, and a mark counts them where
/// they are missing.
fn push(state: &mut State<Incoming>, item: Incoming) {
    if let Incoming::Lagged { missed } = item {
        return mark_back(state, missed);
    }
    let bytes = size(&item);
    if state.is_full_for(bytes) {
        match state.when_full {
            WhenFull::DropOldest => make_room(state, bytes),
            WhenFull::DropNewest => return mark_back(state, Some(1)),
        }
    }
    state.bytes += bytes;
    state.items.push_back(item);
}

/// Drops the oldest messages until there is room, and puts one mark for them at the front.
fn make_room(state: &mut State<Incoming>, bytes: usize) {
    let mut missing = Some(0);
    let is_mark =
        |state: &State<Incoming>| matches!(state.items.front(), Some(Incoming::Lagged { .. }));
    // A mark that reaches the front is merged into the new one.
    while is_mark(state) || state.is_full_for(bytes) {
        let dropped = match pop(state) {
            Some(Incoming::Lagged { missed }) => missed,
            Some(Incoming::Message(_)) => Some(1),
            None => break,
        };
        missing = sum(missing, dropped);
    }
    state.items.push_front(Incoming::Lagged { missed: missing });
    state.marks += 1;
}

/// Marks at the back that messages are missing.
fn mark_back(state: &mut State<Incoming>, missing: Option<u64>) {
    if let Some(Incoming::Lagged { missed }) = state.items.back_mut() {
        *missed = sum(*missed, missing);
        return;
    }
    state.items.push_back(Incoming::Lagged { missed: missing });
    state.marks += 1;
}

/// Adds two counts; the sum is unknown if one of them is.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a + b)
}

fn pop(state: &mut State<Incoming>) -> Option<Incoming> {
    let item = state.items.pop_front()?;
    state.bytes -= size(&item);
    state.marks -= usize::from(matches!(item, Incoming::Lagged { .. }));
    Some(item)
}

fn size(item: &Incoming) -> usize {
    match item {
        Incoming::Message(published) => published.size(),
        Incoming::Lagged { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn open(items: usize, bytes: usize) -> (Inlet, Subscription) {
        let (inlet, mut subscription) = subscription(&Filter::Topic("t".into()), drop);
        subscription.set_limits(BufferLimits { items, bytes });
        (inlet, subscription)
    }

    fn published(text: &str) -> Published {
        Published::new("t", Message::bytes(text.to_owned()))
    }

    async fn drain(inlet: &Inlet, subscription: &mut Subscription) -> Vec<String> {
        inlet.end(Error::new(ErrorKind::Closed, "test"));
        let mut seen = Vec::new();
        while let Ok(item) = subscription.recv().await {
            seen.push(match item {
                Incoming::Message(published) => {
                    String::from_utf8_lossy(&published.message().body).into_owned()
                }
                Incoming::Lagged { missed } => {
                    missed.map_or_else(|| "gap".to_owned(), |n| format!("lagged {n}"))
                }
            });
        }
        seen
    }

    #[tokio::test]
    async fn a_full_buffer_drops_the_oldest_and_counts_them_exactly() {
        let (inlet, mut subscription) = open(2, 1 << 20);

        for n in 0..5 {
            inlet.push(published(&n.to_string()));
        }

        assert_eq!(
            drain(&inlet, &mut subscription).await,
            ["lagged 3", "3", "4"]
        );
    }

    #[tokio::test]
    async fn a_full_buffer_may_drop_the_newest_and_marks_where() {
        let (inlet, mut subscription) = open(2, 1 << 20);
        subscription.set_when_full(WhenFull::DropNewest);
        let push = |n: u32| inlet.push(published(&n.to_string()));

        (0..5).for_each(push);
        assert!(matches!(
            subscription.recv().await,
            Ok(Incoming::Message(_))
        ));
        (5..7).for_each(push);
        inlet.gap();
        push(7);

        assert_eq!(
            drain(&inlet, &mut subscription).await,
            ["1", "lagged 3", "5", "gap"]
        );
    }

    #[tokio::test]
    async fn bytes_bound_the_buffer_and_one_message_always_fits() {
        let (inlet, mut subscription) = open(100, 10);

        inlet.push(published("12345"));
        inlet.push(published(&"x".repeat(50)));

        assert_eq!(
            drain(&inlet, &mut subscription).await,
            ["lagged 1".to_owned(), "x".repeat(50)]
        );
    }

    #[tokio::test]
    async fn a_dropped_gap_makes_the_count_unknown() {
        let (inlet, mut subscription) = open(2, 1 << 20);

        inlet.push(published("0"));
        inlet.gap();
        inlet.gap();
        for n in 1..4 {
            inlet.push(published(&n.to_string()));
        }

        assert_eq!(drain(&inlet, &mut subscription).await, ["gap", "2", "3"]);
    }

    #[tokio::test]
    async fn a_gap_keeps_its_place_between_messages() {
        let (inlet, mut subscription) = open(8, 1 << 20);

        inlet.push(published("0"));
        inlet.gap();
        inlet.push(published("1"));

        assert_eq!(drain(&inlet, &mut subscription).await, ["0", "gap", "1"]);
    }

    #[tokio::test]
    async fn dropping_detaches_once_and_frees_what_waits() {
        let (detached, mut was_detached) = tokio::sync::mpsc::unbounded_channel();
        let (inlet, subscription) = subscription(&Filter::Topic("t".into()), move |_| {
            detached.send(()).unwrap();
        });
        inlet.push(published("0"));

        drop(subscription);
        inlet.push(published("1"));

        assert!(inlet.is_detached());
        assert_eq!(was_detached.recv().await, Some(()));
        assert!(inlet.shared.lock().items.is_empty());
    }

    #[tokio::test]
    async fn unsubscribe_waits_for_the_provider() {
        let (handed, taken) = tokio::sync::oneshot::channel();
        let (_inlet, subscription) = subscription(&Filter::Topic("t".into()), move |done| {
            drop(handed.send(done));
        });

        let waiting = tokio::spawn(subscription.unsubscribe());
        let done: Detached = taken.await.unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(done);

        waiting.await.unwrap();
    }
}
