//! Moving dead letters back to the queue: `redrive.lua`.

use bytes::Bytes;
use pymq_core::provider::Redrive;
use pymq_core::{MessageId, Result};

use super::args::{number, text};
use super::queue::{MAX_SCRIPT_MESSAGES, Queue, script};
use super::receipt::is_id;
use crate::connection::Script;

static REDRIVE: Script = script!("redrive.lua");

impl Queue {
    /// Moves dead letters to the back of the queue: those that are there when it begins, each once.
    pub(super) async fn redrive(&self, which: Redrive) -> Result<usize> {
        match which {
            Redrive::Ids(ids) => self.redrive_ids(&ids).await,
            _ => self.redrive_all().await,
        }
    }

    async fn redrive_all(&self) -> Result<usize> {
        let mut all = 0;
        let mut args = [text("all"), Bytes::new(), number(0), number(0)];
        loop {
            let (moved, last, left, passed) = self.redrive_chunk(&args).await?;
            all += moved;
            if left == 0 {
                return Ok(all);
            }
            args = [text("all"), last, number(left), number(passed)];
        }
    }

    async fn redrive_ids(&self, ids: &[MessageId]) -> Result<usize> {
        // A text that is not one of our ids names no dead letter.
        let ids: Vec<_> = ids
            .iter()
            .map(MessageId::as_str)
            .filter(|id| is_id(id))
            .collect();
        let mut all = 0;
        let mut at = 0;
        while at < ids.len() {
            let some = &ids[at..ids.len().min(at + MAX_SCRIPT_MESSAGES)];
            let args: Vec<_> = [text("ids")]
                .into_iter()
                .chain(some.iter().map(|id| text(id)))
                .collect();
            let (moved, _, left, _) = self.redrive_chunk(&args).await?;
            all += moved;
            at += some.len() - left;
        }
        Ok(all)
    }

    async fn redrive_chunk(&self, args: &[Bytes]) -> Result<(usize, Bytes, usize, usize)> {
        let (commands, keys) = (self.commands(), self.keys());
        self.run("redrive in", &commands, &REDRIVE, &keys.all(), args)
            .await
    }
}
