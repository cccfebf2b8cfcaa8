//! Sweeping a queue: `sweep.lua` makes due messages ready, `requeue.lua` those whose lease has
//! ended.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;

use super::queue::{Queue, script};
use super::settle::count_attempt;
use crate::connection::Script;

static SWEEP: Script = script!("sweep.lua");
static REQUEUE: Script = script!("requeue.lua");

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SweepOutcome {
    /// How many messages became ready.
    pub(super) moved: usize,
    /// The time until the next message is due or the next lease ends.
    pub(super) next: Option<Duration>,
}

impl Queue {
    /// Makes messages ready that are due, or whose lease has ended, when the sweep begins.
    pub(super) async fn sweep(&self) -> Result<SweepOutcome> {
        let keys = self.keys();
        let commands = self.commands().repeatable();
        let mut moved = 0;
        let mut place = [Bytes::new(), Bytes::new(), Bytes::new()];
        loop {
            type Report = (usize, u8, i64, Bytes, Bytes, Bytes, Vec<Bytes>);
            let (joined, is_more, next, moment, batch, index, ended): Report = self
                .run("sweep", &commands, &SWEEP, &keys.all(), &place)
                .await?;
            moved += joined;
            let reached = [moment, batch, index];
            let is_stuck = joined == 0 && ended.is_empty() && reached == place;
            place = reached;
            if !ended.is_empty() {
                let args = count_attempts(ended);
                let returned: usize = self
                    .run("sweep", &commands, &REQUEUE, &keys.all(), &args)
                    .await?;
                moved += returned;
            }
            if is_more == 0 || is_stuck {
                return Ok(SweepOutcome {
                    moved,
                    next: u64::try_from(next).ok().map(Duration::from_millis),
                });
            }
        }
    }
}

/// Counts an attempt in each payload of batch, index and payload, as `requeue.lua` takes them.
fn count_attempts(mut ended: Vec<Bytes>) -> Vec<Bytes> {
    for payload in ended.iter_mut().skip(2).step_by(3) {
        *payload = count_attempt(std::mem::take(payload));
    }
    ended
}
