//! Answers on their way to their callers: gathered by one task, so that many servers at once cost few round trips.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::take_batch;
use crate::connection::Script;
use crate::core::Core;

static ANSWER: Script = Script::new(include_str!("../../scripts/rpc_answer.lua"));

/// The most answers in one round trip.
const BATCH: usize = 64;

/// An answer and the list it goes to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) inbox: String,
    pub(crate) payload: Bytes,
}

/// Where servers put their answers; never waits.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Unbounded, but bounded by what comes in: each request that a server's buffer takes is answered once.
    queue: mpsc::UnboundedSender<Answer>,
}

impl Answers {
    /// Starts the task that sends; it ends when the provider is closed and what was given before is sent.
    pub(crate) fn start(core: Core) -> Self {
        let (queue, given) = mpsc::unbounded_channel();
        core.clone().spawn(send(core, given));
        Self { queue }
    }

    /// Gives an answer; after `close` it goes nowhere.
    pub(crate) fn give(&self, answer: Answer) {
        drop(self.queue.send(answer));
    }
}

async fn send(core: Core, mut given: mpsc::UnboundedReceiver<Answer>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            biased;
            count = given.recv_many(&mut batch, BATCH) => count,
            () = core.close.cancelled(), if !given.is_closed() => {
                given.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let mut by_inbox: HashMap<String, Vec<Bytes>> = HashMap::new();
        for answer in batch.drain(..) {
            by_inbox
                .entry(answer.inbox)
                .or_default()
                .push(answer.payload);
        }
        join_all(
            by_inbox
                .into_iter()
                .map(|(inbox, payloads)| push_all(&core, inbox, payloads)),
        )
        .await;
    }
}

async fn push_all(core: &Core, inbox: String, mut payloads: Vec<Bytes>) {
    while !payloads.is_empty() {
        push(core, &inbox, &take_batch(&mut payloads, Bytes::len)).await;
    }
}

/// Pushes answers into one inbox. An error is the caller's timeout: an answer is not repeated, as it would count as
/// another server's.
async fn push(core: &Core, inbox: &str, payloads: &[Bytes]) {
    let payloads: Vec<&[u8]> = payloads.iter().map(Bytes::as_ref).collect();
    let context = || format!("redis: answer to `{inbox}`");
    let pushed = core
        .commands
        .script::<()>(context, &ANSWER, &[core.keys.name(inbox)], &payloads)
        .await;
    if let Err(error) = pushed {
        tracing::warn!(answers = payloads.len(), "{error}");
    }
}
