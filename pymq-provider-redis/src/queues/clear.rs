//! Removing a part of a queue: `clear.lua`.

use pymq_core::Result;
use pymq_core::provider::Part;

use super::args::text;
use super::queue::Queue;
use crate::connection::Script;

static CLEAR: Script = Script::new(include_str!("../../scripts/clear.lua"));

impl Queue {
    /// Removes all messages of one part and returns how many there were.
    pub(super) async fn clear(&self, part: Part) -> Result<usize> {
        let keys = self.keys();
        let (key, count) = match part {
            Part::Ready => (&keys.list, "LLEN"),
            Part::Delayed => (&keys.delayed, "ZCARD"),
            _ => (&keys.dead, "ZCARD"),
        };
        self.run(
            "clear",
            &self.commands(),
            &CLEAR,
            &[key.as_str()],
            &[text(count)],
        )
        .await
    }
}
