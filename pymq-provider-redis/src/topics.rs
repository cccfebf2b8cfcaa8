//! Topics: a `PUBLISH` for each event, and a subscription for each subscriber.

use std::sync::Arc;

use bytes::Bytes;
use pymq_core::provider::{Filter, Subscription, subscription};
use pymq_core::{Message, Result};

use crate::connection::{Command, CommandWriter, Fault, FromReply, Reply};
use crate::core::Core;
use crate::rpc::take_batch;
use crate::subscriptions::{Sink, Subscriptions, Target};
use crate::wire;

/// Room for the text of a `PUBLISH` around the channel and the payload.
const COMMAND_OVERHEAD: usize = 40;

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
    ) -> Vec<Result<usize>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut events = Vec::with_capacity(messages.len());
        for (topic, message) in messages {
            let payload = wire::encode(&message);
            let context = || format!("redis: publish to `{topic}`");
            let checked = self.core.limits.check_publish(context, payload.len());
            // An event that is refused is not sent, and the others are.
            if checked.is_ok() {
                events.push((topic, payload, outcomes.len()));
            }
            outcomes.push(checked.map(|()| 0));
        }
        while !events.is_empty() {
            let batch = take_batch(&mut events, |(_, payload, _)| payload.len());
            match self.publish_batch(&batch).await {
                Ok(counts) => {
                    for (count, (topic, _, place)) in counts.into_iter().zip(&batch) {
                        outcomes[*place] = self.count(topic, count);
                    }
                }
                Err(error) => {
                    for (_, _, place) in &batch {
                        outcomes[*place] = Err(error.clone());
                    }
                }
            }
        }
        outcomes
    }

    /// Publishes payloads to topics as one command, and returns the reply to each.
    async fn publish_batch(&self, batch: &[(Arc<str>, Bytes, usize)]) -> Result<Vec<Reply>> {
        let context = || "redis: publish".to_owned();
        let publish = || {
            let overhead = self.core.keys.name("").len() + COMMAND_OVERHEAD;
            let names = batch.iter().map(|(topic, ..)| topic.len() + overhead);
            let payloads = batch.iter().map(|(_, payload, _)| payload);
            let mut commands = CommandWriter::with_room(names.sum(), payloads);
            let mut channel = String::new();
            for (topic, payload, _) in batch {
                self.core.keys.write_name(topic, &mut channel);
                commands.add(&[b"PUBLISH", channel.as_bytes()], [payload]);
            }
            commands.finish()
        };
        if batch.len() == 1 {
            return Ok(vec![self.core.commands.query(context, publish).await?]);
        }
        self.core.commands.query(context, publish).await
    }

    fn count(&self, topic: &str, reply: Reply) -> Result<usize> {
        let fault = match reply {
            Reply::Error(text) => Fault::of_reply(&text),
            reply => match FromReply::from_reply(reply) {
                Some(count) => return Ok(count),
                None => Fault::unexpected(),
            },
        };
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
