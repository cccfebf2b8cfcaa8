//! A leased item: exclusive for a time, settled exactly once.

mod held;

pub(crate) use self::held::HeldLeases;
