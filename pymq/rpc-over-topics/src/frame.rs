//! The frame of a request and of an answer: one reserved header beside the body.
//!
//! The headers of the user are inside the reserved header, so that the two cannot conflict.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::{Provider, PutOptions, Reply};
use pymq_core::{Error, ErrorKind, Headers, Message, RemoteError, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

const HEADER: &str = "__rpc";

/// What a request carries besides its arguments.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Call {
    /// The queue on which the caller waits for answers.
    pub(crate) inbox: String,
    /// The number that the caller gave the call.
    pub(crate) number: u64,
    /// Whether only the server with the claim may run the request.
    pub(crate) is_claimed: bool,
    /// The time that the caller had left when it sent the request. Not a point in time, because
    /// clocks may differ.
    remaining_micros: Option<u64>,
}

/// What a server answers. The body of the message is the result, or the arguments of the error.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    outcome: Outcome,
}

#[derive(Debug, Deserialize, Serialize)]
enum Outcome {
    /// The result, with the name of its type.
    Ok(Cow<'static, str>),
    /// A failure, with the name of its type.
    Err(String),
    /// This server does not run the request: another one does, or this one has stopped.
    Declined,
}

impl Call {
    pub(crate) fn new(
        inbox: &str,
        number: u64,
        is_claimed: bool,
        remaining: Option<Duration>,
    ) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            inbox: inbox.to_owned(),
            number,
            is_claimed,
            remaining_micros: remaining.map(micros),
        }
    }

    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.remaining_micros.map(Duration::from_micros)
    }

    /// Tells whether the caller has given up on a request that arrived at `since`.
    pub(crate) fn is_expired(&self, since: Instant) -> bool {
        self.remaining()
            .is_some_and(|remaining| since.elapsed() >= remaining)
    }

    /// Returns the queue on which a server claims this call.
    pub(crate) fn claim(&self) -> String {
        claim(&self.inbox, self.number)
    }

    /// Puts the request into its frame, to be published.
    pub(crate) fn seal(&self, request: Message) -> Result<Message> {
        seal(self, request)
    }

    /// Takes a published request out of its frame.
    pub(crate) fn open(message: Message) -> Result<(Self, Message)> {
        open(message)
    }
}

impl Answer {
    /// Puts a reply into its frame, for the queue of the caller.
    pub(crate) fn reply(number: u64, reply: Reply) -> Result<Message> {
        let (outcome, body) = match reply {
            Reply::Ok { body, type_name } => (Outcome::Ok(type_name), body),
            Reply::Err(error) => (
                Outcome::Err(error.type_name().to_owned()),
                error.args_json().clone(),
            ),
            _ => {
                let why = "the kind of the reply is unknown to this provider";
                return Self::reply(number, Reply::Err(RemoteError::new("RuntimeError", why)));
            }
        };
        seal(&Self { number, outcome }, Message::json(body))
    }

    /// Creates the answer that this server does not run the call.
    pub(crate) fn declined(number: u64) -> Result<Message> {
        seal(
            &Self {
                number,
                outcome: Outcome::Declined,
            },
            Message::json(Bytes::new()),
        )
    }

    /// Reads an answer: the number of the call, and the reply, or `None` if the server declined.
    pub(crate) fn open(message: Message) -> Result<(u64, Option<Reply>)> {
        let (Self { number, outcome }, message) = open(message)?;
        let reply = match outcome {
            Outcome::Ok(type_name) => Some(Reply::Ok {
                body: message.body,
                type_name,
            }),
            Outcome::Err(type_name) => {
                Some(Reply::Err(RemoteError::from_wire(type_name, message.body)?))
            }
            Outcome::Declined => None,
        };
        Ok((number, reply))
    }
}

/// Reads a text as each kind of frame, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub fn open_frames(note: &str) {
    let message = Message::json("[1]").with_header(HEADER, note);
    drop(Call::open(message.clone()));
    drop(Answer::open(message));
}

/// Returns the queue on which the servers claim a call.
pub(crate) fn claim(inbox: &str, number: u64) -> String {
    format!("{inbox}:{number}")
}

/// Tries to claim a call. The queue holds one message, so `Full` means that the call is claimed.
pub(crate) async fn try_claim(provider: &impl Provider, claim: &str) -> Result<()> {
    let one = PutOptions::default().maxsize(Some(NonZeroUsize::MIN));
    provider
        .queue_put(claim, vec![Message::json("1")], one)
        .await
        .map(drop)
}

fn seal(note: &impl Serialize, mut message: Message) -> Result<Message> {
    let headers: Vec<(&str, &str)> = message.headers.iter().collect();
    let text = serde_json::to_string(&(note, headers)).map_err(unreadable)?;
    message.headers = Headers::from_iter([(HEADER, text)]);
    Ok(message)
}

fn open<T: DeserializeOwned>(mut message: Message) -> Result<(T, Message)> {
    let text = message.headers.get(HEADER).unwrap_or_default();
    let (note, headers): (T, Vec<(String, String)>) =
        serde_json::from_str(text).map_err(unreadable)?;
    message.headers = headers.into_iter().collect();
    Ok((note, message))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Codec, "read or write the frame of a remote call").with_source(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_comes_back_as_it_was(
            headers: Vec<(String, String)>,
            body: Vec<u8>,
            is_json: bool,
        ) {
            let mut message = if is_json { Message::json(body) } else { Message::bytes(body) };
            let mine = (HEADER.to_owned(), "mine".to_owned());
            message.headers = headers.into_iter().chain([mine]).collect();
            let call = Call::new("__rpc_inbox", 7, true, Some(Duration::from_secs(2)));

            let (read, opened) = Call::open(call.seal(message.clone()).unwrap()).unwrap();

            prop_assert_eq!(opened, message);
            prop_assert_eq!(read.remaining(), Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn a_message_without_a_frame_is_an_error() {
        assert!(Call::open(Message::json("[]")).is_err());
        assert!(Answer::open(Message::json("[]").with_header(HEADER, "{}")).is_err());
    }
}
