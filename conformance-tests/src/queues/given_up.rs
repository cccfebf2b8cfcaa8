//! Dropped takes: the messages that were taken for them keep their place.

use std::time::Duration;

use pymq_core::provider::{GetOptions, Settle, Wait};
use tokio::time::timeout;

use crate::jobs::{Jobs, at_most, item};
use crate::{Harness, Outcome};

const ITEMS: u32 = 200;

/// A consumer that drops its takes at any moment gets the items in order, each once. If the
/// provider does not give back to the front, it gets each once.
pub async fn takes_given_up_keep_the_order(h: &dyn Harness) -> Outcome {
    let kinds = [
        GetOptions::default(),
        GetOptions::default().wait(Wait::Forever),
        GetOptions::default().max(at_most(3)),
        GetOptions::default().wait(Wait::For(Duration::from_millis(3))),
    ];

    in_order_with(h, &kinds).await
}

/// Takes everything with takes of these kinds in turn. Most of them are dropped.
pub(crate) async fn in_order_with(h: &dyn Harness, kinds: &[GetOptions]) -> Outcome {
    let (putter, getter) = (Jobs::open(h).await?, Jobs::open(h).await?);
    putter.put(0..ITEMS).await?;

    let mut got = Vec::new();
    let mut kinds = kinds.iter().cycle();
    // From far less than a round trip to more than one.
    let mut limits = (1..40)
        .map(|step| Duration::from_micros(step * step * 10))
        .cycle();
    while got.len() < usize::try_from(ITEMS)? {
        let (opts, limit) = (kinds.next().cloned(), limits.next());
        let take = getter.take(opts.unwrap_or_default());
        let Ok(taken) = timeout(limit.unwrap_or_default(), take).await else {
            continue;
        };
        let mut acks = Vec::new();
        for delivery in taken? {
            got.push(item(&delivery.message)?);
            assert_eq!(delivery.attempt, 1, "a take given up counted an attempt");
            acks.extend(delivery.receipt.map(|receipt| (receipt, Settle::Ack)));
        }
        if !acks.is_empty() {
            let settled = getter.provider().queue_settle("jobs", acks).await?;
            settled.into_iter().collect::<pymq_core::Result<()>>()?;
        }
    }

    let got = getter.in_line(got);
    assert!(got.iter().copied().eq(0..ITEMS), "{got:?}");
    assert_eq!(getter.try_get().await?, None);
    Ok(())
}
