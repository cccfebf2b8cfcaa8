//! Topics: a `PUBLISH` for each event, and a subscription for each subscriber.

use pymq_core::provider::{Filter, Subscription, subscription};
use pymq_core::{Message, Result};

use crate::connection::Command;
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

    /// Publishes an event and returns how many subscriptions Redis reached.
    pub(crate) async fn publish(&self, topic: &str, message: &Message) -> Result<usize> {
        let (channel, payload) = (self.core.keys.name(topic), wire::encode(message));
        let context = || format!("redis: publish to `{topic}`");
        self.core.limits.check_publish(context, payload.len())?;
        let publish = || Command::with_payloads(&[b"PUBLISH", channel.as_bytes()], [&payload]);
        self.core.commands.query(context, publish).await
    }

    /// Subscribes. The subscription is live when this returns. Dropping the future ends it.
    pub(crate) async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        let target = match &filter {
            Filter::Pattern(glob) => Target::Pattern(self.core.keys.pattern(glob)),
            _ => Target::Channel(self.core.keys.name(filter.as_str())),
        };
        let context = || format!("redis: subscribe to `{}`", filter.as_str());
        let registration = self.subscriptions.register(target);
        let detach = registration.detach_fn();
        let (inlet, subscription) = subscription(&filter, move |detached| detach(detached.into()));
        self.subscriptions
            .attach(context, &registration, Sink::Topic(inlet))
            .await?;
        Ok(subscription)
    }
}
