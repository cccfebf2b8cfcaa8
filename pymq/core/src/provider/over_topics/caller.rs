//! The caller's side: open calls by number, and the one task that reads their answers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::frame::{self, Answer, Call};
use super::{Work, topic_of};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::provider::{
    GetOptions, Part, Provider, Replies, Reply, ReplyInlet, RequestOptions, Target, Wait, replies,
};
use crate::remote_error::RemoteError;

/// How long a call that its caller has left waits for servers that said nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How often calls are looked through for those to be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The calls that are open, and the queue on which their answers come.
pub(super) struct Calls {
    inbox: String,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    open: HashMap<u64, Open>,
    swept: Option<Instant>,
}

struct Open {
    channel: Box<str>,
    caller: ReplyInlet,
    /// When its caller has left it, with servers still to be heard.
    left: Option<Instant>,
    is_claimed: bool,
    /// How many servers the request has reached, once that is known.
    reached: Option<usize>,
    /// How many of them have answered or declined.
    heard: usize,
    is_answered: bool,
}

/// Sends a request.
pub(super) async fn request<P: Provider>(
    work: &Work<P>,
    calls: &Arc<Calls>,
    channel: &str,
    request: Message,
    opts: RequestOptions,
) -> Result<Replies> {
    let is_claimed = opts.to == Target::One;
    let (number, replies) = calls
        .open(work, channel, is_claimed)
        .ok_or_else(|| work.error(ErrorKind::Closed, "request to", channel))?;
    for forgotten in calls.forget() {
        clear_claim(work, calls, forgotten);
    }
    let call = Call::new(&calls.inbox, number, is_claimed, opts.timeout);
    let published = work
        .provider
        .publish(&topic_of(channel), call.seal(request)?)
        .await;
    if let Err(error) = &published
        && !error.outcome_unknown()
    {
        // No server has it.
        calls.remove(number);
    }
    let reached = published?;
    if reached == 0 {
        calls.remove(number);
        return Err(work.error(ErrorKind::NoSuchRemote, "request to", channel));
    }
    if calls.reached(number, reached) {
        clear_claim(work, calls, number);
    }
    Ok(replies.expecting(if is_claimed { 1 } else { reached }))
}

/// Starts the task that reads the answers until the decorator closes.
pub(super) fn start_reading<P: Provider>(work: &Work<P>, calls: &Arc<Calls>) {
    let (work_of_task, calls) = (work.clone(), Arc::clone(calls));
    work.spawn(async move {
        let closing = work_of_task.closing.clone();
        closing
            .run_until_cancelled(read(&work_of_task, &calls))
            .await;
        // A decorator dropped without a close has callers too.
        calls.close(|channel| work_of_task.error(ErrorKind::Closed, "request to", channel));
    });
}

async fn read<P: Provider>(work: &Work<P>, calls: &Arc<Calls>) {
    const BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");
    // A provider waits through outages by itself; this is for what else may fail for a while.
    const PAUSE: Duration = Duration::from_millis(100);
    let opts = GetOptions::default().max(BATCH).wait(Wait::Forever);
    loop {
        match work.provider.queue_get(&calls.inbox, opts.clone()).await {
            Ok(answers) => answers
                .into_iter()
                .for_each(|answer| deliver(work, calls, answer.message)),
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::warn!(queue = calls.inbox, %error, "cannot read the answers of remote calls");
                sleep(PAUSE).await;
            }
        }
    }
}

fn deliver<P: Provider>(work: &Work<P>, calls: &Arc<Calls>, answer: Message) {
    match Answer::open(answer) {
        Ok((number, reply)) => {
            let heard = calls.heard(number, reply);
            if heard.is_late {
                work.provider.health().late_reply();
            }
            if heard.is_last {
                clear_claim(work, calls, number);
            }
        }
        Err(error) => {
            tracing::warn!(queue = calls.inbox, %error, "an answer to a remote call is unreadable");
        }
    }
}

/// Removes the claim of a call that no server can claim any more.
fn clear_claim<P: Provider>(work: &Work<P>, calls: &Calls, number: u64) {
    let claim = frame::claim(&calls.inbox, number);
    let provider = Arc::clone(&work.provider);
    work.spawn(async move { clear(&*provider, &claim).await });
}

async fn clear(provider: &impl Provider, claim: &str) {
    if let Err(error) = provider.queue_clear(claim, Part::Ready).await {
        tracing::debug!(queue = claim, %error, "the claim of a remote call stays behind");
    }
}

/// Takes the claim of a call that its caller has left: a server that reads the request late cannot win it any more.
fn take_back<P: Provider>(work: &Work<P>, calls: &Arc<Calls>, number: u64) {
    let (provider, calls) = (Arc::clone(&work.provider), Arc::clone(calls));
    work.spawn(async move {
        let claim = frame::claim(&calls.inbox, number);
        match frame::try_claim(&*provider, &claim).await {
            Ok(()) => {}
            // A server has begun.
            Err(error) if error.kind() == ErrorKind::Full => return,
            Err(error) => {
                tracing::debug!(queue = claim, %error, "a late server may still run a remote call");
            }
        }
        if calls.is_done(number) {
            // The claim was cleared before it was taken.
            clear(&*provider, &claim).await;
        }
    });
}

/// What a server said comes to.
struct Heard {
    /// Nobody waits for the reply any more.
    is_late: bool,
    /// The claim can be cleared.
    is_last: bool,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            inbox: format!("__rpc_{}", Uuid::new_v4().simple()),
            next: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// Ends all calls and refuses new ones.
    pub(super) fn close(&self, error: impl Fn(&str) -> Error) {
        let mut state = self.lock();
        state.is_closed = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        for call in open.into_values() {
            call.caller.end(error(&call.channel));
        }
    }

    /// Opens a call, unless closed.
    fn open<P: Provider>(
        self: &Arc<Self>,
        work: &Work<P>,
        channel: &str,
        is_claimed: bool,
    ) -> Option<(u64, Replies)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Weak: replies that are kept must not keep the provider.
        let (calls, work) = (Arc::downgrade(self), work.downgrade());
        let (caller, replies) = replies(move |detached| {
            if let Some(calls) = calls.upgrade()
                && calls.leave(number)
                && let Some(work) = work()
            {
                take_back(&work, &calls, number);
            }
            drop(detached);
        });
        let mut state = self.lock();
        if state.is_closed {
            // The lock first: dropping the replies takes it.
            drop(state);
            return None;
        }
        let open = Open {
            channel: channel.into(),
            caller,
            left: None,
            is_claimed,
            reached: None,
            heard: 0,
            is_answered: false,
        };
        state.open.insert(number, open);
        drop(state);
        Some((number, replies))
    }

    /// Notes how many servers a call has reached. Answers whether its claim can be cleared.
    fn reached(&self, number: u64, reached: usize) -> bool {
        self.update(number, |call| call.reached = Some(reached))
    }

    /// Notes what a server said: a reply, or that it declines.
    fn heard(&self, number: u64, reply: Option<Reply>) -> Heard {
        let mut is_late = reply.is_some();
        let is_last = self.update(number, |call| {
            call.heard += 1;
            if let Some(reply) = reply {
                call.is_answered = true;
                is_late = !call.caller.push(reply);
            }
        });
        Heard { is_late, is_last }
    }

    /// Changes a call; a claimed one is done when all servers have been heard.
    fn update(&self, number: u64, change: impl FnOnce(&mut Open)) -> bool {
        let mut state = self.lock();
        let Some(call) = state.open.get_mut(&number) else {
            return false;
        };
        change(call);
        if !call.is_claimed || call.reached.is_none_or(|reached| call.heard < reached) {
            return false;
        }
        let call = state.open.remove(&number);
        drop(state);
        if let Some(call) = call.filter(|call| !call.is_answered) {
            let error = RemoteError::new("RuntimeError", "no server took the request");
            call.caller.push(Reply::Err(error));
        }
        true
    }

    /// The caller is gone. A claimed call stays until its servers have been heard. Answers whether a server may still
    /// claim it.
    fn leave(&self, number: u64) -> bool {
        let mut state = self.lock();
        match state.open.get_mut(&number) {
            Some(call) if call.is_claimed => {
                call.left = Some(Instant::now());
                !call.is_answered
            }
            _ => {
                state.open.remove(&number);
                false
            }
        }
    }

    /// Tells whether all servers of a call have been heard.
    fn is_done(&self, number: u64) -> bool {
        let state = self.lock();
        !state.is_closed && !state.open.contains_key(&number)
    }

    /// Forgets, now and then, the calls that were left long ago, and returns those whose claims are to be cleared.
    fn forget(&self) -> Vec<u64> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.swept.is_some_and(|swept| now - swept < SWEEP_EVERY) {
            return Vec::new();
        }
        state.swept = Some(now);
        let is_old = |call: &Open| call.left.is_some_and(|left| now - left >= FORGOTTEN_AFTER);
        state
            .open
            .extract_if(|_, call| is_old(call))
            .map(|(number, _)| number)
            .collect()
    }

    fn remove(&self, number: u64) {
        self.lock().open.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
