//! RPC channels: a request goes into the buffer of a server, and the reply into that of the caller.
//!
//! Servers are counted exactly and independently of topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymq_core::provider::{
    Health, Replies, Reply, ReplyInlet, Request, RequestInlet, RequestOptions, Requests, Target,
    replies, requests,
};
use pymq_core::{Error, ErrorKind, Message, Result};

use crate::broker::unique;
use crate::handle::{Handle, Opened};
use crate::table::Table;

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
    message: Message,
    opts: &RequestOptions,
) -> Result<Replies> {
    handle.check("request to", channel)?;
    let Some(servers) = handle.space().channels.find(channel) else {
        return Err(Error::new(
            ErrorKind::NoSuchRemote,
            format!("memory: request to `{channel}`"),
        ));
    };
    let (inlet, mut replies) = replies(drop);
    let caller = Caller {
        inlet: inlet.clone(),
        health: handle.health().clone(),
    };
    if opts.to == Target::One {
        servers.send(servers.pick(), message, opts.timeout, caller);
    } else {
        replies = replies.expecting(servers.all.len());
        for at in 0..servers.all.len() {
            servers.send(at, message.clone(), opts.timeout, caller.clone());
        }
    }
    if replies.is_complete() {
        return Ok(replies);
    }
    // Only a call that waits must be ended by a `close`.
    let id = unique();
    handle.open(id, Opened::Call(channel.into(), inlet))?;
    Ok(replies.on_detach(handle.release_on_drop(id)))
}

/// The receiver of a reply.
#[derive(Clone)]
struct Caller {
    inlet: ReplyInlet,
    health: Health,
}

impl Caller {
    fn receive(&self, reply: Reply) {
        if !self.inlet.push(reply) {
            self.health.late_reply();
        }
    }
}

/// The servers of a namespace, by channel.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    table: Table<Servers>,
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
    fn pick(&self) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let from_turn = (turn..self.all.len()).chain(0..turn);
        let pending = |at: &usize| self.all[*at].pending.load(Ordering::Relaxed);
        from_turn.min_by_key(pending).unwrap_or(turn)
    }

    /// Sends a request to a server.
    fn send(self: &Arc<Self>, at: usize, message: Message, timeout: Option<Duration>, to: Caller) {
        let server = &self.all[at];
        server.pending.fetch_add(1, Ordering::Relaxed);
        let servers = Arc::clone(self);
        let request = Request::new(message, move |reply| {
            servers.all[at].pending.fetch_sub(1, Ordering::Relaxed);
            to.receive(reply);
        });
        server.inlet.run(request.with_timeout(timeout));
    }
}
