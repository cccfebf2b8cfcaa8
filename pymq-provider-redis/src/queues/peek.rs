//! Reading a part of a queue without a change: one `LRANGE` or `ZRANGE`.

use bytes::Bytes;
use pymq_core::Result;
use pymq_core::provider::{Part, Stored};

use super::dead_letter;
use super::queue::Queue;
use crate::connection::Command;
use crate::wire;

/// The bytes of id and colon before the payload of a delayed message.
const ID_PREFIX_BYTES: usize = 43;

impl Queue {
    /// Returns up to `max` messages, the next to leave first.
    pub(super) async fn peek(&self, part: Part, max: usize) -> Result<Vec<Stored>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        // No queue is longer than `i64::MAX`, and an index of Redis is signed.
        let count = i64::try_from(max).unwrap_or(i64::MAX);
        let keys = self.keys();
        let (command, key, first, last) = match part {
            Part::Ready => ("LRANGE", &keys.list, -count, -1),
            Part::Delayed => ("ZRANGE", &keys.delayed, 0, count - 1),
            _ => ("ZRANGE", &keys.dead, 0, count - 1),
        };
        let (first, last) = (first.to_string(), last.to_string());
        let command_of_part = || Command::new([command, key, &first, &last]);
        let found: Vec<Bytes> = self
            .query("peek into", &self.commands().repeatable(), command_of_part)
            .await?;
        let stored = |payload| {
            let (message, extra) = wire::decode_with(payload);
            Stored::new(message, extra.attempt)
        };
        Ok(match part {
            Part::Ready => found.into_iter().rev().map(stored).collect(),
            Part::Delayed => found
                .into_iter()
                .map(|member| stored(member.slice(ID_PREFIX_BYTES.min(member.len())..)))
                .collect(),
            _ => found.iter().filter_map(dead_letter::read).collect(),
        })
    }
}
