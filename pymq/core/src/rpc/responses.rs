//! The answers of all servers to one call: a stream under one deadline.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::client::Session;
use crate::codec;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Replies, Reply};

/// The results of [`Stub::call_all`](crate::Stub::call_all), as a [`Stream`], in the order in which
/// they arrive.
///
/// All servers have one deadline. At its end there is one [`Timeout`](ErrorKind::Timeout) for each
/// server that has not answered. If it is dropped early, later answers are ignored.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// bus.expose("name", || async { "a" }).await?.keep();
///
/// let names = bus.call_all::<String>("name", ()).await?;
///
/// assert_eq!(names.expected(), 1);
/// for name in names.all().await {
///     assert_eq!(name?, "a");
/// }
/// # Ok(()) }
/// ```
pub struct Responses<R> {
    name: String,
    replies: Replies,
    /// `None` if the deadline is beyond the range of the clock.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many results are left: an answer or a timeout for each server.
    left: usize,
    is_over: bool,
    /// Keeps the bus alive.
    _session: Arc<Session>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Responses<R> {
    pub(crate) fn new(
        session: Arc<Session>,
        name: String,
        replies: Replies,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            name,
            left: replies.expected(),
            replies,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            is_over: false,
            _session: session,
            result: PhantomData,
        }
    }

    /// Returns how many servers were called.
    pub fn expected(&self) -> usize {
        self.replies.expected()
    }

    /// Waits for the next result. Returns `None` after one result for each server.
    ///
    /// # Errors
    ///
    /// As [`Stub::call`](crate::Stub::call), for each server separately. After
    /// [`Closed`](ErrorKind::Closed) there is no other result.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. An answer is removed only when it is returned.
    pub async fn recv(&mut self) -> Option<Result<R>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Waits for all results, and returns them in the order in which they arrive.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, all answers are lost.
    pub async fn all(mut self) -> Vec<Result<R>> {
        let mut results = Vec::with_capacity(self.left);
        while let Some(result) = self.recv().await {
            results.push(result);
        }
        results
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        // Answers first: an answer that arrived before the deadline counts, even if it is read
        // later.
        if !self.is_over {
            match self.replies.poll_recv(cx) {
                Poll::Ready(Some(Ok(reply))) => {
                    self.left -= 1;
                    return Poll::Ready(Some(decode(&self.name, reply)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.left = 0;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.left = 0;
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            let Some(deadline) = &mut self.deadline else {
                return Poll::Pending;
            };
            if deadline.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.is_over = true;
        }
        self.left -= 1;
        Poll::Ready(Some(Err(timed_out(&self.name))))
    }
}

impl<R: DeserializeOwned> Stream for Responses<R> {
    type Item = Result<R>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<R> fmt::Debug for Responses<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responses")
            .field("name", &self.name)
            .field("replies", &self.replies)
            .finish_non_exhaustive()
    }
}

/// Returns the context of the errors of a call.
pub(crate) fn context(name: &str) -> String {
    format!("call `{name}`")
}

/// Creates the error of a server that has not answered in time. The function may still run.
pub(crate) fn timed_out(name: &str) -> Error {
    Error::new(ErrorKind::Timeout, context(name)).with_outcome_unknown()
}

/// Decodes the reply of a server.
pub(crate) fn decode<R: DeserializeOwned>(name: &str, reply: Reply) -> Result<R> {
    match reply {
        Reply::Ok { body, .. } => codec::from_json(&body).map_err(|error| {
            Error::new(
                ErrorKind::Codec,
                format!(
                    "{}: result as {}",
                    context(name),
                    std::any::type_name::<R>()
                ),
            )
            .with_source(error)
            .with_payload(body)
        }),
        Reply::Err(error) => Err(Error::from_remote(context(name), error)),
    }
}
