//! How many items a worker takes ahead: enough to save round trips, and no more.

use std::time::Duration;

/// The most items that are taken beyond those that can begin at once.
pub(super) const MAX_TAKEN_AHEAD: usize = 64;

/// Items that are taken ahead are expected to begin within this time.
const TAKE_AHEAD_WINDOW: Duration = Duration::from_millis(20);

/// The longest usual time of quick items.
const QUICK: Duration = Duration::from_micros(100);

/// A task runs quick items for about this time. It is long enough that the task costs little, and
/// short enough that several threads share the items.
const QUICK_TASK: Duration = Duration::from_micros(50);

/// What a worker knows of how long its handler takes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    usual: Option<Duration>,
}

impl Pace {
    /// Learns how long an item took. A slow item counts at once, quick items count little by
    /// little: to take too many ahead keeps items from other workers, to take too few costs a round
    /// trip.
    pub(super) fn note(&mut self, took: Duration) {
        self.usual = Some(match self.usual {
            Some(usual) if took < usual => (usual * 7 + took) / 8,
            _ => took,
        });
    }

    /// Returns for how many items to start one task. `None` if items take so long that each has a
    /// task of its own.
    pub(super) fn items_each(&self) -> Option<usize> {
        let usual = self.usual.filter(|usual| *usual <= QUICK)?;
        let items = QUICK_TASK.as_nanos() / usual.as_nanos().max(1);
        Some(usize::try_from(items).unwrap_or(usize::MAX).max(1))
    }

    /// Returns how many more items to take than there are free handlers: those that the handlers
    /// reach within the window. None while no item has finished.
    pub(super) fn look_ahead(&self, handlers: usize) -> usize {
        let Some(usual) = self.usual else {
            return 0;
        };
        let rounds = TAKE_AHEAD_WINDOW.as_nanos() / usual.as_nanos().max(1);
        usize::try_from(rounds)
            .unwrap_or(usize::MAX)
            .saturating_mul(handlers)
            .min(MAX_TAKEN_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace_of(milliseconds: &[u64]) -> Pace {
        let mut pace = Pace::default();
        for took in milliseconds {
            pace.note(Duration::from_millis(*took));
        }
        pace
    }

    #[test]
    fn quick_work_is_taken_ahead_and_slow_work_is_not() {
        assert_eq!(pace_of(&[]).look_ahead(4), 0);
        assert_eq!(pace_of(&[0]).look_ahead(1), MAX_TAKEN_AHEAD);
        assert_eq!(pace_of(&[1]).look_ahead(1), 20);
        assert_eq!(pace_of(&[4]).look_ahead(2), 10);
        assert_eq!(pace_of(&[1]).look_ahead(1_000), MAX_TAKEN_AHEAD);
        assert_eq!(pace_of(&[21]).look_ahead(64), 0);
        assert_eq!(pace_of(&[60_000]).look_ahead(64), 0);
    }

    #[test]
    fn quick_items_share_a_task_and_others_do_not() {
        let usual = |took| Pace { usual: Some(took) };

        assert_eq!(Pace::default().items_each(), None);
        assert_eq!(usual(Duration::from_nanos(500)).items_each(), Some(100));
        assert_eq!(usual(Duration::from_micros(10)).items_each(), Some(5));
        assert_eq!(usual(QUICK).items_each(), Some(1));
        assert_eq!(usual(QUICK * 2).items_each(), None);
    }

    #[test]
    fn one_slow_item_counts_at_once_and_is_forgotten_slowly() {
        assert_eq!(pace_of(&[1, 1, 1, 1_000]).look_ahead(8), 0);
        assert_eq!(pace_of(&[1_000, 1]).look_ahead(8), 0);
        assert!(pace_of(&[[1_000].as_slice(), &[1; 50]].concat()).look_ahead(8) > 0);
    }
}
