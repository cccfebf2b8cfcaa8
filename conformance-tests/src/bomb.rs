//! A panic that does not end where it is caught: its payload panics again when it is dropped.

#![expect(clippy::panic, reason = "panicking is what it is for")]

use std::panic::panic_any;

/// Panics when it is dropped, with another one as the payload, so many times.
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Self(self.0 - 1));
        }
    }
}

/// Panics with a payload that panics when it is dropped, as does the payload of that.
pub(crate) fn explode() -> ! {
    panic_any(Bomb(3))
}

/// A value that panics as [`explode`] does when it is dropped.
pub(crate) struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        explode();
    }
}
