//! What survives when every connection is cut. Where there is nothing to cut, nothing may be
//! missing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{GetOptions, Incoming, Provider, PutOptions, Subscription, Wait};
use pymq_core::{Bus, Error, ErrorKind, LifecycleEvent, Received, Status};
use tokio::time::{Instant, sleep};

use crate::errors::{full_text, not_shared};
use crate::lifecycle::operations;
use crate::traffic::{number, numbered, numbers, topic};
use crate::wait::{WAIT_LIMIT, soon, until};
use crate::{Failure, Fault, Harness, Outcome};

/// A subscription receives again after a cut, without any call.
pub async fn subscription_survives_disconnect(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut subscription = subscriber.subscribe(topic("t")).await?;
    for round in 1..4 {
        cut(h).await?;

        let arrival = async {
            while received(&mut subscription).await? != Some(round) {}
            Ok::<_, Failure>(())
        };
        while_publishing(&*publisher, || round, arrival).await?;
    }
    Ok(())
}

/// A reader receives one gap before anything newer, and none if nothing was cut.
pub async fn gap_is_reported_once(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut subscription = subscriber.subscribe(topic("t")).await?;
    publisher.publish("t", numbered(0)).await?;
    assert_eq!(numbers(&mut subscription, 1).await?, [0]);

    let was_cut = cut(h).await?;

    let mut next = 0;
    let counting = || {
        next += 1;
        next
    };
    let reading = async {
        let mut gaps = 0;
        let mut last = 0;
        for _ in 0..20 {
            match received(&mut subscription).await? {
                None => gaps += 1,
                Some(number) => {
                    assert_eq!(gaps, usize::from(was_cut), "gaps before message {number}");
                    assert!(number > last, "message {number} after {last}");
                    last = number;
                }
            }
        }
        Ok::<_, Failure>(())
    };
    while_publishing(&*publisher, counting, reading).await
}

/// A take that waits through a cut gets the next message that is put.
pub async fn waiting_get_survives_disconnect(h: &dyn Harness) -> Outcome {
    let (putter, getter) = (h.connect().await?, h.connect().await?);
    for depth in [
        Duration::ZERO,
        Duration::from_millis(5),
        Duration::from_millis(100),
    ] {
        let waiting = {
            let getter = Arc::clone(&getter);
            tokio::spawn(async move {
                getter
                    .queue_get("q", GetOptions::default().wait(Wait::Forever))
                    .await
            })
        };
        sleep(depth).await;

        cut(h).await?;
        until("a put succeeds", async || {
            putter
                .queue_put("q", vec![numbered(1)], PutOptions::default())
                .await
                .is_ok()
        })
        .await?;

        let taken = soon("the waiting take", waiting).await???;
        assert_eq!(taken[0].message, numbered(1));
        // A put may have been repeated if the cut took its answer.
        putter
            .queue_clear("q", pymq_core::provider::Part::Ready)
            .await?;
    }
    Ok(())
}

/// An exposed function can be called again after a cut, without any call on its side.
pub async fn server_survives_disconnect(h: &dyn Harness) -> Outcome {
    let (server, caller) = (Bus::new(h.connect().await?), Bus::new(h.connect().await?));
    let _guard = server.expose("double", async |n: u32| 2 * n).await?;
    let double = caller
        .stub::<(u32,), u32>("double")
        .timeout(Duration::from_secs(1));
    for round in 1..4 {
        assert_eq!(double.call((round,)).await?, 2 * round);

        cut(h).await?;

        // Until the server is back there is none, and requests that are in transit during the cut
        // are lost.
        until("it can be called", async || {
            double.call((round,)).await.ok() == Some(2 * round)
        })
        .await?;
    }
    Ok(())
}

/// Every operation works again after a cut. A command that was not sent when the connection broke
/// is sent without an error.
pub async fn commands_recover_after_disconnect(h: &dyn Harness) -> Outcome {
    let (provider, server) = (h.connect().await?, h.connect().await?);
    let _requests = server.rpc_listen("n").await?;
    for round in 0..3 {
        cut(h).await?;
        for (number, (operation, _)) in operations(&*provider).into_iter().enumerate() {
            until(&format!("{operation} works in round {round}"), async || {
                // Created anew for each try: something to take, and then the operation.
                let item = vec![numbered(round)];
                let put = provider.queue_put("n", item, PutOptions::default());
                let (_, run) = operations(&*provider).swap_remove(number);
                put.await.is_ok() && run.await.is_ok()
            })
            .await?;
        }
    }
    Ok(())
}

/// A cut is reported when it happens, and is over when the status says so. Possible losses are
/// counted.
pub async fn a_disconnect_is_told_and_counted(h: &dyn Harness) -> Outcome {
    let bus = Bus::new(h.connect().await?);
    let mut stream = bus.topic("t").stream::<usize>().await?;
    let _guard = bus.topic("t").subscribe(async |_: usize| ()).await?;
    let mut lifecycle = bus.lifecycle();

    let was_cut = cut(h).await?;
    if was_cut {
        let gap = soon("the gap", stream.recv()).await??;
        assert!(matches!(gap, Received::Lagged(None)), "{gap:?}");
        until("the handler is told too", async || bus.stats().gaps == 2).await?;
        until("every connection is back", async || {
            // An unused connection may not know yet that it was cut.
            let answers = bus.ping(WAIT_LIMIT).await.is_ok();
            answers && bus.stats().reconnects > 0 && bus.status() == Status::Ready
        })
        .await?;
    }
    bus.close().await?;

    let (mut statuses, mut lost, mut back) = (Vec::new(), 0, 0);
    while let Some(event) = soon("the lifecycle", lifecycle.recv()).await? {
        match event {
            LifecycleEvent::Status(status) => statuses.push(status),
            LifecycleEvent::Disconnected { error, .. } => {
                assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
                lost += 1;
            }
            LifecycleEvent::Reconnected { .. } => back += 1,
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert_eq!(statuses.first(), Some(&Status::Ready), "{statuses:?}");
    assert!(
        statuses.ends_with(&[Status::Ready, Status::Closed]),
        "{statuses:?}"
    );
    assert_eq!(statuses.len() > 2, was_cut, "{statuses:?}");
    // A provider has one connection or several.
    assert_eq!(lost > 0, was_cut);
    assert_eq!(lost, back);
    assert_eq!(bus.stats().reconnects, back);
    Ok(())
}

/// Without a server at the start there is one error, in time, which names the address.
pub async fn backend_down_at_start_is_a_clear_error(h: &dyn Harness) -> Outcome {
    let began = Instant::now();
    let Some(connected) = h.connect_despite(Fault::Down).await else {
        return not_shared(h).await;
    };
    let error: Error = connected.expect_err("it connected without a server");

    assert!(
        began.elapsed() < WAIT_LIMIT,
        "the error took {:?}",
        began.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(
        full_text(&error).contains("127.0.0.1"),
        "no address in: {}",
        full_text(&error)
    );
    Ok(())
}

/// Cuts every connection. Returns whether there was one, as a shared provider has.
pub(crate) async fn cut(h: &dyn Harness) -> Result<bool, Failure> {
    let was_cut = h.disrupt().await;
    if !was_cut {
        not_shared(h).await?;
    }
    Ok(was_cut)
}

/// Publishes a number every few milliseconds until the reader is done. A message in transit during
/// a cut is lost, and a backend may need some time to notice that a connection is gone.
async fn while_publishing(
    publisher: &dyn Provider,
    mut number: impl FnMut() -> usize,
    reader: impl Future<Output = Outcome>,
) -> Outcome {
    let publishing = async {
        loop {
            // A failure is allowed here.
            drop(publisher.publish("t", numbered(number())).await);
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = reader => outcome,
        () = publishing => Ok(()),
    }
}

/// Receives a number, or none for a gap.
async fn received(subscription: &mut Subscription) -> Result<Option<usize>, Failure> {
    match soon("recv", subscription.recv()).await?? {
        Incoming::Message(published) => number(published.message()).map(Some),
        Incoming::Lagged { missed: None } => Ok(None),
        other => Err(format!("expected a message or a gap, got {other:?}").into()),
    }
}
