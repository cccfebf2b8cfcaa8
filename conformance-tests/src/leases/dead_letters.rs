//! Dead letters: out of the queue with a reason and an attempt, and back in it on request.

use std::pin::pin;

use pymq_core::MessageId;
use pymq_core::provider::{GetOptions, Part, QueueStats, Redrive, Settle, Stored, Wait};

use crate::jobs::{Jobs, LONG, bury, message, nack};
use crate::moment::parked;
use crate::wait::soon;
use crate::{Harness, Outcome};

/// A buried message leaves the queue for its dead letters, with the reason and the number of its
/// takes.
pub async fn bury_keeps_it_with_reason_and_count(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1]).await?;
    for _ in 0..2 {
        let held = jobs.lease(LONG).await?;
        jobs.settle(&held, nack()).await?;
    }

    jobs.put([2]).await?;
    let held = jobs.lease(LONG).await?;
    jobs.settle(&held, bury("it said \"no\"\n")).await?;

    assert_eq!(jobs.stats().await?, QueueStats::new(1, 0, 0, 1));
    let letters = jobs.provider().queue_peek("jobs", Part::Dead, 10).await?;
    let id = letters
        .first()
        .and_then(|letter| letter.id.clone())
        .ok_or("a dead letter without an id")?;
    assert_eq!(
        letters,
        [Stored::dead(message(1), 3, id, "it said \"no\"\n")]
    );
    assert_eq!(
        jobs.named("other").peek(Part::Dead).await?,
        Vec::<u32>::new()
    );
    assert_eq!(jobs.drain().await?, [2]);
    Ok(())
}

/// Dead letters are peeked in the order in which they died, each under an id that stays.
pub async fn dead_letters_are_seen_oldest_first(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    buried(&jobs, &[3, 1, 2]).await?;

    assert_eq!(jobs.peek(Part::Dead).await?, [3, 1, 2]);
    let ids = ids(&jobs).await?;
    assert_eq!(ids.len(), 3);
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
        "{ids:?}"
    );
    assert_eq!(self::ids(&jobs).await?, ids);
    Ok(())
}

/// Redriven, all dead letters join at the back, the oldest first, as messages that were never
/// taken.
pub async fn dead_letters_can_be_redriven(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    buried(&jobs, &[3, 1, 2]).await?;
    jobs.put([9]).await?;

    assert_eq!(
        jobs.provider().queue_redrive("jobs", Redrive::All).await?,
        3
    );
    assert_eq!(jobs.stats().await?, QueueStats::new(4, 0, 0, 0));
    let again = jobs.lease_batch(4, LONG).await?;

    assert_eq!(
        again.iter().map(|held| held.item).collect::<Vec<_>>(),
        [9, 3, 1, 2]
    );
    assert_eq!(
        again.iter().map(|held| held.attempt).collect::<Vec<_>>(),
        [1; 4]
    );
    assert_eq!(
        jobs.provider().queue_redrive("jobs", Redrive::All).await?,
        0
    );
    Ok(())
}

/// Some dead letters are redriven by their ids, in the requested order. Unknown ids are skipped.
pub async fn dead_letters_can_be_redriven_by_id(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    buried(&jobs, &[0, 1, 2, 3]).await?;
    let ids = ids(&jobs).await?;

    let some = vec![
        ids[2].clone(),
        "never was".into(),
        ids[0].clone(),
        ids[2].clone(),
    ];
    assert_eq!(
        jobs.provider()
            .queue_redrive("jobs", Redrive::Ids(some.clone()))
            .await?,
        2
    );

    assert_eq!(jobs.peek(Part::Dead).await?, [1, 3]);
    assert_eq!(jobs.drain().await?, [2, 0]);
    assert_eq!(
        jobs.provider()
            .queue_redrive("jobs", Redrive::Ids(some))
            .await?,
        0
    );
    assert_eq!(
        jobs.provider()
            .queue_redrive("jobs", Redrive::Ids(Vec::new()))
            .await?,
        0
    );
    Ok(())
}

/// An id that almost equals that of a dead letter matches none.
pub async fn malformed_ids_name_no_dead_letter(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    buried(&jobs, &[1]).await?;
    let id = ids(&jobs).await?.remove(0);
    let id = id.as_str();

    let nearly = [
        format!("0{id}"),
        format!("+{id}"),
        format!(" {id}"),
        format!("{id} "),
        format!("{id}:"),
        format!("{id}:1"),
        String::new(),
    ];
    let nearly = nearly.into_iter().map(MessageId::new).collect();
    let moved = jobs
        .provider()
        .queue_redrive("jobs", Redrive::Ids(nearly))
        .await?;

    assert_eq!(moved, 0);
    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 0, 1));
    Ok(())
}

/// A redrive moves the letters that are dead when it begins. It ends and counts right while workers
/// bury again what it moved.
pub async fn redrive_ends_while_messages_die_again(h: &dyn Harness) -> Outcome {
    const COUNT: u32 = 2_500;
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    jobs.put(0..COUNT).await?;
    let mut buried = 0;
    while buried < COUNT {
        buried += bury_some(&jobs).await?;
    }

    let mut died_again = 0;
    let redriving = async {
        soon(
            "the redrive",
            jobs.provider().queue_redrive("jobs", Redrive::All),
        )
        .await
    };
    let mut redriving = pin!(redriving);
    let redriven = loop {
        tokio::select! {
            redriven = &mut redriving => break redriven??,
            some = bury_some(&other) => died_again += some?,
        }
    };

    assert_eq!(redriven, usize::try_from(COUNT)?);
    assert!(died_again <= COUNT, "{died_again}");
    Ok(())
}

/// Leases and buries some ready items, and returns how many.
async fn bury_some(jobs: &Jobs) -> Outcome<u32> {
    let some = jobs.lease_batch(200, LONG).await?;
    jobs.settle_all(some.iter().map(|held| (held, bury("again"))))
        .await?;
    if some.is_empty() {
        tokio::task::yield_now().await;
    }
    Ok(u32::try_from(some.len())?)
}

/// A redriven message can die again, and it wakes a waiting take.
pub async fn waiting_get_is_woken_by_redrive(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);

    for _ in 0..2 {
        buried(&jobs, &[1]).await?;
        let waiting = soon(
            "a waiting get",
            other.take(GetOptions::default().wait(Wait::Forever)),
        );
        let redriving = async {
            parked().await;
            jobs.provider().queue_redrive("jobs", Redrive::All).await
        };
        let (taken, redriven) = tokio::join!(waiting, redriving);

        assert_eq!((taken??.len(), redriven?), (1, 1));
    }
    Ok(())
}

/// Each part is cleared without the others.
pub async fn clear_dead_leaves_the_line(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    buried(&jobs, &[1, 2]).await?;
    jobs.put([3]).await?;

    assert_eq!(jobs.clear(Part::Ready).await?, 1);
    jobs.put([4]).await?;
    assert_eq!(jobs.clear(Part::Dead).await?, 2);

    assert_eq!(jobs.drain().await?, [4]);
    assert_eq!(jobs.stats().await?, QueueStats::default());
    assert_eq!(h.leftovers().await, Vec::<String>::new());
    Ok(())
}

/// Puts items and buries them in the given order.
async fn buried(jobs: &Jobs, items: &[u32]) -> Outcome {
    for item in items {
        jobs.put([*item]).await?;
        let held = jobs.lease(LONG).await?;
        jobs.settle(
            &held,
            Settle::Bury {
                reason: format!("{item} is bad"),
            },
        )
        .await?;
    }
    Ok(())
}

async fn ids(jobs: &Jobs) -> Outcome<Vec<MessageId>> {
    let letters = jobs.provider().queue_peek("jobs", Part::Dead, 100).await?;
    letters
        .into_iter()
        .map(|letter| {
            letter
                .id
                .ok_or_else(|| "a dead letter without an id".into())
        })
        .collect()
}
