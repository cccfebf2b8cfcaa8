//! `settle`: ends or extends leases.

use pymq_core::provider::{Receipt, Settle, lease_time};
use pymq_core::{ErrorKind, Result};

use super::dead_letter::DeadLetter;
use super::now::Now;
use super::state::{Item, State};
use super::{Queues, error};
use crate::broker::unique;

impl Queues {
    pub(crate) fn settle(
        &self,
        name: &str,
        settlements: Vec<(Receipt, Settle)>,
    ) -> Vec<Result<()>> {
        let count = settlements.len();
        let settled = self.step(name, |state, now| state.settle(settlements, now));
        let settled = settled.unwrap_or_else(|| vec![Err(ErrorKind::LeaseLost); count]);
        settled
            .into_iter()
            .map(|result| result.map_err(|kind| error(kind, "settle on", name)))
            .collect()
    }
}

impl State {
    /// Settles one message after the other.
    ///
    /// The messages that go back to the front do so together at the end, so that they keep the
    /// order of the call.
    pub(super) fn settle(
        &mut self,
        settlements: Vec<(Receipt, Settle)>,
        now: &Now,
    ) -> Vec<Result<(), ErrorKind>> {
        let mut front = Vec::new();
        let mut settle = |(receipt, settle)| self.settle_one(&receipt, settle, &mut front, now);
        let results = settlements
            .into_iter()
            .map(|one| settle(one).ok_or(ErrorKind::LeaseLost));
        let results = results.collect();
        self.return_to_front(front);
        results
    }

    /// Settles one message; `None` if its lease has ended. Adds to `front` what goes back there.
    fn settle_one(
        &mut self,
        receipt: &Receipt,
        settle: Settle,
        front: &mut Vec<Item>,
        now: &Now,
    ) -> Option<()> {
        if let Settle::Extend { lease } = settle {
            return self.leased.extend(receipt, now.plus(lease_time(lease)));
        }
        let mut item = self.leased.end(receipt)?;
        match settle {
            Settle::Nack { delay } if delay.is_zero() => front.push(item),
            Settle::Nack { delay } => {
                self.delayed.insert((now.plus(delay), unique()), item);
            }
            Settle::Release => {
                item.attempt -= 1;
                front.push(item);
            }
            Settle::Bury { reason } => {
                self.dead.insert(unique(), DeadLetter { item, reason });
            }
            // `Ack`: the message is gone.
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pymq_core::provider::Part;

    use super::super::fixture::{LEASE, TestQueue, shown};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_receipt_is_valid_until_its_lease_ends_and_never_again() {
        let mut queue = TestQueue::of(&["a"]);
        let first = queue.lease(1).remove(0);
        tokio::time::advance(LEASE).await;
        let second = queue.lease(1).remove(0);

        for settle in [
            Settle::Ack,
            Settle::Release,
            Settle::Extend { lease: LEASE },
        ] {
            assert_eq!(
                queue.settle(&[(&first, settle)]),
                [Err(ErrorKind::LeaseLost)]
            );
        }

        let twice = [(&second, Settle::Ack), (&second, Settle::Ack)];
        assert_eq!(queue.settle(&twice), [Ok(()), Err(ErrorKind::LeaseLost)]);
        assert!(queue.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn messages_given_back_in_one_call_keep_their_order() {
        let mut queue = TestQueue::of(&["a", "b", "c", "d"]);
        let [a, b, c] = queue.lease(3).try_into().unwrap();

        let nack = Settle::Nack {
            delay: Duration::ZERO,
        };
        queue.settle(&[(&a, Settle::Release), (&b, nack), (&c, Settle::Release)]);

        assert_eq!(
            queue.peek(Part::Ready),
            shown(&[("a", 0), ("b", 1), ("c", 0), ("d", 0)])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn extend_counts_from_now_and_takes_the_longest_duration() {
        let mut queue = TestQueue::of(&["a"]);
        let a = queue.lease(1).remove(0);
        tokio::time::advance(LEASE / 2).await;
        queue.settle(&[(&a, Settle::Extend { lease: LEASE })]);

        tokio::time::advance(LEASE / 2).await;
        assert_eq!(queue.stats().leased, 1);
        assert_eq!(
            queue.settle(&[(
                &a,
                Settle::Extend {
                    lease: Duration::MAX
                }
            )]),
            [Ok(())]
        );

        tokio::time::advance(LEASE * 10).await;
        assert_eq!(queue.stats().leased, 1);
    }
}
