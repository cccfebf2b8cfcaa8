//! From a configuration to a provider.
//!
//! [`Connect`] is for code that names its provider. [`Registry`] is for code that reads a URL, so
//! that the configuration chooses the provider.

mod parameters;
mod secrets;
mod unknown;
mod url;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::parameters::Parameters;
use self::unknown::unknown;
pub use self::url::{IntoProviderUrl, ProviderUrl};

use crate::error::Result;
use crate::provider::Provider;

/// The configuration of a provider, from which a bus can be connected.
#[async_trait]
pub trait Connect: Send {
    /// Connects within the connect timeout of the configuration.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays connected.
    async fn connect(self) -> Result<Arc<dyn Provider>>;
}

#[async_trait]
impl Connect for Arc<dyn Provider> {
    /// It is connected already.
    async fn connect(self) -> Result<Arc<dyn Provider>> {
        Ok(self)
    }
}

/// A provider in a [`Registry`], with the URL schemes that it handles.
#[async_trait]
pub trait Scheme: fmt::Debug + Send + Sync + 'static {
    /// Returns the schemes, such as `["redis", "rediss"]`.
    fn schemes(&self) -> &'static [&'static str];

    /// Connects to the server or broker that the URL names.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays connected.
    async fn connect(&self, url: &ProviderUrl) -> Result<Arc<dyn Provider>>;
}

/// The providers that an application can be configured to use, by URL scheme.
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

    /// Connects the provider that a URL names, without a [`Bus`](crate::Bus) around it.
    ///
    /// Most programs use [`connect`](Self::connect) instead.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
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
