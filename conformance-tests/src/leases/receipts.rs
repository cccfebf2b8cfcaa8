//! A receipt is valid for one lease, once. Any other use is refused and changes nothing.

use pymq_core::ErrorKind;
use pymq_core::provider::{Part, QueueStats, Receipt, Settle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::jobs::{Held, Jobs, LONG, SHORT, bury, nack};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// After the end of the lease no settlement is accepted, even if no other taker has the message. If
/// a stale receipt may succeed, each message is settled by its own settlement or is ready.
pub async fn stale_receipt_is_lease_lost(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let ways = every_way();
    jobs.put(0..5).await?;
    let batch = jobs.lease_batch(5, SHORT).await?;
    sleep(SHORT * 2).await;

    let answers = kinds(jobs.settle_all(batch.iter().zip(ways)).await?);

    if !jobs.declares().fenced {
        // In the order of `every_way`.
        let (acked, buried) = (is_made(answers[0]), is_made(answers[4]));
        let stats = jobs.stats().await?;
        assert_eq!(stats.dead, usize::from(buried));
        assert_eq!(stats.unfinished(), 5 - usize::from(acked) - stats.dead);
        return Ok(());
    }
    assert_eq!(answers, [Some(ErrorKind::LeaseLost); 5]);
    assert_eq!(jobs.stats().await?, QueueStats::new(5, 0, 0, 0));
    let again = jobs.lease_batch(5, LONG).await?;
    let again = again.iter().map(|held| (held.item, held.attempt)).collect();
    assert_eq!(
        jobs.in_line(again),
        [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)]
    );
    Ok(())
}

/// When another taker holds the message, the old receipt is refused and the current one works. If a
/// stale receipt may succeed, it settles this message and no other.
pub async fn superseded_receipt_is_lease_lost_and_current_works(h: &dyn Harness) -> Outcome {
    let (jobs, other) = (Jobs::open(h).await?, Jobs::open(h).await?);
    if !jobs.declares().fenced {
        return superseded_receipt_settles_its_own_message(&jobs, &other).await;
    }
    jobs.put([1]).await?;
    let old = jobs.lease(SHORT).await?;
    let current = other.lease(LONG).await?;

    for how in every_way() {
        let refused = jobs.settle(&old, how.clone()).await;
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(ErrorKind::LeaseLost),
            "{how:?}"
        );
    }

    assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 1, 0));
    other.settle(&current, Settle::Ack).await?;
    assert_eq!(jobs.stats().await?, QueueStats::default());
    Ok(())
}

async fn superseded_receipt_settles_its_own_message(jobs: &Jobs, other: &Jobs) -> Outcome {
    for how in every_way() {
        // Leased messages stay leased, so each round has its own queue.
        let queue = format!("{how:?}");
        let (jobs, other) = (jobs.named(&queue), other.named(&queue));
        jobs.put([1]).await?;
        let old = jobs.lease(SHORT).await?;
        other.lease(LONG).await?;
        jobs.put([2]).await?;

        let settled = jobs.settle(&old, how.clone()).await;

        let is_made = is_made(settled.err().map(|error| error.kind()));
        let stats = jobs.stats().await?;
        let is_gone = is_made && how == Settle::Ack;
        let is_dead = is_made && how == bury("stale");
        assert_eq!(stats.dead, usize::from(is_dead), "{how:?}");
        assert_eq!(
            stats.unfinished(),
            2 - usize::from(is_gone) - stats.dead,
            "{how:?}"
        );
    }
    Ok(())
}

/// A second settlement is refused after every kind of first one, and affects no other message. If a
/// stale receipt may succeed, it affects no other message either.
pub async fn double_settle_is_lease_lost_and_harmless(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;

    for first in [Settle::Ack, nack(), Settle::Release, bury("first")] {
        jobs.put([1]).await?;
        let held = jobs.lease(LONG).await?;
        jobs.settle(&held, first.clone()).await?;
        jobs.put([2, 3]).await?;
        let before = jobs.stats().await?;

        for second in every_way() {
            let settled = jobs.settle(&held, second.clone()).await;
            let answer = settled.err().map(|error| error.kind());
            assert!(
                answer == Some(ErrorKind::LeaseLost) || !jobs.declares().fenced && answer.is_none(),
                "{answer:?} to {second:?} after {first:?}"
            );
        }

        if jobs.declares().fenced {
            assert_eq!(jobs.stats().await?, before, "after {first:?}");
            jobs.drain().await?;
        } else {
            let mut left = jobs.drain().await?;
            left.retain(|item| *item != 1);
            assert_eq!(left, [2, 3], "after {first:?}");
        }
    }
    Ok(())
}

/// A receipt that is given twice in one call settles once: the first settlement counts.
pub async fn receipt_twice_in_one_call_settles_once(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2]).await?;
    let held = jobs.lease(LONG).await?;

    let answers = jobs
        .settle_all([(&held, nack()), (&held, Settle::Ack), (&held, nack())])
        .await?;

    let answers = kinds(answers);
    assert_eq!(answers[0], None);
    if !jobs.declares().fenced {
        let expected: &[u32] = if is_made(answers[1]) { &[2] } else { &[1, 2] };
        return jobs.assert_drained(expected).await;
    }
    assert_eq!(answers[1..], [Some(ErrorKind::LeaseLost); 2]);
    jobs.assert_drained(&[1, 2]).await
}

/// Of many settlements at once on several handles, exactly one succeeds. If a stale receipt may
/// succeed, the message is gone if an ack succeeded, and otherwise ready.
pub async fn concurrent_settle_has_one_winner(h: &dyn Harness) -> Outcome {
    let handles = [Jobs::open(h).await?, Jobs::open(h).await?];

    for round in 0..20 {
        handles[0].put([round]).await?;
        let held = handles[0].lease(LONG).await?;
        let mut settling = JoinSet::new();
        for n in 0..8 {
            let (jobs, held) = (handles[n % 2].clone(), held.clone());
            let how = if n % 3 == 0 { nack() } else { Settle::Ack };
            settling.spawn(async move { (how.clone(), jobs.settle(&held, how).await) });
        }
        let mut winners = Vec::new();
        while let Some(settled) = soon("a settlement", settling.join_next()).await? {
            match settled? {
                (how, Ok(())) => winners.push(how),
                (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::LeaseLost),
            }
        }

        let left = handles[1].drain().await?;
        if !handles[0].declares().fenced {
            assert!(!winners.is_empty());
            assert_eq!(
                left.is_empty(),
                winners.contains(&Settle::Ack),
                "after {winners:?}"
            );
            continue;
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(
            left.len(),
            usize::from(winners[0] == nack()),
            "after {winners:?}"
        );
    }
    Ok(())
}

/// Each settlement of a batch gets its own result, in order. One lost lease does not affect the
/// others.
pub async fn settlements_are_answered_in_order(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    jobs.put([1, 2, 3]).await?;
    let batch = jobs.lease_batch(3, LONG).await?;
    jobs.settle(&batch[1], Settle::Ack).await?;

    let answers = jobs
        .settle_all(batch.iter().map(|held| (held, Settle::Ack)))
        .await?;

    assert_eq!(kinds(answers), [None, Some(ErrorKind::LeaseLost), None]);
    assert_eq!(jobs.settle_all([]).await?.len(), 0);
    assert_eq!(jobs.stats().await?, QueueStats::default());
    Ok(())
}

/// A receipt of another queue, or one that is not a receipt of this provider, is a lost lease.
pub async fn foreign_receipt_is_lease_lost(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    let other = jobs.named("other");
    jobs.put([1]).await?;
    other.put([2]).await?;
    let (held, others) = (jobs.lease(LONG).await?, other.lease(LONG).await?);
    let made_up = [
        "",
        "0",
        "not a receipt",
        "\u{0}:\u{0}",
        "99999999999999999999",
    ];
    let made_up = made_up.map(|receipt| Held {
        receipt: Receipt::new(receipt),
        ..held.clone()
    });

    for foreign in made_up.iter().chain([&others]) {
        for how in every_way() {
            let refused = jobs.settle(foreign, how).await;
            assert_eq!(
                refused.map_err(|error| error.kind()),
                Err(ErrorKind::LeaseLost),
                "{foreign:?}"
            );
        }
    }

    jobs.settle(&held, Settle::Ack).await?;
    other.settle(&others, Settle::Ack).await?;
    Ok(())
}

/// A receipt that almost equals another one is a lost lease, and affects no other settlement of its
/// call.
pub async fn malformed_receipts_spoil_no_other(h: &dyn Harness) -> Outcome {
    let jobs = Jobs::open(h).await?;
    for how in every_way() {
        jobs.put([1, 2]).await?;
        let held = [jobs.lease(LONG).await?, jobs.lease(LONG).await?];
        let malformed = nearly(&held[1].receipt).map(|receipt| Held {
            receipt,
            ..held[1].clone()
        });

        let calls = [&held[0]].into_iter().chain(&malformed);
        let answers = jobs
            .settle_all(calls.map(|held| (held, how.clone())))
            .await?;

        let lost = [Some(ErrorKind::LeaseLost); 8];
        assert_eq!(kinds(answers), [&[None], &lost[..]].concat(), "{how:?}");
        jobs.settle(&held[1], Settle::Ack).await?;
        if matches!(how, Settle::Extend { .. }) {
            jobs.settle(&held[0], Settle::Ack).await?;
        }
        jobs.clear(Part::Ready).await?;
        assert_eq!(jobs.stats().await?.unfinished(), 0, "{how:?}");
    }
    Ok(())
}

/// Returns receipts that a lenient reader would take for this one, or would fail on.
fn nearly(receipt: &Receipt) -> [Receipt; 8] {
    let bytes = receipt.as_bytes();
    let (last, head) = bytes.split_last().expect("a receipt has bytes");
    [
        [head, b"0", &[*last]].concat(),
        [head, b"+", &[*last]].concat(),
        [head, b" ", &[*last]].concat(),
        [head, b"99999999999999999999999"].concat(),
        [bytes, b" "].concat(),
        [bytes, b".0"].concat(),
        [b"0", bytes].concat(),
        head.to_vec(),
    ]
    .map(Receipt::new)
}

/// A late ack after another taker has the lease, a second ack, an ack of a dead letter: in every
/// order each is refused, and the lease of the second worker stays.
pub async fn settlements_of_the_past_change_nothing_in_any_order(h: &dyn Harness) -> Outcome {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let (first, second) = (Jobs::open(h).await?, Jobs::open(h).await?);
    for round in 0..20 {
        let queue = format!("jobs{round}");
        let (jobs, other) = (first.named(&queue), second.named(&queue));
        jobs.put([0, 1, 2]).await?;
        let [acked, dead] = [jobs.lease(LONG).await?, jobs.lease(LONG).await?];
        let late = jobs.lease(SHORT / 5).await?;
        jobs.settle(&acked, Settle::Ack).await?;
        jobs.settle(&dead, bury("bad")).await?;
        let current = other.lease(LONG).await?;
        assert_eq!((current.item, current.attempt), (late.item, 2));

        let past = [late, acked, dead];
        if !jobs.declares().fenced {
            // A late ack may finish the item of the second worker, and no other.
            let late = jobs.settle(&past[0], Settle::Ack).await;
            let stats = QueueStats::new(0, 0, usize::from(late.is_err()), 1);
            assert_eq!(jobs.stats().await?, stats, "round {round}");
            continue;
        }
        for at in ORDERS[round % ORDERS.len()] {
            let refused = jobs.settle(&past[at], Settle::Ack).await;
            assert_eq!(
                refused.map_err(|error| error.kind()),
                Err(ErrorKind::LeaseLost),
                "item {at} in round {round}"
            );
        }

        assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 1, 1));
        other.settle(&current, Settle::Ack).await?;
        assert_eq!(jobs.stats().await?, QueueStats::new(0, 0, 0, 1));
    }
    Ok(())
}

fn every_way() -> [Settle; 5] {
    [
        Settle::Ack,
        nack(),
        Settle::Release,
        Settle::Extend { lease: LONG },
        bury("stale"),
    ]
}

/// Tells whether this answer means that the settlement succeeded.
fn is_made(answer: Option<ErrorKind>) -> bool {
    answer.is_none()
}

fn kinds(answers: Vec<pymq_core::Result<()>>) -> Vec<Option<ErrorKind>> {
    answers
        .into_iter()
        .map(|answer| answer.err().map(|error| error.kind()))
        .collect()
}
