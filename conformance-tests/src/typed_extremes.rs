//! Leases and calls with no time. The operation continues or is refused, and nothing loops.

use std::time::Duration;

use pymq_core::ErrorKind;
use pymq_core::provider::{GetOptions, Wait};

use crate::typed_queues::{kind, open};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// Times that round to zero, in nanoseconds and in milliseconds.
const TINY: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(999),
];

/// A lease of no time lasts the shortest possible time. An item out of attempts is buried, and a
/// take ends.
pub async fn a_lease_of_no_time_ends_in_the_dead_letters(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;

    for (n, time) in TINY.into_iter().enumerate() {
        let jobs = bus
            .queue::<u32>(&format!("jobs {n}"))
            .lease_time(time)
            .max_attempts(1);
        jobs.put(&1).await?;
        // As if its taker had died: the lease runs out.
        let opts = GetOptions::default().wait(Wait::Forever).lease(time);
        soon("a lease", bus.provider()?.queue_get(jobs.name(), opts)).await??;

        until("it is a dead letter", async || {
            let take = jobs.lease_timeout(Duration::from_millis(50));
            drop(soon("a take", take).await);
            jobs.stats().await.is_ok_and(|stats| stats.dead == 1)
        })
        .await?;
    }
    Ok(())
}

/// A worker with leases of no time still works on its items and finishes.
pub async fn a_worker_with_leases_of_no_time_finishes(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus
        .queue::<u32>("jobs")
        .lease_time(Duration::ZERO)
        .unlimited_attempts();
    jobs.put_all(&[1, 2, 3]).await?;

    let worker = jobs.worker(async |_: u32| {}).start()?;
    soon("join", jobs.join()).await??;
    soon("stop", worker.stop()).await?;

    assert_eq!(kind(&jobs.lease_timeout(Duration::ZERO).await), None);
    Ok(())
}

/// A call with no time is a timeout on every provider. It is not sent, so it has not run.
pub async fn a_call_without_time_is_a_timeout(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("f", async || 1_u32).await?;
    let stub = caller.stub::<(), u32>("f").timeout(Duration::ZERO);

    let (one, all) = (stub.call(()).await, stub.call_all(()).await);

    assert_eq!(kind(&one), Some(ErrorKind::Timeout));
    assert_eq!(kind(&all), Some(ErrorKind::Timeout));
    assert!(!one.is_err_and(|error| error.outcome_unknown()));
    let patient = caller.stub::<(), u32>("f").timeout(Duration::MAX);
    assert_eq!(soon("a call", patient.call(())).await??, 1);
    Ok(())
}
