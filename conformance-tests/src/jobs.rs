//! A queue for a behavior. Its items are numbers, and no wait is longer than [`WAIT_LIMIT`].

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::Message;
use pymq_core::provider::{
    Capabilities, Delivery, GetOptions, Part, Provider, Put, PutOptions, QueueStats, Receipt,
    Settle, Wait,
};
use tokio::time::Instant;

use crate::wait::WAIT_LIMIT;
use crate::{Clock, Harness, Outcome};

/// A lease that is longer than any test.
pub const LONG: Duration = Duration::from_secs(3_600);

/// A lease or delay that a test waits for. Nothing has to happen before its end.
pub const SHORT: Duration = Duration::from_millis(250);

/// A lease or delay that a test waits for. There is time before its end, even on a busy machine.
pub const AMPLE: Duration = Duration::from_secs(2);

/// How much earlier than its time an event may come: the clocks of two processes tick in different
/// milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// One queue on one handle of a provider. A clone uses the same handle.
#[derive(Clone, Debug)]
pub struct Jobs {
    provider: Arc<dyn Provider>,
    queue: Arc<str>,
}

/// A leased item.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The number that was put.
    pub item: u32,
    /// How often it was taken.
    pub attempt: u32,
    /// The receipt that settles it.
    pub receipt: Receipt,
}

impl Jobs {
    /// Opens the queue `jobs` through a new handle.
    pub async fn open(h: &dyn Harness) -> Outcome<Self> {
        Ok(Self::on(h.connect().await?))
    }

    /// Opens the queue `jobs` on a given handle.
    pub fn on(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            queue: "jobs".into(),
        }
    }

    /// Opens another queue on the same handle.
    #[must_use]
    pub fn named(&self, queue: &str) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            queue: queue.into(),
        }
    }

    /// Returns the handle.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// Puts items in one batch.
    pub async fn put(&self, items: impl IntoIterator<Item = u32> + Send) -> pymq_core::Result<()> {
        self.put_with(items, PutOptions::default()).await?;
        Ok(())
    }

    /// Puts items in one batch, with options.
    pub async fn put_with(
        &self,
        items: impl IntoIterator<Item = u32> + Send,
        opts: PutOptions,
    ) -> pymq_core::Result<Put> {
        let messages = items.into_iter().map(message).collect();
        self.provider.queue_put(&self.queue, messages, opts).await
    }

    /// Takes with these options.
    pub async fn take(&self, opts: GetOptions) -> pymq_core::Result<Vec<Delivery>> {
        self.provider.queue_get(&self.queue, opts).await
    }

    /// Gets one item. It waits for it.
    pub async fn get(&self) -> Outcome<u32> {
        let taken = self
            .take(GetOptions::default().wait(Wait::For(WAIT_LIMIT)))
            .await?;
        let delivery = taken
            .first()
            .ok_or_else(|| format!("no item came within {WAIT_LIMIT:?}"))?;
        item(&delivery.message)
    }

    /// Gets this many items. It waits for each.
    pub async fn get_many(&self, count: usize) -> Outcome<Vec<u32>> {
        let mut items = Vec::with_capacity(count);
        while items.len() < count {
            items.push(self.get().await?);
        }
        Ok(items)
    }

    /// Gets one item if one is ready.
    pub async fn try_get(&self) -> Outcome<Option<u32>> {
        self.take(GetOptions::default())
            .await?
            .first()
            .map(|delivery| item(&delivery.message))
            .transpose()
    }

    /// Gets the items that are ready, one by one.
    pub async fn drain(&self) -> Outcome<Vec<u32>> {
        let mut items = Vec::new();
        while let Some(item) = self.try_get().await? {
            items.push(item);
        }
        Ok(items)
    }

    /// Gets the items that are ready and asserts that they are these: in this order if the provider
    /// gives back to the front, and otherwise in any order.
    pub async fn assert_drained(&self, expected: &[u32]) -> Outcome {
        let drained = self.drain().await?;
        assert_eq!(self.in_line(drained), expected);
        Ok(())
    }

    /// Returns items in the order in which they were taken if the provider gives back to the front.
    /// Otherwise it sorts them, because their order has no meaning when they come again.
    pub fn in_line<T: Ord>(&self, mut taken: Vec<T>) -> Vec<T> {
        if !self.declares().front {
            taken.sort();
        }
        taken
    }

    /// Returns what the provider declares.
    pub fn declares(&self) -> Capabilities {
        self.provider.capabilities()
    }

    /// Leases one item. It waits for it.
    pub async fn lease(&self, lease: Duration) -> Outcome<Held> {
        let taken = self
            .take(
                GetOptions::default()
                    .wait(Wait::For(WAIT_LIMIT))
                    .lease(lease),
            )
            .await?;
        let delivery = taken
            .first()
            .ok_or_else(|| format!("nothing to lease came within {WAIT_LIMIT:?}"))?;
        held(delivery)
    }

    /// Leases up to this many ready items, in one batch.
    pub async fn lease_batch(&self, max: usize, lease: Duration) -> Outcome<Vec<Held>> {
        let opts = GetOptions::default().max(at_most(max)).lease(lease);
        self.take(opts).await?.iter().map(held).collect()
    }

    /// Settles one item.
    pub async fn settle(&self, held: &Held, how: Settle) -> pymq_core::Result<()> {
        let mut answers = self.settle_all([(held, how)]).await?;
        assert_eq!(answers.len(), 1, "one settlement has one answer");
        answers.remove(0)
    }

    /// Settles several items in one call.
    pub async fn settle_all(
        &self,
        settlements: impl IntoIterator<Item = (&Held, Settle)> + Send,
    ) -> pymq_core::Result<Vec<pymq_core::Result<()>>> {
        let settlements = settlements
            .into_iter()
            .map(|(held, how)| (held.receipt.clone(), how))
            .collect();
        self.provider.queue_settle(&self.queue, settlements).await
    }

    /// Peeks at all items of a part.
    pub async fn peek(&self, part: Part) -> Outcome<Vec<u32>> {
        self.provider
            .queue_peek(&self.queue, part, 1_000)
            .await?
            .iter()
            .map(|stored| item(&stored.message))
            .collect()
    }

    /// Clears a part.
    pub async fn clear(&self, part: Part) -> pymq_core::Result<usize> {
        self.provider.queue_clear(&self.queue, part).await
    }

    /// Counts the items in each part.
    pub async fn stats(&self) -> pymq_core::Result<QueueStats> {
        self.provider.queue_stats(&self.queue).await
    }

    /// Counts the ready items.
    pub async fn len(&self) -> pymq_core::Result<usize> {
        Ok(self.stats().await?.ready)
    }
}

/// Encodes an item.
pub fn message(item: u32) -> Message {
    Message::json(item.to_string())
}

/// Decodes an item.
pub fn item(message: &Message) -> Outcome<u32> {
    Ok(std::str::from_utf8(&message.body)?.parse()?)
}

/// Decodes a leased item.
pub fn held(delivery: &Delivery) -> Outcome<Held> {
    let receipt = delivery
        .receipt
        .clone()
        .ok_or("a leased item came without a receipt")?;
    Ok(Held {
        item: item(&delivery.message)?,
        attempt: delivery.attempt,
        receipt,
    })
}

/// The settlement that gives the item back now.
pub fn nack() -> Settle {
    Settle::Nack {
        delay: Duration::ZERO,
    }
}

/// The settlement that makes the item a dead letter.
pub fn bury(reason: &str) -> Settle {
    Settle::Bury {
        reason: reason.to_owned(),
    }
}

/// A bound that is not zero.
pub fn at_most(max: usize) -> NonZeroUsize {
    NonZeroUsize::new(max).expect("behaviors bound by at least one")
}

/// Asserts that a step took at least this time, and on a paused clock exactly this time.
///
/// On a real clock it may be seconds late: machines are busy, and the benchmarks measure delays.
#[track_caller]
pub fn assert_took(h: &dyn Harness, since: Instant, time: Duration) {
    let took = since.elapsed();
    let late = match h.clock() {
        Clock::Paused => TICK,
        Clock::Real => WAIT_LIMIT / 2,
    };
    assert!(
        took + TICK >= time,
        "came after {took:?}, which is before {time:?}"
    );
    assert!(
        took <= time + late,
        "came after {took:?}, which is long after {time:?}"
    );
}
