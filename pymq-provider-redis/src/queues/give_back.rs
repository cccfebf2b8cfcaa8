//! Giving undelivered messages back: `give_back.lua`, or a release of their lease.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;
use pymq_core::provider::{Receipt, Settle};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::args::millis;
use super::queue::{Queue, is_transient};
use super::receipt;
use super::taken::Segment;
use crate::connection::{self, Command, Script};

static GIVE_BACK: Script = Script::new(include_str!("../../scripts/give_back.lua"));

/// How long a mark prevents messages from being given back twice.
const MARK_LIFETIME: Duration = Duration::from_secs(120);

/// The shortest pause before the next attempt to give messages back.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// The pause before the next attempt after Redis refused to take messages back.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Gives segments back to the front, in their order. Returns when they are there. If Redis refuses
/// some, a task of their own tries again, so that callers that wait for a take do not wait for it.
pub(super) async fn put_back(queue: &Queue, mut segments: Vec<Segment>) {
    // The last first: each segment goes in front of those that are already back.
    while let Some(mut segment) = segments.pop() {
        while !segment.is_empty() {
            let give_back = GiveBack::new(queue, segment.split_last());
            if let Err(error) = give_back.retry(queue).await {
                tracing::error!(queue = queue.name(), %error, "cannot give messages back yet");
                let task = give_back.retry_until_closed(queue.clone());
                queue.shared().spawn(task);
            }
        }
    }
}

/// Gives back what Redis may have moved to a handoff, in a task of its own.
pub(super) fn release(queue: &Queue, handoff: &str) {
    let held = queue.shared().core.held.token();
    let give_back = GiveBack::Release(vec![(receipt::issue(handoff, 1), Settle::Release)]);
    let queue = queue.clone();
    queue.clone().shared().spawn(async move {
        give_back.retry_until_closed(queue).await;
        drop(held);
    });
}

/// One command that gives messages back. It may be repeated.
enum GiveBack {
    /// Pushes removed messages, once for each mark. The message to be taken last comes first.
    Push { mark: String, payloads: Vec<Bytes> },
    /// Releases leased messages. If that fails, their lease ends by itself.
    Release(Vec<(Receipt, Settle)>),
}

impl GiveBack {
    fn new(queue: &Queue, segment: Segment) -> Self {
        if let Some(releases) = segment.releases() {
            return Self::Release(releases);
        }
        let mut payloads = segment.into_payloads();
        payloads.reverse();
        Self::Push {
            mark: queue.new_mark(),
            payloads,
        }
    }

    async fn run(&self, queue: &Queue) -> Result<()> {
        match self {
            Self::Push { mark, payloads } => {
                queue.give_back(mark, payloads).await?;
                // It is not sent again. If this fails, the mark expires.
                drop(queue.remove_mark(mark).await);
                Ok(())
            }
            Self::Release(receipts) => queue.settle(receipts).await.map(drop),
        }
    }

    /// Tries until it works, or until an error that is not transient.
    async fn retry(&self, queue: &Queue) -> Result<()> {
        let mut failures = 0;
        loop {
            match self.run(queue).await {
                Err(error) if is_transient(&error) => {
                    tracing::warn!(queue = queue.name(), %error, "cannot give messages back yet");
                }
                outcome => return outcome,
            }
            sleep(connection::pause(failures).max(SHORTEST_PAUSE)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Tries until it works or the provider is closed.
    async fn retry_until_closed(self, queue: Queue) {
        let close = queue.shared().core.close.clone();
        loop {
            let is_last = timeout(REFUSED_PAUSE, close.cancelled()).await.is_ok();
            match self.retry(&queue).await {
                Ok(()) => return,
                Err(error) if is_last => {
                    tracing::error!(queue = queue.name(), %error, "could not give messages back");
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

impl Queue {
    /// Gives messages back to the front, the one to be taken last first. A second call with the
    /// same mark does nothing.
    pub(super) async fn give_back(&self, mark: &str, payloads: &[Bytes]) -> Result<()> {
        let args: Vec<_> = [millis(MARK_LIFETIME)]
            .into_iter()
            .chain(payloads.iter().cloned())
            .collect();
        self.run(
            "give back to",
            &self.commands(),
            &GIVE_BACK,
            &[&*self.list(), mark],
            &args,
        )
        .await
    }

    pub(super) fn new_mark(&self) -> String {
        self.keys().once(&Uuid::new_v4().simple().to_string())
    }

    pub(super) async fn remove_mark(&self, mark: &str) -> Result<()> {
        let unlink = || Command::new(["UNLINK", mark]);
        self.query("give back to", &self.commands(), unlink).await
    }
}
