//! What a bus reports about itself: its status, the state of its connections, its counters.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Provider, QueueStats, Reply, RequestOptions};
use pymq_core::{Bus, ErrorKind, LifecycleEvent, Message, Received, Status};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use crate::twist::{Twist, twisted};
use crate::typed::{kind, open};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A bus is ready from its first moment until it is closed. Its lifecycle reports just that and
/// ends.
pub async fn a_bus_is_ready_until_it_is_closed(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut lifecycle = bus.lifecycle();
    assert_eq!(bus.status(), Status::Ready);
    bus.topic("t").publish("x").await?;

    bus.close().await?;

    assert_eq!(bus.status(), Status::Closed);
    let mut seen = Vec::new();
    while let Some(event) = soon("the lifecycle", lifecycle.recv()).await? {
        match event {
            LifecycleEvent::Status(status) => seen.push(status),
            other => return Err(format!("{other:?} where nothing happened").into()),
        }
    }
    assert_eq!(seen, [Status::Ready, Status::Closed]);
    Ok(())
}

/// A ping ends within its limit, also if the provider does not answer, and reports the status of
/// the bus. A limit that no clock can represent is no limit.
pub async fn a_ping_ends_in_time(h: &dyn Harness) -> Outcome {
    let silent = Bus::new(twisted(h.connect().await?, Silent));
    for timeout in [Duration::ZERO, Duration::from_millis(20)] {
        let error = soon("the ping", silent.ping(timeout))
            .await?
            .expect_err("nothing answers");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(
            source
                .as_ref()
                .is_some_and(|it| it.ends_with("the bus is ready")),
            "{source:?}"
        );
    }

    let bus = open(h).await?;
    soon("the ping", bus.ping(Duration::MAX)).await??;
    let hurried = soon("the hurried ping", bus.ping(Duration::ZERO)).await?;
    assert!(matches!(kind(&hurried), None | Some(ErrorKind::Timeout)));

    bus.close().await?;
    assert_eq!(
        kind(&bus.ping(Duration::MAX).await),
        Some(ErrorKind::Closed)
    );
    Ok(())
}

/// Never answers a count of a queue.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Twist for Silent {
    async fn queue_stats(&self, _: &Arc<dyn Provider>, _: &str) -> pymq_core::Result<QueueStats> {
        pending().await
    }
}

/// A lifecycle that is requested after the close says so, and ends.
pub async fn the_lifecycle_of_a_closed_bus_is_over(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    bus.close().await?;

    let mut lifecycle = bus.lifecycle();

    let first = soon("the status", lifecycle.recv()).await?;
    assert!(
        matches!(first, Some(LifecycleEvent::Status(Status::Closed))),
        "{first:?}"
    );
    assert!(soon("the end", lifecycle.recv()).await?.is_none());
    Ok(())
}

/// A listener to the lifecycle does not keep the bus alive, and receives its end.
pub async fn a_dropped_bus_ends_its_lifecycle(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut lifecycle = bus.lifecycle();

    drop(bus);

    soon("the end of the lifecycle", async {
        while lifecycle.recv().await.is_some() {}
    })
    .await?;
    Ok(())
}

/// Failures and panics of handlers, and messages that they cannot read, are counted separately.
pub async fn failures_of_handlers_are_counted(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let handle = async |n: u32| {
        assert_ne!(n, 1, "a panic on purpose");
        if n == 0 { Err("failed") } else { Ok(()) }
    };
    let _guard = bus.topic("t").subscribe(handle).await?;
    let mut stream = bus.topic("t").stream::<u32>().await?;

    for n in [0, 1, 1, 2] {
        bus.topic("t").publish(&n).await?;
    }
    for _ in 0..3 {
        bus.topic("t").publish("no number").await?;
    }
    for n in 0..7 {
        assert_eq!(soon("recv", stream.recv()).await?.is_err(), n > 3);
    }

    until("all is counted", async || {
        let stats = bus.stats();
        // Of the stream and of the handler.
        (stats.handler_failures, stats.panics, stats.undecodable) == (1, 2, 6)
    })
    .await?;
    assert_eq!((bus.stats().lagged, bus.stats().gaps), (0, 0));
    Ok(())
}

/// Messages that a slow reader missed are counted exactly.
pub async fn lag_is_counted(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open(h).await?, open(h).await?);
    let mut stream = bus.topic("t").stream::<usize>().await?;
    let mut end = bus.topic("end").stream::<usize>().await?;
    for n in 0..1_100 {
        publisher.topic("t").publish(&n).await?;
    }
    publisher.topic("end").publish(&0).await?;
    // One connection keeps the order: when this message is here, so are all others.
    soon("the end", end.recv()).await??;

    let mut lagged = 0;
    loop {
        match soon("recv", stream.recv()).await?? {
            Received::Lagged(missed) => lagged += missed.ok_or("the number is known")?,
            Received::Event(1_099, _) => break,
            _ => {}
        }
    }

    assert_eq!((lagged, bus.stats().lagged), (76, 76));
    assert_eq!((publisher.stats().lagged, bus.stats().gaps), (0, 0));
    Ok(())
}

/// A reply that comes after its caller left is counted by the bus of the caller.
pub async fn late_replies_are_counted(h: &dyn Harness) -> Outcome {
    let (caller, server) = (open(h).await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let hurried = caller
        .stub::<(), u32>("f")
        .timeout(Duration::from_millis(100));

    let (outcome, request) = tokio::join!(hurried.call(()), requests.recv());
    assert_eq!(kind(&outcome), Some(ErrorKind::Timeout), "{outcome:?}");
    assert_eq!(caller.stats().late_replies, 0);
    request?.respond(Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    });

    until("the reply is counted", async || {
        caller.stats().late_replies == 1
    })
    .await
}

/// The bus of a server counts each request that expired before it could run.
pub async fn expired_requests_are_counted(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, open(h).await?);
    let (gate, started) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let busy = {
        let (gate, started) = (Arc::clone(&gate), Arc::clone(&started));
        move || {
            started.add_permits(1);
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.map(SemaphorePermit::forget) }
        }
    };
    let _guard = server.expose("f", busy).await?;

    // Longer on a slow machine, where the request may expire before it arrives, or arrive so late
    // that it runs.
    for millis in [100, 500, 2_500] {
        let patient = RequestOptions::default();
        let hurried = patient.clone().timeout(Duration::from_millis(millis));
        let mut open = Vec::new();
        // 64 calls run at once; the next ones wait.
        let request = |opts| caller.rpc_request("f", Message::json("[]"), opts);
        for _ in 0..64 {
            open.push(request(patient.clone()).await?);
        }
        soon("64 calls", started.acquire_many(64)).await??.forget();
        let _expiring = request(hurried).await?;
        sleep(2 * Duration::from_millis(millis)).await;
        gate.add_permits(66);
        for replies in &mut open {
            soon("the answer", replies.recv())
                .await?
                .ok_or("no answer")??;
        }
        // When the next call has run, the server has checked those that waited behind it.
        let mut next = request(patient).await?;
        soon("the next", next.recv()).await?.ok_or("no answer")??;
        started.acquire().await?.forget();
        if server.stats().expired_requests == 1 {
            assert_eq!(Bus::new(caller).stats().expired_requests, 0);
            return Ok(());
        }
        for permits in [&gate, &started] {
            permits.forget_permits(66);
        }
    }
    Err("no request expired".into())
}
