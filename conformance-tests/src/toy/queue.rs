//! A queue of the toy: what is ready, what is leased, what is dead. Pure state, without I/O.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use pymq_core::provider::{
    Capabilities, Delivery, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored,
    lease_time, once_window,
};
use pymq_core::{ErrorKind, Message, MessageId};
use tokio::time::Instant;

use super::FOREVER;

/// How old the counts may be if they need not be exact. `Harness::rest` is longer.
const STALE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Item>,
    /// In the order in which they were taken.
    leased: Vec<Leased>,
    dead: VecDeque<Dead>,
    /// The ids of `put_once`, each with the time at which it is forgotten.
    known: HashMap<MessageId, Instant>,
    /// The item of each receipt that was issued.
    receipts: HashMap<Receipt, u64>,
    counted: Option<(Instant, QueueStats)>,
}

#[derive(Clone, Debug)]
struct Item {
    /// Set by the first take.
    number: Option<u64>,
    message: Message,
    attempt: u32,
}

#[derive(Debug)]
struct Leased {
    receipt: Receipt,
    item: Item,
    ends: Instant,
}

#[derive(Debug)]
struct Dead {
    id: MessageId,
    item: Item,
    reason: String,
}

impl Item {
    fn new(message: Message) -> Self {
        Self {
            number: None,
            message,
            attempt: 0,
        }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.leased.is_empty() && self.dead.is_empty()
    }

    pub(super) fn put(
        &mut self,
        capabilities: Capabilities,
        mut messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put, ErrorKind> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let now = Instant::now();
        self.known.retain(|_, until| *until > now);
        if opts
            .once
            .as_ref()
            .is_some_and(|id| self.known.contains_key(id))
        {
            return Ok(Put::Known);
        }
        let space = opts
            .maxsize
            .map_or(usize::MAX, |max| max.get().saturating_sub(self.ready.len()));
        let fits = messages.len() <= space;
        if !fits && capabilities.atomic_batches {
            return Err(ErrorKind::Full);
        }
        messages.truncate(space);
        self.ready.extend(messages.into_iter().map(Item::new));
        if !fits {
            return Err(ErrorKind::Full);
        }
        let until = now + once_window(opts.window);
        self.known.extend(opts.once.map(|id| (id, until)));
        Ok(Put::New)
    }

    pub(super) fn take(
        &mut self,
        max: usize,
        lease: Option<Duration>,
        number: impl Fn() -> u64,
    ) -> Vec<Delivery> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for mut item in self.ready.drain(..max.min(self.ready.len())) {
            item.attempt += 1;
            let receipt = lease.map(|_| Receipt::new(format!("{}.toy", number())));
            taken.push(Delivery::new(
                item.message.clone(),
                item.attempt,
                receipt.clone(),
            ));
            if let (Some(receipt), Some(time)) = (receipt, lease) {
                let number = *item.number.get_or_insert_with(&number);
                self.receipts.insert(receipt.clone(), number);
                let ends = now + lease_time(time).min(FOREVER);
                self.leased.push(Leased {
                    receipt,
                    item,
                    ends,
                });
            }
        }
        taken
    }

    /// Returns when the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leased.iter().map(|it| it.ends).min()
    }

    /// Gives back the items with an ended lease.
    pub(super) fn end_leases(&mut self, capabilities: Capabilities, now: Instant) {
        let mut ended: Vec<_> = self.leased.extract_if(.., |it| it.ends <= now).collect();
        // Each goes in front of those that ended earlier. Those that end together keep their order.
        ended.sort_by_key(|it| Reverse(it.ends));
        self.give_back(capabilities, ended.into_iter().map(|it| it.item).collect());
    }

    fn give_back(&mut self, capabilities: Capabilities, items: Vec<Item>) {
        if !capabilities.front {
            self.ready.extend(items);
            return;
        }
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    /// Settles, and reports for each settlement whether it succeeded.
    pub(super) fn settle(
        &mut self,
        capabilities: Capabilities,
        settlements: Vec<(Receipt, Settle)>,
        number: impl Fn() -> u64,
    ) -> Vec<bool> {
        let mut given_back = Vec::new();
        let mut settled = Vec::new();
        for (receipt, how) in settlements {
            let lease = self.leased.iter().position(|it| it.receipt == receipt);
            let lease = lease.or_else(|| {
                // The receipt of an item is as good as that of its lease.
                let item = self
                    .receipts
                    .get(&receipt)
                    .filter(|_| !capabilities.fenced)?;
                self.leased
                    .iter()
                    .position(|it| it.item.number == Some(*item))
            });
            let Some(lease) = lease else {
                settled.push(!capabilities.fenced && self.settle_in_line(&receipt, how, &number));
                continue;
            };
            settled.push(true);
            if let Settle::Extend { lease: time } = how {
                self.leased[lease].ends = Instant::now() + lease_time(time).min(FOREVER);
                continue;
            }
            let mut item = self.leased.remove(lease).item;
            match how {
                Settle::Nack { .. } => given_back.push(item),
                Settle::Release => {
                    item.attempt -= 1;
                    given_back.push(item);
                }
                Settle::Bury { reason } => self.bury(item, reason, &number),
                _ => {}
            }
        }
        self.give_back(capabilities, given_back);
        settled
    }

    /// Settles a ready item by the receipt of an ended lease.
    fn settle_in_line(&mut self, receipt: &Receipt, how: Settle, number: impl Fn() -> u64) -> bool {
        let Some(item) = self.receipts.get(receipt) else {
            return false;
        };
        let Some(at) = self.ready.iter().position(|it| it.number == Some(*item)) else {
            return false;
        };
        match how {
            Settle::Ack => drop(self.ready.remove(at)),
            Settle::Bury { reason } => {
                if let Some(item) = self.ready.remove(at) {
                    self.bury(item, reason, number);
                }
            }
            _ => {}
        }
        true
    }

    fn bury(&mut self, item: Item, reason: String, number: impl Fn() -> u64) {
        let id = MessageId::new(format!("dead {}", number()));
        self.dead.push_back(Dead { id, item, reason });
    }

    pub(super) fn redrive(&mut self, which: Redrive) -> usize {
        let mut moved = Vec::new();
        match which {
            Redrive::Ids(ids) => {
                for id in ids {
                    if let Some(at) = self.dead.iter().position(|it| it.id == id) {
                        moved.extend(self.dead.remove(at));
                    }
                }
            }
            _ => moved.extend(self.dead.drain(..)),
        }
        let count = moved.len();
        let anew = moved.into_iter().map(|it| Item::new(it.item.message));
        self.ready.extend(anew);
        count
    }

    pub(super) fn ready(&self, max: usize) -> Vec<Stored> {
        let stored = |it: &Item| Stored::new(it.message.clone(), it.attempt);
        self.ready.iter().take(max).map(stored).collect()
    }

    pub(super) fn dead(&self, max: usize) -> Vec<Stored> {
        let stored = |it: &Dead| {
            let Item {
                message, attempt, ..
            } = it.item.clone();
            Stored::dead(message, attempt, it.id.clone(), it.reason.clone())
        };
        self.dead.iter().take(max).map(stored).collect()
    }

    pub(super) fn clear_ready(&mut self) -> usize {
        mem::take(&mut self.ready).len()
    }

    pub(super) fn clear_dead(&mut self) -> usize {
        mem::take(&mut self.dead).len()
    }

    pub(super) fn stats(&mut self, capabilities: Capabilities) -> QueueStats {
        let now = Instant::now();
        if let Some((at, stats)) = self.counted
            && !capabilities.exact_stats
            && now < at + STALE
        {
            return stats;
        }
        let stats = QueueStats::new(self.ready.len(), 0, self.leased.len(), self.dead.len());
        self.counted = Some((now, stats));
        stats
    }
}
