//! A panic that panics again where it is caught: its payload panics when it is dropped.

#![expect(clippy::panic, reason = "panicking is what it is for")]

use std::panic::panic_any;

/// A payload that panics when it is dropped, this many times in a row.
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Self(self.0 - 1));
        }
    }
}

/// Panics with a payload that panics when it is dropped, and so does the next payload.
pub(crate) fn explode() -> ! {
    panic_any(Bomb(3))
}

/// A value that panics like [`explode`] when it is dropped.
pub(crate) struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        explode();
    }
}
