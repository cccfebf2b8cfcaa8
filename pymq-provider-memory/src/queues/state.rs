//! What is in a queue, as a pure state machine: no lock, no task, no time but the [`Now`] it is given.
//!
//! Every method but [`advance`](State::advance) expects that it has just been called: what is due is ready, and no
//! lease is over.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use pymq_core::provider::{
    Delivery, Part, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored, lease_time,
    once_window,
};
use pymq_core::{ErrorKind, Message, MessageId};
use tokio::time::Instant;

use crate::broker::unique;

/// Further off than anybody waits; adding it overflows nothing.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// The time of a step, read when it is first asked for: most steps never do, and reading it costs as much as they do.
#[derive(Debug, Default)]
pub(super) struct Now(OnceCell<Instant>);

impl Now {
    pub(super) fn get(&self) -> Instant {
        *self.0.get_or_init(Instant::now)
    }

    /// Returns the instant so much later; beyond a century there is only "much later".
    pub(super) fn plus(&self, time: Duration) -> Instant {
        self.get() + time.min(CENTURY)
    }
}

/// The messages of one queue, each in exactly one part.
#[derive(Debug, Default)]
pub(super) struct State {
    ready: VecDeque<Item>,
    /// By when they are due, then in the order they came.
    delayed: BTreeMap<(Instant, u64), Item>,
    leased: Leases,
    /// In the order they died.
    dead: BTreeMap<u64, DeadLetter>,
    once: OnceIds,
}

#[derive(Debug)]
struct Item {
    message: Message,
    /// How often it has been taken.
    attempt: u32,
}

#[derive(Debug)]
struct DeadLetter {
    item: Item,
    reason: String,
}

impl State {
    /// Brings the queue up to `now`: due messages join at the back in due order, those of expired leases return
    /// to the front in the order they would have expired.
    pub(super) fn advance(&mut self, now: &Now) {
        while let Some(item) = pop_until(&mut self.delayed, now) {
            self.ready.push_back(item);
        }
        let expired = self.leased.expired(now);
        self.return_to_front(expired);
        self.once.forget(now);
    }

    /// Returns when [`advance`](Self::advance) will next make a message ready.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let due = self.delayed.first_key_value().map(|((due, _), _)| *due);
        due.into_iter().chain(self.leased.next_deadline()).min()
    }

    pub(super) fn put(
        &mut self,
        messages: Vec<Message>,
        opts: PutOptions,
        now: &Now,
    ) -> Result<Put, ErrorKind> {
        if opts.once.as_ref().is_some_and(|id| self.once.contains(id)) {
            return Ok(Put::Known);
        }
        let is_ready = opts.delay.is_zero();
        let fits = |maxsize: NonZeroUsize| self.ready.len() + messages.len() <= maxsize.get();
        if is_ready && !opts.maxsize.is_none_or(fits) {
            return Err(ErrorKind::Full);
        }
        if let Some(id) = opts.once {
            self.once.remember(id, now.plus(once_window(opts.window)));
        }
        let items = messages.into_iter().map(|message| Item {
            message,
            attempt: 0,
        });
        if is_ready {
            self.ready.extend(items);
        } else {
            let due = now.plus(opts.delay);
            self.delayed
                .extend(items.map(|item| ((due, unique()), item)));
        }
        Ok(Put::New)
    }

    pub(super) fn take(
        &mut self,
        max: NonZeroUsize,
        lease: Option<Duration>,
        now: &Now,
    ) -> Vec<Delivery> {
        let count = max.get().min(self.ready.len());
        let taken = self.ready.drain(..count).map(|mut item| {
            item.attempt = item.attempt.saturating_add(1);
            let Some(lease) = lease else {
                return Delivery::new(item.message, item.attempt, None);
            };
            let (message, attempt) = (item.message.clone(), item.attempt);
            let token = self.leased.start(item, now.plus(lease_time(lease)));
            Delivery::new(message, attempt, Some(receipt(token)))
        });
        taken.collect()
    }

    /// Settles one after the other. What goes back to the front does so together, so that it keeps its order.
    pub(super) fn settle(
        &mut self,
        settlements: Vec<(Receipt, Settle)>,
        now: &Now,
    ) -> Vec<Result<(), ErrorKind>> {
        let mut front = Vec::new();
        let mut settle = |(receipt, settle)| self.settle_one(&receipt, settle, &mut front, now);
        let results = settlements
            .into_iter()
            .map(|one| settle(one).ok_or(ErrorKind::LeaseLost));
        let results = results.collect();
        self.return_to_front(front);
        results
    }

    /// Settles one message, unless its lease is over. What is to go back is added to `front`.
    fn settle_one(
        &mut self,
        receipt: &Receipt,
        settle: Settle,
        front: &mut Vec<Item>,
        now: &Now,
    ) -> Option<()> {
        let token = token(receipt)?;
        if let Settle::Extend { lease } = settle {
            return self.leased.extend(token, now.plus(lease_time(lease)));
        }
        let mut item = self.leased.end(token)?;
        match settle {
            Settle::Nack { delay } if delay.is_zero() => front.push(item),
            Settle::Nack { delay } => {
                self.delayed.insert((now.plus(delay), unique()), item);
            }
            Settle::Release => {
                item.attempt -= 1;
                front.push(item);
            }
            Settle::Bury { reason } => {
                self.dead.insert(unique(), DeadLetter { item, reason });
            }
            // `Ack`: it is done.
            _ => {}
        }
        Some(())
    }

    fn return_to_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    pub(super) fn peek(&self, part: Part, max: usize) -> Vec<Stored> {
        let stored = |item: &Item| Stored::new(item.message.clone(), item.attempt);
        match part {
            Part::Ready => self.ready.iter().take(max).map(stored).collect(),
            Part::Delayed => self.delayed.values().take(max).map(stored).collect(),
            Part::Dead => self
                .dead
                .iter()
                .take(max)
                .map(|(id, letter)| letter.stored(*id))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn redrive(&mut self, which: Redrive) -> usize {
        let letters: Vec<DeadLetter> = match which {
            Redrive::Ids(ids) => {
                let ids = ids.iter().filter_map(letter_id);
                ids.filter_map(|id| self.dead.remove(&id)).collect()
            }
            _ => std::mem::take(&mut self.dead).into_values().collect(),
        };
        let count = letters.len();
        self.ready.extend(letters.into_iter().map(|letter| Item {
            attempt: 0,
            ..letter.item
        }));
        count
    }

    pub(super) fn clear(&mut self, part: Part) -> usize {
        match part {
            Part::Ready => std::mem::take(&mut self.ready).len(),
            Part::Delayed => std::mem::take(&mut self.delayed).len(),
            Part::Dead => std::mem::take(&mut self.dead).len(),
            _ => 0,
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats::new(
            self.ready.len(),
            self.delayed.len(),
            self.leased.len(),
            self.dead.len(),
        )
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Tells whether nothing would be lost with this queue.
    pub(super) fn is_empty(&self) -> bool {
        self.stats() == QueueStats::default() && self.once.is_empty()
    }
}

impl DeadLetter {
    fn stored(&self, id: u64) -> Stored {
        let id = MessageId::new(id.to_string());
        Stored::dead(
            self.item.message.clone(),
            self.item.attempt,
            id,
            self.reason.as_str(),
        )
    }
}

/// The messages that are out on lease.
#[derive(Debug, Default)]
struct Leases {
    by_deadline: BTreeMap<(Instant, u64), Item>,
    deadlines: HashMap<u64, Instant>,
}

impl Leases {
    /// Starts a lease and returns its token, which nobody had before.
    fn start(&mut self, item: Item, deadline: Instant) -> u64 {
        let token = unique();
        self.deadlines.insert(token, deadline);
        self.by_deadline.insert((deadline, token), item);
        token
    }

    fn end(&mut self, token: u64) -> Option<Item> {
        let deadline = self.deadlines.remove(&token)?;
        self.by_deadline.remove(&(deadline, token))
    }

    fn extend(&mut self, token: u64, until: Instant) -> Option<()> {
        let deadline = self.deadlines.get_mut(&token)?;
        let item = self.by_deadline.remove(&(*deadline, token))?;
        *deadline = until;
        self.by_deadline.insert((until, token), item);
        Some(())
    }

    /// Ends the leases that are over, the first to expire first.
    fn expired(&mut self, now: &Now) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(entry) = self
            .by_deadline
            .first_entry()
            .filter(|entry| entry.key().0 <= now.get())
        {
            let ((_, token), item) = entry.remove_entry();
            self.deadlines.remove(&token);
            items.push(item);
        }
        items
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    fn len(&self) -> usize {
        self.deadlines.len()
    }
}

/// The ids of recent put-onces.
#[derive(Debug, Default)]
struct OnceIds {
    known: HashSet<MessageId>,
    /// By when they are forgotten.
    until: BTreeMap<(Instant, u64), MessageId>,
}

impl OnceIds {
    fn contains(&self, id: &MessageId) -> bool {
        self.known.contains(id)
    }

    fn remember(&mut self, id: MessageId, until: Instant) {
        self.until.insert((until, unique()), id.clone());
        self.known.insert(id);
    }

    fn forget(&mut self, now: &Now) {
        while let Some(id) = pop_until(&mut self.until, now) {
            self.known.remove(&id);
        }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Removes the first that is due.
fn pop_until<T>(waiting: &mut BTreeMap<(Instant, u64), T>, now: &Now) -> Option<T> {
    let entry = waiting
        .first_entry()
        .filter(|entry| entry.key().0 <= now.get())?;
    Some(entry.remove())
}

/// Reads the id of a dead letter; none for what is not exactly as one of ours.
fn letter_id(id: &MessageId) -> Option<u64> {
    let number: u64 = id.as_str().parse().ok()?;
    (number.to_string() == id.as_str()).then_some(number)
}

fn receipt(token: u64) -> Receipt {
    Receipt::new(token.to_be_bytes().to_vec())
}

fn token(receipt: &Receipt) -> Option<u64> {
    receipt.as_bytes().try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    /// A queue that is brought up to now before each step, as the lock around it does.
    #[derive(Default)]
    struct Queue(State);

    impl Queue {
        fn now(&mut self) -> (&mut State, Now) {
            let now = Now::default();
            self.0.advance(&now);
            (&mut self.0, now)
        }

        fn put(&mut self, bodies: &[&'static str], opts: PutOptions) -> Result<Put, ErrorKind> {
            let (state, now) = self.now();
            state.put(
                bodies.iter().map(|body| Message::json(*body)).collect(),
                opts,
                &now,
            )
        }

        fn lease(&mut self, max: usize) -> Vec<Delivery> {
            let (state, now) = self.now();
            state.take(NonZeroUsize::new(max).unwrap(), Some(LEASE), &now)
        }

        fn settle(&mut self, settlements: &[(&Delivery, Settle)]) -> Vec<Result<(), ErrorKind>> {
            let (state, now) = self.now();
            let with_receipt = |(delivery, settle): &(&Delivery, Settle)| {
                (delivery.receipt.clone().unwrap(), settle.clone())
            };
            state.settle(settlements.iter().map(with_receipt).collect(), &now)
        }

        fn peek(&mut self, part: Part) -> Vec<(String, u32)> {
            let stored = self.now().0.peek(part, usize::MAX);
            let shown = |stored: Stored| (text(&stored.message), stored.attempt);
            stored.into_iter().map(shown).collect()
        }

        fn stats(&mut self) -> QueueStats {
            self.now().0.stats()
        }
    }

    fn text(message: &Message) -> String {
        String::from_utf8(message.body.to_vec()).unwrap()
    }

    fn shown(items: &[(&str, u32)]) -> Vec<(String, u32)> {
        items
            .iter()
            .map(|(body, attempt)| ((*body).to_owned(), *attempt))
            .collect()
    }

    fn queue_of(bodies: &[&'static str]) -> Queue {
        let mut queue = Queue::default();
        queue.put(bodies, PutOptions::default()).unwrap();
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn expired_leases_return_to_the_front_in_order_with_their_attempt() {
        let mut queue = queue_of(&["a", "b", "c"]);
        queue.lease(1);
        queue.lease(1);

        tokio::time::advance(LEASE).await;

        assert_eq!(
            queue.peek(Part::Ready),
            shown(&[("a", 1), ("b", 1), ("c", 0)])
        );
        assert_eq!(queue.lease(1)[0].attempt, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_is_good_until_its_lease_is_over_and_never_again() {
        let mut queue = queue_of(&["a"]);
        let first = queue.lease(1).remove(0);
        tokio::time::advance(LEASE).await;
        let second = queue.lease(1).remove(0);

        for settle in [
            Settle::Ack,
            Settle::Release,
            Settle::Extend { lease: LEASE },
        ] {
            assert_eq!(
                queue.settle(&[(&first, settle)]),
                [Err(ErrorKind::LeaseLost)]
            );
        }

        let twice = [(&second, Settle::Ack), (&second, Settle::Ack)];
        assert_eq!(queue.settle(&twice), [Ok(()), Err(ErrorKind::LeaseLost)]);
        assert!(queue.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_call_gives_back_keeps_its_order() {
        let mut queue = queue_of(&["a", "b", "c", "d"]);
        let [a, b, c] = queue.lease(3).try_into().unwrap();

        let nack = Settle::Nack {
            delay: Duration::ZERO,
        };
        queue.settle(&[(&a, Settle::Release), (&b, nack), (&c, Settle::Release)]);

        assert_eq!(
            queue.peek(Part::Ready),
            shown(&[("a", 0), ("b", 1), ("c", 0), ("d", 0)])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_joins_at_the_back_in_due_order() {
        let mut queue = Queue::default();
        let delay = |seconds| PutOptions::default().delay(Duration::from_secs(seconds));
        queue.put(&["late"], delay(3)).unwrap();
        queue.put(&["early", "early too"], delay(2)).unwrap();
        queue.put(&["now"], PutOptions::default()).unwrap();
        assert_eq!(queue.stats(), QueueStats::new(1, 3, 0, 0));

        tokio::time::advance(Duration::from_secs(3)).await;

        let expected = shown(&[("now", 0), ("early", 0), ("early too", 0), ("late", 0)]);
        assert_eq!(queue.peek(Part::Ready), expected);
        assert_eq!(queue.0.next_event(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn extend_counts_from_now_and_a_century_is_enough() {
        let mut queue = queue_of(&["a"]);
        let a = queue.lease(1).remove(0);
        tokio::time::advance(LEASE / 2).await;
        queue.settle(&[(&a, Settle::Extend { lease: LEASE })]);

        tokio::time::advance(LEASE / 2).await;
        assert_eq!(queue.stats().leased, 1);
        assert_eq!(
            queue.settle(&[(
                &a,
                Settle::Extend {
                    lease: Duration::MAX
                }
            )]),
            [Ok(())]
        );

        tokio::time::advance(LEASE * 10).await;
        assert_eq!(queue.stats().leased, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_remembered_for_its_window_unless_the_put_was_refused() {
        let mut queue = queue_of(&["a"]);
        let once = || PutOptions::default().once("id".into());
        let full = once().maxsize(NonZeroUsize::new(1));
        assert_eq!(queue.put(&["b"], full.clone()), Err(ErrorKind::Full));

        assert_eq!(queue.put(&["b"], once()), Ok(Put::New));
        assert_eq!(queue.put(&["b"], full), Ok(Put::Known));
        assert_eq!(queue.stats().ready, 2);

        tokio::time::advance(pymq_core::provider::ONCE_WINDOW).await;
        assert_eq!(queue.put(&["b"], once()), Ok(Put::New));
        assert_eq!(queue.stats().ready, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_come_back_as_new_in_the_order_asked_for() {
        let mut queue = queue_of(&["a", "b"]);
        for delivery in queue.lease(2) {
            queue.settle(&[(
                &delivery,
                Settle::Bury {
                    reason: "why".to_owned(),
                },
            )]);
        }
        let letters = queue.now().0.peek(Part::Dead, 9);
        assert_eq!(
            (letters[0].attempt, letters[0].reason.as_deref()),
            (1, Some("why"))
        );

        let mut ids: Vec<_> = letters
            .iter()
            .rev()
            .filter_map(|letter| letter.id.clone())
            .collect();
        ids.insert(1, "unknown".into());
        ids.push(ids[0].clone());

        assert_eq!(queue.0.redrive(Redrive::Ids(ids)), 2);
        assert_eq!(queue.peek(Part::Ready), shown(&[("b", 0), ("a", 0)]));
    }
}
