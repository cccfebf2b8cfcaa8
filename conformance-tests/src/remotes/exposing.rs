//! From when and until when a function can be called.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::ErrorKind;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep};

use super::Gated;
use crate::typed::{kind, next, open};
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Harness, Outcome};

/// A time that a test waits for.
const SHORT: Duration = Duration::from_millis(100);

/// A call without a server fails at once, and so does a call to all servers.
pub async fn call_without_server_is_no_such_remote(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let stub = bus.stub::<(), ()>("missing");
    stub.call(())
        .await
        .expect_err("the connection is there now");

    let started = Instant::now();
    let (one, all) = (stub.call(()).await, bus.call_all::<()>("missing", ()).await);

    assert_eq!(kind(&one), Some(ErrorKind::NoSuchRemote));
    assert_eq!(kind(&all), Some(ErrorKind::NoSuchRemote));
    let error = one.expect_err("there is no server");
    assert!(!error.outcome_unknown(), "it did not run");
    assert!(error.is_retryable(), "a server may come");
    assert!(
        started.elapsed() < WAIT_LIMIT / 2, // half of one call's timeout
        "took {:?}",
        started.elapsed()
    );
    Ok(())
}

/// A call to a name that was just served waits for a server that restarts.
pub async fn a_call_outlives_a_restart_of_the_server(h: &dyn Harness) -> Outcome {
    let (server, next_server, caller) = (open(h).await?, open(h).await?, open(h).await?);
    let stub = caller.stub::<(), u64>("f");
    let guard = server.expose("f", async || 1_u64).await?;
    assert_eq!(stub.call(()).await?, 1);

    guard.stop().await;
    let restart = async {
        sleep(SHORT).await;
        next_server.expose("f", async || 2_u64).await
    };
    let (one, all, restarted) = tokio::join!(
        stub.call(()),
        async { Ok::<_, pymq_core::Error>(stub.call_all(()).await?.all().await) },
        restart
    );

    let _guard = restarted?;
    assert_eq!(one?, 2);
    let all: pymq_core::Result<Vec<u64>> = all?.into_iter().collect();
    assert_eq!(all?, [2]);
    Ok(())
}

/// When `unexpose` has returned, no server answers to the name.
pub async fn call_after_unexpose_is_no_such_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let stub = caller.stub::<(), ()>("f");
    let guard = server.expose("f", async || {}).await?;
    stub.call(()).await?;

    guard.stop().await;

    assert_eq!(kind(&stub.call(()).await), Some(ErrorKind::NoSuchRemote));
    Ok(())
}

/// Also while the same bus listens to a topic of that name, which a provider may count as a server.
pub async fn call_after_unexpose_beside_a_topic_is_no_such_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _events = server.topic("f").stream::<u32>().await?;
    let guard = server.expose("f", async || 1).await?;
    assert_eq!(caller.stub::<(), u32>("f").call(()).await?, 1);

    soon("unexpose", guard.stop()).await?;
    let outcome = soon("the call", caller.stub::<(), u32>("f").call(())).await?;

    assert_eq!(kind(&outcome), Some(ErrorKind::NoSuchRemote), "{outcome:?}");
    Ok(())
}

/// A dropped guard unexposes; a kept one does not.
pub async fn dropping_the_guard_unexposes(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    server.expose("kept", async || {}).await?.keep();
    let guard = server.expose("dropped", async || {}).await?;
    caller.stub::<(), ()>("dropped").call(()).await?;

    drop(guard);

    until("the function is gone", async || {
        kind(&caller.stub::<(), ()>("dropped").call(()).await) == Some(ErrorKind::NoSuchRemote)
    })
    .await?;
    caller.stub::<(), ()>("kept").call(()).await?;
    Ok(())
}

/// When a name is exposed again, calls reach the new function, without a pause in between.
pub async fn expose_again_after_unexpose_uses_the_new_function(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let stub = caller.stub::<(), u64>("round");

    for round in 0..50_u64 {
        let guard = server.expose("round", move || async move { round }).await?;
        assert_eq!(soon("the call", stub.call(())).await??, round);
        if round % 2 == 0 {
            guard.stop().await;
        } else {
            drop(guard);
        }
    }
    Ok(())
}

/// A name is exposed once on each bus. A second attempt fails and leaves the first unchanged.
pub async fn exposing_twice_on_one_bus_fails(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let _first = bus.expose("f", async || 1).await?;

    let second = bus.expose("f", async || 2).await;

    assert_eq!(kind(&second), Some(ErrorKind::AlreadyExposed));
    assert_eq!(bus.stub::<(), u64>("f").call(()).await?, 1);
    Ok(())
}

/// Two buses may expose the same name. Each call is answered by one of them.
pub async fn two_buses_may_expose_the_same_name(h: &dyn Harness) -> Outcome {
    let (one, two) = (open(h).await?, open(h).await?);
    let _one = one.expose("f", async || 7).await?;
    let _two = two.expose("f", async || 7).await?;

    let answer = soon("the call", one.stub::<(), u64>("f").call(())).await??;

    assert_eq!(answer, 7);
    Ok(())
}

/// A call right after `expose` has returned reaches the function.
pub async fn expose_is_a_barrier(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);

    for round in 0..200_u64 {
        let name = format!("f{round}");
        let _guard = server.expose(&name, move || async move { round }).await?;
        assert_eq!(
            soon("the call", caller.stub::<(), u64>(name).call(())).await??,
            round
        );
    }
    Ok(())
}

/// A function can be called from its own bus and from another.
pub async fn server_on_other_connection_and_same_connection(h: &dyn Harness) -> Outcome {
    let (server, other) = (open(h).await?, open(h).await?);
    let _guard = server.expose("f", async || 7).await?;

    assert_eq!(server.stub::<(), u64>("f").call(()).await?, 7);
    assert_eq!(other.stub::<(), u64>("f").call(()).await?, 7);
    Ok(())
}

/// `unexpose` accepts no new calls at once, and waits for those that run.
pub async fn unexpose_finishes_running_calls(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let mut f = Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f");
    let call = tokio::spawn({
        let stub = stub.clone();
        async move { stub.call((7,)).await }
    });
    next(&mut f.starts).await?;

    let unexposing = tokio::spawn(f.guard.stop());
    // This call came earlier and waits at the gate with the first.
    let probe = caller.stub::<(u64,), u64>("f").timeout(SHORT);
    until("no new call is taken", async || {
        kind(&probe.call((8,)).await) == Some(ErrorKind::NoSuchRemote)
    })
    .await?;
    assert!(!unexposing.is_finished(), "a call is still running");
    f.gate.add_permits(8);

    soon("unexpose", unexposing).await??;
    assert_eq!(soon("the call", call).await???, 7);
    Ok(())
}

/// A shutdown answers the calls that end within its grace time, and ends the others with an error.
pub async fn shutdown_answers_running_calls(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let (started, mut starts) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let function = {
        let gate = Arc::clone(&gate);
        move |stays: bool| {
            let (started, gate) = (started.clone(), Arc::clone(&gate));
            async move {
                started.send(()).ok();
                drop(gate.acquire().await);
                if stays {
                    std::future::pending::<()>().await;
                }
                true
            }
        }
    };
    server.expose("f", function).await?.keep();
    let stub = caller.stub::<(bool,), bool>("f");
    let calls = [false, true].map(|stays| {
        let stub = stub.clone();
        tokio::spawn(async move { stub.call((stays,)).await })
    });
    next(&mut starts).await?;
    next(&mut starts).await?;

    gate.add_permits(8);
    server.shutdown(Duration::from_millis(200)).await?;

    let [finished, ended] = calls;
    assert!(soon("the finished call", finished).await???);
    let ended = super::answers::remote(soon("the ended call", ended).await??)?;
    assert!(ended.message().contains("dropped the request"), "{ended}");
    Ok(())
}
