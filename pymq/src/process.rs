//! The process-wide bus: functions over one bus in a `static`, which [`init`] connects.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymq_core::codec::Decode;
use pymq_core::{
    Args, Bus, Connect, Event, Handler, IntoProviderUrl, Params, Pattern, Publication, Queue,
    RemoteFunction, Responses, Result, Running, Stub, Topic,
};
use serde::de::DeserializeOwned;

use crate::registry;

static BUS: LazyLock<Mutex<Bus>> = LazyLock::new(|| Mutex::new(Bus::unconnected()));

/// Connects the process-wide bus to what a URL names, as [`connect`](crate::connect) does, and
/// starts what was registered before. All of that is live when it returns.
///
/// # Cancel safety
///
/// Dropped early, the bus is not connected, and what was registered stays held.
///
/// # Errors
///
/// [`AlreadyInitialized`](crate::ErrorKind::AlreadyInitialized) when it is connected already. Else
/// what the provider answers to the connection or to a registration: the bus is not connected then,
/// and what was registered stays held.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use std::time::Duration;
///
/// pymq::expose("answer", async || 42).await?.keep(); // held
/// pymq::init("memory://").await?; // starts it
///
/// assert_eq!(pymq::stub::<(), i64>("answer").call(()).await?, 42);
///
/// pymq::shutdown(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
pub async fn init(url: impl IntoProviderUrl) -> Result<()> {
    init_with(Url(url)).await
}

/// Connects the process-wide bus with the configuration of a provider, or to a provider that is
/// connected already. Otherwise as [`init`].
///
/// # Cancel safety
///
/// As [`init`].
///
/// # Errors
///
/// As [`init`].
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use pymq::memory::MemoryConfig;
///
/// pymq::process::init_with(MemoryConfig::default()).await?;
///
/// assert!(pymq::bus().is_attached());
/// # Ok(()) }
/// ```
pub async fn init_with(config: impl Connect) -> Result<()> {
    bus().attach(config).await
}

/// Shuts the process-wide bus down as [`Bus::shutdown`]. Afterwards it is a new one, which [`init`]
/// may connect.
///
/// Handles made before, such as topics and queues, belong to the old bus and answer
/// [`Closed`](crate::ErrorKind::Closed). What was registered ends with it. On a bus that is not
/// connected there is nothing to do.
///
/// Within the grace time handlers also handle the events that waited for them. [`Duration::ZERO`]
/// means now, and drops them.
///
/// # Cancel safety
///
/// As [`Bus::shutdown`].
///
/// # Errors
///
/// As [`Bus::shutdown`].
pub async fn shutdown(grace: Duration) -> Result<()> {
    let bus = bus();
    if !bus.is_attached() {
        return Ok(());
    }
    // It stays in place while it drains: handlers that finish may publish and call.
    let closed = bus.shutdown(grace).await;
    let mut place = lock();
    let ended = place
        .is_same(&bus)
        .then(|| std::mem::replace(&mut *place, Bus::unconnected()));
    // Dropped outside the lock: the last handle ends tasks and drops handlers, which may come back
    // here.
    drop(place);
    drop(ended);
    closed
}

/// Returns the process-wide bus, connected or not.
///
/// # Examples
///
/// ```
/// assert!(!pymq::bus().is_attached(), "no `init` yet");
/// ```
pub fn bus() -> Bus {
    lock().clone()
}

/// Publishes an event as [`Bus::publish`].
///
/// # Errors
///
/// [`NotInitialized`](crate::ErrorKind::NotInitialized) before [`init`]; else as [`Bus::publish`].
pub async fn publish<E: Event>(event: &E) -> Result<usize> {
    bus().publish(event).await
}

/// Starts a publication that carries a header, as [`Bus::header`].
pub fn header(name: impl Into<String>, value: impl Into<String>) -> Publication {
    bus().header(name, value)
}

/// Subscribes a handler as [`Bus::subscribe`]. Before [`init`] it is held, and live when that
/// returns.
///
/// # Errors
///
/// As [`Bus::subscribe`].
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # use serde::{Deserialize, Serialize};
/// #[derive(Deserialize, Serialize)]
/// struct Placed {
///     order: u64,
/// }
/// pymq::event!(Placed);
///
/// async fn bill(placed: Placed) {
///     println!("order {}", placed.order);
/// }
///
/// pymq::subscribe(bill).await?.keep();
/// pymq::init("memory://").await?;
///
/// assert_eq!(pymq::publish(&Placed { order: 7 }).await?, 1);
/// # Ok(()) }
/// ```
pub async fn subscribe<E, Form>(handler: impl Handler<E, Form>) -> Result<Running>
where
    E: Event + Decode + 'static,
{
    bus().subscribe(handler).await
}

/// Names a topic as [`Bus::topic`].
pub fn topic(name: impl Into<String>) -> Topic {
    bus().topic(name)
}

/// Names the topics that a glob matches, as [`Bus::pattern`].
pub fn pattern(glob: impl Into<String>) -> Pattern {
    bus().pattern(glob)
}

/// Exposes a function as [`Bus::expose`]. Before [`init`] it is held, and can be called when that
/// returns.
///
/// # Errors
///
/// As [`Bus::expose`]. Before `init`, too, a name exposed twice is
/// [`AlreadyExposed`](crate::ErrorKind::AlreadyExposed).
pub async fn expose<P: Params, Form>(
    name: impl Into<String>,
    function: impl RemoteFunction<P, Form>,
) -> Result<Running> {
    bus().expose(name, function).await
}

/// Returns a handle on a queue as [`Bus::queue`].
pub fn queue<T>(name: impl AsRef<str>) -> Queue<T> {
    bus().queue(name)
}

/// Creates the caller's side of a remote as [`Bus::stub`].
pub fn stub<A, R>(name: impl Into<String>) -> Stub<A, R> {
    bus().stub(name)
}

/// Calls every server that exposes the name, as [`Bus::call_all`].
///
/// # Errors
///
/// [`NotInitialized`](crate::ErrorKind::NotInitialized) before [`init`]; else as [`Bus::call_all`].
pub async fn call_all<R: DeserializeOwned>(
    name: impl Into<String>,
    args: impl Args,
) -> Result<Responses<R>> {
    bus().call_all(name, args).await
}

/// Checks that the provider answers within `timeout`, as [`Bus::ping`].
///
/// # Errors
///
/// [`NotInitialized`](crate::ErrorKind::NotInitialized) before [`init`]; else as [`Bus::ping`].
pub async fn ping(timeout: Duration) -> Result<()> {
    bus().ping(timeout).await
}

/// A URL as a configuration.
struct Url<U>(U);

#[async_trait::async_trait]
impl<U: IntoProviderUrl> Connect for Url<U> {
    async fn connect(self) -> Result<std::sync::Arc<dyn pymq_core::provider::Provider>> {
        registry().provider(self.0).await
    }
}

fn lock() -> MutexGuard<'static, Bus> {
    BUS.lock().unwrap_or_else(PoisonError::into_inner)
}
