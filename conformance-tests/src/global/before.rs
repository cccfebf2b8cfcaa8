//! Before `init`: what is registered is held, what cannot be held fails, and nothing does nothing.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{Filter, Provider, Subscription};
use pymq_core::{Error, ErrorKind, Meta, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;

use super::{Opened, Turn, shutdown};
use crate::twist::{Twist, twisted};
use crate::typed::{kind, next, recorder};
use crate::wait::PATIENCE;
use crate::{Harness, Outcome};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Rung {
    n: u64,
}
pymq_core::event!(Rung);

/// Publishing before `init` is an error, not a silence.
pub async fn publish_before_init_is_not_initialized(h: &dyn Harness) -> Outcome {
    let _turn = Turn::take(h).await?;

    let kinds = [
        kind(&pymq_core::publish(&Rung { n: 1 }).await),
        kind(&pymq_core::header("a", "b").publish(&Rung { n: 1 }).await),
        kind(&pymq_core::topic("t").publish(&1).await),
        kind(&pymq_core::topic("t").header("a", "b").publish(&1).await),
        kind(&pymq_core::topic("t").stream::<u64>().await),
        kind(&pymq_core::call_all::<()>("f", ()).await),
        kind(&pymq_core::ping(PATIENCE).await),
        kind(&pymq_core::bus()),
    ];

    assert_eq!(kinds, [Some(ErrorKind::NotInitialized); 8]);
    Ok(())
}

/// There is no queue and no stub without a bus.
pub async fn queue_and_stub_before_init_fail(h: &dyn Harness) -> Outcome {
    let _turn = Turn::take(h).await?;

    assert_eq!(
        kind(&pymq_core::queue::<u64>("q")),
        Some(ErrorKind::NotInitialized)
    );
    assert_eq!(
        kind(&pymq_core::stub::<(), ()>("f")),
        Some(ErrorKind::NotInitialized)
    );
    Ok(())
}

/// A topic named before `init` works after it.
pub async fn topic_before_init_is_lazy(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let topic = pymq_core::topic("numbers");
    let pattern = pymq_core::pattern("num*");
    turn.init().await?;

    let (record, mut arrived) = recorder::<u64>();
    let _guard = topic.subscribe(record).await?;
    topic.publish(&7).await?;

    assert_eq!(next(&mut arrived).await?, 7);
    assert_eq!(pattern.glob(), "num*");
    shutdown().await?;
    Ok(())
}

/// Handlers subscribed before `init`, by type and by name, are live when it returns.
pub async fn subscribe_before_init_is_replayed(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let (record, mut typed) = recorder::<Rung>();
    let _by_type = pymq_core::subscribe(record).await?;
    let (seen, mut named) = unbounded_channel();
    let handler = move |n: u64, meta: Meta| {
        let sent = seen.send((n, meta.topic().to_owned()));
        async move { sent }
    };
    pymq_core::topic("numbers")
        .concurrency(2)
        .subscribe(handler)
        .await?
        .keep();

    turn.init().await?;

    assert_eq!(pymq_core::publish(&Rung { n: 1 }).await?, 1);
    assert_eq!(pymq_core::topic("numbers").publish(&2).await?, 1);
    assert_eq!(next(&mut typed).await?, Rung { n: 1 });
    assert_eq!(next(&mut named).await?, (2, "numbers".to_owned()));
    shutdown().await?;
    Ok(())
}

/// A guard dropped, or unsubscribed, before `init` leaves nothing for it.
pub async fn unsubscribe_before_init_cancels(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let alive = Arc::new(());
    for is_dropped in [true, false] {
        let held = Arc::clone(&alive);
        let handler = move |_: u64| {
            let held = Arc::clone(&held);
            async move { drop(held) }
        };
        let guard = pymq_core::topic("numbers").subscribe(handler).await?;
        if is_dropped {
            drop(guard);
        } else {
            guard.unsubscribe().await;
        }
    }
    assert_eq!(
        Arc::strong_count(&alive),
        1,
        "the handlers are not even held"
    );

    turn.init().await?;

    assert_eq!(pymq_core::topic("numbers").publish(&1).await?, 0);
    shutdown().await?;
    Ok(())
}

/// A guard given out before `init` is good after it.
pub async fn a_guard_from_before_init_unsubscribes_after_it(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let guard = pymq_core::topic("numbers")
        .subscribe(async |_: u64| {})
        .await?;
    turn.init().await?;
    assert_eq!(pymq_core::topic("numbers").publish(&1).await?, 1);

    guard.unsubscribe().await;

    assert_eq!(pymq_core::topic("numbers").publish(&2).await?, 0);
    shutdown().await?;
    Ok(())
}

/// A function exposed before `init` can be called when it returns; a name is held once.
pub async fn expose_before_init_is_replayed(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let _guard = pymq_core::expose("double", async |n: u64| n * 2).await?;
    let twice = pymq_core::expose("double", async |n: u64| n * 3).await;
    assert_eq!(kind(&twice), Some(ErrorKind::AlreadyExposed));

    turn.init().await?;

    assert_eq!(
        pymq_core::stub::<(u64,), u64>("double")?.call((4,)).await?,
        8
    );
    let twice = pymq_core::expose("double", async |n: u64| n * 3).await;
    assert_eq!(kind(&twice), Some(ErrorKind::AlreadyExposed));
    shutdown().await?;
    Ok(())
}

/// A function unexposed before `init` is not exposed by it, and its name is free.
pub async fn unexpose_before_init_cancels(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    drop(pymq_core::expose("a", async || 1).await?);
    pymq_core::expose("b", async || 1).await?.unexpose().await;
    let _again = pymq_core::expose("a", async || 2).await?;

    turn.init().await?;

    assert_eq!(pymq_core::stub::<(), u64>("a")?.call(()).await?, 2);
    let missing = pymq_core::stub::<(), u64>("b")?.call(()).await;
    assert_eq!(kind(&missing), Some(ErrorKind::NoSuchRemote));
    shutdown().await?;
    Ok(())
}

/// Bad names are refused when they are given, not by an `init` that has nothing to do with them.
pub async fn bad_names_are_refused_before_init(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;

    let subscribed = pymq_core::topic("").subscribe(async |_: u64| {}).await;
    let exposed = pymq_core::expose("a\nb", async || {}).await;

    assert_eq!(kind(&subscribed), Some(ErrorKind::InvalidName));
    assert_eq!(kind(&exposed), Some(ErrorKind::InvalidName));
    turn.init().await?;
    shutdown().await?;
    Ok(())
}

/// When `init` fails there is no bus, nothing of it runs, and what was registered is there for the next one.
pub async fn a_failed_init_keeps_what_was_registered(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let (record, mut arrived) = recorder::<u64>();
    let _good = pymq_core::topic("numbers").subscribe(record).await?;
    let bad = pymq_core::topic("refused")
        .subscribe(async |_: u64| {})
        .await?;

    let refused = pymq_core::init(Opened(twisted(h.connect().await?, Refuses))).await;

    assert_eq!(kind(&refused), Some(ErrorKind::Permission));
    assert_eq!(kind(&pymq_core::bus()), Some(ErrorKind::NotInitialized));
    drop(bad);
    turn.init().await?;
    assert_eq!(pymq_core::topic("numbers").publish(&7).await?, 1);
    assert_eq!(next(&mut arrived).await?, 7);
    shutdown().await?;
    Ok(())
}

/// Refuses subscriptions to `refused`.
#[derive(Debug)]
struct Refuses;

#[async_trait]
impl Twist for Refuses {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        if filter.as_str() == "refused" {
            return Err(Error::new(ErrorKind::Permission, "subscribe to `refused`"));
        }
        inner.subscribe(filter).await
    }
}
