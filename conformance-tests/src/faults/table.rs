//! The one list of faults.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Report, Setting, killed_consumers};
use crate::Outcome;

/// A fault, and what must hold in spite of it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its short name, such as `F1`.
    pub id: &'static str,
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// When it is passed.
    pub criterion: &'static str,
    /// How much of the machine it needs.
    pub load: Load,
    /// After how long it is taken to hang.
    pub limit: Duration,
    /// Runs it.
    pub run: fn(Setting) -> BoxFuture<'static, Outcome<Report>>,
}

/// How much of a machine with two cores a fault needs; what fits is run at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// It mostly waits.
    Light,
    /// It keeps a core busy.
    Heavy,
    /// It measures times that others would spoil.
    Alone,
}

/// Every fault. The long ones come first, as the rest then fits beside them.
pub const FAULTS: &[Fault] = &[Fault {
    id: "F1",
    name: "killed_consumers",
    what: "1,000 times one of 8 consumer processes is killed by signal 9 in the middle of its work",
    criterion: "0 lost, all worked on, duplicates at most kills + leases that ended",
    load: Load::Heavy,
    limit: Duration::from_secs(180),
    run: |setting| Box::pin(killed_consumers::run(setting)),
}];

/// Finds a fault by its short or its long name.
pub fn find(name: &str) -> Option<&'static Fault> {
    FAULTS
        .iter()
        .find(|fault| fault.id.eq_ignore_ascii_case(name) || fault.name == name)
}
