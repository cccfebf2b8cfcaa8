//! Remote calls as Python PyMQ speaks them: a request on a channel, an answer in a list. This
//! provider adds a count of the servers, a claim where there are several, a channel for each server
//! so that the only one can be called without both, and one inbox for all calls of a process.

mod answer_sender;
mod calls;
pub(crate) mod envelope;
mod inbox;
mod request_sender;
mod routes;
mod server;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use pymq_core::provider::{Replies, RequestOptions, Requests, requests};
use pymq_core::{Message, Result};

use self::answer_sender::AnswerSender;
use self::calls::Calls;
pub(crate) use self::envelope::request_frame;
pub(crate) use self::server::Server;
use self::server::{Reach, ServerShared};
use crate::core::{Core, RequestChannels};
use crate::subscriptions::{Sink, Subscriptions, Target};

/// The channels that a provider serves and calls.
#[derive(Debug)]
pub(crate) struct Rpc {
    server_shared: Arc<ServerShared>,
    calls: Calls,
    subscriptions: Subscriptions,
    /// On a cluster, those of each slot in which a remote is served, by what its channels begin
    /// with.
    by_slot: Mutex<HashMap<String, Subscriptions>>,
}

impl Rpc {
    pub(crate) fn new(core: Core, subscriptions: Subscriptions) -> Self {
        let answers = AnswerSender::start(&core);
        Self {
            calls: Calls::new(core.clone(), &subscriptions),
            server_shared: Arc::new(ServerShared::new(core, answers)),
            subscriptions,
            by_slot: Mutex::default(),
        }
    }

    /// Serves a channel. Requests reach it when this returns. Dropping the future ends it.
    pub(crate) async fn listen(&self, channel: &str) -> Result<Requests> {
        let shared = &self.server_shared;
        let core = shared.core.of(&shared.core.keys.remote(channel));
        let subscriptions = self.subscriptions_of(channel, &core);
        let target = match core.request_channels() {
            RequestChannels::Slot => Target::Shard,
            RequestChannels::Server | RequestChannels::Cluster => Target::Channel,
        };
        let of_all = subscriptions.register(target(core.keys.remote(channel)));
        let of_one = subscriptions.register(target(shared.channel(channel)));
        let (detach_all, detach_one) = (of_all.detach_fn(), of_one.detach_fn());
        let (inlet, requests) = requests(move |detached| {
            let detached = Arc::new(detached);
            detach_one(Arc::clone(&detached));
            detach_all(detached);
        });
        let is_direct = Arc::default();
        let server = |reach| {
            let shared = Arc::clone(shared);
            Sink::Remote(Server::new(
                shared,
                core.clone(),
                channel,
                inlet.clone(),
                reach,
            ))
        };
        let context = || format!("redis: serve `{channel}`");
        let (attached, direct) = tokio::join!(
            subscriptions.attach(context, &of_all, server(Reach::All(Arc::clone(&is_direct)))),
            subscriptions.attach(context, &of_one, server(Reach::One)),
        );
        attached?;
        match direct {
            Ok(()) => is_direct.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(remote = channel, %error, "callers cannot address this server");
            }
        }
        Ok(requests)
    }

    /// Returns the subscriptions on the server of a remote, which is that of `core`.
    fn subscriptions_of(&self, remote: &str, core: &Core) -> Subscriptions {
        if core.connector.cluster().is_none() {
            return self.subscriptions.clone();
        }
        let channel = core.keys.remote(remote);
        let (_, slot) = core.keys.of_remote(&channel);
        let mut by_slot = self.by_slot.lock().unwrap_or_else(PoisonError::into_inner);
        let of_slot = by_slot.entry(slot.to_owned());
        of_slot
            .or_insert_with(|| Subscriptions::new(core.clone()))
            .clone()
    }

    /// Counts the calls that still wait for replies.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.calls.in_flight()
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

/// A command that holds this many bytes takes no more items. Redis closes a connection that sends
/// too much at once.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Takes the items of one command from the front: at least one.
pub(crate) fn take_batch<T>(items: &mut Vec<T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = |item: &&T| {
        let is_first = bytes == 0;
        bytes += size(item);
        is_first || bytes <= MAX_BATCH_BYTES
    };
    let count = items.iter().take_while(fits).count();
    items.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_before_it_is_large_and_is_never_empty() {
        let mut items = vec![
            MAX_BATCH_BYTES * 2,
            MAX_BATCH_BYTES / 2,
            MAX_BATCH_BYTES / 2,
            1,
        ];

        assert_eq!(take_batch(&mut items, |size| *size), [MAX_BATCH_BYTES * 2]);
        assert_eq!(
            take_batch(&mut items, |size| *size),
            [MAX_BATCH_BYTES / 2, MAX_BATCH_BYTES / 2]
        );
        assert_eq!(take_batch(&mut items, |size| *size), [1]);
        assert!(items.is_empty());
    }
}
