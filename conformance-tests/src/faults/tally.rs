//! What the journals of a queue say: how much was accepted, processed and done again, and what is
//! missing.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::str::{FromStr, Split};
use std::time::Duration;

use pymq_core::provider::{Part, Provider};
use tokio::time::{sleep, timeout};

use super::ledger::{END, Entry, Job, Ledger};
use crate::Failure;

/// The content of the journals.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The position up to which each journal has been read.
    read: HashMap<PathBuf, u64>,
    fates: HashMap<Job, Fate>,
    /// When puts were accepted and work was done, almost in order.
    accepted_at: Vec<Duration>,
    worked_at: Vec<Duration>,
    late_acks: u64,
    unsettled: u64,
    forgotten_acks: Vec<Duration>,
    worst_redelivery: Duration,
}

impl Tally {
    /// Reads what has been written since the last time.
    pub fn read_on(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        for journal in std::fs::read_dir(ledger.dir())? {
            let path = journal?.path();
            let mut at = self.read.get(&path).copied().unwrap_or(0);
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(at))?;
            let mut lines = BufReader::new(file);
            let mut line = String::new();
            while lines.read_line(&mut line)? > 0 {
                // The rest of an incomplete line is read the next time.
                let Some(whole) = line.strip_suffix('\n') else {
                    break;
                };
                // A line without its end mark was cut by the end of its process, and is ignored.
                if let Some(entry) = whole.strip_suffix(END) {
                    self.enter(entry)
                        .ok_or_else(|| format!("not a line of a journal: `{line}`"))?;
                }
                at += u64::try_from(line.len())?;
                line.clear();
            }
            self.read.insert(path, at);
        }
        Ok(())
    }

    fn enter(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let letter = words.next()?;
        let at = Duration::from_micros(number(&mut words)?);
        let (producer, seq) = (number(&mut words)?, number(&mut words)?);
        let attempt = number(&mut words)?;
        let fate = self.fates.entry(Job { producer, seq }).or_default();
        match letter {
            "s" => fate.sent = Some(at),
            "a" => {
                fate.put = Some(Entry::Accepted);
                fate.accepted = Some(at);
                self.accepted_at.push(at);
            }
            "u" => fate.put = Some(Entry::Unknown),
            "r" => fate.put = Some(Entry::Refused),
            "b" => {
                self.forgotten_acks.extend(fate.acked.take());
                if let Some((last_attempt, last)) = fate.begun.replace((attempt, at)) {
                    // A process can be killed between the attempt and its first line.
                    let attempts = attempt.saturating_sub(last_attempt).max(1);
                    let after = at.saturating_sub(last) / attempts;
                    self.worst_redelivery = self.worst_redelivery.max(after);
                }
            }
            "w" => {
                fate.worked.push(attempt);
                fate.first_worked = Some(fate.first_worked.map_or(at, |first| first.min(at)));
                self.worked_at.push(at);
            }
            "k" => {
                fate.acks += 1;
                fate.acked = Some(at);
            }
            "l" => self.late_acks += 1,
            "x" => self.unsettled += 1,
            _ => return None,
        }
        Some(())
    }

    /// Counts the messages that were to be put.
    pub fn sent(&self) -> u64 {
        self.count(|fate| fate.sent.is_some())
    }

    /// Counts the messages with a put that returned `Ok`.
    pub fn accepted(&self) -> u64 {
        self.count(|fate| fate.put == Some(Entry::Accepted))
    }

    /// Counts the messages that were processed at least once.
    pub fn worked(&self) -> u64 {
        self.count(|fate| !fate.worked.is_empty())
    }

    /// Tells whether a message was processed.
    pub fn has_worked(&self, job: Job) -> bool {
        self.fates
            .get(&job)
            .is_some_and(|fate| !fate.worked.is_empty())
    }

    /// Counts the work that was done again.
    pub fn duplicates(&self) -> u64 {
        self.fates
            .values()
            .map(|fate| count(fate.worked.len().saturating_sub(1)))
            .sum()
    }

    /// Counts the acks that came too late, and those with an unknown outcome.
    pub fn open_acks(&self) -> u64 {
        self.late_acks + self.unsettled
    }

    /// Returns when acks returned `Ok` after which the message was handed out again.
    pub fn forgotten_acks(&self) -> &[Duration] {
        &self.forgotten_acks
    }

    /// Returns the longest time from one attempt at a message to the next one. Attempts that did not
    /// get to the work count: each of them took the same share of the time.
    pub fn worst_redelivery(&self) -> Duration {
        self.worst_redelivery
    }

    /// Counts messages that were certainly refused and still processed, or processed without having
    /// been sent.
    pub fn ghosts(&self) -> u64 {
        self.count(|fate| {
            !fate.worked.is_empty() && (fate.put == Some(Entry::Refused) || fate.sent.is_none())
        })
    }

    /// Counts messages that one put put twice: two takers had the same attempt.
    pub fn doubled(&self) -> u64 {
        self.count(|fate| {
            let attempts: HashSet<_> = fate.worked.iter().collect();
            attempts.len() < fate.worked.len()
        })
    }

    /// Counts messages that were handed out again after an ack had returned `Ok`: another ack did
    /// too.
    pub fn acked_twice(&self) -> u64 {
        self.count(|fate| fate.acks > 1)
    }

    /// Counts the messages that were accepted, are not processed, and are not in the queue.
    pub fn lost(&self, rest: &Rest) -> u64 {
        count(self.lost_at(rest).count()).saturating_sub(rest.leased)
    }

    /// Returns when the puts of the lost messages returned `Ok`, in no order.
    pub fn lost_at(&self, rest: &Rest) -> impl Iterator<Item = Duration> {
        let lost = self.fates.iter().filter(|(job, fate)| {
            fate.put == Some(Entry::Accepted) && fate.worked.is_empty() && !rest.jobs.contains(*job)
        });
        lost.filter_map(|(_, fate)| fate.accepted)
    }

    /// Counts the messages with a put that failed and has not happened.
    pub fn refused(&self) -> u64 {
        self.count(|fate| fate.put == Some(Entry::Refused))
    }

    /// Returns how long after a moment the next put was accepted and the next work was done,
    /// whichever is later.
    pub fn recovery(&self, from: Duration) -> Option<Duration> {
        let next = |times: &[Duration]| times.iter().copied().filter(|&at| at >= from).min();
        let both = next(&self.accepted_at)?.max(next(&self.worked_at)?);
        Some(both.saturating_sub(from))
    }

    /// Waits until a put was accepted and work was done after a moment, and returns how long after
    /// it.
    ///
    /// # Errors
    ///
    /// If that does not happen within `limit`.
    pub async fn await_recovery(
        &mut self,
        ledger: &Ledger,
        from: Duration,
        limit: Duration,
    ) -> Result<Duration, Failure> {
        let recovered = async {
            loop {
                self.read_on(ledger)?;
                if let Some(after) = self.recovery(from) {
                    return Ok(after);
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(limit, recovered)
            .await
            .map_err(|_| format!("no put or no work for {limit:?} after the fault"))?
    }

    /// Returns how long each message took from its put to its work.
    pub fn latencies(&self) -> impl Iterator<Item = Duration> {
        self.fates
            .values()
            .filter_map(|fate| fate.first_worked?.checked_sub(fate.sent?))
    }

    /// Returns the longest time that an accepted put took.
    pub fn slowest_put(&self) -> Duration {
        let took = |fate: &Fate| fate.accepted?.checked_sub(fate.sent?);
        self.fates
            .values()
            .filter_map(took)
            .max()
            .unwrap_or_default()
    }

    fn count(&self, is_one: impl Fn(&Fate) -> bool) -> u64 {
        count(self.fates.values().filter(|fate| is_one(fate)).count())
    }
}

/// What happened to one message.
#[derive(Clone, Debug, Default)]
struct Fate {
    sent: Option<Duration>,
    put: Option<Entry>,
    /// When the put returned `Ok`.
    accepted: Option<Duration>,
    /// The last attempt on which work began, and when.
    begun: Option<(u32, Duration)>,
    worked: Vec<u32>,
    first_worked: Option<Duration>,
    /// How many of its acks returned `Ok`.
    acks: u32,
    /// When the last of them did, unless the message was handed out after that.
    acked: Option<Duration>,
}

/// The messages left in a queue.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    jobs: HashSet<Job>,
    leased: u64,
    /// How many of them are dead letters.
    pub dead: u64,
}

impl Rest {
    /// Peeks at everything in a queue.
    pub async fn of(provider: &dyn Provider, queue: &str) -> Result<Self, Failure> {
        let mut rest = Self::default();
        for part in [Part::Ready, Part::Delayed, Part::Dead] {
            let stored = provider.queue_peek(queue, part, usize::MAX).await?;
            if part == Part::Dead {
                rest.dead = count(stored.len());
            }
            for stored in stored {
                rest.jobs
                    .insert(serde_json::from_slice(&stored.message.body)?);
            }
        }
        rest.leased = count(provider.queue_stats(queue).await?.leased);
        Ok(rest)
    }
}

fn number<T: FromStr>(words: &mut Split<'_, char>) -> Option<T> {
    words.next()?.parse().ok()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
