//! Handlers: their failures affect no other, they keep the order by default, and they live as long
//! as their guard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pymq_core::Running;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;

use super::{next, open, recorder};
use crate::bomb::{Mine, explode};
use crate::traffic::assert_reached;
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A handler that returns an error still gets the next event.
pub async fn handler_error_does_not_stop_the_subscription(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |n: u64| {
        let sent = seen.send(n);
        async move {
            sent.map_err(|_| "gone").and(if n == 1 {
                Err("one is too few")
            } else {
                Ok(())
            })
        }
    };
    let _guard = bus.topic("numbers").subscribe(handler).await?;

    for n in 1..=3 {
        bus.topic("numbers").publish(&n).await?;
    }

    for n in 1..=3 {
        assert_eq!(next(&mut arrived).await?, n);
    }
    Ok(())
}

/// A handler that panics, in its future or before it creates one, still gets the next event.
pub async fn handler_panic_does_not_stop_it(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |n: u64| {
        let sent = seen.send(n);
        assert_ne!(n, 1, "a panic on purpose");
        async move {
            assert_ne!(n, 2, "a panic on purpose");
            sent
        }
    };
    let _guard = bus.topic("numbers").subscribe(handler).await?;

    for n in 1..=3 {
        bus.topic("numbers").publish(&n).await?;
    }

    for n in 1..=3 {
        assert_eq!(next(&mut arrived).await?, n);
    }
    Ok(())
}

/// A handler gets the next event even if the payload of its panic panics again when it is dropped.
pub async fn a_panic_that_panics_again_does_not_end_a_handler(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |n: u64| {
        let sent = seen.send(n);
        if n == 1 {
            explode();
        }
        async move {
            if n == 2 {
                explode();
            }
            let _mine = (n == 3).then(|| Mine);
            tokio::task::yield_now().await;
            sent
        }
    };
    let guard = bus.topic("numbers").subscribe(handler).await?;

    for n in 1..=4 {
        bus.topic("numbers").publish(&n).await?;
    }

    for n in 1..=4 {
        assert_eq!(next(&mut arrived).await?, n);
    }
    soon("unsubscribe", guard.stop()).await?;
    Ok(())
}

/// An event that the handler cannot read is skipped.
pub async fn undecodable_event_does_not_stop_it(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (record, mut arrived) = recorder::<u64>();
    let _guard = bus.topic("numbers").subscribe(record).await?;

    bus.topic("numbers").publish("many").await?;
    bus.topic("numbers").publish(&5).await?;

    assert_eq!(next(&mut arrived).await?, 5);
    Ok(())
}

/// While one handler is blocked, another one of the same topic and bus gets every event.
pub async fn one_slow_handler_does_not_delay_another(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let _stuck = bus
        .topic("numbers")
        .subscribe(|_: u64| std::future::pending::<()>())
        .await?;
    let (record, mut arrived) = recorder::<u64>();
    let _quick = bus.topic("numbers").subscribe(record).await?;

    for n in 0..10 {
        bus.topic("numbers").publish(&n).await?;
    }

    for n in 0..10 {
        assert_eq!(next(&mut arrived).await?, n);
    }
    Ok(())
}

/// A handler finishes one event before it gets the next, in order.
pub async fn handlers_keep_order_by_default(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let running = Arc::new(AtomicU64::new(0));
    let handler = move |n: u64| {
        let (seen, running) = (seen.clone(), Arc::clone(&running));
        async move {
            let others = running.fetch_add(1, Ordering::SeqCst);
            // Even numbers take longer, so a next event that started meanwhile would be seen here.
            for _ in 0..(n % 2) * 5 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            seen.send((n, others))
        }
    };
    let _guard = bus.topic("numbers").subscribe(handler).await?;

    for n in 0..100 {
        bus.topic("numbers").publish(&n).await?;
    }

    for n in 0..100 {
        assert_eq!(next(&mut arrived).await?, (n, 0));
    }
    Ok(())
}

/// With a concurrency of three, three events are handled at once, and a fourth waits.
pub async fn concurrency_allows_overlap(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (started, mut starts) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |n: u64| {
            let (started, gate) = (started.clone(), Arc::clone(&gate));
            async move {
                started.send(n).ok();
                gate.acquire_owned()
                    .await
                    .map(tokio::sync::OwnedSemaphorePermit::forget)
            }
        }
    };
    let _guard = bus
        .topic("numbers")
        .concurrency(3)
        .subscribe(handler)
        .await?;
    // In the same buffer and published last: when it is here, the fourth number had time to start.
    let (record, mut marks) = recorder::<u64>();
    let _mark = bus.topic("numbers").subscribe(record).await?;

    for n in 0..4 {
        bus.topic("numbers").publish(&n).await?;
    }

    let mut first = [
        next(&mut starts).await?,
        next(&mut starts).await?,
        next(&mut starts).await?,
    ];
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
    for n in 0..4 {
        assert_eq!(next(&mut marks).await?, n);
    }
    assert!(starts.try_recv().is_err(), "the fourth waits for a place");
    gate.add_permits(1);
    assert_eq!(next(&mut starts).await?, 3);
    gate.add_permits(3);
    Ok(())
}

/// A dropped guard removes its handler; a kept one does not.
pub async fn dropping_the_guard_unsubscribes(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u64>();
    bus.topic("kept").subscribe(record).await?.keep();
    let guard = bus.topic("dropped").subscribe(async |_: u64| {}).await?;
    let reached = sender.topic("dropped").publish(&1).await?;
    assert_reached(sender.provider()?, reached, 1);

    drop(guard);

    until("the handler is gone", async || {
        sender
            .topic("dropped")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await?;
    let reached = sender.topic("kept").publish(&3).await?;
    assert_reached(sender.provider()?, reached, 1);
    assert_eq!(next(&mut arrived).await?, 3);
    Ok(())
}

/// A dropped guard unsubscribes even while the handler is busy.
pub async fn a_busy_handler_does_not_delay_unsubscribing(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let (started, mut starts) = unbounded_channel();
    let handler = move |n: u64| {
        started.send(n).ok();
        std::future::pending::<()>()
    };
    let guard = bus.topic("numbers").subscribe(handler).await?;
    sender.topic("numbers").publish(&1).await?;
    next(&mut starts).await?;

    drop(guard);

    until("the topic is free", async || {
        sender
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}

/// When `unsubscribe` returns, the provider no longer counts the handler, and its last event is
/// handled.
pub async fn unsubscribe_waits_for_the_handler(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let (started, mut starts) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let finished = Arc::new(AtomicU64::new(0));
    let handler = {
        let (gate, finished) = (Arc::clone(&gate), Arc::clone(&finished));
        move |n: u64| {
            let (started, gate, finished) =
                (started.clone(), Arc::clone(&gate), Arc::clone(&finished));
            async move {
                started.send(n).ok();
                drop(gate.acquire_owned().await);
                finished.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let guard = bus.topic("numbers").subscribe(handler).await?;
    sender.topic("numbers").publish(&1).await?;
    next(&mut starts).await?;

    let unsubscribing = tokio::spawn(guard.stop());
    until("the topic is free", async || {
        sender
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await?;
    assert!(!unsubscribing.is_finished(), "the handler is still at work");
    gate.add_permits(8);
    soon("unsubscribe", unsubscribing).await??;

    assert_eq!(
        finished.load(Ordering::SeqCst),
        1,
        "events that waited are dropped"
    );
    Ok(())
}

/// A handler that needs only one event may hold its own guard and drop it.
pub async fn a_handler_may_drop_its_own_guard(h: &dyn Harness) -> Outcome {
    let (bus, sender) = (open(h).await?, open(h).await?);
    let own: Arc<Mutex<Option<Running>>> = Arc::default();
    let handler = {
        let own = Arc::clone(&own);
        move |_: u64| {
            drop(own.lock().expect("no task panics with it").take());
            async {}
        }
    };
    let guard = bus.topic("numbers").subscribe(handler).await?;
    *own.lock().expect("no task panics with it") = Some(guard);

    sender.topic("numbers").publish(&1).await?;

    until("the handler is gone", async || {
        sender
            .topic("numbers")
            .publish(&2)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}
