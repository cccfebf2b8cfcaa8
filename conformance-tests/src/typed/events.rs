//! Publishing and receiving by type, by name and by pattern.

use pymq_core::codec::Raw;
use pymq_core::{Error, ErrorKind, Event, Meta, Received};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use super::{next, open, recorder};
use crate::traffic::assert_reached;
use crate::wait::soon;
use crate::{Harness, Outcome};

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Placed {
    order: u64,
    note: Option<String>,
}
pymq_core::event!(Placed);

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Paid {
    order: u64,
}
pymq_core::event!(Paid, topic = "billing.paid", class = "billing.events.Paid");

/// An event is published on the path of its type, and handlers of that type get it.
pub async fn typed_event_by_default_topic(h: &dyn Harness) -> Outcome {
    let (sender, receiver) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<Placed>();
    let _guard = receiver.subscribe(record).await?;
    let placed = Placed {
        order: 7,
        note: Some("ring twice".to_owned()),
    };

    let reached = sender.publish(&placed).await?;

    assert_eq!(Placed::TOPIC, "pymq_conformance.typed.events.Placed");
    assert_reached(sender.provider()?, reached, 1);
    assert_eq!(next(&mut arrived).await?, placed);
    Ok(())
}

/// An event with a topic and a class of its own arrives there, for typed and for untyped readers.
pub async fn typed_event_with_named_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (record, mut arrived) = recorder::<Paid>();
    let _typed = bus.subscribe(record).await?;
    let (record, mut plain) = recorder::<Value>();
    let _untyped = bus.topic("billing.paid").subscribe(record).await?;

    bus.publish(&Paid { order: 7 }).await?;

    assert_eq!(next(&mut arrived).await?, Paid { order: 7 });
    assert_eq!(next(&mut plain).await?["order"], json!(7));
    Ok(())
}

/// A handler with two arguments gets the topic and the headers, from both ways to publish them.
pub async fn handlers_are_told_topic_and_headers(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (seen, mut arrived) = unbounded_channel();
    let handler = move |paid: Paid, meta: Meta| {
        let headers: Vec<_> = meta
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let sent = seen.send((paid.order, meta.topic().to_owned(), headers));
        async move { sent }
    };
    let _guard = bus.subscribe(handler).await?;

    bus.header("tenant", "a")
        .header("trace", "1")
        .publish(&Paid { order: 1 })
        .await?;
    bus.topic(Paid::TOPIC)
        .header("tenant", "b")
        .publish(&Paid { order: 2 })
        .await?;
    bus.publish(&Paid { order: 3 }).await?;

    let topic = Paid::TOPIC.to_owned();
    let both = vec!["tenant=a".to_owned(), "trace=1".to_owned()];
    assert_eq!(next(&mut arrived).await?, (1, topic.clone(), both));
    assert_eq!(
        next(&mut arrived).await?,
        (2, topic.clone(), vec!["tenant=b".to_owned()])
    );
    assert_eq!(next(&mut arrived).await?, (3, topic, Vec::new()));
    Ok(())
}

/// `Raw` carries bytes that are not JSON.
pub async fn raw_bytes_pass_through_a_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (record, mut arrived) = recorder::<Raw>();
    let _guard = bus.topic("bytes").subscribe(record).await?;
    let bytes = Raw::from((0..=255).collect::<Vec<u8>>());

    bus.topic("bytes").publish(&bytes).await?;

    assert_eq!(next(&mut arrived).await?, bytes);
    Ok(())
}

/// An event that cannot be decoded is an error with type, topic and payload, and the next one
/// arrives.
pub async fn decode_error_names_type_and_topic(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut numbers = bus.topic("numbers").stream::<u64>().await?;

    bus.topic("numbers").publish("many").await?;
    bus.topic("numbers").publish(&5).await?;

    let error = soon("the error", numbers.recv())
        .await?
        .expect_err("a text is no number");
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("`numbers` as u64"), "{error}");
    assert_eq!(
        error.payload().map(|bytes| &**bytes),
        Some(&br#""many""#[..])
    );
    let event = soon("the event", numbers.recv()).await??.into_event();
    assert_eq!(event, Some(5));
    Ok(())
}

/// A stream that is read too late reports how many events are missing, and keeps the newest.
pub async fn a_slow_stream_is_told_what_it_missed(h: &dyn Harness) -> Outcome {
    const COUNT: u64 = 1_500;
    let bus = open(h).await?;
    let mut numbers = bus.topic("numbers").stream::<u64>().await?;

    for n in 0..COUNT {
        bus.topic("numbers").publish(&n).await?;
    }

    let (mut missing, mut seen) = (0, 0);
    loop {
        match soon("the next event", numbers.recv()).await?? {
            Received::Lagged(missed) => missing += missed.ok_or("nothing was disrupted")?,
            Received::Event(n, _) => {
                assert_eq!(
                    n,
                    missing + seen,
                    "in order, and the gap where it is reported"
                );
                seen += 1;
                if n == COUNT - 1 {
                    break;
                }
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert!(seen >= 1_024, "the buffer holds the newest");
    Ok(())
}

/// A stream ends when its bus is shut down, for a task that reads and for one that waits.
pub async fn a_stream_ends_with_its_bus(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mut numbers = bus.topic("numbers").stream::<u64>().await?;
    let waiting =
        tokio::spawn(async move { numbers.recv().await.map_err(|error: Error| error.kind()) });

    bus.close().await?;

    let ended = soon("the stream", waiting).await??;
    assert_eq!(ended.err(), Some(ErrorKind::Closed));
    Ok(())
}
