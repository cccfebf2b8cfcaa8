//! How to open a memory broker: [`MemoryConfig`] in code, a URL in a configuration file.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::Provider;
use pymq_core::{Connect, Error, ErrorKind, ProviderUrl, Result, Scheme, name};
use serde::de::{self, Deserialize, Deserializer};

use crate::{MemoryBroker, MemoryProvider};

/// The default namespace, the same as on Redis.
const DEFAULT_NAMESPACE: &str = "global";

/// The broker and the namespace of a handle.
///
/// The default is a new broker for each connect. A configuration can be parsed and deserialized
/// from a URL: `memory://`, `memory://name`, `memory://name?namespace=shop`.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use pymq::provider::Connect;
/// use pymq_provider_memory::MemoryConfig;
///
/// let config: MemoryConfig = "memory://tests?namespace=shop".parse()?;
///
/// assert_eq!(config.connect().await?.name(), "memory");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    place: Place,
    namespace: String,
}

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Fresh,
    /// The broker is looked up at connect, so that a configuration keeps no broker alive.
    Named(String),
    Broker(MemoryBroker),
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            place: Place::default(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
        }
    }
}

impl MemoryConfig {
    /// Creates the configuration of a new broker for each connect.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the configuration of the broker that has this name inside the process.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            place: Place::Named(name.into()),
            ..Self::default()
        }
    }

    /// Sets the namespace, `global` by default. Handles in different namespaces share nothing.
    ///
    /// A namespace has 1 to 64 characters of `A-Za-z0-9._-`. Opening a handle in any other fails
    /// with [`InvalidConfig`](ErrorKind::InvalidConfig).
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Opens a handle, as [`Connect`] does, but without `await` and as its own type.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for an invalid namespace.
    pub fn open(&self) -> Result<MemoryProvider> {
        name::check_namespace(&self.namespace)?;
        let broker = match &self.place {
            Place::Fresh => MemoryBroker::new(),
            Place::Named(name) => MemoryBroker::named(name),
            Place::Broker(broker) => broker.clone(),
        };
        Ok(MemoryProvider::new(&broker, &self.namespace))
    }
}

impl From<&MemoryBroker> for MemoryConfig {
    fn from(broker: &MemoryBroker) -> Self {
        Self {
            place: Place::Broker(broker.clone()),
            ..Self::default()
        }
    }
}

impl TryFrom<&ProviderUrl> for MemoryConfig {
    type Error = Error;

    fn try_from(url: &ProviderUrl) -> Result<Self> {
        let parameters = url.parameters(&["namespace"])?;
        let fault = |fault: &str| {
            Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("`{url}`: {fault}"),
            ))
        };
        if url.scheme() != "memory" {
            return fault("the scheme is not `memory`");
        }
        let parts = url.as_url();
        let is_bare = parts.username().is_empty()
            && parts.password().is_none()
            && parts.port().is_none()
            && url.hosts().len() <= 1
            && parts.fragment().is_none()
            && matches!(parts.path(), "" | "/");
        if !is_bare {
            return fault("expected `memory://` or `memory://name`");
        }
        let config = match parts.host_str() {
            None | Some("") => Self::new(),
            Some(name) => Self::named(name),
        };
        let Some(namespace) = parameters.get("namespace") else {
            return Ok(config);
        };
        name::check_namespace(namespace)?;
        Ok(config.namespace(namespace))
    }
}

impl FromStr for MemoryConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::try_from(&url.parse::<ProviderUrl>()?)
    }
}

impl<'de> Deserialize<'de> for MemoryConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(&ProviderUrl::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[async_trait]
impl Connect for MemoryConfig {
    async fn connect(self) -> Result<Arc<dyn Provider>> {
        Ok(Arc::new(self.open()?))
    }
}

/// The scheme `memory://` for a [`Registry`](pymq_core::Registry).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// let registry = pymq::provider::Registry::new().with(pymq_provider_memory::Memory);
///
/// assert_eq!(registry.provider("memory://shared").await?.name(), "memory");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

#[async_trait]
impl Scheme for Memory {
    fn schemes(&self) -> &'static [&'static str] {
        &["memory"]
    }

    async fn connect(&self, url: &ProviderUrl) -> Result<Arc<dyn Provider>> {
        MemoryConfig::try_from(url)?.connect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_broker_and_namespace() {
        let config: MemoryConfig = "memory://shared?namespace=shop".parse().unwrap();

        assert!(matches!(&config.place, Place::Named(name) if name == "shared"));
        assert_eq!(config.namespace, "shop");
        assert!(matches!(
            "memory://".parse::<MemoryConfig>().unwrap().place,
            Place::Fresh
        ));
    }

    #[test]
    fn an_invalid_namespace_is_refused() {
        for namespace in ["", "a:b", "a*", "a%0Ab", "a%20b"] {
            let url = format!("memory://?namespace={namespace}");
            let error = url.parse::<MemoryConfig>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        }
        let error = MemoryConfig::new().namespace("a:b").open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn an_invalid_url_is_refused() {
        for url in [
            "redis://x",
            "memory:x",
            "memory://a/b",
            "memory://u@a",
            "memory://a:1",
            "memory://a,b",
            "memory://a#b",
            "memory://?x=1",
        ] {
            let error = url.parse::<MemoryConfig>().unwrap_err();

            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        }
    }
}
