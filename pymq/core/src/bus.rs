//! [`Bus`]: the handle from which a program gets all others.

mod ideas;
mod life;

use std::fmt;
use std::sync::Arc;

use crate::client::Client;
use crate::connect::{Connect, IntoProviderUrl, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Provider;

/// A connection to the bus: topics, queues and remotes.
///
/// Cheap to clone. All clones are one bus. Guards, streams, queues and stubs are handles of the bus
/// too.
///
/// When the last handle is dropped, the tasks of the bus end without waiting.
/// [`shutdown`](Self::shutdown) lets them finish. A handler that owns a clone keeps the bus alive
/// until a shutdown.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use std::time::Duration;
///
/// let bus = pymq::connect("memory://").await?;
///
/// bus.topic("greetings").publish("hello").await?;
///
/// bus.shutdown(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Bus {
    client: Client,
}

impl Bus {
    /// Connects with the configuration of a provider.
    ///
    /// The bus ends with the current runtime: see [`new`](Self::new).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays connected.
    ///
    /// # Errors
    ///
    /// The error with which the provider fails within its connect timeout.
    pub async fn connect(config: impl Connect) -> Result<Self> {
        Ok(Self::new(config.connect().await?))
    }

    /// Creates a bus on a connected provider. Call it on a tokio runtime: the tasks of the bus run
    /// there.
    ///
    /// The bus ends with that runtime. Its handlers and streams end, the provider is closed, and
    /// every operation fails with [`Closed`](ErrorKind::Closed). The source of the error names the
    /// cause.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            client: Client::connected(provider),
        }
    }

    /// Creates a bus that is not connected yet, such as one in a `static`.
    ///
    /// Handlers, workers and functions can be registered on it, and start in
    /// [`attach`](Self::attach). Until then every other operation fails with
    /// [`NotInitialized`](ErrorKind::NotInitialized). Handles that are created before, such as
    /// topics and queues, work when the bus is connected.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// use pymq::{Bus, ErrorKind};
    ///
    /// let bus = Bus::unconnected();
    /// let answer = bus.stub::<(), i64>("answer");
    /// bus.expose("answer", async || 42).await?.keep();
    /// assert_eq!(answer.call(()).await.unwrap_err().kind(), ErrorKind::NotInitialized);
    ///
    /// bus.attach(pymq::memory::MemoryConfig::default()).await?;
    ///
    /// assert_eq!(answer.call(()).await?, 42);
    /// # Ok(()) }
    /// ```
    pub fn unconnected() -> Self {
        Self {
            client: Client::unconnected(),
        }
    }

    /// Connects an [unconnected](Self::unconnected) bus, and starts everything that was registered
    /// on it. All of that is live when it returns.
    ///
    /// The bus ends with the current runtime: see [`new`](Self::new). A connected provider is a
    /// configuration too.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the bus is unconnected and keeps its registrations, as
    /// before.
    ///
    /// # Errors
    ///
    /// [`AlreadyInitialized`](ErrorKind::AlreadyInitialized) if the bus is or was connected, or is
    /// being connected. Otherwise the error of the provider. Then the bus is unconnected and keeps
    /// its registrations, as before.
    pub async fn attach(&self, config: impl Connect) -> Result<()> {
        self.client.attach(config.connect()).await
    }

    /// Tells whether the bus was connected. It may have been closed since.
    pub fn is_attached(&self) -> bool {
        self.client.any_session().is_some()
    }

    /// Tells whether both are handles of the same bus.
    pub fn is_same(&self, other: &Self) -> bool {
        self.client.is_same(&other.client)
    }

    /// Sets the largest payload that this handle sends. It is [`MAX_PAYLOAD`](crate::MAX_PAYLOAD)
    /// unless set.
    ///
    /// Clones, topics, queues, stubs and remotes from this handle have the same limit. The body and
    /// the headers count. A larger payload fails with [`TooLarge`](ErrorKind::TooLarge) before
    /// anything is sent. In place of a larger reply, the caller gets an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// use pymq::ErrorKind;
    ///
    /// let bus = pymq::connect("memory://").await?.max_payload(8);
    ///
    /// let error = bus.topic("news").publish("far too long").await.unwrap_err();
    ///
    /// assert_eq!(error.kind(), ErrorKind::TooLarge);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.client.set_max_payload(bytes);
        self
    }

    /// Gives a value to the handlers, workers and functions that are registered through this
    /// handle, and through handles from it. They take it as a [`State`](crate::State).
    ///
    /// There is one value of each type. A later value replaces the earlier one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::{ErrorKind, State};
    ///
    /// #[derive(Clone)]
    /// struct Prices { eggs: f64 }
    ///
    /// async fn price(State(prices): State<Prices>, dozens: f64) -> f64 {
    ///     prices.eggs * dozens
    /// }
    ///
    /// let missing = bus.expose("price", price).await.unwrap_err();
    /// assert_eq!(missing.kind(), ErrorKind::InvalidConfig);
    ///
    /// let bus = bus.with_state(Prices { eggs: 2.5 });
    /// bus.expose("price", price).await?.keep();
    ///
    /// assert_eq!(bus.stub::<(f64,), f64>("price").call((2.0,)).await?, 5.0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> Self {
        self.client.add_state(state);
        self
    }

    /// Returns the provider of this bus.
    ///
    /// # Errors
    ///
    /// [`NotInitialized`](ErrorKind::NotInitialized) if the bus is not connected yet.
    pub fn provider(&self) -> Result<&Arc<dyn Provider>> {
        let operation = || "the provider of the bus".to_owned();
        let session = self.client.any_session();
        let session = session.ok_or_else(|| Error::new(ErrorKind::NotInitialized, operation()))?;
        Ok(session.provider())
    }
}

impl Registry {
    /// Connects a bus to the provider that a URL names.
    ///
    /// The URL is a text, or a [`ProviderUrl`](crate::ProviderUrl) from a configuration.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays connected.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for an invalid URL, and for an unknown scheme or
    /// parameter, with the nearest known name. Otherwise the error with which the provider fails
    /// within its connect timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// let registry = pymq::registry();
    ///
    /// let url = std::env::var("SHOP_BUS_URL").unwrap_or("memory://".to_owned());
    /// let bus = registry.connect(url).await?;
    ///
    /// bus.ping(std::time::Duration::from_secs(1)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(&self, url: impl IntoProviderUrl) -> Result<Bus> {
        self.provider(url).await.map(Bus::new)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("provider", &self.client.provider_name())
            .finish_non_exhaustive()
    }
}
