//! Everything once, on the provider that `PYMQ_URL` names; without it on a bus inside this process.
//!
//!     cargo run -p pymq --example quickstart
//!     PYMQ_URL=redis://127.0.0.1:6379 cargo run -p pymq --features redis --example quickstart

use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt;
use pymq::topic::Meta;
use pymq::{Bus, ErrorKind};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Placed {
    order: u64,
    total: f64,
}
pymq::event!(Placed, topic = "quickstart.orders.placed");

#[tokio::main]
async fn main() -> pymq::Result<()> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "memory://".to_owned());
    let bus = pymq::connect(url).await?;
    println!("connected to the {} provider", bus.provider()?.name());

    topics(&bus).await?;
    queues(&bus).await?;
    remotes(&bus).await?;

    bus.shutdown(Duration::from_secs(5)).await?;
    println!("\nshut down: every handler finished, every subscription ended");
    Ok(())
}

async fn topics(bus: &Bus) -> pymq::Result<()> {
    println!("\n-- topics: everyone who listens gets the event");
    let (seen, mut arrived) = mpsc::unbounded_channel();

    let to_billing = seen.clone();
    let billing = bus
        .subscribe(move |placed: Placed| {
            ready(to_billing.send(format!(
                "billing:  order {} over {:.2}",
                placed.order, placed.total
            )))
        })
        .await?;
    let to_shipping = seen.clone();
    let shipping = bus
        .subscribe(move |placed: Placed| {
            ready(to_shipping.send(format!("shipping: order {}", placed.order)))
        })
        .await?;
    let audit = bus
        .pattern("quickstart.orders.*")
        .subscribe(move |placed: Placed, meta: Meta| {
            ready(seen.send(format!(
                "audit:    order {} on {}",
                placed.order,
                meta.topic()
            )))
        })
        .await?;

    let reached = bus
        .publish(&Placed {
            order: 17,
            total: 9.5,
        })
        .await?;
    println!("published order 17, reached {reached} subscriptions of this bus");

    let mut lines = Vec::new();
    while lines.len() < 3 {
        lines.extend(arrived.recv().await);
    }
    lines.sort();
    for line in lines {
        println!("  {line}");
    }

    // Dropping the guards would do; this waits until nothing more is delivered.
    billing.stop().await;
    shipping.stop().await;
    audit.stop().await;
    Ok(())
}

async fn queues(bus: &Bus) -> pymq::Result<()> {
    println!("\n-- queues: each item goes to one taker");
    let jobs = bus.queue::<String>("quickstart.jobs");
    jobs.clear().await?;

    // A get that waits, woken by the put.
    let waiting = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.get().await }
    });
    jobs.put("first").await?;
    println!(
        "a waiting get received {:?}",
        waiting.await.expect("the task ends")?
    );

    jobs.put("second").await?;
    let lease = jobs.lease().await?;
    println!(
        "leased {:?}, attempt {}; others now see {} items",
        *lease,
        lease.attempt(),
        jobs.len().await?
    );
    lease.nack().await?;

    let again = jobs.lease().await?;
    println!(
        "given back and redelivered: {:?}, attempt {}",
        *again,
        again.attempt()
    );
    again.ack().await?;
    jobs.join().await?;
    println!("acked, nothing is left: {:?}", jobs.try_get().await?);
    Ok(())
}

async fn divide(a: i64, b: i64) -> Result<i64, String> {
    a.checked_div(b)
        .ok_or_else(|| "division by zero".to_owned())
}

async fn remotes(bus: &Bus) -> pymq::Result<()> {
    println!("\n-- remotes: call a function by its name");
    let divide_by_name = bus.stub::<(i64, i64), i64>("quickstart.divide");

    let missing = divide_by_name
        .call((1, 1))
        .await
        .expect_err("nobody exposes it yet");
    assert_eq!(missing.kind(), ErrorKind::NoSuchRemote);
    println!("before it is exposed: {missing}");

    let exposed = bus.expose("quickstart.divide", divide).await?;
    println!("divide(42, 6) = {}", divide_by_name.call((42, 6)).await?);

    let mut everyone = divide_by_name.call_all((42, 7)).await?;
    while let Some(answer) = everyone.next().await {
        println!("one of {} servers says {}", everyone.expected(), answer?);
    }

    let failing = divide_by_name
        .call((1, 0))
        .await
        .expect_err("it cannot be divided");
    assert_eq!(failing.kind(), ErrorKind::Remote);
    println!("divide(1, 0): {failing}");

    exposed.stop().await;
    Ok(())
}
