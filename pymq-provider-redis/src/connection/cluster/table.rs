//! [`Table`]: the owners of the slots, as far as this process knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::Claim;
use crate::connection::dialer::{Dialer, Place};
use crate::connection::fault::Fault;
use crate::connection::node::Node;
use crate::slot::Slot;

/// How long claims with a lower epoch are ignored. A cluster that is set up anew begins at zero.
const EPOCH_LIFE: Duration = Duration::from_secs(10);

/// A node of a cluster.
#[derive(Debug)]
pub(in crate::connection) struct Member {
    pub(in crate::connection) dialer: Dialer,
    /// It owns slots, or has owned some. Without it, the node is about to get its first slot.
    has_owned: AtomicBool,
    /// Cancelled a moment after the node has lost its last slot.
    pub(in crate::connection) ended: CancellationToken,
    /// The connection for commands, from its first use on.
    pub(in crate::connection) node: OnceLock<Arc<Node>>,
    /// The connection for puts that replicas must acknowledge, from its first use on.
    pub(in crate::connection) node_for_puts: OnceLock<Arc<Node>>,
}

/// The owners of the slots.
#[derive(Debug, Default)]
pub(super) struct Table {
    members: HashMap<Place, Arc<Member>>,
    /// In the order of the slots.
    ranges: Vec<Range>,
    /// What the ranges were learned from, if nothing has changed since.
    claims: Vec<Claim>,
    /// Since when the nodes claim less than is known.
    stale_since: Option<Instant>,
}

/// Slots with the same owner.
#[derive(Clone, Debug)]
struct Range {
    first: usize,
    /// Not included.
    end: usize,
    owner: Arc<Member>,
    epoch: u64,
    /// When the owner changed. `None` for the first one.
    changed_at: Option<Instant>,
}

impl Range {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.owner, &other.owner)
            && self.epoch == other.epoch
            && self.changed_at == other.changed_at
    }
}

impl Table {
    pub(super) fn owner(&self, slot: Slot) -> Option<&Arc<Member>> {
        self.range(slot.index()).map(|range| &range.owner)
    }

    /// Returns when the owner of a slot has changed, if it has.
    pub(super) fn changed_at(&self, slot: Slot) -> Option<Instant> {
        self.range(slot.index())?.changed_at
    }

    /// Returns a member by its address.
    pub(super) fn member(
        &mut self,
        place: &Place,
        dialer: impl FnOnce() -> Result<Dialer, Fault>,
    ) -> Result<Arc<Member>, Fault> {
        if let Some(member) = self.members.get(place) {
            return Ok(Arc::clone(member));
        }
        let member = Arc::new(Member {
            dialer: dialer()?,
            has_owned: AtomicBool::new(false),
            ended: CancellationToken::new(),
            node: OnceLock::new(),
            node_for_puts: OnceLock::new(),
        });
        self.members.insert(place.clone(), Arc::clone(&member));
        Ok(member)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// Learns claims, which are in the order of the slots. Tells whether a slot has another owner
    /// now.
    pub(super) fn learn(
        &mut self,
        claims: &[Claim],
        dialer: impl Fn(&Place) -> Result<Dialer, Fault>,
    ) -> bool {
        if self.claims == claims && self.stale_since.is_none() {
            return false;
        }
        let now = Instant::now();
        let stale_since = self.stale_since;
        let must_believe = stale_since.is_some_and(|since| since.elapsed() > EPOCH_LIFE);
        let is_first = self.ranges.is_empty();
        let (mut is_stale, mut has_changed) = (false, false);
        let mut ranges: Vec<Range> = Vec::new();
        let cuts = self.cuts(claims);
        for cut in cuts.windows(2) {
            let (first, end) = (cut[0], cut[1]);
            let known = self.range(first).cloned();
            let claim = claims
                .iter()
                .find(|claim| (claim.first..=claim.last).contains(&first));
            let is_older = match (&known, claim) {
                (Some(known), Some(claim)) => claim.epoch < known.epoch,
                (Some(_), None) => true,
                (None, _) => false,
            };
            is_stale |= is_older;
            let next = if is_older && !must_believe {
                known.clone()
            } else {
                claim.and_then(|claim| self.claimed(claim, known.as_ref(), &dialer, now, is_first))
            };
            has_changed |= match (&known, &next) {
                (Some(known), Some(next)) => !Arc::ptr_eq(&known.owner, &next.owner),
                (None, None) => false,
                _ => true,
            };
            let Some(next) = next else {
                continue;
            };
            match ranges.last_mut() {
                Some(last) if last.end == first && last.is_same(&next) => last.end = end,
                _ => ranges.push(Range { first, end, ..next }),
            }
        }
        self.ranges = ranges;
        self.claims = claims.to_vec();
        self.stale_since = if is_stale && !must_believe {
            Some(stale_since.unwrap_or(now))
        } else {
            None
        };
        has_changed
    }

    /// Returns the slots at which a range or a claim begins or ends, in their order.
    fn cuts(&self, claims: &[Claim]) -> Vec<usize> {
        let of_claims = claims
            .iter()
            .flat_map(|claim| [claim.first, claim.last + 1]);
        let of_ranges = self
            .ranges
            .iter()
            .flat_map(|range| [range.first, range.end]);
        let mut cuts: Vec<_> = of_claims.chain(of_ranges).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// Returns the range of one claim.
    fn claimed(
        &mut self,
        claim: &Claim,
        known: Option<&Range>,
        dialer: impl Fn(&Place) -> Result<Dialer, Fault>,
        now: Instant,
        is_first: bool,
    ) -> Option<Range> {
        let owner = match self.member(&claim.place, || dialer(&claim.place)) {
            Ok(owner) => owner,
            Err(fault) => {
                tracing::warn!("a node of the cluster cannot be used: {fault}");
                return None;
            }
        };
        let changed_at = match known {
            Some(known) if Arc::ptr_eq(&known.owner, &owner) => known.changed_at,
            _ => (!is_first).then_some(now),
        };
        Some(Range {
            first: claim.first,
            end: claim.last + 1,
            owner,
            epoch: claim.epoch,
            changed_at,
        })
    }

    /// Notes that a node says that a slot belongs to another. Tells whether that is news.
    pub(super) fn note_moved(
        &mut self,
        slot: Slot,
        place: &Place,
        dialer: impl FnOnce() -> Result<Dialer, Fault>,
    ) -> bool {
        let known = self.range(slot.index()).cloned();
        let Ok(owner) = self.member(place, dialer) else {
            return false;
        };
        if known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(&known.owner, &owner))
        {
            return false;
        }
        let slot = slot.index();
        let moved = Range {
            first: slot,
            end: slot + 1,
            owner,
            // The next answers of the nodes say more.
            epoch: known.map_or(0, |known| known.epoch),
            changed_at: Some(Instant::now()),
        };
        let mut ranges = Vec::with_capacity(self.ranges.len() + 2);
        for range in self.ranges.drain(..) {
            let before = Range {
                end: range.end.min(slot),
                ..range.clone()
            };
            let after = Range {
                first: range.first.max(slot + 1),
                ..range
            };
            let parts = [before, after].into_iter();
            ranges.extend(parts.filter(|part| part.first < part.end));
        }
        ranges.push(moved);
        ranges.sort_unstable_by_key(|range| range.first);
        self.ranges = ranges;
        self.claims.clear();
        true
    }

    /// Forgets the members that own no slots any more, and returns them.
    pub(super) fn forget_unused(&mut self) -> Vec<Arc<Member>> {
        let ranges = &self.ranges;
        for range in ranges {
            range.owner.has_owned.store(true, Ordering::Relaxed);
        }
        let is_unused = |member: &Arc<Member>| {
            let is_owner = |range: &Range| Arc::ptr_eq(&range.owner, member);
            member.has_owned.load(Ordering::Relaxed) && !ranges.iter().any(is_owner)
        };
        let unused = self.members.extract_if(|_, member| is_unused(member));
        unused.map(|(_, member)| member).collect()
    }

    fn range(&self, slot: usize) -> Option<&Range> {
        let at = self.ranges.partition_point(|range| range.end <= slot);
        self.ranges.get(at).filter(|range| range.first <= slot)
    }
}

#[cfg(test)]
mod tests;
