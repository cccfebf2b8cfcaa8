//! Topics: a `PUBLISH` for each event, and a subscription for each subscriber.

use std::sync::Arc;

use pymq_core::provider::{Filter, Subscription, subscription};
use pymq_core::{Message, Result};

use crate::connection::{Command, CommandWriter, Fault, FromReply, Reply};
use crate::core::Core;
use crate::rpc::take_batch;
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

    /// Publishes events in their order and returns how many subscriptions Redis reached with each.
    pub(crate) async fn publish_all(
        &self,
        messages: Vec<(Arc<str>, Message)>,
    ) -> Result<Vec<usize>> {
        let context = || "redis: publish".to_owned();
        let mut events = Vec::with_capacity(messages.len());
        for (topic, message) in messages {
            let payload = wire::encode(&message);
            let context = || format!("redis: publish to `{topic}`");
            self.core.limits.check_publish(context, payload.len())?;
            events.push((self.core.keys.name(&topic), payload));
        }
        let mut reached = Vec::with_capacity(events.len());
        while !events.is_empty() {
            let batch = take_batch(&mut events, |(_, payload)| payload.len());
            let publish = || {
                let mut commands = CommandWriter::default();
                for (channel, payload) in &batch {
                    commands.add(&[b"PUBLISH", channel.as_bytes()], [payload]);
                }
                commands.finish()
            };
            let counts: Vec<Reply> = if batch.len() == 1 {
                vec![self.core.commands.query(context, publish).await?]
            } else {
                self.core.commands.query(context, publish).await?
            };
            for (count, (channel, _)) in counts.into_iter().zip(&batch) {
                reached.push(self.count(channel, count)?);
            }
        }
        Ok(reached)
    }

    fn count(&self, channel: &str, reply: Reply) -> Result<usize> {
        let fault = match reply {
            Reply::Error(text) => Fault::of_reply(&text),
            reply => match FromReply::from_reply(reply) {
                Some(count) => return Ok(count),
                None => Fault::unexpected(),
            },
        };
        let topic = self.core.keys.strip(channel).unwrap_or(channel);
        let context = format!("redis: publish to `{topic}`");
        Err(fault.into_error(&context, self.core.connector.address()))
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
