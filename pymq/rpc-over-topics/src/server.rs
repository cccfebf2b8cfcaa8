//! The server's side: one task for each channel, and one task that sends all answers.
//!
//! The task of a channel reads its requests, and claims those that are for one server.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pymq_core::provider::{
    BufferLimits, Detached, Filter, Incoming, Provider, PutOptions, Request, RequestInlet,
    Requests, Subscription, requests,
};
use pymq_core::{ErrorKind, Message, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::frame::{self, Answer, Call};
use crate::{Shared, topic_of};

/// The channel to the task that puts the answers into the queues of their callers.
///
/// It is unbounded, because an answer must not wait. There is at most one answer for each request,
/// and the number of requests is bounded.
pub(crate) type Outbox = mpsc::UnboundedSender<(String, Message)>;

/// How many requests of a channel are claimed at once. More wait in the buffer of the subscription.
const MAX_CLAIMING: usize = 1_024;

/// The channels that a handle serves, each once, because a publish counts the handle and not its
/// servers.
#[derive(Clone, Default)]
pub(crate) struct Served(Arc<Mutex<HashSet<String>>>);

/// A served channel. Dropping it makes the channel free again.
struct Serving {
    served: Served,
    channel: String,
}

/// Serves a channel until the requests are dropped or the decorator closes.
pub(crate) async fn listen<P: Provider>(
    shared: &Shared<P>,
    in_use: &Served,
    channel: &str,
    outbox: Outbox,
) -> Result<Requests> {
    let serving = in_use
        .start(channel)
        .ok_or_else(|| shared.error(ErrorKind::AlreadyExposed, "listen on", channel))?;
    let mut subscription = shared
        .provider
        .subscribe(Filter::Topic(topic_of(channel)))
        .await?;
    // Limited by bytes only. The task reads without delay, and an overflow would lose requests.
    subscription.set_limits(BufferLimits::default().items(usize::MAX));
    let (detach, detached) = oneshot::channel();
    let (inlet, requests) = requests(move |token| {
        // The channel is free first, so that another server can start. The task may have ended
        // already.
        drop(serving);
        drop(detach.send(token));
    });
    let server = Arc::new(Server {
        provider: Arc::clone(&shared.provider),
        channel: channel.to_owned(),
        served: in_use.clone(),
        inlet: inlet.clone(),
        outbox,
        running: Arc::default(),
        random: RandomState::new(),
    });
    let closed = shared.error(ErrorKind::Closed, "listen on", channel);
    let closing = shared.closing.clone();
    shared.spawn(async move {
        closing
            .run_until_cancelled(serve(&server, subscription, detached))
            .await;
        inlet.end(closed);
    });
    Ok(requests)
}

/// Starts the task that sends the answers. At close it sends the remaining answers and ends.
pub(crate) fn start_outbox<P: Provider>(shared: &Shared<P>) -> Outbox {
    const BATCH: usize = 256;
    let (outbox, mut given) = mpsc::unbounded_channel();
    let (provider, closing) = (Arc::clone(&shared.provider), shared.closing.clone());
    shared.spawn(async move {
        let mut batch: Vec<(String, Message)> = Vec::new();
        loop {
            if closing
                .run_until_cancelled(given.recv_many(&mut batch, BATCH))
                .await
                .is_none()
            {
                given.close();
                if given.recv_many(&mut batch, BATCH).await == 0 {
                    return;
                }
            }
            send(&*provider, batch.drain(..)).await;
        }
    });
    outbox
}

/// Puts the answers into the queues of their callers, with one put for each queue.
async fn send(provider: &impl Provider, answers: impl Iterator<Item = (String, Message)>) {
    let mut inboxes: HashMap<String, Vec<Message>> = HashMap::new();
    for (inbox, answer) in answers {
        inboxes.entry(inbox).or_default().push(answer);
    }
    for (inbox, answers) in inboxes {
        let count = answers.len();
        if let Err(error) = provider
            .queue_put(&inbox, answers, PutOptions::default())
            .await
        {
            tracing::warn!(
                queue = inbox,
                answers = count,
                %error,
                "answers to remote calls cannot be sent and are lost"
            );
        }
    }
}

impl Served {
    fn start(&self, channel: &str) -> Option<Serving> {
        let is_new = self.with(|channels| channels.insert(channel.to_owned()));
        is_new.then(|| Serving {
            served: self.clone(),
            channel: channel.to_owned(),
        })
    }

    fn with<R>(&self, use_channels: impl FnOnce(&mut HashSet<String>) -> R) -> R {
        use_channels(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.served.with(|channels| channels.remove(&self.channel));
    }
}

struct Server<P> {
    provider: Arc<P>,
    channel: String,
    served: Served,
    inlet: RequestInlet,
    outbox: Outbox,
    /// How many requests are running.
    running: Arc<AtomicU64>,
    /// Different in each server, so that no server is always the first to claim.
    random: RandomState,
}

/// Reads requests until the server stops, and then those that arrived before it stopped.
async fn serve<P: Provider>(
    server: &Arc<Server<P>>,
    mut subscription: Subscription,
    mut detached: oneshot::Receiver<Detached>,
) {
    let mut claiming = JoinSet::new();
    let token = loop {
        tokio::select! {
            biased;
            token = &mut detached => break token,
            Some(_) = claiming.join_next() => {}
            incoming = subscription.recv(), if claiming.len() < MAX_CLAIMING => match incoming {
                Ok(incoming) => server.take(incoming, &mut claiming),
                Err(error) => {
                    server.inlet.end(error);
                    break detached.await;
                }
            },
        }
    };
    subscription.detach().await;
    while let Ok(incoming) = subscription.recv().await {
        server.take(incoming, &mut claiming);
    }
    while claiming.join_next().await.is_some() {}
    drop(token);
}

impl<P: Provider> Server<P> {
    fn take(self: &Arc<Self>, incoming: Incoming, claiming: &mut JoinSet<()>) {
        let Incoming::Message(published) = incoming else {
            tracing::warn!(
                remote = self.channel,
                "requests to a remote are lost, after an overload or an outage"
            );
            return;
        };
        let (call, message) = match Call::open(published.message().clone()) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(
                    remote = self.channel,
                    %error,
                    "a request to a remote is malformed and is dropped"
                );
                return;
            }
        };
        let since = Instant::now();
        if call.is_claimed {
            let server = Arc::clone(self);
            claiming.spawn(async move { server.claim_and_run(call, message, since).await });
        } else if !self.has_successor() && !call.is_expired(since) {
            self.run(call, message, since);
        }
    }

    async fn claim_and_run(&self, call: Call, message: Message, since: Instant) {
        sleep(self.claim_delay(&call)).await;
        if self.has_successor() {
            // The successor has received the request too, and answers for this handle.
            return;
        }
        // A stopped server leaves the call to other servers.
        let is_willing = !self.inlet.is_detached() && !call.is_expired(since);
        if is_willing && self.claim(&call).await {
            self.run(call, message, since);
        } else {
            send_answer(&self.outbox, call.inbox, Answer::declined(call.number));
        }
    }

    /// Tells whether this server has stopped and another of the same handle serves the channel.
    fn has_successor(&self) -> bool {
        self.inlet.is_detached()
            && self
                .served
                .with(|channels| channels.contains(&self.channel))
    }

    /// Tries to claim a call.
    async fn claim(&self, call: &Call) -> bool {
        let put = frame::try_claim(&*self.provider, &call.claim()).await;
        if let Err(error) = &put
            && error.kind() != ErrorKind::Full
        {
            tracing::warn!(
                remote = self.channel,
                call = call.number,
                %error,
                "a request to a remote cannot be claimed, so this server does not run it"
            );
        }
        put.is_ok()
    }

    /// Delivers the request to the function.
    fn run(&self, call: Call, message: Message, since: Instant) {
        let remaining = call
            .remaining()
            .map(|remaining| remaining.saturating_sub(since.elapsed()));
        self.running.fetch_add(1, Ordering::Relaxed);
        let (running, outbox) = (Arc::clone(&self.running), self.outbox.clone());
        let request = Request::new(message, move |reply| {
            running.fetch_sub(1, Ordering::Relaxed);
            send_answer(&outbox, call.inbox, Answer::reply(call.number, reply));
        });
        self.inlet.push(request.with_timeout(remaining));
    }

    /// Returns how long to let other servers claim first: a random time, longer on a busy server.
    fn claim_delay(&self, call: &Call) -> Duration {
        let random = self.random.hash_one((&call.inbox, call.number)) % 4;
        Duration::from_millis(random + self.running.load(Ordering::Relaxed).min(4))
    }
}

fn send_answer(outbox: &Outbox, inbox: String, answer: Result<Message>) {
    match answer {
        // Fails after a close, when callers no longer wait.
        Ok(answer) => drop(outbox.send((inbox, answer))),
        Err(error) => {
            tracing::warn!(
                queue = inbox,
                %error,
                "an answer to a remote call cannot be encoded and is dropped"
            );
        }
    }
}
