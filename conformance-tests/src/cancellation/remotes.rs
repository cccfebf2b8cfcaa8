//! Exposes and calls, dropped at each poll.

use std::collections::HashSet;

use pymq_core::{Bus, ErrorKind};
use tokio::sync::mpsc::unbounded_channel;

use super::{POLLS, dropped_after, leaves_nothing, open_halting};
use crate::typed::{kind, open};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A dropped expose leaves nothing exposed, and the name free.
pub async fn dropped_exposes_leave_nothing(h: &dyn Harness) -> Outcome {
    let (bus, caller) = (open_halting(h).await?, open(h).await?);

    for polls in 1..=POLLS {
        let run = dropped_after(polls, bus.expose("f", async || 1)).await;
        drop(run.output);

        nobody_serves(&caller).await?;
        let guard = soon("expose", bus.expose("f", async || 2)).await??;
        assert_eq!(caller.stub::<(), u32>("f").call(()).await?, 2);
        guard.stop().await;
        if run.is_last {
            break;
        }
    }
    caller.close().await?;
    leaves_nothing(h, bus).await
}

/// A dropped unexpose still unexposes.
pub async fn dropped_unexposes_happen(h: &dyn Harness) -> Outcome {
    let (bus, caller) = (open_halting(h).await?, open(h).await?);

    for polls in 1..=POLLS {
        let guard = soon("expose", bus.expose("f", async || 1)).await??;

        let run = dropped_after(polls, guard.stop()).await;

        nobody_serves(&caller).await?;
        if run.is_last {
            break;
        }
    }
    caller.close().await?;
    leaves_nothing(h, bus).await
}

/// A dropped call runs at most once, and the next call gets its own answer.
pub async fn dropped_calls_run_once_or_not(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open_halting(h).await?);
    let (ran, mut runs) = unbounded_channel();
    let echo = move |n: u32| {
        ran.send(n).ok();
        async move { n }
    };
    let guard = server.expose("f", echo).await?;
    let stub = caller.stub::<(u32,), u32>("f");

    for polls in 1..=POLLS {
        let (one, several) = (polls, POLLS + polls);
        let call = dropped_after(polls, stub.call((one,))).await;
        if let Some(answer) = &call.output {
            assert_eq!(answer.as_ref().ok(), Some(&one));
        }
        let all = dropped_after(polls, stub.call_all((several,))).await;
        let is_last = call.is_last && all.is_last;
        if let Some(responses) = all.output {
            let mut responses = responses?;
            // A dropped receive takes nothing.
            let first = dropped_after(polls, responses.recv()).await.output;
            let first = match first {
                Some(first) => first,
                None => soon("the answer", responses.recv()).await?,
            };
            assert_eq!(first.ok_or("one answer is expected")??, several);
        }

        let next = 2 * POLLS + polls;
        assert_eq!(soon("the next call", stub.call((next,))).await??, next);
        if is_last {
            break;
        }
    }
    guard.stop().await;
    server.close().await?;
    let mut seen = HashSet::new();
    while let Ok(n) = runs.try_recv() {
        assert!(seen.insert(n), "call {n} ran twice");
    }
    leaves_nothing(h, caller).await
}

async fn nobody_serves(caller: &Bus) -> Outcome {
    until("no server is left", async || {
        let outcome = caller.stub::<(), u32>("f").call(()).await;
        kind(&outcome) == Some(ErrorKind::NoSuchRemote)
    })
    .await
}
