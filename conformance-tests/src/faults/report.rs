//! The result of a fault: its numbers, and the parts of its criterion that do not hold.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tally::{Rest, Tally};

/// The numbers of one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Messages, publishes or calls that were tried.
    pub sent: u64,
    /// Those that happened, as far as the sender knows.
    pub accepted: u64,
    /// Those that were processed, received or answered.
    pub worked: u64,
    /// Work that was done again.
    pub duplicates: u64,
    /// Accepted and gone.
    pub lost: u64,
    /// The longest time from the end of a fault until everything worked again.
    pub worst_recovery: Option<Duration>,
    /// Bytes of memory above the idle state, if that is part of the criterion.
    pub memory: Option<u64>,
    /// Further figures, such as `1000 kills`.
    pub figures: Vec<String>,
    /// What does not hold. If it is empty, the fault has passed.
    pub failures: Vec<String>,
}

impl Report {
    /// Starts a report with the numbers of the journals. Asserts what always holds: nothing is
    /// lost, no refused message is processed, nothing is put twice, nothing is acked twice.
    pub fn of(tally: &Tally, rest: &Rest) -> Self {
        let mut report = Self {
            sent: tally.sent(),
            accepted: tally.accepted(),
            worked: tally.worked(),
            duplicates: tally.duplicates(),
            lost: tally.lost(rest),
            ..Self::default()
        };
        let (lost, ghosts, doubled) = (report.lost, tally.ghosts(), tally.doubled());
        let acked_twice = tally.acked_twice();
        report.demand(report.accepted > 0, || "nothing was accepted".to_owned());
        report.demand(lost == 0, || format!("{lost} accepted messages are lost"));
        report.demand(ghosts == 0, || {
            format!("{ghosts} messages were refused and worked on")
        });
        report.demand(doubled == 0, || {
            format!("{doubled} messages were put twice by one put")
        });
        report.demand(acked_twice == 0, || {
            format!("{acked_twice} messages were given again after their ack")
        });
        report
    }

    /// Adds the numbers of another part of the same run.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.worked += other.worked;
        self.duplicates += other.duplicates;
        self.lost += other.lost;
        self.worst_recovery = self.worst_recovery.max(other.worst_recovery);
        self.memory = self.memory.max(other.memory);
        self.figures.extend(other.figures);
        self.failures.extend(other.failures);
    }

    /// Asserts a part of the criterion. `what` is the message if it does not hold.
    pub fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(what());
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: impl Into<String>) {
        self.figures.push(figure.into());
    }

    /// Records how long a recovery took. The longest counts.
    pub fn recovered(&mut self, after: Duration) {
        self.worst_recovery = self.worst_recovery.max(Some(after));
    }

    /// Tells whether everything held.
    pub fn has_passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Creates the report of a fault that did not end.
    pub fn failed(why: impl Into<String>) -> Self {
        Self {
            failures: vec![why.into()],
            ..Self::default()
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}  accepted {}  worked {}  duplicates {}  lost {}",
            self.sent, self.accepted, self.worked, self.duplicates, self.lost
        )?;
        if let Some(recovery) = self.worst_recovery {
            write!(f, "  worst recovery {} ms", recovery.as_millis())?;
        }
        if let Some(memory) = self.memory {
            write!(f, "  memory +{:.1} MiB", mebibytes(memory))?;
        }
        for figure in &self.figures {
            write!(f, "  {figure}")?;
        }
        Ok(())
    }
}

/// Returns bytes in MiB, for people.
pub fn mebibytes(bytes: u64) -> f64 {
    // In KiB first, so that it is exact.
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}
