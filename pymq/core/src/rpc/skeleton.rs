//! The server's side of a remote: the guard of an exposed function, and the task that runs its calls.
//!
//! Every request that arrives is answered exactly once, whatever becomes of the function.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bus::Bus;
use crate::counters::Counters;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::catch_panic;
use crate::provider::{Reply, Request, Requests};
use crate::registration::{Guard, Owner, Registration};
use crate::rpc::function::{self, CallMeta, RemoteFn, RemoteFunction};
use crate::rpc::{Params, RemoteError, Served};
use crate::shutdown::{Running, Tasks};
use crate::text::cut;

/// How many calls of one function run at once.
const CONCURRENT_CALLS: usize = 64;

/// A function that is exposed. Dropping it unexposes.
///
/// It is a handle to its bus, too: the function goes on while the guard is there.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::ErrorKind;
///
/// let guard = bus.expose("answer", async || 42).await?;
/// let answer = bus.stub::<(), i64>("answer");
/// assert_eq!(answer.call(()).await?, 42);
///
/// guard.unexpose().await;
///
/// assert_eq!(answer.call(()).await.unwrap_err().kind(), ErrorKind::NoSuchRemote);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it unexposes the function at once; `keep()` leaves it exposed until shutdown"]
pub struct RemoteGuard(Guard);

impl RemoteGuard {
    pub(crate) async fn expose<P: Params, Form>(
        owner: &Owner,
        name: String,
        function: impl RemoteFunction<P, Form>,
    ) -> Result<Self> {
        let function = function::erase(function);
        owner
            .register(Registration::Remote { name, function })
            .await
            .map(Self)
    }

    /// Unexposes the function, and resolves once no new call reaches it and those that did are answered.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it unexposes all the same, only nobody waits for it.
    pub async fn unexpose(self) {
        self.0.end().await;
    }

    /// Leaves the function exposed until the bus is shut down, or its last handle dropped.
    pub fn keep(self) {
        self.0.keep();
    }
}

/// Listens for an erased function and spawns what runs its calls.
pub(crate) async fn start(
    bus: &Bus,
    name: String,
    function: RemoteFn,
    running: Arc<Running>,
) -> Result<()> {
    bus.check_open(|| format!("expose `{name}`"))?;
    let claim = bus.exposed().claim(&name, &running).await?;
    let requests = bus.provider().rpc_listen(&name).await?;
    let skeleton = Skeleton {
        name: name.into(),
        function,
        running,
        slots: Arc::new(Semaphore::new(CONCURRENT_CALLS)),
        tasks: bus.tasks().clone(),
        counters: Arc::clone(bus.counters()),
        served: Arc::clone(bus.served()),
        max_payload: bus.payload_limit(),
    };
    bus.tasks().spawn(Arc::new(skeleton).run(requests, claim));
    Ok(())
}

/// What runs the calls of one exposed function.
struct Skeleton {
    name: Arc<str>,
    function: RemoteFn,
    /// Held by each call to its end: an `unexpose` waits for the calls that run.
    running: Arc<Running>,
    slots: Arc<Semaphore>,
    tasks: Tasks,
    counters: Arc<Counters>,
    served: Arc<Served>,
    max_payload: usize,
}

impl Skeleton {
    async fn run(self: Arc<Self>, mut requests: Requests, claim: Claim) {
        tokio::select! {
            biased;
            () = self.running.stopped(&self.tasks) => {}
            () = self.serve(&mut requests) => {}
        }
        requests.detach().await;
        // Ended on purpose, so that our own callers need not wait for it to come back.
        self.served.forget(&self.name);
        drop(claim);
        // What had arrived before is still answered.
        self.serve(&mut requests).await;
    }

    /// Runs calls until there are no more, each in a task of its own: whatever a function does, it does not hold up the
    /// loop that takes requests.
    ///
    /// Cancel safe: a request is taken only when it is run.
    async fn serve(self: &Arc<Self>, requests: &mut Requests) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match requests.recv().await {
                Ok(request) => {
                    drop(self.tasks.spawn(Arc::clone(self).call(slot, request)));
                }
                Err(error) => {
                    if error.kind() != ErrorKind::Closed {
                        tracing::error!(
                            remote = &*self.name,
                            error = &error as &dyn StdError,
                            "a remote ended"
                        );
                    }
                    return;
                }
            }
        }
    }

    async fn call(self: Arc<Self>, slot: OwnedSemaphorePermit, request: Request) {
        let reply = self.answer(&request).await;
        request.respond(reply);
        drop(slot);
    }

    async fn answer(&self, request: &Request) -> Reply {
        if request.is_expired() {
            self.counters.expired.add(1);
            return failure("TimeoutError", "the request expired before it could run");
        }
        let call = || (self.function)(&self.name, request.message(), CallMeta::new(request));
        match catch_panic(call).await {
            Ok(reply) => self.bounded(reply),
            Err(panic) => {
                self.counters.panicked.add(1);
                tracing::error!(remote = &*self.name, panic, "a remote function panicked");
                failure("RuntimeError", format!("panicked: {panic}"))
            }
        }
    }

    /// Turns a reply over the limit into an error that says so.
    fn bounded(&self, reply: Reply) -> Reply {
        let (bytes, limit) = (size(&reply), self.max_payload);
        if bytes <= limit {
            return reply;
        }
        failure(
            "ValueError",
            format!("the reply is too large: {bytes} bytes, limit {limit}"),
        )
    }
}

fn failure(type_name: &str, message: impl Into<String>) -> Reply {
    Reply::Err(RemoteError::new(type_name, cut(&message.into())))
}

fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Ok { body, .. } => body.len(),
        Reply::Err(error) => error.args_json().len(),
    }
}

/// The names a bus exposes: each once.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    names: Arc<Mutex<HashMap<String, Holder>>>,
}

/// Who holds a name.
#[derive(Clone, Debug)]
struct Holder {
    running: Arc<Running>,
    released: CancellationToken,
}

impl Exposed {
    /// Takes a name. Where its holder has been told to stop, waits until requests no longer reach it: whoever drops a guard
    /// and exposes again gets calls on the new function only.
    async fn claim(&self, name: &str, running: &Arc<Running>) -> Result<Claim> {
        loop {
            let released = match self.lock().entry(name.to_owned()) {
                Entry::Vacant(place) => {
                    let released = CancellationToken::new();
                    place.insert(Holder {
                        running: Arc::clone(running),
                        released: released.clone(),
                    });
                    return Ok(Claim {
                        name: name.to_owned(),
                        names: Arc::clone(&self.names),
                        _released: released.drop_guard(),
                    });
                }
                Entry::Occupied(holder) if holder.get().running.is_stopped() => {
                    holder.get().released.clone()
                }
                Entry::Occupied(_) => {
                    return Err(Error::new(
                        ErrorKind::AlreadyExposed,
                        format!("expose `{name}`"),
                    ));
                }
            };
            released.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name taken; dropping it gives it back.
struct Claim {
    name: String,
    names: Arc<Mutex<HashMap<String, Holder>>>,
    _released: DropGuard,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::message::Message;
    use crate::provider::requests;
    use crate::shutdown::lifeline;

    /// Runs so many calls of a function and returns when all are answered.
    async fn run_all<Form>(calls: usize, function: impl RemoteFunction<(), Form>) {
        let (_stop, running) = lifeline();
        let skeleton = Arc::new(Skeleton {
            name: "f".into(),
            function: function::erase(function),
            running,
            slots: Arc::new(Semaphore::new(CONCURRENT_CALLS)),
            tasks: Tasks::new(),
            counters: Arc::default(),
            served: Arc::default(),
            max_payload: usize::MAX,
        });
        let (inlet, mut requests) = requests(drop);
        let (answer, mut answers) = mpsc::unbounded_channel();
        for _ in 0..calls {
            let answer = answer.clone();
            let respond = move |reply| drop(answer.send(reply));
            inlet.push(Request::new(Message::json("[]"), respond));
        }
        let server = tokio::spawn(async move { skeleton.serve(&mut requests).await });
        for _ in 0..calls {
            assert!(matches!(answers.recv().await, Some(Reply::Ok { .. })));
        }
        inlet.end(Error::new(ErrorKind::Closed, "test"));
        server.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_that_keep_a_thread_busy_run_side_by_side() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let busy = {
            let most = Arc::clone(&most);
            move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
                now.fetch_sub(1, Ordering::SeqCst);
                async {}
            }
        };

        run_all(10, busy).await;

        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_blocks_does_not_hold_up_the_next() {
        let (next, waits) = std::sync::mpsc::channel();
        let waits = Mutex::new(Some(waits));
        let blocks = move || {
            let first = waits.lock().unwrap().take();
            match first {
                // Ends at once with an error where it keeps the next one from running for too long.
                Some(waits) => waits.recv_timeout(Duration::from_secs(20)).unwrap(),
                None => next.send(()).unwrap(),
            }
            async {}
        };

        run_all(2, blocks).await;
    }
}
