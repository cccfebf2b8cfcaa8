//! [`Slot`]: the part of a cluster that a key belongs to.

use crc::{CRC_16_XMODEM, Crc, Table};

/// How many slots a cluster has.
pub(crate) const SLOTS: usize = 16_384;

/// The number of a slot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Slot(u16);

impl Slot {
    /// Returns the slot of a key, as Redis computes it.
    pub(crate) fn of(key: &str) -> Self {
        // Each command computes it, so 16 bytes go at a time.
        static CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);
        let hashed = hash_tag(key).unwrap_or(key);
        // There are so many slots that the remainder is these bits.
        Self(CRC.checksum(hashed.as_bytes()) & 0x3fff)
    }

    /// Returns the slot of this number, if there is one.
    pub(crate) fn from_number(number: usize) -> Option<Self> {
        let slot = u16::try_from(number).ok()?;
        (number < SLOTS).then_some(Self(slot))
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

/// Returns what Redis hashes in place of the whole key: the text in the first braces, if any.
pub(crate) fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // By `CLUSTER KEYSLOT`.
        assert_eq!(Slot::of("123456789").index(), 12_739);
        assert_eq!(Slot::of("foo").index(), 12_182);
        assert_eq!(Slot::of("a{foo}b").index(), 12_182);
        assert_eq!(Slot::of(""), Slot(0));
    }

    #[test]
    fn a_number_that_is_too_large_is_no_slot() {
        assert_eq!(Slot::from_number(SLOTS - 1), Some(Slot(0x3fff)));
        assert_eq!(Slot::from_number(SLOTS), None);
    }

    #[test]
    fn empty_braces_are_no_tag() {
        assert_eq!(hash_tag("a{}b{c}"), None);
        assert_eq!(hash_tag("a{b{c}d}"), Some("b{c"));
        assert_eq!(hash_tag("a{b"), None);
    }
}
