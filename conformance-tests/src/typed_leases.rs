//! `Lease`: settled by its owner, by a drop, or by a shutdown.

use std::pin::pin;
use std::time::Duration;

use pymq_core::{ErrorKind, Lease};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::yield_now;

use crate::typed::next;
use crate::typed_queues::{kind, open, poll_once};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// Longer than any test: a result must come earlier.
const LONG: Duration = Duration::from_secs(60);
/// A lease that a test waits for.
const SHORT_LEASE: Duration = Duration::from_millis(200);

/// A lease derefs to its item, hides it from other takers, and is gone after the ack.
pub async fn ack_finishes_the_item(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<String>("jobs");
    jobs.put("one").await?;

    let job = jobs.lease().await?;

    assert_eq!((job.as_str(), job.attempt()), ("one", 1));
    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(jobs.stats().await?.leased, 1);
    job.ack().await?;
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// `into_inner` acks and returns the item.
pub async fn into_inner_acks_and_returns_the_item(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<String>("jobs");
    jobs.put("one").await?;

    let job: String = jobs.lease().await?.into_inner().await?;

    assert_eq!(job, "one");
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// A nacked item goes back to the front. Its attempt is counted, and everything else is as it was
/// put. If the provider gives back elsewhere, it comes back when it is the only one.
pub async fn nack_returns_the_item_to_the_front(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let to_front = bus.provider()?.capabilities().front;
    jobs.header("tenant", "a").put(&1).await?;
    if to_front {
        jobs.put(&2).await?;
    }

    jobs.lease().await?.nack().await?;
    let again = jobs.lease().await?;

    assert_eq!((*again, again.attempt()), (1, 2));
    assert_eq!(again.headers().get("tenant"), Some("a"));
    assert_eq!(again.message().body, "1");
    again.ack().await?;
    assert_eq!(jobs.try_get().await?, to_front.then_some(2));
    Ok(())
}

/// Headers belong to the puts of the handle on which they were set, and to no other.
pub async fn headers_reach_the_lease(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    let traced = jobs.header("trace", "af01");
    traced.header("tenant", "ä").put(&1).await?;
    traced.put(&2).await?;
    jobs.put(&3).await?;

    let seen: [Lease<u32>; 3] = [
        jobs.lease().await?,
        jobs.lease().await?,
        jobs.lease().await?,
    ];
    let seen = seen
        .each_ref()
        .map(|job| (job.headers().get("trace"), job.headers().get("tenant")));
    assert_eq!(
        seen,
        [
            (Some("af01"), Some("ä")),
            (Some("af01"), None),
            (None, None)
        ]
    );
    Ok(())
}

/// A lease that is dropped without a settlement gives its item back at once. A waiting taker has it
/// long before the lease would end.
pub async fn a_dropped_lease_returns_its_item_at_once(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_secs(3_600));
    jobs.put(&1).await?;
    let job = jobs.lease().await?;
    let waiting = tokio::spawn(async move { other.queue::<u32>("jobs").lease().await });

    drop(job);

    let again = soon("lease", waiting).await???;
    assert_eq!((*again, again.attempt()), (1, 2));
    again.ack().await?;
    Ok(())
}

/// A lease may be dropped anywhere, also on a thread without a runtime.
pub async fn a_lease_may_be_dropped_on_any_thread(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put(&1).await?;
    let job = jobs.lease().await?;

    let dropped = std::thread::spawn(move || drop(job)).join();

    assert!(dropped.is_ok());
    assert_eq!(*soon("lease", jobs.lease()).await??, 1);
    Ok(())
}

/// A settlement after the end of the lease changes nothing and fails. The lease of the other taker
/// is unchanged. If a stale receipt may succeed, both acks finish the one item.
pub async fn a_late_ack_is_lease_lost(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT_LEASE);
    jobs.put(&1).await?;
    let late = jobs.lease().await?;

    let current = soon("lease", other.queue::<u32>("jobs").lease()).await??;

    assert_eq!(current.attempt(), 2, "a lease that ran out counts");
    if bus.provider()?.capabilities().fenced {
        assert_eq!(kind(&late.extend(LONG).await), Some(ErrorKind::LeaseLost));
        assert_eq!(kind(&late.ack().await), Some(ErrorKind::LeaseLost));
        current.ack().await?;
    } else {
        let acks = [late.ack().await, current.ack().await];
        assert!(acks.iter().any(|ack| kind(ack).is_none()), "{acks:?}");
    }
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// An extended lease lasts longer than before.
pub async fn extend_holds_the_lease(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").lease_time(SHORT_LEASE);
    jobs.put(&1).await?;

    let job = jobs.lease().await?;
    job.extend(Duration::from_secs(600)).await?;

    let other = jobs.lease_timeout(4 * SHORT_LEASE).await?;
    assert!(other.is_none());
    job.ack().await?;
    Ok(())
}

/// `join` waits for the ack of a lease.
pub async fn join_waits_for_ack(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put(&1).await?;
    let job = jobs.lease().await?;

    let joined = tokio::time::timeout(Duration::from_millis(100), jobs.join()).await;
    assert!(joined.is_err());
    job.ack().await?;

    soon("join", jobs.join()).await??;
    Ok(())
}

/// The forms of `lease` wait without a limit, for a time, and not at all.
pub async fn lease_timeout_answers_none(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    assert!(jobs.try_lease().await?.is_none());
    assert!(jobs.lease_timeout(Duration::ZERO).await?.is_none());
    assert!(
        soon("lease", jobs.lease_timeout(Duration::from_millis(20)))
            .await??
            .is_none()
    );
    let mut waiting = pin!(jobs.lease_timeout(LONG));
    assert!(poll_once(waiting.as_mut()).await.is_pending());
    jobs.put(&1).await?;

    assert_eq!(soon("lease", waiting).await??.as_deref(), Some(&1));
    Ok(())
}

/// Taking a lease makes space for a waiting put.
pub async fn lease_makes_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;
    let mut waiting = pin!(jobs.put(&2));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    let job = jobs.lease().await?;

    soon("put", waiting).await??;
    drop(job);
    until("the item is back", || async {
        jobs.stats().await.is_ok_and(|stats| stats.ready == 2)
    })
    .await
}

/// A closed queue hands out leases as long as items are ready, and held leases can still be
/// settled.
pub async fn close_lets_leases_drain(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_all(&[1, 2]).await?;
    let first = jobs.lease().await?;

    jobs.close();

    assert_eq!(jobs.lease().await?.into_inner().await?, 2);
    assert_eq!(
        kind(&soon("lease", jobs.lease()).await?),
        Some(ErrorKind::Closed)
    );
    first.nack().await?;
    assert_eq!(jobs.lease().await?.into_inner().await?, 1);
    Ok(())
}

/// A shutdown ends a handler that holds a lease. The lease goes back with its attempt not counted,
/// and so does a lease that is held elsewhere.
pub async fn an_ended_handler_gives_its_lease_back(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u64>("jobs");
    jobs.put_all(&[1, 2]).await?;
    let held = jobs.lease().await?;
    let (started, mut starts) = unbounded_channel();
    let handler = {
        let jobs = jobs.clone();
        move |n: u64| {
            let (jobs, started) = (jobs.clone(), started.clone());
            async move {
                let lease = jobs.lease().await;
                started.send(n).ok();
                std::future::pending::<()>().await;
                drop(lease);
            }
        }
    };
    bus.topic("work").subscribe(handler).await?.keep();
    bus.topic("work").publish(&0).await?;
    next(&mut starts).await?;

    soon("the shutdown", bus.shutdown(SHORT_LEASE)).await??;

    let jobs = other.queue::<u64>("jobs");
    let (first, second) = (jobs.try_lease().await?, jobs.try_lease().await?);
    let mut seen = [first, second].map(|lease| lease.map(|lease| (*lease, lease.attempt())));
    if !other.provider()?.capabilities().front {
        seen.sort_unstable();
    }
    assert_eq!(seen, [Some((1, 1)), Some((2, 1))]);
    drop(held);
    Ok(())
}

/// A shutdown gives back the leases that are still held after its grace time, in order and with the
/// attempt not counted. It waits for those that are settled in time.
pub async fn unsettled_deliveries_return_on_shutdown(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::from_secs(3_600));
    jobs.put_all(&[1, 2, 3, 4]).await?;
    let quick = jobs.lease().await?;
    let held = [jobs.lease().await?, jobs.lease().await?];

    let (down, acked) = tokio::join!(
        soon("shutdown", bus.shutdown(Duration::from_millis(100))),
        async {
            yield_now().await;
            quick.ack().await
        }
    );

    down??;
    acked?;
    let jobs = other.queue::<u32>("jobs");
    let mut again = Vec::new();
    for _ in 2..=4 {
        let job = soon("lease", jobs.lease()).await??;
        again.push((*job, job.attempt()));
        job.ack().await?;
    }
    if !other.provider()?.capabilities().front {
        again.sort_unstable();
    }
    assert_eq!(again, [(2, 1), (3, 1), (4, 1)]);
    let [late, dropped] = held;
    assert!(kind(&late.ack().await).is_some());
    drop(dropped);
    assert_eq!(jobs.stats().await?.unfinished(), 0);
    Ok(())
}

/// After a shutdown has begun nothing is taken, not even by a take that waits already. It waits for
/// held leases.
pub async fn shutdown_ends_waiting_takes(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (jobs, mail) = (bus.queue::<u32>("jobs"), bus.queue::<u32>("mail"));
    mail.put(&1).await?;
    let letter = mail.lease().await?;
    let (mut get, mut lease) = (pin!(jobs.get()), pin!(jobs.lease()));
    assert!(poll_once(get.as_mut()).await.is_pending());
    assert!(poll_once(lease.as_mut()).await.is_pending());

    let takes = async {
        assert_eq!(kind(&get.await), Some(ErrorKind::Closed));
        assert_eq!(kind(&lease.await), Some(ErrorKind::Closed));
        assert_eq!(kind(&jobs.try_get().await), Some(ErrorKind::Closed));
        // The shutdown waits for this lease, and the provider is open until then.
        jobs.put(&2).await?;
        letter.ack().await
    };
    let (down, takes) = tokio::join!(soon("shutdown", bus.shutdown(LONG)), soon("takes", takes));

    down??;
    takes??;
    assert_eq!(kind(&jobs.put(&3).await), Some(ErrorKind::Closed));
    let other = open(h).await?;
    assert_eq!(other.queue::<u32>("jobs").try_get().await?, Some(2));
    assert!(other.queue::<u32>("mail").is_empty().await?);
    Ok(())
}
