//! The conformance suite of pymq on this provider.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_conformance::twist::{Twist, twisted};
use pymq_conformance::{Clock, Failure, Harness};
use pymq_core::provider::{Provider, Put, PutOptions};
use pymq_core::{Message, Result};
use stranger::Backend;

#[derive(Debug, Default)]
struct StrangerHarness {
    here: Arc<Backend>,
    elsewhere: Arc<Backend>,
}

impl StrangerHarness {
    async fn open(_test: &str) -> Result<Self, Failure> {
        Ok(Self::default())
    }
}

#[async_trait]
impl Harness for StrangerHarness {
    async fn connect(&self) -> Result<Arc<dyn Provider>> {
        match cfg!(feature = "broken") {
            true => Ok(twisted(self.here.connect(), LastFirst)),
            false => Ok(self.here.connect()),
        }
    }

    async fn connect_elsewhere(&self) -> Result<Arc<dyn Provider>> {
        Ok(self.elsewhere.connect())
    }

    fn clock(&self) -> Clock {
        Clock::Paused
    }

    async fn leftovers(&self) -> Vec<String> {
        [self.here.leftovers(), self.elsewhere.leftovers()].concat()
    }
}

/// A provider that is broken on purpose: it puts the messages of a batch in reverse order.
#[derive(Debug)]
struct LastFirst;

#[async_trait]
impl Twist for LastFirst {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        mut messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        messages.reverse();
        inner.queue_put(queue, messages, opts).await
    }
}

pymq_conformance::suite!(StrangerHarness::open, paused);
