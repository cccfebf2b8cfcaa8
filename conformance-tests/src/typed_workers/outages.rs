//! A worker waits for a provider that refuses or is away, and does nothing twice because of it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use pymq_core::provider::{Delivery, GetOptions, Provider, Receipt, Settle};
use pymq_core::{Bus, Error, ErrorKind, ItemMeta, Result};
use tokio::sync::mpsc::unbounded_channel;

use crate::twist::{Twist, twisted};
use crate::typed::{next, recorder};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Counts down the calls that fail.
#[derive(Debug)]
struct Failing {
    left: AtomicU32,
    kind: ErrorKind,
    /// Whether a failing settlement was made.
    settles: bool,
}

impl Failing {
    fn times(calls: u32, kind: ErrorKind) -> Self {
        Self {
            left: calls.into(),
            kind,
            settles: false,
        }
    }

    fn fails(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    }

    fn error(&self) -> Error {
        Error::new(self.kind, "outage").with_outcome_unknown()
    }
}

#[derive(Debug)]
struct FailingTakes(Failing);

#[async_trait]
impl Twist for FailingTakes {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        if self.0.fails() {
            return Err(self.0.error());
        }
        inner.queue_get(queue, opts).await
    }
}

#[derive(Debug)]
struct FailingSettlements(Failing);

#[async_trait]
impl Twist for FailingSettlements {
    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        if !self.0.fails() {
            return inner.queue_settle(queue, settlements).await;
        }
        if self.0.settles {
            inner.queue_settle(queue, settlements).await?;
        }
        Err(self.0.error())
    }
}

/// No error of a take ends a worker. It continues when takes succeed.
pub async fn a_refused_take_does_not_end_the_worker(h: &dyn Harness) -> Outcome {
    for kind in [
        ErrorKind::Disconnected,
        ErrorKind::Permission,
        ErrorKind::Provider,
    ] {
        let provider = h.connect().await?;
        let failing = FailingTakes(Failing::times(4, kind));
        let bus = Bus::new(twisted(provider, failing));
        let jobs = bus.queue::<u32>("jobs");
        let (record, mut arrived) = recorder::<u32>();
        jobs.put(&1).await?;

        let worker = jobs.worker(record).start()?;

        assert_eq!(next(&mut arrived).await?, 1);
        soon("join", jobs.join()).await??;
        worker.stop().await;
    }
    Ok(())
}

/// Items that finish during an outage are settled after it. The work is done once, whether or not
/// the failed settlement was made.
pub async fn what_is_finished_in_an_outage_is_settled_after_it(h: &dyn Harness) -> Outcome {
    for settles in [false, true] {
        let failing = Failing {
            settles,
            ..Failing::times(4, ErrorKind::Disconnected)
        };
        let bus = Bus::new(twisted(h.connect().await?, FailingSettlements(failing)));
        let jobs = bus.queue::<u32>("jobs");
        let (told, mut begun) = unbounded_channel();
        let handler = move |item: u32, meta: ItemMeta| {
            told.send((item, meta.attempt())).ok();
            ready(())
        };
        jobs.put_all(&[1, 2, 3]).await?;

        let worker = jobs.worker(handler).start()?;
        soon("join", jobs.join()).await??;
        worker.stop().await;

        for item in 1..=3 {
            assert_eq!(begun.try_recv().ok(), Some((item, 1)), "settles: {settles}");
        }
        assert!(begun.try_recv().is_err());
    }
    Ok(())
}
