//! Messages arrive as they were sent, on every path. Patterns match like the matcher of the core.

use pymq_core::codec::{Decode, Raw};
use pymq_core::provider::{
    Filter, GetOptions, Incoming, PutOptions, Reply, RequestOptions, Subscription,
};
use pymq_core::{Message, glob};
use serde_json::Value;
use uuid::Uuid;

use super::cases::check;
use super::values::{any_message, glob as any_glob, json, python, topic};
use crate::jobs::{LONG, nack};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Any nested value passes a topic, a queue and a remote call, in both directions.
pub async fn json_round_trip(h: &dyn Harness) -> Outcome {
    let (here, there) = (h.connect().await?, h.connect().await?);

    check(h, 64, json, async |value| {
        let name = format!("case-{}", Uuid::new_v4());
        let message = Message::json(python(&value));

        let mut subscription = there.subscribe(Filter::Topic(name.clone())).await?;
        here.publish(&name, message.clone()).await?;
        same("topic", &message, &next(&mut subscription).await?)?;

        here.queue_put(&name, vec![message.clone()], PutOptions::default())
            .await?;
        let taken = there
            .queue_get(&name, GetOptions::default())
            .await?
            .pop()
            .ok_or("nothing in the queue")?;
        same("queue", &message, &taken.message)?;

        let mut requests = there.rpc_listen(&name).await?;
        let arguments = Message::json(python(&Value::Array(vec![value.clone()])));
        let mut replies = here
            .rpc_request(&name, arguments.clone(), RequestOptions::default())
            .await?;
        let request = soon("the request", requests.recv()).await??;
        same("request", &arguments, request.message())?;
        let reply = Reply::Ok {
            body: message.body.clone(),
            type_name: "typing.Any".into(),
        };
        request.respond(reply.clone());
        match soon("the reply", replies.recv()).await? {
            Some(Ok(got)) if got == reply => Ok(()),
            got => Err(format!("reply: sent {reply:?}, got {got:?}").into()),
        }
    })
    .await
}

/// Any headers and any body pass a topic and a queue, and a queue again after a nack. For any
/// bytes, reading a value from them at worst fails.
pub async fn frame_round_trip(h: &dyn Harness) -> Outcome {
    let (here, there) = (h.connect().await?, h.connect().await?);

    check(h, 256, any_message, async |message| {
        let name = format!("case-{}", Uuid::new_v4());

        let mut subscription = there.subscribe(Filter::Topic(name.clone())).await?;
        here.publish(&name, message.clone()).await?;
        same("topic", &message, &next(&mut subscription).await?)?;

        here.queue_put(&name, vec![message.clone()], PutOptions::default())
            .await?;
        if there.capabilities().leases {
            let leased = there
                .queue_get(&name, GetOptions::default().lease(LONG))
                .await?
                .pop()
                .ok_or("nothing to lease")?;
            same("lease", &message, &leased.message)?;
            let receipt = leased.receipt.ok_or("no receipt")?;
            there
                .queue_settle(&name, vec![(receipt, nack())])
                .await?
                .remove(0)?;
        }
        let taken = there
            .queue_get(&name, GetOptions::default())
            .await?
            .pop()
            .ok_or("nothing in the queue")?;
        same("queue", &message, &taken.message)?;

        // The codec has its own tests. Here it must only not panic.
        drop(Value::decode(&message));
        drop(Value::decode(&Message::json(message.body.clone())));
        drop(Raw::decode(&message));
        Ok(())
    })
    .await
}

/// The matcher of the core and the backend agree on every pattern and topic, in the count and in
/// the delivery.
pub async fn glob_agrees_with_server(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let patterns_and_topics = || (any_glob(), proptest::collection::vec(topic(), 24));

    check(h, 128, patterns_and_topics, async |(pattern, topics)| {
        // Cases run at the same time, and none may count the topics of another.
        let case = Uuid::new_v4().simple().to_string();
        let pattern = format!("{case}/{pattern}");
        let mut subscription = provider.subscribe(Filter::Pattern(pattern.clone())).await?;
        for topic in topics {
            let topic = format!("{case}/{topic}");
            let expected = usize::from(glob::matches(&pattern, &topic));
            let reached = provider.publish(&topic, Message::json("1")).await?;
            let is_right = if provider.capabilities().counted {
                reached == expected
            } else {
                (reached > 0) == (expected > 0)
            };
            if !is_right {
                return Err(format!(
                    "{pattern} on {topic}: reached {reached}, expected {expected}"
                )
                .into());
            }
            if expected == 1 {
                match soon("a matching message", subscription.recv()).await?? {
                    Incoming::Message(published) if published.topic() == topic => {}
                    other => return Err(format!("{pattern} on {topic}: received {other:?}").into()),
                }
            }
        }
        subscription.unsubscribe().await;
        Ok(())
    })
    .await
}

async fn next(subscription: &mut Subscription) -> Outcome<Message> {
    match soon("a message", subscription.recv()).await?? {
        Incoming::Message(published) => Ok(published.message().clone()),
        other => Err(format!("instead of a message came {other:?}").into()),
    }
}

fn same(way: &str, sent: &Message, got: &Message) -> Outcome {
    if sent == got {
        return Ok(());
    }
    Err(format!("{way}: sent {sent:?}, got {got:?}").into())
}
