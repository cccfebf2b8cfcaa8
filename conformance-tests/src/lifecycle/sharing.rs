//! Many users of one handle, many handles of one backend, and nothing left of any of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use pymq_core::Message;
use pymq_core::provider::{GetOptions, Provider, PutOptions, Reply, RequestOptions};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::traffic::{numbered, numbers, topic};
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// Ten handles open, work and close at the same time, and no work is lost.
pub async fn concurrent_connect_and_close(h: &dyn Harness) -> Outcome {
    let bystander = h.connect().await?;
    let mut seen = bystander.subscribe(topic("t")).await?;
    let one = async |n: usize| {
        let provider = h.connect().await?;
        let mut subscription = provider.subscribe(topic(&format!("own{n}"))).await?;
        provider.publish("t", numbered(n)).await?;
        provider
            .queue_put("q", vec![numbered(n)], PutOptions::default())
            .await?;
        provider.publish(&format!("own{n}"), numbered(n)).await?;
        assert_eq!(numbers(&mut subscription, 1).await?, [n]);
        provider.close().await?;
        Ok::<_, Failure>(())
    };

    let all = futures_util::future::join_all((0..10).map(one));
    soon("ten handles", all)
        .await?
        .into_iter()
        .collect::<Outcome>()?;

    let everyone: BTreeSet<usize> = (0..10).collect();
    assert_eq!(
        numbers(&mut seen, 10)
            .await?
            .into_iter()
            .collect::<BTreeSet<_>>(),
        everyone
    );
    assert_eq!(bystander.queue_stats("q").await?.ready, 10);
    Ok(())
}

/// One handle serves 64 tasks that use every operation.
pub async fn concurrent_use_from_many_tasks(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let provider = Arc::clone(&provider);
        tasks.spawn(async move {
            for round in 0..5 {
                work(&*provider, &format!("n{n}"), round).await?;
            }
            Ok::<_, Failure>(())
        });
    }

    let done = soon("64 tasks", tasks.join_all()).await?;

    assert_eq!(done.len(), 64);
    done.into_iter().collect()
}

/// After a thousand runs of every operation, backend and runtime hold no more than after the first
/// run. After a close, they hold nothing.
pub async fn no_leaks(h: &dyn Harness) -> Outcome {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let provider = h.connect().await?;
    work(&*provider, "n", 0).await?;
    let (held, running) = (h.leftovers().await, tasks());

    for round in 0..1_000 {
        work(&*provider, "n", round).await?;
    }

    // A subset: what the first run had dropped may not have been removed yet when it was counted.
    let is_as_before =
        async || tasks() <= running && h.leftovers().await.iter().all(|left| held.contains(left));
    if let Err(error) = until("tasks and keys are those of the beginning", is_as_before).await {
        let (left, run) = (h.leftovers().await, tasks());
        return Err(
            format!("{error}: at first {running} tasks, {held:?}; now {run}, {left:?}").into(),
        );
    }
    provider.close().await?;
    drop(provider);
    until("nothing is left", async || {
        tasks() <= before && h.leftovers().await.is_empty()
    })
    .await
}

/// Publishes to itself, passes an item through a queue, and calls itself, all under one name.
async fn work(provider: &dyn Provider, name: &str, round: usize) -> Outcome {
    let mut subscription = provider.subscribe(topic(&format!("{name}.topic"))).await?;
    provider
        .publish(&format!("{name}.topic"), numbered(round))
        .await?;
    assert_eq!(numbers(&mut subscription, 1).await?, [round]);

    provider
        .queue_put(name, vec![numbered(round)], PutOptions::default())
        .await?;
    let taken = provider.queue_get(name, GetOptions::default()).await?;
    assert_eq!(
        taken
            .into_iter()
            .map(|delivery| delivery.message)
            .collect::<Vec<_>>(),
        [numbered(round)]
    );

    let mut requests = provider.rpc_listen(&format!("{name}.call")).await?;
    let arguments = Message::json(format!("[{round}]"));
    let mut replies = provider
        .rpc_request(
            &format!("{name}.call"),
            arguments.clone(),
            RequestOptions::default(),
        )
        .await?;
    let request = soon("the request", requests.recv()).await??;
    assert_eq!(request.message().body, arguments.body);
    let reply = Reply::Ok {
        body: arguments.body,
        type_name: "list".into(),
    };
    request.respond(reply.clone());
    assert_eq!(
        soon("the reply", replies.recv())
            .await?
            .ok_or("no reply")??,
        reply
    );
    Ok(())
}
