//! [`ProviderUrl`]: a URL that names a provider and never prints its secrets.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use url::Url;

use super::parameters::Parameters;
use super::secrets::without_secrets;
use crate::error::{Error, ErrorKind, Result};

/// A parsed provider URL: `redis://user:password@host:6379/0?namespace=shop`, `memory://name`.
///
/// It can be parsed from text, and deserialized from a string of any configuration format.
/// `Display` and `Debug` never show the password.
///
/// # Examples
///
/// ```
/// let url: pymq::provider::ProviderUrl = "redis://:secret@localhost/0?namespace=shop".parse()?;
///
/// assert_eq!(url.to_string(), "redis://***@localhost/0?namespace=shop");
/// # Ok::<(), pymq::Error>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ProviderUrl(Url);

impl ProviderUrl {
    /// Returns the scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// Returns the whole URL **with its password**, for the provider that connects to it.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Returns the query parameters.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a parameter that is not in `known`, and for
    /// one that is given twice.
    pub fn parameters(&self, known: &[&'static str]) -> Result<Parameters> {
        Parameters::parse(&self.0, known)
    }
}

impl FromStr for ProviderUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The error does not quote the text, which may contain a password.
        Url::parse(text).map(Self).map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                "cannot read the provider URL, expected one such as \
                 `redis://localhost:6379` or `memory://`",
            )
            .with_source(error)
        })
    }
}

impl TryFrom<&str> for ProviderUrl {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for ProviderUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A text or a [`ProviderUrl`].
///
/// This is a trait of its own and not `TryInto<ProviderUrl>`, because that has the error
/// `Infallible` for a [`ProviderUrl`]. A conversion from `Infallible` to our [`Error`] would make
/// the error type of `?` ambiguous in user code.
pub trait IntoProviderUrl: Send {
    /// Parses a text; returns a [`ProviderUrl`] as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a text that is not a URL.
    fn into_provider_url(self) -> Result<ProviderUrl>;
}

impl IntoProviderUrl for ProviderUrl {
    fn into_provider_url(self) -> Result<ProviderUrl> {
        Ok(self)
    }
}

impl IntoProviderUrl for &ProviderUrl {
    fn into_provider_url(self) -> Result<ProviderUrl> {
        Ok(self.clone())
    }
}

macro_rules! texts {
    ($($text:ty)+) => {$(
        impl IntoProviderUrl for $text {
            fn into_provider_url(self) -> Result<ProviderUrl> {
                self.parse()
            }
        }
    )+};
}

texts! { &str String &String }

impl<'de> Deserialize<'de> for ProviderUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|error| de::Error::custom(with_causes(&error)))
    }
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderUrl({self})")
    }
}

/// Returns the text of an error with all its causes, for serde, which keeps only text.
pub(super) fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
