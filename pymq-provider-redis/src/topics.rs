//! Topics: `PUBLISH` and, on a connection of their own, subscriptions.

use pymq::provider::{Filter, Subscription};
use pymq::{Error, ErrorKind, Message, Result};

use crate::core::Core;
use crate::wire;

/// The topics of a provider.
#[derive(Debug)]
pub(crate) struct Topics {
    core: Core,
}

impl Topics {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }

    pub(crate) async fn publish(&self, topic: &str, message: &Message) -> Result<usize> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.core.keys.name(topic)).arg(&*wire::encode(message));
        self.core.commands.query(|| format!("redis: publish to `{topic}`"), &publish).await
    }

    pub(crate) async fn subscribe(&self, filter: Filter) -> Result<Subscription> {
        Err(Error::new(ErrorKind::Unsupported, format!("redis: subscribe to `{}`", filter.as_str())))
    }
}
