//! Measures pymq beside the raw client and plain channels, in one run.
//!
//! A group has several cases. Each round runs each case once, in turn: A B C, A B C. So a slow
//! moment of the machine affects all of them, and only ratios within a round are compared. The
//! first case of a group is the baseline. `docs/PERFORMANCE.md` says how to run and read it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is what a bench is for"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "whatever fails ends the bench: a baseline that fails has nothing to say"
)]

mod case;
pub mod groups;
mod growth;
mod meter;
mod options;
mod plot;
mod publish;
pub mod raw;
mod redis;
mod report;
mod results;
mod run;
mod server;

pub use self::case::{Case, Goal, Group, Limit, Measure, Runtime};
pub use self::growth::growth;
pub use self::meter::{Meter, Sample, cpu_time, latencies, spread};
pub use self::options::Options;
pub use self::publish::publish;
pub use self::redis::Redis;
pub use self::results::{GoalResult, GroupResult, Results, Row, Spread};
pub use self::run::run;
pub use self::server::ServerInfo;

use serde::{Deserialize, Serialize};

/// The bytes of a payload, on the wire.
pub const PAYLOAD: usize = 256;

/// A string that is [`PAYLOAD`] bytes of JSON, with its quotes.
pub fn text() -> String {
    "x".repeat(PAYLOAD - 2)
}

/// The same as bytes. pymq carries opaque bytes over Redis as base64, so its payload is longer.
pub fn payload() -> Vec<u8> {
    format!("\"{}\"", text()).into_bytes()
}

/// A value such as applications send: about 150 bytes of JSON.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    id: u64,
    customer: String,
    total: f64,
    is_paid: bool,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Line {
    article: String,
    count: u32,
}

impl Order {
    /// Returns one with two lines.
    pub fn example() -> Self {
        let line = |article: &str, count| Line {
            article: article.to_owned(),
            count,
        };
        Self {
            id: 1_700_042,
            customer: "Ada Lovelace".to_owned(),
            total: 129.95,
            is_paid: true,
            lines: vec![line("green tea", 3), line("teapot", 1)],
        }
    }
}

/// A name that no other case and no other round has.
pub fn unique(what: &str) -> String {
    format!("bench-{what}-{}", uuid::Uuid::new_v4().simple())
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "a number for people to read")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}
