//! The ledger of a queue: who put what with which outcome, and who worked on it.
//!
//! A [`Journal`] is a file to which processes append lines; one line is one `write`, which the kernel does not mix with
//! another. A process that is killed while it writes leaves a part of a line, so each line starts anew and has an end of
//! its own. A [`Tally`] is what all of them say. Times are those of the machine, so lines of different processes can be
//! compared.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{self, Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::scratch::Scratch;
use super::tally::Tally;
use crate::Failure;

/// A message: the number of its producer and its place among what that producer sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Job {
    /// Who sent it.
    pub producer: u32,
    /// Which of its messages it is.
    pub seq: u32,
}

/// What is written down about a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    /// It is about to be put.
    Sent,
    /// Its put returned `Ok`.
    Accepted,
    /// Its put failed, and may have happened.
    Unknown,
    /// Its put failed, and has not happened.
    Refused,
    /// The work on it begins.
    Begun,
    /// The work on it is done; this was the attempt.
    Worked(u32),
    /// The ack returned `Ok`: nobody may be given it again.
    Acked,
    /// The ack came too late: somebody else has it.
    Lost,
    /// The ack failed, and may have happened.
    Unsettled,
}

/// What a line ends with that was written whole.
pub(super) const END: &str = " .";

/// A file to which what happens is appended before anything else can go wrong.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens a journal, new or not.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(file))
    }

    /// Appends a line. It is with the kernel when this returns, so the end of this process does not lose it.
    pub fn write(&self, job: Job, entry: Entry) -> io::Result<()> {
        let (letter, attempt) = match entry {
            Entry::Sent => ('s', 0),
            Entry::Accepted => ('a', 0),
            Entry::Unknown => ('u', 0),
            Entry::Refused => ('r', 0),
            Entry::Begun => ('b', 0),
            Entry::Worked(attempt) => ('w', attempt),
            Entry::Acked => ('k', 0),
            Entry::Lost => ('l', 0),
            Entry::Unsettled => ('x', 0),
        };
        let line = format!(
            "\n{letter} {} {} {} {attempt}{END}\n",
            now().as_micros(),
            job.producer,
            job.seq
        );
        (&self.0).write_all(line.as_bytes())
    }
}

/// Returns the time of the machine, since 1970.
#[expect(
    clippy::disallowed_types,
    reason = "the journals of several processes on one machine are compared"
)]
pub fn now() -> Duration {
    time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The journals of one queue: a directory.
#[derive(Clone, Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// Opens the ledger of this name.
    pub fn open(scratch: &Scratch, name: &str) -> Result<Self, Failure> {
        Ok(Self(scratch.dir(name)?))
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Returns where a journal is; all processes that write to it share it.
    pub fn path(&self, journal: &str) -> PathBuf {
        self.0.join(journal)
    }

    /// Opens a journal.
    pub fn journal(&self, name: &str) -> Result<Journal, Failure> {
        Ok(Journal::open(&self.path(name))?)
    }

    /// Reads when work on each message began, as a journal says; the producer is the one that journal means.
    pub fn begins(&self, name: &str) -> Result<Vec<(Duration, Job)>, Failure> {
        let mut begins = Vec::new();
        for line in std::fs::read_to_string(self.path(name))?.lines() {
            let words: Vec<_> = line.split(' ').collect();
            if let ["b", at, producer, seq, _, "."] = *words {
                let (producer, seq) = (producer.parse()?, seq.parse()?);
                let at = Duration::from_micros(at.parse()?);
                begins.push((at, Job { producer, seq }));
            }
        }
        Ok(begins)
    }

    /// Removes the journals when nobody writes to them any more.
    pub fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.0)
    }

    /// Reads what is in the journals now.
    pub fn tally(&self) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        tally.read_on(self)?;
        Ok(tally)
    }
}
