//! What is measured: groups of cases, and their goals.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::Sample;

/// Does so many operations once. `None` if this machine lacks what the case needs.
type Run = Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Option<Sample>> + Send>>>;

/// One row of a table.
pub struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
    pub(crate) one_in: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// Creates a case from its name and a function that does so many operations.
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn(usize) -> Fut + 'static,
        Fut: Future<Output = Sample> + Send + 'static,
    {
        Self::optional(name, move |operations| {
            let sample = run(operations);
            async move { Some(sample.await) }
        })
    }

    /// Creates a case that this machine may lack. It says so itself, and returns `None`.
    pub fn optional<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn(usize) -> Fut + 'static,
        Fut: Future<Output = Option<Sample>> + Send + 'static,
    {
        Self {
            name,
            run: Box::new(move |operations| Box::pin(run(operations))),
            one_in: 1,
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Does only one in so many of the group's operations, for a case that is much slower.
    #[must_use]
    pub fn one_in(mut self, one_in: usize) -> Self {
        self.one_in = one_in;
        self
    }
}

/// The runtime of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// Several threads: two workers.
    TwoWorkers,
    /// One thread for everything.
    CurrentThread,
}

/// Cases that are compared with each other.
#[derive(Debug)]
pub struct Group {
    pub(crate) title: String,
    pub(crate) runtime: Runtime,
    pub(crate) operations: usize,
    pub(crate) cases: Vec<Case>,
    pub(crate) goals: Vec<Goal>,
}

impl Group {
    /// Creates a group of cases that do so many operations in each round.
    pub fn new(title: impl Into<String>, operations: usize, cases: Vec<Case>) -> Self {
        Self {
            title: title.into(),
            runtime: Runtime::TwoWorkers,
            operations,
            cases,
            goals: Vec::new(),
        }
    }

    /// Runs on this runtime. The title says so when it is not the usual one.
    #[must_use]
    pub fn on(mut self, runtime: Runtime) -> Self {
        if runtime == Runtime::CurrentThread {
            self.title.push_str(", current-thread runtime");
        }
        self.runtime = runtime;
        self
    }

    /// Adds a goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// Returns its title.
    pub fn title(&self) -> &str {
        &self.title
    }
}

/// The number of a sample that a goal compares.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Operations a second.
    Rate,
    /// The median time of an operation.
    P50,
    /// The time that 99 % of the operations do not exceed.
    P99,
    /// What the case measures instead, such as bytes.
    Value,
}

impl Measure {
    pub(crate) fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Rate => sample.rate,
            Self::P50 => sample.p50_us,
            Self::P99 => sample.p99_us,
            Self::Value => sample.value,
        }
    }
}

/// How a number is compared with its target.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// More is better.
    AtLeast,
    /// Less is better.
    AtMost,
}

/// What a case should reach.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The case.
    pub case: &'static str,
    /// The case that it is compared with, or `None` if the number itself counts.
    pub to: Option<&'static str>,
    /// The number that is compared.
    pub measure: Measure,
    /// Whether more or less is better.
    pub limit: Limit,
    /// What must be reached.
    pub target: f64,
    /// What would be excellent.
    pub moonshot: f64,
}

impl Goal {
    /// The rate of a case, divided by that of another one, is at least this.
    pub fn faster(case: &'static str, to: &'static str, target: f64, moonshot: f64) -> Self {
        Self {
            case,
            to: Some(to),
            measure: Measure::Rate,
            limit: Limit::AtLeast,
            target,
            moonshot,
        }
    }

    /// The time of a case, divided by that of another one, is at most this.
    pub fn quicker(
        measure: Measure,
        case: &'static str,
        to: &'static str,
        target: f64,
        moonshot: f64,
    ) -> Self {
        Self {
            case,
            to: Some(to),
            measure,
            limit: Limit::AtMost,
            target,
            moonshot,
        }
    }

    /// The number of a case itself is at least or at most this.
    pub fn absolute(
        measure: Measure,
        case: &'static str,
        limit: Limit,
        target: f64,
        moonshot: f64,
    ) -> Self {
        Self {
            case,
            to: None,
            measure,
            limit,
            target,
            moonshot,
        }
    }
}
