//! Callers that leave early. Their answers must not reach another caller.

use std::time::Duration;

use pymq_core::{Bus, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::open;
use crate::wait::until;
use crate::{Failure, Harness, Outcome};

const TASKS: u32 = 64;

/// Between 0 and 5 ms, a different time for each task and round.
fn hurry(task: u32, round: u32) -> Duration {
    Duration::from_micros(u64::from(
        (task.wrapping_mul(2_654_435_761) ^ round.wrapping_mul(40_503)) % 5_000,
    ))
}

/// 64 tasks count queues of their own 50,000 times, and most of them leave early. None ever gets
/// the count of another.
pub async fn hurried_looks_see_their_own_queue(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let queue = |bus: &Bus, task| bus.queue::<u32>(format!("q{task}"));
    for task in 0..TASKS {
        let items: Vec<u32> = (0..task).collect();
        queue(&bus, task).put_all(&items).await?;
    }
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let queue = queue(&bus, task);
        tasks.spawn(async move {
            for round in 0..782 {
                if let Ok(len) = timeout(hurry(task, round), queue.len()).await {
                    assert_eq!(len?, usize::try_from(task)?, "round {round}");
                }
            }
            Ok::<_, Failure>(())
        });
    }
    tasks.join_all().await.into_iter().collect::<Outcome>()?;

    for task in 0..TASKS {
        assert_eq!(queue(&bus, task).clear().await?, usize::try_from(task)?);
    }
    Ok(())
}

/// 64 tasks call one function with arguments of their own, and most of them leave early. None ever
/// gets the answer of another.
pub async fn hurried_calls_get_their_own_answer(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("echo", async |n: u32| n).await?;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let stub = caller.stub::<(u32,), u32>("echo");
        tasks.spawn(async move {
            for round in 0..100 {
                let n = task * 1_000 + round;
                let hurried = stub.clone().timeout(hurry(task, round));
                match hurried.call((n,)).await {
                    Ok(answer) => assert_eq!(answer, n),
                    // With so many at once, some are refused.
                    Err(error) if is_hurry(error.kind()) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok::<_, Failure>(())
        });
    }
    tasks.join_all().await.into_iter().collect::<Outcome>()?;

    let unhurried = caller.stub::<(u32,), u32>("echo");
    // After the waiting calls that their callers have left.
    until("a call is answered", async || {
        unhurried.call((7,)).await.is_ok_and(|answer| answer == 7)
    })
    .await
}

fn is_hurry(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Timeout | ErrorKind::Overloaded | ErrorKind::Remote
    )
}
