//! Topics.

use conformance_tests::Outcome;
use conformance_tests::python::Peers;

cases! {
    a_value_crosses,
}

async fn a_value_crosses(peers: Peers) -> Outcome {
    let Peers { python, bus, .. } = &peers;
    python
        .run(
            "
            seen = queue.Queue()
            pymq.subscribe(seen.put, 'news')
            ",
        )
        .await?;
    peers.until_listening("news", 1).await?;

    assert_eq!(bus.topic("news").publish(&5).await?, 1);

    assert_eq!(python.eval::<i64>("seen.get()").await?, 5);
    Ok(())
}
