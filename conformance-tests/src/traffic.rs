//! Short helpers of the behaviors, for what is sent and what is received.

use std::sync::Arc;

use pymq_core::Message;
use pymq_core::provider::{Filter, Incoming, Provider, Subscription};

use crate::Failure;
use crate::wait::soon;

/// Filters one topic.
pub fn topic(name: &str) -> Filter {
    Filter::Topic(name.to_owned())
}

/// Filters by a glob.
pub fn pattern(glob: &str) -> Filter {
    Filter::Pattern(glob.to_owned())
}

/// Creates a message that contains its number.
pub fn numbered(number: usize) -> Message {
    Message::json(number.to_string())
}

/// Reads the number of a [`numbered`] message.
pub fn number(message: &Message) -> Result<usize, Failure> {
    Ok(std::str::from_utf8(&message.body)?.parse()?)
}

/// Asserts that a publish returned how many subscribers it reached. A provider that does not count
/// returns at least whether it reached any.
#[track_caller]
pub fn assert_reached(provider: &Arc<dyn Provider>, reached: usize, expected: usize) {
    if provider.capabilities().counted {
        assert_eq!(reached, expected, "how many were reached");
    } else {
        assert_eq!(reached > 0, expected > 0, "was any reached of {expected}?");
    }
}

/// Receives the next message with its topic.
///
/// # Errors
///
/// If a lag comes instead, the subscription ends, or no message comes.
pub async fn receive(subscription: &mut Subscription) -> Result<(String, Message), Failure> {
    match soon("recv", subscription.recv()).await?? {
        Incoming::Message(published) => {
            Ok((published.topic().to_owned(), published.message().clone()))
        }
        other => Err(format!("expected a message, got {other:?}").into()),
    }
}

/// Receives this many [`numbered`] messages.
pub async fn numbers(subscription: &mut Subscription, count: usize) -> Result<Vec<usize>, Failure> {
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(number(&receive(subscription).await?.1)?);
    }
    Ok(numbers)
}
