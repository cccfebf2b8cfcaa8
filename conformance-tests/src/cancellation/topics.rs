//! Publishes, subscribes and receives, dropped at each poll.

use pymq_core::Bus;

use super::{POLLS, dropped_after, leaves_nothing, open_halting};
use crate::traffic::assert_reached;
use crate::typed::{next, open, recorder};
use crate::wait::{soon, until};
use crate::{Harness, Outcome};

/// A dropped publish is sent at most once, and the next one comes after it.
pub async fn dropped_publishes_happen_once_or_not(h: &dyn Harness) -> Outcome {
    let (bus, reader) = (open_halting(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<u32>();
    let guard = reader.topic("t").subscribe(record).await?;

    for polls in 1..=POLLS {
        let publish = dropped_after(polls, async {
            bus.topic("t").header("n", "1").publish(&polls).await
        });
        let run = publish.await;
        bus.topic("t").publish(&0).await?;

        let first = next(&mut arrived).await?;
        if first != 0 {
            assert_eq!(first, polls);
            assert_eq!(next(&mut arrived).await?, 0, "after {polls} polls");
        }
        if let Some(reached) = run.output {
            assert_reached(bus.provider()?, reached?, 1);
            assert_eq!(first, polls);
        }
        if run.is_last {
            break;
        }
    }
    guard.stop().await;
    reader.close().await?;
    leaves_nothing(h, bus).await
}

/// A dropped subscribe, of a handler or a stream, leaves nothing subscribed, and the next one
/// works.
pub async fn dropped_subscribes_leave_nothing(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open_halting(h).await?, open(h).await?);

    for polls in 1..=POLLS {
        let handler = dropped_after(polls, bus.topic("t").subscribe(async |_: u32| {})).await;
        let stream = dropped_after(polls, bus.topic("t").stream::<u32>()).await;
        let is_last = handler.is_last && stream.is_last;
        drop((handler.output, stream.output));

        nobody_listens(&publisher).await?;
        let mut next = soon("stream", bus.topic("t").stream::<u32>()).await??;
        let reached = publisher.topic("t").publish(&polls).await?;
        assert_reached(publisher.provider()?, reached, 1);
        assert_eq!(soon("recv", next.recv()).await??.into_event(), Some(polls));
        next.unsubscribe().await;
        if is_last {
            break;
        }
    }
    publisher.close().await?;
    leaves_nothing(h, bus).await
}

/// A dropped unsubscribe still unsubscribes.
pub async fn dropped_unsubscribes_happen(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open_halting(h).await?, open(h).await?);

    for polls in 1..=POLLS {
        let guard = bus.topic("t").subscribe(async |_: u32| {}).await?;
        let stream = bus.topic("t").stream::<u32>().await?;

        let handler = dropped_after(polls, guard.stop()).await;
        let stream = dropped_after(polls, stream.unsubscribe()).await;

        nobody_listens(&publisher).await?;
        if handler.is_last && stream.is_last {
            break;
        }
    }
    publisher.close().await?;
    leaves_nothing(h, bus).await
}

/// A dropped receive takes nothing: the next receive gets the event.
pub async fn dropped_receives_lose_nothing(h: &dyn Harness) -> Outcome {
    let (bus, publisher) = (open_halting(h).await?, open(h).await?);
    let mut stream = bus.topic("t").stream::<u32>().await?;

    for polls in 1..=POLLS {
        let run = {
            let receiving = dropped_after(polls, stream.recv());
            let topic = publisher.topic("t");
            let (run, reached) = tokio::join!(receiving, topic.publish(&polls));
            assert_reached(publisher.provider()?, reached?, 1);
            run
        };
        let received = match run.output {
            Some(received) => received?,
            None => soon("recv", stream.recv()).await??,
        };
        assert_eq!(received.into_event(), Some(polls));
        if run.is_last {
            break;
        }
    }
    drop(stream);
    publisher.close().await?;
    leaves_nothing(h, bus).await
}

async fn nobody_listens(publisher: &Bus) -> Outcome {
    until("no subscriber is left", async || {
        publisher
            .topic("t")
            .publish(&0)
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}
