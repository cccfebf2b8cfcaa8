//! [`Version`]: the version of a server.

use pymq_core::ErrorKind;

use super::fault::{Fault, TOO_OLD};

/// Major and minor version of a server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    pub(super) fn parse(text: &str) -> Self {
        let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Refuses a server that is too old.
    pub(crate) fn check(self) -> Result<Self, Fault> {
        if self < Self(6, 2) {
            Err(Fault::new(ErrorKind::Unsupported, TOO_OLD))
        } else {
            Ok(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_6_2_are_refused() {
        assert_eq!(Version::parse("7.0.15"), Version(7, 0));
        assert!(Version::parse("6.2.0").check().is_ok());
        assert!(Version::parse("10.1").check().is_ok());
        assert!(Version::parse("6.0.16").check().is_err());
    }
}
