//! F9: 200,000 malformed payloads go to every decoder, and some over Redis: to topics, patterns,
//! queues, a remote and the inbox of its callers.
//!
//! Nothing panics, memory stays bounded, and every listener works after each batch.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use pymq_core::codec::Decode;
use pymq_core::{Bus, ErrorKind, Events, Message, Raw, Stub};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::report::mebibytes;
use super::{Dice, Report, Setting, memory};
use crate::hostile::Payloads;
use crate::redis::Controlled;
use crate::{Failure, Outcome};

const PAYLOADS: u32 = 200_000;

/// How many batches go over Redis, and how many payloads of each go to each place.
const BATCHES: u32 = 40;
const BATCH: usize = 250;

/// The limit for the growth of the process.
const MEMORY: u64 = 64 << 20;

const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The name in Redis of the topic `live`, and of the queue `live`.
const CHANNEL: &str = "__eventbus:global:live";
const REMOTE: &str = "__eventbus:global:remote";
const LIST: &str = "__eventbus:global:jobs";

#[derive(Debug, Deserialize, Serialize)]
struct Placed {
    order: u64,
    note: Option<String>,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let mut dice = setting.dice("payloads");
    let rest = memory::resident(None)?;
    let decoders = decode_all(&mut dice);
    let mut report = Report {
        sent: PAYLOADS.into(),
        ..Report::default()
    };
    let refused: u32 = decoders.await?;
    report.figure(format!("{refused} of {PAYLOADS} payloads are no event"));

    let server = setting.server(&[]).await?;
    let mut live = Live::start(&setting, &server).await?;
    let mut payloads = payloads(&mut dice);
    for batch in 0..BATCHES {
        live.suffer(&mut payloads).await?;
        live.is_alive(batch.into())
            .await
            .map_err(|error| format!("after batch {batch}: {error}"))?;
        report.worked += 1;
    }
    let grown = memory::resident(None)?.saturating_sub(rest);
    report.accepted = report.worked;
    report.memory = Some(grown);
    report.figure(format!(
        "{} payloads over Redis, all alive after each of {BATCHES} batches, {} items kept as dead letters",
        BATCH * Live::PLACES * usize::try_from(BATCHES)?,
        live.bus.queue::<Placed>("jobs").dead_letters().len().await?
    ));
    report.demand(grown <= MEMORY, || {
        format!("the process grew by {:.1} MiB", mebibytes(grown))
    });
    Ok(report)
}

/// Samples besides those that the generator makes from Python's payloads.
fn payloads(dice: &mut Dice) -> Payloads {
    let deep = [
        b"[".repeat(10_000),
        [b"[".repeat(10_000), b"]".repeat(10_000)].concat(),
        b"{\"a\":".repeat(10_000),
    ];
    let numbers = format!(
        "{}.{}e-{}",
        "9".repeat(400),
        "1".repeat(400),
        "7".repeat(20)
    );
    let further = [
        numbers.into_bytes(),
        br#"{"order": 17, "note": null}"#.to_vec(),
        br#"{"order": -1, "note": "\u0000"}"#.to_vec(),
        b"\0\0\0".to_vec(),
    ];
    Payloads::new(dice.roll(), deep.into_iter().chain(further))
}

/// Decodes every payload as every type, on both cores. Returns how many were no event.
async fn decode_all(dice: &mut Dice) -> Result<u32, Failure> {
    let halves = [payloads(dice), payloads(dice)].map(|mut payloads| {
        spawn_blocking(move || {
            (0..PAYLOADS / 2)
                .map(|_| u32::from(!decode(&Message::json(payloads.make()))))
                .sum::<u32>()
        })
    });
    let mut refused = 0;
    for half in halves {
        // A panic ends the task, and is an error here.
        refused += half.await?;
    }
    Ok(refused)
}

/// Tells whether a message is an event. It is decoded as the other types too.
fn decode(message: &Message) -> bool {
    let opaque = Message::bytes(message.body.clone());
    drop(Value::decode(message));
    drop(<(String, Option<f64>)>::decode(message));
    drop(BTreeMap::<i128, Vec<u8>>::decode(message));
    drop(<()>::decode(message));
    drop(Value::decode(&opaque));
    drop(Raw::decode(message));
    Placed::decode(message).is_ok()
}

/// The listeners at a server.
struct Live {
    bus: Bus,
    raw: MultiplexedConnection,
    topic: Events<Placed>,
    pattern: Events<Placed>,
    remote: Stub<(u64,), u64>,
    /// The list for the answers to our calls.
    inbox: String,
}

impl Live {
    /// To how many places each payload of a batch goes.
    const PLACES: usize = 4;

    async fn start(setting: &Setting, server: &Controlled) -> Result<Self, Failure> {
        let bus = setting.bus(server.url().parse()?).await?;
        bus.expose("remote", |number: u64| async move { number })
            .await?
            .keep();
        // A handler gets the same payloads as a stream.
        let ignored = |_: Placed| async {};
        bus.topic("live").subscribe(ignored).await?.keep();
        let inbox = inbox(&bus, server).await?;
        Ok(Self {
            raw: server.raw().await?,
            topic: bus.topic("live").stream().await?,
            pattern: bus.pattern("li*").stream().await?,
            remote: bus.stub("remote").timeout(WAIT_LIMIT),
            inbox: format!("__eventbus:global:{inbox}"),
            bus,
        })
    }

    /// Sends a batch to every place.
    async fn suffer(&mut self, payloads: &mut Payloads) -> Outcome {
        let mut batch = redis::pipe();
        for _ in 0..BATCH {
            let payload = payloads.make();
            batch.cmd("PUBLISH").arg(CHANNEL).arg(&payload).ignore();
            batch.cmd("PUBLISH").arg(REMOTE).arg(&payload).ignore();
            batch.cmd("LPUSH").arg(LIST).arg(&payload).ignore();
            batch.cmd("LPUSH").arg(&self.inbox).arg(&payload).ignore();
        }
        Ok(batch.exec_async(&mut self.raw).await?)
    }

    /// Asserts that every listener still gets valid messages.
    async fn is_alive(&mut self, number: u64) -> Outcome {
        // No payload has such a number.
        let number = number + 1_000_000_000_000;
        let placed = Placed {
            order: number,
            note: None,
        };
        self.bus.topic("live").publish(&placed).await?;
        hear(&mut self.topic, number).await?;
        hear(&mut self.pattern, number).await?;
        if self.remote.call((number,)).await? != number {
            return Err("a call got the answer of another".into());
        }
        let jobs = self.bus.queue::<Placed>("jobs");
        jobs.put(&placed).await?;
        loop {
            // An item that cannot be read becomes a dead letter on the way.
            let lease = timeout(WAIT_LIMIT, jobs.lease()).await?;
            let lease = match lease {
                Ok(lease) => lease,
                Err(error) if error.kind() == ErrorKind::Codec => continue,
                Err(error) => return Err(error.into()),
            };
            let order = lease.order;
            lease.ack().await?;
            if order == number {
                return Ok(());
            }
        }
    }
}

/// Reads until an event comes.
async fn hear(events: &mut Events<Placed>, number: u64) -> Outcome {
    loop {
        match timeout(WAIT_LIMIT, events.recv()).await? {
            Ok(received) => {
                let placed = received.into_event().ok_or("a gap")?;
                if placed.order == number {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Codec => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds the list for the answers to the calls of a bus, by being called.
async fn inbox(bus: &Bus, server: &Controlled) -> Result<String, Failure> {
    let mut spy = redis::Client::open(server.url())?
        .get_async_pubsub()
        .await?;
    spy.subscribe("__eventbus:global:spy").await?;
    let call = bus
        .stub::<(), ()>("spy")
        .timeout(Duration::from_millis(100));
    // The call stays unanswered.
    drop(call.call(()).await);
    let mut requests = spy.on_message();
    let request = timeout(WAIT_LIMIT, requests.next()).await?;
    let payload = request.ok_or("no request")?.get_payload_bytes().to_vec();
    let request: Value = serde_json::from_slice(&payload)?;
    let inbox = request["__obj"][1].as_str();
    Ok(inbox.ok_or("no inbox in a request")?.to_owned())
}
