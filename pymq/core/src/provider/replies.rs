//! The caller's side of a request: as many [`Reply`]s as servers were counted, as they come.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::buffer::{BufferLimits, Detached, Receiver, Shared};
use crate::error::{Error, Result};
use crate::provider::Reply;

/// Creates the two ends of a pending call. `detach` runs when the caller is gone, for the provider to forget the call.
///
/// One reply is expected until [`Replies::expecting`] says otherwise, which a provider does when it has counted the
/// servers; replies may come before that.
pub fn replies(detach: impl FnOnce(Detached) + Send + Sync + 'static) -> (ReplyInlet, Replies) {
    let shared = Shared::new(BufferLimits {
        bytes: usize::MAX,
        ..BufferLimits::default()
    });
    let inlet = ReplyInlet {
        shared: Arc::clone(&shared),
    };
    (
        inlet,
        Replies {
            receiver: Receiver::new(shared, detach),
            expected: 1,
            received: 0,
        },
    )
}

/// The provider's end of a pending call.
#[derive(Clone, Debug)]
pub struct ReplyInlet {
    shared: Arc<Shared<Reply>>,
}

impl ReplyInlet {
    /// Delivers a reply; what comes after all expected ones is dropped. Answers whether the caller is still there, for
    /// [`Health::late_reply`](super::Health::late_reply).
    pub fn push(&self, reply: Reply) -> bool {
        let pushed = self.shared.push(reply, |state, reply| {
            if state.items.len() < state.limits.items {
                state.items.push_back(reply);
            }
        });
        pushed.is_ok()
    }

    /// Ends the call: the caller gets the replies that came, then this error.
    pub fn end(&self, error: Error) {
        self.shared.end(error);
    }

    /// Tells whether the caller is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.is_detached()
    }
}

/// The replies to a request. Dropping it forgets the call; late replies go nowhere.
pub struct Replies {
    receiver: Receiver<Reply>,
    expected: usize,
    received: usize,
}

impl Replies {
    /// Sets how many replies are expected.
    #[must_use]
    pub fn expecting(mut self, expected: usize) -> Self {
        self.receiver.shared.lock().limits.items = expected.max(1);
        self.expected = expected;
        self
    }

    /// Returns how many servers the request went to and will be answered by: 1 for [`Target::One`](super::Target::One).
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Returns how many replies have been received.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Returns the next reply, or none when all expected ones have come.
    ///
    /// Has no deadline of its own: the caller brings one.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the provider was closed;
    /// [`NoSuchRemote`](crate::ErrorKind::NoSuchRemote), or why else it was not sent, for a request to one server that
    /// had not been sent when [`rpc_request`](super::Provider::rpc_request) resolved.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a reply is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<Result<Reply>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next reply.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply>>> {
        if self.received >= self.expected {
            return Poll::Ready(None);
        }
        let poll = self
            .receiver
            .shared
            .poll(cx, |state| state.items.pop_front());
        if let Poll::Ready(Ok(_)) = &poll {
            self.received += 1;
        }
        poll.map(Some)
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
