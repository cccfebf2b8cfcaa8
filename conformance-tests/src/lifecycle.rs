//! Handles open and close. A close ends what the handle opened, and nothing else.

mod closing;
mod sharing;

use std::future::Future;
use std::pin::Pin;

use pymq_core::ErrorKind;
use pymq_core::Message;
use pymq_core::provider::{GetOptions, Part, Provider, PutOptions, Redrive, RequestOptions, Wait};

pub use self::closing::*;
pub use self::sharing::*;

use crate::traffic::{numbered, numbers, pattern, topic};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// A new handle closes without an error.
pub async fn connects_and_closes(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;

    assert!(!provider.name().is_empty());
    soon("close", provider.close()).await??;
    Ok(())
}

/// Another close is allowed, later or at the same time.
pub async fn close_is_idempotent(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let _subscription = provider.subscribe(topic("t")).await?;

    let closing = async { tokio::join!(provider.close(), provider.close(), provider.close()) };
    let (one, two, three) = soon("close", closing).await?;
    soon("close again", provider.close()).await??;

    one.and(two).and(three)?;
    Ok(())
}

/// After a close, every operation fails with `Closed`, and none hangs.
pub async fn operations_after_close_fail_closed(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    provider.close().await?;

    for (operation, run) in operations(&*provider) {
        let result = soon(operation, run).await?;
        assert_eq!(
            result.map_err(|error| error.kind()),
            Err(ErrorKind::Closed),
            "{operation}"
        );
    }
    Ok(())
}

/// Other handles on the same backend do not notice that one closes.
pub async fn closing_one_connection_leaves_others(h: &dyn Harness) -> Outcome {
    let (closed, other) = (h.connect().await?, h.connect().await?);
    let _theirs = closed.subscribe(topic("t")).await?;
    let mut ours = other.subscribe(topic("t")).await?;
    other
        .queue_put("q", vec![numbered(1)], PutOptions::default())
        .await?;

    closed.close().await?;

    assert!(other.publish("t", numbered(2)).await? > 0);
    assert_eq!(numbers(&mut ours, 1).await?, [2]);
    assert_eq!(other.queue_get("q", GetOptions::default()).await?.len(), 1);
    Ok(())
}

/// A new handle works after another one was closed.
pub async fn reopen_after_close(h: &dyn Harness) -> Outcome {
    for round in 0..5 {
        let provider = h.connect().await?;
        let mut subscription = provider.subscribe(topic("t")).await?;

        assert!(
            provider.publish("t", numbered(round)).await? > 0,
            "round {round}"
        );
        assert_eq!(numbers(&mut subscription, 1).await?, [round]);

        provider.close().await?;
    }
    Ok(())
}

/// An operation and its name. It has not begun.
pub(crate) type Operation<'a> = (
    &'static str,
    Pin<Box<dyn Future<Output = pymq_core::Result<()>> + Send + 'a>>,
);

/// Returns every operation that a provider declares, each on the name `n`. Each would succeed or
/// wait on an open handle.
pub(crate) fn operations(provider: &dyn Provider) -> Vec<Operation<'_>> {
    let capabilities = provider.capabilities();
    let get = GetOptions::default();
    let mut operations: Vec<Operation<'_>> = vec![
        ("publish", done(provider.publish("n", numbered(1)))),
        ("subscribe", done(provider.subscribe(topic("n")))),
        (
            "put",
            done(provider.queue_put("n", vec![numbered(1)], PutOptions::default())),
        ),
        ("get", done(provider.queue_get("n", get.clone()))),
        (
            "waiting get",
            done(provider.queue_get("n", get.clone().wait(Wait::Forever))),
        ),
        ("peek", done(provider.queue_peek("n", Part::Ready, 1))),
        ("clear", done(provider.queue_clear("n", Part::Ready))),
        ("stats", done(provider.queue_stats("n"))),
        ("listen", done(provider.rpc_listen("n"))),
        (
            "request",
            done(provider.rpc_request("n", Message::json("[]"), RequestOptions::default())),
        ),
    ];
    if capabilities.patterns {
        operations.push((
            "subscribe to a pattern",
            done(provider.subscribe(pattern("n"))),
        ));
    }
    if capabilities.leases {
        let lease = get.lease(std::time::Duration::from_secs(1));
        operations.push(("lease", done(provider.queue_get("n", lease))));
        operations.push(("settle", done(provider.queue_settle("n", Vec::new()))));
        operations.push(("redrive", done(provider.queue_redrive("n", Redrive::All))));
    }
    operations
}

fn done<'a, T>(
    operation: impl Future<Output = pymq_core::Result<T>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = pymq_core::Result<()>> + Send + 'a>> {
    Box::pin(async move { operation.await.map(drop) })
}
