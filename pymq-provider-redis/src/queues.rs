//! Queues: Python's own lists.

use std::num::NonZeroUsize;

use bytes::Bytes;
use pymq::provider::{
    Delivery, GetOptions, Part, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored,
};
use pymq::{Error, ErrorKind, Message, Result};

use crate::core::Core;
use crate::wire;

/// The queues of a provider.
#[derive(Debug)]
pub(crate) struct Queues {
    core: Core,
}

impl Queues {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }

    pub(crate) async fn put(&self, queue: &str, messages: Vec<Message>, opts: PutOptions) -> Result<()> {
        if opts != PutOptions::default() {
            return Err(unsupported("put with options", queue));
        }
        let mut push = redis::cmd("LPUSH");
        push.arg(self.core.keys.name(queue));
        for message in &messages {
            push.arg(&*wire::encode(message));
        }
        self.core.commands.query(|| context("put to", queue), &push).await
    }

    pub(crate) async fn get(&self, queue: &str, opts: GetOptions) -> Result<Vec<Delivery>> {
        let max: NonZeroUsize = opts.max;
        let mut pop = redis::cmd("RPOP");
        pop.arg(self.core.keys.name(queue)).arg(max.get());
        let popped: Option<Vec<Bytes>> = self.core.commands.query(|| context("get from", queue), &pop).await?;
        let messages = popped.unwrap_or_default().into_iter().map(wire::decode);
        Ok(messages.map(|message| Delivery::new(message, 1, None)).collect())
    }

    pub(crate) async fn settle(&self, queue: &str, _: Vec<(Receipt, Settle)>) -> Result<Vec<Result<()>>> {
        Err(unsupported("settle in", queue))
    }

    pub(crate) async fn peek(&self, queue: &str, _part: Part, _max: usize) -> Result<Vec<Stored>> {
        Err(unsupported("peek into", queue))
    }

    pub(crate) async fn redrive(&self, queue: &str, _which: Redrive) -> Result<usize> {
        Err(unsupported("redrive in", queue))
    }

    pub(crate) async fn clear(&self, queue: &str, _part: Part) -> Result<usize> {
        Err(unsupported("clear", queue))
    }

    pub(crate) async fn stats(&self, queue: &str) -> Result<QueueStats> {
        let mut len = redis::cmd("LLEN");
        len.arg(self.core.keys.name(queue));
        let ready = self.core.commands.repeatable().query(|| context("stats of", queue), &len).await?;
        Ok(QueueStats::new(ready, 0, 0, 0))
    }
}

fn context(operation: &str, queue: &str) -> String {
    format!("redis: {operation} `{queue}`")
}

fn unsupported(operation: &str, queue: &str) -> Error {
    Error::new(ErrorKind::Unsupported, context(operation, queue))
}
