//! RPC channels without a typed layer. Requests and replies arrive unchanged, and every request has
//! exactly one end.

mod ends;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{Provider, Replies, Reply, Request, RequestOptions, Requests, Target};
use pymq_core::{ErrorKind, Message, RemoteError};
use tokio::time::sleep;

pub use self::ends::*;
pub use self::servers::*;

use crate::wait::{WAIT_LIMIT, soon};
use crate::{Failure, Harness, Outcome};

/// Headers, body and encoding of a request arrive unchanged, and so do body and type name of the
/// reply.
pub async fn request_and_reply_arrive_unchanged(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let request = Message::json(r#"[1, "\u00fc", {"__type": "x", "__rpc": null}, []]"#)
        .with_header("tenant", "ü & \"co\"")
        .with_header("__rpc", "mine")
        .with_header("empty", "");

    let mut replies = caller
        .rpc_request("f", request.clone(), to(Target::One))
        .await?;
    let arrived = next(&mut requests).await?;
    assert_eq!(*arrived.message(), request);
    let reply = Reply::Ok {
        body: r#"{"a":  [1.0]}"#.into(),
        type_name: "shop.Placed".into(),
    };
    arrived.respond(reply.clone());

    assert_eq!(answer(&mut replies).await?, reply);
    assert!(
        soon("the end", replies.recv()).await?.is_none(),
        "one reply was expected"
    );
    Ok(())
}

/// A failure comes back with its type, its message and all of its arguments.
pub async fn failure_keeps_type_and_arguments(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let failure = RemoteError::with_args("KeyError", &("who", 7, [None::<u8>]))?;

    let mut replies = request(&caller, Target::One).await?;
    next(&mut requests)
        .await?
        .respond(Reply::Err(failure.clone()));

    assert_eq!(answer(&mut replies).await?, Reply::Err(failure));
    Ok(())
}

/// Hundreds of requests that are answered in reverse order each get their own reply.
pub async fn replies_are_correlated(h: &dyn Harness) -> Outcome {
    const REQUESTS: usize = 500;
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    let mut pending = Vec::new();
    for n in 0..REQUESTS {
        let message = Message::json(format!("[{n}]"));
        pending.push(caller.rpc_request("f", message, to(Target::One)).await?);
    }
    let mut arrived = Vec::new();
    for _ in 0..REQUESTS {
        arrived.push(next(&mut requests).await?);
    }
    for request in arrived.into_iter().rev() {
        let body = request.message().body.clone();
        request.respond(Reply::Ok {
            body,
            type_name: "list".into(),
        });
    }

    for (n, mut replies) in pending.into_iter().enumerate() {
        let expected = Reply::Ok {
            body: format!("[{n}]").into(),
            type_name: "list".into(),
        };
        assert_eq!(answer(&mut replies).await?, expected);
    }
    Ok(())
}

/// The remaining time of the caller travels with the request, and passes while the request waits.
/// Without a timeout there is none.
pub async fn remaining_time_reaches_the_server(h: &dyn Harness) -> Outcome {
    const TIME: Duration = Duration::from_secs(60);
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    let opts = to(Target::All).timeout(TIME);
    let _bounded = caller.rpc_request("f", Message::json("[]"), opts).await?;
    let bounded = next(&mut requests).await?;
    let at_first = bounded.remaining().ok_or("the time is missing")?;
    sleep(Duration::from_millis(20)).await;
    let later = bounded.remaining().ok_or("the time is missing")?;
    let _unbounded = request(&caller, Target::All).await?;

    assert!(
        at_first <= TIME && at_first + WAIT_LIMIT > TIME,
        "{at_first:?}"
    );
    assert!(later < at_first, "{later:?}, after {at_first:?}");
    assert_eq!(next(&mut requests).await?.remaining(), None);
    Ok(())
}

fn to(target: Target) -> RequestOptions {
    RequestOptions::default().to(target)
}

/// Sends a request without arguments to `f`.
async fn request(caller: &Arc<dyn Provider>, target: Target) -> pymq_core::Result<Replies> {
    caller
        .rpc_request("f", Message::json("[]"), to(target))
        .await
}

async fn next(requests: &mut Requests) -> Outcome<Request> {
    Ok(soon("the request", requests.recv()).await??)
}

async fn answer(replies: &mut Replies) -> Outcome<Reply> {
    Ok(soon("the reply", replies.recv())
        .await?
        .ok_or("no reply is expected")??)
}

/// Answers this many requests with a number.
async fn serve(requests: &mut Requests, number: usize, count: usize) -> Outcome {
    for _ in 0..count {
        next(requests).await?.respond(numbered(number));
    }
    Ok(())
}

fn numbered(number: usize) -> Reply {
    Reply::Ok {
        body: number.to_string().into(),
        type_name: "int".into(),
    }
}

/// Returns the kind of the error that refused a request, at once or in place of its reply.
async fn refused(replies: pymq_core::Result<Replies>) -> Result<Option<ErrorKind>, Failure> {
    let refusal = match replies {
        Ok(mut replies) => soon("the refusal", replies.recv()).await?,
        Err(error) => Some(Err(error)),
    };
    Ok(refusal.and_then(|reply| reply.err().map(|error| error.kind())))
}
