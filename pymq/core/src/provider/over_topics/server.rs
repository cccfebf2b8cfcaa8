//! The server's side: a task for each channel that reads its requests and claims what is for one, and a task that
//! sends all answers.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::frame::{self, Answer, Call};
use super::{Work, topic_of};
use crate::error::{ErrorKind, Result};
use crate::message::Message;
use crate::provider::{
    BufferLimits, Detached, Filter, Incoming, Provider, PutOptions, Request, RequestInlet,
    Requests, Subscription, requests,
};

/// Where answers go that are given without waiting: to the task that puts them into the inboxes of their callers.
///
/// Unbounded, yet there is at most one answer for each request read, and requests are bounded.
pub(super) type Outbox = mpsc::UnboundedSender<(String, Message)>;

/// The most requests of a channel that are being claimed; more wait in the buffer of the subscription.
const MOST_CLAIMING: usize = 1_024;

/// The channels a handle serves, each once: a publish counts the handle, not its servers.
#[derive(Clone, Default)]
pub(super) struct Served(Arc<Mutex<HashSet<String>>>);

/// A channel being served, until dropped.
struct Serving {
    served: Served,
    channel: String,
}

/// Serves a channel until the requests are dropped or the decorator closes.
pub(super) async fn listen<P: Provider>(
    work: &Work<P>,
    in_use: &Served,
    channel: &str,
    outbox: Outbox,
) -> Result<Requests> {
    let serving = in_use
        .start(channel)
        .ok_or_else(|| work.error(ErrorKind::AlreadyExposed, "listen on", channel))?;
    let mut subscription = work
        .provider
        .subscribe(Filter::Topic(topic_of(channel)))
        .await?;
    // Bounded by bytes alone: the task reads on at once, and what overflows here is lost, not refused.
    subscription.set_limits(BufferLimits {
        items: usize::MAX,
        ..BufferLimits::default()
    });
    let (detach, detached) = oneshot::channel();
    let (inlet, requests) = requests(move |token| {
        // At once, so that a successor can start; then the task, which may have ended already.
        drop(serving);
        drop(detach.send(token));
    });
    let server = Arc::new(Server {
        provider: Arc::clone(&work.provider),
        channel: channel.to_owned(),
        served: in_use.clone(),
        inlet: inlet.clone(),
        outbox,
        running: Arc::default(),
        chance: RandomState::new(),
    });
    let closed = work.error(ErrorKind::Closed, "listen on", channel);
    let closing = work.closing.clone();
    work.spawn(async move {
        closing
            .run_until_cancelled(serve(&server, subscription, detached))
            .await;
        inlet.end(closed);
    });
    Ok(requests)
}

/// Starts the task that sends the answers; at close it sends those already given, and ends.
pub(super) fn start_outbox<P: Provider>(work: &Work<P>) -> Outbox {
    const BATCH: usize = 256;
    let (outbox, mut given) = mpsc::unbounded_channel();
    let (provider, closing) = (Arc::clone(&work.provider), work.closing.clone());
    work.spawn(async move {
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

/// Puts the answers into the inboxes, those for one inbox at once.
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
            tracing::warn!(queue = inbox, answers = count, %error, "answers to remote calls are lost");
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
    /// Requests handed out and not answered.
    running: Arc<AtomicU64>,
    /// Another one for each server, so that none is always first.
    chance: RandomState,
}

/// Reads requests until nobody wants them any more, and then those that came before that.
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
            incoming = subscription.recv(), if claiming.len() < MOST_CLAIMING => match incoming {
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
        let Incoming::Message { message, .. } = incoming else {
            tracing::warn!(
                remote = self.channel,
                "requests are lost: too many at once, or an outage"
            );
            return;
        };
        let (call, message) = match Call::open(message) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(remote = self.channel, %error, "a request is unreadable");
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
        sleep(self.patience(&call)).await;
        if self.has_successor() {
            // It has got the request too, and speaks for this handle.
            return;
        }
        // A server that has stopped leaves the call to others.
        let is_willing = !self.inlet.is_detached() && !call.is_expired(since);
        if is_willing && self.claim(&call).await {
            self.run(call, message, since);
        } else {
            give(&self.outbox, call.inbox, Answer::declined(call.number));
        }
    }

    /// Tells whether this server has stopped and another of the same handle serves the channel.
    fn has_successor(&self) -> bool {
        self.inlet.is_detached()
            && self
                .served
                .with(|channels| channels.contains(&self.channel))
    }

    /// Tries to win a call.
    async fn claim(&self, call: &Call) -> bool {
        let put = frame::try_claim(&*self.provider, &call.claim()).await;
        if let Err(error) = &put
            && error.kind() != ErrorKind::Full
        {
            tracing::warn!(remote = self.channel, call = call.number, %error, "a request could not be claimed");
        }
        put.is_ok()
    }

    /// Hands the request out.
    fn run(&self, call: Call, message: Message, since: Instant) {
        let remaining = call
            .remaining()
            .map(|remaining| remaining.saturating_sub(since.elapsed()));
        self.running.fetch_add(1, Ordering::Relaxed);
        let (running, outbox) = (Arc::clone(&self.running), self.outbox.clone());
        let request = Request::new(message, move |reply| {
            running.fetch_sub(1, Ordering::Relaxed);
            give(&outbox, call.inbox, Answer::reply(call.number, reply));
        });
        self.inlet.push(request.with_timeout(remaining));
    }

    /// How long to let others claim first: by chance, and longer the busier this server is.
    fn patience(&self, call: &Call) -> Duration {
        let chance = self.chance.hash_one((&call.inbox, call.number)) % 4;
        Duration::from_millis(chance + self.running.load(Ordering::Relaxed).min(4))
    }
}

fn give(outbox: &Outbox, inbox: String, answer: Result<Message>) {
    match answer {
        // Fails when the decorator has closed: then it is nobody's answer any more.
        Ok(answer) => drop(outbox.send((inbox, answer))),
        Err(error) => tracing::warn!(queue = inbox, %error, "an answer cannot be written"),
    }
}
