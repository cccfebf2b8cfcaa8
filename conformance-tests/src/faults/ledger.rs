//! The ledger of a queue: which messages were put with which outcome, and which were processed.
//!
//! A [`Journal`] is a file to which processes append lines. Each line is one `write`, which the
//! kernel does not mix with another. A process that is killed during a write leaves a part of a
//! line. So each line begins with a line break and has an end mark. A [`Tally`] is the sum of all
//! journals. Times are those of the machine, so lines of different processes can be compared.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{self, Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::Failure;
use crate::redis::Scratch;

/// A message: the number of its producer, and its place in the sequence of that producer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Job {
    /// The number of the producer.
    pub producer: u32,
    /// The place in its sequence.
    pub seq: u32,
}

/// An entry about a message.
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
    /// The work on it begins; this is the attempt.
    Begun(u32),
    /// The work on it is done; this was the attempt.
    Worked(u32),
    /// The ack returned `Ok`: the message may not be handed out again.
    Acked,
    /// The ack came too late: another consumer may have the message.
    Lost,
    /// The ack failed, and may have happened.
    Unsettled,
}

/// The end mark of a complete line.
pub(super) const END: &str = " .";

/// A file to which an entry is appended before anything else can fail.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens a journal, existing or new.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(file))
    }

    /// Appends a line. The kernel has it when this returns, so the end of this process does not
    /// lose it.
    pub fn write(&self, job: Job, entry: Entry) -> io::Result<()> {
        let (letter, attempt) = match entry {
            Entry::Sent => ('s', 0),
            Entry::Accepted => ('a', 0),
            Entry::Unknown => ('u', 0),
            Entry::Refused => ('r', 0),
            Entry::Begun(attempt) => ('b', attempt),
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

    /// Returns the path of a journal. All processes that write to it share it.
    pub fn path(&self, journal: &str) -> PathBuf {
        self.0.join(journal)
    }

    /// Opens a journal.
    pub fn journal(&self, name: &str) -> Result<Journal, Failure> {
        Ok(Journal::open(&self.path(name))?)
    }

    /// Reads when the work on each message began, from a journal. The producer is the number in
    /// that journal.
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

    /// Removes the journals, when no process writes to them any more.
    pub fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.0)
    }

    /// Reads the current content of the journals.
    pub fn tally(&self) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        tally.read_on(self)?;
        Ok(tally)
    }
}
