//! A request goes to one server or to all of them, from the moment they listen.

use futures_util::future::{join_all, select_all};
use pymq_core::provider::{Filter, Target};
use pymq_core::{Message, Published};

use super::{answer, next, numbered, refused, request, serve};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Without a server, a request is refused at once, and a later server does not receive it.
pub async fn request_without_server_is_refused(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);

    for target in [Target::One, Target::All] {
        let replies = soon("the request", request(&caller, target)).await?;
        let kind = refused(replies).await?;
        assert_eq!(kind, Some(pymq_core::ErrorKind::NoSuchRemote));
    }

    let mut requests = server.rpc_listen("f").await?;
    let mut replies = request(&caller, Target::One).await?;
    serve(&mut requests, 7, 1).await?;
    assert_eq!(answer(&mut replies).await?, numbered(7));
    Ok(())
}

/// A server can be called as soon as it listens, from the same and from another handle.
pub async fn listen_is_a_barrier(h: &dyn Harness) -> Outcome {
    let (other, server) = (h.connect().await?, h.connect().await?);

    for round in 0..100 {
        let mut requests = server.rpc_listen("f").await?;
        for caller in [&other, &server] {
            let mut replies = request(caller, Target::One).await?;
            serve(&mut requests, round, 1).await?;
            assert_eq!(answer(&mut replies).await?, numbered(round));
        }
        requests.detach().await;
    }
    Ok(())
}

/// A server that listens right after the old one was dropped gets the next request.
pub async fn a_new_server_takes_over_at_once(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);

    for round in 0..50 {
        let mut requests = server.rpc_listen("f").await?;
        let mut replies = request(&caller, Target::One).await?;
        serve(&mut requests, round, 1).await?;
        assert_eq!(answer(&mut replies).await?, numbered(round));
        drop(requests);
    }
    Ok(())
}

/// A server that has stopped is not counted any more.
pub async fn request_after_detach_is_refused(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;

    requests.detach().await;

    for target in [Target::One, Target::All] {
        assert_eq!(
            refused(request(&caller, target).await).await?,
            Some(pymq_core::ErrorKind::NoSuchRemote)
        );
    }
    Ok(())
}

/// Of several servers one gets a request for one, and idle servers share them.
pub async fn one_server_gets_it_and_they_take_turns(h: &dyn Harness) -> Outcome {
    const REQUESTS: usize = 200;
    let caller = h.connect().await?;
    let (mut handles, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let handle = h.connect().await?;
        servers.push(handle.rpc_listen("f").await?);
        handles.push(handle);
    }

    let mut counts = [0; 3];
    for n in 0..REQUESTS {
        let mut replies = request(&caller, Target::One).await?;
        let first = select_all(servers.iter_mut().map(|server| Box::pin(server.recv())));
        let (arrived, at, others) = soon("the request", first).await?;
        drop(others);
        counts[at] += 1;
        arrived?.respond(numbered(n));
        // A second server with this request would answer the wrong one next.
        assert_eq!(answer(&mut replies).await?, numbered(n));
    }

    assert_eq!(counts.iter().sum::<usize>(), REQUESTS);
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    Ok(())
}

/// A request for all reaches every server, and returns how many replies to expect.
pub async fn request_to_all_reaches_every_server(h: &dyn Harness) -> Outcome {
    const SERVERS: usize = 4;
    let caller = h.connect().await?;
    let (mut handles, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..SERVERS {
        let handle = h.connect().await?;
        servers.push(handle.rpc_listen("f").await?);
        handles.push(handle);
    }

    let mut replies = request(&caller, Target::All).await?;
    assert_eq!(replies.expected(), SERVERS);
    let serving = servers
        .iter_mut()
        .enumerate()
        .map(|(n, requests)| serve(requests, n, 1));
    for served in join_all(serving).await {
        served?;
    }

    let mut seen = Vec::new();
    for _ in 0..SERVERS {
        seen.push(answer(&mut replies).await?);
    }
    assert!(
        (0..SERVERS).all(|n| seen.contains(&numbered(n))),
        "{seen:?}"
    );
    assert!(soon("the end", replies.recv()).await?.is_none());
    Ok(())
}

/// An event on a topic of the same name reaches no server, and a subscriber to the topic receives
/// no request.
pub async fn topic_of_the_same_name_is_apart(h: &dyn Harness) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("f").await?;
    let mut topic = server.subscribe(Filter::Topic("f".into())).await?;

    caller.publish("f", Message::json(r#""before""#)).await?;
    let mut replies = request(&caller, Target::One).await?;
    let arrived = next(&mut requests).await?;
    arrived.respond(numbered(1));
    assert_eq!(answer(&mut replies).await?, numbered(1));
    caller.publish("f", Message::json(r#""after""#)).await?;

    for body in [r#""before""#, r#""after""#] {
        let incoming = soon("the event", topic.recv()).await??;
        let message = Message::json(body);
        assert_eq!(
            incoming,
            pymq_core::provider::Incoming::Message(Published::new("f", message))
        );
    }
    Ok(())
}
