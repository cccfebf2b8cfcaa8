//! Replies of the server that are cut after k bytes, for every k. The command happened or did not.
//! Nothing is lost, doubled or reported wrongly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use pymq_core::{Bus, Error, ErrorKind};
use tokio::time::{Instant, sleep};

use super::broken_network::{network, through};
use super::network::{Condition, Network};
use super::{Report, Setting};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

/// The last place at which a reply is cut.
const LAST: usize = 200;

/// How many networks are broken at the same time.
const LANES: usize = 4;

/// How many messages each queue gets for each cut.
const MESSAGES: u32 = 6;

const LEASE: Duration = Duration::from_secs(1);

/// The time limit until leased messages are back.
const BACK: Duration = Duration::from_secs(8);

/// Cuts replies at each place.
pub(super) async fn experience(
    setting: &Setting,
    server: &Controlled,
) -> Result<Vec<Experience>, Failure> {
    let lanes = (0..LANES).map(|lane| async move {
        let network = network(server).await?;
        let far = through(&network, setting).await?;
        let mut cuts = Vec::new();
        for at in (lane..=LAST).step_by(LANES) {
            cuts.push(Experience::of(at, &network, &far).await?);
        }
        Ok::<_, Failure>(cuts)
    });
    Ok(try_join_all(lanes).await?.concat())
}

/// Adds the results to a report.
pub(super) async fn judge(
    setting: &Setting,
    server: &Controlled,
    cuts: &[Experience],
    report: &mut Report,
) -> Outcome {
    let near = setting.bus(server.url().parse()?).await?;
    let until = Instant::now() + BACK;
    let (mut lost, mut gone, mut errors) = (0, 0, 0);
    for cut in cuts {
        let leased = drain(&near, &cut.queue("leased"), until).await?;
        let plain = drain(&near, &cut.queue("plain"), until).await?;
        lost += cut.leased.lost(&leased);
        gone += cut.plain.lost(&plain).min(1);
        let at = cut.at;
        errors += cut.errors;
        report.demand(cut.plain.lost(&plain) <= 1, || {
            format!("a reply cut at byte {at} lost more than the take it was the answer to")
        });
        for wrong in [cut.leased.wrong(&leased), cut.plain.wrong(&plain)].concat() {
            report.demand(false, || format!("a reply cut at byte {at}: {wrong}"));
        }
        report.demand(cut.has_cut == [true; 2], || {
            format!("there was no reply to cut at byte {at}: {:?}", cut.has_cut)
        });
    }
    report.lost += lost;
    report.figure(format!(
        "{} cuts of a reply: {errors} operations failed, {gone} takes by plain get lost",
        cuts.len() * 2
    ));
    report.demand(lost == 0, || format!("{lost} messages lost by cut replies"));
    Ok(())
}

/// Cuts a reply in one place: once on a connection in use and once on a new one.
#[derive(Clone, Debug)]
pub(super) struct Experience {
    at: usize,
    leased: Book,
    plain: Book,
    errors: u32,
    has_cut: [bool; 2],
}

/// What is known about the messages of one queue.
#[derive(Clone, Debug, Default)]
struct Book {
    accepted: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    /// Taken, and acked if that is needed.
    done: BTreeMap<u32, u32>,
    /// Taken, and the outcome of the ack is unknown.
    open: BTreeSet<u32>,
}

impl Experience {
    async fn of(at: usize, network: &Network, far: &Bus) -> Result<Self, Failure> {
        let mut cut = Self {
            at,
            leased: Book::default(),
            plain: Book::default(),
            errors: 0,
            has_cut: [false; 2],
        };
        network.cut_reply_at(at);
        cut.put(far, 0..MESSAGES).await?;
        cut.take(far).await?;
        cut.has_cut[0] = !network.is_to_cut();

        network.set(Condition::Reset);
        // Until the end of the old connection is seen, a command may be sent on it.
        sleep(Duration::from_millis(5)).await;
        network.cut_reply_at(at);
        network.set(Condition::Normal);
        cut.put(far, MESSAGES..MESSAGES + 2).await?;
        cut.take(far).await?;
        cut.has_cut[1] = !network.is_to_cut();
        Ok(cut)
    }

    fn queue(&self, kind: &str) -> String {
        format!("{kind}-{}", self.at)
    }

    async fn put(&mut self, far: &Bus, numbers: std::ops::Range<u32>) -> Outcome {
        for number in numbers {
            for (kind, book) in [("leased", &mut self.leased), ("plain", &mut self.plain)] {
                let queue = far.queue::<u32>(format!("{kind}-{}", self.at));
                match queue.put(&number).await {
                    Ok(()) => drop(book.accepted.insert(number)),
                    Err(error) if error.outcome_unknown() => self.errors += 1,
                    Err(error) => {
                        self.errors += 1;
                        explained(error)?;
                        book.refused.insert(number);
                    }
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, far: &Bus) -> Outcome {
        let leased = far.queue::<u32>(self.queue("leased")).lease_time(LEASE);
        let plain = far.queue::<u32>(self.queue("plain"));
        for _ in 0..MESSAGES {
            match plain.try_get().await {
                Ok(Some(number)) => *self.plain.done.entry(number).or_default() += 1,
                Ok(None) => {}
                Err(error) => self.fail(error)?,
            }
            match leased.try_lease().await {
                Ok(Some(lease)) => {
                    let number = *lease;
                    match lease.ack().await {
                        Ok(()) => *self.leased.done.entry(number).or_default() += 1,
                        // On a slow machine the ack may come too late. Then the message is not
                        // done, and has to come back.
                        Err(error) if error.kind() == ErrorKind::LeaseLost => self.errors += 1,
                        Err(error) => {
                            self.leased.open.insert(number);
                            self.fail(error)?;
                        }
                    }
                }
                Ok(None) => {}
                Err(error) => self.fail(error)?,
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Outcome {
        self.errors += 1;
        explained(error)
    }
}

impl Book {
    /// Counts what was accepted and is neither taken nor in the queue.
    fn lost(&self, rest: &Rest) -> u64 {
        let missing = self.accepted.iter().filter(|number| {
            !self.done.contains_key(number)
                && !self.open.contains(number)
                && !rest.contains_key(number)
        });
        u64::try_from(missing.count()).unwrap_or(u64::MAX)
    }

    /// Returns impossible results: a message that was refused and is there, or one that is there
    /// more often than it was put.
    fn wrong(&self, rest: &Rest) -> Vec<String> {
        let mut seen = self.done.clone();
        for (number, times) in rest {
            *seen.entry(*number).or_default() += times;
        }
        let refused = self
            .refused
            .iter()
            .filter(|number| seen.contains_key(number));
        let twice = seen.iter().filter(|(_, times)| **times > 1);
        refused
            .map(|number| format!("{number} was refused and is there"))
            .chain(twice.map(|(number, times)| format!("{number} is there {times} times")))
            .collect()
    }
}

/// The messages left in a queue, and how often each is there.
type Rest = BTreeMap<u32, u32>;

/// Takes everything in a queue. It waits for leased messages.
async fn drain(near: &Bus, name: &str, until: Instant) -> Result<Rest, Failure> {
    let queue = near.queue::<u32>(name);
    let mut rest = Rest::new();
    loop {
        while let Some(number) = queue.try_get().await? {
            *rest.entry(number).or_default() += 1;
        }
        let stats = queue.stats().await?;
        if stats.ready + stats.leased + stats.delayed == 0 {
            return Ok(rest);
        }
        if Instant::now() >= until {
            return Err(format!("`{name}` is not empty in the end: {stats:?}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Accepts the errors that a cut explains.
fn explained(error: Error) -> Outcome {
    match error.kind() {
        ErrorKind::Disconnected | ErrorKind::Timeout => Ok(()),
        _ => Err(error.into()),
    }
}
