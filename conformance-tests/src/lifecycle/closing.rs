//! What happens to waiting operations on a handle when it closes.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{GetOptions, Provider, Reply, RequestOptions, Target, Wait};
use pymq_core::{Error, ErrorKind, Message};
use tokio::time::sleep;

use crate::traffic::{numbered, numbers, topic};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A waiting `recv` gets `Closed`, after the messages that have arrived. So does each one after it.
pub async fn close_ends_subscriptions(h: &dyn Harness) -> Outcome {
    let (publisher, provider) = (h.connect().await?, h.connect().await?);
    let mut subscription = provider.subscribe(topic("t")).await?;
    let mut witness = provider.subscribe(topic("t")).await?;
    for n in 0..3 {
        publisher.publish("t", numbered(n)).await?;
    }
    // Each of the two has the first two messages when one of them has the third.
    numbers(&mut witness, 3).await?;
    let parked = tokio::spawn(async move { witness.recv().await });

    provider.close().await?;

    assert_eq!(numbers(&mut subscription, 2).await?, [0, 1]);
    let ended = until_end(&mut subscription).await?;
    assert_eq!(ended.kind(), ErrorKind::Closed);
    assert_eq!(
        until_end(&mut subscription).await?.kind(),
        ErrorKind::Closed,
        "again"
    );
    assert_eq!(
        soon("the parked recv", parked)
            .await??
            .map_err(|error| error.kind()),
        Err(ErrorKind::Closed)
    );
    Ok(())
}

/// A take that waits without a limit gets `Closed`, however long it has waited.
pub async fn close_wakes_waiting_get(h: &dyn Harness) -> Outcome {
    for depth in DEPTHS {
        let provider = h.connect().await?;
        let waiting = take_forever(&provider);
        sleep(depth).await;

        provider.close().await?;

        let taken = soon("the waiting take", waiting).await??;
        assert_eq!(
            taken.map_err(|error| error.kind()),
            Err(ErrorKind::Closed),
            "{depth:?} deep"
        );
    }
    Ok(())
}

/// A call that waits for its reply ends with `Closed` when the handle of the caller closes.
pub async fn close_wakes_pending_reply(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("silent").await?;
    let mut replies = caller
        .rpc_request("silent", Message::json("[]"), RequestOptions::default())
        .await?;
    let _kept_unanswered = soon("the request", requests.recv()).await??;
    let waiting = tokio::spawn(async move { replies.recv().await });

    caller.close().await?;

    let reply = soon("the reply", waiting)
        .await??
        .ok_or("the replies ended as if all had come")?;
    assert_eq!(reply.map_err(|error| error.kind()), Err(ErrorKind::Closed));
    Ok(())
}

/// A server that waits for requests gets `Closed`, and is soon not counted any more.
pub async fn close_ends_served_channels(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("channel").await?;
    let waiting = tokio::spawn(async move { requests.recv().await.map(drop) });

    server.close().await?;

    assert_eq!(
        soon("the server", waiting)
            .await??
            .map_err(|error| error.kind()),
        Err(ErrorKind::Closed)
    );
    // A backend may need a moment to notice that a handle is gone.
    until("no server is called", async || {
        let all = RequestOptions::default().to(Target::All);
        let call = caller
            .rpc_request("channel", Message::json("[]"), all)
            .await;
        call.is_err_and(|error| error.kind() == ErrorKind::NoSuchRemote)
    })
    .await
}

/// A reply that a server has given is sent, even if the server closes at once.
pub async fn replies_given_before_close_are_sent(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("channel").await?;
    let options = RequestOptions::default().to(Target::One);
    let mut replies = caller
        .rpc_request("channel", Message::json("[]"), options)
        .await?;
    let request = soon("the request", requests.recv()).await??;
    let reply = Reply::Ok {
        body: "42".into(),
        type_name: "int".into(),
    };

    request.respond(reply.clone());
    soon("close", server.close()).await??;

    let received = soon("the reply", replies.recv())
        .await?
        .ok_or("no reply")??;
    assert_eq!(received, reply);
    Ok(())
}

/// A handle that is dropped without a close also ends what it opened.
pub async fn dropping_a_handle_closes_it(h: &dyn Harness) -> Outcome {
    let (publisher, dropped) = (h.connect().await?, h.connect().await?);
    let mut subscription = dropped.subscribe(topic("t")).await?;
    let mut requests = dropped.rpc_listen("channel").await?;

    drop(dropped);

    assert_eq!(
        until_end(&mut subscription).await?.kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        soon("the server", requests.recv())
            .await?
            .map(drop)
            .map_err(|e| e.kind()),
        Err(ErrorKind::Closed)
    );
    until("no subscriber is reached", async || {
        publisher
            .publish("t", numbered(1))
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}

/// From not begun to waiting for a long time.
const DEPTHS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(1_200),
];

fn take_forever(
    provider: &Arc<dyn Provider>,
) -> tokio::task::JoinHandle<pymq_core::Result<Vec<pymq_core::provider::Delivery>>> {
    let provider = Arc::clone(provider);
    tokio::spawn(async move {
        provider
            .queue_get("q", GetOptions::default().wait(Wait::Forever))
            .await
    })
}

/// Reads the buffered messages and returns the error that ended the subscription.
async fn until_end(
    subscription: &mut pymq_core::provider::Subscription,
) -> Result<Error, crate::Failure> {
    loop {
        if let Err(end) = soon("the end", subscription.recv()).await? {
            return Ok(end);
        }
    }
}
