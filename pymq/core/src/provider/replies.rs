//! The caller's side of a request: one [`Reply`] from each counted server, in the order of arrival.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::buffer::Detached;
use crate::error::{Error, Result};
use crate::provider::Reply;

/// The function of the provider that runs when the caller is gone.
type Detach = Box<dyn FnOnce(Detached) + Send + Sync>;

/// What both ends of a pending call share. A std mutex, because the critical sections are short and
/// never cross an await.
struct Shared {
    state: Mutex<State>,
}

/// The replies that the caller has not read yet. It differs from the buffer of a subscription: most
/// calls have one reply, which takes no memory of its own here.
struct State {
    /// The oldest one.
    first: Option<Reply>,
    others: VecDeque<Reply>,
    /// How many replies are expected besides the first one.
    max_others: usize,
    waker: Option<Waker>,
    /// The error that the caller gets after the last reply.
    ended: Option<Error>,
    /// The caller is gone, and pushes have no effect.
    is_detached: bool,
}

impl State {
    fn push(&mut self, reply: Reply) {
        if self.first.is_none() {
            self.first = Some(reply);
        } else if self.others.len() < self.max_others {
            self.others.push_back(reply);
        }
    }

    fn pop(&mut self) -> Option<Reply> {
        let next = self.others.pop_front();
        std::mem::replace(&mut self.first, next)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Call")
            .field(
                "unread",
                &(usize::from(state.first.is_some()) + state.others.len()),
            )
            .field("ended", &state.ended.is_some())
            .field("detached", &state.is_detached)
            .finish()
    }
}

/// Creates the two ends of a pending call. `detach` runs when the caller is gone, so that the
/// provider can remove the call.
///
/// One reply is expected. A provider that has counted several servers sets the number with
/// [`Replies::expecting`]. Replies may arrive before that.
pub fn replies(detach: impl FnOnce(Detached) + Send + Sync + 'static) -> (ReplyInlet, Replies) {
    let state = State {
        first: None,
        others: VecDeque::new(),
        max_others: MAX_UNCOUNTED,
        waker: None,
        ended: None,
        is_detached: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
    });
    let inlet = ReplyInlet {
        shared: Arc::clone(&shared),
    };
    (
        inlet,
        Replies {
            answer: None,
            shared: Some(shared),
            detach: Some(Box::new(detach)),
            expected: 1,
            received: 0,
        },
    )
}

/// The most replies that are kept before the provider has counted the servers.
const MAX_UNCOUNTED: usize = 1_023;

/// The provider's end of a pending call.
#[derive(Clone, Debug)]
pub struct ReplyInlet {
    shared: Arc<Shared>,
}

impl ReplyInlet {
    /// Delivers a reply. Replies beyond the expected number are dropped. Returns whether the
    /// caller is still waiting; if not, report it with
    /// [`Health::late_reply`](super::Health::late_reply).
    pub fn push(&self, reply: Reply) -> bool {
        let mut state = self.shared.lock();
        if state.is_detached || state.ended.is_some() {
            return false;
        }
        state.push(reply);
        wake(state);
        true
    }

    /// Ends the call. The caller gets the replies that have arrived, then this error.
    pub fn end(&self, error: Error) {
        let mut state = self.shared.lock();
        state.ended.get_or_insert(error);
        wake(state);
    }

    /// Tells whether the caller is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.lock().is_detached
    }
}

/// Wakes the caller. The lock is released first, so that the caller does not have to wait for it.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The replies to a request. Dropping it ends the call, and late replies are dropped.
pub struct Replies {
    /// The reply of a server that has answered already.
    answer: Option<Reply>,
    /// `None` if no other reply can come.
    shared: Option<Arc<Shared>>,
    detach: Option<Detach>,
    expected: usize,
    received: usize,
}

impl Replies {
    /// Creates the replies of the only server, which has answered already.
    pub fn answered(reply: Reply) -> Self {
        Self {
            answer: Some(reply),
            shared: None,
            detach: None,
            expected: 1,
            received: 0,
        }
    }

    /// Sets how many replies are expected.
    #[must_use]
    pub fn expecting(mut self, expected: usize) -> Self {
        if let Some(shared) = &self.shared {
            shared.lock().max_others = expected.saturating_sub(1);
        }
        self.expected = expected;
        self
    }

    /// Returns how many servers will reply: 1 for [`Target::One`](super::Target::One).
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Returns how many replies have been received.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Waits for the next reply; returns `None` after all expected replies.
    ///
    /// It has no deadline. The caller has to set one.
    ///
    /// # Errors
    ///
    /// - [`Closed`](crate::ErrorKind::Closed) after the provider was closed.
    /// - [`NoSuchRemote`](crate::ErrorKind::NoSuchRemote), or another error that prevented the
    ///   sending, if the request was not sent yet when
    ///   [`rpc_request`](super::Provider::rpc_request) resolved.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A reply is removed only when it is returned.
    pub async fn recv(&mut self) -> Option<Result<Reply>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next reply.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        if self.received >= self.expected {
            return Poll::Ready(None);
        }
        if let Some(reply) = self.answer.take() {
            self.received += 1;
            return Poll::Ready(Some(Ok(reply)));
        }
        let Some(shared) = &self.shared else {
            return Poll::Ready(None);
        };
        let mut state = shared.lock();
        if let Some(reply) = state.pop() {
            self.received += 1;
            return Poll::Ready(Some(Ok(reply)));
        }
        if let Some(error) = &state.ended {
            return Poll::Ready(Some(Err(error.clone())));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else {
            return;
        };
        let mut state = shared.lock();
        state.is_detached = true;
        let unread = (state.first.take(), std::mem::take(&mut state.others));
        drop(state);
        drop(unread);
        if let Some(detach) = self.detach.take() {
            detach(Detached::unobserved());
        }
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("expected", &self.expected)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn reply(body: &'static str) -> Reply {
        Reply::Ok {
            body: body.into(),
            type_name: "int".into(),
        }
    }

    #[tokio::test]
    async fn replies_are_read_in_the_order_of_arrival_and_then_the_error() {
        let (inlet, replies) = replies(drop);
        let mut replies = replies.expecting(4);
        for body in ["1", "2", "3"] {
            assert!(inlet.push(reply(body)));
        }
        inlet.end(Error::new(ErrorKind::Closed, "test"));
        assert!(!inlet.push(reply("4")));

        for body in ["1", "2", "3"] {
            assert_eq!(replies.recv().await.unwrap().unwrap(), reply(body));
        }
        let error = replies.recv().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn no_more_replies_are_kept_than_are_expected() {
        let (inlet, replies) = replies(drop);
        let mut replies = replies.expecting(2);
        for body in ["1", "2", "3"] {
            assert!(inlet.push(reply(body)));
        }

        assert_eq!(replies.recv().await.unwrap().unwrap(), reply("1"));
        assert_eq!(replies.recv().await.unwrap().unwrap(), reply("2"));
        assert!(replies.recv().await.is_none());
    }

    #[tokio::test]
    async fn the_reply_of_a_server_that_has_answered_is_the_only_one() {
        let mut replies = Replies::answered(reply("1"));

        assert_eq!((replies.expected(), replies.received()), (1, 0));
        assert_eq!(replies.recv().await.unwrap().unwrap(), reply("1"));
        assert!(replies.recv().await.is_none());
    }

    #[tokio::test]
    async fn the_function_to_detach_runs_once_when_the_caller_is_gone() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (inlet, replies) = replies(move |_| sender.send(()).unwrap());
        assert!(!inlet.is_detached());

        drop(replies);

        assert!(inlet.is_detached() && !inlet.push(reply("1")));
        assert_eq!(receiver.iter().count(), 1);
    }
}
