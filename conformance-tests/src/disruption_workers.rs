//! A worker through cuts of every connection. Where there is nothing to cut, there is nothing to
//! survive.

use crate::typed::{next, open, recorder};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A worker survives a cut of every connection while it has items and waits for more.
pub async fn a_worker_survives_disconnect(h: &dyn Harness) -> Outcome {
    let (bus, putter) = (open(h).await?, open(h).await?);
    let jobs = putter.queue::<u32>("jobs");
    let (record, mut arrived) = recorder::<u32>();
    let _worker = bus
        .queue::<u32>("jobs")
        .worker(record)
        .concurrency(4)
        .start()?;

    for round in 0..10 {
        h.disrupt().await;
        let put = async || jobs.put_once(format!("{round}"), &round).await.is_ok();
        until("a put succeeds", put).await?;
        while next(&mut arrived).await? != round {}
    }

    soon("join", jobs.join()).await??;
    assert!(jobs.dead_letters().is_empty().await?);
    Ok(())
}
