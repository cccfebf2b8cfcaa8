//! Calls in flight. The answers to all of them come from one inbox, see [`super::inbox`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::name::RESERVED_PREFIX;
use pymq_core::provider::{Replies, ReplyInlet, RequestOptions, Target, replies};
use pymq_core::{Error, Message, Result};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::envelope::{
    OnlyServer, RequestParts, Response, ToOne, write_request, write_request_to_one,
};
use super::request_sender::{Caller, RequestSender};
use super::routes::{Direct, Routes};
use crate::connection::{Command, Fault};
use crate::core::Core;
use crate::subscriptions::{Subscriptions, Watch};

/// A call with a longer timeout has no deadline. Lua could not compute its times exactly, because
/// its numbers are exact up to 2^53.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(1 << 52);

/// The calls of a provider.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) core: Core,
    sender: Arc<RequestSender>,
    /// On a cluster, those of each slot that was called, by what its channels begin with.
    by_slot: Mutex<HashMap<String, Arc<RequestSender>>>,
    /// The name of the list for our answers.
    pub(super) inbox: String,
    next_id: AtomicU64,
    pending: Mutex<FxHashMap<u64, Pending>>,
    routes: Routes,
    is_drained: AtomicBool,
    /// A call was added.
    pub(super) called: Notify,
    /// Tells while no call waits that an answer came.
    pub(super) watch: Watch,
}

/// A call to one server, as it is sent.
#[derive(Clone, Debug)]
struct OneCall {
    id: u64,
    request: RequestParts,
    inlet: ReplyInlet,
    deadline: Option<Instant>,
}

/// The way to the only server of a remote, and when a request with a deadline must begin there:
/// within the duration, and by this time of the server's clock in milliseconds.
type Way = (Arc<Direct>, Option<(Duration, u64)>);

/// A call that waits for replies.
#[derive(Debug)]
struct Pending {
    inlet: ReplyInlet,
    /// The way to the only server, from when the request is sent to it until it answers.
    unanswered: Option<Arc<Direct>>,
}

impl Calls {
    pub(crate) fn new(core: Core, subscriptions: &Subscriptions) -> Self {
        let inbox = format!("{RESERVED_PREFIX}{}", uuid::Uuid::new_v4());
        let sender = RequestSender::start(core.clone());
        let shared = Shared {
            watch: subscriptions.watch(vec![core.keys.name(&inbox)]),
            called: Notify::new(),
            core,
            sender: Arc::new(sender),
            by_slot: Mutex::default(),
            inbox,
            next_id: AtomicU64::new(1),
            pending: Mutex::default(),
            routes: Routes::default(),
            is_drained: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Counts the calls that a caller still waits for.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.pending().len()
    }

    /// Sends a request if the channel has a server. If there is none, a request to one server ends
    /// with an error in the replies. Dropping the replies forgets the call.
    pub(crate) async fn request(
        &self,
        channel: &str,
        message: &Message,
        opts: &RequestOptions,
    ) -> Result<Replies> {
        let shared = &self.shared;
        let context = || format!("redis: call `{channel}`");
        let now = opts.start();
        let deadline = opts
            .timeout
            .filter(|timeout| *timeout <= LONGEST_TIMEOUT)
            .and_then(|timeout| now.checked_add(timeout));
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let is_to_one = opts.to == Target::One;
        let direct = if is_to_one {
            shared.find_direct(channel, deadline, now)
        } else {
            None
        };
        let (request, command) = shared.write(channel, id, message, deadline, direct.as_ref())?;
        shared.core.limits.check_publish(context, request.len())?;
        let forget = Arc::clone(shared);
        let (inlet, replies) = replies(move |_| forget.forget(id));
        let command = command
            .zip(direct)
            .map(|(command, direct)| (command, direct.0));
        let pending = Pending {
            inlet: inlet.clone(),
            unanswered: command.as_ref().map(|(_, direct)| Arc::clone(direct)),
        };
        shared.pending().insert(id, pending);
        shared.called.notify_one();
        // A `close` ends the calls that it finds. This call may be later.
        shared.core.check_open(context)?;
        if !shared.is_drained.swap(true, Ordering::Relaxed) {
            shared.core.spawn(Arc::clone(shared).drain());
        }
        let failed = |fault: Fault| fault.into_error(&context(), shared.core.connector.address());
        if is_to_one {
            let call = OneCall {
                id,
                request,
                inlet,
                deadline,
            };
            let unsent = match command {
                Some((command, direct)) => shared.send_to_only_server(command, direct, call, now),
                None => Err(call),
            };
            if let Err(call) = unsent {
                // Apart, because few calls come here: the future of the others is smaller.
                Box::pin(shared.count_and_send(channel, call))
                    .await
                    .map_err(failed)?;
            }
            return Ok(replies.expecting(1));
        }
        let count = async {
            let (caller, counted) = oneshot::channel();
            let caller = Caller::All(caller);
            let name = shared.core.keys.remote(channel);
            let sender = shared.sender_to(&name);
            let sent = sender.send(name, request, caller, deadline).await;
            sent.map_err(failed)?;
            counted
                .await
                .unwrap_or_else(|_| Err(failed(Fault::closed())))
        };
        let servers = Box::pin(count).await?;
        Ok(replies.expecting(servers))
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, FxHashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what sends the requests to a channel.
    fn sender_to(&self, channel: &str) -> Arc<RequestSender> {
        if self.core.connector.cluster().is_none() {
            return Arc::clone(&self.sender);
        }
        let (_, slot) = self.core.keys.of_remote(channel);
        let mut by_slot = self.by_slot.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Arc::new(RequestSender::start(self.core.of(channel)));
        let of_slot = by_slot.entry(slot.to_owned());
        Arc::clone(of_slot.or_insert_with(start))
    }

    /// Tells whether no call waits.
    pub(super) fn is_idle(&self) -> bool {
        self.pending().is_empty()
    }

    /// Sends a request after the servers of its channel were counted.
    async fn count_and_send(&self, remote: &str, call: OneCall) -> Result<(), Fault> {
        let (channel, caller) = (self.core.keys.remote(remote), Caller::One(call.inlet));
        self.sender_to(&channel)
            .send(channel, call.request, caller, call.deadline)
            .await
    }

    /// Returns the way to the only server of a remote, and by when a request must begin there.
    fn find_direct(&self, remote: &str, deadline: Option<Instant>, now: Instant) -> Option<Way> {
        let direct = self.routes.find(remote, now)?;
        let time = match deadline {
            None => None,
            Some(deadline) => {
                let clock = direct.commands.clock();
                let begin_by = clock.at(deadline.into_std(), now.into_std())?;
                Some((deadline.saturating_duration_since(now), begin_by))
            }
        };
        Some((direct, time))
    }

    /// Writes a request, and its command if the way to the only server is known.
    fn write(
        &self,
        remote: &str,
        id: u64,
        message: &Message,
        deadline: Option<Instant>,
        way: Option<&Way>,
    ) -> Result<(RequestParts, Option<Command>)> {
        let Some((direct, time)) = way else {
            let request = write_request(remote, id, &self.inbox, message, deadline.is_some())?;
            return Ok((request, None));
        };
        let to = ToOne {
            words: &[
                self.core.request_channels().publish(),
                direct.channel.as_bytes(),
            ],
            time: *time,
        };
        let (request, command) = write_request_to_one(remote, id, &self.inbox, message, &to)?;
        Ok((request, Some(command)))
    }

    /// Sends a request to the only server of a remote. Returns it if it is not sent. If the server
    /// turns out to be gone, the servers are counted.
    fn send_to_only_server(
        self: &Arc<Self>,
        publish: Command,
        direct: Arc<Direct>,
        call: OneCall,
        now: Instant,
    ) -> Result<(), OneCall> {
        let commands = direct.commands.clone();
        let (shared, again) = (Arc::clone(self), call.clone());
        let started = commands.start_at(now, publish, move |receivers: Result<i64, Fault>| {
            match receivers {
                Ok(receivers) if receivers > 0 => {}
                Err(fault) if fault.may_have_run() => shared.end(&direct.remote, &again, fault),
                // It was not sent: the server has ended, or this client may not reach it alone.
                Ok(_) | Err(_) => shared.send_again(direct, again),
            }
        });
        if started.is_err() {
            self.set_unanswered(call.id, None);
            return Err(call);
        }
        Ok(())
    }

    fn send_again(self: Arc<Self>, direct: Arc<Direct>, call: OneCall) {
        if self.set_unanswered(call.id, None).is_some() {
            self.routes.forget(&direct.remote);
        }
        self.core.clone().spawn(async move {
            let ended = call.clone();
            if let Err(fault) = self.count_and_send(&direct.remote, call).await {
                self.end(&direct.remote, &ended, fault);
            }
        });
    }

    /// Ends a call with the reason why it was not sent, or may not have been.
    fn end(&self, remote: &str, call: &OneCall, fault: Fault) {
        let context = format!("redis: call `{remote}`");
        let error = fault.into_error(&context, self.core.connector.address());
        call.inlet.end(error);
    }

    /// Sets [`Pending::unanswered`] of a call, and returns the earlier value.
    fn set_unanswered(&self, id: u64, direct: Option<Arc<Direct>>) -> Option<Arc<Direct>> {
        let mut pending = self.pending();
        let call = pending.get_mut(&id)?;
        std::mem::replace(&mut call.unanswered, direct)
    }

    /// Forgets a call. If its server did not answer, the next call counts the servers again.
    fn forget(&self, id: u64) {
        let unanswered = self.pending().remove(&id).and_then(|call| call.unanswered);
        if let Some(direct) = unanswered {
            self.routes.forget(&direct.remote);
        }
    }

    /// Gives a reply to its caller. `server` is the only server of the remote, if it said so.
    pub(super) fn deliver(&self, response: Response) {
        let Response { id, reply, server } = response;
        if let Some(OnlyServer { remote, id }) = server {
            let direct = Direct {
                channel: self.core.keys.server(&remote, &id),
                commands: self.core.commands.of(|| self.core.keys.remote(&remote)),
                remote: remote.clone(),
            };
            self.routes.note(&remote, direct);
        }
        let inlet = self.pending().get_mut(&id).map(|call| {
            call.unanswered = None;
            call.inlet.clone()
        });
        if !inlet.is_some_and(|inlet| inlet.push(reply)) {
            self.core.health.late_reply();
        }
    }

    pub(super) fn end_all(&self, error: &Error) {
        for call in self.pending().values() {
            call.inlet.end(error.clone());
        }
    }
}
