//! Random work on a queue: every provider does what the model does, on any handle.

use std::fmt::{self, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;
use pymq_core::provider::{Capabilities, GetOptions, Part};

use super::actor::play;
use super::cases::check;
use super::model::{Answer, How, Model, Op, pulled_apart};
use crate::jobs::{Jobs, at_most, item};
use crate::{Harness, Outcome};

/// The number of scripts, and the average number of steps of one.
const SCRIPTS: u64 = 64;
const STEPS: usize = 60;

/// A queue answers every operation like the model.
pub async fn queue_matches_model(h: &dyn Harness) -> Outcome {
    let capabilities = h.connect().await?.capabilities();

    check(
        h,
        SCRIPTS,
        || script(capabilities),
        async |script| {
            let transcript = play(h, &queue(), &script).await?;
            let mut model = Model::default();
            for (step, (op, answer)) in transcript.iter().enumerate() {
                let expected = model.apply(op);
                if *answer != expected {
                    return Err(differs(
                        &transcript[..=step],
                        &format!("{expected:?}"),
                        "the model",
                    )
                    .into());
                }
            }
            Ok(())
        },
    )
    .await
}

/// Two providers give the same answers to the same operations: what was tested on one holds on the
/// other.
///
/// Not a line of the table, because it needs two harnesses. Their time must pass in the same way.
pub async fn transcripts_are_equal(one: &dyn Harness, other: &dyn Harness) -> Outcome {
    let capabilities = one.connect().await?.capabilities();

    check(
        one,
        SCRIPTS,
        || script(capabilities),
        async |script| {
            let queue = queue();
            let (ones, others) =
                tokio::try_join!(play(one, &queue, &script), play(other, &queue, &script))?;
            for (step, (answer, expected)) in ones.iter().zip(&others).enumerate() {
                if answer != expected {
                    return Err(
                        differs(&ones[..=step], &format!("{:?}", expected.1), "the other").into(),
                    );
                }
            }
            Ok(())
        },
    )
    .await
}

/// Two consumers that take batches of any size share the items: no item is taken twice or lost.
pub async fn two_consumers_partition_the_items(h: &dyn Harness) -> Outcome {
    let puts = || vec(0..=7_u32, 0..12);
    let takes = || vec((any::<bool>(), 1..=5_usize), 0..40);

    check(
        h,
        32,
        || (puts(), takes()),
        async |(puts, takes)| {
            let queue = queue();
            let consumers = [
                Jobs::open(h).await?.named(&queue),
                Jobs::open(h).await?.named(&queue),
            ];
            let mut put = 0;
            for count in puts {
                consumers[0].put(put..put + count).await?;
                put += count;
            }
            let mut shares = [Vec::new(), Vec::new()];
            // At the end both take the rest.
            let rest = [(true, 1_000), (false, 1_000)];
            for (is_second, max) in takes.into_iter().chain(rest) {
                let consumer = usize::from(is_second);
                for delivery in consumers[consumer]
                    .take(GetOptions::default().max(at_most(max)))
                    .await?
                {
                    shares[consumer].push(item(&delivery.message)?);
                }
            }

            let mut union = shares.concat();
            union.sort_unstable();
            if union != (0..put).collect::<Vec<_>>() {
                return Err(format!("{put} items were shared as {shares:?}").into());
            }
            if !shares.iter().all(|share| share.is_sorted()) {
                return Err(format!("a share is out of order: {shares:?}").into());
            }
            Ok(())
        },
    )
    .await
}

/// Every case has a queue of its own.
fn queue() -> String {
    format!("case-{}", uuid::Uuid::new_v4())
}

fn differs(steps: &[(Op, Answer)], expected: &str, reference: &str) -> String {
    let mut text = format!("{reference} answers {expected} at the end of");
    for (op, answer) in steps {
        // Writing to a string cannot fail.
        write!(text, "\n  {op:?} -> {answer:?}").expect("a string grows");
    }
    text
}

/// What a provider of these capabilities can be asked.
fn script(capabilities: Capabilities) -> impl Strategy<Value = Vec<Op>> {
    let (leases, delays) = (
        // Without these two the model cannot know the order in the queue, or which receipt
        // succeeds.
        u32::from(capabilities.leases && capabilities.front && capabilities.fenced),
        u32::from(capabilities.delays),
    );
    // If a batch may be put in part, the model cannot know how long it is.
    let batch = if capabilities.atomic_batches { 3 } else { 1 };
    let op = weighted(vec![
        (5, put(batch, Just(None)).boxed()),
        (3 * delays, put(batch, (0..4_usize).prop_map(Some)).boxed()),
        (3, (1..=3_usize).prop_map(|max| Op::Get { max }).boxed()),
        (
            6 * leases,
            (1..=3_usize, 0..4_usize)
                .prop_map(|(max, ticks)| Op::Lease { max, ticks })
                .boxed(),
        ),
        (
            7 * leases,
            vec((0..6_usize, how(delays)), 1..4)
                .prop_map(Op::Settle)
                .boxed(),
        ),
        (2, part(capabilities).prop_map(Op::Peek).boxed()),
        (1, part(capabilities).prop_map(Op::Clear).boxed()),
        (leases, Just(Op::RedriveAll).boxed()),
        (leases, (0..4_usize).prop_map(Op::RedriveOne).boxed()),
        (2, Just(Op::Stats).boxed()),
        (1, Just(Op::Crash).boxed()),
        (5, Just(Op::Tick).boxed()),
    ]);
    vec(op, 1..2 * STEPS).prop_map(pulled_apart)
}

fn put(batch: usize, delay: impl Strategy<Value = Option<usize>>) -> impl Strategy<Value = Op> {
    let maxsize = prop_oneof![3 => Just(None), 1 => (1..8_usize).prop_map(Some)];
    let once = prop_oneof![4 => Just(None), 1 => (0..4_u8).prop_map(Some)];
    (1..=batch, delay, maxsize, once).prop_map(|(count, delay, maxsize, once)| Op::Put {
        count,
        delay,
        maxsize,
        once,
    })
}

fn how(delays: u32) -> impl Strategy<Value = How> {
    weighted(vec![
        (4, Just(How::Ack).boxed()),
        (3, Just(How::Nack).boxed()),
        (2 * delays, (0..3_usize).prop_map(How::NackLater).boxed()),
        (2, Just(How::Release).boxed()),
        (2, (0..4_usize).prop_map(How::Extend).boxed()),
        (2, Just(How::Bury).boxed()),
    ])
}

fn part(capabilities: Capabilities) -> impl Strategy<Value = Part> {
    weighted(vec![
        (1, Just(Part::Ready).boxed()),
        (u32::from(capabilities.delays), Just(Part::Delayed).boxed()),
        (u32::from(capabilities.leases), Just(Part::Dead).boxed()),
    ])
}

/// Chooses one of these, by weight. Shrinking never chooses one with the weight zero.
fn weighted<T: fmt::Debug>(
    mut strategies: Vec<(u32, BoxedStrategy<T>)>,
) -> impl Strategy<Value = T> {
    strategies.retain(|(weight, _)| *weight > 0);
    Union::new_weighted(strategies)
}
