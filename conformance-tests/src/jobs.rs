//! A queue in a behavior's hand: its items are numbers, and no wait is longer than [`PATIENCE`].

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::Message;
use pymq_core::provider::{
    Capabilities, Delivery, GetOptions, Part, Provider, Put, PutOptions, QueueStats, Receipt,
    Settle, Wait,
};
use tokio::time::Instant;

use crate::wait::PATIENCE;
use crate::{Clock, Harness, Outcome};

/// A lease that no test outlives.
pub const LONG: Duration = Duration::from_secs(3_600);

/// A lease or delay whose end a test waits for, and before which it need not have done anything.
pub const SHORT: Duration = Duration::from_millis(250);

/// A lease or delay whose end a test waits for, with time before it for a busy machine to do what has to be done.
pub const AMPLE: Duration = Duration::from_secs(2);

/// How much earlier than told something may come: the clocks of two processes tick in milliseconds of their own.
const TICK: Duration = Duration::from_millis(2);

/// One queue, held through one handle of a provider. A clone holds the same handle.
#[derive(Clone, Debug)]
pub struct Jobs {
    provider: Arc<dyn Provider>,
    queue: Arc<str>,
}

/// A leased item.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// What was put.
    pub item: u32,
    /// How often it has been taken.
    pub attempt: u32,
    /// What settles it.
    pub receipt: Receipt,
}

impl Jobs {
    /// Opens the queue `jobs` through a new handle.
    pub async fn open(h: &dyn Harness) -> Outcome<Self> {
        Ok(Self::on(h.connect().await?))
    }

    /// Holds the queue `jobs` through a given handle.
    pub fn on(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            queue: "jobs".into(),
        }
    }

    /// Holds another queue through the same handle.
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

    /// Takes as the options say.
    pub async fn take(&self, opts: GetOptions) -> pymq_core::Result<Vec<Delivery>> {
        self.provider.queue_get(&self.queue, opts).await
    }

    /// Gets one item, waiting for it.
    pub async fn get(&self) -> Outcome<u32> {
        let taken = self
            .take(GetOptions::default().wait(Wait::For(PATIENCE)))
            .await?;
        let delivery = taken
            .first()
            .ok_or_else(|| format!("no item came within {PATIENCE:?}"))?;
        item(&delivery.message)
    }

    /// Gets so many items, waiting for each.
    pub async fn get_many(&self, count: usize) -> Outcome<Vec<u32>> {
        let mut items = Vec::with_capacity(count);
        while items.len() < count {
            items.push(self.get().await?);
        }
        Ok(items)
    }

    /// Gets one item if there is one now.
    pub async fn try_get(&self) -> Outcome<Option<u32>> {
        self.take(GetOptions::default())
            .await?
            .first()
            .map(|delivery| item(&delivery.message))
            .transpose()
    }

    /// Gets what is in line now, one by one.
    pub async fn drain(&self) -> Outcome<Vec<u32>> {
        let mut items = Vec::new();
        while let Some(item) = self.try_get().await? {
            items.push(item);
        }
        Ok(items)
    }

    /// Gets what is in line now, and demands these items: in this order where the provider gives back to
    /// the front, else in any.
    pub async fn assert_drained(&self, expected: &[u32]) -> Outcome {
        let drained = self.drain().await?;
        assert_eq!(self.in_line(drained), expected);
        Ok(())
    }

    /// Returns items in the order in which they were taken where the provider gives back to the front,
    /// else sorted: then they come again, and the order says nothing.
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

    /// Leases one item, waiting for it.
    pub async fn lease(&self, lease: Duration) -> Outcome<Held> {
        let taken = self
            .take(GetOptions::default().wait(Wait::For(PATIENCE)).lease(lease))
            .await?;
        let delivery = taken
            .first()
            .ok_or_else(|| format!("nothing to lease came within {PATIENCE:?}"))?;
        held(delivery)
    }

    /// Leases up to so many items that are in line now, in one batch.
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

    /// Looks at all items of a part.
    pub async fn peek(&self, part: Part) -> Outcome<Vec<u32>> {
        self.provider
            .queue_peek(&self.queue, part, 1_000)
            .await?
            .iter()
            .map(|stored| item(&stored.message))
            .collect()
    }

    /// Empties a part.
    pub async fn clear(&self, part: Part) -> pymq_core::Result<usize> {
        self.provider.queue_clear(&self.queue, part).await
    }

    /// Counts the items in each part.
    pub async fn stats(&self) -> pymq_core::Result<QueueStats> {
        self.provider.queue_stats(&self.queue).await
    }

    /// Counts the items in line.
    pub async fn len(&self) -> pymq_core::Result<usize> {
        Ok(self.stats().await?.ready)
    }
}

/// Wraps an item for the wire.
pub fn message(item: u32) -> Message {
    Message::json(item.to_string())
}

/// Reads an item from the wire.
pub fn item(message: &Message) -> Outcome<u32> {
    Ok(std::str::from_utf8(&message.body)?.parse()?)
}

/// Reads a leased item.
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

/// A settlement: give it back now.
pub fn nack() -> Settle {
    Settle::Nack {
        delay: Duration::ZERO,
    }
}

/// A settlement: to the dead letters.
pub fn bury(reason: &str) -> Settle {
    Settle::Bury {
        reason: reason.to_owned(),
    }
}

/// A bound that is not zero.
pub fn at_most(max: usize) -> NonZeroUsize {
    NonZeroUsize::new(max).expect("behaviors bound by at least one")
}

/// Asserts that a timed thing took at least so long, and on a paused clock exactly so long.
///
/// On a real clock it may be late by seconds: machines are busy, and lateness is what the benchmarks measure.
#[track_caller]
pub fn assert_took(h: &dyn Harness, since: Instant, time: Duration) {
    let took = since.elapsed();
    let late = match h.clock() {
        Clock::Paused => TICK,
        Clock::Real => PATIENCE / 2,
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
