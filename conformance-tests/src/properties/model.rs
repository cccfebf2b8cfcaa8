//! A model of a queue, as simple as possible: its operations, its answers, and its content.
//!
//! Time passes in ticks. Every operation happens on a tick, and every lease and delay ends halfway
//! between two ticks. So a slow machine does not change the order.

use std::collections::{BTreeSet, HashSet, VecDeque};

use pymq_core::ErrorKind;
use pymq_core::provider::{Part, Put, QueueStats};

/// An operation. Items are numbered in the order of the puts, leases in the order of the takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Op {
    /// Puts this many items; with `delay`, due half a tick after this many ticks.
    Put {
        count: usize,
        delay: Option<usize>,
        maxsize: Option<usize>,
        once: Option<u8>,
    },
    /// Gets up to this many.
    Get { max: usize },
    /// Leases up to this many, until half a tick after this many ticks.
    Lease { max: usize, ticks: usize },
    /// Settles leases in one call. The number counts back from the newest lease.
    Settle(Vec<(usize, How)>),
    /// Peeks at a whole part.
    Peek(Part),
    /// Clears a part.
    Clear(Part),
    /// Redrives all dead letters.
    RedriveAll,
    /// Redrives one dead letter. The number counts from the oldest, and starts again after the
    /// newest.
    RedriveOne(usize),
    /// Counts.
    Stats,
    /// Drops the handle of this turn without a close, and opens another one in its place.
    Crash,
    /// Lets a tick pass, then peeks at the ready items.
    Tick,
}

/// How a lease is settled. Delays and leases are as in [`Op`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    Ack,
    Nack,
    NackLater(usize),
    Release,
    Extend(usize),
    Bury,
}

/// The answer of a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Done,
    Put(Result<Put, ErrorKind>),
    Settled(Vec<Result<(), ErrorKind>>),
    /// Items with their attempts.
    Items(Vec<Item>),
    Count(usize),
    Stats(QueueStats),
}

/// The number of an item, and how often it was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Item {
    pub(super) number: u32,
    pub(super) attempt: u32,
}

#[derive(Debug)]
struct Lease {
    number: usize,
    item: Item,
    ends: usize,
}

/// The reference.
#[derive(Debug, Default)]
pub(super) struct Model {
    now: usize,
    items_put: u32,
    leases_given: usize,
    ready: VecDeque<Item>,
    /// With the tick after which each is due, in the order of the delayed puts.
    delayed: Vec<(usize, Item)>,
    /// In the order in which they were taken.
    leased: Vec<Lease>,
    dead: VecDeque<Item>,
    once: HashSet<u8>,
}

impl Model {
    /// Runs an operation.
    pub(super) fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Put {
                count,
                delay,
                maxsize,
                once,
            } => Answer::Put(self.put(*count, *delay, *maxsize, *once)),
            Op::Get { max } => Answer::Items(self.take(*max)),
            Op::Lease { max, ticks } => Answer::Items(self.lease(*max, *ticks)),
            Op::Settle(settlements) => Answer::Settled(self.settle(settlements)),
            Op::Peek(part) => Answer::Items(self.part(*part)),
            Op::Clear(part) => Answer::Count(self.clear(*part)),
            Op::RedriveAll => Answer::Count(self.redrive(0, self.dead.len())),
            Op::RedriveOne(number) => match self.dead.len() {
                0 => Answer::Count(0),
                dead => Answer::Count(self.redrive(number % dead, 1)),
            },
            Op::Stats => Answer::Stats(QueueStats::new(
                self.ready.len(),
                self.delayed.len(),
                self.leased.len(),
                self.dead.len(),
            )),
            // Its leases stay until they end.
            Op::Crash => Answer::Done,
            Op::Tick => {
                self.tick();
                Answer::Items(self.part(Part::Ready))
            }
        }
    }

    fn put(
        &mut self,
        count: usize,
        delay: Option<usize>,
        maxsize: Option<usize>,
        once: Option<u8>,
    ) -> Result<Put, ErrorKind> {
        let first = self.items_put;
        // A failed put uses up its numbers too.
        self.items_put += u32::try_from(count).expect("scripts are short");
        if once.is_some_and(|id| self.once.contains(&id)) {
            return Ok(Put::Known);
        }
        let fits = |maxsize| self.ready.len() + count <= maxsize;
        if delay.is_none() && !maxsize.is_none_or(fits) {
            return Err(ErrorKind::Full);
        }
        self.once.extend(once);
        let items = (first..self.items_put).map(|number| Item { number, attempt: 0 });
        match delay {
            None => self.ready.extend(items),
            Some(delay) => self
                .delayed
                .extend(items.map(|item| (self.now + delay, item))),
        }
        Ok(Put::New)
    }

    fn take(&mut self, max: usize) -> Vec<Item> {
        let mut taken: Vec<Item> = self.ready.drain(..max.min(self.ready.len())).collect();
        for item in &mut taken {
            item.attempt += 1;
        }
        taken
    }

    fn lease(&mut self, max: usize, ticks: usize) -> Vec<Item> {
        let taken = self.take(max);
        for item in &taken {
            self.leased.push(Lease {
                number: self.leases_given,
                item: *item,
                ends: self.now + ticks,
            });
            self.leases_given += 1;
        }
        taken
    }

    fn settle(&mut self, settlements: &[(usize, How)]) -> Vec<Result<(), ErrorKind>> {
        let mut given_back = Vec::new();
        let mut answers = Vec::new();
        for (back, how) in settlements {
            let number = self.leases_given.checked_sub(back + 1);
            let Some(at) = self
                .leased
                .iter()
                .position(|lease| Some(lease.number) == number)
            else {
                answers.push(Err(ErrorKind::LeaseLost));
                continue;
            };
            answers.push(Ok(()));
            if let How::Extend(ticks) = how {
                self.leased[at].ends = self.now + ticks;
                continue;
            }
            let mut item = self.leased.remove(at).item;
            match how {
                How::Ack | How::Extend(_) => {}
                How::Nack => given_back.push(item),
                How::NackLater(delay) => self.delayed.push((self.now + delay, item)),
                How::Release => {
                    item.attempt -= 1;
                    given_back.push(item);
                }
                How::Bury => self.dead.push_back(item),
            }
        }
        self.put_in_front(given_back);
        answers
    }

    fn put_in_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    fn part(&self, part: Part) -> Vec<Item> {
        match part {
            Part::Delayed => {
                let mut delayed = self.delayed.clone();
                delayed.sort_by_key(|(due, _)| *due);
                delayed.into_iter().map(|(_, item)| item).collect()
            }
            Part::Dead => self.dead.iter().copied().collect(),
            _ => self.ready.iter().copied().collect(),
        }
    }

    fn clear(&mut self, part: Part) -> usize {
        match part {
            Part::Delayed => self.delayed.drain(..).count(),
            Part::Dead => self.dead.drain(..).count(),
            _ => self.ready.drain(..).count(),
        }
    }

    fn redrive(&mut self, first: usize, count: usize) -> usize {
        let dead = self.dead.drain(first..first + count);
        self.ready
            .extend(dead.map(|item| Item { attempt: 0, ..item }));
        count
    }

    fn tick(&mut self) {
        let (due, delayed) = self
            .delayed
            .drain(..)
            .partition(|(due, _)| *due <= self.now);
        self.delayed = delayed;
        let mut due: Vec<(usize, Item)> = due;
        due.sort_by_key(|(due, _)| *due);
        self.ready.extend(due.into_iter().map(|(_, item)| item));
        let ended = self.leased.extract_if(.., |lease| lease.ends <= self.now);
        let ended = ended.map(|lease| lease.item).collect();
        self.put_in_front(ended);
        self.now += 1;
    }
}

/// Separates delays and leases if a slow machine could change which ends first. Of those that end
/// in one tick, all delays were set in one tick, and all leases by one call.
pub(super) fn pulled_apart(mut ops: Vec<Op>) -> Vec<Op> {
    let mut now = 0;
    let mut delays = BTreeSet::new();
    let mut leases = BTreeSet::new();
    for op in &mut ops {
        match op {
            Op::Tick => now += 1,
            Op::Put {
                delay: Some(delay), ..
            } => delay_in(&mut delays, now, delay),
            Op::Lease { ticks, .. } => end_alone(&mut leases, now, ticks),
            Op::Settle(settlements) => {
                for (_, how) in settlements {
                    match how {
                        How::NackLater(delay) => delay_in(&mut delays, now, delay),
                        How::Extend(ticks) => end_alone(&mut leases, now, ticks),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    ops
}

/// Keeps (end, set at), so that for each end there is one time at which it was set.
fn delay_in(delays: &mut BTreeSet<(usize, usize)>, now: usize, delay: &mut usize) {
    while delays
        .iter()
        .any(|(end, set_at)| *end == now + *delay && *set_at != now)
    {
        *delay += 1;
    }
    delays.insert((now + *delay, now));
}

fn end_alone(leases: &mut BTreeSet<usize>, now: usize, ticks: &mut usize) {
    while !leases.insert(now + *ticks) {
        *ticks += 1;
    }
}
