//! What handlers share, and how the causes of their failures are reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pymq_core::{CallMeta, ErrorKind, Meta, State};

use super::{kind, open};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

#[derive(Clone, Default)]
struct Sum(Arc<AtomicU64>);

impl Sum {
    fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::SeqCst) + n
    }
}

async fn count(State(sum): State<Sum>, n: u64) {
    sum.add(n);
}

async fn count_with_meta(State(sum): State<Sum>, n: u64, meta: Meta) {
    assert_eq!(meta.topic(), "numbers");
    sum.add(n);
}

async fn total(State(sum): State<Sum>) -> u64 {
    sum.add(0)
}

async fn plus(State(sum): State<Sum>, a: u64, b: u64, _meta: CallMeta) -> u64 {
    sum.add(a + b)
}

/// Handlers and functions get the state of the handle that registered them.
pub async fn handlers_and_functions_share_a_state(h: &dyn Harness) -> Outcome {
    let plain = open(h).await?;
    let (one, two) = (Sum::default(), Sum::default());
    let bus = plain.clone().with_state(one.clone());
    let _counting = bus.topic("numbers").subscribe(count).await?;
    let other = bus
        .clone()
        .with_state(two.clone())
        .with_state("of another type");
    let _more = other
        .topic("numbers")
        .concurrency(2)
        .subscribe(count_with_meta)
        .await?;
    let _total = bus.expose("total", total).await?;
    let _plus = bus.expose("plus", plus).await?;

    plain.topic("numbers").publish(&7).await?;

    until("both have counted", async || {
        [&one, &two].iter().all(|sum| sum.add(0) == 7)
    })
    .await?;
    let plus = plain.stub::<(u64, u64), u64>("plus");
    assert_eq!(soon("the call", plus.call((1, 2))).await??, 10);
    let total = plain.stub::<(), u64>("total");
    assert_eq!(soon("the call", total.call(())).await??, 10);
    Ok(())
}

/// If the bus lacks a state, the registration fails with an error that names the type.
pub async fn a_missing_state_is_refused(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?.with_state(7_u64);

    let subscribed = bus.topic("numbers").subscribe(count).await;
    let exposed = bus.expose("total", total).await;
    let worked = bus.queue::<u64>("numbers").worker(count).start();

    for refused in [subscribed, exposed, worked] {
        assert_eq!(kind(&refused), Some(ErrorKind::InvalidConfig));
        let text = refused
            .err()
            .map(|error| format!("{error:?} {error:#}"))
            .unwrap_or_default();
        assert!(text.contains("Sum"), "{text}");
    }
    assert_eq!(bus.topic("numbers").publish(&1).await?, 0);
    Ok(())
}
