//! RPC channels: a request goes into the buffer of a server, and the reply into that of the caller.
//!
//! Servers are counted exactly and independently of topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use pymq_core::provider::{
    Replies, Reply, Request, RequestInlet, RequestOptions, Requests, Target, replies, requests,
};
use pymq_core::{Error, ErrorKind, Message, Result};

use crate::broker::unique;
use crate::handle::{Handle, Opened};

/// Serves a channel. Requests reach the server when this returns.
pub(crate) fn listen(handle: &Arc<Handle>, channel: &str) -> Result<Requests> {
    let id = unique();
    let (inlet, requests) = requests(handle.release_on_drop(id));
    handle.open(id, Opened::Server(channel.into(), inlet))?;
    Ok(requests)
}

/// Sends a request to one server or to all.
pub(crate) fn request(
    handle: &Arc<Handle>,
    channel: &str,
    message: &Message,
    opts: &RequestOptions,
) -> Result<Replies> {
    handle.check("request to", channel)?;
    let Some(servers) = handle.space().channels.find(channel) else {
        return Err(Error::new(
            ErrorKind::NoSuchRemote,
            format!("memory: request to `{channel}`"),
        ));
    };
    let chosen = match opts.to {
        Target::One => servers.pick(),
        _ => servers.all.as_slice(),
    };
    let id = unique();
    let (inlet, replies) = replies(handle.release_on_drop(id));
    handle.open(id, Opened::Call(channel.into(), inlet.clone()))?;
    for server in chosen {
        let (caller, health) = (inlet.clone(), handle.health().clone());
        let answer = move |reply| {
            if !caller.push(reply) {
                health.late_reply();
            }
        };
        server.send(message.clone(), opts.timeout, answer);
    }
    Ok(replies.expecting(chosen.len()))
}

/// The servers of a namespace, by channel.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    table: DashMap<Arc<str>, Arc<Servers>>,
}

/// The servers of a channel; never empty.
///
/// Copied on write, so that a request is sent without a lock.
#[derive(Clone, Debug, Default)]
struct Servers {
    all: Vec<Server>,
    /// The server from which the next choice among equally busy servers starts.
    turn: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
struct Server {
    id: u64,
    inlet: RequestInlet,
    /// How many requests were sent and not answered yet.
    pending: Arc<AtomicUsize>,
}

impl Channels {
    pub(crate) fn add(&self, channel: &Arc<str>, id: u64, inlet: &RequestInlet) {
        let server = Server {
            id,
            inlet: inlet.clone(),
            pending: Arc::default(),
        };
        let mut servers = self.table.entry(Arc::clone(channel)).or_default();
        Arc::make_mut(&mut servers).all.push(server);
    }

    pub(crate) fn remove(&self, channel: &Arc<str>, id: u64) {
        self.table.remove_if_mut(channel, |_, servers| {
            let servers = Arc::make_mut(servers);
            servers.all.retain(|server| server.id != id);
            servers.all.is_empty()
        });
    }

    pub(crate) fn contents(&self) -> Vec<String> {
        self.table
            .iter()
            .map(|entry| format!("remote `{}`", entry.key()))
            .collect()
    }

    fn find(&self, channel: &str) -> Option<Arc<Servers>> {
        self.table.get(channel).map(|servers| Arc::clone(&servers))
    }
}

impl Servers {
    /// Picks the server with the fewest pending requests. Equally busy servers take turns.
    fn pick(&self) -> &[Server] {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let from_turn = (turn..self.all.len()).chain(0..turn);
        let least = from_turn.min_by_key(|at| self.all[*at].pending.load(Ordering::Relaxed));
        least.map_or(&[], |at| std::slice::from_ref(&self.all[at]))
    }
}

impl Server {
    fn send(
        &self,
        message: Message,
        timeout: Option<Duration>,
        answer: impl FnOnce(Reply) + Send + Sync + 'static,
    ) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let pending = Arc::clone(&self.pending);
        let request = Request::new(message, move |reply| {
            pending.fetch_sub(1, Ordering::Relaxed);
            answer(reply);
        });
        self.inlet.run(request.with_timeout(timeout));
    }
}
