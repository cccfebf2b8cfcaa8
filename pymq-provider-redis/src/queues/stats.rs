//! Counting the messages of a queue: `stats.lua`.

use bytes::Bytes;
use pymq_core::Result;
use pymq_core::provider::QueueStats;

use super::args::number;
use super::queue::{Queue, script};
use crate::connection::Script;

static STATS: Script = script!("stats.lua");

impl Queue {
    /// Counts the messages of each part. More than 1,000 lease batches take several scripts.
    pub(super) async fn stats(&self) -> Result<QueueStats> {
        let (commands, keys) = (self.commands().repeatable(), self.keys());
        let mut sum = QueueStats::default();
        let mut args = [number(0), Bytes::new()];
        loop {
            let (ready, delayed, leased, dead, next, time): (
                usize,
                usize,
                usize,
                usize,
                usize,
                Bytes,
            ) = self
                .run("stats of", &commands, &STATS, &keys.all(), &args)
                .await?;
            sum = QueueStats::new(
                sum.ready + ready,
                sum.delayed + delayed,
                sum.leased + leased,
                sum.dead + dead,
            );
            if next == 0 {
                return Ok(sum);
            }
            args = [number(next), time];
        }
    }
}
