//! From `init` to `shutdown`, and again.

use std::time::Duration;

use pymq_core::{Bus, ErrorKind};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;

use super::{Turn, shutdown};
use crate::typed::{kind, next, open, recorder};
use crate::wait::{PATIENCE, soon, until};
use crate::{Harness, Outcome};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Ticked {
    n: u64,
}
pymq_core::event!(Ticked);

/// Everything a bus can do, the free functions can.
pub async fn init_publish_shutdown(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    turn.init().await?;
    pymq_core::ping(PATIENCE).await?;

    let (record, mut arrived) = recorder::<Ticked>();
    let _by_type = pymq_core::subscribe(record).await?;
    let (record, mut named) = recorder::<u64>();
    let _by_name = pymq_core::topic("numbers").subscribe(record).await?;
    let _exposed = pymq_core::expose("double", async |n: u64| n * 2).await?;

    assert_eq!(pymq_core::publish(&Ticked { n: 1 }).await?, 1);
    assert_eq!(next(&mut arrived).await?, Ticked { n: 1 });
    pymq_core::header("trace", "1")
        .publish(&Ticked { n: 2 })
        .await?;
    assert_eq!(next(&mut arrived).await?, Ticked { n: 2 });
    pymq_core::topic("numbers").publish(&3).await?;
    assert_eq!(next(&mut named).await?, 3);
    pymq_core::queue("jobs")?.put(&4).await?;
    assert_eq!(pymq_core::queue::<u64>("jobs")?.get().await?, 4);
    assert_eq!(
        pymq_core::stub::<(u64,), u64>("double")?.call((5,)).await?,
        10
    );
    assert_eq!(
        pymq_core::call_all::<u64>("double", (6,))
            .await?
            .all()
            .await
            .len(),
        1
    );

    shutdown().await?;
    Ok(())
}

/// A second `init` fails and changes nothing, while the first is at work as well.
pub async fn init_twice_fails(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let (one, two) = (turn.config().await?, turn.config().await?);

    let (first, second) = tokio::join!(pymq_core::init(one), pymq_core::init(two));
    let third = pymq_core::init_with(open(h).await?).await;

    first?;
    assert_eq!(kind(&second), Some(ErrorKind::AlreadyInitialized));
    assert_eq!(kind(&third), Some(ErrorKind::AlreadyInitialized));
    pymq_core::ping(PATIENCE).await?;
    shutdown().await?;
    Ok(())
}

/// After a shutdown there may be another bus, which knows nothing of the first.
pub async fn shutdown_then_init_works(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    turn.init().await?;
    pymq_core::topic("numbers")
        .subscribe(async |_: u64| {})
        .await?
        .keep();
    shutdown().await?;
    assert_eq!(
        kind(&pymq_core::ping(PATIENCE).await),
        Some(ErrorKind::NotInitialized)
    );

    turn.init().await?;

    assert_eq!(pymq_core::topic("numbers").publish(&1).await?, 0);
    shutdown().await?;
    Ok(())
}

/// A shutdown without a bus is none.
pub async fn shutdown_twice_is_fine(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    shutdown().await?;
    turn.init().await?;

    let (first, second) = tokio::join!(shutdown(), shutdown());

    first?;
    second?;
    shutdown().await?;
    assert_eq!(kind(&pymq_core::bus()), Some(ErrorKind::NotInitialized));
    Ok(())
}

/// While a shutdown drains, the handlers that finish still find the bus.
pub async fn draining_handlers_find_the_bus(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    let other = open(h).await?;
    let (record, mut results) = recorder::<u64>();
    let _results = other.topic("results").subscribe(record).await?;
    turn.init().await?;
    let (started, mut starts) = unbounded_channel();
    let handler = move |n: u64| {
        let started = started.clone();
        async move {
            started.send(n).ok();
            while pymq_core::bus().is_ok_and(|bus| !bus.is_closed()) {
                tokio::task::yield_now().await;
            }
            pymq_core::topic("results")
                .publish(&(n * 2))
                .await
                .map(drop)
        }
    };
    pymq_core::topic("numbers").subscribe(handler).await?.keep();
    pymq_core::topic("numbers").publish(&21).await?;
    next(&mut starts).await?;

    soon("the shutdown", shutdown()).await??;

    assert_eq!(next(&mut results).await?, 42);
    Ok(())
}

/// A bus that was opened in any other way can be made the process-wide one.
pub async fn init_with_takes_a_bus(h: &dyn Harness) -> Outcome {
    let _turn = Turn::take(h).await?;
    let bus: Bus = open(h).await?;

    pymq_core::init_with(bus.clone()).await?;
    let (record, mut arrived) = recorder::<u64>();
    let _guard = bus.topic("numbers").subscribe(record).await?;
    pymq_core::topic("numbers").publish(&7).await?;

    assert_eq!(next(&mut arrived).await?, 7);
    shutdown().await?;
    assert!(bus.is_closed(), "it is one and the same");
    Ok(())
}

/// Threads with runtimes of their own, and some without, share the bus.
pub async fn global_bus_from_many_threads(h: &dyn Harness) -> Outcome {
    const THREADS: u64 = 8;
    let turn = Turn::take(h).await?;
    turn.init().await?;
    let (record, mut arrived) = recorder::<u64>();
    let _guard = pymq_core::topic("numbers").subscribe(record).await?;
    let _double = pymq_core::expose("double", async |n: u64| n * 2).await?;

    // Threads that tokio does not know: for those it does a paused clock stands still, and a provider may need it.
    let (ended, mut outcomes) = unbounded_channel();
    for n in 0..THREADS {
        let ended = ended.clone();
        std::thread::spawn(move || ended.send(double_and_publish(n)));
    }

    let mut seen = Vec::new();
    for _ in 0..THREADS {
        // Without a deadline: a paused clock would run to it while the threads take their real time.
        seen.push(arrived.recv().await.ok_or("the subscription ended")?);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..THREADS).map(|n| n * 2).collect::<Vec<_>>());
    for _ in 0..THREADS {
        outcomes.recv().await.ok_or("a thread panicked")??;
    }
    shutdown().await?;
    Ok(())
}

/// Calls and publishes on a runtime of its own.
fn double_and_publish(n: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let doubled: u64 = pymq_core::stub("double")?.call((n,)).await?;
        pymq_core::topic("numbers").publish(&doubled).await?;
        Ok(())
    })
}

/// A shutdown without grace ends the handlers of the process-wide bus.
pub async fn global_shutdown_ends_handlers(h: &dyn Harness) -> Outcome {
    let turn = Turn::take(h).await?;
    turn.init().await?;
    let other = open(h).await?;
    pymq_core::topic("numbers")
        .subscribe(|_: u64| std::future::pending::<()>())
        .await?
        .keep();
    other.topic("numbers").publish(&1).await?;

    soon("the shutdown", pymq_core::shutdown(Duration::ZERO)).await??;

    until("nobody listens", async || {
        other
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}
