//! Sends the items of many tasks in batches, with few batches in flight.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

/// The most items in one batch.
pub(crate) const MAX_BATCH: usize = 32;

/// The most batches in flight at once while more items wait than fit into one batch. Otherwise
/// there is one: what comes meanwhile goes together.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    /// Sends batches that end with a permit. Returns the sender of items, the sizes of the batches
    /// that were sent, and the permits.
    fn start() -> (mpsc::Sender<()>, UnboundedReceiver<usize>, Arc<Semaphore>) {
        let (items, receiver) = mpsc::channel(MAX_BATCH * 4);
        let (sent, sizes) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(0));
        let ends = Arc::clone(&permits);
        let sending = send_in_batches(receiver, CancellationToken::new(), move |batch: Vec<()>| {
            sent.send(batch.len()).unwrap();
            let ends = Arc::clone(&ends);
            async move { ends.acquire().await.unwrap().forget() }
        });
        tokio::spawn(sending);
        (items, sizes, permits)
    }

    async fn send(items: &mpsc::Sender<()>, count: usize) {
        for _ in 0..count {
            items.send(()).await.unwrap();
        }
        // Whatever can be sent is sent.
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_batch_is_in_flight_goes_together() {
        let (items, mut sizes, permits) = start();
        send(&items, 1).await;
        assert_eq!(sizes.try_recv(), Ok(1));

        send(&items, 2).await;
        send(&items, 1).await;
        assert!(sizes.try_recv().is_err());
        permits.add_permits(1);

        assert_eq!(sizes.recv().await, Some(3));
    }

    #[tokio::test]
    async fn a_backlog_is_sent_in_several_batches_at_once() {
        let (items, mut sizes, permits) = start();
        send(&items, 1).await;
        send(&items, MAX_BATCH * 3).await;
        assert_eq!(sizes.try_recv(), Ok(1));
        assert!(sizes.try_recv().is_err());

        permits.add_permits(1);

        assert_eq!(sizes.recv().await, Some(MAX_BATCH));
        assert_eq!(sizes.recv().await, Some(MAX_BATCH));
        send(&items, 0).await;
        assert!(sizes.try_recv().is_err());
    }
}
