//! [`AnswerSender`]: sends the answers of all servers. An answer goes at once if no other call runs
//! and no other answer is on its way, unless the last command carried several. Otherwise a task
//! gathers answers, so that many of them take few commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};

use super::take_batch;
use crate::connection::{
    Clock, Command, CommandWriter, Fault, FromReply, Reply, Script, send_in_batches,
};
use crate::core::Core;

/// For a server without free memory, which refuses `LPUSH` outside of a script.
static ANSWER: Script = Script::new(include_str!("../../scripts/rpc_answer.lua"));

/// How long an inbox exists after the last answer, in seconds. Its caller may have ended.
const INBOX_LIFETIME: &[u8] = b"300";

/// Room for the text of the commands around the answers and the names.
const ANSWER_OVERHEAD: usize = 128;

/// An answer, and the list that it goes to.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) inbox: String,
    pub(crate) payload: Bytes,
}

/// Sends the answers of servers. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct AnswerSender {
    core: Core,
    /// Its bound is never reached: each request in a server's bounded buffer is answered once.
    queue: mpsc::Sender<Answer>,
    /// Whether an answer was sent at once and is not confirmed.
    is_sending: Arc<AtomicBool>,
    /// Whether the last command of the task carried several answers.
    is_gathering: Arc<AtomicBool>,
}

impl AnswerSender {
    /// Starts the task that sends. It ends when the provider is closed and all earlier answers are
    /// sent.
    pub(crate) fn start(core: &Core) -> Self {
        let (queue, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
        let is_gathering = Arc::<AtomicBool>::default();
        let send_all = {
            let (core, is_gathering) = (core.clone(), Arc::clone(&is_gathering));
            async move {
                send_in_batches(receiver, core.close.clone(), |batch| {
                    is_gathering.store(batch.len() > 1, Ordering::Relaxed);
                    push_batch(&core, batch)
                })
                .await;
            }
        };
        core.spawn(send_all);
        Self {
            core: core.clone(),
            queue,
            is_sending: Arc::default(),
            is_gathering,
        }
    }

    /// Sends an answer. After `close`, the answer is dropped. `running` is the number of calls that
    /// are not answered yet: they may end at the same moment.
    pub(crate) fn send(&self, answer: Answer, running: usize) {
        let must_gather = running > 0 || self.is_gathering.load(Ordering::Relaxed);
        if must_gather || self.is_sending.swap(true, Ordering::AcqRel) {
            drop(self.queue.try_send(answer));
            return;
        }
        let list = self.core.keys.name(&answer.inbox);
        let commands = self.core.commands.of(|| list.clone());
        let clock = commands.clock();
        let command = push_command(&list, std::slice::from_ref(&answer.payload), &clock);
        let sent = Instant::now();
        let held = self.core.held.token();
        let (sender, kept) = (self.clone(), answer.clone());
        let is_sending = SendingOnDrop(Arc::clone(&self.is_sending));
        let started = commands.start(command, move |replies| {
            drop(is_sending);
            match replies.and_then(pushed) {
                Ok(time) => learn(&clock, sent, time),
                Err(fault) if fault.may_have_run() => {
                    let core = sender.core;
                    core.clone()
                        .spawn(async move { lost(&core, &kept.inbox, 1, &fault).await });
                }
                // Nothing was pushed, so it can be sent again. After `close` it is dropped.
                Err(_) => drop(sender.queue.try_send(kept)),
            }
            drop(held);
        });
        if started.is_err() {
            drop(self.queue.try_send(answer));
        }
    }
}

/// Lets the next answer be sent at once.
struct SendingOnDrop(Arc<AtomicBool>);

impl Drop for SendingOnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Returns the command that pushes answers into an inbox. The inbox expires, as its caller may have
/// ended. The server of the call learns the time if what it knows of it is old.
fn push_command(list: &str, answers: &[Bytes], clock: &Clock) -> Command {
    let mut commands = CommandWriter::with_room(2 * list.len() + ANSWER_OVERHEAD, answers);
    commands.add(&[b"LPUSH", list.as_bytes()], answers);
    commands.add(&expire(list), []);
    if clock.is_old() {
        commands.add(&[b"TIME"], []);
    }
    commands.finish()
}

fn expire(list: &str) -> [&[u8]; 3] {
    [b"EXPIRE", list.as_bytes(), INBOX_LIFETIME]
}

/// Reads the answer to that command: the time of the server if it was asked for, or why nothing was
/// pushed.
fn pushed(replies: Vec<Reply>) -> Result<Option<(i64, i64)>, Fault> {
    let mut replies = replies.into_iter();
    if let Some(Reply::Error(text)) = replies.next() {
        return Err(Fault::of_reply(&text));
    }
    // After the answer to `EXPIRE`.
    Ok(replies.nth(1).and_then(FromReply::from_reply))
}

fn learn(clock: &Clock, sent: Instant, time: Option<(i64, i64)>) {
    if let Some(time) = time {
        clock.learn(sent, time);
    }
}

async fn push_batch(core: &Core, batch: Vec<Answer>) {
    // Few callers have answers in one batch.
    let mut by_inbox: Vec<(String, Vec<Bytes>)> = Vec::new();
    for Answer { inbox, payload } in batch {
        match by_inbox.iter_mut().find(|(known, _)| *known == inbox) {
            Some((_, payloads)) => payloads.push(payload),
            None => by_inbox.push((inbox, vec![payload])),
        }
    }
    if core.connector.cluster().is_some() {
        // The node of one inbox may not answer. It holds up no other.
        for (inbox, payloads) in by_inbox {
            let of_inbox = core.clone();
            core.spawn(async move { push_all(&of_inbox, inbox, payloads).await });
        }
        return;
    }
    join_all(
        by_inbox
            .into_iter()
            .map(|(inbox, payloads)| push_all(core, inbox, payloads)),
    )
    .await;
}

async fn push_all(core: &Core, inbox: String, mut payloads: Vec<Bytes>) {
    while !payloads.is_empty() {
        push(core, &inbox, &take_batch(&mut payloads, Bytes::len)).await;
    }
}

/// Pushes answers into one inbox.
async fn push(core: &Core, inbox: &str, payloads: &[Bytes]) {
    let list = core.keys.name(inbox);
    let commands = core.commands.of(|| list.clone());
    let sent = Instant::now();
    let replies = commands
        .try_query(|| push_command(&list, payloads, &commands.clock()))
        .await;
    let pushed = match replies.and_then(pushed) {
        // Nothing was pushed. The script passes where memory is short, and waits for the server.
        Err(fault) if !fault.may_have_run() => {
            let keys = [list];
            let time = commands.try_script(&ANSWER, &keys, payloads);
            time.await.map(Some)
        }
        pushed => pushed,
    };
    match pushed {
        Ok(time) => learn(&commands.clock(), sent, time),
        Err(fault) => lost(core, inbox, payloads.len(), &fault).await,
    }
}

/// Logs that answers are lost. Their callers run into their timeouts. An answer is not sent again,
/// because a second one would count as the answer of another server.
async fn lost(core: &Core, inbox: &str, answers: usize, fault: &Fault) {
    tracing::warn!(
        queue = inbox,
        answers,
        error = %fault,
        "answers to remote calls are lost, their callers time out"
    );
    if !fault.may_have_run() {
        return;
    }
    // The answers may have been pushed without the expiry.
    let list = core.keys.name(inbox);
    let expired: Result<(), Fault> = core
        .commands
        .of(|| list.clone())
        .repeatable()
        .try_query(|| Command::new(expire(&list)))
        .await;
    if let Err(fault) = expired {
        tracing::debug!(queue = inbox, error = %fault, "an inbox may not expire");
    }
}
