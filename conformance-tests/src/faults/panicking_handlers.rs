//! F13: every tenth of 10,000 events, of 10,000 calls and of 10,000 items of a queue makes its
//! handler panic, with a fixed text, a formatted text, or a value that is not a text.
//!
//! The rest is unaffected. Each caller receives the panic of its own call, each item is processed
//! again, and the counts are exact.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use pymq_core::{Bus, ItemMeta, RemoteError};
use tokio::time::timeout;

use super::{Dice, Report, Setting};
use crate::Outcome;
use crate::wait::until;

const EVENTS: usize = 10_000;

/// How many are handled at once, and how many are published ahead of that.
const AT_ONCE: usize = 8;
const AHEAD: u64 = 500;

/// How long an item with a panic waits for its retry.
const REST: Duration = Duration::from_millis(10);

const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// What the handlers handle.
const PURPOSES: [&str; 3] = ["events", "calls", "items"];

/// How a handler ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Well,
    Text,
    MadeUpText,
    NoText,
}

impl End {
    fn draw(dice: &mut Dice) -> Self {
        match dice.within(0..=29) {
            0 => Self::Text,
            1 => Self::MadeUpText,
            2 => Self::NoText,
            _ => Self::Well,
        }
    }

    /// Ends a handler.
    #[expect(clippy::panic, reason = "it is what this is about")]
    fn come(self, number: usize) {
        match self {
            Self::Well => {}
            Self::Text => panic!("a text"),
            Self::MadeUpText => panic!("made up for {number}"),
            Self::NoText => panic_any(number),
        }
    }

    /// What the caller gets.
    fn is_told(self, number: usize, outcome: &pymq_core::Result<usize>) -> bool {
        let text = match self {
            Self::Well => return outcome.as_ref().is_ok_and(|answer| *answer == number),
            Self::Text => "panicked: a text".to_owned(),
            Self::MadeUpText => format!("panicked: made up for {number}"),
            Self::NoText => "panicked: a value that is not text".to_owned(),
        };
        let told = outcome.as_ref().err().and_then(pymq_core::Error::remote);
        told.is_some_and(|told| told.type_name() == "RuntimeError" && told.message() == text)
    }
}

/// What the handlers have done.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
    /// The sum of the numbers that were begun. With their count, it shows that each was begun once.
    sum: AtomicU64,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    hush();
    let server = setting.server(&[]).await?;
    let (here, there) = (
        setting.bus(server.url().parse()?).await?,
        setting.bus(server.url().parse()?).await?,
    );
    let mut report = Report::default();
    events(&setting, &here, &there, &mut report).await?;
    calls(&setting, &here, &there, &mut report).await?;
    items(&setting, &here, &there, &mut report).await?;
    let panics = PURPOSES.map(|purpose| {
        draw(&setting, purpose)
            .iter()
            .filter(|end| **end != End::Well)
            .count()
    });
    let (panics, counted) = (panics.iter().sum::<usize>() as u64, there.stats().panics);
    report.demand(counted == panics, || {
        format!("{panics} panics, and the bus counted {counted}")
    });
    Ok(report)
}

/// Silences the panics of handlers. Any other panic still prints.
fn hush() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_ours = panic
            .location()
            .is_some_and(|location| location.file().ends_with("panicking_handlers.rs"));
        if !is_ours {
            print(panic);
        }
    }));
}

fn handler(
    ends: &Arc<[End]>,
    counts: &Arc<Counts>,
) -> impl Fn(usize) -> BoxFuture<'static, usize> + Clone + Send + Sync + 'static + use<> {
    let (ends, counts) = (Arc::clone(ends), Arc::clone(counts));
    move |number| {
        let (ends, counts) = (Arc::clone(&ends), Arc::clone(&counts));
        Box::pin(async move {
            counts.begun.fetch_add(1, Ordering::Relaxed);
            counts.sum.fetch_add(number as u64, Ordering::Relaxed);
            ends[number].come(number);
            counts.done.fetch_add(1, Ordering::Relaxed);
            number
        })
    }
}

fn draw(setting: &Setting, label: &str) -> Arc<[End]> {
    let mut dice = setting.dice(label);
    (0..EVENTS).map(|_| End::draw(&mut dice)).collect()
}

/// Publishes events to a handler that handles several at once.
async fn events(setting: &Setting, here: &Bus, there: &Bus, report: &mut Report) -> Outcome {
    let (ends, counts) = (draw(setting, "events"), Arc::default());
    let handle = handler(&ends, &counts);
    let handled = move |number: usize| {
        let handled = handle(number);
        async move {
            handled.await;
        }
    };
    let topic = there.topic("news").concurrency(AT_ONCE);
    let guard = topic.subscribe(handled).await?;
    for number in 0..EVENTS {
        let is_near = || async { counts.begun.load(Ordering::Relaxed) + AHEAD > number as u64 };
        until("the handlers catch up", is_near).await?;
        here.topic("news").publish(&number).await?;
    }
    let all_begun = || async { counts.begun.load(Ordering::Relaxed) >= EVENTS as u64 };
    // If they do not arrive, the counts show it.
    drop(until("every event is handled", all_begun).await);
    guard.stop().await;
    count("events", &ends, &counts, report);
    Ok(())
}

/// Calls a remote.
async fn calls(setting: &Setting, here: &Bus, there: &Bus, report: &mut Report) -> Outcome {
    let (ends, counts) = (draw(setting, "calls"), Arc::default());
    let handle = handler(&ends, &counts);
    there.expose("work", handle).await?.keep();
    let stub = &here.stub::<(usize,), usize>("work");
    let wrong: Vec<_> = stream::iter(0..EVENTS)
        .map(|number| async move { (number, stub.call((number,)).await) })
        .buffer_unordered(AT_ONCE * 8)
        .filter(|(number, outcome)| {
            let is_told = ends[*number].is_told(*number, outcome);
            async move { !is_told }
        })
        .collect()
        .await;
    report.demand(wrong.is_empty(), || {
        let (number, outcome) = &wrong[0];
        let remote = outcome.as_ref().err().and_then(pymq_core::Error::remote);
        format!(
            "{} callers were told something else than what happened, as {number} ({:?}): {outcome:?} {:?}",
            wrong.len(),
            ends[*number],
            remote.map(RemoteError::message)
        )
    });
    count("calls", &ends, &counts, report);
    Ok(())
}

/// Puts items for a worker with a handler that panics only at first attempts.
async fn items(setting: &Setting, here: &Bus, there: &Bus, report: &mut Report) -> Outcome {
    let (ends, counts) = (draw(setting, "items"), Arc::<Counts>::default());
    let again = Arc::new(AtomicU64::new(0));
    let (handle, tried_again) = (handler(&ends, &counts), Arc::clone(&again));
    let work = move |number: usize, meta: ItemMeta| {
        let (first, tried_again) = (handle(number), Arc::clone(&tried_again));
        async move {
            if meta.attempt() == 1 {
                first.await;
            } else {
                tried_again.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let queue = there.queue::<usize>("jobs");
    let worker = queue.worker(work).concurrency(AT_ONCE);
    let worker = worker.backoff(REST, REST).start()?;
    let numbers: Vec<_> = (0..EVENTS).collect();
    for some in numbers.chunks(100) {
        here.queue::<usize>("jobs").put_all(some).await?;
    }
    timeout(WAIT_LIMIT, queue.join()).await??;
    worker.stop().await;
    count("items", &ends, &counts, report);
    let (again, stats) = (again.load(Ordering::Relaxed), queue.stats().await?);
    let panics = ends.iter().filter(|end| **end != End::Well).count() as u64;
    report.duplicates += again;
    report.demand(again == panics, || {
        format!("{panics} items made their handler panic, {again} were worked on again")
    });
    report.demand(
        stats.ready + stats.leased + stats.delayed + stats.dead == 0,
        || format!("items are left: {stats:?}"),
    );
    Ok(())
}

/// Compares the counters with the expected numbers.
fn count(what: &str, ends: &[End], counts: &Counts, report: &mut Report) {
    let of = |end: End| ends.iter().filter(|drawn| **drawn == end).count() as u64;
    let well = of(End::Well);
    let [begun, done, sum] =
        [&counts.begun, &counts.done, &counts.sum].map(|count| count.load(Ordering::Relaxed));
    let all = ends.len() as u64;
    report.sent += all;
    report.accepted += all;
    report.worked += begun;
    report.figure(format!(
        "{what}: {done} well, panics with a text {}, a made-up one {}, none {}",
        of(End::Text),
        of(End::MadeUpText),
        of(End::NoText)
    ));
    report.demand(begun == all && sum == all * (all - 1) / 2, || {
        format!("{begun} of {all} {what} were begun, or some twice")
    });
    report.demand(done == well, || {
        format!("{done} {what} ended well, not {well}")
    });
}
