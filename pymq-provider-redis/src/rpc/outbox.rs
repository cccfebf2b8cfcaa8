//! Requests on their way to their servers: gathered by one task, so that many calls at once cost few round trips.

use bytes::Bytes;
use pymq_core::provider::ReplyInlet;
use pymq_core::{Error, ErrorKind, Result};
use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::take_batch;
use crate::connection::{BATCH, Clock, Commands, Fault, Script, gather};
use crate::core::Core;

static CALL: Script = Script::new(include_str!("../../scripts/rpc_call.lua"));

/// Where callers put their requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    core: Core,
    /// Bounded: when it is full, callers wait as they would for the connection.
    queue: mpsc::Sender<Call>,
}

#[derive(Debug)]
struct Call {
    /// By its Redis name.
    channel: String,
    request: Bytes,
    caller: Caller,
    /// Later it is not sent any more: the end of the `op_timeout`.
    until: Instant,
    /// Later it must not begin, if there is such a time.
    deadline: Option<Instant>,
}

/// Who hears what becomes of a request.
#[derive(Debug)]
pub(crate) enum Caller {
    /// Wants one server's reply, and hears where that would come if there will be none.
    One(ReplyInlet),
    /// Wants all replies, and waits for their number first.
    All(oneshot::Sender<Result<usize>>),
}

impl Outbox {
    /// Starts the task that sends; it ends when the provider is closed.
    pub(crate) fn start(core: Core) -> Self {
        let (queue, given) = mpsc::channel(BATCH * 4);
        core.spawn(run(core.clone(), given));
        Self { core, queue }
    }

    /// Takes a request for a channel, by its Redis name, and tells the caller if it was not sent: within the `op_timeout`,
    /// or that of the youngest request it was sent with. It must not begin after the deadline, and is not sent after it.
    /// Dropped early, it is sent or not.
    pub(crate) async fn send(
        &self,
        channel: String,
        request: String,
        caller: Caller,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let call = Call {
            channel,
            request: request.into(),
            caller,
            until: Instant::now() + self.core.connector.op_timeout(),
            deadline,
        };
        self.queue.send(call).await.map_err(|_| Fault::closed())
    }
}

async fn run(core: Core, given: mpsc::Receiver<Call>) {
    let send_all = gather(given, CancellationToken::new(), |batch| {
        publish_all(&core, batch)
    });
    tokio::select! {
        () = core.close.cancelled() => {}
        () = send_all => {}
    }
}

async fn publish_all(core: &Core, mut batch: Vec<Call>) {
    // Those to one channel go together, in their order.
    batch.sort_by(|a, b| a.group().cmp(&b.group()));
    let mut too_late = Vec::new();
    while !batch.is_empty() {
        let part = take_batch(&mut batch, |call| call.request.len());
        too_late.extend(publish(core, part).await);
    }
    // Their callers still wait: it was a clock that had been set, of which the answer has told.
    while !too_late.is_empty() {
        let part = take_batch(&mut too_late, |call| call.request.len());
        for call in publish(core, part).await {
            call.tell(core, Err(Fault::timeout().known()));
        }
    }
}

/// Publishes requests, and returns those that the server found too late although their callers still wait.
async fn publish(core: &Core, batch: Vec<Call>) -> Vec<Call> {
    let now = Instant::now();
    let (late, mut batch): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|call| call.until() <= now);
    for call in late {
        call.tell(core, Err(Fault::timeout().known()));
    }
    // The request of a caller that is gone is not sent at all.
    batch.retain(|call| !call.caller.is_gone());
    if batch.is_empty() {
        return batch;
    }
    // Not the deadlines of the calls: an answer that is late by those says nothing of the connection. The script
    // and `args` see to it that a late request is not sent.
    let latest = batch.iter().map(|call| call.until).max();
    let commands = core.commands.until(latest);
    let (sent, published) = if needs_time(&commands, &batch)
        && let Err(fault) = commands.ask_time().await
    {
        (now, Err(fault.known()))
    } else {
        send(&commands, &batch).await
    };
    let (mut results, late) = match published {
        Ok((time, results, late)) => {
            commands.clock().learn(sent.into_std(), time);
            (Ok(results.into_iter()), late)
        }
        Err(fault) => (Err(fault), Vec::new()),
    };
    let sizes: Vec<usize> = batch
        .chunk_by(|a, b| a.group() == b.group())
        .map(<[Call]>::len)
        .collect();
    let mut calls = batch.into_iter().enumerate();
    let mut too_late = Vec::new();
    for size in sizes {
        let servers = match &mut results {
            Ok(results) => count(results.next()),
            Err(fault) => Err(fault.clone()),
        };
        for (number, call) in calls.by_ref().take(size) {
            if !late.contains(&number) {
                call.tell(core, servers.clone());
            } else if !call.caller.is_gone() {
                too_late.push(call);
            }
        }
    }
    too_late
}

/// What the script returns: the server's time, what became of each channel, and the numbers of late requests.
type Published = ((i64, i64), Vec<Value>, Vec<usize>);

/// Publishes requests and tells since when the answer was under way.
async fn send(commands: &Commands, batch: &[Call]) -> (Instant, Result<Published, Fault>) {
    let sent = Instant::now();
    let published = commands.try_script_with(&CALL, || args(commands.clock(), batch));
    (sent, published.await)
}

/// Tells whether the server's clock has to be asked for first.
fn needs_time(commands: &Commands, batch: &[Call]) -> bool {
    let is_timed = batch.iter().any(|call| call.deadline.is_some());
    is_timed && commands.clock().at(std::time::Instant::now()).is_none()
}

/// Returns the arguments of the script, as they are when they are sent: without the requests of callers that are gone.
fn args(clock: &Clock, batch: &[Call]) -> Vec<Bytes> {
    let mut args = Vec::with_capacity(batch.len() * 2 + 3);
    for group in batch.chunk_by(|a, b| a.group() == b.group()) {
        let (channel, is_to_one) = group[0].group();
        args.extend([
            Bytes::copy_from_slice(channel.as_bytes()),
            Bytes::from_static(if is_to_one { b"one" } else { b"all" }),
            group.len().to_string().into(),
        ]);
        for call in group {
            if call.caller.is_gone() {
                args.extend([Bytes::from_static(b"0"), Bytes::new()]);
            } else {
                args.extend([call.begin_by(clock), call.request.clone()]);
            }
        }
    }
    args
}

fn count(result: Option<Value>) -> Result<usize, Fault> {
    match result {
        Some(Value::Int(servers)) => Ok(usize::try_from(servers).unwrap_or(0)),
        Some(Value::BulkString(error)) => Err(Fault::of_text(&String::from_utf8_lossy(&error))),
        _ => Err(Fault::of_text("")),
    }
}

impl Call {
    /// Returns until when it may be sent.
    fn until(&self) -> Instant {
        self.deadline
            .map_or(self.until, |deadline| deadline.min(self.until))
    }

    /// Returns the time by which it must begin as the script takes it: in milliseconds of the server's clock.
    fn begin_by(&self, clock: &Clock) -> Bytes {
        // More than a float can count is for ever.
        const LAST: u64 = 1 << 53;
        // Where the clock is not known any more, it is asked again.
        let begin_by = self
            .deadline
            .map(|deadline| clock.at(deadline.into_std()).unwrap_or(0));
        begin_by
            .filter(|begin_by| *begin_by < LAST)
            .map_or_else(Bytes::new, |begin_by| begin_by.to_string().into())
    }

    /// Returns what it has in common with those that are sent as one: the channel, and whether one server is to run it.
    fn group(&self) -> (&str, bool) {
        (&self.channel, matches!(self.caller, Caller::One(_)))
    }

    /// Tells the caller how many servers there are, or why it was not sent.
    fn tell(self, core: &Core, servers: Result<usize, Fault>) {
        let channel = core.keys.strip(&self.channel).unwrap_or(&self.channel);
        let context = || format!("redis: call `{channel}`");
        let counted = match servers {
            Ok(0) => Err(Error::new(ErrorKind::NoSuchRemote, context())),
            Ok(servers) => Ok(servers),
            Err(fault) => Err(fault.into_error(&context(), core.connector.address())),
        };
        match (self.caller, counted) {
            (Caller::One(inlet), Err(error)) => inlet.end(error),
            (Caller::One(_), Ok(_)) => {}
            // A caller that is gone by now does not want to know.
            (Caller::All(caller), counted) => drop(caller.send(counted)),
        }
    }
}

impl Caller {
    fn is_gone(&self) -> bool {
        match self {
            Self::One(inlet) => inlet.is_detached(),
            Self::All(counted) => counted.is_closed(),
        }
    }
}
