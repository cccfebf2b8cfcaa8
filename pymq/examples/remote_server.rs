//! Exposes functions until Ctrl-C, then finishes what it is running. Start several, and kill one.
//!
//!     PYMQ_URL=redis://127.0.0.1:6379 cargo run -p pymq --features redis --example remote_server

use std::time::Duration;

async fn product(a: i64, b: i64) -> Result<i64, String> {
    println!("product({a}, {b})");
    a.checked_mul(b)
        .ok_or_else(|| "that is too much".to_owned())
}

async fn slow_echo(text: String, seconds: f64) -> String {
    println!("slow_echo({text:?}, {seconds})");
    tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))).await;
    text
}

#[tokio::main]
async fn main() -> pymq::Result<()> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let bus = pymq::connect(url).await?;

    bus.expose("product", product).await?.keep();
    bus.expose("slow_echo", slow_echo).await?.keep();
    bus.expose("who", async || std::process::id()).await?.keep();
    println!(
        "process {} serves product, slow_echo and who; Ctrl-C ends it",
        std::process::id()
    );

    tokio::signal::ctrl_c()
        .await
        .expect("Ctrl-C can be awaited");
    println!("finishing running calls");
    bus.shutdown(Duration::from_secs(10)).await
}
