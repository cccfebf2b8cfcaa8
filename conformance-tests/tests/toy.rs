//! The suite on a provider such as a third party would write in an afternoon.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_conformance::toy::Hub;
use pymq_conformance::{Clock, Failure, Harness};
use pymq_core::Result;
use pymq_core::provider::Provider;

/// A hub of its own for each test, and another for the other namespace.
#[derive(Debug, Default)]
struct ToyHarness {
    here: Hub,
    elsewhere: Hub,
}

impl ToyHarness {
    #[expect(
        clippy::unused_async,
        reason = "a harness opens as the others do, which start a server"
    )]
    async fn open(_test: &str) -> Result<Self, Failure> {
        Ok(Self::default())
    }
}

#[async_trait]
impl Harness for ToyHarness {
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

pymq_conformance::conformance!(paused, ToyHarness::open, []);
