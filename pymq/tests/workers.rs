//! What a worker promises while its items are quick: then one task works on many of them.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use pymq::{Bus, Result};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn connect() -> Result<Bus> {
    pymq::connect("memory://").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_keeps_no_item_from_the_other_handlers() -> Result<()> {
    let bus = connect().await?;
    let jobs = bus.queue::<u32>("jobs");
    // Quick items first, then one that blocks until the last one is handled.
    jobs.put_all(&(0..200).collect::<Vec<_>>()).await?;
    let (unblock, blocked) = mpsc::channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let worker = jobs
        .worker(move |job: u32| {
            let (unblock, blocked) = (unblock.clone(), Arc::clone(&blocked));
            async move {
                if job == 150 {
                    let last = blocked.lock().unwrap().recv_timeout(PATIENCE);
                    assert_eq!(last, Ok(199));
                } else if job == 199 {
                    unblock.send(job).unwrap();
                }
            }
        })
        .concurrency(2)
        .start()?;

    let joined = timeout(PATIENCE, jobs.join()).await;

    joined.expect("the last item is handled")?;
    assert!(jobs.dead_letters().is_empty().await?);
    worker.stop().await;
    bus.shutdown(PATIENCE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_quick_item_begins_before_one_that_failed_and_went_back_to_the_front() -> Result<()> {
    let bus = connect().await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_all(&(0..200).collect::<Vec<_>>()).await?;
    let began = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let began = Arc::clone(&began);
        move |job: u32| {
            let began = Arc::clone(&began);
            async move {
                let mut began = began.lock().unwrap();
                began.push(job);
                let is_first = began.iter().filter(|other| **other == job).count() == 1;
                if job % 50 == 49 && is_first {
                    return Err("the first attempt fails");
                }
                Ok(())
            }
        }
    };
    let worker = jobs
        .worker(handler)
        .backoff(Duration::ZERO, Duration::ZERO)
        .start()?;

    let joined = timeout(PATIENCE, jobs.join()).await;

    joined.expect("all items are handled")?;
    let twice = |job| std::iter::repeat_n(job, if job % 50 == 49 { 2 } else { 1 });
    let expected: Vec<u32> = (0..200).flat_map(twice).collect();
    assert_eq!(*began.lock().unwrap(), expected);
    worker.stop().await;
    bus.shutdown(PATIENCE).await
}
