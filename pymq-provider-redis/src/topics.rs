//! Topics: a `PUBLISH` for each event, a subscription for each listener.

use pymq_core::provider::{Filter, Subscription, subscription};
use pymq_core::{Message, Result};

use crate::connection::command;
use crate::core::Core;
use crate::subscriptions::{Sink, Subscriptions, Target};
use crate::wire;

/// The topics of a provider.
#[derive(Debug)]
pub(crate) struct Topics {
    core: Core,
    subscriptions: Subscriptions,
}

impl Topics {
    pub(crate) fn new(core: Core, subscriptions: Subscriptions) -> Self {
        Self {
            core,
            subscriptions,
        }
    }

    /// Publishes, and returns how many subscriptions Redis found.
    pub(crate) async fn publish(&self, topic: &str, message: &Message) -> Result<usize> {
        let (channel, payload) = (self.core.keys.name(topic), wire::encode(message));
        let context = || format!("redis: publish to `{topic}`");
        self.core.limits.check_publish(context, payload.len())?;
        let publish = || command([b"PUBLISH", channel.as_bytes(), &payload].into_iter());
        self.core.commands.query(context, publish).await
    }

    /// Subscribes; live when this returns. Dropped before, it takes itself back.
    pub(crate) async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        let target = match &filter {
            Filter::Pattern(glob) => Target::Pattern(self.core.keys.pattern(glob)),
            _ => Target::Channel(self.core.keys.name(filter.as_str())),
        };
        let context = || format!("redis: subscribe to `{}`", filter.as_str());
        let ticket = self.subscriptions.ticket(target);
        let (inlet, subscription) = subscription(&filter, ticket.give_back());
        self.subscriptions
            .attach(context, &ticket, Sink::Topic(inlet))
            .await?;
        Ok(subscription)
    }
}
