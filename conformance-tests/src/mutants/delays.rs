//! Defects in delays.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Delivery, GetOptions, Provider, Put, PutOptions, Settle, Wait};
use pymq_core::{Message, Result};
use tokio::time::{Instant, sleep};

use super::each;
use super::leases::settlements;
use crate::harness::Wrap;
use crate::twist::Twist;

/// A delayed put is a put without a delay.
pub fn accepts_delay_and_ignores_it() -> Wrap {
    each(|| NoDelay)
}

#[derive(Debug)]
struct NoDelay;

#[async_trait]
impl Twist for NoDelay {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner
            .queue_put(queue, messages, opts.delay(Duration::ZERO))
            .await
    }
}

/// A delayed nack is a nack without a delay.
pub fn ignores_the_delay_of_a_nack() -> Wrap {
    settlements(|how| match how {
        Settle::Nack { .. } => Some(Settle::Nack {
            delay: Duration::ZERO,
        }),
        how => Some(how),
    })
}

/// No message passes one that is not due.
pub fn delay_blocks_the_line() -> Wrap {
    each(|| Blocking)
}

#[derive(Debug)]
struct Blocking;

#[async_trait]
impl Twist for Blocking {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        if inner.queue_stats(queue).await?.delayed > 0 {
            return Ok(Vec::new());
        }
        inner.queue_get(queue, opts).await
    }
}

/// A waiting take checks once a second.
pub fn polls_every_second() -> Wrap {
    each(|| Polling)
}

#[derive(Debug)]
struct Polling;

#[async_trait]
impl Twist for Polling {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let started = Instant::now();
        loop {
            let taken = inner.queue_get(queue, opts.clone().wait(Wait::No)).await?;
            let is_over = match opts.wait {
                Wait::For(time) => started.elapsed() >= time,
                Wait::Forever => false,
                _ => true,
            };
            if is_over || !taken.is_empty() {
                return Ok(taken);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}
