//! The bounded buffer behind everything a provider hands out: pushed by the task that reads the
//! transport, which never waits; read by one receiver; detached when that is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::error::Error;

/// How much may wait between a transport and a reader.
///
/// Both limits hold; a count alone would allow gigabytes. One item is kept whatever its size.
///
/// # Examples
///
/// ```
/// use pymq::BufferLimits;
///
/// let limits = BufferLimits::default().items(100);
///
/// assert_eq!((limits.items, limits.bytes), (100, 16 << 20));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BufferLimits {
    /// The most items; 1,024 by default.
    pub items: usize,
    /// The most bytes of names, headers and bodies; 16 MiB by default.
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
    /// Sets the most items; zero counts as one.
    #[must_use]
    pub fn items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// Sets the most bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

/// What goes when the buffer of a subscription is full. The reader is told how much is missing, and where.
///
/// Nothing waits for a slow reader: that would hold up everybody else on the connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest messages make room: for readers who want to be up to date.
    #[default]
    DropOldest,
    /// What comes is dropped until there is room: for readers who want what they have begun with.
    DropNewest,
}

/// Tells a receiver that waits for it that the provider has let go; sent by dropping it.
///
/// A provider whose detaching takes a round trip moves this into the task that does it.
#[derive(Debug)]
pub struct Detached {
    _done: Option<oneshot::Sender<()>>,
}

/// What happens in the provider when the receiving end is dropped.
type Detach = Box<dyn FnOnce(Detached) + Send + Sync>;

/// The items and who waits for them. A std mutex: the critical sections are a few moves, never an await.
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
}

pub(crate) struct State<T> {
    pub(crate) items: VecDeque<T>,
    pub(crate) bytes: usize,
    pub(crate) limits: BufferLimits,
    pub(crate) when_full: WhenFull,
    /// How many of the items only mark that something is missing: they take no place.
    pub(crate) marks: usize,
    waker: Option<Waker>,
    /// Set by the provider: what the reader gets once the items are used up.
    ended: Option<Error>,
    /// The receiver is gone: pushes have no effect.
    detached: bool,
}

impl<T> State<T> {
    /// Tells whether another `bytes` would break a limit.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        let items = self.items.len() - self.marks;
        items > 0 && (items >= self.limits.items || self.bytes + bytes > self.limits.bytes)
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

    /// Runs `push` on a live buffer and wakes the reader. Returns the argument when nobody reads any more.
    pub(crate) fn push<A>(&self, item: A, push: impl FnOnce(&mut State<T>, A)) -> Result<(), A> {
        let mut state = self.lock();
        if state.detached || state.ended.is_some() {
            return Err(item);
        }
        push(&mut state, item);
        let waker = state.waker.take();
        // Woken outside the lock, so that a reader on another thread does not run into it.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the next item, or the error the buffer ended with.
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
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
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

/// The receiving end's hold on the buffer and on the provider: dropped, it empties the one and detaches from the
/// other.
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

    /// Tells the provider at once to send no new items; those buffered can still be read. The
    /// future resolves once the provider has let go.
    pub(crate) fn detach(&mut self) -> impl Future<Output = ()> + Send + use<T> {
        let gone = self.detach.take().map(|detach| {
            let (done, gone) = oneshot::channel();
            detach(Detached { _done: Some(done) });
            gone
        });
        async {
            if let Some(gone) = gone {
                // An error is the message: the sender has been dropped.
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
        // Outside the lock: a dropped request answers its caller.
        drop(items);
        if let Some(detach) = self.detach.take() {
            detach(Detached { _done: None });
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
