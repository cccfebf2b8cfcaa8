//! [`Answer`]: what a node of a cluster says about the owners of the slots.

use std::collections::HashMap;

use crate::connection::dialer::Place;
use crate::connection::from_reply::FromReply;
use crate::connection::resp::Reply;
use crate::slot::SLOTS;

/// The claims of all owners, as one node knows them.
#[derive(Debug, Default)]
pub(super) struct Answer(Vec<Claim>);

/// The owner of a range of slots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Claim {
    pub(super) first: usize,
    /// Included.
    pub(super) last: usize,
    pub(super) place: Place,
    /// Of two owners of a slot, the one with the higher epoch has it.
    pub(super) epoch: u64,
}

impl Answer {
    /// Reads the answers to `CLUSTER SLOTS`, which has the addresses for clients, and to
    /// `CLUSTER NODES`, which has the epochs. `own_host` is that of the node itself.
    pub(super) fn read(slots: Reply, nodes: &str, own_host: &str) -> Option<Self> {
        let epochs = read_epochs(nodes);
        let Reply::List(ranges) = slots else {
            return None;
        };
        let claims = ranges.into_iter().map(|range| {
            let Reply::List(parts) = range else {
                return None;
            };
            let mut parts = parts.into_iter();
            let (first, last) = (
                usize::from_reply(parts.next()?)?,
                usize::from_reply(parts.next()?)?,
            );
            let Reply::List(owner) = parts.next()? else {
                return None;
            };
            let mut owner = owner.into_iter();
            let named = Option::<String>::from_reply(owner.next()?)?;
            let port = usize::from_reply(owner.next()?)?;
            let id = String::from_reply(owner.next()?)?;
            let host = named.filter(|named| !named.is_empty() && named != "?");
            Some(Claim {
                first,
                last: last.min(SLOTS - 1),
                place: (
                    host.unwrap_or_else(|| own_host.to_owned()),
                    port.try_into().ok()?,
                ),
                epoch: epochs.get(id.as_str()).copied().unwrap_or_default(),
            })
        });
        claims.collect::<Option<Vec<_>>>().map(Self)
    }
}

/// Returns the epoch of each node by its id.
fn read_epochs(nodes: &str) -> HashMap<&str, u64> {
    let lines = nodes.lines().map(|line| line.split(' '));
    // Between the two words: address, flags, master, and two times.
    lines
        .filter_map(|mut words| Some((words.next()?, words.nth(5)?.parse().ok()?)))
        .collect()
}

/// Merges answers: each slot belongs to the owner with the highest epoch. Returns the claims in the
/// order of the slots.
pub(super) fn merge(answers: &[Answer]) -> Vec<Claim> {
    let mut best: Vec<Option<&Claim>> = vec![None; SLOTS];
    for claim in answers.iter().flat_map(|answer| &answer.0) {
        for slot in &mut best[claim.first.min(SLOTS)..SLOTS.min(claim.last + 1)] {
            if slot.is_none_or(|known| known.epoch < claim.epoch) {
                *slot = Some(claim);
            }
        }
    }
    let mut merged: Vec<Claim> = Vec::new();
    for (slot, claim) in best.into_iter().enumerate() {
        let Some(claim) = claim else {
            continue;
        };
        match merged.last_mut() {
            Some(last)
                if last.last + 1 == slot
                    && last.place == claim.place
                    && last.epoch == claim.epoch =>
            {
                last.last = slot;
            }
            _ => merged.push(Claim {
                first: slot,
                last: slot,
                ..claim.clone()
            }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn range(first: i64, last: i64, host: &str, port: i64, id: &str) -> Reply {
        let owner = Reply::List(vec![text(host), Reply::Int(port), text(id)]);
        Reply::List(vec![Reply::Int(first), Reply::Int(last), owner])
    }

    fn claim(first: usize, last: usize, host: &str, epoch: u64) -> Claim {
        Claim {
            first,
            last,
            place: (host.to_owned(), 7000),
            epoch,
        }
    }

    #[test]
    fn an_answer_has_the_addresses_and_the_epochs() {
        let nodes = "a 10.0.0.1:7000@17000,one myself,master - 0 0 3 connected 0-99\n\
                     b 10.0.0.2:7000@17000 master - 0 1 12 connected 100-16383\n";
        let slots = Reply::List(vec![
            range(0, 99, "", 7000, "a"),
            range(100, 16_383, "10.0.0.2", 7000, "b"),
        ]);

        let answer = Answer::read(slots, nodes, "10.0.0.1").unwrap();

        let expected = [
            claim(0, 99, "10.0.0.1", 3),
            claim(100, 16_383, "10.0.0.2", 12),
        ];
        assert_eq!(answer.0, expected);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        assert!(Answer::read(Reply::Null, "", "a").is_none());
        let slots = Reply::List(vec![Reply::List(vec![Reply::Int(1)])]);
        assert!(Answer::read(slots, "", "a").is_none());
    }

    #[test]
    fn the_owner_with_the_highest_epoch_has_the_slot() {
        let late = Answer(vec![claim(0, 9, "a", 1), claim(10, 19, "b", 2)]);
        let early = Answer(vec![claim(0, 4, "a", 1), claim(5, 9, "c", 3)]);

        let merged = merge(&[late, early]);

        let expected = [
            claim(0, 4, "a", 1),
            claim(5, 9, "c", 3),
            claim(10, 19, "b", 2),
        ];
        assert_eq!(merged, expected);
    }
}
