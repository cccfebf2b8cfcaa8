//! How far a worker looks ahead: as far as saves round trips, and no further.

use std::time::Duration;

/// The most that is taken beyond what can begin at once.
pub(super) const MOST_AHEAD: usize = 64;

/// What is taken ahead is to begin within this time.
const WINDOW: Duration = Duration::from_millis(20);

/// What a worker knows of how long its handler takes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    usual: Option<Duration>,
}

impl Pace {
    /// Learns from an item that is finished. A slow one is believed at once and quick ones little by little, as looking too
    /// far ahead keeps items from others, while looking not far enough costs a round trip.
    pub(super) fn note(&mut self, took: Duration) {
        self.usual = Some(match self.usual {
            Some(usual) if took < usual => (usual * 7 + took) / 8,
            _ => took,
        });
    }

    /// Returns how many more items to take than there are free handlers: those that handlers will have come to within the
    /// window. None while nothing is known.
    pub(super) fn look_ahead(&self, handlers: usize) -> usize {
        let Some(usual) = self.usual else {
            return 0;
        };
        let rounds = WINDOW.as_nanos() / usual.as_nanos().max(1);
        usize::try_from(rounds)
            .unwrap_or(usize::MAX)
            .saturating_mul(handlers)
            .min(MOST_AHEAD)
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
        assert_eq!(pace_of(&[0]).look_ahead(1), MOST_AHEAD);
        assert_eq!(pace_of(&[1]).look_ahead(1), 20);
        assert_eq!(pace_of(&[4]).look_ahead(2), 10);
        assert_eq!(pace_of(&[1]).look_ahead(1_000), MOST_AHEAD);
        assert_eq!(pace_of(&[21]).look_ahead(64), 0);
        assert_eq!(pace_of(&[60_000]).look_ahead(64), 0);
    }

    #[test]
    fn one_slow_item_is_believed_at_once_and_forgotten_slowly() {
        assert_eq!(pace_of(&[1, 1, 1, 1_000]).look_ahead(8), 0);
        assert_eq!(pace_of(&[1_000, 1]).look_ahead(8), 0);
        assert!(pace_of(&[[1_000].as_slice(), &[1; 50]].concat()).look_ahead(8) > 0);
    }
}
