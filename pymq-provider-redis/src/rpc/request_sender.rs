//! [`RequestSender`]: one task sends the requests of all callers, so that many calls take few round
//! trips. On a cluster, there is one for each slot: a node that does not answer holds up no other.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::ReplyInlet;
use pymq_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::envelope::RequestParts;
use super::take_batch;
use crate::connection::{Clock, Commands, Fault, MAX_BATCH, Reply, Script, send_in_batches};
use crate::core::{Core, RequestChannels};

static CALL: Script = Script::new(include_str!("../../scripts/rpc_call.lua"));

/// The pause before a channel is looked at again that had no server.
const SEARCH_PAUSE: Duration = Duration::from_millis(100);

/// Sends the requests of callers.
#[derive(Debug)]
pub(crate) struct RequestSender {
    core: Core,
    /// Bounded. When it is full, callers wait, as they would for the connection.
    queue: mpsc::Sender<Call>,
}

#[derive(Debug)]
struct Call {
    /// The channel by its Redis name.
    channel: String,
    request: RequestParts,
    caller: Caller,
    /// It is not sent after this time: the end of the `op_timeout`.
    until: Instant,
    /// It must not begin after this time, if there is one.
    deadline: Option<Instant>,
}

/// The receiver of the outcome of a request.
#[derive(Debug)]
pub(crate) enum Caller {
    /// Waits for the reply of one server. An error takes the place of the reply.
    One(ReplyInlet),
    /// Waits for the number of servers first, then for all replies.
    All(oneshot::Sender<Result<usize>>),
}

impl RequestSender {
    /// Starts the task that sends. It ends when the provider is closed.
    pub(crate) fn start(core: Core) -> Self {
        let (queue, receiver) = mpsc::channel(MAX_BATCH * 4);
        core.spawn(run(core.clone(), receiver));
        Self { core, queue }
    }

    /// Sends a request to a channel, by its Redis name. The caller gets an error if it is not sent
    /// within the `op_timeout`, or within that of the latest request of its batch. The request is
    /// not sent after its deadline. If the future is dropped, it may be sent or not.
    pub(crate) async fn send(
        &self,
        channel: String,
        request: RequestParts,
        caller: Caller,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let call = Call {
            channel,
            request,
            caller,
            until: Instant::now() + self.core.connector.op_timeout(),
            deadline,
        };
        self.queue.send(call).await.map_err(|_| Fault::closed())
    }
}

async fn run(core: Core, receiver: mpsc::Receiver<Call>) {
    let send_all = send_in_batches(receiver, CancellationToken::new(), |batch| {
        publish_all(&core, batch)
    });
    tokio::select! {
        () = core.close.cancelled() => {}
        () = send_all => {}
    }
}

async fn publish_all(core: &Core, mut batch: Vec<Call>) {
    // Requests to one channel go together, in their order.
    batch.sort_by(|a, b| a.group().cmp(&b.group()));
    let unserved = publish_in_parts(core, batch).await;
    if !unserved.is_empty() {
        core.spawn(find_servers(core.clone(), unserved));
    }
}

/// Publishes requests again whose channels had no server. On a cluster, the servers may still be at
/// the former owner of the slot, or this process may not know the new owner yet.
async fn find_servers(core: Core, mut unserved: Vec<Call>) {
    while !unserved.is_empty() && core.connector.is_unsettled().await {
        sleep(SEARCH_PAUSE).await;
        unserved = publish_in_parts(&core, unserved).await;
    }
    for call in unserved {
        call.finish(&core, Ok(0));
    }
}

/// Publishes requests. Returns those without a server, on a cluster.
async fn publish_in_parts(core: &Core, mut batch: Vec<Call>) -> Vec<Call> {
    let (mut too_late, mut unserved) = (Vec::new(), Vec::new());
    while !batch.is_empty() {
        let part = take_batch(&mut batch, |call| call.request.len());
        too_late.extend(publish(core, part, &mut unserved).await);
    }
    // Their callers still wait, so the clock of the server was set. The answer contained the new
    // time.
    while !too_late.is_empty() {
        let part = take_batch(&mut too_late, |call| call.request.len());
        for call in publish(core, part, &mut unserved).await {
            call.finish(core, Err(Fault::timeout().with_known_outcome()));
        }
    }
    unserved
}

/// Publishes requests. Returns those that the server refused as late although their callers wait.
/// Adds those without a server, on a cluster.
async fn publish(core: &Core, batch: Vec<Call>, unserved: &mut Vec<Call>) -> Vec<Call> {
    let now = Instant::now();
    let (late, mut batch): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|call| call.until() <= now);
    for call in late {
        call.finish(core, Err(Fault::timeout().with_known_outcome()));
    }
    // If a caller has dropped its future, its request is not sent.
    batch.retain(|call| !call.caller.is_cancelled());
    if batch.is_empty() {
        return batch;
    }
    // Not the deadlines of the calls: an answer after those does not mean that the connection is
    // broken. The script and `args` drop late requests.
    let latest = batch.iter().map(|call| call.until).max();
    let commands = core.commands.until(latest);
    let (sent, published) = if needs_time(&commands, &batch)
        && let Err(fault) = commands.query_time().await
    {
        (now, Err(fault.with_known_outcome()))
    } else {
        send(&commands, core.request_channels(), &batch).await
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
                if matches!(servers, Ok(0)) && core.connector.cluster().is_some() {
                    unserved.push(call);
                } else {
                    call.finish(core, servers.clone());
                }
            } else if !call.caller.is_cancelled() {
                too_late.push(call);
            }
        }
    }
    too_late
}

/// The result of the script: the server's time, the outcome of each channel, and the late requests.
type Published = ((i64, i64), Vec<Reply>, Vec<usize>);

/// Publishes requests, and returns when they were sent with the answer.
async fn send(
    commands: &Commands,
    channels: RequestChannels,
    batch: &[Call],
) -> (Instant, Result<Published, Fault>) {
    let sent = Instant::now();
    let args = || args(&commands.clock(), channels, batch);
    let published = commands.try_script_with(&CALL, args);
    (sent, published.await)
}

/// Tells whether the time of the server must be asked for first.
fn needs_time(commands: &Commands, batch: &[Call]) -> bool {
    let is_timed = batch.iter().any(|call| call.deadline.is_some());
    let now = std::time::Instant::now();
    is_timed && commands.clock().at(now, now).is_none()
}

/// Returns the arguments of the script. If a caller has left meanwhile, its request is marked as
/// late.
fn args(clock: &Clock, channels: RequestChannels, batch: &[Call]) -> Vec<Bytes> {
    let mut args = Vec::with_capacity(batch.len() * 5 + 5);
    args.extend([channels.publish(), channels.count()].map(Bytes::from_static));
    for group in batch.chunk_by(|a, b| a.group() == b.group()) {
        let (channel, is_to_one) = group[0].group();
        let to: &[u8] = match (is_to_one, channels) {
            (false, _) => b"all",
            // The count may leave a server out.
            (true, RequestChannels::Cluster) => b"claim",
            (true, RequestChannels::Server | RequestChannels::Slot) => b"one",
        };
        args.extend([
            Bytes::copy_from_slice(channel.as_bytes()),
            Bytes::from_static(to),
            group.len().to_string().into(),
        ]);
        for call in group {
            args.extend(call.args(clock));
        }
    }
    args
}

fn count(result: Option<Reply>) -> Result<usize, Fault> {
    match result {
        Some(Reply::Int(servers)) => Ok(usize::try_from(servers).unwrap_or(0)),
        Some(Reply::Text(error)) => Err(Fault::of_text(&String::from_utf8_lossy(&error))),
        _ => Err(Fault::of_text("")),
    }
}

impl Call {
    /// Returns until when it may be sent.
    fn until(&self) -> Instant {
        self.deadline
            .map_or(self.until, |deadline| deadline.min(self.until))
    }

    /// Returns its five arguments of the script.
    fn args(&self, clock: &Clock) -> [Bytes; 5] {
        let none = Bytes::new;
        if self.caller.is_cancelled() {
            return [Bytes::from_static(b"0"), none(), none(), none(), none()];
        }
        let (begin_by, field) = self.begin_by(clock).unwrap_or_default();
        let request = &self.request;
        let (end, end_with_claim) = match self.caller {
            Caller::One(_) => (request.end_for_only_server(), request.end_with_claim()),
            Caller::All(_) => (request.end(), none()),
        };
        [begin_by, request.head(), field, end, end_with_claim]
    }

    /// Returns the time by which it must begin, in milliseconds of the server's clock, and the
    /// field of the request with this time.
    fn begin_by(&self, clock: &Clock) -> Option<(Bytes, Bytes)> {
        const NAME: &str = r#","begin_by":"#;
        // If the clock is not known any more, the script finds the request late, and it is sent
        // again.
        let now = std::time::Instant::now();
        let begin_by = clock.at(self.deadline?.into_std(), now).unwrap_or(0);
        let field = Bytes::from(format!("{NAME}{begin_by}"));
        Some((field.slice(NAME.len()..), field))
    }

    /// Returns the key of requests that are sent together: the channel, and whether one server runs
    /// it.
    fn group(&self) -> (&str, bool) {
        (&self.channel, matches!(self.caller, Caller::One(_)))
    }

    /// Tells the caller how many servers there are, or why the request was not sent.
    fn finish(self, core: &Core, servers: Result<usize, Fault>) {
        let (remote, _) = core.keys.of_remote(&self.channel);
        let context = || format!("redis: call `{remote}`");
        let counted = match servers {
            Ok(0) => Err(Error::new(ErrorKind::NoSuchRemote, context())),
            Ok(servers) => Ok(servers),
            Err(fault) => Err(fault.into_error(&context(), core.connector.address())),
        };
        match (self.caller, counted) {
            (Caller::One(inlet), Err(error)) => inlet.end(error),
            (Caller::One(_), Ok(_)) => {}
            // The caller may have dropped its future meanwhile.
            (Caller::All(caller), counted) => drop(caller.send(counted)),
        }
    }
}

impl Caller {
    fn is_cancelled(&self) -> bool {
        match self {
            Self::One(inlet) => inlet.is_detached(),
            Self::All(counted) => counted.is_closed(),
        }
    }
}
