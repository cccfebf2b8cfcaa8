//! One served channel: reads requests, claims those that several servers have, and hands them to whoever listens.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::{Reply, Request, RequestInlet};
use pymq_core::{Error, RemoteError, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::answers::{Answer, Answers};
use super::envelope::{self, read_request, write_response};
use crate::connection::{Now, Script};
use crate::core::Core;
use crate::wire::Object;

static CLAIM: Script = Script::new(include_str!("../../scripts/rpc_claim.lua"));

/// How much longer a server waits before it claims, for each call it is running.
const PER_RUNNING_CALL: Duration = Duration::from_micros(200);

/// Idle servers spread over this time, or the first subscriber would win nearly always. Timers count whole
/// milliseconds: one alone would leave the order to chance too often.
const SPREAD: Duration = Duration::from_millis(2);

/// The longest a server waits before it claims.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// How long a claim outlives the time the caller has: a server that reads its connection late must still find it.
const CLAIM_OUTLIVES: Duration = Duration::from_secs(30);

/// How long a claim lives when the caller waits for ever.
const CLAIM_WITHOUT_END: Duration = Duration::from_secs(600);

/// The most claims under way at once in one process; each holds a request.
const MAX_CLAIMS: usize = 4_096;

/// What the served channels of a provider share.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) core: Core,
    pub(crate) answers: Answers,
    /// Tells this process from the other servers.
    id: u64,
    /// Requests handed over and not answered yet.
    running: Arc<AtomicUsize>,
    claims: Arc<Semaphore>,
}

impl Office {
    pub(crate) fn new(core: Core, answers: Answers) -> Self {
        let (id, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            core,
            answers,
            id,
            running: Arc::default(),
            claims: Arc::new(Semaphore::new(MAX_CLAIMS)),
        }
    }
}

/// One served channel.
#[derive(Debug)]
pub(crate) struct Server {
    office: Arc<Office>,
    channel: String,
    inlet: RequestInlet,
}

impl Server {
    pub(crate) fn new(office: Arc<Office>, channel: &str, inlet: RequestInlet) -> Arc<Self> {
        Arc::new(Self {
            office,
            channel: channel.to_owned(),
            inlet,
        })
    }

    /// Takes a request. Never waits: it runs in the task that reads the connection.
    pub(crate) fn receive(self: Arc<Self>, payload: &Bytes, frame: &Object<'_>) {
        let Some(request) = read_request(payload, frame) else {
            tracing::warn!(
                remote = self.channel,
                bytes = payload.len(),
                "a request that cannot be read or answered"
            );
            return;
        };
        let received = Instant::now();
        if request.claim.is_none() {
            match request
                .begin_by
                .map(|by| self.office.core.commands.clock().now(by))
            {
                None => return self.hand_over(request, received, None),
                Some(Now::Before(left)) => return self.hand_over(request, received, Some(left)),
                Some(Now::After) => return self.pass_over(),
                // The server has to be asked, which waits.
                Some(Now::Unsure) => {}
            }
        } else if self.inlet.is_detached() {
            // Another one will run it.
            return;
        }
        let Ok(permit) = Arc::clone(&self.office.claims).try_acquire_owned() else {
            tracing::warn!(
                remote = self.channel,
                call = request.call,
                "too many requests to claim, left to other servers"
            );
            return;
        };
        self.office.core.clone().spawn(async move {
            let _permit = permit;
            let is_ours = match &request.claim {
                Some(claim) => self.claim(claim, &request).await,
                None => true,
            };
            if !is_ours {
                return;
            }
            // Again where it was claimed: the answer may have been read late.
            match request.begin_by {
                None => self.hand_over(request, received, None),
                Some(begin_by) => match self.time_left(begin_by).await {
                    Some(left) => self.hand_over(request, received, Some(left)),
                    None => self.pass_over(),
                },
            }
        });
    }

    /// Ends the channel: whoever listens gets the error.
    pub(crate) fn end(&self, error: Error) {
        self.inlet.end(error);
    }

    /// Waits its turn and tries to be the one. An error is a no: the call may be somebody else's.
    async fn claim(&self, name: &str, request: &envelope::Request) -> bool {
        let core = &self.office.core;
        let running = self.office.running.load(Ordering::Relaxed);
        let claim = core.keys.claim(&self.channel, name);
        let nothing = format!("{claim}:-");
        let context = || format!("redis: claim a call of `{}`", self.channel);
        let turn = async {
            sleep(turn(running, name, self.office.id)).await;
            let begin_by = request.begin_by.map(|by| by.to_string());
            let life = life_in_ms(request.timeout).to_string();
            let (keys, args) = ([claim, nothing], [life, begin_by.unwrap_or_default()]);
            let sent = std::time::Instant::now();
            let (won, time) = core.commands.script(context, &CLAIM, &keys, &args).await?;
            core.commands.clock().learn(sent, time);
            Ok(won)
        };
        let won: Result<bool> = tokio::select! {
            () = core.close.cancelled() => return false,
            won = turn => won,
        };
        won.unwrap_or_else(|error| {
            tracing::warn!(
                remote = self.channel,
                call = request.call,
                %error,
                "a request could not be claimed"
            );
            false
        })
    }

    /// Returns the time left until a request must have begun; none when it is over, or when the server does not tell.
    async fn time_left(&self, begin_by: u64) -> Option<Duration> {
        let commands = &self.office.core.commands;
        // Ends: each answer tells the time better, and it passes.
        loop {
            match commands.clock().now(begin_by) {
                Now::Before(left) => return Some(left),
                Now::After => return None,
                Now::Unsure => {}
            }
            if let Err(fault) = commands.ask_time().await {
                tracing::warn!(
                    remote = self.channel,
                    "the server does not tell its time: {fault}"
                );
                return None;
            }
        }
    }

    /// Passes over a request whose time is over: its caller has given up.
    fn pass_over(&self) {
        tracing::debug!(remote = self.channel, "a request came too late to run");
    }

    /// Hands a request to whoever listens. It was received at this time and, by the server's clock, has so much time left.
    fn hand_over(&self, request: envelope::Request, received: Instant, left: Option<Duration>) {
        let envelope::Request {
            call,
            inbox,
            message,
            timeout,
            refusal,
            ..
        } = request;
        // A caller of an earlier release says no more than the timeout.
        let left = left.or_else(|| timeout.map(|left| left.saturating_sub(received.elapsed())));
        if left.is_some_and(|left| left.is_zero()) {
            return;
        }
        let running = Arc::clone(&self.office.running);
        running.fetch_add(1, Ordering::Relaxed);
        let answers = self.office.answers.clone();
        let limits = self.office.core.limits;
        let respond = move |reply: Reply| {
            running.fetch_sub(1, Ordering::Relaxed);
            let mut payload = write_response(&call, reply);
            let size = payload.len();
            if let Err(error) = limits.check(|| "the answer".to_owned(), [size].into_iter()) {
                let refusal = RemoteError::new("ValueError", error.to_string());
                payload = write_response(&call, Reply::Err(refusal));
            }
            answers.give(Answer { inbox, payload });
        };
        let request = Request::new(message, respond).with_timeout(left);
        match refusal {
            Some(error) => request.respond(Reply::Err(error)),
            None => self.inlet.push(request),
        }
    }
}

/// Returns how long a claim lives.
fn life_in_ms(timeout: Option<Duration>) -> u64 {
    // Redis refuses a time that overflows its clock; 30 years do not.
    const LONGEST: u64 = 1_000_000_000_000;
    let life = timeout.map_or(CLAIM_WITHOUT_END, |timeout| {
        timeout.saturating_add(CLAIM_OUTLIVES)
    });
    u64::try_from(life.as_millis()).map_or(LONGEST, |life| life.min(LONGEST))
}

/// How long a server waits before it claims a call: the busier, the longer.
fn turn(running: usize, call: &str, server: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (call, server).hash(&mut hasher);
    let busy = PER_RUNNING_CALL.saturating_mul(u32::try_from(running).unwrap_or(u32::MAX));
    let spread = SPREAD.mul_f64(f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX));
    busy.saturating_add(spread).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_server_waits_longer_but_never_long() {
        assert!(turn(0, "a", 1) <= SPREAD);
        assert!(turn(20, "a", 1) >= PER_RUNNING_CALL * 20);
        assert_eq!(turn(usize::MAX, "a", 1), LONGEST_WAIT);
    }

    #[test]
    fn idle_servers_take_turns() {
        let mut wins = [0; 3];
        for call in 0..300 {
            let first = (0..3)
                .min_by_key(|server| turn(0, &call.to_string(), *server))
                .unwrap();
            wins[usize::try_from(first).unwrap()] += 1;
        }

        assert!(wins.iter().all(|wins| *wins > 50), "{wins:?}");
    }
}
