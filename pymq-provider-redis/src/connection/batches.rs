//! Sends the items of many tasks in batches, with few batches in flight.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

/// The most items in one batch.
pub(crate) const MAX_BATCH: usize = 32;

/// The most batches in flight at once while more items wait than fit into one batch. Otherwise there
/// is one: what comes meanwhile goes together.
const MAX_IN_FLIGHT: usize = 4;

/// Sends the received items in order until `stop` is cancelled, then those received before.
/// Dropping the future drops the batches in flight.
pub(crate) async fn send_in_batches<T, F: Future<Output = ()>>(
    mut receiver: mpsc::Receiver<T>,
    stop: CancellationToken,
    send: impl Fn(Vec<T>) -> F,
) {
    let mut in_flight = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut last_count = 1;
    loop {
        let has_backlog = receiver.len() > MAX_BATCH;
        let limit = if has_backlog { MAX_IN_FLIGHT } else { 1 };
        tokio::select! {
            biased;
            Some(()) = in_flight.next() => {}
            count = receiver.recv_many(&mut batch, MAX_BATCH), if in_flight.len() < limit => {
                if count == 0 {
                    break;
                }
                // A single item after a single one goes at once. Under load, tasks that were woken
                // by the same answers send at the same time. Let them run twice: the tasks that are
                // ready now, and then those that they have woken.
                if count > 1 || last_count > 1 || !in_flight.is_empty() {
                    for _ in 0..2 {
                        yield_now().await;
                    }
                }
                while batch.len() < MAX_BATCH && let Ok(item) = receiver.try_recv() {
                    batch.push(item);
                }
                last_count = batch.len();
                in_flight.push(send(std::mem::replace(&mut batch, Vec::with_capacity(MAX_BATCH))));
            }
            () = stop.cancelled(), if !receiver.is_closed() => receiver.close(),
        }
    }
    while in_flight.next().await.is_some() {}
}
