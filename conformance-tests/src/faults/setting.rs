//! What a fault gets: the seed, a place for its files, servers, and the broken rule, if any.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_core::provider::Provider;
use pymq_core::{Bus, Connect};
use pymq_provider_redis::RedisConfig;

use super::ledger::Ledger;
use super::{Dice, Rule};
use crate::Failure;
use crate::redis::Controlled;
use crate::redis::Scratch;

/// Options of a server that keeps everything it has acknowledged, however its process ends.
pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The setting of one run of a fault.
#[derive(Debug)]
pub struct Setting {
    seed: u64,
    is_long: bool,
    breaks: Option<Rule>,
    scratch: Scratch,
    servers: AtomicUsize,
}

impl Setting {
    /// Creates the setting for a seed.
    pub fn new(seed: u64, is_long: bool, breaks: Option<Rule>) -> Result<Self, Failure> {
        Ok(Self {
            seed,
            is_long,
            breaks,
            scratch: Scratch::new()?,
            servers: AtomicUsize::new(0),
        })
    }

    /// Returns the random numbers for one purpose, the same in each run with this seed.
    pub fn dice(&self, label: &str) -> Dice {
        Dice::new(self.seed, label)
    }

    /// Returns how often or how long a fault happens: the first, or the second in a long run.
    pub fn length<T>(&self, (short, long): (T, T)) -> T {
        if self.is_long { long } else { short }
    }

    /// Returns the rule that is broken in this run.
    pub fn breaks(&self) -> Option<Rule> {
        self.breaks
    }

    /// Tells whether this run breaks the rule.
    pub fn is_broken(&self, rule: Rule) -> bool {
        self.breaks == Some(rule)
    }

    /// Returns the directory of this run.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Starts a server that can be killed and stopped. [`DURABLE`] has the options of one that
    /// keeps its data.
    pub async fn server(&self, options: &[&str]) -> Result<Controlled, Failure> {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let home = self.scratch.dir(&format!("server-{number}"))?;
        Controlled::start(&home, options).await
    }

    /// Connects a provider. It applies the broken rule.
    pub async fn provider(&self, config: RedisConfig) -> Result<Arc<dyn Provider>, Failure> {
        let provider = config.connect().await?;
        Ok(match self.breaks {
            Some(rule) => rule.broken_in(provider),
            None => provider,
        })
    }

    /// Connects a bus. It applies the broken rule.
    pub async fn bus(&self, config: RedisConfig) -> Result<Bus, Failure> {
        Ok(Bus::new(self.provider(config).await?))
    }

    /// Opens the ledger of a queue.
    pub fn ledger(&self, name: &str) -> Result<Ledger, Failure> {
        Ledger::open(&self.scratch, name)
    }
}
