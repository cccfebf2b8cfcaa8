//! The server's side of an RPC channel: a bounded buffer of [`Requests`].
//!
//! Each [`Request`] replies exactly once. A full buffer refuses new requests with a reply.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::buffer::{BufferLimits, Detached, Receiver, Shared, State};
use super::options::RequestOptions;
use super::runner::{Runner, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::remote_error::RemoteError;

/// The reply of a server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The function returned.
    Ok {
        /// The result as JSON text.
        body: Bytes,
        /// The name of the type in Python: `int`, `list`, `shop.events.Placed`.
        type_name: Cow<'static, str>,
    },
    /// The function failed or did not run.
    Err(RemoteError),
}

/// The function that sends a reply to the caller.
pub(crate) type Respond = Box<dyn FnOnce(Reply) + Send + Sync>;

/// A request to a function: the positional arguments, and the way to reply.
///
/// It replies exactly once. If it is dropped without [`respond`](Self::respond), it replies with an
/// error.
pub struct Request {
    message: Message,
    deadline: Option<Instant>,
    /// `None` after the reply, and while the request runs on the task of its caller.
    respond: Option<Respond>,
}

impl Request {
    /// Creates a request. `respond` sends the reply and must not block.
    pub fn new(message: Message, respond: impl FnOnce(Reply) + Send + Sync + 'static) -> Self {
        Self {
            message,
            deadline: None,
            respond: Some(Box::new(respond)),
        }
    }

    /// Sets the time that the caller has left from now.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> Self {
        // A deadline that does not fit an `Instant` is no deadline.
        self.with_deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// Sets when the caller gives up.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the headers, and the JSON array of arguments as the body.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the time that the caller has left: zero after it has given up, `None` without a
    /// limit.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns when the caller gives up; `None` without a limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Tells whether the caller has given up. An expired request is not run.
    pub fn is_expired(&self) -> bool {
        self.is_expired_at(Instant::now)
    }

    /// Tells whether the caller has given up at a time, which is asked for only if it counts.
    pub(crate) fn is_expired_at(&self, now: impl FnOnce() -> Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now())
    }

    /// Sets the function that sends the reply.
    pub(crate) fn with_respond(mut self, respond: Respond) -> Self {
        self.respond = Some(respond);
        self
    }

    /// Replies to the caller. It never waits; the provider sends the reply.
    pub fn respond(mut self, reply: Reply) {
        if let Some(respond) = self.respond.take() {
            respond(reply);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(respond) = self.respond.take() {
            respond(Reply::Err(RemoteError::new(
                "RuntimeError",
                "the server dropped the request",
            )));
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Creates the two ends of a served channel. `detach` is as in
/// [`subscription`](super::subscription()).
pub fn requests(detach: impl FnOnce(Detached) + Send + Sync + 'static) -> (RequestInlet, Requests) {
    let shared = Shared::new(BufferLimits::default());
    let side = Arc::<Side>::default();
    (
        RequestInlet {
            shared: Arc::clone(&shared),
            side: Arc::clone(&side),
        },
        Requests {
            receiver: Receiver::new(shared, detach),
            side,
        },
    )
}

/// The provider's end of a served channel.
#[derive(Clone)]
pub struct RequestInlet {
    shared: Arc<Shared<Request>>,
    side: Arc<Side>,
}

impl RequestInlet {
    /// Delivers a request to the server. If its buffer is full, the caller gets an overloaded
    /// error. If the server is gone, the caller gets the error that there is no such remote.
    ///
    /// It runs no code of the server, so the task that reads a connection may call it.
    pub fn push(&self, request: Request) {
        let request = match self.side.runner() {
            None => request,
            Some(runner) => match runner.start(request) {
                Ok(()) => return,
                Err(request) => request,
            },
        };
        self.buffer(request);
    }

    /// Delivers a request as [`push`](Self::push) does, but may run the code of the server on this
    /// task until that first waits. Returns the reply if it is there by then.
    ///
    /// Otherwise it calls `respond` once, and sends the reply with the result. A call that does not
    /// wait needs no task switch, and nothing between the caller and the server. Use it only inside
    /// the future of [`rpc_request`](super::Provider::rpc_request), so that the code runs on the
    /// caller's task. Do not hold a lock meanwhile.
    pub fn run<R>(
        &self,
        message: Message,
        opts: &RequestOptions,
        mut respond: impl FnMut() -> R,
    ) -> Option<Reply>
    where
        R: FnOnce(Reply) + Send + Sync + 'static,
    {
        let mut respond = || -> Respond { Box::new(respond()) };
        let now = opts.start();
        let request = Request {
            message,
            deadline: opts.timeout.and_then(|timeout| now.checked_add(timeout)),
            respond: None,
        };
        let request = match self.side.runner() {
            None => request,
            Some(runner) => match runner.run_here(request, now, &mut respond) {
                Ok(reply) => return reply,
                Err(request) => request,
            },
        };
        self.buffer(request.with_respond(respond()));
        None
    }

    fn buffer(&self, request: Request) {
        let mut refused = None;
        let gone = self.shared.push(request, |state, request| {
            let bytes = request.message.size();
            if state.is_full_for(bytes) {
                refused = Some(request);
            } else {
                state.bytes += bytes;
                state.items.push_back(request);
                self.side.buffered.fetch_add(1, Ordering::Release);
            }
        });
        if let Some(request) = refused {
            request.respond(Reply::Err(RemoteError::overloaded()));
        }
        if let Err(request) = gone {
            request.respond(Reply::Err(RemoteError::no_such_remote()));
        }
    }

    /// Ends the channel. The server gets the buffered requests, then this error.
    pub fn end(&self, error: Error) {
        self.shared.end(error);
    }

    /// Tells whether the server is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.is_detached()
    }
}

impl fmt::Debug for RequestInlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestInlet")
            .field("buffer", &self.shared)
            .finish_non_exhaustive()
    }
}

/// The requests to a function. Dropping it stops serving, and buffered requests reply with an
/// error.
pub struct Requests {
    receiver: Receiver<Request>,
    side: Arc<Side>,
}

impl Requests {
    /// Lets a runner start the requests for which it has a slot. Only the others are buffered.
    ///
    /// It is held weakly. Only the first one counts.
    pub(crate) fn set_runner(&mut self, runner: &Arc<impl Runner + 'static>) {
        let runner = Arc::downgrade(runner);
        self.side.set_runner(runner);
    }

    /// Waits until [`recv`](Self::recv) has a result.
    pub(crate) async fn ready(&mut self) {
        let shared = &self.receiver.shared;
        poll_fn(|cx| shared.poll_ready(cx)).await;
    }

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the provider was closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A request is removed only when it is returned.
    pub async fn recv(&mut self) -> Result<Request> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next request.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request>> {
        let side = &self.side;
        self.receiver.shared.poll(cx, |state| pop(state, side))
    }

    /// Changes the limits of the buffer, from the next request on.
    pub fn set_limits(&mut self, limits: BufferLimits) {
        self.receiver.shared.lock().limits = limits;
    }

    /// Stops new requests and resolves when the provider no longer delivers. Buffered requests can
    /// still be read, then the result is `Closed`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the provider still detaches. Call it again before you read
    /// to the end.
    pub async fn detach(&mut self) {
        self.side.is_running.store(false, Ordering::Release);
        self.receiver.detach().await;
        self.receiver
            .shared
            .end(Error::new(ErrorKind::Closed, "serve"));
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.side.is_running.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("buffer", &self.receiver.shared)
            .finish_non_exhaustive()
    }
}

fn pop(state: &mut State<Request>, side: &Side) -> Option<Request> {
    let request = state.items.pop_front()?;
    side.buffered.fetch_sub(1, Ordering::Release);
    state.bytes -= request.message.size();
    Some(request)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn request(answers: &mpsc::Sender<Reply>) -> Request {
        let answers = answers.clone();
        Request::new(Message::json("[]"), move |reply| {
            answers.send(reply).unwrap();
        })
    }

    #[tokio::test]
    async fn a_request_over_the_limit_gets_an_overloaded_error() {
        let (answers, replies) = mpsc::channel();
        let (inlet, mut requests) = requests(drop);
        requests.set_limits(BufferLimits {
            items: 1,
            bytes: 1 << 20,
        });

        inlet.push(request(&answers));
        inlet.push(request(&answers));

        assert_eq!(
            replies.try_recv().unwrap(),
            Reply::Err(RemoteError::overloaded())
        );
        requests.recv().await.unwrap().respond(Reply::Ok {
            body: "1".into(),
            type_name: "int".into(),
        });
        assert!(matches!(replies.try_recv().unwrap(), Reply::Ok { .. }));
    }

    #[tokio::test]
    async fn a_dropped_request_replies_with_an_error_once() {
        let (answers, replies) = mpsc::channel();
        let (inlet, requests) = requests(drop);

        inlet.push(request(&answers));
        drop(requests);
        inlet.push(request(&answers));

        assert!(matches!(replies.try_recv().unwrap(), Reply::Err(_)));
        assert!(matches!(replies.try_recv().unwrap(), Reply::Err(_)));
        assert!(replies.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_shrinks_to_zero() {
        let (answers, _replies) = mpsc::channel();
        let request = request(&answers).with_timeout(Some(Duration::from_secs(2)));

        tokio::time::advance(Duration::from_secs(3)).await;

        assert_eq!(request.remaining(), Some(Duration::ZERO));
        assert!(request.is_expired());
    }
}
