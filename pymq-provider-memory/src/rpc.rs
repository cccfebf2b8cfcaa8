//! RPC channels: a request goes into the buffer of a server, and the reply into that of the caller.
//!
//! Servers are counted exactly and independently of topics.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_core::provider::{
    Health, Replies, Reply, ReplyInlet, RequestInlet, RequestOptions, Requests, Target, replies,
    requests,
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
    if opts.to == Target::One {
        call_one(handle, channel, &servers, message, opts)
    } else {
        call_all(handle, channel, &servers, &message, opts)
    }
}

fn call_one(
    handle: &Arc<Handle>,
    channel: &str,
    servers: &Arc<Servers>,
    message: Message,
    opts: &RequestOptions,
) -> Result<Replies> {
    let mut waiting = None;
    let reply = servers.send(servers.pick(), message, opts, || {
        waiting.insert(Waiting::new(handle)).caller(handle)
    });
    match reply {
        Some(reply) => Ok(Replies::answered(reply)),
        None => waiting
            .expect("a request without a reply has a caller")
            .open(handle, channel),
    }
}

fn call_all(
    handle: &Arc<Handle>,
    channel: &str,
    servers: &Arc<Servers>,
    message: &Message,
    opts: &RequestOptions,
) -> Result<Replies> {
    let mut waiting = Waiting::new(handle);
    waiting.replies = waiting.replies.expecting(servers.all.len());
    let mut is_over = true;
    for at in 0..servers.all.len() {
        match servers.send(at, message.clone(), opts, || waiting.caller(handle)) {
            Some(reply) => waiting.caller(handle).receive(reply),
            None => is_over = false,
        }
    }
    if is_over {
        Ok(waiting.replies)
    } else {
        waiting.open(handle, channel)
    }
}

/// A call that waits for replies.
struct Waiting {
    id: u64,
    inlet: ReplyInlet,
    replies: Replies,
}

impl Waiting {
    fn new(handle: &Arc<Handle>) -> Self {
        let id = unique();
        let (inlet, replies) = replies(handle.release_on_drop(id));
        Self { id, inlet, replies }
    }

    fn caller(&self, handle: &Handle) -> Caller {
        Caller {
            inlet: self.inlet.clone(),
            health: handle.health().clone(),
        }
    }

    /// Lets a `close` of the handle end the call.
    fn open(self, handle: &Handle, channel: &str) -> Result<Replies> {
        handle.open(self.id, Opened::Call(channel.into(), self.inlet))?;
        Ok(self.replies)
    }
}

/// The receiver of a reply.
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

    /// Sends a request to a server. Returns its reply if it is there at once. Otherwise `caller`
    /// returns who gets it.
    fn send(
        self: &Arc<Self>,
        at: usize,
        message: Message,
        opts: &RequestOptions,
        mut caller: impl FnMut() -> Caller,
    ) -> Option<Reply> {
        let server = &self.all[at];
        let _pending = Pending::new(&*server.pending);
        server.inlet.run(message, opts, || {
            let pending = Pending::new(Arc::clone(&server.pending));
            let caller = caller();
            move |reply| {
                drop(pending);
                caller.receive(reply);
            }
        })
    }
}

/// Counts a request until it is dropped.
struct Pending<C: Deref<Target = AtomicUsize>>(C);

impl<C: Deref<Target = AtomicUsize>> Pending<C> {
    fn new(count: C) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl<C: Deref<Target = AtomicUsize>> Drop for Pending<C> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
