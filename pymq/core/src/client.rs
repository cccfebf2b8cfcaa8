//! [`Client`]: what every handle of a bus shares. Topics, queues, stubs and the bus itself hold
//! one.
//!
//! A client has a [`Session`] when it is connected. Before that it keeps what is registered, and
//! every other operation fails with `NotInitialized`.

mod connected;
pub(crate) mod counters;
mod exposed;
mod finished;
mod leases;
pub(crate) mod lifeline;
mod publishing;
mod queues;
mod registration;
mod served;
mod session;
mod settler;
mod stats;
pub(crate) mod tasks;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) use self::connected::ConnectedQueue;
pub(crate) use self::exposed::Claim;
pub(crate) use self::leases::{ByTicket, Ticket};
pub(crate) use self::lifeline::Alive;
pub(crate) use self::publishing::PublishBuffer;
pub(crate) use self::queues::{LocalQueue, LocalQueues};
pub use self::registration::Running;
pub(crate) use self::registration::{Registration, Start};
pub(crate) use self::served::{LastAnswer, SERVED_GRACE, SERVED_PAUSE, Served};
pub(crate) use self::session::Session;
pub use self::stats::BusStats;
pub(crate) use self::tasks::Tasks;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::provider::Provider;
use crate::state::States;

/// The largest payload that a bus sends by default: 16 MiB.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// A handle of one bus. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    max_payload: usize,
    states: States,
}

/// What all handles share. No task holds it, because that task would keep an unused bus alive.
#[derive(Default)]
struct Shared {
    session: OnceLock<Arc<Session>>,
    waiting: Mutex<Waiting>,
    queues: LocalQueues,
}

/// Registrations that wait for a session.
#[derive(Default)]
struct Waiting {
    is_attaching: bool,
    /// In the order of registration.
    held: Vec<Held>,
}

struct Held {
    registration: Registration,
    alive: Arc<Alive>,
}

/// Where a registration goes.
enum Place<'a> {
    /// It can be started now.
    Session(&'a Arc<Session>),
    Held(Running),
}

impl Client {
    /// Creates the client of a bus that is not connected yet.
    pub(crate) fn unconnected() -> Self {
        Self {
            shared: Arc::default(),
            max_payload: MAX_PAYLOAD,
            states: States::default(),
        }
    }

    /// Creates the client of a connected bus, on the current runtime.
    pub(crate) fn connected(provider: Arc<dyn Provider>) -> Self {
        let shared = Shared {
            session: OnceLock::from(Session::new(provider)),
            ..Shared::default()
        };
        Self {
            shared: Arc::new(shared),
            max_payload: MAX_PAYLOAD,
            states: States::default(),
        }
    }

    /// Sets the largest payload that this handle sends.
    pub(crate) fn set_max_payload(&mut self, bytes: usize) {
        self.max_payload = bytes;
    }

    /// Adds a state for everything that is registered through this handle.
    pub(crate) fn add_state<S: Send + Sync + 'static>(&mut self, state: S) {
        self.states = self.states.with(state);
    }

    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Returns the session if the bus was connected. It may have ended since.
    pub(crate) fn any_session(&self) -> Option<&Arc<Session>> {
        self.shared.session.get()
    }

    /// Returns the session, also during a shutdown, because running handlers still use it.
    pub(crate) fn session(&self, operation: impl FnOnce() -> String) -> Result<&Arc<Session>> {
        let Some(session) = self.any_session() else {
            return Err(Error::new(ErrorKind::NotInitialized, operation()));
        };
        session.check_runtime(operation)?;
        Ok(session)
    }

    /// Returns the session if it still takes new work.
    pub(crate) fn open_session(&self, operation: impl FnOnce() -> String) -> Result<&Arc<Session>> {
        let Some(session) = self.any_session() else {
            return Err(Error::new(ErrorKind::NotInitialized, operation()));
        };
        session.check_open(operation)?;
        Ok(session)
    }

    /// Returns the name of the provider, for errors.
    pub(crate) fn provider_name(&self) -> &'static str {
        self.any_session()
            .map_or("unconnected", |session| session.provider().name())
    }

    pub(crate) fn queues(&self) -> &LocalQueues {
        &self.shared.queues
    }

    /// Tells whether both are handles of the same bus.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Checks a payload before anything is sent.
    pub(crate) fn check_size(
        &self,
        operation: impl FnOnce() -> String,
        message: &Message,
    ) -> Result<()> {
        let limit = self.max_payload;
        if message.size() <= limit {
            return Ok(());
        }
        let context = format!(
            "{}: payload of {} bytes, limit {limit}",
            operation(),
            message.size()
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }

    /// Starts a registration, or keeps it until there is a session.
    pub(crate) async fn register(&self, registration: Registration) -> Result<Running> {
        match self.place(&registration)? {
            Place::Held(running) => Ok(running),
            Place::Session(session) => {
                session.check_open(|| registration.operation().to_owned())?;
                let (running, alive) = Running::new(self);
                registration.start(session, alive).await?;
                Ok(running)
            }
        }
    }

    /// As [`register`](Self::register), for a start that does not wait.
    pub(crate) fn register_now(
        &self,
        registration: &Registration,
        start: impl FnOnce(&Arc<Session>, Arc<Alive>) -> Result<()>,
    ) -> Result<Running> {
        match self.place(registration)? {
            Place::Held(running) => Ok(running),
            Place::Session(session) => {
                session.check_open(|| registration.operation().to_owned())?;
                let (running, alive) = Running::new(self);
                start(session, alive)?;
                Ok(running)
            }
        }
    }

    fn place(&self, registration: &Registration) -> Result<Place<'_>> {
        if let Some(session) = self.any_session() {
            return Ok(Place::Session(session));
        }
        let mut waiting = self.waiting();
        // Checked again under the lock under which it is set.
        if let Some(session) = self.any_session() {
            return Ok(Place::Session(session));
        }
        let is_taken = registration.remote().is_some()
            && waiting.held.iter().any(|held| {
                held.registration.remote() == registration.remote() && !held.alive.is_stopped()
            });
        if is_taken {
            let context = registration.operation().to_owned();
            return Err(Error::new(ErrorKind::AlreadyExposed, context));
        }
        let (running, alive) = Running::new(self);
        waiting.held.push(Held {
            registration: registration.clone(),
            alive,
        });
        Ok(Place::Held(running))
    }

    /// Removes stopped registrations that wait for a session.
    fn forget_stopped(&self) {
        if self.any_session().is_some() {
            return;
        }
        let mut waiting = self.waiting();
        let (stopped, held) = std::mem::take(&mut waiting.held)
            .into_iter()
            .partition(|held| held.alive.is_stopped());
        waiting.held = held;
        drop(waiting);
        // Outside the lock, because a handler may own a guard.
        drop::<Vec<Held>>(stopped);
    }

    /// Connects an unconnected bus, and starts its registrations.
    ///
    /// If `connect` or a registration fails, or if this future is dropped early, the bus is
    /// unconnected and keeps its registrations, as before.
    pub(crate) async fn attach(
        &self,
        connect: impl Future<Output = Result<Arc<dyn Provider>>>,
    ) -> Result<()> {
        let mut attaching = Attaching::claim(self)?;
        let session = Session::new(connect.await?);
        attaching.session = Some(Arc::clone(&session));
        if let Err(error) = attaching.start_held(&session).await {
            // Only the first error is returned. It names the cause.
            drop(session.shutdown(Duration::ZERO).await);
            return Err(error);
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.shared
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("provider", &self.provider_name())
            .finish_non_exhaustive()
    }
}

/// An attachment in progress. If it is dropped early, it ends what it has started.
struct Attaching<'a> {
    client: &'a Client,
    session: Option<Arc<Session>>,
    /// The registrations that were started. They wait again if this attachment fails.
    started: Vec<Held>,
    is_done: bool,
}

impl<'a> Attaching<'a> {
    fn claim(client: &'a Client) -> Result<Self> {
        let taken = || Error::new(ErrorKind::AlreadyInitialized, "connect the bus");
        let mut waiting = client.waiting();
        if let Some(session) = client.any_session() {
            // If the session ended with its runtime, the source names that cause.
            let ended = session.check_runtime(|| "the bus".to_owned()).err();
            return Err(ended.into_iter().fold(taken(), Error::with_source));
        }
        if std::mem::replace(&mut waiting.is_attaching, true) {
            return Err(taken());
        }
        drop(waiting);
        Ok(Self {
            client,
            session: None,
            started: Vec::new(),
            is_done: false,
        })
    }

    /// Starts all waiting registrations. The client gets the session in the same step in which none
    /// is left.
    async fn start_held(&mut self, session: &Arc<Session>) -> Result<()> {
        while let Some(held) = self.next_or_done(session) {
            let (registration, alive) = (held.registration.clone(), Arc::clone(&held.alive));
            self.started.push(held);
            if !alive.is_stopped() {
                registration.start(session, alive).await?;
            }
        }
        Ok(())
    }

    fn next_or_done(&mut self, session: &Arc<Session>) -> Option<Held> {
        let mut waiting = self.client.waiting();
        if !waiting.held.is_empty() {
            return Some(waiting.held.remove(0));
        }
        waiting.is_attaching = false;
        // It is empty, because there is one attachment at a time.
        drop(self.client.shared.session.set(Arc::clone(session)));
        self.is_done = true;
        None
    }
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if let Some(session) = &self.session {
            session.tasks().abandon();
        }
        let mut waiting = self.client.waiting();
        waiting.is_attaching = false;
        waiting.held.splice(0..0, self.started.drain(..));
    }
}
