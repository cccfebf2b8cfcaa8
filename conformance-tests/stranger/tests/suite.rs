//! The conformance suite of pymq on this provider.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_conformance::{Clock, Failure, Harness};
use pymq_core::Result;
use pymq_core::provider::Provider;
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
        Ok(self.here.connect())
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

pymq_conformance::suite!(StrangerHarness::open, paused);
