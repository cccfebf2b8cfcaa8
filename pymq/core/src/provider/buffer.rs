//! The bounded buffer behind subscriptions, requests, replies and lifecycle events.
//!
//! The task that reads the transport pushes into it and never waits. One receiver reads from it.
//! Dropping the receiver detaches it from the provider.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::error::Error;

/// How much a buffer between a transport and a reader may hold.
///
/// Both limits apply, because a number of items alone would allow gigabytes. A single item of any
/// size always fits.
///
/// # Examples
///
/// ```
/// use pymq::topic::BufferLimits;
///
/// let limits = BufferLimits::default().items(100);
///
/// assert_eq!((limits.items, limits.bytes), (100, 16 << 20));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BufferLimits {
    /// The maximum number of items, 1,024 by default.
    pub items: usize,
    /// The maximum number of bytes in names, headers and bodies, 16 MiB by default.
    pub bytes: usize,
}

impl Default for BufferLimits {
    fn default() -> Self {
        Self {
            items: 1_024,
            bytes: 16 << 20,
        }
    }
}

impl BufferLimits {
    /// Sets the maximum number of items; zero counts as one.
    #[must_use]
    pub fn items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// Sets the maximum number of bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

/// Which messages a full buffer of a subscription drops. The reader sees how many are missing, and
/// where.
///
/// The provider does not wait for a slow reader, because that would delay all other readers of the
/// connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest messages are dropped: for readers that need the latest messages.
    #[default]
    DropOldest,
    /// New messages are dropped until there is room: for readers that need the earliest messages.
    DropNewest,
}

/// A token that the provider drops when it no longer delivers to a receiver.
///
/// The receiver may wait for that. A provider that needs a round trip to detach moves the token
/// into the task that makes it.
#[derive(Debug)]
pub struct Detached {
    _done: Option<oneshot::Sender<()>>,
}

impl Detached {
    /// Creates a token whose end is not awaited.
    pub(super) fn unobserved() -> Self {
        Self { _done: None }
    }
}

/// The function of the provider that runs when the receiving end is dropped.
type Detach = Box<dyn FnOnce(Detached) + Send + Sync>;

/// The items and the waiting reader. A std mutex, because the critical sections are short and never
/// cross an await.
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
}

pub(crate) struct State<T> {
    pub(crate) items: VecDeque<T>,
    pub(crate) bytes: usize,
    pub(crate) limits: BufferLimits,
    pub(crate) when_full: WhenFull,
    /// How many of the items are marks for missing messages. Marks do not count towards the limits.
    pub(crate) marks: usize,
    waker: Option<Waker>,
    /// The error that the reader gets after the last item. The provider sets it.
    ended: Option<Error>,
    /// The receiver is gone, and pushes have no effect.
    detached: bool,
}

impl<T> State<T> {
    /// Tells whether another item of this size would exceed a limit.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        let items = self.items.len() - self.marks;
        items > 0 && (items >= self.limits.items || self.bytes + bytes > self.limits.bytes)
    }

    /// Lets the reader be woken.
    fn wait(&mut self, cx: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(limits: BufferLimits) -> Arc<Self> {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            limits,
            when_full: WhenFull::default(),
            marks: 0,
            waker: None,
            ended: None,
            detached: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Runs `push` on the buffer and wakes the reader. Returns the item as the error if the reader
    /// is gone or the buffer has ended.
    pub(crate) fn push<A>(&self, item: A, push: impl FnOnce(&mut State<T>, A)) -> Result<(), A> {
        let mut state = self.lock();
        if state.detached || state.ended.is_some() {
            return Err(item);
        }
        push(&mut state, item);
        let waker = state.waker.take();
        // The lock is released first, so that the woken reader does not have to wait for it.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the next item, or returns the error with which the buffer ended.
    pub(crate) fn poll(
        &self,
        cx: &mut Context<'_>,
        pop: impl FnOnce(&mut State<T>) -> Option<T>,
    ) -> Poll<Result<T, Error>> {
        let mut state = self.lock();
        if let Some(item) = pop(&mut state) {
            return Poll::Ready(Ok(item));
        }
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(error.clone()));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Waits until [`poll`](Self::poll) has a result.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.items.is_empty() || state.ended.is_some() {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    pub(crate) fn end(&self, error: Error) {
        let mut state = self.lock();
        state.ended.get_or_insert(error);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.lock().detached
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving end. Dropping it empties the buffer and detaches it from the provider.
pub(crate) struct Receiver<T> {
    pub(crate) shared: Arc<Shared<T>>,
    detach: Option<Detach>,
}

impl<T> Receiver<T> {
    pub(crate) fn new(
        shared: Arc<Shared<T>>,
        detach: impl FnOnce(Detached) + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared,
            detach: Some(Box::new(detach)),
        }
    }

    /// Asks the provider at once to send no new items. Buffered items can still be read. The future
    /// resolves when the provider no longer delivers.
    pub(crate) fn detach(&mut self) -> impl Future<Output = ()> + Send + use<T> {
        let gone = self.detach.take().map(|detach| {
            let (done, gone) = oneshot::channel();
            detach(Detached { _done: Some(done) });
            gone
        });
        async {
            if let Some(gone) = gone {
                // The error is expected: the provider drops the sender.
                drop(gone.await);
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.detached = true;
        (state.bytes, state.marks) = (0, 0);
        let items = std::mem::take(&mut state.items);
        drop(state);
        // The lock is released first, because a dropped request replies to its caller.
        drop(items);
        if let Some(detach) = self.detach.take() {
            detach(Detached::unobserved());
        }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Buffer")
            .field("items", &state.items.len())
            .field("bytes", &state.bytes)
            .field("ended", &state.ended.is_some())
            .field("detached", &state.detached)
            .finish()
    }
}
