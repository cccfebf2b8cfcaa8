//! The process-wide bus. There is one in a process, so these tests run one at a time.

#![cfg(feature = "memory")]

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pymq::{ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, mpsc};

const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Ticked {
    n: u64,
}
pymq::event!(Ticked);

/// Waits for the turn of a test, and clears what a failed test left behind.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    drop(pymq::shutdown(Duration::ZERO).await);
    turn
}

fn kind<T>(outcome: &Result<T>) -> Option<ErrorKind> {
    outcome.as_ref().err().map(pymq::Error::kind)
}

/// Returns the URL of a broker that no other test uses.
fn fresh() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "memory://process-{}",
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

#[tokio::test]
async fn the_functions_do_what_a_bus_does() -> Result<()> {
    let _turn = turn().await;
    pymq::init("memory://").await?;
    pymq::process::ping(GRACE).await?;

    let (seen, mut arrived) = mpsc::unbounded_channel();
    let handler = move |ticked: Ticked| {
        let sent = seen.send(ticked);
        async move { sent.map_err(|error| error.to_string()) }
    };
    let _by_type = pymq::subscribe(handler).await?;
    let mut named = pymq::topic("numbers").stream::<u64>().await?;
    let mut all = pymq::process::pattern("num*").stream::<u64>().await?;
    let _exposed = pymq::expose("double", async |n: u64| n * 2).await?;

    assert_eq!(pymq::publish(&Ticked { n: 1 }).await?, 1);
    assert_eq!(arrived.recv().await, Some(Ticked { n: 1 }));
    pymq::process::header("trace", "1")
        .publish(&Ticked { n: 2 })
        .await?;
    assert_eq!(arrived.recv().await, Some(Ticked { n: 2 }));
    pymq::topic("numbers").publish(&3).await?;
    assert_eq!(named.recv().await?.into_event(), Some(3));
    assert_eq!(all.recv().await?.into_event(), Some(3));
    pymq::queue::<i32>("jobs").put(&4).await?;
    assert_eq!(pymq::queue::<u64>("jobs").get().await?, 4);
    let double = pymq::stub::<(u64,), u64>("double");
    assert_eq!(double.call((5,)).await?, 10);
    let doubles = pymq::process::call_all::<u64>("double", (6,)).await?;
    assert_eq!(doubles.all().await.len(), 1);
    pymq::shutdown(GRACE).await
}

#[tokio::test]
async fn nothing_is_silent_before_init() {
    let _turn = turn().await;

    let kinds = [
        kind(&pymq::publish(&Ticked { n: 1 }).await),
        kind(
            &pymq::process::header("a", "b")
                .publish(&Ticked { n: 1 })
                .await,
        ),
        kind(&pymq::topic("t").publish(&1).await),
        kind(&pymq::topic("t").stream::<u64>().await),
        kind(&pymq::process::pattern("t*").stream::<u64>().await),
        kind(&pymq::queue::<i32>("q").put(&1).await),
        kind(&pymq::stub::<(), ()>("f").call(()).await),
        kind(&pymq::process::call_all::<()>("f", ()).await),
        kind(&pymq::process::ping(GRACE).await),
    ];

    assert_eq!(kinds, [Some(ErrorKind::NotInitialized); 9]);
}

#[tokio::test]
async fn what_is_registered_before_init_starts_with_it() -> Result<()> {
    let _turn = turn().await;
    pymq::subscribe(async |_: Ticked| {}).await?.keep();
    pymq::expose("answer", async || 42).await?.keep();
    drop(pymq::expose("other", async || 43).await?);

    pymq::init("memory://").await?;

    assert_eq!(pymq::publish(&Ticked { n: 1 }).await?, 1);
    assert_eq!(pymq::stub::<(), i64>("answer").call(()).await?, 42);
    let other = pymq::stub::<(), i64>("other").call(()).await;
    assert_eq!(kind(&other), Some(ErrorKind::NoSuchRemote));
    pymq::shutdown(GRACE).await
}

#[tokio::test]
async fn a_second_init_fails_and_changes_nothing() -> Result<()> {
    let _turn = turn().await;
    let (first, second) = tokio::join!(pymq::init("memory://"), pymq::init("memory://"));
    let config = pymq::memory::MemoryConfig::default();
    let third = pymq::process::init_with(config).await;

    first?;
    assert_eq!(kind(&second), Some(ErrorKind::AlreadyInitialized));
    assert_eq!(kind(&third), Some(ErrorKind::AlreadyInitialized));
    pymq::process::ping(GRACE).await?;
    pymq::shutdown(GRACE).await
}

#[tokio::test]
async fn a_failed_init_keeps_what_was_registered() -> Result<()> {
    let _turn = turn().await;
    pymq::expose("answer", async || 42).await?.keep();

    let refused = pymq::init("carrier-pigeon://loft").await;

    assert_eq!(kind(&refused), Some(ErrorKind::InvalidConfig));
    assert!(!pymq::bus().is_attached());
    pymq::init("memory://").await?;
    assert_eq!(pymq::stub::<(), i64>("answer").call(()).await?, 42);
    pymq::shutdown(GRACE).await
}

#[tokio::test]
async fn a_shutdown_makes_room_for_another_bus() -> Result<()> {
    let _turn = turn().await;
    pymq::shutdown(GRACE).await?;
    let url = fresh();
    pymq::init(&url).await?;
    let old = pymq::topic("numbers");
    old.subscribe(async |_: u64| {}).await?.keep();

    let (first, second) = tokio::join!(pymq::shutdown(GRACE), pymq::shutdown(GRACE));
    first?;
    second?;
    let none = pymq::process::ping(GRACE).await;
    assert_eq!(kind(&none), Some(ErrorKind::NotInitialized));

    pymq::init(&url).await?;
    assert_eq!(pymq::topic("numbers").publish(&1).await?, 0);
    assert_eq!(kind(&old.publish(&1).await), Some(ErrorKind::Closed));
    pymq::shutdown(GRACE).await
}

#[tokio::test]
async fn handlers_that_finish_find_the_bus_while_it_shuts_down() -> Result<()> {
    let _turn = turn().await;
    let url = fresh();
    let other = pymq::connect(&url).await?;
    let mut results = other.topic("results").stream::<u64>().await?;
    pymq::init(&url).await?;
    let (started, mut starts) = mpsc::unbounded_channel();
    let handler = move |n: u64| {
        let started = started.clone();
        async move {
            started.send(n).ok();
            while !pymq::bus().is_closed() {
                tokio::task::yield_now().await;
            }
            pymq::topic("results").publish(&(n * 2)).await.map(drop)
        }
    };
    pymq::topic("numbers").subscribe(handler).await?.keep();
    pymq::topic("numbers").publish(&21).await?;
    starts.recv().await;

    pymq::shutdown(GRACE).await?;

    assert_eq!(results.recv().await?.into_event(), Some(42));
    Ok(())
}

#[tokio::test]
async fn a_shutdown_without_grace_ends_handlers() -> Result<()> {
    let _turn = turn().await;
    let url = fresh();
    let other = pymq::connect(&url).await?;
    pymq::init(&url).await?;
    let numbers = pymq::topic("numbers");
    numbers.subscribe(|_: u64| pending::<()>()).await?.keep();
    assert_eq!(other.topic("numbers").publish(&1).await?, 1);

    pymq::shutdown(Duration::ZERO).await?;

    assert_eq!(other.topic("numbers").publish(&2).await?, 0);
    Ok(())
}
