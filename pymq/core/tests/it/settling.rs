//! The settlements of one queue go to the provider in few calls, one call at a time.

pub(crate) mod slow;

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use pymq_core::provider::{Provider, QueueStats, Settle};
use pymq_core::{Bus, ErrorKind, Lease, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};
use tokio::time::advance;

use self::slow::Slow;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

/// Returns a bus on a slow provider, and leases of its queue `jobs`.
async fn leased(items: u32) -> (Bus, Arc<Slow>, Vec<Lease<u32>>) {
    let slow = Slow::connect().await;
    let bus = Bus::new(Arc::clone(&slow) as Arc<dyn Provider>);
    let jobs = bus.queue::<u32>("jobs").lease_time(LONG);
    let items: Vec<_> = (0..items).collect();
    jobs.put_all(&items)
        .await
        .expect("the memory provider puts");
    let mut leases = Vec::new();
    for _ in items {
        leases.push(jobs.lease().await.expect("the memory provider leases"));
    }
    (bus, slow, leases)
}

/// Lets the other tasks run until each of them waits.
async fn parked() {
    for _ in 0..100 {
        yield_now().await;
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

fn kind(answer: &Result<()>) -> Option<ErrorKind> {
    answer.as_ref().err().map(pymq_core::Error::kind)
}

async fn stats(bus: &Bus) -> QueueStats {
    let stats = bus.queue::<u32>("jobs").stats().await;
    stats.expect("the memory provider counts")
}

/// Acks each lease in a task of its own, and waits until all of them wait for the provider.
async fn acked(leases: Vec<Lease<u32>>) -> JoinSet<Result<()>> {
    let mut acks = JoinSet::new();
    for lease in leases {
        acks.spawn(lease.ack());
    }
    parked().await;
    acks
}

#[tokio::test(start_paused = true)]
async fn a_lone_settlement_is_sent_at_its_first_poll() {
    let (_bus, slow, mut leases) = leased(1).await;
    slow.permit(1);

    let mut ack = pin!(leases.remove(0).ack());
    let polled = poll_once(ack.as_mut()).await;

    assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
    assert_eq!(slow.calls(), [[Settle::Ack]]);
}

#[tokio::test(start_paused = true)]
async fn acks_that_arrive_during_a_call_go_together_in_the_next() {
    let (bus, slow, leases) = leased(64).await;
    let acks = acked(leases).await;
    assert_eq!(slow.sizes(), [1], "one call is under way at a time");

    slow.permit(64);

    for answer in acks.join_all().await {
        assert_eq!(kind(&answer), None);
    }
    assert_eq!(slow.sizes(), [1, 63]);
    assert_eq!(stats(&bus).await.leased, 0);
}

#[tokio::test(start_paused = true)]
async fn one_call_gathers_no_more_than_its_bound() {
    let (_bus, slow, leases) = leased(600).await;
    let acks = acked(leases).await;

    slow.permit(600);

    for answer in acks.join_all().await {
        assert_eq!(kind(&answer), None);
    }
    assert_eq!(slow.sizes(), [1, 256, 256, 87]);
}

#[tokio::test(start_paused = true)]
async fn each_settlement_gets_its_own_answer() {
    let (bus, slow, mut leases) = leased(8).await;
    let jobs = bus.queue::<u32>("jobs").lease_time(Duration::from_secs(1));
    jobs.put(&8).await.unwrap();
    leases.insert(4, jobs.lease().await.unwrap());
    advance(Duration::from_secs(2)).await;
    let mut acks = JoinSet::new();
    for lease in leases {
        acks.spawn(async move { (*lease, lease.ack().await) });
    }
    parked().await;

    slow.permit(2);

    for (item, answer) in acks.join_all().await {
        let expected = (item == 8).then_some(ErrorKind::LeaseLost);
        assert_eq!(kind(&answer), expected, "item {item}");
    }
    assert_eq!(slow.sizes(), [1, 8]);
    assert_eq!(stats(&bus).await.ready, 1);
}

#[tokio::test(start_paused = true)]
async fn extensions_gather_too() {
    let (_bus, slow, leases) = leased(3).await;
    let mut extensions = JoinSet::new();
    for lease in leases {
        extensions.spawn(async move { (lease.extend(LONG).await, lease) });
    }
    parked().await;

    slow.permit(2);

    let mut extended = Vec::new();
    while let Some(joined) = extensions.join_next().await {
        let (answer, lease) = joined.unwrap();
        assert_eq!(kind(&answer), None);
        extended.push(lease);
    }
    assert_eq!(slow.sizes(), [1, 2]);
    assert_eq!(
        slow.calls().concat(),
        [const { Settle::Extend { lease: LONG } }; 3]
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_call_reaches_each_caller() {
    let (bus, slow, leases) = leased(5).await;
    slow.fails.store(true, Ordering::SeqCst);
    let acks = acked(leases).await;

    slow.permit(2);

    for answer in acks.join_all().await {
        assert_eq!(kind(&answer), Some(ErrorKind::Provider));
    }
    assert_eq!(slow.sizes(), [1, 4]);
    assert_eq!(stats(&bus).await.leased, 5);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_provider_is_an_error_of_each_caller() {
    let (_bus, slow, leases) = leased(3).await;
    slow.panics.store(true, Ordering::SeqCst);
    let acks = acked(leases).await;

    slow.permit(2);

    for answer in acks.join_all().await {
        assert_eq!(kind(&answer), Some(ErrorKind::Provider));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_and_a_lease_share_the_calls() {
    let (bus, slow, mut leases) = leased(2).await;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put(&7).await.unwrap();
    let worker = jobs.worker(async |_: u32| {}).start().unwrap();
    parked().await;
    assert_eq!(slow.sizes(), [1], "the ack of the worker is under way");

    let acks = [leases.remove(0), leases.remove(0)].map(|lease| tokio::spawn(lease.ack()));
    parked().await;
    assert_eq!(slow.sizes(), [1]);
    slow.permit(2);

    for ack in acks {
        assert_eq!(kind(&ack.await.unwrap()), None);
    }
    assert_eq!(slow.sizes(), [1, 2]);
    assert_eq!(stats(&bus).await.unfinished(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_caller_holds_up_no_other() {
    for dropped in 0..3 {
        let (bus, slow, leases) = leased(3).await;
        let mut acks: Vec<_> = leases
            .into_iter()
            .map(|lease| tokio::spawn(lease.ack()))
            .collect();
        parked().await;

        let gone = acks.remove(dropped);
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        slow.permit(3);

        for ack in acks {
            assert_eq!(kind(&ack.await.unwrap()), None);
        }
        parked().await;
        assert_eq!(stats(&bus).await.leased, 0);
        assert_eq!(
            stats(&bus).await.ready,
            1,
            "it was not settled, and is given back"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_several_in_one_call_may_be_dropped() {
    let (bus, slow, leases) = leased(4).await;
    let mut acks: Vec<_> = leases
        .into_iter()
        .map(|lease| tokio::spawn(lease.ack()))
        .collect();
    parked().await;
    slow.permit(1);
    parked().await;
    assert_eq!(slow.sizes(), [1, 3]);

    let gone = acks.remove(1);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    slow.permit(2);

    for ack in acks {
        assert_eq!(kind(&ack.await.unwrap()), None);
    }
    parked().await;
    assert_eq!(stats(&bus).await.unfinished(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_not_polled_holds_up_no_other() {
    let (_bus, slow, mut leases) = leased(3).await;
    let mut idle = [
        Box::pin(leases.remove(0).ack()),
        Box::pin(leases.remove(0).ack()),
    ];
    for ack in &mut idle {
        assert!(poll_once(ack.as_mut()).await.is_pending());
    }
    let ack = tokio::spawn(leases.remove(0).ack());
    parked().await;

    slow.permit(2);

    assert_eq!(kind(&ack.await.unwrap()), None);
    for ack in idle {
        assert_eq!(kind(&ack.await), None);
    }
    assert_eq!(slow.sizes(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_callers_is_dropped() {
    let (_bus, slow, mut leases) = leased(1).await;
    let mut ack = Box::pin(leases.remove(0).ack());
    assert!(poll_once(ack.as_mut()).await.is_pending());

    drop(ack);
    parked().await;

    let given_back = Settle::Nack {
        delay: Duration::ZERO,
    };
    assert_eq!(slow.calls(), [[Settle::Ack], [given_back]]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_back_what_waits_to_be_settled() {
    let (bus, slow, leases) = leased(4).await;
    let jobs = bus.queue::<u32>("jobs");
    let mut acks: Vec<_> = leases
        .into_iter()
        .map(|lease| tokio::spawn(lease.ack()))
        .collect();
    parked().await;

    let shutdown = tokio::spawn(async move { bus.shutdown(Duration::ZERO).await });
    parked().await;
    assert_eq!(slow.sizes(), [1, 4]);
    assert!(slow.calls()[1].iter().all(|how| *how == Settle::Release));
    // The call under way, and the release of all.
    slow.permit(2);

    assert!(shutdown.await.unwrap().is_ok());
    assert_eq!(kind(&acks.remove(0).await.unwrap()), None);
    for ack in acks {
        assert!(kind(&ack.await.unwrap()).is_some());
    }
    let stats = jobs.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (3, 0));
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts")
}

#[test]
fn a_caller_outlives_the_runtime_of_another() {
    let (of_bus, of_caller) = (runtime(), runtime());
    let (_bus, slow, mut leases) = of_bus.block_on(leased(3));
    let mut acks = [leases.remove(0), leases.remove(0)].map(|lease| Box::pin(lease.ack()));
    for ack in &mut acks {
        assert!(of_bus.block_on(poll_once(ack.as_mut())).is_pending());
    }
    of_caller.block_on(async {
        tokio::spawn(leases.remove(0).ack());
        parked().await;
        slow.permit(1);
        parked().await;
    });
    assert_eq!(slow.sizes(), [1, 2], "it has sent the call for two");

    drop(of_caller);
    let [first, mut second] = acks;
    assert!(of_bus.block_on(poll_once(second.as_mut())).is_pending());
    slow.permit(1);

    assert_eq!(kind(&of_bus.block_on(first)), None);
    assert_eq!(kind(&of_bus.block_on(second)), None);
}

#[test]
fn a_lease_is_settled_on_a_thread_without_a_runtime() {
    let of_bus = runtime();
    let (_bus, slow, mut leases) = of_bus.block_on(leased(1));
    slow.permit(1);

    let ack = leases.remove(0).ack();
    let answer = std::thread::spawn(|| futures_util::FutureExt::now_or_never(ack)).join();

    assert_eq!(answer.unwrap().as_ref().map(kind), Some(None));
}

#[test]
fn the_end_of_the_runtime_reaches_each_caller() {
    let (of_bus, of_callers) = (runtime(), runtime());
    let (_bus, _slow, mut leases) = of_bus.block_on(leased(4));
    let late = leases.remove(3);
    let acks: Vec<_> = leases
        .into_iter()
        .map(|lease| of_callers.spawn(lease.ack()))
        .collect();
    of_callers.block_on(parked());

    drop(of_bus);

    for ack in acks {
        let answer = of_callers.block_on(ack).unwrap();
        assert_eq!(kind(&answer), Some(ErrorKind::Closed));
    }
    let late = of_callers.block_on(late.ack()).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
    let cause = late.source().map(ToString::to_string);
    assert!(cause.is_some_and(|cause| cause.contains("runtime")));
}

#[tokio::test(start_paused = true)]
async fn a_join_ends_when_its_bus_has_finished_the_last_item() {
    let (bus, slow, leases) = leased(3).await;
    let jobs = bus.queue::<u32>("jobs");
    let joined = tokio::spawn(async move { jobs.join().await });
    // The next count by the time would be much later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = tokio::time::Instant::now();

    slow.permit(10);
    for lease in leases {
        lease.ack().await.expect("the provider answers");
    }
    joined.await.expect("the task ends").expect("a count");

    assert_eq!(before.elapsed(), Duration::ZERO);
}
