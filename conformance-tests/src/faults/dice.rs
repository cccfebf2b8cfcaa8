//! Random numbers that can be repeated: the same seed and label give the same numbers on every
//! machine.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A stream of random numbers (`SplitMix64`: one addition and a few shifts, and good enough for
/// schedules).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Creates the stream of a seed for one purpose. Streams with different labels are independent,
    /// so that concurrent tasks cannot change each other's numbers.
    pub fn new(seed: u64, label: &str) -> Self {
        // FNV-1a spreads the label over all bits.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ hash)
    }

    /// Rolls any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Rolls a number in a range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        match (last - first).checked_add(1) {
            Some(count) => first + self.roll() % count,
            None => self.roll(),
        }
    }

    /// Rolls a time in a range of milliseconds.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        let (first, last) = range.into_inner();
        Duration::from_micros(self.within(first * 1_000..=last * 1_000))
    }

    /// Chooses one of some things.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let last = u64::try_from(things.len() - 1).unwrap_or(u64::MAX);
        &things[usize::try_from(self.within(0..=last)).unwrap_or(0)]
    }

    /// Is true in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.within(0..=99) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_label_repeat_the_numbers() {
        let rolls = |seed, label| {
            let mut dice = Dice::new(seed, label);
            [(); 4].map(|()| dice.roll())
        };

        assert_eq!(rolls(7, "kills"), rolls(7, "kills"));
        assert_ne!(rolls(7, "kills"), rolls(7, "delays"));
        assert_ne!(rolls(7, "kills"), rolls(8, "kills"));
    }

    #[test]
    fn a_range_is_kept_and_filled() {
        let mut dice = Dice::new(1, "range");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(dice.within(3..=7)).unwrap() - 3] = true;
        }

        assert_eq!(seen, [true; 5]);
        assert_eq!(dice.within(9..=9), 9);
        dice.within(0..=u64::MAX);
    }
}
