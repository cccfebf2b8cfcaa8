//! [`AnswerSender`]: one task sends the answers of all servers, so that many answers take few round
//! trips.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};

use super::take_batch;
use crate::connection::{Script, send_in_batches};
use crate::core::Core;

static ANSWER: Script = Script::new(include_str!("../../scripts/rpc_answer.lua"));

/// An answer, and the list that it goes to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) inbox: String,
    pub(crate) payload: Bytes,
}

/// Sends the answers of servers. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct AnswerSender {
    /// Its bound is never reached: each request in a server's bounded buffer is answered once.
    queue: mpsc::Sender<Answer>,
}

impl AnswerSender {
    /// Starts the task that sends. It ends when the provider is closed and all earlier answers are
    /// sent.
    pub(crate) fn start(core: &Core) -> Self {
        let (queue, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
        let send_all = {
            let core = core.clone();
            async move {
                send_in_batches(receiver, core.close.clone(), |batch| {
                    push_batch(&core, batch)
                })
                .await;
            }
        };
        core.spawn(send_all);
        Self { queue }
    }

    /// Sends an answer. After `close`, the answer is dropped.
    pub(crate) fn send(&self, answer: Answer) {
        drop(self.queue.try_send(answer));
    }
}

async fn push_batch(core: &Core, batch: Vec<Answer>) {
    let mut by_inbox: HashMap<String, Vec<Bytes>> = HashMap::new();
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

async fn push_all(core: &Core, inbox: String, mut payloads: Vec<Bytes>) {
    while !payloads.is_empty() {
        push(core, &inbox, &take_batch(&mut payloads, Bytes::len)).await;
    }
}

/// Pushes answers into one inbox. After an error the caller runs into its timeout: an answer is not
/// sent again, because a second one would count as the answer of another server.
async fn push(core: &Core, inbox: &str, payloads: &[Bytes]) {
    let context = || format!("redis: answer to `{inbox}`");
    let sent = Instant::now();
    let pushed = core
        .commands
        .script(context, &ANSWER, &[core.keys.name(inbox)], payloads)
        .await;
    match pushed {
        Ok(time) => core.commands.clock().learn(sent, time),
        Err(error) => {
            tracing::warn!(
                queue = inbox,
                answers = payloads.len(),
                %error,
                "answers to remote calls are lost, their callers time out"
            );
        }
    }
}
