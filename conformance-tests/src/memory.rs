//! The harness of the memory provider: each test has a broker of its own.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::Connect;
use pymq_core::provider::Provider;
use pymq_provider_memory::{MemoryBroker, MemoryConfig};

use crate::{Clock, Failure, Harness};

const HERE: &str = "here";
/// Both brokers start in the same way.
const ELSEWHERE: &str = "here.2";

/// A broker in this process, on tokio's paused clock.
#[derive(Debug, Default)]
pub struct MemoryHarness {
    broker: MemoryBroker,
}

impl MemoryHarness {
    /// Creates a broker for the test of this name.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(
        clippy::unused_async,
        reason = "a harness opens as the others do, which start a server"
    )]
    pub async fn open(_test: &str) -> Result<Self, Failure> {
        Ok(Self::default())
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn connect(&self) -> pymq_core::Result<Arc<dyn Provider>> {
        MemoryConfig::from(&self.broker)
            .namespace(HERE)
            .connect()
            .await
    }

    async fn connect_elsewhere(&self) -> pymq_core::Result<Arc<dyn Provider>> {
        MemoryConfig::from(&self.broker)
            .namespace(ELSEWHERE)
            .connect()
            .await
    }

    fn clock(&self) -> Clock {
        Clock::Paused
    }

    async fn leftovers(&self) -> Vec<String> {
        [self.broker.contents(HERE), self.broker.contents(ELSEWHERE)].concat()
    }
}
