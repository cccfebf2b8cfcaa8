//! Headers, deadlines, attempts and claims are only for Rust peers. Python does not notice them.

use std::time::Duration;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_core::{CallMeta, Queue, Received};

use super::shop::{BASKET, Inner, Line, PLACED, Ping, basket};

cases! {
    headers_of_an_event_do_not_show_to_a_handler,
    headers_of_an_event_do_not_show_to_an_annotated_handler,
    headers_of_an_item_do_not_show_whatever_it_is,
    headers_of_a_call_do_not_show_to_a_function,
    rust_sees_headers_that_python_beside_it_does_not,
    an_item_with_headers_that_is_given_back_reads_as_before,
    a_call_with_a_deadline_is_an_ordinary_call_to_python,
    a_claim_among_servers_of_both_kinds_is_nothing_to_python,
    a_python_caller_gives_no_deadline,
}

async fn headers_of_an_event_do_not_show_to_a_handler(peers: Peers) -> Outcome {
    peers.python_hears("shop.events.Placed").await?;
    peers.python_hears("news").await?;

    peers
        .bus
        .header("trace", "ä")
        .header("__type", "os.system")
        .publish(&PLACED)
        .await?;
    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Placed(order=17, total=9.0)"
    );
    let news = peers.bus.topic("news");
    news.header("trace", "1").publish(&("a", 1)).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "('a', 1)");
    news.header("trace", "1").publish(&None::<u8>).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "None");
    news.header("trace", "1").publish(&vec!["__obj"]).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "['__obj']");
    Ok(())
}

async fn headers_of_an_event_do_not_show_to_an_annotated_handler(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            @pymq.subscriber
            def on_placed(event: Placed):
                seen.put(event)
            @pymq.subscriber
            def on_basket(event: Basket):
                seen.put(event)
            @pymq.subscriber
            def on_line(event: Line):
                seen.put(event)
            @pymq.subscriber
            def on_int(event: int):
                seen.put(event)
            ",
        )
        .await?;
    peers.until_listening("int", 1).await?;

    peers.bus.header("trace", "1").publish(&PLACED).await?;
    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Placed(order=17, total=9.0)"
    );
    peers.bus.header("trace", "1").publish(&basket()).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, BASKET);
    peers
        .bus
        .header("trace", "1")
        .publish(&Line("egg".to_owned(), 12))
        .await?;
    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "Line(item='egg', count=12)"
    );
    peers
        .bus
        .topic("int")
        .header("trace", "1")
        .publish(&5)
        .await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "5");
    Ok(())
}

/// Returns the queue of items with the type of this one.
fn jobs_of<T>(peers: &Peers, _: &T) -> Queue<T> {
    peers.bus.queue("jobs")
}

async fn headers_of_an_item_do_not_show_whatever_it_is(peers: Peers) -> Outcome {
    macro_rules! items {
        ($($value:expr => $shown:literal,)+) => {$(
            jobs_of(&peers, &$value).header("trace", "1").put(&$value).await?;
            assert_eq!(peers.python.repr("pymq.queue('jobs').get_nowait()").await?, $shown);
        )+};
    }
    items! {
        5 => "5",
        1.0 => "1.0",
        "é".to_owned() => "'é'",
        () => "None",
        vec![1, 2] => "[1, 2]",
        vec!["__type".to_owned()] => "['__type']",
        (1, 'a') => "(1, 'a')",
        std::collections::BTreeMap::from([("a", 1)]) => "{'a': 1}",
        std::collections::BTreeMap::from([("__pymq", 1)]) => "{'__pymq': 1}",
    }
    macro_rules! objects {
        ($($event:expr => $shown:expr,)+) => {$(
            jobs_of(&peers, &$event).tagged().header("trace", "1").put(&$event).await?;
            assert_eq!(peers.python.repr("pymq.queue('jobs').get_nowait()").await?, $shown);
        )+};
    }
    objects! {
        PLACED => "Placed(order=17, total=9.0)",
        basket() => BASKET,
        Line("egg".to_owned(), 12) => "Line(item='egg', count=12)",
        Ping => "Ping()",
        Inner { x: 4 } => "Outer.Inner(x=4)",
    }
    Ok(())
}

async fn headers_of_a_call_do_not_show_to_a_function(peers: Peers) -> Outcome {
    peers.python.run("pymq.expose(lambda *args: repr(args), 'varargs'); pymq.expose(lambda a, b=7: repr((a, b)), 'show')").await?;
    peers.until_listening("show", 1).await?;

    let shown: String = peers
        .bus
        .stub("show")
        .header("trace", "ä")
        .call((5,))
        .await?;

    assert_eq!(shown, "(5, 7)");
    Ok(())
}

async fn rust_sees_headers_that_python_beside_it_does_not(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic("news").stream::<u8>().await?;
    peers.python_hears("news").await?;

    peers
        .another_bus()
        .await?
        .topic("news")
        .header("trace", "1")
        .publish(&5)
        .await?;

    let received = soon("the event", events.recv()).await??;
    let Received::Event(5, meta) = received else {
        return Err(format!("{received:?}").into());
    };
    assert_eq!(meta.headers().get("trace"), Some("1"));
    assert_eq!(peers.python.repr("seen.get()").await?, "5");
    Ok(())
}

async fn an_item_with_headers_that_is_given_back_reads_as_before(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<(String, u8)>("jobs");
    jobs.header("trace", "1").put(&("a".to_owned(), 1)).await?;
    for attempt in 1..=3 {
        let job = jobs.lease().await?;
        assert_eq!(
            (job.attempt(), job.headers().get("trace")),
            (attempt, Some("1"))
        );
        job.nack().await?;
    }

    assert_eq!(
        peers.python.repr("pymq.queue('jobs').get_nowait()").await?,
        "('a', 1)"
    );
    Ok(())
}

async fn a_call_with_a_deadline_is_an_ordinary_call_to_python(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.expose(lambda n: 2 * n, 'double')")
        .await?;
    peers.until_listening("double", 1).await?;
    for timeout in [
        Duration::from_secs(20),
        Duration::from_secs(3600),
        Duration::MAX,
    ] {
        let double = peers.bus.stub::<_, u32>("double").timeout(timeout);
        assert_eq!(double.call((4,)).await?, 8, "{timeout:?}");
    }
    assert!(peers.python.errors().await?.is_empty());
    Ok(())
}

async fn a_claim_among_servers_of_both_kinds_is_nothing_to_python(peers: Peers) -> Outcome {
    let bus = peers.another_bus().await?;
    for bus in [&peers.bus, &bus] {
        bus.expose("double", async |n: u32| 2 * n).await?.keep();
    }
    peers
        .python
        .run("pymq.expose(lambda n: seen.put(n) or 2 * n, 'double')")
        .await?;
    peers.until_listening("double", 3).await?;
    let double = peers.another_bus().await?.stub::<_, u32>("double");

    for n in 0..20 {
        assert_eq!(double.call((n,)).await?, 2 * n);
    }

    // Without changes it runs every call, as it always did.
    assert_eq!(
        peers
            .python
            .repr("[seen.get() for n in range(20)] == list(range(20))")
            .await?,
        "True"
    );
    assert!(peers.python.errors().await?.is_empty());
    Ok(())
}

async fn a_python_caller_gives_no_deadline(peers: Peers) -> Outcome {
    let remaining = async |meta: CallMeta| meta.remaining().is_none() && meta.headers().is_empty();
    let _exposed = peers.bus.expose("remaining", remaining).await?;

    assert_eq!(
        peers
            .python
            .repr("pymq.stub('remaining', timeout=30)()")
            .await?,
        "True"
    );
    Ok(())
}
