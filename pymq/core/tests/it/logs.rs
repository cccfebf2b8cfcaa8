//! Each line of the log names its topic, queue or remote, and the attempt of an item.

use std::fmt::{self, Write};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymq_core::{BufferLimits, Bus, ErrorKind};
use tokio::time::{sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The log of this thread. Each event is a line: the message, then each field as ` name=value`.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Waits for the line that begins with this message.
    async fn line(&self, message: &str) -> String {
        let found = async {
            loop {
                let line = self
                    .0
                    .lock()
                    .expect("nothing panics under it")
                    .iter()
                    .find(|line| line.starts_with(message))
                    .cloned();
                match line {
                    Some(line) => return line,
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(Duration::from_secs(30), found)
            .await
            .expect("the line is logged")
    }

    async fn assert_line(&self, message: &str, fields: &[&str]) {
        let line = self.line(message).await;
        for field in fields {
            assert!(
                line.contains(&format!(" {field}")),
                "no {field} in `{line}`"
            );
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = line.message + &line.fields;
        self.0.lock().expect("nothing panics under it").push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            write!(self.fields, " {}={value:?}", field.name()).expect("a string takes all");
        }
    }
}

async fn bus() -> Bus {
    pymq::connect("memory://")
        .await
        .expect("the memory provider connects")
}

#[tokio::test]
async fn a_line_about_an_event_names_its_topic() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let bus = bus().await;
    let orders = bus.topic("orders");
    let fails = async |order: u32| match order {
        1 => Err(io::Error::other("no")),
        _ => panic!("never"),
    };
    orders.subscribe(fails).await.unwrap().keep();

    orders.publish(&1).await.unwrap();
    orders.publish(&2).await.unwrap();
    bus.topic("orders")
        .publish(&"three".to_owned())
        .await
        .unwrap();

    for message in [
        "a handler failed",
        "a handler panicked",
        "an event does not decode",
    ] {
        log.assert_line(message, &["topic=\"orders\""]).await;
    }
}

#[tokio::test]
async fn a_line_about_missed_events_names_their_topic() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let bus = bus().await;
    let orders = bus.topic("orders");
    orders
        .buffer(BufferLimits::default().items(1))
        .subscribe(async |_: u32| sleep(Duration::from_millis(20)).await)
        .await
        .unwrap()
        .keep();

    for order in 0..5_u32 {
        orders.publish(&order).await.unwrap();
    }
    log.assert_line("a handler missed events", &["topic=\"orders\"", "missed="])
        .await;
}

#[tokio::test]
async fn a_line_about_an_item_names_its_queue_and_attempt() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let bus = bus().await;
    let jobs = bus.queue::<u32>("jobs").max_attempts(2);
    let fails = async |job: u32| match job {
        1 => Err(io::Error::other("no")),
        _ => panic!("never"),
    };
    let worker = jobs
        .worker(fails)
        .backoff(Duration::ZERO, Duration::ZERO)
        .start()
        .unwrap();

    jobs.put(&1).await.unwrap();
    log.assert_line("dead letter", &["queue=\"jobs\"", "attempt=2", "reason="])
        .await;
    jobs.put(&2).await.unwrap();

    for message in ["a handler failed", "a handler panicked"] {
        log.assert_line(message, &["queue=\"jobs\"", "attempt=1"])
            .await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_line_about_an_unreadable_item_names_its_queue_and_attempt() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let bus = bus().await;
    bus.queue::<String>("jobs").put("one").await.unwrap();

    let error = bus.queue::<u32>("jobs").lease().await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Codec);
    log.assert_line("dead letter", &["queue=\"jobs\"", "attempt=1"])
        .await;
}

#[tokio::test]
async fn a_line_about_a_call_names_its_remote() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let bus = bus().await;
    let panics = async || -> u32 { panic!("never") };
    bus.expose("panics", panics).await.unwrap().keep();

    let answer = bus.stub::<(), u32>("panics").call(()).await;

    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Remote);
    log.assert_line("a remote function panicked", &["remote=\"panics\""])
        .await;
}
