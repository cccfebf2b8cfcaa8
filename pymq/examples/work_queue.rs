//! Producers and competing consumers. Kill a consumer in the middle of its work: the job goes to
//! another.
//!
//!     export PYMQ_URL=redis://127.0.0.1:6379
//!     cargo run -p pymq --features redis --example work_queue -- work
//!     cargo run -p pymq --features redis --example work_queue -- put 100

use std::time::Duration;

use pymq::queue::{ItemMeta, Queue};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
struct Job {
    number: u32,
    milliseconds: u64,
}

#[tokio::main]
async fn main() -> pymq::Result<()> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let bus = pymq::connect(url).await?;
    // A short lease, so that the jobs of a killed worker come back while one watches.
    let jobs = bus
        .queue::<Job>("work_queue.jobs")
        .lease_time(Duration::from_secs(5));

    let mut args = std::env::args().skip(1);
    match (
        args.next().as_deref(),
        args.next().and_then(|count| count.parse().ok()),
    ) {
        (Some("put"), count) => put(&jobs, count.unwrap_or(10)).await?,
        (Some("work"), _) => {
            jobs.worker(work).concurrency(2).start()?.keep();
            println!(
                "worker {} waits for jobs, Ctrl-C ends it",
                std::process::id()
            );
            tokio::signal::ctrl_c().await.ok();
            println!("stopping; jobs in hand may take 5 s more");
        }
        _ => println!("usage: work_queue put [COUNT] | work_queue work"),
    }
    bus.shutdown(Duration::from_secs(5)).await
}

async fn put(jobs: &Queue<Job>, count: u32) -> pymq::Result<()> {
    for number in 1..=count {
        jobs.put(&Job {
            number,
            milliseconds: 200,
        })
        .await?;
    }
    println!("put {count} jobs, waiting until they are done");
    jobs.join().await?;
    println!("all done");
    Ok(())
}

async fn work(job: Job, meta: ItemMeta) {
    println!("job {} (attempt {})", job.number, meta.attempt());
    tokio::time::sleep(Duration::from_millis(job.milliseconds)).await;
}
