//! Requests on their way to their servers: gathered by one task, so that many calls at once cost few round trips.

use pymq::provider::ReplyInlet;
use pymq::{Error, ErrorKind, Result};
use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::take_batch;
use crate::connection::{BATCH, Fault, Script, gather};
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
    request: String,
    caller: Caller,
    /// Later it is not sent any more.
    deadline: Instant,
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
    /// or that of the youngest request it was sent with. Dropped early, it is sent or not.
    pub(crate) async fn send(
        &self,
        channel: String,
        request: String,
        caller: Caller,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + self.core.connector.op_timeout();
        let call = Call {
            channel,
            request,
            caller,
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
    let now = Instant::now();
    for late in batch.extract_if(.., |call| call.deadline <= now) {
        late.tell(core, Err(Fault::timeout().known()));
    }
    // Whose caller is gone is not sent at all.
    batch.retain(|call| !call.caller.is_gone());
    while !batch.is_empty() {
        publish(core, take_batch(&mut batch, |call| call.request.len())).await;
    }
}

async fn publish(core: &Core, batch: Vec<Call>) {
    let mut args = Vec::with_capacity(batch.len() + 3);
    let mut sizes = Vec::new();
    for group in batch.chunk_by(|a, b| a.group() == b.group()) {
        let (channel, is_to_one) = group[0].group();
        args.extend([channel, if is_to_one { "one" } else { "all" }]);
        args.extend(group.iter().map(|call| call.request.as_str()));
        args.push("");
        sizes.push(group.len());
    }
    let deadline = batch.iter().map(|call| call.deadline).max();
    let commands = core.commands.until(deadline);
    let results: Result<Vec<Value>, Fault> =
        commands.try_script(&CALL, &[] as &[&str], &args).await;
    let mut results = results.map(Vec::into_iter);
    let mut calls = batch.into_iter();
    for size in sizes {
        let servers = match &mut results {
            Ok(results) => count(results.next()),
            Err(fault) => Err(fault.clone()),
        };
        for call in calls.by_ref().take(size) {
            call.tell(core, servers.clone());
        }
    }
}

fn count(result: Option<Value>) -> Result<usize, Fault> {
    match result {
        Some(Value::Int(servers)) => Ok(usize::try_from(servers).unwrap_or(0)),
        Some(Value::BulkString(error)) => Err(Fault::of_text(&String::from_utf8_lossy(&error))),
        _ => Err(Fault::of_text("")),
    }
}

impl Call {
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
