//! From `attach` to `shutdown`.

use pymq_core::{Bus, BusStats, ErrorKind, Status};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;

use crate::traffic::assert_reached;
use crate::typed::{kind, next, recorder};
use crate::wait::WAIT_LIMIT;
use crate::{Harness, Outcome};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Ticked {
    n: u64,
}
pymq_core::event!(Ticked);

/// A bus that was connected late works like any other bus.
pub async fn a_late_bus_can_do_what_any_can(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    bus.attach(h.connect().await?).await?;
    bus.ping(WAIT_LIMIT).await?;

    let (record, mut arrived) = recorder::<Ticked>();
    let _by_type = bus.subscribe(record).await?;
    let (record, mut named) = recorder::<u64>();
    let _by_name = bus.topic("numbers").subscribe(record).await?;
    let _exposed = bus.expose("double", async |n: u64| n * 2).await?;

    assert_reached(bus.provider()?, bus.publish(&Ticked { n: 1 }).await?, 1);
    assert_eq!(next(&mut arrived).await?, Ticked { n: 1 });
    bus.header("trace", "1").publish(&Ticked { n: 2 }).await?;
    assert_eq!(next(&mut arrived).await?, Ticked { n: 2 });
    bus.topic("numbers").publish(&3).await?;
    assert_eq!(next(&mut named).await?, 3);
    bus.queue::<i32>("jobs").put(&4).await?;
    assert_eq!(bus.queue::<u64>("jobs").get().await?, 4);
    assert_eq!(bus.stub::<(u64,), u64>("double").call((5,)).await?, 10);
    assert_eq!(
        bus.call_all::<u64>("double", (6,)).await?.all().await.len(),
        1
    );

    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// A second `attach` fails and changes nothing, also while the first one runs and after a shutdown.
pub async fn attach_twice_fails(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();
    let (one, two, three) = (h.connect().await?, h.connect().await?, h.connect().await?);

    let (first, second) = tokio::join!(bus.attach(one), bus.attach(two));
    let third = bus.attach(three).await;

    first?;
    assert_eq!(kind(&second), Some(ErrorKind::AlreadyInitialized));
    assert_eq!(kind(&third), Some(ErrorKind::AlreadyInitialized));
    bus.ping(WAIT_LIMIT).await?;
    bus.shutdown(WAIT_LIMIT).await?;
    let fourth = bus.attach(h.connect().await?).await;
    assert_eq!(kind(&fourth), Some(ErrorKind::AlreadyInitialized));
    assert_eq!(kind(&bus.ping(WAIT_LIMIT).await), Some(ErrorKind::Closed));
    Ok(())
}

/// A bus that is not connected has a status and counters, and its shutdown does nothing.
pub async fn an_unconnected_bus_is_connecting(h: &dyn Harness) -> Outcome {
    let bus = Bus::unconnected();

    assert_eq!(bus.status(), Status::Connecting);
    assert_eq!(bus.stats(), BusStats::default());
    bus.shutdown(WAIT_LIMIT).await?;
    assert!(!bus.is_closed());

    bus.attach(h.connect().await?).await?;
    assert_eq!(bus.status(), Status::Ready);
    bus.shutdown(WAIT_LIMIT).await?;
    assert_eq!(bus.status(), Status::Closed);
    Ok(())
}

/// Threads with runtimes of their own, and some without, share the bus.
pub async fn many_threads_share_a_late_bus(h: &dyn Harness) -> Outcome {
    const THREADS: u64 = 8;
    let bus = Bus::unconnected();
    bus.attach(h.connect().await?).await?;
    let (record, mut arrived) = recorder::<u64>();
    let _guard = bus.topic("numbers").subscribe(record).await?;
    let _double = bus.expose("double", async |n: u64| n * 2).await?;

    // Threads that tokio does not know. A paused clock stands still while tokio waits for its own
    // threads, and a provider may need the clock.
    let (ended, mut outcomes) = unbounded_channel();
    for n in 0..THREADS {
        let (bus, ended) = (bus.clone(), ended.clone());
        std::thread::spawn(move || ended.send(double_and_publish(&bus, n)));
    }

    let mut seen = Vec::new();
    for _ in 0..THREADS {
        // Without a deadline: a paused clock would run to it while the threads take their real
        // time.
        seen.push(arrived.recv().await.ok_or("the subscription ended")?);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..THREADS).map(|n| n * 2).collect::<Vec<_>>());
    for _ in 0..THREADS {
        outcomes.recv().await.ok_or("a thread panicked")??;
    }
    bus.shutdown(WAIT_LIMIT).await?;
    Ok(())
}

/// Calls and publishes on a runtime of its own.
fn double_and_publish(bus: &Bus, n: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let doubled: u64 = bus.stub("double").call((n,)).await?;
        bus.topic("numbers").publish(&doubled).await?;
        Ok(())
    })
}
