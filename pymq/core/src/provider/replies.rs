//! The caller's side of a request: one [`Reply`] from each counted server, in the order of arrival.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::buffer::{BufferLimits, Detached, Receiver, Shared};
use crate::error::{Error, Result};
use crate::provider::Reply;

/// Creates the two ends of a pending call. `detach` runs when the caller is gone, so that the
/// provider can remove the call.
///
/// One reply is expected. A provider that has counted several servers sets the number with
/// [`Replies::expecting`]. Replies may arrive before that.
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
    /// Delivers a reply. Replies beyond the expected number are dropped. Returns whether the
    /// caller is still waiting; if not, report it with
    /// [`Health::late_reply`](super::Health::late_reply).
    pub fn push(&self, reply: Reply) -> bool {
        let pushed = self.shared.push(reply, |state, reply| {
            if state.items.len() < state.limits.items {
                state.items.push_back(reply);
            }
        });
        pushed.is_ok()
    }

    /// Ends the call. The caller gets the replies that have arrived, then this error.
    pub fn end(&self, error: Error) {
        self.shared.end(error);
    }

    /// Tells whether the caller is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.is_detached()
    }
}

/// The replies to a request. Dropping it ends the call, and late replies are dropped.
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
