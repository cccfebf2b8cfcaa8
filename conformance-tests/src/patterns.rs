//! A subscription to a Redis glob receives every topic that matches, and nothing else.

use futures_util::FutureExt;
use pymq_core::provider::{PutOptions, Reply, RequestOptions, Target};
use pymq_core::{ErrorKind, Message};

use crate::moment::parked;
pub use crate::properties::glob_agrees_with_server;
use crate::traffic::{assert_reached, numbered, pattern, receive, topic};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// `*` matches any run of bytes, including separators and the empty run.
pub async fn star_matches_any_run(h: &dyn Harness) -> Outcome {
    matching(
        h,
        "channel/*",
        &["channel/1", "channel/a/b", "channel/"],
        &["channel", "channels/1", "a/channel/1"],
    )
    .await
}

/// `?` matches any one byte.
pub async fn question_mark_matches_one(h: &dyn Harness) -> Outcome {
    matching(h, "user/?", &["user/7", "user/*"], &["user/", "user/42"]).await
}

/// A class lists the bytes that it matches, or those that it does not match.
pub async fn class_and_negated_class(h: &dyn Harness) -> Outcome {
    matching(
        h,
        "h[ae]llo",
        &["hello", "hallo"],
        &["hillo", "hllo", "haello"],
    )
    .await?;
    matching(h, "[a-c]x", &["ax", "bx", "cx"], &["dx", "x", "-x"]).await?;
    matching(h, "h[^e]llo", &["hallo", "h^llo"], &["hello", "hllo"]).await
}

/// A backslash makes the next character literal.
pub async fn escape_makes_literal(h: &dyn Harness) -> Outcome {
    matching(h, r"a\*c", &["a*c"], &["abc", r"a\c"]).await?;
    matching(h, r"\[a\]?", &["[a]x"], &["ax", "[a]"]).await
}

/// Many stars work like few.
pub async fn several_stars_match(h: &dyn Harness) -> Outcome {
    matching(
        h,
        "*.*.new",
        &["a.b.new", "a.b.c.new", "..new"],
        &["a.new", "a.b.new.x"],
    )
    .await?;
    matching(h, "*", &["a", "*", "ä/b c"], &[]).await
}

/// A subscriber to a pattern receives the topic of each message, and each message once.
pub async fn incoming_carries_the_concrete_topic(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(pattern("orders.*")).await?;

    for (n, name) in ["orders.new", "orders.paid", "orders.new"]
        .into_iter()
        .enumerate()
    {
        provider.publish(name, numbered(n)).await?;
    }

    assert_eq!(
        receive(&mut subscription).await?,
        ("orders.new".into(), numbered(0))
    );
    assert_eq!(
        receive(&mut subscription).await?,
        ("orders.paid".into(), numbered(1))
    );
    assert_eq!(
        receive(&mut subscription).await?,
        ("orders.new".into(), numbered(2))
    );
    Ok(())
}

/// There is a subscription to the topic and one to each of two patterns. Each receives one copy and
/// is counted.
pub async fn pattern_and_exact_both_receive(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscriptions = [
        provider.subscribe(topic("orders.new")).await?,
        provider.subscribe(pattern("orders.*")).await?,
        provider.subscribe(pattern("*.new")).await?,
        provider.subscribe(pattern("*.new")).await?,
    ];

    // Once for the topic, and once for each of the two globs.
    let reached = provider.publish("orders.new", numbered(1)).await?;
    assert_reached(&provider, reached, 3);
    let reached = provider.publish("orders.new", numbered(2)).await?;
    assert_reached(&provider, reached, 3);

    for subscription in &mut subscriptions {
        assert_eq!(
            receive(subscription).await?,
            ("orders.new".into(), numbered(1))
        );
        assert_eq!(
            receive(subscription).await?,
            ("orders.new".into(), numbered(2))
        );
    }
    Ok(())
}

/// A pattern that does not match is not reached. A pattern without special characters is one topic.
pub async fn pattern_does_not_match_others(h: &dyn Harness) -> Outcome {
    matching(h, "plain", &["plain"], &["plain2", "Plain", "plai"]).await?;
    matching(h, "a[", &[], &["a", "a[x"]).await
}

/// The end of a pattern subscription leaves that of the topic, and the reverse.
pub async fn pattern_and_exact_end_apart(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut exact = provider.subscribe(topic("a.b")).await?;
    let globs = provider.subscribe(pattern("a.*")).await?;
    let reached = provider.publish("a.b", numbered(1)).await?;
    assert_reached(&provider, reached, 2);

    globs.unsubscribe().await;
    let reached = provider.publish("a.b", numbered(2)).await?;
    assert_reached(&provider, reached, 1);
    assert_eq!(receive(&mut exact).await?.1, numbered(1));
    assert_eq!(receive(&mut exact).await?.1, numbered(2));

    let mut globs = provider.subscribe(pattern("a.*")).await?;
    exact.unsubscribe().await;
    let reached = provider.publish("a.b", numbered(3)).await?;
    assert_reached(&provider, reached, 1);
    assert_eq!(receive(&mut globs).await?.1, numbered(3));
    Ok(())
}

/// Even the widest pattern receives neither calls nor their answers.
pub async fn pattern_never_sees_rpc_or_reply_traffic(h: &dyn Harness) -> Outcome {
    let (provider, other) = (h.connect().await?, h.connect().await?);
    let mut everything = other.subscribe(pattern("*")).await?;
    let mut same_name = other.subscribe(pattern("add*")).await?;
    let mut requests = provider.rpc_listen("add").await?;
    for round in 0..5 {
        let arguments = Message::json(format!("[{round}]"));
        let mut replies = other
            .rpc_request("add", arguments, RequestOptions::default())
            .await?;
        let reply = Reply::Ok {
            body: "1".into(),
            type_name: "int".into(),
        };
        soon("the request", requests.recv())
            .await??
            .respond(reply.clone());
        assert_eq!(
            soon("the reply", replies.recv())
                .await?
                .ok_or("no reply")??,
            reply
        );
    }
    provider
        .queue_put("add", vec![numbered(1)], PutOptions::default())
        .await?;

    provider.publish("added", numbered(2)).await?;

    assert_eq!(
        receive(&mut everything).await?,
        ("added".into(), numbered(2))
    );
    assert_eq!(
        receive(&mut same_name).await?,
        ("added".into(), numbered(2))
    );
    Ok(())
}

/// A pattern that matches the name of a remote does not count as its server.
pub async fn pattern_does_not_count_as_a_server(h: &dyn Harness) -> Outcome {
    let (caller, other) = (h.connect().await?, h.connect().await?);
    let _everything = other.subscribe(pattern("*")).await?;
    let call = || {
        caller.rpc_request(
            "add",
            Message::json("[]"),
            RequestOptions::default().to(Target::All),
        )
    };

    let refused = call().await.map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::NoSuchRemote));

    let _requests = other.rpc_listen("add").await?;
    assert_eq!(call().await?.expected(), 1);
    Ok(())
}

/// The widest pattern matches only topics of its own namespace.
pub async fn patterns_stay_in_their_namespace(h: &dyn Harness) -> Outcome {
    let (here, elsewhere) = (h.connect().await?, h.connect_elsewhere().await?);
    let mut all_here = here.subscribe(pattern("*")).await?;
    let mut all_elsewhere = elsewhere.subscribe(pattern("*")).await?;

    let reached = here.publish("a", numbered(1)).await?;
    assert_reached(&here, reached, 1);
    let reached = elsewhere.publish("b", numbered(2)).await?;
    assert_reached(&elsewhere, reached, 1);

    assert_eq!(receive(&mut all_here).await?, ("a".into(), numbered(1)));
    assert_eq!(
        receive(&mut all_elsewhere).await?,
        ("b".into(), numbered(2))
    );
    Ok(())
}

/// Publishes on names that match a glob and on names that do not. Exactly the former are delivered.
async fn matching(h: &dyn Harness, glob: &str, matching: &[&str], others: &[&str]) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(pattern(glob)).await?;

    for name in others {
        provider.publish(name, numbered(0)).await?;
    }
    for name in matching {
        provider.publish(name, numbered(1)).await?;
    }

    for name in matching {
        assert_eq!(
            receive(&mut subscription).await?,
            ((*name).to_owned(), numbered(1)),
            "`{glob}`"
        );
    }
    parked().await;
    let more = subscription.recv().now_or_never();
    assert!(more.is_none(), "`{glob}` received {more:?}");
    Ok(())
}
