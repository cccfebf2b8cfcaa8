//! [`ProviderUrl`]: a URL that names a provider and never prints its secrets.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use url::{ParseError, Url};

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
///
/// A URL may have several hosts, with commas between them, where its scheme allows it:
///
/// ```
/// let url: pymq::provider::ProviderUrl = "redis-sentinel://one:26379,two/orders".parse()?;
///
/// assert_eq!(url.hosts(), [("one", Some(26_379)), ("two", None)]);
/// # Ok::<(), pymq::Error>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ProviderUrl {
    /// The URL with its first host alone.
    url: Url,
    /// The other hosts.
    others: Vec<(String, Option<u16>)>,
}

impl ProviderUrl {
    /// Returns the scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Returns the URL **with its password**, for the provider that connects to it. Of several
    /// hosts it has the first.
    pub fn as_url(&self) -> &Url {
        &self.url
    }

    /// Returns the hosts and their ports. A provider that uses one host refuses more of them.
    pub fn hosts(&self) -> Vec<(&str, Option<u16>)> {
        let first = self.url.host_str().filter(|host| !host.is_empty());
        let first = first.map(|host| (host, self.url.port()));
        let others = self.others.iter();
        first
            .into_iter()
            .chain(others.map(|(host, port)| (host.as_str(), *port)))
            .collect()
    }

    /// Returns the query parameters.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a parameter that is not in `known`, and for
    /// one that is given twice.
    pub fn parameters(&self, known: &[&'static str]) -> Result<Parameters> {
        Parameters::parse(&self.url, known)
    }
}

impl FromStr for ProviderUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|error| {
            // The error does not quote the text, which may contain a password.
            Error::new(
                ErrorKind::InvalidConfig,
                "cannot read the provider URL, expected one such as \
                 `redis://localhost:6379` or `memory://`",
            )
            .with_source(error)
        })
    }
}

/// Parses a URL with any number of hosts. [`Url`] knows one.
fn parse(text: &str) -> Result<ProviderUrl, ParseError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let url = Url::parse(text)?;
        return Ok(ProviderUrl {
            url,
            others: Vec::new(),
        });
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let mut hosts = hosts.split(',');
    let first = hosts.next().unwrap_or_default();
    let url = Url::parse(&format!("{scheme}://{user}{first}{path}"))?;
    let others = hosts.map(|host| parse_host(scheme, host));
    let others: Vec<_> = others.collect::<Result<_, ParseError>>()?;
    if first.is_empty() && !others.is_empty() {
        return Err(ParseError::EmptyHost);
    }
    Ok(ProviderUrl { url, others })
}

fn parse_host(scheme: &str, host: &str) -> Result<(String, Option<u16>), ParseError> {
    let url = Url::parse(&format!("{scheme}://{host}"))?;
    let name = url.host_str().filter(|name| !name.is_empty());
    let name = name.ok_or(ParseError::EmptyHost)?;
    Ok((name.to_owned(), url.port()))
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
        f.write_str(&without_secrets(&self.url, &self.others))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ProviderUrl {
        text.parse().unwrap()
    }

    #[test]
    fn several_hosts_are_read_and_printed() {
        let several = url("redis-sentinel://u:a,b@one:1,[::1]:2,three/orders/2?namespace=a,b");

        assert_eq!(
            several.hosts(),
            [("one", Some(1)), ("[::1]", Some(2)), ("three", None)]
        );
        assert_eq!(several.as_url().password(), Some("a,b"));
        assert_eq!(
            several.to_string(),
            "redis-sentinel://***@one:1,[::1]:2,three/orders/2?namespace=a,b"
        );
    }

    #[test]
    fn one_host_or_none_is_as_before() {
        assert_eq!(url("redis://host:7").hosts(), [("host", Some(7))]);
        assert_eq!(url("memory://").hosts(), []);
        assert_eq!(url("unix:///run/a,b.sock").hosts(), []);
    }

    #[test]
    fn a_list_with_an_unusable_host_is_refused() {
        for text in [
            "x://a,",
            "x://a,,b",
            "x://a:1,b:port",
            "x://a,b@:1",
            "x://,a",
        ] {
            let error = text.parse::<ProviderUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
        }
    }
}
