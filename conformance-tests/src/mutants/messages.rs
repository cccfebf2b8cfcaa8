//! Defects in the content of messages.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::provider::{Provider, Put, PutOptions, Replies, RequestOptions};
use pymq_core::{Encoding, Headers, Message, Result};

use super::each;
use crate::harness::Wrap;
use crate::twist::Twist;

/// Changes every message before it is sent, on every path.
#[derive(Debug)]
struct Changed(fn(Message) -> Message);

#[async_trait]
impl Twist for Changed {
    async fn publish(
        &self,
        inner: &Arc<dyn Provider>,
        topic: &str,
        message: Message,
    ) -> Result<usize> {
        inner.publish(topic, (self.0)(message)).await
    }

    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner
            .queue_put(queue, messages.into_iter().map(self.0).collect(), opts)
            .await
    }

    async fn rpc_request(
        &self,
        inner: &Arc<dyn Provider>,
        channel: &str,
        request: Message,
        opts: RequestOptions,
    ) -> Result<Replies> {
        inner.rpc_request(channel, (self.0)(request), opts).await
    }
}

/// Bodies arrive, headers do not.
pub fn drops_headers() -> Wrap {
    each(|| {
        Changed(|message| Message {
            headers: Headers::new(),
            ..message
        })
    })
}

/// A header without a value is omitted.
pub fn drops_empty_headers() -> Wrap {
    each(|| {
        Changed(|message| {
            let headers = message
                .headers
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .collect();
            Message { headers, ..message }
        })
    })
}

/// A body is converted to a string and back.
pub fn utf8_only() -> Wrap {
    each(|| {
        Changed(|message| {
            let body = String::from_utf8_lossy(&message.body).into_owned().into();
            Message { body, ..message }
        })
    })
}

/// A body that can be read as JSON is marked as JSON.
pub fn guesses_the_encoding() -> Wrap {
    each(|| {
        Changed(|message| {
            let is_json = serde_json::from_slice::<serde_json::Value>(&message.body).is_ok();
            Message {
                encoding: if is_json {
                    Encoding::Json
                } else {
                    Encoding::Bytes
                },
                ..message
            }
        })
    })
}

/// A body is read as JSON and written again.
pub fn rewrites_bodies() -> Wrap {
    each(|| {
        Changed(
            |message| match serde_json::from_slice::<serde_json::Value>(&message.body) {
                Ok(value) => Message {
                    body: value.to_string().into(),
                    ..message
                },
                Err(_) => message,
            },
        )
    })
}

/// A body that looks like a frame of the provider is mistaken for one.
pub fn unwraps_what_users_wrapped() -> Wrap {
    each(|| {
        Changed(|message| {
            let Ok(serde_json::Value::Object(mut object)) = serde_json::from_slice(&message.body)
            else {
                return message;
            };
            match (object.remove("__pymq"), object.remove("__obj")) {
                (Some(_), Some(body)) => Message {
                    body: body.to_string().into(),
                    ..message
                },
                _ => message,
            }
        })
    })
}
