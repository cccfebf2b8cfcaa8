//! [`Bus`]: the handle everything starts from.

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
/// Cheap to clone; all clones are one bus, and guards, streams, queues and stubs are handles to it as well. When the
/// last of them is dropped its tasks end, without waiting; [`shutdown`](Self::shutdown) lets them finish. A handler
/// that holds a clone keeps its bus alive until then.
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
    /// The bus lives no longer than the runtime on which it is connected, as said at [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// What the provider answers within its connect timeout.
    pub async fn connect(config: impl Connect) -> Result<Self> {
        Ok(Self::new(config.connect().await?))
    }

    /// Creates a bus on a connected provider. Must be called on a tokio runtime, which the bus uses for its tasks.
    ///
    /// When that runtime ends, so does the bus: what it has open ends, the provider is closed, and every operation
    /// answers [`Closed`](ErrorKind::Closed), whose source says why.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            client: Client::connected(provider),
        }
    }

    /// Creates a bus that is not connected yet, such as one in a `static`.
    ///
    /// It holds handlers, workers and functions that are registered on it, and starts them in
    /// [`attach`](Self::attach). Every other operation answers
    /// [`NotInitialized`](ErrorKind::NotInitialized) until then. Handles made before, such as topics
    /// and queues, work once it is connected.
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

    /// Connects an [unconnected](Self::unconnected) bus, and starts what was registered on it. All
    /// of that is live when it returns.
    ///
    /// As with [`new`](Self::new), the bus lives no longer than the current runtime. A provider that
    /// is connected already is a configuration, too.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the bus is unconnected as before, and holds what it held.
    ///
    /// # Errors
    ///
    /// [`AlreadyInitialized`](ErrorKind::AlreadyInitialized) for a bus that is or was connected, or
    /// is being connected. Else what the provider answers to the connection or to a registration;
    /// the bus is unconnected then as before, and holds what it held.
    pub async fn attach(&self, config: impl Connect) -> Result<()> {
        self.client.attach(config.connect()).await
    }

    /// Tells whether the bus was connected. It may be closed since.
    pub fn is_attached(&self) -> bool {
        self.client.any_session().is_some()
    }

    /// Tells whether both are handles of one bus.
    pub fn is_same(&self, other: &Self) -> bool {
        self.client.is_same(&other.client)
    }

    /// Sets the largest payload this handle sends, and what is made from it: clones, topics, queues, stubs, remotes.
    ///
    /// A payload is the body with its headers; [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) unless set. A larger one is
    /// [`TooLarge`](ErrorKind::TooLarge) before anything is sent; a larger reply is answered as an error.
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

    /// Gives a value to the handlers, workers and functions that are registered by this handle, and
    /// by what is made from it. They take it as a [`State`](crate::State).
    ///
    /// There is one value of each type; a later one takes the place of the first.
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

    /// Returns the provider under this bus.
    ///
    /// # Errors
    ///
    /// [`NotInitialized`](ErrorKind::NotInitialized) on a bus that is not connected yet.
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
