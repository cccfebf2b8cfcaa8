//! What `subscribe` and `expose` ask for, as a value: started on a bus now, or held until there is one.
//! Either way a [`Guard`] owns what runs.

use std::borrow::Cow;
use std::sync::Arc;

use crate::bus::Bus;
use crate::error::Result;
use crate::global;
use crate::handler::EventFn;
use crate::name;
use crate::provider::Filter;
use crate::rpc::{RemoteFn, skeleton};
use crate::shutdown::{Running, Stop, lifeline};
use crate::subscription::{self, Buffer};

/// A handler or a remote function that is to run on a bus.
#[derive(Clone)]
pub(crate) enum Registration {
    Subscription {
        filter: Filter,
        concurrency: usize,
        buffer: Buffer,
        handler: EventFn,
    },
    Remote {
        name: String,
        function: RemoteFn,
    },
}

impl Registration {
    /// Checks what can be checked without a bus.
    fn check(&self) -> Result<()> {
        match self {
            Self::Subscription { filter, .. } => name::check(filter.as_str()),
            Self::Remote { name, .. } => name::check(name),
        }
    }

    /// Starts it on a bus; resolves once it is live. Failed or dropped early, nothing stays.
    pub(crate) async fn start(self, bus: &Bus, running: Arc<Running>) -> Result<()> {
        match self {
            Self::Subscription {
                filter,
                concurrency,
                buffer,
                handler,
            } => subscription::start(bus, filter, concurrency, buffer, handler, running).await,
            Self::Remote { name, function } => skeleton::start(bus, name, function, running).await,
        }
    }
}

/// Who an operation goes through: one bus, or the process-wide one there is at the time.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Bus(Bus),
    Global,
}

impl Owner {
    /// Returns the bus.
    pub(crate) fn bus(&self) -> Result<Cow<'_, Bus>> {
        match self {
            Self::Bus(bus) => Ok(Cow::Borrowed(bus)),
            Self::Global => global::bus().map(Cow::Owned),
        }
    }

    /// Starts a registration; on the process-wide bus before `init`, holds it.
    pub(crate) async fn register(&self, registration: Registration) -> Result<Guard> {
        registration.check()?;
        match self {
            Self::Bus(bus) => Guard::start(bus, registration).await,
            Self::Global => global::register(registration).await,
        }
    }
}

/// Owns what a registration runs: dropped, it asks it to stop.
#[derive(Debug)]
pub(crate) struct Guard {
    stop: Stop,
    /// Keeps the bus alive, which its tasks must not; none while `global` holds the registration.
    bus: Option<Bus>,
    kept: bool,
}

impl Guard {
    /// Starts a registration on a bus.
    pub(crate) async fn start(bus: &Bus, registration: Registration) -> Result<Self> {
        let (guard, running) = Self::on(bus);
        registration.start(bus, running).await?;
        Ok(guard)
    }

    /// Creates the guard of something that is about to run on a bus.
    pub(crate) fn on(bus: &Bus) -> (Self, Arc<Running>) {
        Self::new(Some(bus.clone()))
    }

    /// Creates the guard of a registration that is held until `init`, and what is to run then.
    pub(crate) fn held() -> (Self, Arc<Running>) {
        Self::new(None)
    }

    fn new(bus: Option<Bus>) -> (Self, Arc<Running>) {
        let (stop, running) = lifeline();
        (
            Self {
                stop,
                bus,
                kept: false,
            },
            running,
        )
    }

    /// Stops, and resolves once the last handler has finished.
    pub(crate) async fn end(self) {
        self.stop();
        self.stop.ended().await;
    }

    /// Lets it run until the bus ends.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    fn stop(&self) {
        self.stop.stop();
        if self.bus.is_none() {
            global::forget_stopped();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.kept {
            self.stop();
        }
    }
}
