//! The body of an item: any bytes, none, many.

use bytes::Bytes;
use pymq_core::Message;
use pymq_core::provider::{GetOptions, PutOptions};

use crate::{Harness, Outcome};

/// All 256 byte values arrive as they were sent.
pub async fn binary_body_round_trips(h: &dyn Harness) -> Outcome {
    let all: Vec<u8> = (0..=255).collect();

    round_trip(h, Message::bytes(all)).await
}

/// An item of a mebibyte arrives whole.
pub async fn large_item(h: &dyn Harness) -> Outcome {
    let text = format!("\"{}\"", "x".repeat(1 << 20));

    round_trip(h, Message::json(text)).await?;
    round_trip(h, Message::bytes(vec![0xA5; 1 << 20])).await
}

/// An empty item is an item.
pub async fn empty_item(h: &dyn Harness) -> Outcome {
    round_trip(h, Message::bytes(Bytes::new())).await
}

async fn round_trip(h: &dyn Harness, message: Message) -> Outcome {
    let (here, there) = (h.connect().await?, h.connect().await?);

    here.queue_put("jobs", vec![message.clone()], PutOptions::default())
        .await?;
    let taken = there.queue_get("jobs", GetOptions::default()).await?;

    assert_eq!(taken.len(), 1);
    assert!(
        taken[0].message == message,
        "{} bytes came back as {}",
        message.size(),
        taken[0].message.size()
    );
    Ok(())
}
