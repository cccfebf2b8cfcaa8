//! What the tests of the operations share.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{
    Delivery, GetOptions, Part, Put, PutOptions, QueueStats, Settle, Stored, Wait,
};
use pymq_core::{ErrorKind, Message};
use tokio::task::JoinHandle;

use super::Queues;
use super::now::Now;
use super::state::State;

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// The state of a queue. Each step advances it first, as the lock around it does.
#[derive(Default)]
pub(super) struct TestQueue(pub(super) State);

impl TestQueue {
    pub(super) fn of(bodies: &[&'static str]) -> Self {
        let mut queue = Self::default();
        queue.put(bodies, PutOptions::default()).unwrap();
        queue
    }

    pub(super) fn now(&mut self) -> (&mut State, Now) {
        let now = Now::default();
        self.0.advance(&now);
        (&mut self.0, now)
    }

    pub(super) fn put(
        &mut self,
        bodies: &[&'static str],
        opts: PutOptions,
    ) -> Result<Put, ErrorKind> {
        let (state, now) = self.now();
        state.put(
            bodies.iter().map(|body| Message::json(*body)).collect(),
            opts,
            &now,
        )
    }

    pub(super) fn lease(&mut self, max: usize) -> Vec<Delivery> {
        let (state, now) = self.now();
        state.take(NonZeroUsize::new(max).unwrap(), Some(LEASE), &now)
    }

    pub(super) fn settle(
        &mut self,
        settlements: &[(&Delivery, Settle)],
    ) -> Vec<Result<(), ErrorKind>> {
        let (state, now) = self.now();
        let with_receipt = |(delivery, settle): &(&Delivery, Settle)| {
            (delivery.receipt.clone().unwrap(), settle.clone())
        };
        state.settle(settlements.iter().map(with_receipt).collect(), &now)
    }

    pub(super) fn peek(&mut self, part: Part) -> Vec<(String, u32)> {
        let stored = self.now().0.peek(part, usize::MAX);
        let shown = |stored: Stored| (text(&stored.message), stored.attempt);
        stored.into_iter().map(shown).collect()
    }

    pub(super) fn stats(&mut self) -> QueueStats {
        self.now().0.stats()
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

pub(super) fn shown(items: &[(&str, u32)]) -> Vec<(String, u32)> {
    items
        .iter()
        .map(|(body, attempt)| ((*body).to_owned(), *attempt))
        .collect()
}

/// Puts one message into the queue `q`.
pub(super) fn put_one(queues: &Queues, delay: Duration) {
    let opts = PutOptions::default().delay(delay);
    queues.put("q", vec![Message::json("1")], opts).unwrap();
}

/// Starts a task that takes from the queue `q`, and lets it begin to wait.
pub(super) async fn start_taker(queues: &Arc<Queues>, opts: GetOptions) -> JoinHandle<usize> {
    let queues = Arc::clone(queues);
    let taker = tokio::spawn(async move {
        let taken = queues.wait("q", &opts, || false).await;
        taken.expect("it is not closed").len()
    });
    tokio::task::yield_now().await;
    taker
}

pub(super) fn forever() -> GetOptions {
    GetOptions::default().wait(Wait::Forever)
}
