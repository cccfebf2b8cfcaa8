//! The cluster as one node sees it.

use std::ops::RangeInclusive;

use tokio::time::timeout;

use super::ASK;
use crate::Failure;
use crate::redis::Controlled;

/// The number of hash slots of a cluster.
pub(super) const SLOTS: usize = 16_384;

/// What a node says of the cluster.
#[derive(Debug)]
pub(super) struct View {
    takes_commands: bool,
    /// In the order of their ports.
    pub(super) members: Vec<Member>,
}

/// What a node says of one node.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Member {
    pub(super) port: u16,
    pub(super) id: String,
    /// The node that answers misses an answer of this one, or all have agreed that it is down.
    pub(super) is_down: bool,
    /// The id of its master if it is a replica.
    pub(super) master: Option<String>,
    /// It rises with each change of the slots of a master.
    pub(super) epoch: u64,
    /// The first and the last of each range.
    pub(super) slots: Vec<(u16, u16)>,
}

impl View {
    /// Asks a node.
    pub(super) async fn of(node: &Controlled) -> Result<Self, Failure> {
        let answers = async {
            let mut query = redis::pipe();
            query.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("NODES");
            Ok::<_, Failure>(query.query_async(&mut node.raw().await?).await?)
        };
        let (info, nodes): (String, String) = timeout(ASK, answers).await??;
        let members = nodes.lines().map(|line| {
            Member::parse(line).ok_or_else(|| format!("a node of a cluster is `{line}`").into())
        });
        let mut members = members.collect::<Result<Vec<_>, Failure>>()?;
        members.sort();
        Ok(Self {
            takes_commands: info.contains("cluster_state:ok"),
            members,
        })
    }

    /// Tells whether the node takes commands, and knows a running master for each slot.
    pub(super) fn is_ok(&self) -> bool {
        let masters = self.members.iter().filter(|member| !member.is_down);
        self.takes_commands && masters.map(Member::size).sum::<usize>() == SLOTS
    }

    /// Tells whether that is so, and the node on this port has no slots.
    pub(super) fn is_without(&self, port: u16) -> Result<bool, Failure> {
        Ok(self.is_ok() && self.member(port)?.slots.is_empty())
    }

    /// Returns the node on this port.
    pub(super) fn member(&self, port: u16) -> Result<&Member, Failure> {
        let found = self.members.iter().find(|member| member.port == port);
        Ok(found.ok_or_else(|| format!("the node on port {port} is not known"))?)
    }

    /// Returns the master of a slot.
    pub(super) fn owner(&self, slot: u16) -> Result<&Member, Failure> {
        let found = self.members.iter().find(|member| member.has(slot));
        Ok(found.ok_or_else(|| format!("slot {slot} has no master"))?)
    }
}

impl Member {
    /// Reads a line of CLUSTER NODES: id, address, flags, master, times of a PING and a PONG,
    /// epoch, state of the link, slots.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        let (address, _) = words.next()?.split_once('@')?;
        let (_, port) = address.rsplit_once(':')?;
        let flags: Vec<&str> = words.next()?.split(',').collect();
        let master = words.next().filter(|master| *master != "-");
        let epoch = words.nth(2)?.parse().ok()?;
        let state = words.next()?;
        // A slot that moves is in brackets, beside its range.
        let ranges = words.filter(|word| !word.starts_with('['));
        let slots = ranges.map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        Some(Self {
            port: port.parse().ok()?,
            id,
            is_down: state != "connected" || flags.iter().any(|flag| flag.starts_with("fail")),
            master: master.map(str::to_owned),
            epoch,
            slots: slots.collect::<Option<_>>()?,
        })
    }

    /// Tells whether it has slots.
    pub(super) fn is_master(&self) -> bool {
        !self.slots.is_empty()
    }

    fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        self.slots.iter().map(|(first, last)| *first..=*last)
    }

    fn has(&self, slot: u16) -> bool {
        self.ranges().any(|range| range.contains(&slot))
    }

    fn size(&self) -> usize {
        self.ranges().map(|range| range.len()).sum()
    }
}
