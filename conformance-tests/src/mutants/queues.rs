//! Defects in queues.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{
    Delivery, GetOptions, ONCE_WINDOW, Part, Provider, Put, PutOptions, Stored, Wait,
};
use pymq_core::{Error, ErrorKind, Message, MessageId, Result};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::each;
use crate::harness::Wrap;
use crate::jobs::at_most;
use crate::twist::{Twist, twisted};

/// Last in, first out.
pub fn lifo_queue() -> Wrap {
    each(|| LastIn)
}

#[derive(Debug)]
struct LastIn;

#[async_trait]
impl Twist for LastIn {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let mut line = inner.queue_get(queue, opts).await?;
        line.extend(
            inner
                .queue_get(queue, GetOptions::default().max(at_most(10_000)))
                .await?,
        );
        let last = line.pop();
        let others = line.into_iter().map(|delivery| delivery.message).collect();
        inner
            .queue_put(queue, others, PutOptions::default())
            .await?;
        Ok(last.into_iter().collect())
    }
}

/// One of a hundred messages is lost.
pub fn loses_every_100th() -> Wrap {
    count_to_100(|_| Vec::new())
}

/// One of a hundred messages comes twice.
pub fn duplicates_every_100th() -> Wrap {
    count_to_100(|message| vec![message.clone(), message])
}

/// Replaces every hundredth message, on whichever handle it is put.
fn count_to_100(make: fn(Message) -> Vec<Message>) -> Wrap {
    let count = Arc::new(AtomicUsize::new(1));
    Box::new(move |provider| {
        twisted(
            provider,
            Hundredth {
                count: Arc::clone(&count),
                make,
            },
        )
    })
}

#[derive(Debug)]
struct Hundredth {
    count: Arc<AtomicUsize>,
    make: fn(Message) -> Vec<Message>,
}

#[async_trait]
impl Twist for Hundredth {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let twist = |message| match self.count.fetch_add(1, Ordering::SeqCst) % 100 {
            0 => (self.make)(message),
            _ => vec![message],
        };
        inner
            .queue_put(queue, messages.into_iter().flat_map(twist).collect(), opts)
            .await
    }
}

/// A get ignores its timeout and waits for ever.
pub fn get_ignores_timeout() -> Wrap {
    waits(|wait| match wait {
        Wait::For(time) if !time.is_zero() => Wait::Forever,
        wait => wait,
    })
}

/// A get ignores its timeout and does not wait.
pub fn get_gives_up_at_once() -> Wrap {
    waits(|_| Wait::No)
}

/// A timeout of zero is no timeout.
pub fn zero_timeout_waits_forever() -> Wrap {
    waits(|wait| match wait {
        Wait::For(Duration::ZERO) => Wait::Forever,
        wait => wait,
    })
}

fn waits(change: fn(Wait) -> Wait) -> Wrap {
    each(move || OtherWait(change))
}

#[derive(Debug)]
struct OtherWait(fn(Wait) -> Wait);

#[async_trait]
impl Twist for OtherWait {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let wait = (self.0)(opts.wait);
        inner.queue_get(queue, opts.wait(wait)).await
    }
}

/// Time passes between the check of the bound and the put.
pub fn maxsize_checked_then_put() -> Wrap {
    each(|| CheckThenPut)
}

#[derive(Debug)]
struct CheckThenPut;

#[async_trait]
impl Twist for CheckThenPut {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let ready = inner.queue_stats(queue).await?.ready;
        if opts
            .maxsize
            .is_some_and(|maxsize| ready + messages.len() > maxsize.get())
        {
            return Err(Error::new(
                ErrorKind::Full,
                format!("{}: put to `{queue}`", inner.name()),
            ));
        }
        yield_now().await;
        inner.queue_put(queue, messages, opts.maxsize(None)).await
    }
}

/// A batch is put as far as it fits.
pub fn batch_is_put_in_part() -> Wrap {
    each(|| OneByOne)
}

#[derive(Debug)]
struct OneByOne;

#[async_trait]
impl Twist for OneByOne {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        for message in messages {
            inner.queue_put(queue, vec![message], opts.clone()).await?;
        }
        Ok(Put::New)
    }
}

/// A dropped get continues, and what it takes is lost.
pub fn cancelled_get_eats() -> Wrap {
    each(|| TakesOn)
}

#[derive(Debug)]
pub(super) struct TakesOn;

#[async_trait]
impl Twist for TakesOn {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let (inner, queue) = (Arc::clone(inner), queue.to_owned());
        let taking = tokio::spawn(async move { inner.queue_get(&queue, opts).await });
        taking.await.expect("taking does not panic")
    }
}

/// Messages that were taken for a dropped get go back behind all others.
pub fn given_up_goes_to_the_back() -> Wrap {
    each(|| ToTheBack)
}

#[derive(Debug)]
struct ToTheBack;

/// Messages that were taken and not delivered yet. They are put back when this is dropped.
struct OnItsWay {
    provider: Arc<dyn Provider>,
    queue: String,
    messages: Vec<Message>,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let (provider, queue) = (Arc::clone(&self.provider), self.queue.clone());
        let messages = std::mem::take(&mut self.messages);
        if !messages.is_empty() {
            drop(tokio::spawn(async move {
                let opts = PutOptions::default();
                provider.queue_put(&queue, messages, opts).await
            }));
        }
    }
}

#[async_trait]
impl Twist for ToTheBack {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        // A round trip, during which a get can be dropped.
        const ROUND_TRIP: Duration = Duration::from_millis(5);
        let taken = inner.queue_get(queue, opts).await?;
        let messages = taken.iter().map(|delivery| delivery.message.clone());
        let mut on_its_way = OnItsWay {
            provider: Arc::clone(inner),
            queue: queue.to_owned(),
            messages: messages.collect(),
        };
        sleep(ROUND_TRIP).await;
        on_its_way.messages.clear();
        Ok(taken)
    }
}

/// A repeated put is another put.
pub fn ignores_once() -> Wrap {
    each(|| Again)
}

#[derive(Debug)]
struct Again;

#[async_trait]
impl Twist for Again {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        mut opts: PutOptions,
    ) -> Result<Put> {
        opts.once = None;
        inner.queue_put(queue, messages, opts).await
    }
}

/// A put of a known id puts nothing and reports `New`.
pub fn always_says_new() -> Wrap {
    each(|| AlwaysNew)
}

#[derive(Debug)]
struct AlwaysNew;

#[async_trait]
impl Twist for AlwaysNew {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner.queue_put(queue, messages, opts).await?;
        Ok(Put::New)
    }
}

/// An id is known for two minutes, and its window is ignored.
pub fn ignores_the_window() -> Wrap {
    each(|| TwoMinutes)
}

#[derive(Debug)]
struct TwoMinutes;

#[async_trait]
impl Twist for TwoMinutes {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let opts = opts.window(ONCE_WINDOW);
        inner.queue_put(queue, messages, opts).await
    }
}

/// An id is remembered even if its put is refused.
pub fn refused_put_uses_up_its_id() -> Wrap {
    each(RemembersTooEarly::default)
}

#[derive(Debug, Default)]
struct RemembersTooEarly(Mutex<HashSet<MessageId>>);

#[async_trait]
impl Twist for RemembersTooEarly {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        mut opts: PutOptions,
    ) -> Result<Put> {
        if let Some(id) = opts.once.take() {
            let is_new = self.0.lock().expect("nothing panics under it").insert(id);
            if !is_new {
                return Ok(Put::Known);
            }
        }
        inner.queue_put(queue, messages, opts).await
    }
}

/// A peek takes.
pub fn peek_takes() -> Wrap {
    each(|| Taking)
}

#[derive(Debug)]
struct Taking;

#[async_trait]
impl Twist for Taking {
    async fn queue_peek(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        part: Part,
        max: usize,
    ) -> Result<Vec<Stored>> {
        let seen = inner.queue_peek(queue, part, max).await?;
        if part == Part::Ready && !seen.is_empty() {
            inner
                .queue_get(queue, GetOptions::default().max(at_most(seen.len())))
                .await?;
        }
        Ok(seen)
    }
}
