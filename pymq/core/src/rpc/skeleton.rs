//! The server's side of a remote: the task that runs the calls of an exposed function.
//!
//! Every request that arrives is answered exactly once, even if the function fails or panics.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::client::counters::Counters;
use crate::client::{Alive, Claim, Served, Session, Tasks};
use crate::error::{ErrorKind, Result};
use crate::isolation::CatchPanic;
use crate::provider::{Reply, Request, Requests, Respond, Runner};
use crate::rpc::RemoteError;
use crate::rpc::function::{CallMeta, Calling, RemoteFn};
use crate::rpc::remote::Exposing;
use crate::rpc::slots::Slots;
use crate::text::cut;

/// Serves the name of a function, and spawns the task that runs its calls.
pub(super) async fn start(session: &Session, exposing: Exposing, alive: Arc<Alive>) -> Result<()> {
    let name = exposing.name;
    let claim = session.exposed().claim(&name, &alive).await?;
    let mut requests = session.provider().rpc_listen(&name).await?;
    requests.set_limits(exposing.backlog);
    let skeleton = Arc::new(Skeleton {
        name,
        function: exposing.function,
        alive,
        slots: Slots::new(exposing.concurrency),
        tasks: session.tasks().clone(),
        counters: Arc::clone(session.counters()),
        served: Arc::clone(session.served()),
        max_payload: exposing.max_payload,
    });
    requests.set_runner(&skeleton);
    session.tasks().spawn(skeleton.run(requests, claim));
    Ok(())
}

/// Runs the calls of one exposed function.
struct Skeleton {
    name: Arc<str>,
    function: RemoteFn,
    /// Held by each call until its end, because a stop waits for the calls that run.
    alive: Arc<Alive>,
    slots: Slots,
    tasks: Tasks,
    counters: Arc<Counters>,
    served: Arc<Served>,
    max_payload: usize,
}

impl Skeleton {
    async fn run(self: Arc<Self>, mut requests: Requests, claim: Claim) {
        tokio::select! {
            biased;
            () = self.alive.stopped(&self.tasks) => {}
            () = self.serve(&mut requests) => {}
        }
        requests.detach().await;
        // The remote has ended on purpose, so callers of this bus do not wait until it comes back.
        self.served.forget(&self.name);
        drop(claim);
        // Calls that had arrived before are still answered.
        self.serve(&mut requests).await;
    }

    /// Runs the calls that found no slot when they arrived, until there are no more. Each has a task
    /// of its own, so that no function can block the loop that takes requests.
    ///
    /// Cancel safe. A request is removed only when it is run.
    async fn serve(self: &Arc<Self>, requests: &mut Requests) {
        loop {
            // First, because a slot that is held here is not free for a call that arrives.
            requests.ready().await;
            self.slots.take().await;
            let slot = Slot(Arc::clone(self));
            match requests.recv().await {
                Ok(request) => drop(self.tasks.spawn(slot.call(request))),
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

    /// Starts or goes on with the call of the function, and makes the reply. A request that expired
    /// before `now` is not started.
    fn poll(
        &self,
        calling: &mut Option<CatchPanic<Calling>>,
        request: &Request,
        now: impl FnOnce() -> Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Reply> {
        let calling = match calling {
            Some(calling) => calling,
            None if request.is_expired_at(now) => {
                self.counters.expired.add(1);
                let reply = failure("TimeoutError", "the request expired before it could run");
                return Poll::Ready(reply);
            }
            place @ None => place.insert(CatchPanic::new(|| {
                (self.function)(&self.name, request.message(), CallMeta::new(request))
            })),
        };
        let returned = ready!(Pin::new(calling).poll(cx));
        Poll::Ready(self.reply(returned))
    }

    /// Makes the reply from what the function has returned, or from the text of its panic.
    fn reply(&self, returned: Result<Reply, String>) -> Reply {
        returned.map_or_else(
            |panic| {
                self.counters.panicked.add(1);
                tracing::error!(remote = &*self.name, panic, "a remote function panicked");
                failure("RuntimeError", format!("panicked: {panic}"))
            },
            |reply| self.bounded(reply),
        )
    }

    /// Replaces a reply over the limit with an error.
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

impl Runner for Skeleton {
    fn start(self: Arc<Self>, request: Request) -> Result<(), Request> {
        if !self.slots.try_take() {
            return Err(request);
        }
        let slot = Slot(Arc::clone(&self));
        drop(self.tasks.spawn(slot.call(request)));
        Ok(())
    }

    fn run_here(
        self: Arc<Self>,
        request: Request,
        now: Instant,
        respond: &mut dyn FnMut() -> Respond,
    ) -> Result<Option<Reply>, Request> {
        if !self.slots.try_take() {
            return Err(request);
        }
        let slot = Slot(self);
        let skeleton = &slot.0;
        // A shutdown waits for it, also between its start here and its task.
        let _token = skeleton.tasks.token();
        let mut calling = None;
        let polled = skeleton
            .tasks
            .poll_here(|cx| skeleton.poll(&mut calling, &request, || now, cx));
        if let Poll::Ready(reply) = polled {
            return Ok(Some(reply));
        }
        let tasks = skeleton.tasks.clone();
        let request = Some(request.with_respond(respond()));
        drop(tasks.spawn(Call {
            calling,
            request,
            slot,
        }));
        Ok(None)
    }
}

/// The right to run one call.
struct Slot(Arc<Skeleton>);

impl Slot {
    /// Runs a call, and replies.
    fn call(self, request: Request) -> Call {
        Call {
            calling: None,
            request: Some(request),
            slot: self,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.give();
    }
}

/// One call: it runs the function and replies. The fields are dropped in this order: the function
/// before its caller is told, and the caller is told before the next call can run.
///
/// It is `Unpin`, so it can begin on one task and go on in another.
struct Call {
    calling: Option<CatchPanic<Calling>>,
    /// `None` after the reply.
    request: Option<Request>,
    slot: Slot,
}

impl Future for Call {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            calling,
            request,
            slot,
        } = &mut *self;
        if let Some(running) = request {
            let reply = ready!(slot.0.poll(calling, running, Instant::now, cx));
            if let Some(request) = request.take() {
                request.respond(reply);
            }
        }
        Poll::Ready(())
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::client::lifeline::lifeline;
    use crate::error::Error;
    use crate::message::Message;
    use crate::provider::requests;
    use crate::rpc::function::{self, RemoteFunction};
    use crate::state::States;

    /// Runs a number of calls of a function, and returns when all are answered.
    async fn run_all<Form>(calls: usize, function: impl RemoteFunction<(), Form>) {
        let (_stop, alive) = lifeline();
        let skeleton = Arc::new(Skeleton {
            name: "f".into(),
            function: function::erase(function, &States::default()).unwrap(),
            alive,
            slots: Slots::new(64),
            tasks: Tasks::new(),
            counters: Arc::default(),
            served: Arc::default(),
            max_payload: usize::MAX,
        });
        let (inlet, mut requests) = requests(drop);
        requests.set_runner(&skeleton);
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
                // Fails after a while if it prevents the next call from running.
                Some(waits) => waits.recv_timeout(Duration::from_secs(20)).unwrap(),
                None => next.send(()).unwrap(),
            }
            async {}
        };

        run_all(2, blocks).await;
    }
}
