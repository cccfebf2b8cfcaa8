//! Queues: both sides put into and take from one list.

use std::time::Duration;

use futures_util::StreamExt;
use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use pymq_core::ErrorKind;
use serde_json::{Value, json};

use super::shop::{PLACED, Placed};

cases! {
    python_puts_and_rust_gets_in_order,
    rust_puts_and_python_gets_in_order,
    a_waiting_rust_get_is_woken_by_a_python_put,
    a_waiting_python_get_is_woken_by_a_rust_put,
    a_get_in_vain_loses_nothing_that_comes_later,
    qsize_and_len_agree,
    a_batch_of_rust_is_single_items_to_python,
    a_stream_of_items_is_fed_by_python,
    items_of_python_count_for_the_maxsize_of_rust,
    a_delayed_item_is_seen_by_python_when_it_is_due,
    an_item_that_is_no_t_keeps_its_payload,
    a_get_that_is_dropped_leaves_the_item_to_python,
    a_cleared_queue_is_empty_to_python,
    awkward_names_are_one_queue_on_both_sides,
}

async fn python_puts_and_rust_gets_in_order(peers: Peers) -> Outcome {
    peers
        .python
        .run("for n in range(100): pymq.queue('jobs').put(n)")
        .await?;

    let jobs = peers.bus.queue::<u32>("jobs");
    for n in 0..100 {
        assert_eq!(jobs.get().await?, n);
    }
    assert!(jobs.is_empty().await?);
    Ok(())
}

async fn rust_puts_and_python_gets_in_order(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<i32>("jobs");
    for n in 0..100 {
        jobs.put(&n).await?;
    }

    let got: Vec<u32> = peers
        .python
        .eval("[pymq.queue('jobs').get_nowait() for n in range(100)]")
        .await?;

    assert!(got.into_iter().eq(0..100));
    assert_eq!(
        peers
            .python
            .raises("pymq.queue('jobs').get_nowait()")
            .await?
            .type_name,
        "Empty"
    );
    Ok(())
}

async fn a_waiting_rust_get_is_woken_by_a_python_put(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<Placed>("jobs");
    for _ in 0..10 {
        let getting = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.get().await }
        });
        peers
            .python
            .run("pymq.queue('jobs').put(Placed(17, 9.0))")
            .await?;

        assert_eq!(soon("get", getting).await???, PLACED);
    }
    Ok(())
}

async fn a_waiting_python_get_is_woken_by_a_rust_put(peers: Peers) -> Outcome {
    for timeout in ["None", "30", "30.5"] {
        let get = format!("pymq.queue('jobs').get(timeout={timeout})");
        let putting = async {
            peers.until_python_waits(1).await?;
            Ok::<_, Failure>(
                peers
                    .bus
                    .queue::<(&str, i32)>("jobs")
                    .put(&("a", 1))
                    .await?,
            )
        };

        let (got, put) = tokio::join!(peers.python.repr(&get), putting);

        put?;
        assert_eq!(got?, "('a', 1)", "{timeout}");
    }
    Ok(())
}

async fn a_get_in_vain_loses_nothing_that_comes_later(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs");
    assert_eq!(
        peers
            .python
            .raises("pymq.queue('jobs').get(timeout=0.05)")
            .await?
            .type_name,
        "Empty"
    );
    assert_eq!(jobs.get_timeout(Duration::from_millis(50)).await?, None);

    jobs.put(&1).await?;
    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get(timeout=5)")
            .await?,
        "1"
    );
    peers.python.run("pymq.queue('jobs').put(2)").await?;
    assert_eq!(soon("get", jobs.get()).await??, 2);
    Ok(())
}

async fn qsize_and_len_agree(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs");
    let both = async || -> Result<(usize, usize), Failure> {
        Ok((
            peers.python.eval("pymq.queue('jobs').qsize()").await?,
            jobs.len().await?,
        ))
    };

    assert_eq!(both().await?, (0, 0));
    peers.python.run("pymq.queue('jobs').put(1)").await?;
    jobs.put(&2).await?;
    assert_eq!(both().await?, (2, 2));
    let lease = jobs.lease().await?;
    assert_eq!(both().await?, (1, 1), "a leased item is not in line");
    lease.nack().await?;
    assert_eq!(both().await?, (2, 2));
    jobs.lease().await?.ack().await?;
    peers.python.run("pymq.queue('jobs').get()").await?;
    assert_eq!(both().await?, (0, 0));
    assert!(
        peers
            .python
            .eval::<bool>("pymq.queue('jobs').empty()")
            .await?
    );
    Ok(())
}

async fn a_batch_of_rust_is_single_items_to_python(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs");
    jobs.put_all(&[1, 2, 3]).await?;
    assert_eq!(
        peers
            .python
            .repr("[pymq.queue('jobs').get() for n in range(3)]")
            .await?,
        "[1, 2, 3]"
    );

    peers
        .python
        .run("for n in range(5): pymq.queue('jobs').put(n)")
        .await?;
    let many: pymq_core::Result<Vec<u32>> = jobs.get_many(10).await?.into_iter().collect();
    assert_eq!(many?, [0, 1, 2, 3, 4]);
    Ok(())
}

async fn a_stream_of_items_is_fed_by_python(peers: Peers) -> Outcome {
    let items = peers.bus.queue::<u32>("jobs").stream();
    let putting = peers
        .python
        .run("for n in range(200): pymq.queue('jobs').put(n)");
    let taking = soon("the items", items.take(200).collect::<Vec<_>>());

    let (put, taken) = tokio::join!(putting, taking);

    put?;
    let taken: pymq_core::Result<Vec<u32>> = taken?.into_iter().collect();
    assert!(taken?.into_iter().eq(0..200));
    Ok(())
}

async fn items_of_python_count_for_the_maxsize_of_rust(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs").maxsize(2);
    peers
        .python
        .run("pymq.queue('jobs').put(1); pymq.queue('jobs').put(2)")
        .await?;
    assert_eq!(
        jobs.try_put(&3).await.map_err(|error| error.kind()),
        Err(ErrorKind::Full)
    );

    let taking = async { peers.python.run("pymq.queue('jobs').get()").await };
    let (put, taken) = tokio::join!(soon("put", jobs.put(&3)), taking);
    put??;
    taken?;
    assert_eq!(
        peers
            .python
            .repr("[pymq.queue('jobs').get() for n in range(2)]")
            .await?,
        "[2, 3]"
    );
    Ok(())
}

async fn a_delayed_item_is_seen_by_python_when_it_is_due(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<(&str, i32)>("jobs");
    jobs.put_after(&("later", 1), Duration::from_millis(300))
        .await?;
    jobs.put(&("now", 0)).await?;

    assert_eq!(
        peers.python.repr("pymq.queue('jobs').get()").await?,
        "('now', 0)"
    );
    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get(timeout=30)")
            .await?,
        "('later', 1)"
    );
    Ok(())
}

async fn an_item_that_is_no_t_keeps_its_payload(peers: Peers) -> Outcome {
    peers
        .python
        .run("pymq.queue('jobs').put({'order': 'x'}); pymq.queue('jobs').put(Placed(17, 9.0))")
        .await?;
    let jobs = peers.bus.queue::<Placed>("jobs");

    let error = jobs.get().await.expect_err("it succeeded");
    assert_eq!(
        (error.kind(), error.payload().map(AsRef::as_ref)),
        (ErrorKind::Codec, Some(&br#"{"order": "x"}"#[..]))
    );
    assert_eq!(jobs.get().await?, PLACED);
    Ok(())
}

async fn a_get_that_is_dropped_leaves_the_item_to_python(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs");
    for n in 0..20 {
        drop(tokio::time::timeout(Duration::from_millis(n), jobs.get()).await);
    }

    peers.python.run("pymq.queue('jobs').put(7)").await?;

    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get(timeout=30)")
            .await?,
        "7"
    );
    Ok(())
}

async fn a_cleared_queue_is_empty_to_python(peers: Peers) -> Outcome {
    peers
        .python
        .run("for n in range(3): pymq.queue('jobs').put(n)")
        .await?;

    assert_eq!(peers.bus.queue::<u32>("jobs").clear().await?, 3);

    assert_eq!(peers.python.repr("pymq.queue('jobs').qsize()").await?, "0");
    Ok(())
}

async fn awkward_names_are_one_queue_on_both_sides(peers: Peers) -> Outcome {
    for name in ["größe ☃", "a:b", "{tag}", "a}b", "*", "__pymq"] {
        let jobs = peers.bus.queue::<Value>(name);
        peers
            .python
            .run(&format!(
                "pymq.queue({name:?}).put({{'n': [1, (2, None)]}})"
            ))
            .await?;

        // With a lease and a return, which uses every other key of the queue.
        jobs.lease().await?.nack().await?;
        assert_eq!(jobs.get().await?, json!({"n": [1, [2, null]]}), "{name}");
        jobs.put(&json!([name])).await?;
        let got: [String; 1] = peers
            .python
            .eval(&format!("pymq.queue({name:?}).get()"))
            .await?;
        assert_eq!(got, [name]);
    }
    Ok(())
}
