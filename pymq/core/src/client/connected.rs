//! [`ConnectedQueue`]: a queue on a session. What takes from the queue and what settles in it share
//! one.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::leases::HeldLeases;
use super::queues::LocalQueue;
use super::session::Session;
use super::settler::{Answers, Settlements, Settler};
use super::tasks::Tasks;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::{Provider, Receipt, Settle};

/// A queue of a connected bus. It does not keep the bus alive, so the task of a worker may hold it.
#[derive(Debug)]
pub(crate) struct ConnectedQueue {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) local: Arc<LocalQueue>,
    pub(crate) tasks: Tasks,
    pub(crate) counters: Arc<Counters>,
    pub(crate) leases: Arc<HeldLeases>,
    /// Created by the first settlement, because many queues have none.
    settler: OnceLock<Box<Settler>>,
    /// See [`ended`](Self::ended). Created by the first wait.
    ended: OnceLock<CancellationToken>,
}

impl ConnectedQueue {
    pub(super) fn new(session: &Session, local: &Arc<LocalQueue>) -> Self {
        Self {
            provider: Arc::clone(session.provider()),
            local: Arc::clone(local),
            tasks: session.tasks().clone(),
            counters: Arc::clone(session.counters()),
            leases: Arc::clone(session.leases()),
            settler: OnceLock::new(),
            ended: OnceLock::new(),
        }
    }

    pub(super) fn is_on(&self, session: &Session) -> bool {
        Arc::ptr_eq(&self.leases, session.leases())
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        self.local.name()
    }

    /// Returns the token that is cancelled when the bus takes no new work or the queue is closed.
    /// One token for both, because each waiting take registers with it.
    pub(crate) fn ended(&self) -> &CancellationToken {
        self.ended.get_or_init(|| self.tasks.drain().child_token())
    }

    /// Returns the context of an error of this queue.
    pub(crate) fn context(&self, verb: &str) -> String {
        format!("{}: {verb} `{}`", self.provider.name(), self.name())
    }

    /// Settles one delivery.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the settlement may or may not be made.
    pub(crate) async fn settle(self: &Arc<Self>, receipt: Receipt, settle: Settle) -> Result<()> {
        let answers = self.settle_all(vec![(receipt, settle)]).await;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(self.unanswered()))
    }

    /// Settles in order, in one call, and returns one answer for each settlement.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of the settlements may be made.
    pub(crate) async fn settle_all(self: &Arc<Self>, settlements: Settlements) -> Answers {
        let count = settlements.len();
        let start = |settlements| Box::pin(Arc::clone(self).ask(settlements)) as _;
        let settler = self.settler.get_or_init(Box::default);
        match settler.settle(&self.tasks, settlements, start).await {
            Some(answers) => answers,
            None => vec![Err(self.unanswered()); count],
        }
    }

    /// Makes one call of the provider, for all settlements that were gathered.
    async fn ask(self: Arc<Self>, settlements: Settlements) -> Answers {
        let count = settlements.len();
        let places = |is_one: fn(&Settle) -> bool| -> Vec<usize> {
            let places = settlements.iter().enumerate();
            let places = places.filter(|(_, (_, settle))| is_one(settle));
            places.map(|(place, _)| place).collect()
        };
        // Nearly all settlements are acks, so these lists are mostly empty.
        let burials = places(|settle| matches!(settle, Settle::Bury { .. }));
        let unfinished = places(|settle| !matches!(settle, Settle::Ack | Settle::Bury { .. }));
        let error = match self.provider.queue_settle(self.name(), settlements).await {
            Ok(answers) if answers.len() == count => {
                let succeeded =
                    |places: &[usize]| places.iter().filter(|&&at| answers[at].is_ok()).count();
                let all = answers.iter().filter(|answer| answer.is_ok()).count();
                self.counters.dead_lettered.add(succeeded(&burials) as u64);
                self.local.finish(all - succeeded(&unfinished));
                return answers;
            }
            Ok(answers) => {
                let context = self.context("settle in");
                let context = format!("{context}: {} answers for {count}", answers.len());
                Error::new(ErrorKind::Provider, context)
            }
            Err(error) => error,
        };
        vec![Err(error); count]
    }

    /// Returns the error of a settlement to which the provider gives no answer.
    fn unanswered(&self) -> Error {
        let context = self.context("settle in");
        if self.tasks.is_orphaned() {
            self.tasks.closed(context)
        } else {
            Error::new(ErrorKind::Provider, format!("{context}: no answer"))
        }
    }
}
