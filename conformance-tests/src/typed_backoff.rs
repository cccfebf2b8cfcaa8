//! How long a failed item waits before a worker tries it again.

use std::future::ready;
use std::time::Duration;

use pymq_core::ItemMeta;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::typed::{next, open};
use crate::wait::{soon, until};
use crate::{Clock, Harness, Outcome};

/// While a failed item waits for its retry, it is not leased, and others pass it, also with one
/// handler.
pub async fn a_failed_item_rests_and_lets_others_pass(h: &dyn Harness) -> Outcome {
    let rest = Duration::from_secs(1);
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let (told, mut begun) = unbounded_channel();
    let handler = move |item: u32, meta: ItemMeta| {
        told.send((item, meta.attempt())).ok();
        ready(if item == 1 && meta.attempt() == 1 {
            Err("not yet")
        } else {
            Ok(())
        })
    };
    jobs.put_all(&[1, 2, 3]).await?;
    let start = Instant::now();

    let _worker = jobs.worker(handler).backoff(rest, rest).start()?;

    assert_eq!(next(&mut begun).await?, (1, 1));
    assert_eq!(next(&mut begun).await?, (2, 1));
    assert_eq!(next(&mut begun).await?, (3, 1));
    until("the others are settled", async || {
        jobs.stats()
            .await
            .is_ok_and(|stats| stats.unfinished() == 1)
    })
    .await?;
    if h.clock() == Clock::Paused {
        assert_eq!(jobs.stats().await?.delayed, 1);
    }
    assert_eq!(next(&mut begun).await?, (1, 2));
    assert!(
        start.elapsed() >= rest / 2,
        "tried again after {:?}",
        start.elapsed()
    );
    soon("join", jobs.join()).await??;
    Ok(())
}

/// The delay doubles with each attempt up to a maximum. It is cut by at most a half, and is the
/// same in each run of a test.
pub async fn the_rest_doubles_up_to_the_longest(h: &dyn Harness) -> Outcome {
    let first = Duration::from_millis(100);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let bus = open(h).await?;
        let jobs = bus.queue::<u32>("jobs").max_attempts(6);
        let (told, mut begun) = unbounded_channel();
        let handler = move |_: u32| {
            told.send(Instant::now()).ok();
            ready(Err::<(), _>("never"))
        };
        jobs.put(&1).await?;

        let worker = jobs.worker(handler).backoff(first, first * 4).start()?;
        let mut last = next(&mut begun).await?;
        let mut rests = Vec::new();
        for longest in [1, 2, 4, 4, 4] {
            let now = next(&mut begun).await?;
            let (rest, longest) = (now - last, first * longest);
            assert!(
                rest + Duration::from_millis(2) >= longest / 2,
                "{rest:?} of {longest:?}"
            );
            if h.clock() == Clock::Paused {
                assert!(
                    rest <= longest + Duration::from_millis(1),
                    "{rest:?} of {longest:?}"
                );
            }
            rests.push(rest);
            last = now;
        }
        soon("join", jobs.join()).await??;
        worker.stop().await;
        assert_eq!(jobs.dead_letters().clear().await?, 1);
        runs.push(rests);
    }
    if h.clock() == Clock::Paused {
        assert_eq!(runs[0], runs[1]);
    }
    Ok(())
}
