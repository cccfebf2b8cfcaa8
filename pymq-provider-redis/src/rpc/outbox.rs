//! Requests on their way to their servers: gathered by one task, so that many calls at once cost few round trips.

use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::envelope::Outgoing;
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
    channel: String,
    outgoing: Outgoing,
    counted: oneshot::Sender<Result<usize, Fault>>,
}

impl Outbox {
    /// Starts the task that sends what is to be answered in `inbox`; it ends when the provider is closed.
    pub(crate) fn start(core: Core, inbox: String) -> Self {
        let (queue, given) = mpsc::channel(BATCH * 4);
        core.spawn(run(core.clone(), inbox, given));
        Self { core, queue }
    }

    /// Publishes a request on a channel, by its Redis name, and returns how many servers there are; none means that
    /// nothing was sent. Dropped early, it is sent or not.
    pub(crate) async fn send(&self, channel: String, outgoing: Outgoing) -> Result<usize, Fault> {
        let sending = async {
            let (counted, count) = oneshot::channel();
            let call = Call {
                channel,
                outgoing,
                counted,
            };
            self.queue.send(call).await.map_err(|_| Fault::closed())?;
            count.await.unwrap_or_else(|_| Err(Fault::closed()))
        };
        timeout(self.core.connector.op_timeout(), sending)
            .await
            .unwrap_or_else(|_| Err(Fault::timeout()))
    }
}

async fn run(core: Core, inbox: String, given: mpsc::Receiver<Call>) {
    let send_all = gather(given, CancellationToken::new(), |batch| {
        publish_all(&core, &inbox, batch)
    });
    tokio::select! {
        () = core.close.cancelled() => {}
        () = send_all => {}
    }
}

async fn publish_all(core: &Core, inbox: &str, mut batch: Vec<Call>) {
    // Whose caller is gone is not sent at all.
    batch.retain(|call| !call.counted.is_closed());
    while !batch.is_empty() {
        let next = take_batch(&mut batch, |call| call.outgoing.request.len());
        publish(core, inbox, next).await;
    }
}

async fn publish(core: &Core, inbox: &str, batch: Vec<Call>) {
    let mut args = Vec::with_capacity(1 + 3 * batch.len());
    args.push(inbox);
    for call in &batch {
        let Outgoing { request, id } = &call.outgoing;
        args.extend([call.channel.as_str(), request, id]);
    }
    let results: Result<Vec<Value>, Fault> =
        core.commands.try_script(&CALL, &[] as &[&str], &args).await;
    let mut results = results.map(Vec::into_iter);
    for call in batch {
        let result = match &mut results {
            Ok(results) => count(results.next()),
            Err(fault) => Err(fault.clone()),
        };
        // A caller that is gone by now does not want to know.
        drop(call.counted.send(result));
    }
}

fn count(result: Option<Value>) -> Result<usize, Fault> {
    match result {
        Some(Value::Int(servers)) => Ok(usize::try_from(servers).unwrap_or(0)),
        Some(Value::BulkString(error)) => Err(Fault::of_text(&String::from_utf8_lossy(&error))),
        _ => Err(Fault::of_text("")),
    }
}
