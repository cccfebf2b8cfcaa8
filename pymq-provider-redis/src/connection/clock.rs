//! [`Clock`]: the time on the Redis server, as its answers tell it. Deadlines of calls are in it, because it is the one
//! clock that callers and servers share.

#![expect(
    clippy::disallowed_types,
    reason = "the wall clock only shows that the machine slept; no time is taken from it"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// For how long an answer tells the time well enough to run a call without a question.
const FRESH: Duration = Duration::from_secs(60);

/// By how much the two clocks of this machine may disagree about the time since an answer. When they disagree more, one
/// was set or the machine slept.
const AGREED: Duration = Duration::from_secs(1);

/// The most that a clock gains or loses, as a part of the time that passes: one in so many.
const DRIFT: i64 = 5_000;

/// What is known of the server's clock. All its times are in microseconds.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    known: Mutex<Option<Known>>,
}

/// The time on the server is between the local time plus `low` and the local time plus `high`.
#[derive(Clone, Copy, Debug)]
struct Known {
    low: i64,
    high: i64,
    at: Instant,
    wall: SystemTime,
}

/// Where now is, seen from a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Now {
    /// Before it, by this much or more.
    Before(Duration),
    After,
    /// The server has to be asked.
    Unsure,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            known: Mutex::default(),
        }
    }
}

impl Clock {
    /// Learns from an answer to a question that was asked at `sent` or later: the result of `TIME`.
    pub(crate) fn learn(&self, sent: Instant, (seconds, micros): (i64, i64)) {
        let server = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let now = Instant::now();
        let mut next = Known {
            low: server.saturating_sub(self.local(now)),
            high: server.saturating_sub(self.local(sent)),
            at: now,
            wall: SystemTime::now(),
        };
        let mut known = self.lock();
        // Both are true unless a clock was set, and then the newer one is.
        if let Some(last) = known.filter(|last| last.is_fresh(now))
            && last.low <= next.high
            && next.low <= last.high
        {
            next.low = next.low.max(last.low);
            next.high = next.high.min(last.high);
        }
        *known = Some(next);
    }

    /// Forgets all: the next answer may be that of another server.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    /// Returns the time on the server at a local time, in milliseconds: not later than it will be.
    pub(crate) fn at(&self, local: Instant) -> Option<u64> {
        let known = (*self.lock()).filter(Known::is_agreed)?;
        let server = self.local(local).saturating_add(known.low) / 1_000;
        u64::try_from(server).ok()
    }

    /// Tells where now is, seen from a deadline in milliseconds.
    pub(crate) fn now(&self, deadline: u64) -> Now {
        let now = Instant::now();
        let known = *self.lock();
        let Some(known) = known.filter(|known| known.is_fresh(now)) else {
            return Now::Unsure;
        };
        let deadline = i64::try_from(deadline)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000);
        let drift = micros(now.saturating_duration_since(known.at)) / DRIFT;
        let local = self.local(now);
        let (low, high) = (local + known.low - drift, local + known.high + drift);
        if high < deadline {
            let left = u64::try_from(deadline.saturating_sub(high)).unwrap_or(0);
            Now::Before(Duration::from_micros(left))
        } else if low >= deadline {
            Now::After
        } else {
            Now::Unsure
        }
    }

    fn local(&self, time: Instant) -> i64 {
        micros(time.saturating_duration_since(self.start))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= FRESH && self.is_agreed()
    }

    fn is_agreed(&self) -> bool {
        self.wall
            .elapsed()
            .is_ok_and(|wall| wall.abs_diff(self.at.elapsed()) <= AGREED)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time of the server, in seconds.
    const THEN: i64 = 1_700_000_000;

    fn ms(seconds: i64) -> u64 {
        u64::try_from(seconds * 1_000).unwrap()
    }

    #[test]
    fn what_is_not_known_has_to_be_asked() {
        let clock = Clock::default();

        assert_eq!(
            (clock.now(ms(THEN)), clock.at(Instant::now())),
            (Now::Unsure, None)
        );
    }

    #[test]
    fn an_answer_tells_the_time_and_is_forgotten() {
        let clock = Clock::default();
        clock.learn(Instant::now(), (THEN, 0));

        assert!(matches!(clock.now(ms(THEN + 100)), Now::Before(left) if left.as_secs() >= 90));
        assert_eq!(clock.now(ms(THEN - 1)), Now::After);
        let later = clock.at(Instant::now() + Duration::from_secs(100)).unwrap();
        assert!((ms(THEN + 100)..ms(THEN + 190)).contains(&later), "{later}");
        clock.forget();
        assert_eq!(clock.now(ms(THEN - 1)), Now::Unsure);
    }

    #[test]
    fn an_answer_that_took_long_leaves_a_doubt_that_the_next_one_ends() {
        let clock = Clock::default();
        let long_ago = clock.start;
        std::thread::sleep(Duration::from_millis(20));
        clock.learn(long_ago, (THEN, 0));
        assert_eq!(clock.now(ms(THEN) + 10), Now::Unsure);

        clock.learn(Instant::now(), (THEN, 20_000));

        assert_eq!(clock.now(ms(THEN) + 10), Now::After);
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        let clock = Clock::default();
        clock.learn(Instant::now(), (THEN, 0));

        clock.learn(Instant::now(), (THEN - 3_600, 0));

        assert!(matches!(clock.now(ms(THEN - 1_800)), Now::Before(_)));
    }
}
