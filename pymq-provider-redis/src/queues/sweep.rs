//! Sweeping a queue: `sweep.lua` moves what is due, and `requeue.lua` returns what was leased too long ago.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;

use super::queue::{Store, script};
use super::settle::taken_once_more;
use crate::connection::Script;

static SWEEP: Script = script!("sweep.lua");
static REQUEUE: Script = script!("requeue.lua");

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Swept {
    /// How many messages became ready.
    pub(super) moved: usize,
    /// When something is due or a lease ends next.
    pub(super) next: Option<Duration>,
}

impl Store {
    /// Makes ready what is due, and what was leased too long ago, as of the moment it begins.
    pub(super) async fn sweep(&self) -> Result<Swept> {
        let queue = self.keys();
        let commands = self.commands().repeatable();
        let mut moved = 0;
        let mut place = [Bytes::new(), Bytes::new(), Bytes::new()];
        loop {
            type Report = (usize, u8, i64, Bytes, Bytes, Bytes, Vec<Bytes>);
            let (joined, is_more, next, moment, batch, index, ended): Report = self
                .run("sweep", &commands, &SWEEP, &queue.all(), &place)
                .await?;
            moved += joined;
            let reached = [moment, batch, index];
            let is_stuck = joined == 0 && ended.is_empty() && reached == place;
            place = reached;
            if !ended.is_empty() {
                let args = taken_again(ended);
                let returned: usize = self
                    .run("sweep", &commands, &REQUEUE, &queue.all(), &args)
                    .await?;
                moved += returned;
            }
            if is_more == 0 || is_stuck {
                return Ok(Swept {
                    moved,
                    next: u64::try_from(next).ok().map(Duration::from_millis),
                });
            }
        }
    }
}

/// Returns batch, index and payload of each message whose lease has ended, as `requeue.lua` wants them.
fn taken_again(mut ended: Vec<Bytes>) -> Vec<Bytes> {
    for payload in ended.iter_mut().skip(2).step_by(3) {
        *payload = taken_once_more(std::mem::take(payload));
    }
    ended
}
