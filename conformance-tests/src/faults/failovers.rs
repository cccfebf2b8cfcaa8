//! Failovers of a replicated server: how long the work paused, and which losses they explain.
//!
//! Replication is asynchronous, so a put with `Ok` may be lost, and an ack as well. What is lost
//! must have been accepted around a failover. Everything else holds as without one.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Report;
use super::workshop::Finished;

/// The time limit after another node has learned of the next master. The servers may need longer
/// than the limit from the end of the former master to agree on it.
pub const AFTER_NAMING: Duration = Duration::from_secs(2);

/// How long before the end of a master, and after all agree on the next one, a put may be accepted
/// and lost.
const MARGIN: Duration = Duration::from_secs(1);

/// What ends a master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Its process is killed.
    Kill,
    /// Its process is stopped, and continued later.
    Stop,
    /// Another one is asked for.
    Request,
}

/// When one failover happened.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// What ended the master.
    pub end: End,
    /// When that began, and when the master had ended.
    pub begun: Duration,
    /// See [`begun`](Self::begun).
    pub ended: Duration,
    /// When the first of the others named the next master.
    pub named: Duration,
    /// When all of them did.
    pub agreed: Duration,
    /// How long after the end puts and work continued.
    pub recovered: Duration,
}

/// The failovers of one run.
#[derive(Clone, Debug)]
pub struct Failovers {
    limit: Duration,
    all: Vec<Failover>,
}

impl Failovers {
    /// Starts without one. Puts and work must continue within this time from the end of a master.
    pub fn within(limit: Duration) -> Self {
        Self {
            limit,
            all: Vec::new(),
        }
    }

    /// Adds one.
    pub fn add(&mut self, failover: Failover) {
        self.all.push(failover);
    }

    /// Returns the time within which all must work again, from the end of a master.
    pub fn longest_pause(&self) -> Duration {
        let named = self.all.iter().map(|one| one.naming() + AFTER_NAMING);
        named.fold(self.limit, Duration::max)
    }

    /// Adds the numbers of the queues to a report. Asserts that the failovers explain each loss, and
    /// that the work continued in time. Returns how many acks were forgotten that no failover
    /// explains.
    pub fn judge(&self, report: &mut Report, queues: &[Finished]) -> usize {
        let mut causes = Vec::new();
        let (mut forgotten, mut open, mut ghosts) = (Vec::new(), 0, 0);
        for Finished {
            tally,
            rest,
            is_drained,
        } in queues
        {
            report.sent += tally.sent();
            report.accepted += tally.accepted();
            report.worked += tally.worked();
            report.duplicates += tally.duplicates();
            report.lost += tally.lost(rest);
            causes.extend(tally.lost_at(rest).map(|at| self.cause(at)));
            forgotten.extend(tally.forgotten_acks().iter().map(|at| self.cause(*at)));
            open += tally.open_acks();
            ghosts += tally.ghosts();
            report.demand(*is_drained, || "not all was worked on".to_owned());
        }
        let lost_by = |end| causes.iter().filter(|cause| **cause == end).count();
        let of = |end| {
            (
                self.all.iter().filter(|one| one.end == end).count(),
                lost_by(Some(end)),
            )
        };
        for (end, name) in [
            (End::Kill, "kills"),
            (End::Stop, "stops"),
            (End::Request, "requests"),
        ] {
            let (count, lost) = of(end);
            if count > 0 {
                report.figure(format!("{count} {name}: {lost} lost"));
            }
        }
        let unexplained_acks = forgotten.iter().filter(|cause| cause.is_none()).count();
        report.figure(format!(
            "{} acks forgotten, {unexplained_acks} of them away from a failover, {open} too late \
             or unknown",
            forgotten.len()
        ));
        let own = self.all.iter().map(Failover::own).max().unwrap_or_default();
        report.figure(format!(
            "work at most {} ms after the next master was named",
            own.as_millis()
        ));
        let late: Vec<_> = self.all.iter().filter(|one| self.is_late(one)).collect();
        for one in &self.all {
            report.recovered(one.recovered);
        }
        report.demand(late.is_empty(), || format!("too late: {late:?}"));
        report.demand(report.accepted > 0, || "nothing was accepted".to_owned());
        let unexplained = lost_by(None);
        report.demand(unexplained == 0, || {
            format!("{unexplained} accepted messages are lost, and no failover explains it")
        });
        report.demand(ghosts == 0, || {
            format!("{ghosts} messages were refused and worked on")
        });
        let explained = open + u64::try_from(forgotten.len()).unwrap_or(u64::MAX);
        let duplicates = report.duplicates;
        report.demand(duplicates <= explained, || {
            format!("{duplicates} duplicates, {explained} explained")
        });
        unexplained_acks
    }

    /// Returns what ended the master around a moment.
    fn cause(&self, at: Duration) -> Option<End> {
        let mut latest = self.all.iter().rev();
        let cause = latest.find(|one| one.window().contains(&at));
        cause.map(|one| one.end)
    }

    fn is_late(&self, one: &Failover) -> bool {
        one.recovered > self.limit && one.own() > AFTER_NAMING
    }
}

impl Failover {
    /// Returns when a put may have been accepted and lost.
    fn window(&self) -> RangeInclusive<Duration> {
        self.begun.saturating_sub(MARGIN)..=self.agreed + MARGIN
    }

    /// Returns how long the servers needed.
    fn naming(&self) -> Duration {
        self.named.saturating_sub(self.ended)
    }

    /// Returns how long the clients needed after that.
    fn own(&self) -> Duration {
        self.recovered.saturating_sub(self.naming())
    }
}
