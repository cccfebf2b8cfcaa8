//! A topic under a fault: what was published, what was received, and whether every gap was
//! announced.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pymq_core::{Bus, Topic};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Report;
use super::ledger::Entry;
use crate::Failure;

/// The time limit until a listener receives the last event.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// An event: its place in the sequence, and whether the listeners may end.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Note {
    seq: usize,
    is_last: bool,
}

/// Publishes at a steady pace.
#[derive(Debug)]
pub struct Publisher {
    task: JoinHandle<Result<Vec<Entry>, Failure>>,
    ends: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Publisher {
    /// Starts to publish this many events a second.
    pub fn start(bus: &Bus, topic: &str, per_second: u32) -> Self {
        let (ends, stop) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let task = publish(
            bus.topic(topic),
            Duration::from_secs(1) / per_second,
            Arc::clone(&ends),
            Arc::clone(&stop),
        );
        Self {
            task: tokio::spawn(task),
            ends,
            stop,
        }
    }

    /// Publishes until every listener has received the end. Returns the outcome of each publish and
    /// what each listener received.
    ///
    /// # Errors
    ///
    /// If one of them never receives it.
    pub async fn finish(
        self,
        listeners: Vec<Listener>,
    ) -> Result<(Vec<Entry>, Vec<Vec<Heard>>), Failure> {
        self.ends.store(true, Ordering::Relaxed);
        let mut heard = Vec::new();
        for listener in listeners {
            let all = timeout(WAIT_LIMIT, listener.0)
                .await
                .map_err(|_| "a subscriber never heard the end of the topic")?;
            heard.push(all??);
        }
        self.stop.store(true, Ordering::Relaxed);
        Ok((self.task.await??, heard))
    }
}

async fn publish(
    topic: Topic,
    pace: Duration,
    ends: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Entry>, Failure> {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut outcomes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let note = Note {
            seq: outcomes.len(),
            is_last: ends.load(Ordering::Relaxed),
        };
        outcomes.push(match topic.publish(&note).await {
            Ok(_reached) => Entry::Accepted,
            Err(error) if error.outcome_unknown() => Entry::Unknown,
            Err(error) if error.is_retryable() => Entry::Refused,
            Err(error) => return Err(error.into()),
        });
    }
    Ok(outcomes)
}

/// What a listener received, and when.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// The place of an event. `None` means that events may be missing here.
    pub seq: Option<usize>,
}

/// A subscription that records what it receives.
#[derive(Debug)]
pub struct Listener(JoinHandle<Result<Vec<Heard>, Failure>>);

impl Listener {
    /// Subscribes. The subscription is live when this returns.
    pub async fn start(bus: &Bus, topic: &str) -> Result<Self, Failure> {
        let mut events = bus.topic(topic).stream::<Note>().await?;
        Ok(Self(tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let received = events.recv().await?;
                let at = Instant::now();
                let note = received.into_event();
                heard.push(Heard {
                    at,
                    seq: note.map(|note| note.seq),
                });
                if note.is_some_and(|note| note.is_last) {
                    return Ok(heard);
                }
            }
        })))
    }
}

/// Returns the longest time without an event.
pub fn longest_silence(heard: &[Heard]) -> Duration {
    let events: Vec<_> = heard.iter().filter(|heard| heard.seq.is_some()).collect();
    let silences = events.windows(2).map(|pair| pair[1].at - pair[0].at);
    silences.max().unwrap_or_default()
}

/// Adds the results of a topic to a report. Asserts that everything received was published, in
/// order and once, and that every gap was announced.
pub fn judge(report: &mut Report, published: &[Entry], heard: &[Heard]) {
    let late = judge_but_late(report, published, heard);
    report.demand(late == 0, || format!("{late} events came late"));
}

/// Does the same, but returns how many events came after a later one, once, and were published with
/// an unknown outcome.
pub fn judge_but_late(report: &mut Report, published: &[Entry], heard: &[Heard]) -> usize {
    let (mut seen, mut late) = (HashSet::new(), 0);
    let (mut next, mut is_announced, mut gaps, mut missed) = (0, false, 0, 0);
    let (mut silent, mut disordered, mut ghosts) = (0, 0, 0);
    for heard in heard {
        let Some(seq) = heard.seq else {
            gaps += 1;
            is_announced = true;
            continue;
        };
        let is_first = seen.insert(seq);
        if seq < next {
            let is_late = is_first && published.get(seq) == Some(&Entry::Unknown);
            late += usize::from(is_late);
            disordered += usize::from(!is_late);
            continue;
        }
        let hole = published.get(next..seq).unwrap_or_default();
        let accepted = hole.iter().filter(|&&put| put == Entry::Accepted).count();
        missed += accepted;
        silent += usize::from(accepted > 0 && !is_announced);
        ghosts += usize::from(published.get(seq) == Some(&Entry::Refused));
        (next, is_announced) = (seq + 1, false);
    }
    report.figure(format!(
        "topic: {} published, {} heard, {missed} missed in {gaps} gaps",
        published.len(),
        heard.len() - gaps
    ));
    report.demand(silent == 0, || {
        format!("{silent} holes in the topic were not announced")
    });
    report.demand(disordered == 0, || {
        format!("{disordered} events came twice or out of order")
    });
    report.demand(ghosts == 0, || {
        format!("{ghosts} events were refused and heard")
    });
    late
}
