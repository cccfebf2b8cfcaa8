//! P: handlers and streams of patterns are told the concrete topic.

use pymq::{Meta, Received};
use tokio::sync::mpsc::unbounded_channel;

use crate::typed::{next, open};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// A handler of a pattern is told the concrete topic.
pub async fn pattern_handlers_see_the_concrete_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |order: u64, meta: Meta| {
        let sent = seen.send((order, meta.topic().to_owned()));
        async move { sent }
    };
    let _guard = bus.pattern("orders.*").subscribe(handler).await?;

    bus.topic("orders.placed").publish(&1).await?;
    bus.topic("others").publish(&2).await?;
    bus.topic("orders.paid").publish(&3).await?;

    assert_eq!(next(&mut arrived).await?, (1, "orders.placed".to_owned()));
    assert_eq!(next(&mut arrived).await?, (3, "orders.paid".to_owned()));
    Ok(())
}

/// A stream of a pattern yields the concrete topic with each event.
pub async fn pattern_streams_yield_the_concrete_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut orders = bus.pattern("orders.*").stream::<u64>().await?;

    bus.topic("orders.placed").publish(&1).await?;

    match soon("the event", orders.recv()).await?? {
        Received::Event(order, meta) => assert_eq!((order, meta.topic()), (1, "orders.placed")),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
