//! Deadlines, and callers that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use pymq_core::{CallMeta, ErrorKind};
use tokio::time::{Instant, sleep};

use super::Gated;
use crate::typed::{kind, next, open};
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Harness, Outcome};

/// A time that a test waits for.
const SHORT: Duration = Duration::from_millis(150);

/// A call without an answer in time is a timeout, within the slack, and may have run.
pub async fn timeout_is_timeout_not_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("f", std::future::pending::<()>).await?;
    let stub = caller.stub::<(), ()>("f").timeout(SHORT);

    let started = Instant::now();
    let error = stub.call(()).await.expect_err("no server answers");

    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.outcome_unknown(), "it may have run");
    assert!(started.elapsed() >= SHORT, "took {:?}", started.elapsed());
    assert!(
        started.elapsed() < WAIT_LIMIT / 2, // half the default timeout
        "took {:?}",
        started.elapsed()
    );
    Ok(())
}

/// An answer that comes too late reaches no call, and not the next one either.
pub async fn late_reply_is_dropped(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let mut f = Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f");

    let late = stub.clone().timeout(SHORT).call((1,)).await;
    f.gate.add_permits(8);
    let next_one = soon("the next call", stub.call((2,))).await??;

    assert_eq!(kind(&late), Some(ErrorKind::Timeout));
    assert_eq!(next_one, 2);
    next(&mut f.starts).await?;
    Ok(())
}

/// A function sees the remaining time of its caller, and never a longer one.
pub async fn deadline_reaches_the_server(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let left = async |meta: CallMeta| meta.remaining().map(|left| left.as_secs_f64());
    let _guard = server.expose("left", left).await?;
    let stub = caller.stub::<(), Option<f64>>("left").timeout(WAIT_LIMIT);

    let left = stub
        .call(())
        .await?
        .ok_or("the caller does not wait for ever")?;

    assert!(left <= WAIT_LIMIT.as_secs_f64(), "{left}");
    assert!(left > WAIT_LIMIT.as_secs_f64() / 2.0, "{left}");
    Ok(())
}

/// A request that waits until its caller has left does not run.
pub async fn an_expired_request_is_not_run(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let mut f = Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f");
    let busy: Vec<_> = (0..64)
        .map(|n| {
            let stub = stub.clone();
            tokio::spawn(async move { stub.call((n,)).await })
        })
        .collect();
    for _ in 0..64 {
        next(&mut f.starts).await?;
    }

    let expired = stub.clone().timeout(SHORT).call((99,)).await;
    // The server counts the remaining time from the receipt of the request, which was before this
    // moment. So it is over after it.
    let _other = server.expose("other", async || {}).await?;
    caller.stub::<(), ()>("other").call(()).await?;
    sleep(SHORT).await;
    f.gate.add_permits(64);
    for call in busy {
        soon("a busy call", call).await???;
    }
    f.gate.add_permits(1);
    soon("a last call", stub.call((100,))).await??;

    assert_eq!(kind(&expired), Some(ErrorKind::Timeout));
    assert_eq!(
        next(&mut f.starts).await?,
        100,
        "what had expired was passed over"
    );
    Ok(())
}

/// A caller that leaves does not disturb the calls of others.
pub async fn caller_drop_does_not_hurt_the_server(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let finished = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&finished);
    let function = move || {
        let counter = Arc::clone(&counter);
        async move {
            tokio::task::yield_now().await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    };
    let _guard = server.expose("f", function).await?;
    let stub = caller.stub::<(), ()>("f");

    for _ in 0..20 {
        // Sent or not, no call waits for the answer.
        drop(Box::pin(stub.call(())).now_or_never());
    }
    let gone = open(h).await?;
    drop(Box::pin(gone.stub::<(), ()>("f").call(())).now_or_never());
    drop(gone);

    soon("a call", stub.call(())).await??;
    assert!(finished.load(Ordering::SeqCst) >= 1);
    Ok(())
}

/// Requests beyond the limit of a server are answered "overloaded", and the accepted ones are still
/// answered.
pub async fn overloaded_server_answers(h: &dyn Harness) -> Outcome {
    // 64 may run and 1,024 may wait.
    const CALLS: usize = 1_200;
    let (server, caller) = (open(h).await?, open(h).await?);
    let f = Gated::expose(&server).await?;
    let stub = caller.stub::<(u64,), u64>("f").timeout(WAIT_LIMIT * 3);
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..CALLS as u64 {
        let (stub, answered) = (stub.clone(), answered.clone());
        tokio::spawn(async move { drop(answered.send(stub.call((n,)).await)) });
    }

    let refused = next(&mut answers).await?;
    f.gate.add_permits(CALLS);
    let mut kinds = vec![kind(&refused)];
    for _ in 1..CALLS {
        kinds.push(kind(&next(&mut answers).await?));
    }

    assert_eq!(kinds[0], Some(ErrorKind::Overloaded));
    let done = kinds.iter().filter(|kind| kind.is_none()).count();
    let overloaded = kinds
        .iter()
        .filter(|kind| **kind == Some(ErrorKind::Overloaded))
        .count();
    assert_eq!(done + overloaded, CALLS, "nothing else goes wrong");
    assert!(done >= 1_024, "{done} were taken");
    Ok(())
}

/// A remote runs as many calls at once as configured, lets as many wait, and refuses the next ones.
pub async fn a_remote_runs_and_holds_as_many_as_it_is_told(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let function = {
        let gate = Arc::clone(&gate);
        move |n: u64| {
            let (gate, sent) = (Arc::clone(&gate), started.send(n));
            async move {
                gate.acquire_owned()
                    .await
                    .map(tokio::sync::OwnedSemaphorePermit::forget)?;
                sent.map(|()| n)
                    .map_err(Into::<Box<dyn std::error::Error + Send + Sync>>::into)
            }
        }
    };
    let _guard = server
        .remote("f")
        .concurrency(1)
        .backlog(1)
        .expose(function)
        .await?;
    let stub = caller.stub::<(u64,), u64>("f").timeout(WAIT_LIMIT * 3);
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let call = |n: u64| {
        let (stub, answered) = (stub.clone(), answered.clone());
        tokio::spawn(async move { drop(answered.send(stub.call((n,)).await)) })
    };

    drop(call(0));
    assert_eq!(next(&mut starts).await?, 0);
    for n in 1..=4 {
        drop(call(n));
    }

    for _ in 0..3 {
        let refused = next(&mut answers).await?;
        assert_eq!(kind(&refused), Some(ErrorKind::Overloaded));
    }
    // One at a time: two answers may reach their callers in any order.
    gate.add_permits(1);
    assert_eq!(next(&mut answers).await??, 0);
    gate.add_permits(1);
    let waited = next(&mut answers).await??;
    assert!(waited > 0);
    assert_eq!(next(&mut starts).await?, waited);
    Ok(())
}
