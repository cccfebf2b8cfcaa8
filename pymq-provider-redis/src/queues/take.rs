//! Taking messages: one `RPOP`, or `take.lua` for a take with a lease.

use std::time::Duration;

use bytes::Bytes;
use pymq_core::Result;
use tokio::time::Instant;

use super::args::{millis, number, token};
use super::queue::{Queue, script};
use super::taken::Taken;
use super::waiters::TakeRequest;
use crate::connection::{Command, Script};

static TAKE: Script = script!("take.lua");

/// The most messages of a take without a lease. The script bounds a take with a lease.
const MAX_TAKE: usize = 1 << 16;

impl Queue {
    /// Takes messages from the front. `take` is the number of this take.
    ///
    /// Waits for the answer as long as it can come: the messages are in the answer and nowhere
    /// else.
    pub(super) async fn take(self, take: u64, request: TakeRequest) -> Result<Taken> {
        let max = request.max.min(MAX_TAKE);
        match request.lease {
            Some(lease) => self.lease(take, max, lease).await,
            None => self.pop(take, max).await,
        }
    }

    async fn pop(self, take: u64, max: usize) -> Result<Taken> {
        let (list, count) = (self.list(), max.to_string());
        let pop = || Command::new(["RPOP", &list, &count]);
        let payloads: Option<Vec<Bytes>> = self
            .query("get from", &self.commands().keep_answer(), pop)
            .await?;
        Ok(Taken::removed(&self, take, payloads.unwrap_or_default()))
    }

    async fn lease(self, take: u64, max: usize, lease: Duration) -> Result<Taken> {
        let args = [token(), number(max), millis(lease)];
        let keys = self.keys();
        let commands = self.commands().keep_answer();
        let sent = Instant::now();
        let mut payloads: Vec<Bytes> = self
            .run("lease from", &commands, &TAKE, &keys.all(), &args)
            .await?;
        if payloads.is_empty() {
            return Ok(Taken::nothing(&self));
        }
        let batch = payloads.remove(0);
        let batch = String::from_utf8_lossy(&batch);
        Ok(Taken::leased(&self, take, &batch, lease, sent, payloads))
    }
}
