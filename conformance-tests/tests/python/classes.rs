//! Events by their class: the topic of a type, and the class that is built on the other side.

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_core::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::shop::{Inner, PLACED, Placed};
use super::topics::next;

cases! {
    an_object_reaches_the_handler_of_its_rust_type,
    an_event_reaches_the_handler_annotated_with_its_class,
    an_event_without_a_class_is_built_by_the_annotation,
    an_event_reaches_a_method_as_handler,
    the_default_topic_of_a_rust_type_is_that_of_a_class_at_the_same_path,
    a_class_in_a_class_has_another_channel_than_tag,
    plain_values_are_on_the_topic_of_their_python_type,
}

async fn an_object_reaches_the_handler_of_its_rust_type(peers: Peers) -> Outcome {
    let (tx, mut rx) = mpsc::channel(1);
    let handler = move |placed: Placed| {
        let tx = tx.clone();
        async move { tx.send(placed).await }
    };
    let _guard = peers.bus.subscribe(handler).await?;

    let reached: usize = peers
        .python
        .eval("pymq.publish(Placed(order=17, total=9.0))")
        .await?;

    assert_eq!(reached, 1);
    assert_eq!(soon("the event", rx.recv()).await?, Some(PLACED));
    Ok(())
}

async fn an_event_reaches_the_handler_annotated_with_its_class(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            @pymq.subscriber
            def on_placed(event: Placed):
                seen.put(event)
            ",
        )
        .await?;
    peers.until_listening("shop.events.Placed", 1).await?;

    assert_eq!(peers.bus.publish(&PLACED).await?, 1);

    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Placed(order=17, total=9.0)"
    );
    Ok(())
}

async fn an_event_without_a_class_is_built_by_the_annotation(peers: Peers) -> Outcome {
    #[derive(Serialize)]
    struct Untagged {
        order: u64,
        total: f64,
    }
    pymq_core::event!(Untagged, topic = "shop.events.Placed");
    peers
        .python
        .run(
            "
            @pymq.subscriber
            def on_placed(event: Placed):
                seen.put(event)
            ",
        )
        .await?;
    peers.until_listening("shop.events.Placed", 1).await?;

    peers
        .bus
        .publish(&Untagged {
            order: 17,
            total: 9.0,
        })
        .await?;

    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Placed(order=17, total=9.0)"
    );
    Ok(())
}

async fn an_event_reaches_a_method_as_handler(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            class Billing:
                def on_placed(self, event: Placed):
                    seen.put(event)
            pymq.subscribe(Billing().on_placed)
            ",
        )
        .await?;
    peers.until_listening("shop.events.Placed", 1).await?;

    peers.bus.publish(&PLACED).await?;

    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Placed(order=17, total=9.0)"
    );
    Ok(())
}

async fn the_default_topic_of_a_rust_type_is_that_of_a_class_at_the_same_path(
    peers: Peers,
) -> Outcome {
    let mut events = peers
        .bus
        .topic(billing::Paid::TOPIC)
        .stream::<billing::Paid>()
        .await?;
    // A class with a module that has the path of this one.
    peers
        .python
        .run(&format!(
            "
            class Paid:
                __module__ = {:?}
                order: int
            def on_paid(event: Paid):
                seen.put(event)
            pymq.subscribe(on_paid)
            paid = Paid()
            paid.order = 17
            ",
            module_path!().replace("::", ".") + ".billing"
        ))
        .await?;
    peers.until_listening(billing::Paid::TOPIC, 2).await?;

    peers.python.run("pymq.publish(paid)").await?;
    assert_eq!(next(&mut events).await?, billing::Paid { order: 17 });
    assert_eq!(
        peers.python.repr("vars(seen.get())").await?,
        "{'order': 17}"
    );

    peers.bus.publish(&billing::Paid { order: 18 }).await?;
    assert_eq!(
        peers.python.repr("vars(seen.get())").await?,
        "{'order': 18}"
    );
    Ok(())
}

mod billing {
    use super::{Deserialize, Serialize};

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    pub(super) struct Paid {
        pub(super) order: u64,
    }
    pymq_core::event!(Paid);
}

async fn a_class_in_a_class_has_another_channel_than_tag(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic(Inner::TOPIC).stream::<Inner>().await?;
    peers.python.run("pymq.publish(Outer.Inner(4))").await?;
    assert_eq!(next(&mut events).await?, Inner { x: 4 });
    events.unsubscribe().await;

    peers
        .python
        .run(
            "
            @pymq.subscriber
            def on_inner(event: Outer.Inner):
                seen.put(event)
            pymq.subscribe(seen.put, 'shop.events.Inner')
            ",
        )
        .await?;
    peers.until_listening("shop.events.Inner", 1).await?;
    peers.bus.publish(&Inner { x: 5 }).await?;
    // One handler builds by its annotation, the other by the tag.
    for _ in 0..2 {
        assert_eq!(peers.python.repr("seen.get()").await?, "Outer.Inner(x=5)");
    }
    Ok(())
}

async fn plain_values_are_on_the_topic_of_their_python_type(peers: Peers) -> Outcome {
    let mut texts = peers.bus.topic("str").stream::<String>().await?;
    let mut nothings = peers.bus.topic("NoneType").stream::<()>().await?;
    peers
        .python
        .run("pymq.publish('hello'); pymq.publish(None)")
        .await?;
    assert_eq!(next(&mut texts).await?, "hello");
    next(&mut nothings).await?;

    peers
        .python
        .run(
            "
            @pymq.subscriber
            def on_int(event: int):
                seen.put(event)
            ",
        )
        .await?;
    peers.until_listening("int", 1).await?;
    peers.bus.topic("int").publish(&5).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "5");
    Ok(())
}
