//! Topics in both directions: by name and by pattern, which subscribers are reached, and in which
//! order.

use std::time::Duration;

use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use pymq_core::codec::Decode;
use pymq_core::{Bus, Events};
use pymq_provider_redis::RedisConfig;
use uuid::Uuid;

use super::shop::{PLACED, Placed};

cases! {
    topics_by_name_cross_in_both_directions,
    names_are_taken_as_they_are,
    a_rust_pattern_sees_what_python_publishes,
    a_python_pattern_sees_what_rust_publishes,
    globs_mean_the_same_on_both_sides,
    both_sides_count_the_subscribers_of_both,
    whoever_unsubscribes_is_not_counted,
    everyone_on_both_sides_gets_every_event,
    a_thousand_events_arrive_in_order,
    another_namespace_hears_nothing,
    the_stock_python_configuration_meets_our_default_namespace,
}

pub(super) async fn next<T: Decode>(events: &mut Events<T>) -> Result<T, Failure> {
    let received = soon("an event", events.recv()).await??;
    received
        .into_event()
        .ok_or_else(|| "an event was missed".into())
}

async fn topics_by_name_cross_in_both_directions(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic("to/rust").stream::<Placed>().await?;
    peers
        .python
        .run("pymq.topic('to/rust').publish(Placed(17, 9.0))")
        .await?;
    assert_eq!(next(&mut events).await?, PLACED);

    peers
        .python
        .run("pymq.topic('to/python').subscribe(seen.put)")
        .await?;
    peers.until_listening("to/python", 1).await?;
    peers.bus.topic("to/python").publish(&("a", 1)).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "('a', 1)");
    Ok(())
}

async fn names_are_taken_as_they_are(peers: Peers) -> Outcome {
    for name in ["größe ☃", "a:b", "{tag}", "50%", "*", "a[b]?", "__pymq"] {
        let mut events = peers.bus.topic(name).stream::<u8>().await?;
        peers
            .python
            .run(&format!("pymq.subscribe(seen.put, {name:?})"))
            .await?;
        peers.until_listening(name, 2).await?;

        let reached: usize = peers
            .python
            .eval(&format!("pymq.publish(1, {name:?})"))
            .await?;
        assert_eq!(reached, 2, "{name}");
        assert_eq!(peers.bus.topic(name).publish(&2).await?, 2, "{name}");

        assert_eq!(
            [next(&mut events).await?, next(&mut events).await?],
            [1, 2],
            "{name}"
        );
        assert_eq!(
            peers.python.repr("(seen.get(), seen.get())").await?,
            "(1, 2)",
            "{name}"
        );
    }
    Ok(())
}

async fn a_rust_pattern_sees_what_python_publishes(peers: Peers) -> Outcome {
    let mut events = peers.bus.pattern("orders/*").stream::<u8>().await?;

    peers
        .python
        .run("pymq.publish(1, 'other'); pymq.publish(2, 'orders/eu/new')")
        .await?;

    let received = soon("an event", events.recv()).await??;
    let pymq_core::Received::Event(event, meta) = received else {
        return Err(format!("{received:?}").into());
    };
    assert_eq!((event, meta.topic()), (2, "orders/eu/new"));
    Ok(())
}

async fn a_python_pattern_sees_what_rust_publishes(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.topic('orders/*', pattern=True).subscribe(seen.put)")
        .await?;
    peers.until_python_has_patterns(1).await?;

    assert_eq!(peers.bus.topic("other").publish(&1).await?, 0);
    assert_eq!(peers.bus.topic("orders/eu/new").publish(&2).await?, 1);

    assert_eq!(peers.python.repr("seen.get()").await?, "2");
    Ok(())
}

async fn globs_mean_the_same_on_both_sides(peers: Peers) -> Outcome {
    for (glob, matching, other) in [
        ("gl?b", "glob", "gb"),
        ("gr[ae]y", "grey", "griy"),
        ("gr[^e]y", "gray", "grey"),
        ("star\\*", "star*", "stars"),
        ("[0-9]*", "7 up", "up"),
    ] {
        let mut events = peers.bus.pattern(glob).stream::<u8>().await?;
        peers
            .python
            .run(&format!("pymq.subscribe(seen.put, {glob:?}, pattern=True)"))
            .await?;
        peers.until_python_has_patterns(1).await?;

        assert_eq!(peers.bus.topic(other).publish(&1).await?, 0, "{glob}");
        assert_eq!(peers.bus.topic(matching).publish(&2).await?, 2, "{glob}");

        assert_eq!(next(&mut events).await?, 2, "{glob}");
        assert_eq!(peers.python.repr("seen.get()").await?, "2", "{glob}");
        peers
            .python
            .run(&format!(
                "pymq.unsubscribe(seen.put, {glob:?}, pattern=True)"
            ))
            .await?;
        peers.until_python_has_patterns(0).await?;
    }
    Ok(())
}

async fn both_sides_count_the_subscribers_of_both(peers: Peers) -> Outcome {
    let other = peers.another_bus().await?;
    let _one = peers.bus.topic("news").stream::<u8>().await?;
    // Redis counts a connection once for a channel, and once more for each pattern.
    let _again = peers.bus.topic("news").stream::<u8>().await?;
    let _other = other.topic("news").stream::<u8>().await?;
    let _pattern = other.pattern("ne*").stream::<u8>().await?;
    peers
        .python
        .run("pymq.subscribe(seen.put, 'news'); pymq.subscribe(seen.put, 'n?ws', pattern=True)")
        .await?;
    peers.until_listening("news", 3).await?;
    peers.until_python_has_patterns(1).await?;

    assert_eq!(peers.bus.topic("news").publish(&1).await?, 5);
    assert_eq!(
        peers
            .python
            .eval::<usize>("pymq.publish(1, 'news')")
            .await?,
        5
    );
    Ok(())
}

async fn whoever_unsubscribes_is_not_counted(peers: Peers) -> Outcome {
    let events = peers.bus.topic("news").stream::<u8>().await?;
    peers.python.run("pymq.subscribe(seen.put, 'news')").await?;
    peers.until_listening("news", 2).await?;

    events.unsubscribe().await;
    assert_eq!(
        peers
            .python
            .eval::<usize>("pymq.publish(1, 'news')")
            .await?,
        1
    );

    peers
        .python
        .run("pymq.unsubscribe(seen.put, 'news')")
        .await?;
    peers.until_listening("news", 0).await?;
    assert_eq!(peers.bus.topic("news").publish(&1).await?, 0);
    Ok(())
}

async fn everyone_on_both_sides_gets_every_event(peers: Peers) -> Outcome {
    let (bus, python) = (peers.another_bus().await?, peers.another_python().await?);
    let mut one = peers.bus.topic("news").stream::<String>().await?;
    let mut two = bus.topic("news").stream::<String>().await?;
    for python in [&peers.python, &python] {
        python.run("pymq.subscribe(seen.put, 'news')").await?;
    }
    peers.until_listening("news", 4).await?;

    peers
        .python
        .run("pymq.publish('of Python', 'news')")
        .await?;
    peers.bus.topic("news").publish("of Rust").await?;

    for events in [&mut one, &mut two] {
        let both = [next(events).await?, next(events).await?];
        assert_eq!(both, ["of Python", "of Rust"]);
    }
    for python in [&peers.python, &python] {
        assert_eq!(
            python.repr("[seen.get(), seen.get()]").await?,
            "['of Python', 'of Rust']"
        );
    }
    Ok(())
}

async fn a_thousand_events_arrive_in_order(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic("to rust").stream::<u32>().await?;
    peers.python_hears("to python").await?;

    let publishing = peers
        .python
        .run("for n in range(1000): pymq.publish(n, 'to rust')");
    let receiving = async {
        for n in 0..1000 {
            assert_eq!(next(&mut events).await?, n);
        }
        Ok::<_, Failure>(())
    };
    let (published, received) = tokio::join!(publishing, receiving);
    published.and(received)?;

    for n in 0..1000 {
        peers.bus.topic("to python").publish(&n).await?;
    }
    let is_in_order = "[seen.get() for n in range(1000)] == list(range(1000))";
    assert!(peers.python.eval::<bool>(is_in_order).await?);
    Ok(())
}

async fn another_namespace_hears_nothing(peers: Peers) -> Outcome {
    let elsewhere = Peers::meet().await?;
    let mut events = peers.bus.topic("news").stream::<String>().await?;
    peers.python_hears("news").await?;

    assert_eq!(
        elsewhere
            .python
            .eval::<usize>("pymq.publish('theirs', 'news')")
            .await?,
        0
    );
    assert_eq!(elsewhere.bus.topic("news").publish("theirs").await?, 0);
    elsewhere
        .python
        .run("pymq.queue('news').put('theirs')")
        .await?;

    peers.bus.topic("news").publish("ours").await?;
    assert_eq!(next(&mut events).await?, "ours");
    assert_eq!(peers.python.repr("seen.get()").await?, "'ours'");
    assert!(peers.bus.queue::<String>("news").is_empty().await?);
    Ok(())
}

async fn the_stock_python_configuration_meets_our_default_namespace(peers: Peers) -> Outcome {
    let config: RedisConfig = pymq_conformance::redis::app_url().await?.as_str().parse()?;
    let bus = Bus::connect(config).await?;
    // Both members share the namespace, and not the names.
    let (queue, topic) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let mut events = bus.topic(&topic).stream::<u8>().await?;
    peers
        .python
        .run(&format!(
            "
            from pymq.provider.redis import RedisConfig
            server = pymq.core._bus.rds.connection_pool.connection_kwargs
            pymq.shutdown()
            pymq.init(RedisConfig(host=server['host'], port=server['port'], socket_timeout=None))
            pymq.queue({queue:?}).put(1)
            pymq.publish(2, {topic:?})
            "
        ))
        .await?;

    assert_eq!(soon("the item", bus.queue::<u8>(&queue).get()).await??, 1);
    assert_eq!(next(&mut events).await?, 2);
    bus.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}
