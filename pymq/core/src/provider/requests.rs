//! The server's side of an RPC channel: bounded [`Requests`], each a [`Request`] that answers
//! exactly once. Full means the newest is refused and its caller told, never silence.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::buffer::{BufferLimits, Detached, Receiver, Shared, State};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::remote_error::RemoteError;

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The function returned.
    Ok {
        /// The result as JSON text.
        body: Bytes,
        /// The name by which Python finds the type of the result: `int`, `list`, `shop.events.Placed`.
        type_name: Cow<'static, str>,
    },
    /// The function failed, or could not run.
    Err(RemoteError),
}

/// What takes a reply back to the caller.
type Respond = Box<dyn FnOnce(Reply) + Send + Sync>;

/// A request on its way to a function: the positional arguments, and the way back.
///
/// Answers exactly once: dropped without [`respond`](Self::respond), it answers an error.
pub struct Request {
    message: Message,
    deadline: Option<Instant>,
    respond: Option<Respond>,
}

impl Request {
    /// Creates a request; `respond` carries the one reply back and must not block.
    pub fn new(message: Message, respond: impl FnOnce(Reply) + Send + Sync + 'static) -> Self {
        Self {
            message,
            deadline: None,
            respond: Some(Box::new(respond)),
        }
    }

    /// Sets the time the caller has left, counted from now.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        // A time too far to name is no deadline.
        self.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self
    }

    /// Returns the headers and the JSON array of arguments.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the time the caller has left, zero when it has given up; none when it waits for ever.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns when the caller gives up, if ever.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Tells whether the caller has given up: such a request is not run.
    pub fn is_expired(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Answers the caller. Never waits; the provider sends it.
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

/// Creates the two ends of a served channel. `detach` is as in [`subscription`](super::subscription()).
pub fn requests(detach: impl FnOnce(Detached) + Send + Sync + 'static) -> (RequestInlet, Requests) {
    let shared = Shared::new(BufferLimits::default());
    (
        RequestInlet {
            shared: Arc::clone(&shared),
        },
        Requests {
            receiver: Receiver::new(shared, detach),
        },
    )
}

/// The provider's end of a served channel.
#[derive(Clone, Debug)]
pub struct RequestInlet {
    shared: Arc<Shared<Request>>,
}

impl RequestInlet {
    /// Hands a request to the server. When its buffer is full the request is answered "overloaded"; when the server
    /// is gone, that there is no such remote.
    pub fn push(&self, request: Request) {
        let mut refused = None;
        let gone = self.shared.push(request, |state, request| {
            let bytes = request.message.size();
            if state.is_full_for(bytes) {
                refused = Some(request);
            } else {
                state.bytes += bytes;
                state.items.push_back(request);
            }
        });
        if let Some(request) = refused {
            request.respond(Reply::Err(RemoteError::overloaded()));
        }
        if let Err(request) = gone {
            request.respond(Reply::Err(RemoteError::no_such_remote()));
        }
    }

    /// Ends the channel: the server gets what is buffered, then this error.
    pub fn end(&self, error: Error) {
        self.shared.end(error);
    }

    /// Tells whether the server is gone.
    pub fn is_detached(&self) -> bool {
        self.shared.is_detached()
    }
}

/// The requests to a function. Dropping it stops serving; requests still buffered answer an error.
pub struct Requests {
    receiver: Receiver<Request>,
}

impl Requests {
    /// Returns the next request, waiting until there is one.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the provider was closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a request is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Request> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next request.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request>> {
        self.receiver.shared.poll(cx, pop)
    }

    /// Changes how many requests may wait; takes effect with the next one.
    pub fn set_limits(&mut self, limits: BufferLimits) {
        self.receiver.shared.lock().limits = limits;
    }

    /// Stops new requests and resolves once the provider sends no more; those buffered can still be read.
    pub async fn detach(&mut self) {
        self.receiver.detach().await;
        self.receiver
            .shared
            .end(Error::new(crate::ErrorKind::Closed, "serve"));
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("buffer", &self.receiver.shared)
            .finish()
    }
}

fn pop(state: &mut State<Request>) -> Option<Request> {
    let request = state.items.pop_front()?;
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
    async fn the_newest_request_over_the_limit_is_answered_overloaded() {
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
    async fn a_request_dropped_anywhere_answers_an_error_once() {
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
