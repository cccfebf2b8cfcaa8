//! [`PublishBuffer`]: the events that wait to be published by `publish_nowait`.
//!
//! While there are events, one task sends them in their order, a batch at a time. The next batch
//! gathers while one is on its way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// How many bytes may wait, those on their way included.
const LIMIT: u32 = 16 << 20;

/// The least that an event counts, so that also the number of events is bounded: to 4,096.
const MIN_COST: u32 = 4 << 10;

/// The most events and the most bytes in one batch. One event of any size is a batch.
const MAX_BATCH: usize = 1_024;
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The events that wait, and what became of the others.
#[derive(Debug)]
pub(crate) struct PublishBuffer {
    /// A std mutex, because the critical sections are short and contain no await.
    state: Mutex<State>,
    /// The bytes for which there is room.
    room: Semaphore,
    /// Notified when a batch has ended.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many events were added, and how many of them have ended.
    added: u64,
    ended: u64,
    /// How many events failed since the last flush, and why the first one did.
    failed: u64,
    cause: Option<Error>,
    /// Whether the task runs that sends.
    is_sending: bool,
}

#[derive(Debug)]
struct Waiting {
    topic: Arc<str>,
    message: Message,
    cost: u32,
}

impl Default for PublishBuffer {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            room: Semaphore::new(LIMIT as usize),
            progress: Notify::new(),
        }
    }
}

impl PublishBuffer {
    /// Adds an event. Waits while the buffer is full.
    ///
    /// Cancel safe: a future that is dropped has added nothing.
    pub(crate) async fn add(session: &Session, topic: Arc<str>, message: Message) -> Result<()> {
        let buffer = session.publishing();
        let size = u32::try_from(topic.len() + message.size()).unwrap_or(LIMIT);
        let cost = size.clamp(MIN_COST, LIMIT);
        let closed = |_| Error::new(ErrorKind::Closed, format!("publish to `{topic}`"));
        // The room is given back when the event has ended.
        buffer
            .room
            .acquire_many(cost)
            .await
            .map_err(closed)?
            .forget();
        let must_start = {
            let mut state = buffer.lock();
            state.added += 1;
            state.waiting.push_back(Waiting {
                topic,
                message,
                cost,
            });
            !std::mem::replace(&mut state.is_sending, true)
        };
        if must_start {
            let task = Sending {
                buffer: Arc::clone(buffer),
                counters: Arc::clone(session.counters()),
                batch: Vec::new(),
            };
            let provider = Arc::clone(session.provider());
            drop(session.tasks().spawn(task.run(provider)));
        }
        Ok(())
    }

    /// Waits until the events that were added before have ended. Fails if events failed since the
    /// last flush.
    ///
    /// Cancel safe: failures are reported by the next flush.
    pub(crate) async fn flush(&self, operation: impl FnOnce() -> String) -> Result<()> {
        let added = self.lock().added;
        loop {
            let progress = self.progress.notified();
            if self.lock().ended >= added {
                break;
            }
            progress.await;
        }
        let mut state = self.lock();
        let failed = std::mem::take(&mut state.failed);
        match state.cause.take() {
            None => Ok(()),
            Some(cause) => {
                let context = format!("{}: {failed} events may not be published", operation());
                Err(Error::new(cause.kind(), context).with_source(cause))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that sends. If it ends early, the events that are left have failed.
struct Sending {
    buffer: Arc<PublishBuffer>,
    counters: Arc<super::counters::Counters>,
    /// The costs of the events on their way.
    batch: Vec<u32>,
}

impl Sending {
    async fn run(mut self, provider: Arc<dyn crate::provider::Provider>) {
        while let Some(messages) = self.next_batch() {
            let mut outcomes = provider.publish_all(messages).await;
            // An event for which the provider gives no outcome may not be published.
            outcomes.resize_with(self.batch.len(), || {
                Err(Error::new(ErrorKind::Provider, "publish: no outcome"))
            });
            let mut failures = outcomes.into_iter().filter_map(Result::err);
            let cause = failures.next();
            self.end_batch(cause, failures.count());
        }
    }

    /// Takes the next batch. If there is none, the task is over.
    fn next_batch(&mut self) -> Option<Vec<(Arc<str>, Message)>> {
        let mut state = self.buffer.lock();
        let mut messages = Vec::with_capacity(state.waiting.len().min(MAX_BATCH));
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            bytes += next.message.size();
            if messages.len() == MAX_BATCH || bytes > MAX_BATCH_BYTES && !messages.is_empty() {
                break;
            }
            let Some(next) = state.waiting.pop_front() else {
                break;
            };
            self.batch.push(next.cost);
            messages.push((next.topic, next.message));
        }
        state.is_sending = !messages.is_empty();
        state.is_sending.then_some(messages)
    }

    /// Ends the events on their way. If some have failed: why the first one did, and how many others.
    fn end_batch(&mut self, cause: Option<Error>, others: usize) {
        let count = self.batch.len() as u64;
        let room: u32 = self.batch.drain(..).sum();
        let mut state = self.buffer.lock();
        state.ended += count;
        if let Some(error) = cause {
            let failed = others as u64 + 1;
            tracing::warn!(events = failed, %error, "events may not be published");
            state.failed += failed;
            state.cause.get_or_insert(error);
            self.counters.unpublished.add(failed);
        }
        drop(state);
        self.buffer.room.add_permits(room as usize);
        self.buffer.progress.notify_waiters();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut state = self.buffer.lock();
        let left = std::mem::take(&mut state.waiting);
        if self.batch.is_empty() && left.is_empty() {
            return;
        }
        state.is_sending = false;
        drop(state);
        self.batch.extend(left.iter().map(|event| event.cost));
        let error = Error::new(ErrorKind::Closed, "the bus ended before it had published");
        let others = self.batch.len() - 1;
        self.end_batch(Some(error), others);
    }
}
