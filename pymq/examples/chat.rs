//! A chat room between terminals: what you type is published, what others type is printed.
//!
//!     PYMQ_URL=redis://127.0.0.1:6379 cargo run -p pymq --features redis --example chat -- Ada

use std::future::ready;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

#[derive(Deserialize, Serialize)]
struct Said {
    who: String,
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let me = std::env::args()
        .nth(1)
        .unwrap_or_else(|| format!("guest-{}", std::process::id()));
    let bus = pymq::connect(url).await?;
    let room = bus.topic("chat");

    let own = me.clone();
    let printing = room
        .subscribe(move |said: Said| {
            if said.who != own {
                println!("{}: {}", said.who, said.text);
            }
            ready(())
        })
        .await?;

    println!("you are {me}; type, and end with Ctrl-D");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        let members = room
            .publish(&Said {
                who: me.clone(),
                text,
            })
            .await?;
        if members == 1 {
            println!("(nobody else is here)");
        }
    }

    drop(printing);
    bus.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}
