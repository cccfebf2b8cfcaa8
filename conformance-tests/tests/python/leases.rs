//! Leases by Rust on items from Python: after it is given back, an item is in Python's list at once
//! and reads as before.

use std::time::Duration;

use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use pymq_core::{Bus, Raw};
use serde_json::Value;

use super::shop::{BASKET, PLACED, Placed};

cases! {
    an_acked_item_is_gone_for_python,
    an_item_given_back_is_pythons_at_once,
    an_item_given_back_keeps_its_place_in_line,
    an_item_given_back_reads_as_before_whatever_it_is,
    an_item_given_back_again_and_again_reads_as_before,
    a_dropped_lease_gives_the_item_to_python,
    a_lease_that_ends_gives_the_item_to_python,
    an_extended_lease_keeps_the_item_from_python,
    a_shutdown_gives_leased_items_to_python,
    a_delayed_nack_comes_back_to_python_when_it_is_due,
    what_no_worker_can_read_becomes_a_dead_letter_and_not_pythons,
    a_redriven_dead_letter_is_pythons_again,
    what_python_takes_and_puts_again_is_a_new_item,
}

const GET: &str = "pymq.queue('jobs').get_nowait()";

async fn an_acked_item_is_gone_for_python(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put(Placed(17, 9.0))")
        .await?;
    let job = peers.bus.queue::<Placed>("jobs").lease().await?;

    assert_eq!((&*job, job.attempt()), (&PLACED, 1));
    assert_eq!(
        peers.python.raises(GET).await?.type_name,
        "Empty",
        "while it is leased"
    );
    job.ack().await?;
    assert_eq!(peers.python.raises(GET).await?.type_name, "Empty");
    Ok(())
}

async fn an_item_given_back_is_pythons_at_once(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put(Placed(17, 9.0))")
        .await?;
    let jobs = peers.bus.queue::<Placed>("jobs");

    jobs.lease().await?.nack().await?;

    assert_eq!(peers.python.repr(GET).await?, "Placed(order=17, total=9.0)");
    Ok(())
}

async fn an_item_given_back_keeps_its_place_in_line(peers: Peers) -> Outcome {
    peers
        .python
        .run("for n in range(3): pymq.queue('jobs').put(n)")
        .await?;
    let jobs = peers.bus.queue::<u32>("jobs");

    let (first, second) = (jobs.lease().await?, jobs.lease().await?);
    second.nack().await?;
    first.nack().await?;

    assert_eq!(
        peers
            .python
            .repr("[pymq.queue('jobs').get() for n in range(3)]")
            .await?,
        "[0, 1, 2]"
    );
    Ok(())
}

/// Every value that Python can put and read.
const VALUES: [&str; 34] = [
    "0",
    "-7",
    "2**64",
    "10**30",
    "1.5",
    "1e-07",
    "True",
    "'é😀'",
    "''",
    "None",
    "[]",
    "{}",
    "[1, 'a', None]",
    "[None]",
    "{'a': 1, 'b': [1, None]}",
    "{'a': {'__type': 'x'}}",
    "[{'a': 1}, {'b': 2}]",
    "[(1, 2), (3,)]",
    "[{1}]",
    "[Placed(1, 2.0)]",
    "[Line('a', 1)]",
    "('a', 1)",
    "()",
    "{1, 2}",
    "set()",
    "Placed(17, 9.0)",
    "Ping()",
    "Line('egg', 12)",
    "ValueError('oh', 'noes')",
    "shop.events.Outer.Inner(1)",
    "Basket(Customer('Zoë', ['vip']), [Line('egg', 12)], [Customer('Al', [])], {'x'}, (1, 2), {7: Line('tea', 1)})",
    "float('nan')",
    "'\\ud800'",
    "[float('inf'), {'x': -float('inf')}]",
];

/// Python puts each value twice. Returns what Python shows for the first, untouched, and for the
/// second, after `handle`.
async fn read_as_before(peers: &Peers, handle: impl AsyncFn(&Bus) -> Outcome) -> Outcome {
    for value in VALUES {
        peers
            .python
            .run(&format!("pymq.queue('jobs').put({value})"))
            .await?;
        let before = peers.python.repr(GET).await?;
        peers
            .python
            .run(&format!("pymq.queue('jobs').put({value})"))
            .await?;

        handle(&peers.bus).await?;

        assert_eq!(peers.python.repr(GET).await?, before, "{value}");
    }
    assert!(peers.python.errors().await?.is_empty());
    Ok(())
}

async fn an_item_given_back_reads_as_before_whatever_it_is(peers: Peers) -> Outcome {
    read_as_before(&peers, async |bus| {
        Ok(bus.queue::<Raw>("jobs").lease().await?.nack().await?)
    })
    .await?;
    peers
        .python
        .run("pymq.queue('jobs').put(Basket(Customer('Zoë', ['vip']), [Line('egg', 12)], [Customer('Al', [])], {'x'}, (1, 2), {7: Line('tea', 1)}))")
        .await?;
    peers.bus.queue::<Raw>("jobs").lease().await?.nack().await?;
    assert_eq!(peers.python.repr(GET).await?, BASKET);
    Ok(())
}

async fn an_item_given_back_again_and_again_reads_as_before(peers: Peers) -> Outcome {
    read_as_before(&peers, async |bus| {
        let jobs = bus.queue::<Raw>("jobs");
        for attempt in 1..=4 {
            let job = jobs.lease().await?;
            assert_eq!(job.attempt(), attempt);
            job.nack().await?;
        }
        Ok(())
    })
    .await
}

async fn a_dropped_lease_gives_the_item_to_python(peers: Peers) -> Outcome {
    peers.python.run("pymq.queue('jobs').put('work')").await?;

    drop(peers.bus.queue::<String>("jobs").lease().await?);

    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get(timeout=30)")
            .await?,
        "'work'"
    );
    Ok(())
}

async fn a_lease_that_ends_gives_the_item_to_python(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put(('work', 1))")
        .await?;
    let jobs = peers
        .bus
        .queue::<(String, u8)>("jobs")
        .lease_time(Duration::from_millis(200));

    let late = jobs.lease().await?;

    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get(timeout=30)")
            .await?,
        "('work', 1)"
    );
    assert_eq!(
        late.ack().await.map_err(|error| error.kind()),
        Err(pymq_core::ErrorKind::LeaseLost)
    );
    Ok(())
}

async fn an_extended_lease_keeps_the_item_from_python(peers: Peers) -> Outcome {
    peers.python.run("pymq.queue('jobs').put('work')").await?;
    let jobs = peers
        .bus
        .queue::<String>("jobs")
        .lease_time(Duration::from_secs(2));
    let job = jobs.lease().await?;

    job.extend(Duration::from_secs(60)).await?;

    // Longer than the lease was before, and longer than a sweep that would have ended it.
    let get = "pymq.queue('jobs').get(timeout=3.5)";
    assert_eq!(peers.python.raises(get).await?.type_name, "Empty");
    job.ack().await?;
    Ok(())
}

async fn a_shutdown_gives_leased_items_to_python(peers: Peers) -> Outcome {
    peers
        .python
        .run("for n in range(3): pymq.queue('jobs').put((n,))")
        .await?;
    let bus = peers.another_bus().await?;
    let jobs = bus.queue::<(u32,)>("jobs");
    let leases = [jobs.lease().await?, jobs.lease().await?];

    bus.shutdown(Duration::ZERO).await?;

    let mut got: Vec<(u32,)> = peers
        .python
        .eval("[pymq.queue('jobs').get_nowait() for n in range(3)]")
        .await?;
    got.sort_unstable();
    assert_eq!(got, [(0,), (1,), (2,)]);
    drop(leases);
    Ok(())
}

async fn a_delayed_nack_comes_back_to_python_when_it_is_due(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put(Line('egg', 12))")
        .await?;
    let jobs = peers.bus.queue::<Value>("jobs");

    jobs.lease()
        .await?
        .nack_after(Duration::from_millis(200))
        .await?;

    let item = peers
        .python
        .repr("pymq.queue('jobs').get(timeout=30)")
        .await?;
    assert_eq!(item, "Line(item='egg', count=12)");
    Ok(())
}

async fn what_no_worker_can_read_becomes_a_dead_letter_and_not_pythons(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put({'no': 'number'}); pymq.queue('jobs').put(7)")
        .await?;
    let jobs = peers.bus.queue::<u32>("jobs");

    let (error, job) = match jobs.lease().await {
        Err(error) => (Some(error), soon("lease", jobs.lease()).await??),
        Ok(job) => (None, job),
    };

    assert!(error.is_none_or(|error| error.payload().is_some()));
    assert_eq!(*job, 7);
    job.ack().await?;
    let letters = jobs.dead_letters().peek(9).await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].message().body, r#"{"no": "number"}"#);
    assert_eq!(peers.python.raises(GET).await?.type_name, "Empty");
    Ok(())
}

async fn a_redriven_dead_letter_is_pythons_again(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put(Placed(17, 9.0))")
        .await?;
    let jobs = peers.bus.queue::<Placed>("jobs").max_attempts(1);
    jobs.lease().await?.nack().await?;
    assert!(jobs.try_lease().await?.is_none(), "it is out of attempts");
    assert_eq!(peers.python.raises(GET).await?.type_name, "Empty");

    assert_eq!(jobs.dead_letters().redrive().await?, 1);

    assert_eq!(peers.python.repr(GET).await?, "Placed(order=17, total=9.0)");
    Ok(())
}

async fn what_python_takes_and_puts_again_is_a_new_item(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<Placed>("jobs");
    peers
        .python
        .run("pymq.queue('jobs').put(Placed(17, 9.0))")
        .await?;
    jobs.lease().await?.nack().await?;
    assert_eq!(jobs.lease().await?.attempt(), 2);

    // Python takes the item and puts it anew. This is a new item, without the parts that Python
    // does not know.
    let again = async {
        peers
            .python
            .run("pymq.queue('jobs').put(pymq.queue('jobs').get(timeout=30))")
            .await?;
        Ok::<_, Failure>(soon("lease", jobs.lease()).await??)
    };
    let job = again.await?;

    assert_eq!((&*job, job.attempt()), (&PLACED, 1));
    job.ack().await?;
    Ok(())
}
