//! Random work on a queue: it does what the model does, on every provider, for any number of hands.

use std::fmt::Write;

use proptest::prelude::*;
use pymq::provider::{Capabilities, GetOptions, Part};

use super::actor::play;
use super::cases::check;
use super::model::{Answer, How, Model, Op, pulled_apart};
use crate::jobs::{Jobs, at_most, item};
use crate::{Harness, Outcome};

/// Scripts, and the steps of each.
const SCRIPTS: u64 = 64;
const STEPS: usize = 60;

/// Whatever is done to a queue, it answers as the plainest queue there is.
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

/// Two providers answer the same to the same: what was tested on the one holds on the other.
///
/// Not a line of the table: it takes two harnesses, whose time passes alike.
pub async fn transcripts_are_equal(one: &dyn Harness, other: &dyn Harness) -> Outcome {
    let capabilities = one.connect().await?.capabilities();

    check(
        one,
        SCRIPTS,
        || script(capabilities),
        async |script| {
            let queue = queue();
            let (one, other) =
                tokio::try_join!(play(one, &queue, &script), play(other, &queue, &script))?;
            for (step, (answer, expected)) in one.iter().zip(&other).enumerate() {
                if answer != expected {
                    return Err(
                        differs(&one[..=step], &format!("{:?}", expected.1), "the other").into(),
                    );
                }
            }
            Ok(())
        },
    )
    .await
}

/// Two consumers that take batches of any size share the items: each has some or none, nobody has another's.
pub async fn two_consumers_partition_the_items(h: &dyn Harness) -> Outcome {
    let puts = || proptest::collection::vec(0..=7_u32, 0..12);
    let takes = || proptest::collection::vec((any::<bool>(), 1..=5_usize), 0..40);

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
            // At the end both take what is left.
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

fn differs(steps: &[(Op, Answer)], expected: &str, whose: &str) -> String {
    let mut text = format!("{whose} answers {expected} at the end of");
    for (op, answer) in steps {
        // Writing to a string cannot fail.
        write!(text, "\n  {op:?} -> {answer:?}").expect("a string grows");
    }
    text
}

/// Strategies for what a provider of these capabilities can be asked.
fn script(capabilities: Capabilities) -> impl Strategy<Value = Vec<Op>> {
    let (leases, delays) = (
        u32::from(capabilities.leases),
        u32::from(capabilities.delays),
    );
    let op = prop_oneof![
        5 => put(Just(None)),
        3 * delays => put((0..4_usize).prop_map(Some)),
        3 => (1..=3_usize).prop_map(|max| Op::Get { max }),
        6 * leases => (1..=3_usize, 0..4_usize).prop_map(|(max, ticks)| Op::Lease { max, ticks }),
        7 * leases => proptest::collection::vec((0..6_usize, how(delays)), 1..4).prop_map(Op::Settle),
        2 => part().prop_map(Op::Peek),
        1 => part().prop_map(Op::Clear),
        leases => Just(Op::RedriveAll),
        leases => (0..4_usize).prop_map(Op::RedriveOne),
        2 => Just(Op::Stats),
        5 => Just(Op::Tick),
    ];
    proptest::collection::vec(op, STEPS).prop_map(pulled_apart)
}

fn put(delay: impl Strategy<Value = Option<usize>>) -> impl Strategy<Value = Op> {
    let maxsize = prop_oneof![3 => Just(None), 1 => (1..8_usize).prop_map(Some)];
    let once = prop_oneof![4 => Just(None), 1 => (0..4_u8).prop_map(Some)];
    (1..=3_usize, delay, maxsize, once).prop_map(|(count, delay, maxsize, once)| {
        // A bound is on what is in line; of a put that is not, it says nothing.
        let maxsize = maxsize.filter(|_| delay.is_none());
        Op::Put {
            count,
            delay,
            maxsize,
            once,
        }
    })
}

fn how(delays: u32) -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Ack),
        3 => Just(How::Nack),
        2 * delays => (0..3_usize).prop_map(How::NackLater),
        2 => Just(How::Release),
        2 => (0..4_usize).prop_map(How::Extend),
        2 => Just(How::Bury),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![Just(Part::Ready), Just(Part::Delayed), Just(Part::Dead)]
}
