//! [`Claim`]: what a node of a cluster says about the owner of some slots.

use std::collections::HashMap;

use crate::connection::dialer::Place;
use crate::connection::from_reply::FromReply;
use crate::connection::resp::Reply;
use crate::slot::SLOTS;

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

/// Reads the answers of a node to `CLUSTER SLOTS`, which has the addresses for clients, and to
/// `CLUSTER NODES`, which has the epochs. `own_host` is that of the node itself. The claims are in
/// the order of the slots.
pub(super) fn read_claims(slots: Reply, nodes: &str, own_host: &str) -> Option<Vec<Claim>> {
    let epochs = read_epochs(nodes);
    let Reply::List(ranges) = slots else {
        return None;
    };
    let claims = ranges
        .into_iter()
        .map(|range| read_claim(range, &epochs, own_host));
    let mut claims = claims.collect::<Option<Vec<_>>>()?;
    claims.sort_unstable_by_key(|claim| claim.first);
    Some(claims)
}

fn read_claim(range: Reply, epochs: &HashMap<&str, u64>, own_host: &str) -> Option<Claim> {
    let Reply::List(parts) = range else {
        return None;
    };
    let mut parts = parts.into_iter();
    let first = usize::from_reply(parts.next()?)?;
    let last = usize::from_reply(parts.next()?)?;
    let Reply::List(owner) = parts.next()? else {
        return None;
    };
    let mut owner = owner.into_iter();
    let named = Option::<String>::from_reply(owner.next()?)?;
    let port = usize::from_reply(owner.next()?)?.try_into().ok()?;
    let id = String::from_reply(owner.next()?)?;
    let host = named.filter(|named| !named.is_empty() && named != "?");
    let host = host.unwrap_or_else(|| own_host.to_owned());
    (first <= last && last < SLOTS).then(|| Claim {
        first,
        last,
        place: (host, port),
        epoch: epochs.get(id.as_str()).copied().unwrap_or_default(),
    })
}

/// Returns the epoch of each node by its id.
fn read_epochs(nodes: &str) -> HashMap<&str, u64> {
    let lines = nodes.lines().map(|line| line.split(' '));
    // Between the two words: address, flags, master, and two times.
    lines
        .filter_map(|mut words| Some((words.next()?, words.nth(5)?.parse().ok()?)))
        .collect()
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
            range(100, 16_383, "10.0.0.2", 7000, "b"),
            range(0, 99, "", 7000, "a"),
        ]);

        let claims = read_claims(slots, nodes, "10.0.0.1").unwrap();

        let expected = [
            claim(0, 99, "10.0.0.1", 3),
            claim(100, 16_383, "10.0.0.2", 12),
        ];
        assert_eq!(claims, expected);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for slots in [
            Reply::Null,
            Reply::List(vec![Reply::List(vec![Reply::Int(1)])]),
            Reply::List(vec![range(0, 16_384, "a", 7000, "a")]),
            Reply::List(vec![range(0, 1, "a", 70_000, "a")]),
        ] {
            assert!(read_claims(slots, "", "a").is_none());
        }
    }
}
