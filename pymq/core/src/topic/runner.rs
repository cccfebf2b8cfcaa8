//! The task that runs a handler. Each handler has a task and a bounded buffer of its own, so that a
//! slow handler does not delay the others.

use std::error::Error as StdError;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::subscription::Subscribing;
use crate::client::counters::Counters;
use crate::client::{Alive, Session, Tasks};
use crate::error::{ErrorKind, Result};
use crate::handler::{EventFn, Failure};
use crate::isolation::catch_panic;
use crate::message::Published;
use crate::provider::{Incoming, Subscription};

/// Subscribes a handler and spawns the task that runs it.
pub(super) async fn start(
    session: &Session,
    subscribing: Subscribing,
    alive: Arc<Alive>,
) -> Result<()> {
    let topic = Arc::from(subscribing.filter.as_str());
    let mut subscription = session.provider().subscribe(subscribing.filter).await?;
    subscribing.buffer.set(&mut subscription);
    let runner = Runner {
        topic,
        handler: subscribing.handler,
        alive,
        slots: Arc::new(Semaphore::new(subscribing.concurrency)),
        tasks: session.tasks().clone(),
        counters: Arc::clone(session.counters()),
    };
    session.tasks().spawn(runner.run(subscription));
    Ok(())
}

/// Passes the events of one subscription to its handler.
struct Runner {
    /// The topic or pattern, for the log.
    topic: Arc<str>,
    handler: EventFn,
    alive: Arc<Alive>,
    /// One permit for each event that may be handled at a time. It is acquired before the event is
    /// taken, so that all waiting events stay in the bounded buffer.
    slots: Arc<Semaphore>,
    tasks: Tasks,
    counters: Arc<Counters>,
}

impl Runner {
    async fn run(self, mut subscription: Subscription) {
        let is_stopped = tokio::select! {
            biased;
            () = self.alive.stopped(&self.tasks) => true,
            () = self.serve(&mut subscription) => false,
        };
        if !is_stopped || self.alive.is_stopped() {
            return subscription.unsubscribe().await;
        }
        // A shutdown: events that had arrived are handled within its grace time, and new ones are
        // not taken. They do not wait for the provider, which may need time to detach.
        let detached = subscription.seal();
        tokio::select! {
            biased;
            () = self.alive.stopped_by_owner() => {}
            () = self.serve(&mut subscription) => {}
        }
        // Frees the unread events before the wait for the provider.
        drop(subscription);
        detached.await;
    }

    /// Passes events to the handler until there are no more.
    ///
    /// Cancel safe. An event is removed only when it is passed on.
    async fn serve(&self, subscription: &mut Subscription) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match subscription.recv().await {
                Ok(Incoming::Message(published)) => self.spawn(slot, published),
                Ok(Incoming::Lagged { missed }) => {
                    self.counters.lagged(missed);
                    tracing::warn!(topic = &*self.topic, missed, "a handler missed events");
                }
                Err(error) => {
                    if error.kind() != ErrorKind::Closed {
                        tracing::error!(
                            topic = &*self.topic,
                            error = &error as &dyn StdError,
                            "a subscription ended"
                        );
                    }
                    return;
                }
            }
        }
    }

    fn spawn(&self, slot: OwnedSemaphorePermit, published: Published) {
        let (handler, counters) = (Arc::clone(&self.handler), Arc::clone(&self.counters));
        // Held until the end, because a stop waits for the events that are being handled.
        let alive = Arc::clone(&self.alive);
        self.tasks.spawn(async move {
            handle(&handler, &counters, published).await;
            drop((slot, alive));
        });
    }
}

/// Handles one event. A failure is counted and logged.
async fn handle(handler: &EventFn, counters: &Counters, published: Published) {
    let topic = published.topic();
    match catch_panic(|| handler(published.clone())).await {
        Ok(Ok(())) => {}
        Ok(Err(Failure::Undecodable(error))) => {
            counters.undecodable.add(1);
            tracing::warn!(topic, error, "an event does not decode");
        }
        Ok(Err(Failure::Failed(error))) => {
            counters.failed.add(1);
            tracing::warn!(topic, error, "a handler failed");
        }
        Err(panic) => {
            counters.panicked.add(1);
            tracing::error!(topic, panic, "a handler panicked");
        }
    }
}
