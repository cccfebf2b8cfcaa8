//! RPC as Python PyMQ speaks it: a request on a channel, an answer in a list. Ours adds a count of the servers, a
//! claim where there are several, and one reply inbox for all calls of a process.

mod answers;
mod calls;
pub(crate) mod envelope;
mod outbox;
mod server;

use std::sync::Arc;

use pymq_core::provider::{Replies, RequestOptions, Requests, requests};
use pymq_core::{Message, Result};

use self::answers::Answers;
use self::calls::Calls;
pub(crate) use self::envelope::request_frame;
use self::server::Office;
pub(crate) use self::server::Server;
use crate::core::Core;
use crate::subscriptions::{Sink, Subscriptions, Target};

/// The RPC channels of a provider: those it serves and those it calls.
#[derive(Debug)]
pub(crate) struct Rpc {
    office: Arc<Office>,
    calls: Calls,
    subscriptions: Subscriptions,
}

impl Rpc {
    pub(crate) fn new(core: Core, subscriptions: Subscriptions) -> Self {
        let answers = Answers::start(&core);
        Self {
            calls: Calls::new(core.clone()),
            office: Arc::new(Office::new(core, answers)),
            subscriptions,
        }
    }

    /// Serves a channel; requests by anyone reach it when this returns. Dropped before, it takes itself back.
    pub(crate) async fn listen(&self, channel: &str) -> Result<Requests> {
        let target = Target::Channel(self.office.core.keys.name(channel));
        let ticket = self.subscriptions.ticket(target);
        let (inlet, requests) = requests(ticket.give_back());
        let server = Server::new(Arc::clone(&self.office), channel, inlet);
        self.subscriptions
            .attach(
                || format!("redis: serve `{channel}`"),
                &ticket,
                Sink::Remote(server),
            )
            .await?;
        Ok(requests)
    }

    /// Counts the calls whose replies somebody still waits for.
    pub(crate) fn calls_under_way(&self) -> usize {
        self.calls.under_way()
    }

    /// Sends a request to one server or to all.
    pub(crate) async fn request(
        &self,
        channel: &str,
        message: &Message,
        opts: &RequestOptions,
    ) -> Result<Replies> {
        self.calls.request(channel, message, opts).await
    }
}

/// Once a command holds so many bytes, the rest goes with the next: Redis cuts who sends it too much at once.
const LARGE: usize = 1 << 20;

/// Takes from the front what goes into one command; at least one item.
fn take_batch<T>(items: &mut Vec<T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = |item: &&T| {
        let is_first = bytes == 0;
        bytes += size(item);
        is_first || bytes <= LARGE
    };
    let count = items.iter().take_while(fits).count();
    items.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_before_it_is_large_and_is_never_empty() {
        let mut items = vec![LARGE * 2, LARGE / 2, LARGE / 2, 1];

        assert_eq!(take_batch(&mut items, |size| *size), [LARGE * 2]);
        assert_eq!(take_batch(&mut items, |size| *size), [LARGE / 2, LARGE / 2]);
        assert_eq!(take_batch(&mut items, |size| *size), [1]);
        assert!(items.is_empty());
    }
}
