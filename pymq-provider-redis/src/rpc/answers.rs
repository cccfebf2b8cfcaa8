//! Answers on their way to their callers: gathered by one task, so that many servers at once cost few round trips.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};

use super::take_batch;
use crate::connection::{Script, gather};
use crate::core::Core;

static ANSWER: Script = Script::new(include_str!("../../scripts/rpc_answer.lua"));

/// An answer and the list it goes to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) inbox: String,
    pub(crate) payload: String,
}

/// Where servers put their answers; never waits.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// As good as unbounded, but bounded by what comes in: each request that a server's buffer takes is answered once.
    queue: mpsc::Sender<Answer>,
}

impl Answers {
    /// Starts the task that sends; it ends when the provider is closed and what was given before is sent.
    pub(crate) fn start(core: &Core) -> Self {
        let (queue, given) = mpsc::channel(Semaphore::MAX_PERMITS);
        let send_all = {
            let core = core.clone();
            async move {
                gather(given, core.close.clone(), |batch| push_batch(&core, batch)).await;
            }
        };
        core.spawn(send_all);
        Self { queue }
    }

    /// Gives an answer; after `close` it goes nowhere.
    pub(crate) fn give(&self, answer: Answer) {
        drop(self.queue.try_send(answer));
    }
}

async fn push_batch(core: &Core, batch: Vec<Answer>) {
    let mut by_inbox: HashMap<String, Vec<String>> = HashMap::new();
    for answer in batch {
        by_inbox
            .entry(answer.inbox)
            .or_default()
            .push(answer.payload);
    }
    join_all(
        by_inbox
            .into_iter()
            .map(|(inbox, payloads)| push_all(core, inbox, payloads)),
    )
    .await;
}

async fn push_all(core: &Core, inbox: String, mut payloads: Vec<String>) {
    while !payloads.is_empty() {
        push(core, &inbox, &take_batch(&mut payloads, String::len)).await;
    }
}

/// Pushes answers into one inbox. An error is the caller's timeout: an answer is not repeated, as it would count as
/// another server's.
async fn push(core: &Core, inbox: &str, payloads: &[String]) {
    let context = || format!("redis: answer to `{inbox}`");
    let sent = Instant::now();
    let pushed = core
        .commands
        .script(context, &ANSWER, &[core.keys.name(inbox)], payloads)
        .await;
    match pushed {
        Ok(time) => core.commands.clock().learn(sent, time),
        Err(error) => {
            tracing::warn!(queue = inbox, answers = payloads.len(), %error, "answers to remote calls are lost");
        }
    }
}
