//! Puts, takes and peeks, dropped at each poll.

use std::time::Duration;

use futures_util::StreamExt;
use pymq_core::{Bus, Queue, Result};

use super::{POLLS, dropped_after, leaves_nothing, open_halting};
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

/// Dropped puts put all of their items once, or none.
pub async fn dropped_puts_are_all_or_nothing(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let is_atomic = bus.provider()?.capabilities().atomic_batches;

    for polls in 1..=POLLS {
        let queue = bus.queue::<u32>("q").maxsize(10);
        let batches = if is_atomic {
            queue.clone()
        } else {
            queue.clone().unbounded()
        };
        let runs = [
            dropped_after(polls, queue.put(&1)).await,
            dropped_after(polls, queue.put_timeout(&2, LONG)).await,
            dropped_after(polls, queue.try_put(&3)).await,
            dropped_after(polls, batches.put_all(&[4, 5, 6])).await,
        ];
        queue.put(&7).await?;

        let items = drain(&queue).await?;
        let batch: Vec<_> = items.iter().filter(|item| (4..7).contains(*item)).collect();
        assert!(batch.is_empty() || batch == [&4, &5, &6], "{items:?}");
        assert!(items.is_sorted_by(|a, b| a < b), "{items:?}");
        assert_eq!(items.last(), Some(&7));
        for (run, item) in runs.iter().zip(1..) {
            if let Some(put) = &run.output {
                assert!(put.is_ok() && items.contains(&item), "{put:?}: {items:?}");
            }
        }
        if runs.iter().all(|run| run.is_last) {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// A put that is dropped while it waits for space puts its item once or not, and never exceeds the
/// bound.
pub async fn dropped_waiting_puts_keep_the_bound(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let queue = bus.queue::<u32>("q").maxsize(1);

    for polls in 1..=POLLS {
        queue.put(&1).await?;
        let (run, taken) = tokio::join!(dropped_after(polls, queue.put(&2)), queue.get());
        assert_eq!(taken?, 1);

        let items = drain(&queue).await?;
        assert!(items.len() <= 1, "{items:?}");
        if let Some(put) = run.output {
            put?;
            assert_eq!(items, [2]);
        }
        if run.is_last {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// Dropped takes of every kind lose nothing and double nothing: the next take gets their items.
pub async fn dropped_takes_lose_nothing(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let queue = bus.queue::<u32>("q");

    for polls in 1..=POLLS {
        let mut is_last = true;
        for kind in 0..5 {
            queue.put_all(&[1, 2, 3]).await?;
            let run = match kind {
                0 => as_vec(dropped_after(polls, queue.get()).await.into_parts())?,
                1 => some(
                    dropped_after(polls, queue.get_timeout(LONG))
                        .await
                        .into_parts(),
                )?,
                2 => some(dropped_after(polls, queue.try_get()).await.into_parts())?,
                3 => many(dropped_after(polls, queue.get_many(2)).await.into_parts())?,
                _ => {
                    let mut stream = queue.stream();
                    let (taken, is_last) = dropped_after(polls, stream.next()).await.into_parts();
                    as_vec((taken.flatten(), is_last))?
                }
            };
            let (mut items, is_done) = run;
            is_last &= is_done;
            // An item may be in transit to the dropped take, and then in transit back.
            while items.len() < 3 {
                items.push(soon("what is left", queue.get()).await??);
            }
            items.sort_unstable();
            assert_eq!(items, [1, 2, 3], "take {kind} after {polls} polls");
            assert!(queue.is_empty().await?);
        }
        if is_last {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// A waiting take that is dropped when an item comes leaves it to the next take.
pub async fn dropped_waiting_takes_leave_what_comes(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let queue = bus.queue::<u32>("q");

    for polls in 1..=POLLS {
        let (run, put) = tokio::join!(dropped_after(polls, queue.get()), queue.put(&polls));
        put?;
        let item = match run.output {
            Some(item) => item?,
            None => soon("get", queue.get()).await??,
        };
        assert_eq!(item, polls);
        assert!(queue.is_empty().await?);
        if run.is_last {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// Dropped peeks change nothing. A dropped clear removes all or nothing.
pub async fn dropped_looks_change_nothing(h: &dyn Harness) -> Outcome {
    let bus = open_halting(h).await?;
    let queue = bus.queue::<u32>("q").maxsize(2);

    for polls in 1..=POLLS {
        queue.clone().unbounded().put_all(&[1, 2]).await?;
        let looks = [
            dropped_after(polls, queue.len()).await.is_last,
            dropped_after(polls, queue.is_empty()).await.is_last,
            dropped_after(polls, queue.is_full()).await.is_last,
            dropped_after(polls, queue.stats()).await.is_last,
            dropped_after(polls, queue.join()).await.is_last,
            dropped_after(polls, bus.ping(LONG)).await.is_last,
        ];
        assert_eq!(queue.len().await?, 2);
        let clear = dropped_after(polls, queue.clear()).await;

        // A clear in transit does not overtake a later command.
        let items = drain(&queue).await?;
        assert!(items.is_empty() || items == [1, 2], "{items:?}");
        if clear.is_last && looks.iter().all(|is_last| *is_last) {
            break;
        }
    }
    leaves_nothing(h, bus).await
}

/// A dropped shutdown accepts no new work, and another shutdown completes it.
pub async fn dropped_shutdowns_can_be_repeated(h: &dyn Harness) -> Outcome {
    for polls in 1..=POLLS {
        let bus = open_halting(h).await?;
        let _guard = bus.topic("t").subscribe(async |_: u32| {}).await?;

        let run = dropped_after(polls, bus.shutdown(LONG)).await;

        assert!(bus.is_closed());
        soon("shutdown", bus.close()).await??;
        if run.is_last {
            break;
        }
    }
    until("nothing is left", async || h.leftovers().await.is_empty()).await
}

/// A dropped connect leaves nothing that disturbs the next one.
pub async fn dropped_connects_leave_nothing(h: &dyn Harness) -> Outcome {
    for polls in 1..=POLLS {
        let run = dropped_after(polls, h.connect()).await;
        if run.is_last {
            drop(run.output);
            break;
        }
    }
    let bus = Bus::new(h.connect().await?);
    bus.queue::<u32>("q").put(&1).await?;
    assert_eq!(bus.queue::<u32>("q").try_get().await?, Some(1));
    leaves_nothing(h, bus).await
}

/// The items that were taken, and whether more polls would change anything.
type Run = (Vec<u32>, bool);

fn as_vec((taken, is_last): (Option<Result<u32>>, bool)) -> Result<Run, Failure> {
    Ok((taken.transpose()?.into_iter().collect(), is_last))
}

fn some((taken, is_last): (Option<Result<Option<u32>>>, bool)) -> Result<Run, Failure> {
    Ok((taken.transpose()?.flatten().into_iter().collect(), is_last))
}

fn many((taken, is_last): (Option<Result<Vec<Result<u32>>>>, bool)) -> Result<Run, Failure> {
    let items = taken.transpose()?.unwrap_or_default();
    Ok((items.into_iter().collect::<Result<_>>()?, is_last))
}

/// Takes all items.
async fn drain(queue: &Queue<u32>) -> Result<Vec<u32>, Failure> {
    let mut items = Vec::new();
    while let Some(item) = queue.try_get().await? {
        items.push(item);
    }
    Ok(items)
}
