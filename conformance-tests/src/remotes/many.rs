//! Many servers, many calls, and calls within calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use pymq_core::{Bus, ErrorKind, Result};
use tokio::time::sleep;

use crate::typed::{kind, open};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Of several servers exactly one runs a single call, and idle servers share the calls.
pub async fn single_calls_run_once_and_spread(h: &dyn Harness) -> Outcome {
    const CALLS: usize = 200;
    let caller = open(h).await?;
    let (mut servers, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (server, count) = (open(h).await?, Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&count);
        let function = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async {}
        };
        server.expose("f", function).await?.keep();
        servers.push(server);
        counts.push(count);
    }
    let stub = caller.stub::<(), ()>("f");

    for _ in 0..CALLS {
        soon("the call", stub.call(())).await??;
    }

    let counts: Vec<usize> = counts
        .iter()
        .map(|count| count.load(Ordering::SeqCst))
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), CALLS, "{counts:?}");
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    Ok(())
}

/// Opens this many buses that expose `id`. Each returns its number.
async fn numbered(h: &dyn Harness, count: u64) -> Result<Vec<Bus>> {
    let mut servers = Vec::new();
    for n in 0..count {
        let server = open(h).await?;
        server.expose("id", move || async move { n }).await?.keep();
        servers.push(server);
    }
    Ok(servers)
}

/// Every server answers a call to all.
pub async fn call_all_collects_every_server(h: &dyn Harness) -> Outcome {
    let (_servers, caller) = (numbered(h, 4).await?, open(h).await?);

    let responses = caller.call_all::<u64>("id", ()).await?;
    assert_eq!(responses.expected(), 4);
    let mut ids: Vec<u64> = soon("all answers", responses.try_collect()).await??;

    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3]);
    Ok(())
}

/// The failure of one server is one item among the results of the others.
pub async fn call_all_reports_errors_in_place(h: &dyn Harness) -> Outcome {
    let (_servers, caller) = (numbered(h, 2).await?, open(h).await?);
    let failing = open(h).await?;
    let _guard = failing
        .expose("id", async || Err::<u64, _>("no idea"))
        .await?;

    let responses = caller.call_all::<u64>("id", ()).await?;
    let results = soon("all answers", responses.all()).await?;

    let mut ids: Vec<u64> = results
        .iter()
        .filter_map(|result| result.as_ref().ok().copied())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1]);
    let failed: Vec<_> = results.iter().filter_map(kind).collect();
    assert_eq!(failed, [ErrorKind::Remote]);
    Ok(())
}

/// All silent servers together cost one timeout. The answers that came are kept.
pub async fn call_all_has_one_deadline(h: &dyn Harness) -> Outcome {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let (_servers, caller) = (numbered(h, 2).await?, open(h).await?);
    let mut silent = Vec::new();
    for _ in 0..3 {
        let server = open(h).await?;
        server
            .expose("id", std::future::pending::<u64>)
            .await?
            .keep();
        silent.push(server);
    }

    let started = tokio::time::Instant::now();
    let stub = caller.stub::<(), u64>("id").timeout(TIMEOUT);
    let mut responses = stub.call_all(()).await?;
    let mut results = Vec::new();
    while let Some(result) = soon("the next answer", responses.next()).await? {
        results.push(result);
    }

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    let late: Vec<_> = results.iter().filter_map(kind).collect();
    assert_eq!(late, [ErrorKind::Timeout; 3]);
    assert!(started.elapsed() >= TIMEOUT, "took {:?}", started.elapsed());
    assert!(
        started.elapsed() < TIMEOUT * 3, // one deadline for all, not one for each
        "took {:?}",
        started.elapsed()
    );
    assert!(responses.next().await.is_none(), "it has ended");
    Ok(())
}

/// Hundreds of calls in flight, answered out of order, each get their own answer.
pub async fn concurrent_calls_are_correlated(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let echo = async |n: u64| {
        sleep(Duration::from_millis(n * 7_919 % 20)).await;
        n
    };
    let _guard = server.expose("echo", echo).await?;
    let stub = caller.stub::<(u64,), u64>("echo");

    let answers = join_all((0..500).map(|n| stub.call((n,)))).await;

    for (n, answer) in (0..).zip(answers) {
        assert_eq!(answer?, n);
    }
    Ok(())
}

/// A long call does not delay another one of the same function.
pub async fn slow_call_does_not_block_others(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let mut f = super::Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f");
    let slow = tokio::spawn({
        let stub = stub.clone();
        async move { stub.call((1,)).await }
    });
    crate::typed::next(&mut f.starts).await?;
    let quick = tokio::spawn(async move { stub.call((2,)).await });

    assert_eq!(crate::typed::next(&mut f.starts).await?, 2, "both run");
    f.gate.add_permits(2);

    assert_eq!(soon("the slow call", slow).await???, 1);
    assert_eq!(soon("the quick call", quick).await???, 2);
    Ok(())
}

/// At most 64 calls of one function run at once. The others wait.
pub async fn sixty_four_calls_run_at_once(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let mut f = super::Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f");
    let calls = tokio::spawn(async move { join_all((0..65).map(|n| stub.call((n,)))).await });

    for _ in 0..64 {
        crate::typed::next(&mut f.starts).await?;
    }
    // Meanwhile a call of another function completes. The waiting call had time to start.
    let _other = server.expose("other", async || {}).await?;
    caller.stub::<(), ()>("other").call(()).await?;
    assert!(f.starts.try_recv().is_err(), "one waits");
    f.gate.add_permits(65);

    for answer in soon("all answers", calls).await?? {
        answer?;
    }
    Ok(())
}

/// A function may call another one of its own bus, and that one a third.
pub async fn nested_call_on_same_bus(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    for (name, inner) in [("a", "b"), ("b", "c")] {
        let stub = bus.stub::<(u64,), u64>(inner);
        let function = move |n: u64| {
            let stub = stub.clone();
            async move { stub.call((n + 1,)).await }
        };
        bus.expose(name, function).await?.keep();
    }
    bus.expose("c", async |n: u64| n * 10).await?.keep();

    let answer = soon("the call", bus.stub::<(u64,), u64>("a").call((1,))).await??;

    assert_eq!(answer, 30);
    // Functions that hold their bus keep it alive until then.
    bus.close().await?;
    Ok(())
}

/// A plain event on a topic of the same name reaches no function.
pub async fn topic_with_the_same_name_does_not_interfere(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let function = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async {}
    };
    let _guard = server.expose("f", function).await?;

    caller.topic("f").publish(&serde_json::json!([])).await?;
    soon("the call", caller.stub::<(), ()>("f").call(())).await??;

    assert_eq!(ran.load(Ordering::SeqCst), 1);
    Ok(())
}
