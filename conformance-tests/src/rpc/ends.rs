//! How a request ends without a plain answer: dropped, refused, late, or left by its caller.

use std::time::Duration;

use pymq_core::Message;
use pymq_core::provider::{BufferLimits, Reply, Target};
use tokio::time::sleep;

use super::{answer, next, numbered, request, serve, to};
use crate::wait::until;
use crate::{Harness, Outcome};

/// A request that its server drops is answered with an error, read or not.
pub async fn dropped_request_is_answered(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    let mut read = request(&caller, Target::One).await?;
    drop(next(&mut requests).await?);
    assert!(matches!(answer(&mut read).await?, Reply::Err(_)));

    // To all: it is sent when this resolves.
    let mut unread = request(&caller, Target::All).await?;
    drop(requests);
    assert!(matches!(answer(&mut unread).await?, Reply::Err(_)));
    Ok(())
}

/// A server that stops can still answer the requests that have reached it.
pub async fn detached_server_finishes_what_it_has(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let mut replies = request(&caller, Target::All).await?;

    requests.detach().await;
    serve(&mut requests, 3, 1).await?;

    assert_eq!(answer(&mut replies).await?, numbered(3));
    assert!(requests.recv().await.is_err(), "then it is closed");
    Ok(())
}

/// Requests beyond the limit of a server are answered at once, with an error that says so.
pub async fn overloaded_server_answers(h: &dyn Harness) -> Outcome {
    const WAITING: usize = 2;
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let mut limits = BufferLimits::default();
    limits.items = WAITING;
    requests.set_limits(limits);

    let mut pending = Vec::new();
    for _ in 0..=WAITING {
        pending.push(request(&caller, Target::All).await?);
    }
    let mut refused = pending.pop().ok_or("no request")?;

    let Reply::Err(error) = answer(&mut refused).await? else {
        return Err("it was not refused".into());
    };
    assert_eq!(error.type_name(), "Overloaded");
    serve(&mut requests, 1, WAITING).await?;
    for mut replies in pending {
        assert_eq!(answer(&mut replies).await?, numbered(1));
    }
    Ok(())
}

/// A server does not run a request that expired before it came.
pub async fn expired_request_is_not_run(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    let brief = Duration::from_millis(30);
    let late = caller
        .rpc_request(
            "f",
            Message::json(r#"["late"]"#),
            to(Target::One).timeout(brief),
        )
        .await?;
    sleep(brief * 2).await;
    let mut replies = caller
        .rpc_request("f", Message::json("[]"), to(Target::One))
        .await?;

    loop {
        let arrived = next(&mut requests).await?;
        if arrived.message().body == "[]" {
            arrived.respond(numbered(1));
            break;
        }
        assert!(
            arrived.is_expired(),
            "a provider that hands it out says that it is late"
        );
    }
    assert_eq!(answer(&mut replies).await?, numbered(1));
    drop(late);
    Ok(())
}

/// A caller that has left disturbs neither its server nor the next call, and its late replies leave
/// nothing behind.
pub async fn late_reply_goes_nowhere(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    for target in [Target::One, Target::All] {
        let gone = request(&caller, target).await?;
        let late = next(&mut requests).await?;
        drop(gone);
        late.respond(numbered(1));

        let mut replies = request(&caller, target).await?;
        serve(&mut requests, 2, 1).await?;
        assert_eq!(answer(&mut replies).await?, numbered(2));
    }

    drop(requests);
    caller.close().await?;
    server.close().await?;
    until("nothing is left", async || h.leftovers().await.is_empty()).await
}
