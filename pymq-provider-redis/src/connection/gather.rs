//! How much goes out together: what many tasks give at once is sent in batches, a few of them under way.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

/// The most items in one batch.
pub(crate) const BATCH: usize = 32;

/// The most batches under way at once. With one, the server would be idle while its answers are read; with many, there
/// would be little to gather.
const UNDER_WAY: usize = 2;

/// Sends what is given, in order, until `stop` is cancelled; then what was given before. Dropped early, it drops what is
/// under way.
pub(crate) async fn gather<T, F: Future<Output = ()>>(
    mut given: mpsc::Receiver<T>,
    stop: CancellationToken,
    send: impl Fn(Vec<T>) -> F,
) {
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            Some(()) = under_way.next() => {}
            count = given.recv_many(&mut batch, BATCH), if under_way.len() < UNDER_WAY => {
                if count == 0 {
                    break;
                }
                // Those who were woken by the same answers give together: let them, once with what is ready and once
                // with what that has made ready.
                for _ in 0..2 {
                    yield_now().await;
                }
                while batch.len() < BATCH && let Ok(item) = given.try_recv() {
                    batch.push(item);
                }
                under_way.push(send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))));
            }
            () = stop.cancelled(), if !given.is_closed() => given.close(),
        }
    }
    while under_way.next().await.is_some() {}
}
