//! From a configuration to a bus: [`Connect`] for code that names its provider, [`Registry`] for code that reads a
//! URL and lets the configuration decide.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::{self, Deserialize, Deserializer};
use url::{Position, Url};

use crate::error::{Error, ErrorKind, Result};
use crate::provider::Provider;

/// A configuration that can be connected; each provider implements it for its own.
#[async_trait]
pub trait Connect: Send {
    /// Connects, within the connect timeout of the configuration.
    async fn connect(self) -> Result<Arc<dyn Provider>>;
}

#[async_trait]
impl Connect for Arc<dyn Provider> {
    /// It is connected already.
    async fn connect(self) -> Result<Arc<dyn Provider>> {
        Ok(self)
    }
}

/// What a provider puts into a [`Registry`]: the URL schemes it answers to.
#[async_trait]
pub trait Scheme: fmt::Debug + Send + Sync + 'static {
    /// Returns the schemes, such as `["redis", "rediss"]`.
    fn schemes(&self) -> &'static [&'static str];

    /// Connects to what the URL names.
    async fn connect(&self, url: &ProviderUrl) -> Result<Arc<dyn Provider>>;
}

/// The providers an application can be configured to use, by URL scheme.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// let registry = pymq::registry();
///
/// let provider = registry.provider("memory://").await?;
///
/// assert_eq!(provider.name(), "memory");
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    schemes: Vec<Box<dyn Scheme>>,
}

impl Registry {
    /// Creates a registry without providers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a provider.
    #[must_use]
    pub fn with(mut self, scheme: impl Scheme) -> Self {
        self.schemes.push(Box::new(scheme));
        self
    }

    /// Opens the provider a URL names. Most programs want [`connect`](Self::connect), which puts a
    /// [`Bus`](crate::Bus) around it.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a URL that cannot be read, or a scheme or parameter nobody knows
    /// (the nearest name is suggested); else what the provider answers.
    pub async fn provider(&self, url: impl IntoProviderUrl) -> Result<Arc<dyn Provider>> {
        let url = url.into_provider_url()?;
        for scheme in &self.schemes {
            if scheme.schemes().contains(&url.scheme()) {
                return scheme.connect(&url).await;
            }
        }
        let known = self
            .schemes
            .iter()
            .flat_map(|scheme| scheme.schemes().iter().copied());
        Err(unknown("scheme", url.scheme(), known))
    }
}

/// A parsed provider URL: `redis://user:password@host:6379/0?namespace=shop`, `memory://name`.
///
/// Parses from text and deserialises from a string, so that any configuration format serves. The password never
/// prints.
///
/// # Examples
///
/// ```
/// let url: pymq::ProviderUrl = "redis://:secret@localhost/0?namespace=shop".parse()?;
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

    /// Returns the whole URL **with its password**; for the provider that dials it.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Returns the query parameters, all of which must be among `known`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for one that is not, or that stands twice.
    pub fn parameters(&self, known: &[&'static str]) -> Result<Parameters> {
        let is_misread = is_misread(&self.0);
        let mut values = HashMap::new();
        for (name, value) in self.0.query_pairs() {
            let Some(name) = known.iter().find(|known| **known == name) else {
                let name = if is_misread { HIDDEN.into() } else { name };
                return Err(unknown("URL parameter", &name, known.iter().copied()));
            };
            if values.insert(*name, value.into_owned()).is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("URL parameter `{name}` is given twice"),
                ));
            }
        }
        Ok(Parameters { values, is_misread })
    }
}

impl FromStr for ProviderUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The source is left out on purpose where it could quote the text: it may hold a password.
        Url::parse(text).map(Self).map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                "provider URL, such as `redis://localhost:6379` or `memory://`",
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

/// What names a provider: a text, or a [`ProviderUrl`] that was read with a configuration.
///
/// Beside it there is `TryFrom`, whose error would be `Infallible` for a URL that is parsed already. Were that to become
/// our [`Error`], the compiler could no longer tell the type of an error by the `?` behind it.
pub trait IntoProviderUrl: Send {
    /// Parses what is not parsed yet.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a text that is no URL.
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
            .map_err(|error| de::Error::custom(with_source(&error)))
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

/// Stands for a secret.
const HIDDEN: &str = "***";

/// Tells whether any part of the URL may be a part of a password. If a `/`, `?` or `#` in one is not escaped, the URL is
/// read as if the host ended there, and its `@` comes later. With another `@` in it, even the host is a part of it.
fn is_misread(url: &Url) -> bool {
    url.cannot_be_a_base() || url[Position::AfterPort..].contains('@')
}

/// Writes a URL with `***` for what is or may be a secret: the user, which may be a token, and the password, the value of a parameter that is named like
/// one, a fragment, and all behind the scheme where an `@` is behind the host.
fn without_secrets(url: &Url) -> String {
    if is_misread(url) {
        return format!("{}:{HIDDEN}", url.scheme());
    }
    let mut shown = url.clone();
    let has_user = !shown.username().is_empty() || shown.password().is_some();
    // Fails only for URLs that cannot hold a user at all.
    if has_user
        && shown
            .set_password(None)
            .and_then(|()| shown.set_username(HIDDEN))
            .is_err()
    {
        return HIDDEN.to_owned();
    }
    if shown.fragment().is_some() {
        shown.set_fragment(Some(HIDDEN));
    }
    let query = url.query().map(|query| {
        let pairs = query.split('&').map(|pair| {
            let name = url::form_urlencoded::parse(pair.as_bytes()).next();
            match name {
                // Some write `;` between pairs, which makes the next one a part of the value.
                Some((name, value))
                    if is_secret(&name) || (value.contains('=') && is_secret(&value)) =>
                {
                    format!("{}={HIDDEN}", pair.split('=').next().unwrap_or_default())
                }
                _ => pair.to_owned(),
            }
        });
        pairs.collect::<Vec<_>>().join("&")
    });
    shown.set_query(query.as_deref());
    shown.into()
}

/// Tells whether a parameter of this name holds a secret.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["pass", "pw", "secret", "token", "auth", "cred", "key"];
    let name = name.to_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// The query parameters of a [`ProviderUrl`], all known by name.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    values: HashMap<&'static str, String>,
    /// They may be parts of a password.
    is_misread: bool,
}

impl Parameters {
    /// Returns a parameter as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns a parameter that is a time: `250ms`, `5s`, `2m`, `1h`, or a plain number of seconds.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when it is not.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let fault = || {
            let is_hidden = self.is_misread || text.contains('=');
            let text = if is_hidden { HIDDEN } else { text };
            Error::new(
                ErrorKind::InvalidConfig,
                format!("URL parameter `{name}={text}`, want `250ms` or `5s`"),
            )
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds_each = match &text[digits.len()..] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(fault()),
        };
        let amount: f64 = digits.parse().map_err(|_| fault())?;
        Duration::try_from_secs_f64(amount * seconds_each)
            .map(Some)
            .map_err(|_| fault())
    }
}

/// Creates the error for a name nobody knows, with the nearest known one or all of them.
fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Error {
    let nearest = known
        .clone()
        .min_by_key(|candidate| strsim::damerau_levenshtein(candidate, name));
    let hint = match nearest {
        Some(nearest) if strsim::damerau_levenshtein(nearest, name) <= 2 + nearest.len() / 4 => {
            format!("did you mean `{nearest}`?")
        }
        _ => format!(
            "known are {}",
            known
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Error::new(
        ErrorKind::InvalidConfig,
        format!("unknown {what} `{name}`, {hint}"),
    )
}

/// One line with all causes, for a framework that keeps only text.
fn with_source(error: &Error) -> String {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_never_prints() {
        let url: ProviderUrl = "redis://user:s3cret@host:6379/2?namespace=a"
            .parse()
            .unwrap();

        assert!(!format!("{url} {url:?}").contains("s3cret"));
        assert_eq!(url.expose().password(), Some("s3cret"));
    }

    #[test]
    fn a_secret_prints_nowhere_in_a_url() {
        for url in [
            "unix:///s?db=1&pass=s3cret",
            "redis+unix:///s?PassWord=s3cret",
            "redis+unix:///s?p%61ss=s3cret",
            "redis://h?auth_token=s3cret",
            "redis://h?client_secret=s3cret&namespace=a",
            "redis:user:s3cret@host",
            "redis://u:12/s3cret@host",
            "redis://u:12?s3cret@host",
            "redis://u:12?a=s3cret@host",
            "redis://u:12#s3cret@host",
            "redis://:@s3cret/@host/0",
            "unix://u@s3cret/@host",
            "redis://s3cret@host",
        ] {
            let url: ProviderUrl = url.parse().unwrap();
            let error = url.parameters(&["namespace"]).err();
            let texts = format!("{url} {url:?} {error:?}");
            assert!(!texts.contains("s3cret"), "{texts}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_prints_nowhere() {
        for url in [
            "redis://u:?s3cret#@host",
            "redis://u:/s3cret?x@host",
            "redis://u:/s3cret#x@host",
            "redis://u:?op_timeout=s3cret@host",
            "redis://u:?op_timeout=s3cret#@host",
            "redis://h?op_timeout=1;pass=s3cret",
            "redis://h?db=1;PassWord=s3cret",
            "redis://h?redis_pw=s3cret",
        ] {
            let url: ProviderUrl = url.parse().unwrap();
            assert_hidden("s3cret", &url);
        }
    }

    fn assert_hidden(secret: &str, url: &ProviderUrl) {
        let timeout = url
            .parameters(&["op_timeout", "pass"])
            .and_then(|it| it.duration("op_timeout"));
        let unknown = url.parameters(&["namespace"]);
        let texts = format!("{url} {url:?} {:?} {:?}", timeout.err(), unknown.err());
        assert!(!texts.contains(secret), "{texts}");
    }

    proptest! {
        #[test]
        fn no_secret_is_in_any_text(
            user in "[a-z]{0,4}",
            around in ("[ -~ä\t]{0,6}", "[ -~ä\t]{0,6}"),
            scheme in "redis|rediss|redis\\+unix|unix|memory|kafka",
            name in "(pass|PASS|pass%77ord|client_secret|auth-token|api_key|pwd)",
            end in "(/0|\\?namespace=a|\\?op_timeout=soon|#x|)",
        ) {
            const SECRET: &str = "S3CR3T";
            let secret = format!("{}{SECRET}{}", around.0, around.1);
            let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            // What ends a parameter ends the secret, and what follows is a name: there is no telling.
            let value = secret.replace('&', "");
            for text in [
                format!("{scheme}://{user}:{secret}@host{end}"),
                format!("{scheme}://{user}:{escaped}@host{end}"),
                format!("{scheme}:{user}:{secret}@host{end}"),
                format!("{scheme}:///run/redis.sock?{name}={value}&op_timeout=soon"),
                format!("{scheme}:///run/redis.sock?{name}={escaped}"),
                format!("{scheme}://host?op_timeout=soon&{name}={value}"),
                format!("{scheme}://{user}:{escaped}@host?{name}={value}"),
                format!("{user}:{secret}@host"),
            ] {
                match text.parse::<ProviderUrl>() {
                    Ok(url) => assert_hidden(SECRET, &url),
                    Err(error) => {
                        let text = format!("{error} {error:?} {}", with_source(&error));
                        prop_assert!(!text.contains(SECRET), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_unknown_parameter_suggests_the_nearest() {
        let url: ProviderUrl = "redis://host?namspace=a".parse().unwrap();

        let error = url.parameters(&["namespace", "op_timeout"]).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`namespace`"), "{error}");
    }

    #[test]
    fn durations_need_a_unit_we_know() {
        let url: ProviderUrl = "redis://host?a=250ms&b=2&c=1.5m&d=3parsecs&e=-1s"
            .parse()
            .unwrap();
        let parameters = url.parameters(&["a", "b", "c", "d", "e"]).unwrap();

        assert_eq!(
            parameters.duration("a").unwrap(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            parameters.duration("b").unwrap(),
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            parameters.duration("c").unwrap(),
            Some(Duration::from_secs(90))
        );
        assert_eq!(parameters.duration("missing").unwrap(), None);
        assert!(parameters.duration("d").is_err());
        assert!(parameters.duration("e").is_err());
    }
}
