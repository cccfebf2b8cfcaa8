//! [`Server`]: one served channel. It reads requests, claims those that reached several servers,
//! and delivers them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pymq_core::codec::json::Object;
use pymq_core::provider::{Reply, Request, RequestInlet};
use pymq_core::{Error, RemoteError, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::answer_sender::{Answer, AnswerSender};
use super::envelope::{self, read_request, write_response};
use crate::connection::{Now, Script};
use crate::core::Core;

static CLAIM: Script = Script::new(include_str!("../../scripts/rpc_claim.lua"));

/// How much longer a server waits before it claims a call, for each call that it runs.
const DELAY_PER_RUNNING_CALL: Duration = Duration::from_micros(200);

/// Idle servers wait a random time up to this one. Without it, the first subscriber would win
/// nearly always. Timers count whole milliseconds, so one millisecond would not be random enough.
const CLAIM_SPREAD: Duration = Duration::from_millis(2);

/// The longest time a server waits before it claims.
const MAX_CLAIM_DELAY: Duration = Duration::from_millis(5);

/// How long a claim outlives the caller's timeout. A server that reads its connection late must
/// still find it.
const CLAIM_GRACE: Duration = Duration::from_secs(30);

/// How long a claim lives if the caller has no timeout.
const UNLIMITED_CLAIM_LIFETIME: Duration = Duration::from_secs(600);

/// The most claims in flight in one process. Each holds a request.
const MAX_CLAIMS: usize = 4_096;

/// The state that the served channels of a provider share.
#[derive(Debug)]
pub(crate) struct ServerShared {
    pub(crate) core: Core,
    pub(crate) answers: AnswerSender,
    /// Distinguishes this process from other servers.
    id: String,
    /// The number of requests delivered and not answered yet.
    running: AtomicUsize,
    claims: Arc<Semaphore>,
}

impl ServerShared {
    pub(crate) fn new(core: Core, answers: AnswerSender) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self {
            core,
            answers,
            id,
            running: AtomicUsize::new(0),
            claims: Arc::new(Semaphore::new(MAX_CLAIMS)),
        }
    }

    /// Returns the name of the channel on which only this process is reached.
    pub(crate) fn channel(&self, channel: &str) -> String {
        self.core.keys.server(channel, &self.id)
    }
}

/// Which servers a channel reaches.
#[derive(Debug)]
pub(crate) enum Reach {
    /// All servers of the remote. Callers may be told of the channel that reaches this one, once
    /// that is confirmed.
    All(Arc<AtomicBool>),
    /// This server. The channel only saves time, so it ends nothing when it ends.
    One,
}

/// One served channel.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<ServerShared>,
    /// For the server of this remote.
    core: Core,
    channel: String,
    inlet: RequestInlet,
    reach: Reach,
}

impl Server {
    pub(crate) fn new(
        shared: Arc<ServerShared>,
        core: Core,
        channel: &str,
        inlet: RequestInlet,
        reach: Reach,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            core,
            channel: channel.to_owned(),
            inlet,
            reach,
        })
    }

    /// Receives a request. Never waits, because it runs in the task that reads the connection.
    pub(crate) fn receive(self: Arc<Self>, payload: &Bytes, frame: &Object<'_>) {
        let Some(request) = read_request(payload, frame) else {
            tracing::warn!(
                remote = self.channel,
                bytes = payload.len(),
                "cannot read or answer a request, dropping it"
            );
            return;
        };
        let received = Instant::now();
        if request.claim.is_none() {
            let clock = self.core.commands.clock();
            let compare = |by| clock.compare(received.into_std(), by);
            match request.begin_by.map(compare) {
                // The caller of an earlier release sends only the timeout.
                None => {
                    let left = request.timeout;
                    return self.deliver(request, received, left);
                }
                Some(Now::Before(left)) => return self.deliver(request, received, Some(left)),
                Some(Now::After) => return self.skip(),
                // The server must be asked, which waits.
                Some(Now::Unsure) => {}
            }
        } else if self.inlet.is_detached() {
            // Another server runs it.
            return;
        }
        let Ok(permit) = Arc::clone(&self.shared.claims).try_acquire_owned() else {
            tracing::warn!(
                remote = self.channel,
                call = request.call,
                "too many requests to claim at once, leaving this one to other servers"
            );
            return;
        };
        self.core.clone().spawn(async move {
            let _permit = permit;
            let is_ours = match &request.claim {
                Some(claim) => self.claim(claim, &request).await,
                None => true,
            };
            if !is_ours {
                return;
            }
            // Checked after the claim too: its answer may be late.
            match request.begin_by {
                None => {
                    let (left, now) = (request.timeout, Instant::now());
                    let left = left.map(|left| left.saturating_sub(now - received));
                    self.deliver(request, now, left);
                }
                Some(begin_by) => match self.time_left(begin_by).await {
                    Some(left) => self.deliver(request, Instant::now(), Some(left)),
                    None => self.skip(),
                },
            }
        });
    }

    /// Ends the channel with an error.
    pub(crate) fn end(&self, error: Error) {
        if matches!(self.reach, Reach::All(_)) {
            self.inlet.end(error);
        }
    }

    /// Tells whether to tell the caller of this request how to reach this server directly.
    fn is_worth_telling(&self, request: &envelope::Request) -> bool {
        match &self.reach {
            Reach::All(is_direct) => request.is_only && is_direct.load(Ordering::Relaxed),
            Reach::One => false,
        }
    }

    /// Waits the claim delay and claims a call. After an error the call is not ours: another server
    /// may run it.
    async fn claim(&self, name: &str, request: &envelope::Request) -> bool {
        let core = &self.core;
        let running = self.shared.running.load(Ordering::Relaxed);
        let claim = core.keys.claim(&self.channel, name);
        let nothing = format!("{claim}:-");
        let context = || format!("redis: claim a call of `{}`", self.channel);
        let delayed_claim = async {
            sleep(claim_delay(running, name, &self.shared.id)).await;
            let begin_by = request.begin_by.map(|by| by.to_string());
            let life = claim_lifetime_ms(request.timeout).to_string();
            let keys = [claim, nothing];
            let args = [life, begin_by.unwrap_or_default()].map(Bytes::from);
            let sent = std::time::Instant::now();
            let (won, time): (u8, _) = core.commands.script(context, &CLAIM, &keys, &args).await?;
            core.commands.clock().learn(sent, time);
            Ok(won == 1)
        };
        let won: Result<bool> = tokio::select! {
            () = core.close.cancelled() => return false,
            won = delayed_claim => won,
        };
        won.unwrap_or_else(|error| {
            tracing::warn!(
                remote = self.channel,
                call = request.call,
                %error,
                "cannot claim a request, leaving it to other servers"
            );
            false
        })
    }

    /// Returns the time until a request must have begun, or `None` if it is over or not known.
    async fn time_left(&self, begin_by: u64) -> Option<Duration> {
        let commands = &self.core.commands;
        // The loop ends: each answer makes the clock more precise, and time passes.
        loop {
            let now = std::time::Instant::now();
            match commands.clock().compare(now, begin_by) {
                Now::Before(left) => return Some(left),
                Now::After => return None,
                Now::Unsure => {}
            }
            if let Err(fault) = commands.query_time().await {
                tracing::warn!(
                    remote = self.channel,
                    "dropping a request, as the server does not tell its time: {fault}"
                );
                return None;
            }
        }
    }

    /// Drops an expired request. Its caller has given up.
    fn skip(&self) {
        tracing::debug!(
            remote = self.channel,
            "dropping a request that came too late"
        );
    }

    /// Delivers a request. Its caller gives up after `left`, counted from `now`.
    fn deliver(&self, request: envelope::Request, now: Instant, left: Option<Duration>) {
        let server = self.is_worth_telling(&request);
        let envelope::Request {
            call,
            inbox,
            message,
            refusal,
            ..
        } = request;
        if left.is_some_and(|left| left.is_zero()) {
            return;
        }
        self.shared.running.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let respond = move |reply: Reply| {
            let running = shared.running.fetch_sub(1, Ordering::Relaxed) - 1;
            let server = server.then_some(&*shared.id);
            let mut payload = write_response(&call, reply, server);
            let size = payload.len();
            let limits = shared.core.limits;
            if let Err(error) = limits.check(|| "the answer".to_owned(), [size].into_iter()) {
                let refusal = RemoteError::new("ValueError", error.to_string());
                payload = write_response(&call, Reply::Err(refusal), server);
            }
            shared.answers.send(Answer { inbox, payload }, running);
        };
        let deadline = left.and_then(|left| now.checked_add(left));
        let request = Request::new(message, respond).with_deadline(deadline);
        match refusal {
            Some(error) => request.respond(Reply::Err(error)),
            None => self.inlet.push(request),
        }
    }
}

/// Returns how long a claim lives.
fn claim_lifetime_ms(timeout: Option<Duration>) -> u64 {
    // Redis refuses a time that overflows its clock. 30 years do not.
    const LONGEST: u64 = 1_000_000_000_000;
    let life = timeout.map_or(UNLIMITED_CLAIM_LIFETIME, |timeout| {
        timeout.saturating_add(CLAIM_GRACE)
    });
    u64::try_from(life.as_millis()).map_or(LONGEST, |life| life.min(LONGEST))
}

/// Returns how long a server waits before it claims a call: longer the busier it is.
fn claim_delay(running: usize, call: &str, server: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    (call, server).hash(&mut hasher);
    let busy = DELAY_PER_RUNNING_CALL.saturating_mul(u32::try_from(running).unwrap_or(u32::MAX));
    let spread =
        CLAIM_SPREAD.mul_f64(f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX));
    busy.saturating_add(spread).min(MAX_CLAIM_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_server_waits_longer_but_never_long() {
        assert!(claim_delay(0, "a", "1") <= CLAIM_SPREAD);
        assert!(claim_delay(20, "a", "1") >= DELAY_PER_RUNNING_CALL * 20);
        assert_eq!(claim_delay(usize::MAX, "a", "1"), MAX_CLAIM_DELAY);
    }

    #[test]
    fn idle_servers_take_turns() {
        let mut wins = [0; 3];
        for call in 0..300 {
            let first = (0..3_usize)
                .min_by_key(|server| claim_delay(0, &call.to_string(), &server.to_string()))
                .unwrap();
            wins[first] += 1;
        }

        assert!(wins.iter().all(|wins| *wins > 50), "{wins:?}");
    }
}
