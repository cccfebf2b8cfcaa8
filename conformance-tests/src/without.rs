//! [`without`]: a provider that lacks a capability, to test how it refuses.
//! [`with_remotes_over_topics`]: one that lacks remotes and gets them back.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{
    Capabilities, Delivery, Filter, GetOptions, Part, Provider, Put, PutOptions, Receipt, Redrive,
    Replies, RequestOptions, Requests, Settle, Stored, Subscription,
};
use pymq_core::{Error, ErrorKind, Message, Result};
use pymq_rpc_over_topics::rpc_over_topics;

use crate::twist::{Twist, Twisted, twisted};

/// What a provider may lack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Capability {
    /// Subscriptions to patterns.
    Patterns,
    /// Leases, and with them dead letters.
    Leases,
    /// Delayed puts and nacks.
    Delays,
}

impl Capability {
    /// Tells whether a provider has it.
    pub fn is_in(self, capabilities: Capabilities) -> bool {
        match self {
            Self::Patterns => capabilities.patterns,
            Self::Leases => capabilities.leases,
            Self::Delays => capabilities.delays,
        }
    }
}

/// Returns the provider itself if it lacks the capability, and otherwise a decorator that lacks it.
pub fn without(capability: Capability, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
    if !capability.is_in(provider.capabilities()) {
        return provider;
    }
    twisted(provider, Without(capability))
}

/// Replaces the remotes of a provider by those of [`rpc_over_topics`].
pub fn with_remotes_over_topics(provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
    Arc::new(rpc_over_topics(Twisted {
        inner: provider,
        twist: WithoutRemotes,
    }))
}

#[derive(Debug)]
struct WithoutRemotes;

#[async_trait]
impl Twist for WithoutRemotes {
    async fn rpc_listen(&self, inner: &Arc<dyn Provider>, channel: &str) -> Result<Requests> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{}: serve `{channel}`", inner.name()),
        ))
    }

    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        _request: Message,
        _opts: RequestOptions,
    ) -> Result<Replies> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{}: call `{channel}`", inner.name()),
        ))
    }
}

#[derive(Debug)]
struct Without(Capability);

impl Without {
    /// Refuses what needs `capability`, if that is the missing one.
    fn refuse(
        &self,
        capability: Capability,
        inner: &Arc<dyn Provider>,
        operation: &str,
        name: &str,
    ) -> Result<()> {
        if self.0 != capability {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{}: {operation} `{name}`", inner.name()),
        ))
    }

    /// Refuses a part of a queue that exists only with the missing capability.
    fn refuse_part(
        &self,
        part: Part,
        inner: &Arc<dyn Provider>,
        operation: &str,
        queue: &str,
    ) -> Result<()> {
        match part {
            Part::Dead => self.refuse(Capability::Leases, inner, operation, queue),
            Part::Delayed => self.refuse(Capability::Delays, inner, operation, queue),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Twist for Without {
    fn capabilities(&self, inner: &Arc<dyn Provider>) -> Capabilities {
        let mut capabilities = inner.capabilities();
        match self.0 {
            Capability::Patterns => capabilities.patterns = false,
            Capability::Leases => capabilities.leases = false,
            Capability::Delays => capabilities.delays = false,
        }
        capabilities
    }

    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        if matches!(filter, Filter::Pattern(_)) {
            self.refuse(Capability::Patterns, inner, "subscribe to", filter.as_str())?;
        }
        inner.subscribe(filter).await
    }

    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        if !opts.delay.is_zero() {
            self.refuse(Capability::Delays, inner, "put to", queue)?;
        }
        inner.queue_put(queue, messages, opts).await
    }

    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        if opts.lease.is_some() {
            self.refuse(Capability::Leases, inner, "lease from", queue)?;
        }
        inner.queue_get(queue, opts).await
    }

    async fn queue_settle(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Result<()>>> {
        self.refuse(Capability::Leases, inner, "settle in", queue)?;
        if settlements
            .iter()
            .any(|(_, settle)| matches!(settle, Settle::Nack { delay } if !delay.is_zero()))
        {
            self.refuse(Capability::Delays, inner, "settle in", queue)?;
        }
        inner.queue_settle(queue, settlements).await
    }

    async fn queue_peek(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        part: Part,
        max: usize,
    ) -> Result<Vec<Stored>> {
        self.refuse_part(part, inner, "peek at", queue)?;
        inner.queue_peek(queue, part, max).await
    }

    async fn queue_clear(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        part: Part,
    ) -> Result<usize> {
        self.refuse_part(part, inner, "clear", queue)?;
        inner.queue_clear(queue, part).await
    }

    async fn queue_redrive(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        which: Redrive,
    ) -> Result<usize> {
        self.refuse(Capability::Leases, inner, "redrive", queue)?;
        inner.queue_redrive(queue, which).await
    }
}
