//! rsmq_async.

use futures_util::future::join_all;
use pymq_benches::{Meter, Sample, payload, unique};
use redis::IntoConnectionInfo;
use rsmq_async::{Rsmq, RsmqConnection, RsmqOptions};

pub(crate) const NAME: &str = "rsmq_async, batches of 64";

pub(crate) async fn drain(url: String, items: usize) -> Sample {
    let mut rsmq = Rsmq::new(options(&url)).await.expect("a Redis");
    let queue = unique("rsmq");
    rsmq.create_queue(&queue, None, None, None)
        .await
        .expect("a queue");
    let payload = payload();
    for _ in 0..items {
        rsmq.send_message(&queue, &payload[..], None)
            .await
            .expect("send");
    }
    let meter = Meter::with_server(&url);
    let mut handled = 0;
    while handled < items {
        let batch = rsmq
            .receive_message_batch::<Vec<u8>>(&queue, None, 64)
            .await;
        let batch = batch.expect("receive");
        handled += batch.len();
        let deletions = batch.into_iter().map(|message| {
            let (mut rsmq, queue) = (rsmq.clone(), &queue);
            async move { rsmq.delete_message(queue, &message.id).await }
        });
        for deleted in join_all(deletions).await {
            assert!(deleted.expect("delete"), "a message was not there");
        }
    }
    meter.stop(items)
}

fn options(url: &str) -> RsmqOptions {
    let info = url.into_connection_info().expect("a Redis URL");
    let redis::ConnectionAddr::Tcp(host, port) = info.addr() else {
        panic!("a URL of TCP, not {url}");
    };
    RsmqOptions {
        host: host.clone(),
        port: *port,
        ..RsmqOptions::default()
    }
}
