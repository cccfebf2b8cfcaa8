//! The process-wide bus: opt-in, and only a place to keep a [`Bus`] plus what waits for one.
//!
//! Handlers and remotes registered before [`init`] are held and start with it; everything else fails
//! until then. Nothing silently does nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bus::Bus;
use crate::codec::Decode;
use crate::connect::Connect;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::handler::Handler;
use crate::pattern::Pattern;
use crate::provider::Filter;
use crate::publication::Publication;
use crate::queue::Queue;
use crate::registration::{Guard, Owner, Registration};
use crate::rpc::{Args, Params, RemoteFunction, RemoteGuard, Responses, Stub};
use crate::shutdown::Running;
use crate::subscription::{SubscriptionBuilder, SubscriptionGuard};
use crate::topic::Topic;

static GLOBAL: Mutex<Global> = Mutex::new(Global {
    stage: Stage::Empty,
    held: Vec::new(),
});

struct Global {
    stage: Stage,
    /// What was registered while there was no bus, in order.
    held: Vec<Held>,
}

enum Stage {
    Empty,
    /// An `init` is at work.
    Starting,
    Live(Bus),
}

struct Held {
    registration: Registration,
    running: Arc<Running>,
}

/// Connects the process-wide bus and starts what was registered before; live when it returns.
///
/// # Cancel safety
///
/// Dropped early, there is no bus, and what was registered stays held.
///
/// # Errors
///
/// [`AlreadyInitialized`](ErrorKind::AlreadyInitialized) when there is one; else what the provider answers to the
/// connection or to a registration. There is no bus then, and what was registered stays held.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use std::time::Duration;
///
/// use pymq::memory::MemoryConfig;
///
/// pymq::expose("answer", || async { 42 }).await?.keep(); // held
/// pymq::init(MemoryConfig::default()).await?; // starts it
///
/// assert_eq!(pymq::stub::<(), i64>("answer")?.call(()).await?, 42);
///
/// pymq::shutdown(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
pub async fn init(config: impl Connect) -> Result<()> {
    let starting = Starting::claim()?;
    let bus = Bus::connect(config).await?;
    starting.finish(bus).await
}

/// Makes a bus the process-wide one, as of a [`Registry`](crate::Registry); else as [`init`].
///
/// # Errors
///
/// As [`init`]; the bus is closed then, unless there was another already.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// let registry = pymq::registry();
///
/// pymq::init_with(registry.connect("memory://").await?).await?;
///
/// assert!(pymq::bus().is_ok());
/// # Ok(()) }
/// ```
pub async fn init_with(bus: Bus) -> Result<()> {
    Starting::claim()?.finish(bus).await
}

/// Shuts the process-wide bus down as [`Bus::shutdown`]; afterwards there is none, and [`init`] may make another.
///
/// Within the grace time handlers also handle the events that waited for them. [`Duration::ZERO`] means now, and drops
/// them.
///
/// Without a bus there is nothing to do. What was registered on the bus ends with it.
///
/// # Errors
///
/// As [`Bus::shutdown`].
pub async fn shutdown(grace: Duration) -> Result<()> {
    let Ok(bus) = bus() else { return Ok(()) };
    // It stays in place while it drains: handlers that finish may publish and call.
    let closed = bus.shutdown(grace).await;
    let mut global = lock();
    let ended = matches!(&global.stage, Stage::Live(live) if live.is_same(&bus));
    let stage = if ended {
        std::mem::replace(&mut global.stage, Stage::Empty)
    } else {
        Stage::Empty
    };
    // Dropped outside the lock: the last handle ends tasks, and with them handlers, which may come back here.
    drop(global);
    drop(stage);
    closed
}

/// Returns the process-wide bus.
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`] and after [`shutdown`].
///
/// # Examples
///
/// ```
/// assert!(pymq::bus().is_err(), "no `init` yet");
/// ```
pub fn bus() -> Result<Bus> {
    match &lock().stage {
        Stage::Live(bus) => Ok(bus.clone()),
        Stage::Empty | Stage::Starting => {
            Err(Error::new(ErrorKind::NotInitialized, "process-wide bus"))
        }
    }
}

/// Publishes an event as [`Bus::publish`].
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`]; else as [`Bus::publish`].
pub async fn publish<E: Event>(event: &E) -> Result<usize> {
    Publication::new(Owner::Global).publish(event).await
}

/// Starts a publication that carries a header, as [`Bus::header`].
pub fn header(name: impl Into<String>, value: impl Into<String>) -> Publication {
    Publication::new(Owner::Global).header(name, value)
}

/// Subscribes a handler as [`Bus::subscribe`]; before [`init`] it is held, and live when that returns.
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
/// pymq::init(pymq::memory::MemoryConfig::default()).await?;
///
/// assert_eq!(pymq::publish(&Placed { order: 7 }).await?, 1);
/// # Ok(()) }
/// ```
pub async fn subscribe<E, Form>(handler: impl Handler<E, Form>) -> Result<SubscriptionGuard>
where
    E: Event + Decode + 'static,
{
    SubscriptionBuilder::new(Owner::Global, Filter::Topic(E::TOPIC.to_owned()))
        .subscribe(handler)
        .await
}

/// Names a topic as [`Bus::topic`]; looks the bus up when something is done with it.
pub fn topic(name: impl Into<String>) -> Topic {
    Topic::new(Owner::Global, name.into())
}

/// Names the topics a glob matches as [`Bus::pattern`]; looks the bus up when something is done with it.
pub fn pattern(glob: impl Into<String>) -> Pattern {
    Pattern::new(Owner::Global, glob.into())
}

/// Exposes a function as [`Bus::expose`]; before [`init`] it is held, and can be called when that returns.
///
/// # Errors
///
/// As [`Bus::expose`]. Before `init`, a name exposed twice is [`AlreadyExposed`](ErrorKind::AlreadyExposed) as well.
pub async fn expose<P: Params, Form>(
    name: impl Into<String>,
    function: impl RemoteFunction<P, Form>,
) -> Result<RemoteGuard> {
    RemoteGuard::expose(&Owner::Global, name.into(), function).await
}

/// Returns a handle on a queue as [`Bus::queue`].
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`].
pub fn queue<T>(name: impl AsRef<str>) -> Result<Queue<T>> {
    Ok(bus()?.queue(name))
}

/// Creates the caller's side of a remote as [`Bus::stub`].
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`].
pub fn stub<A, R>(name: impl Into<String>) -> Result<Stub<A, R>> {
    Ok(bus()?.stub(name))
}

/// Calls every server that exposes the name as [`Bus::call_all`].
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`]; else as [`Bus::call_all`].
pub async fn call_all<R: DeserializeOwned>(
    name: impl Into<String>,
    args: impl Args,
) -> Result<Responses<R>> {
    bus()?.call_all(name, args).await
}

/// Checks that the provider answers within `timeout`, as [`Bus::ping`].
///
/// # Errors
///
/// [`NotInitialized`](ErrorKind::NotInitialized) before [`init`]; else as [`Bus::ping`].
pub async fn ping(timeout: Duration) -> Result<()> {
    bus()?.ping(timeout).await
}

/// Starts a registration on the bus, or holds it until there is one.
pub(crate) async fn register(registration: Registration) -> Result<Guard> {
    let bus = {
        let mut global = lock();
        match &global.stage {
            Stage::Live(bus) => bus.clone(),
            Stage::Empty | Stage::Starting => return global.hold(registration),
        }
    };
    Guard::start(&bus, registration).await
}

/// Lets go of held registrations whose guard is gone.
pub(crate) fn forget_stopped() {
    let mut global = lock();
    let (stopped, held) = std::mem::take(&mut global.held)
        .into_iter()
        .partition(|held| held.running.is_stopped());
    global.held = held;
    drop(global);
    // Outside the lock: a handler may own a guard of its own.
    drop::<Vec<Held>>(stopped);
}

impl Global {
    fn hold(&mut self, registration: Registration) -> Result<Guard> {
        if let Registration::Remote { name, .. } = &registration {
            let is_same = |held: &Held| matches!(&held.registration, Registration::Remote { name: other, .. } if other == name);
            if self
                .held
                .iter()
                .any(|held| is_same(held) && !held.running.is_stopped())
            {
                return Err(Error::new(
                    ErrorKind::AlreadyExposed,
                    format!("expose `{name}`"),
                ));
            }
        }
        let (guard, running) = Guard::held();
        self.held.push(Held {
            registration,
            running,
        });
        Ok(guard)
    }
}

/// An `init` at work. Dropped before it is live, there is no bus and everything is held as before.
struct Starting {
    is_live: bool,
    bus: Option<Bus>,
    /// What has been started so far: held again if this fails.
    started: Vec<Held>,
}

impl Starting {
    fn claim() -> Result<Self> {
        let mut global = lock();
        let taken = || Error::new(ErrorKind::AlreadyInitialized, "process-wide bus");
        match &global.stage {
            Stage::Empty => {}
            Stage::Starting => return Err(taken()),
            Stage::Live(bus) => {
                // One that has ended by itself says so.
                let ended = bus.live(|| "process-wide bus".to_owned()).err();
                return Err(ended.into_iter().fold(taken(), Error::with_source));
            }
        }
        global.stage = Stage::Starting;
        Ok(Self {
            is_live: false,
            bus: None,
            started: Vec::new(),
        })
    }

    async fn finish(mut self, bus: Bus) -> Result<()> {
        self.bus = Some(bus.clone());
        if let Err(error) = self.start_held(&bus).await {
            // The first error says why; a second could only say that closing failed as well.
            drop(bus.close().await);
            return Err(error);
        }
        Ok(())
    }

    /// Starts what is held until nothing is, then goes live in the same step.
    async fn start_held(&mut self, bus: &Bus) -> Result<()> {
        while let Some(held) = self.next_or_live(bus) {
            let (registration, running) = (held.registration.clone(), Arc::clone(&held.running));
            self.started.push(held);
            if !running.is_stopped() {
                registration.start(bus, running).await?;
            }
        }
        Ok(())
    }

    /// Takes the next registration that is held; with none left, makes the bus the process-wide one.
    fn next_or_live(&mut self, bus: &Bus) -> Option<Held> {
        let mut global = lock();
        if global.held.is_empty() {
            global.stage = Stage::Live(bus.clone());
            self.is_live = true;
            return None;
        }
        Some(global.held.remove(0))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if self.is_live {
            return;
        }
        // Given up halfway: what was started must not go on, on a bus that nobody knows.
        if let Some(bus) = &self.bus {
            bus.tasks().abandon();
        }
        let mut global = lock();
        global.stage = Stage::Empty;
        global.held.splice(0..0, self.started.drain(..));
    }
}

fn lock() -> MutexGuard<'static, Global> {
    GLOBAL.lock().unwrap_or_else(PoisonError::into_inner)
}
