//! [`Clock`]: the time on the Redis server, learned from its answers. The deadlines of calls are in
//! this time, because it is the one clock that callers and servers share.

#![expect(
    clippy::disallowed_types,
    reason = "the wall clock only shows that the machine slept; it is not used as a time"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long the time of an answer is precise enough to run a call without asking the server.
const ANSWER_VALID_FOR: Duration = Duration::from_secs(60);

/// After what time an answer to a call asks for the time again. A caller trusts the channel of a
/// server as long.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// How much the two clocks of this machine may differ in the time since an answer. A larger
/// difference means that one clock was set or that the machine slept.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// A clock drifts by at most one part in this many parts of the time that passes.
const DRIFT_DIVISOR: i64 = 5_000;

/// What is known of the server's clock. All times are in microseconds.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    known: Mutex<Option<Known>>,
}

/// The server's time is between the local time plus `low` and the local time plus `high`.
#[derive(Clone, Copy, Debug)]
struct Known {
    low: i64,
    high: i64,
    at: Instant,
    wall: SystemTime,
}

/// The position of the current time relative to a deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Now {
    /// Before it. At least this much time is left.
    Before(Duration),
    After,
    /// Not known: ask the server.
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
    /// Learns from the result of a `TIME` command that was sent at `sent` or later.
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
        // Both bounds hold unless a clock was set. In that case the newer bounds hold.
        if let Some(last) = known.filter(|last| last.is_fresh(now))
            && last.low <= next.high
            && next.low <= last.high
        {
            next.low = next.low.max(last.low);
            next.high = next.high.min(last.high);
        }
        *known = Some(next);
    }

    /// Tells whether to ask for the time together with the next command. A server that was set is
    /// noticed soon only if its time is asked for often.
    pub(crate) fn is_old(&self) -> bool {
        let known = *self.lock();
        let now = Instant::now();
        !known.is_some_and(|known| known.age(now) < ASK_AFTER && known.clocks_agree(now))
    }

    /// Forgets everything: the next answer may come from another server.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    /// Returns the server's time at a local time, in milliseconds. It is never later than the real
    /// one.
    pub(crate) fn at(&self, local: Instant, now: Instant) -> Option<u64> {
        let known = (*self.lock()).filter(|known| known.clocks_agree(now))?;
        let server = self.local(local).saturating_add(known.low) / 1_000;
        u64::try_from(server).ok()
    }

    /// Compares the current time, which is `now` here, with a deadline in milliseconds.
    pub(crate) fn compare(&self, now: Instant, deadline: u64) -> Now {
        let known = *self.lock();
        let Some(known) = known.filter(|known| known.is_fresh(now)) else {
            return Now::Unsure;
        };
        let deadline = i64::try_from(deadline)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000);
        let drift = micros(known.age(now)) / DRIFT_DIVISOR;
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
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) <= ANSWER_VALID_FOR && self.clocks_agree(now)
    }

    fn clocks_agree(&self, now: Instant) -> bool {
        self.wall
            .elapsed()
            .is_ok_and(|wall| wall.abs_diff(self.age(now)) <= CLOCK_TOLERANCE)
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
    fn an_unknown_time_must_be_asked_for() {
        let clock = Clock::default();

        assert_eq!(
            (
                clock.compare(Instant::now(), ms(THEN)),
                clock.at(Instant::now(), Instant::now())
            ),
            (Now::Unsure, None)
        );
    }

    #[test]
    fn an_answer_tells_the_time_and_is_forgotten() {
        let clock = Clock::default();
        clock.learn(Instant::now(), (THEN, 0));

        let now = clock.compare(Instant::now(), ms(THEN + 100));
        assert!(matches!(now, Now::Before(left) if left.as_secs() >= 90));
        assert_eq!(clock.compare(Instant::now(), ms(THEN - 1)), Now::After);
        let now = Instant::now();
        let later = clock.at(now + Duration::from_secs(100), now).unwrap();
        assert!((ms(THEN + 100)..ms(THEN + 190)).contains(&later), "{later}");
        clock.forget();
        assert_eq!(clock.compare(Instant::now(), ms(THEN - 1)), Now::Unsure);
    }

    #[test]
    fn the_time_is_old_until_an_answer_tells_it() {
        let clock = Clock::default();
        assert!(clock.is_old());

        clock.learn(Instant::now(), (THEN, 0));
        assert!(!clock.is_old());

        clock.forget();
        assert!(clock.is_old());
    }

    #[test]
    fn an_answer_that_took_long_leaves_a_doubt_that_the_next_one_ends() {
        let clock = Clock::default();
        let long_ago = clock.start;
        std::thread::sleep(Duration::from_millis(20));
        clock.learn(long_ago, (THEN, 0));
        assert_eq!(clock.compare(Instant::now(), ms(THEN) + 10), Now::Unsure);

        clock.learn(Instant::now(), (THEN, 20_000));

        assert_eq!(clock.compare(Instant::now(), ms(THEN) + 10), Now::After);
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        let clock = Clock::default();
        clock.learn(Instant::now(), (THEN, 0));

        clock.learn(Instant::now(), (THEN - 3_600, 0));

        assert!(matches!(
            clock.compare(Instant::now(), ms(THEN - 1_800)),
            Now::Before(_)
        ));
    }
}
