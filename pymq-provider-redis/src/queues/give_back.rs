//! Giving messages back that no caller received: `give_back.lua`, or a release of their lease.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;
use pymq_core::provider::{Receipt, Settle};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::args::millis;
use super::queue::{Store, is_passing};
use super::taken::Part;
use crate::connection::{self, Script};

static GIVE_BACK: Script = Script::new(include_str!("../../scripts/give_back.lua"));

/// How long a mark keeps messages from being given back again.
const MARK: Duration = Duration::from_secs(120);

/// The shortest pause before messages are given back again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// The pause before messages are given back again that Redis refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Puts parts back to the front, in their order. Resolves when they are there. What Redis refuses
/// is left to a task of its own, so that those that wait for a take do not wait for it.
pub(super) async fn put_back(store: &Store, mut parts: Vec<Part>) {
    // The last first, as each goes in front of those that are there already.
    while let Some(mut part) = parts.pop() {
        while !part.is_empty() {
            let back = Back::new(store, part.split_last());
            if let Err(error) = back.insist(store).await {
                tracing::error!(queue = store.name(), %error, "cannot give messages back yet");
                let task = back.try_on(store.clone());
                store.shared().spawn(task);
            }
        }
    }
}

/// How some messages go back: in one command, which may be repeated.
enum Back {
    /// Removed ones are pushed, once for each mark. The one to be taken last is the first.
    Push { mark: String, payloads: Vec<Bytes> },
    /// Leased ones are released. If that fails, their lease ends by itself.
    Release(Vec<(Receipt, Settle)>),
}

impl Back {
    fn new(store: &Store, part: Part) -> Self {
        if let Some(releases) = part.releases() {
            return Self::Release(releases);
        }
        let mut payloads = part.into_payloads();
        payloads.reverse();
        Self::Push {
            mark: store.new_mark(),
            payloads,
        }
    }

    async fn run(&self, store: &Store) -> Result<()> {
        match self {
            Self::Push { mark, payloads } => {
                store.give_back(mark, payloads).await?;
                // It is not repeated any more. If this fails the mark ends by itself.
                drop(store.unmark(mark).await);
                Ok(())
            }
            Self::Release(receipts) => store.settle(receipts).await.map(drop),
        }
    }

    /// Tries until it works, or fails with an error that does not pass by itself.
    async fn insist(&self, store: &Store) -> Result<()> {
        let mut failures = 0;
        loop {
            match self.run(store).await {
                Err(error) if is_passing(&error) => {
                    tracing::warn!(queue = store.name(), %error, "cannot give messages back yet");
                }
                outcome => return outcome,
            }
            sleep(connection::pause(failures).max(SHORTEST_PAUSE)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Tries until it works or the provider is closed.
    async fn try_on(self, store: Store) {
        let close = store.shared().core.close.clone();
        loop {
            let is_last = timeout(REFUSED_PAUSE, close.cancelled()).await.is_ok();
            match self.insist(&store).await {
                Ok(()) => return,
                Err(error) if is_last => {
                    tracing::error!(queue = store.name(), %error, "could not give messages back");
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

impl Store {
    /// Gives messages back to the front, the one to be taken last first. Asked again with the same mark, does nothing.
    pub(super) async fn give_back(&self, mark: &str, payloads: &[Bytes]) -> Result<()> {
        let args: Vec<_> = [millis(MARK)]
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

    pub(super) async fn unmark(&self, mark: &str) -> Result<()> {
        let unlink = || {
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(mark);
            cmd
        };
        self.query("give back to", &self.commands(), unlink).await
    }
}
