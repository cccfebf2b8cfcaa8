//! From a URL to a bus, on any provider that is compiled in.

use pymq_core::{Bus, IntoProviderUrl, Registry, Result};

#[cfg(not(all(feature = "memory", feature = "redis")))]
use crate::off::Off;

/// Connects a bus to the server in a URL: `memory://`, `redis://127.0.0.1:6379`, or a
/// [`ProviderUrl`](crate::provider::ProviderUrl) from a configuration.
///
/// Must be called on a tokio runtime. The bus ends with the runtime.
///
/// # Cancel safety
///
/// Cancel safe: a connection that was opened is closed.
///
/// # Errors
///
/// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a URL that cannot be read, for an unknown
/// scheme or parameter (the error suggests the nearest name), and for a scheme of a feature that is
/// off (the error names the feature). Otherwise the error of the provider, within its connect
/// timeout.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// let url = std::env::var("SHOP_BUS_URL").unwrap_or("memory://".to_owned());
/// let bus = pymq::connect(url).await?;
///
/// bus.ping(std::time::Duration::from_secs(1)).await?;
/// # Ok(()) }
/// ```
pub async fn connect(url: impl IntoProviderUrl) -> Result<Bus> {
    registry().connect(url).await
}

/// Returns a registry with every provider that is compiled in. Add those of third parties with
/// [`with`](Registry::with).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// let provider = pymq::registry().provider("memory://").await?;
///
/// assert_eq!(provider.name(), "memory");
/// # Ok(()) }
/// ```
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "memory")]
    let registry = registry.with(pymq_provider_memory::Memory);
    #[cfg(not(feature = "memory"))]
    let registry = registry.with(Off::new(&["memory"], "memory"));
    #[cfg(feature = "redis")]
    let registry = registry.with(pymq_provider_redis::Redis);
    #[cfg(not(feature = "redis"))]
    let registry = registry
        .with(Off::new(
            &[
                "redis",
                "redis-sentinel",
                "redis-cluster",
                "redis+unix",
                "unix",
            ],
            "redis",
        ))
        .with(Off::new(&["rediss"], "redis-tls"));
    registry
}
