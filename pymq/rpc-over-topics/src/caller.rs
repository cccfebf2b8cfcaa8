//! The caller's side: the open calls, and the task that reads their answers.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::provider::{
    GetOptions, Part, Provider, Replies, Reply, ReplyInlet, RequestOptions, Target, Wait, replies,
};
use pymq_core::{Error, ErrorKind, Message, RemoteError, Result};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::frame::{self, Answer, Call};
use crate::{Shared, topic_of};

/// How long an abandoned call waits for servers that have not answered.
const ABANDONED_CALL_LIMIT: Duration = Duration::from_secs(600);

/// How often the open calls are searched for those to remove.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The open calls, and the queue for their answers.
pub(crate) struct Calls {
    inbox: String,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    open: HashMap<u64, OpenCall>,
    swept: Option<Instant>,
}

struct OpenCall {
    channel: Box<str>,
    caller: ReplyInlet,
    /// When the caller abandoned the call.
    abandoned: Option<Instant>,
    is_claimed: bool,
    /// How many servers the request has reached; `None` until that is known.
    reached: Option<usize>,
    /// How many of them have replied or declined.
    answers: usize,
    has_reply: bool,
}

/// Sends a request.
pub(crate) async fn request<P: Provider>(
    shared: &Shared<P>,
    calls: &Arc<Calls>,
    channel: &str,
    request: Message,
    opts: RequestOptions,
) -> Result<Replies> {
    let is_claimed = opts.to == Target::One;
    let (number, replies) = calls
        .open(shared, channel, is_claimed)
        .ok_or_else(|| shared.error(ErrorKind::Closed, "request to", channel))?;
    for number in calls.remove_abandoned() {
        clear_claim(shared, calls, number);
    }
    let call = Call::new(&calls.inbox, number, is_claimed, opts.timeout);
    let published = shared
        .provider
        .publish(&topic_of(channel), call.seal(request)?)
        .await;
    if let Err(error) = &published
        && !error.outcome_unknown()
    {
        // No server has received the request.
        calls.remove(number);
    }
    let reached = published?;
    if reached == 0 {
        calls.remove(number);
        return Err(shared.error(ErrorKind::NoSuchRemote, "request to", channel));
    }
    if calls.record_reached(number, reached) {
        clear_claim(shared, calls, number);
    }
    Ok(replies.expecting(if is_claimed { 1 } else { reached }))
}

/// Starts the task that reads the answers until the decorator closes.
pub(crate) fn start_reading<P: Provider>(shared: &Shared<P>, calls: &Arc<Calls>) {
    let (task_shared, calls) = (shared.clone(), Arc::clone(calls));
    shared.spawn(async move {
        let closing = task_shared.closing.clone();
        closing
            .run_until_cancelled(read(&task_shared, &calls))
            .await;
        // The decorator may be dropped without a close while callers wait.
        calls.close(|channel| task_shared.error(ErrorKind::Closed, "request to", channel));
    });
}

async fn read<P: Provider>(shared: &Shared<P>, calls: &Arc<Calls>) {
    const BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");
    // A provider waits through outages by itself. This is for other temporary failures.
    const PAUSE: Duration = Duration::from_millis(100);
    let opts = GetOptions::default().max(BATCH).wait(Wait::Forever);
    loop {
        match shared.provider.queue_get(&calls.inbox, opts.clone()).await {
            Ok(answers) => answers
                .into_iter()
                .for_each(|answer| deliver(shared, calls, answer.message)),
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::warn!(
                    queue = calls.inbox,
                    %error,
                    "answers to remote calls cannot be read, trying again"
                );
                sleep(PAUSE).await;
            }
        }
    }
}

fn deliver<P: Provider>(shared: &Shared<P>, calls: &Arc<Calls>, answer: Message) {
    match Answer::open(answer) {
        Ok((number, reply)) => {
            let outcome = calls.record_answer(number, reply);
            if outcome.is_late {
                shared.provider.health().late_reply();
            }
            if outcome.is_last {
                clear_claim(shared, calls, number);
            }
        }
        Err(error) => {
            tracing::warn!(
                queue = calls.inbox,
                %error,
                "an answer to a remote call is malformed and is dropped"
            );
        }
    }
}

/// Clears the claim of a call. No server can claim the call any more.
fn clear_claim<P: Provider>(shared: &Shared<P>, calls: &Calls, number: u64) {
    let claim = frame::claim(&calls.inbox, number);
    let provider = Arc::clone(&shared.provider);
    shared.spawn(async move { clear(&*provider, &claim).await });
}

async fn clear(provider: &impl Provider, claim: &str) {
    if let Err(error) = provider.queue_clear(claim, Part::Ready).await {
        tracing::debug!(
            queue = claim,
            %error,
            "the claim of a remote call cannot be removed and stays in its queue"
        );
    }
}

/// Claims an abandoned call, so that a server that reads the request late cannot claim it.
fn claim_abandoned<P: Provider>(shared: &Shared<P>, calls: &Arc<Calls>, number: u64) {
    let (provider, calls) = (Arc::clone(&shared.provider), Arc::clone(calls));
    shared.spawn(async move {
        let claim = frame::claim(&calls.inbox, number);
        match frame::try_claim(&*provider, &claim).await {
            Ok(()) => {}
            // A server has claimed it.
            Err(error) if error.kind() == ErrorKind::Full => return,
            Err(error) => {
                tracing::debug!(
                    queue = claim,
                    %error,
                    "an abandoned remote call cannot be claimed, and a late server may run it"
                );
            }
        }
        if calls.is_done(number) {
            // The claim was cleared before this task claimed it.
            clear(&*provider, &claim).await;
        }
    });
}

/// What an answer means for its call.
struct AnswerOutcome {
    /// The caller no longer waits for the reply.
    is_late: bool,
    /// All servers have answered, and the claim can be cleared.
    is_last: bool,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            inbox: format!("__rpc_{}", Uuid::new_v4().simple()),
            next: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(crate) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// Ends all calls and refuses new ones.
    pub(crate) fn close(&self, error: impl Fn(&str) -> Error) {
        let mut state = self.lock();
        state.is_closed = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        for call in open.into_values() {
            call.caller.end(error(&call.channel));
        }
    }

    /// Opens a call; `None` after a close.
    fn open<P: Provider>(
        self: &Arc<Self>,
        shared: &Shared<P>,
        channel: &str,
        is_claimed: bool,
    ) -> Option<(u64, Replies)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Weak references, because replies that a caller keeps must not keep the provider.
        let (calls, shared) = (Arc::downgrade(self), shared.downgrade());
        let (caller, replies) = replies(move |detached| {
            if let Some(calls) = calls.upgrade()
                && calls.abandon(number)
                && let Some(shared) = shared()
            {
                claim_abandoned(&shared, &calls, number);
            }
            drop(detached);
        });
        let mut state = self.lock();
        if state.is_closed {
            // The lock is released first, because dropping the replies takes it.
            drop(state);
            return None;
        }
        let call = OpenCall {
            channel: channel.into(),
            caller,
            abandoned: None,
            is_claimed,
            reached: None,
            answers: 0,
            has_reply: false,
        };
        state.open.insert(number, call);
        drop(state);
        Some((number, replies))
    }

    /// Records how many servers a call has reached. Returns whether its claim can be cleared.
    fn record_reached(&self, number: u64, reached: usize) -> bool {
        self.update(number, |call| call.reached = Some(reached))
    }

    /// Records the answer of a server: a reply, or `None` if it declines.
    fn record_answer(&self, number: u64, reply: Option<Reply>) -> AnswerOutcome {
        let mut is_late = reply.is_some();
        let is_last = self.update(number, |call| {
            call.answers += 1;
            if let Some(reply) = reply {
                call.has_reply = true;
                is_late = !call.caller.push(reply);
            }
        });
        AnswerOutcome { is_late, is_last }
    }

    /// Changes a call. Removes a claimed call and returns true if all servers have answered.
    fn update(&self, number: u64, change: impl FnOnce(&mut OpenCall)) -> bool {
        let mut state = self.lock();
        let Some(call) = state.open.get_mut(&number) else {
            return false;
        };
        change(call);
        if !call.is_claimed || call.reached.is_none_or(|reached| call.answers < reached) {
            return false;
        }
        let call = state.open.remove(&number);
        drop(state);
        if let Some(call) = call.filter(|call| !call.has_reply) {
            let error = RemoteError::new("RuntimeError", "no server took the request");
            call.caller.push(Reply::Err(error));
        }
        true
    }

    /// Records that the caller is gone. A claimed call stays until its servers have answered.
    /// Returns whether a server may still claim it.
    fn abandon(&self, number: u64) -> bool {
        let mut state = self.lock();
        match state.open.get_mut(&number) {
            Some(call) if call.is_claimed => {
                call.abandoned = Some(Instant::now());
                !call.has_reply
            }
            _ => {
                state.open.remove(&number);
                false
            }
        }
    }

    /// Tells whether all servers of a call have answered.
    fn is_done(&self, number: u64) -> bool {
        let state = self.lock();
        !state.is_closed && !state.open.contains_key(&number)
    }

    /// Removes calls that were abandoned long ago, and returns them so that their claims are
    /// cleared.
    ///
    /// It does so at most once in [`SWEEP_INTERVAL`].
    fn remove_abandoned(&self) -> Vec<u64> {
        let now = Instant::now();
        let mut state = self.lock();
        if state
            .swept
            .is_some_and(|swept| now - swept < SWEEP_INTERVAL)
        {
            return Vec::new();
        }
        state.swept = Some(now);
        let is_old = |call: &OpenCall| {
            call.abandoned
                .is_some_and(|abandoned| now - abandoned >= ABANDONED_CALL_LIMIT)
        };
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
