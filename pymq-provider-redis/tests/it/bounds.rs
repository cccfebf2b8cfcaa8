//! Every script of the queues is bounded in messages, bytes and arguments, however large the queue
//! is.
//!
//! With `PYMQ_TEST_SCRIPTS=1000000`, the longest script is measured with a million messages and
//! printed.

mod setting;

use std::num::NonZeroUsize;
use std::time::Duration;

use pymq_core::provider::{
    Delivery, GetOptions, Part, PutOptions, QueueStats, Receipt, Redrive, Settle,
};
use pymq_core::{ErrorKind, Message};

use self::setting::{Setting, assert_bounded};

const LIST: &str = "__eventbus:global:q";
const LONG: Duration = Duration::from_secs(3_600);
const MIB: usize = 1 << 20;

fn number(delivery: &Delivery) -> usize {
    String::from_utf8_lossy(&delivery.message.body)
        .parse()
        .unwrap()
}

#[tokio::test]
async fn due_messages_are_moved_in_bounded_steps_and_in_order() {
    let mut setting = Setting::start().await;
    let delayed = PutOptions::default().delay(LONG);
    setting.put(0..2_500, &delayed).await;
    setting.let_all_end("delayed").await;

    assert_eq!(setting.drain().await, (0..2_500).collect::<Vec<_>>());

    assert_bounded(&setting.calls().await, 3);
}

#[tokio::test]
async fn ended_leases_are_returned_in_bounded_steps_and_in_order() {
    let mut setting = Setting::start().await;
    setting.put(0..2_500, &PutOptions::default()).await;
    let leased = setting.lease_all(2_500, LONG).await;
    // Gaps in the batch, and some messages in batches of their own.
    for (n, delivery) in leased.iter().enumerate() {
        if n % 500 == 7 {
            setting
                .settle(std::slice::from_ref(delivery), &Settle::Ack)
                .await;
        }
    }
    setting.let_all_end("leases").await;

    let expected: Vec<_> = (0..2_500).filter(|n| n % 500 != 7).collect();
    assert_eq!(setting.drain().await, expected);

    assert_bounded(&setting.calls().await, 6);
    assert_eq!(setting.stats().await, QueueStats::default());
    let keys: Vec<String> = setting.raw.run(&["KEYS", "*"]).await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test]
async fn leases_that_end_apart_are_returned_in_order() {
    let mut setting = Setting::start().await;
    setting.put(0..1_200, &PutOptions::default()).await;
    let leased = setting.lease_all(1_200, LONG).await;
    setting
        .settle(&leased, &Settle::Extend { lease: LONG })
        .await;
    assert_eq!(setting.stats().await, QueueStats::new(0, 0, 1_200, 0));
    setting.let_all_end("leases").await;
    assert_eq!(setting.stats().await, QueueStats::new(1_200, 0, 0, 0));

    assert_eq!(setting.drain().await, (0..1_200).collect::<Vec<_>>());

    assert_bounded(&setting.calls().await, 4);
}

#[tokio::test]
async fn a_lease_takes_as_much_as_the_bound_allows() {
    let setting = Setting::start().await;
    setting.put(0..1_500, &PutOptions::default()).await;
    let take = |max| {
        let opts = GetOptions::default().lease(LONG);
        let opts = opts.max(NonZeroUsize::new(max).unwrap());
        setting.provider.queue_get("q", opts)
    };

    assert_eq!(take(9_000).await.unwrap().len(), 1_000);
    assert_eq!(take(9_000).await.unwrap().len(), 500);

    setting.put_large(2).await;
    setting.put([7], &PutOptions::default()).await;
    assert_eq!(take(9).await.unwrap().len(), 1);
    assert_eq!(take(9).await.unwrap().len(), 1);
    assert_eq!(number(&take(9).await.unwrap()[0]), 7);
}

#[tokio::test]
async fn large_messages_are_moved_one_at_a_time() {
    let mut setting = Setting::start().await;
    setting.put_large(5).await;
    let leased = setting.lease_all(5, LONG).await;
    setting.forget_calls().await;

    setting
        .settle(&leased, &Settle::Extend { lease: LONG })
        .await;
    assert!(setting.calls().await.len() >= 5);
    setting.let_all_end("leases").await;
    assert_eq!(
        setting
            .provider
            .queue_peek("q", Part::Ready, 1)
            .await
            .unwrap()
            .len(),
        1
    );
    // A sweep and a requeue for each.
    assert!(setting.calls().await.len() >= 10);

    let leased = setting.lease_all(5, LONG).await;
    setting.forget_calls().await;
    let later = Settle::Nack { delay: LONG };
    setting.settle(&leased, &later).await;
    assert!(setting.calls().await.len() >= 10);
    setting.let_all_end("delayed").await;
    assert_eq!(
        setting
            .provider
            .queue_peek("q", Part::Ready, 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(setting.calls().await.len() >= 5);

    let leased = setting.lease_all(5, LONG).await;
    let firsts: Vec<_> = leased.iter().map(|one| one.message.body[1]).collect();
    assert_eq!(firsts, b"01234");
    let bury = Settle::Bury {
        reason: "large".to_owned(),
    };
    setting.settle(&leased, &bury).await;
    setting.forget_calls().await;
    assert_eq!(
        setting
            .provider
            .queue_redrive("q", Redrive::All)
            .await
            .unwrap(),
        5
    );
    assert!(setting.calls().await.len() >= 5);
}

#[tokio::test]
async fn messages_of_one_release_keep_their_order_over_many_steps() {
    for settle in [
        Settle::Release,
        Settle::Nack {
            delay: Duration::ZERO,
        },
    ] {
        let mut setting = Setting::start().await;
        setting.put(0..3_000, &PutOptions::default()).await;
        let leased = setting.lease_all(3_000, LONG).await;
        setting.forget_calls().await;

        setting.settle(&leased, &settle).await;

        assert_bounded(&setting.calls().await, 3);
        assert_eq!(setting.drain().await, (0..3_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_large_call_settles_each_lease_once_and_answers_in_order() {
    let setting = Setting::start().await;
    setting.put(0..2_000, &PutOptions::default()).await;
    let leased = setting.lease_all(2_000, LONG).await;
    let receipts = leased.iter().filter_map(|one| one.receipt.clone());
    let nack = || Settle::Nack {
        delay: Duration::ZERO,
    };
    let mut all: Vec<_> = receipts.clone().map(|one| (one, nack())).collect();
    all.extend(receipts.map(|one| (one, Settle::Ack)));
    all.push((Receipt::new("batch/01"), Settle::Ack));

    let results = setting.provider.queue_settle("q", all).await.unwrap();

    let kinds = results
        .iter()
        .map(|one| one.as_ref().err().map(pymq_core::Error::kind));
    let expected = (0..4_001).map(|n| (n >= 2_000).then_some(ErrorKind::LeaseLost));
    assert!(kinds.eq(expected));
    assert_eq!(setting.drain().await, (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn dead_letters_are_redriven_in_bounded_steps_past_foreign_members() {
    let mut setting = Setting::start().await;
    setting.put(0..2_500, &PutOptions::default()).await;
    let leased = setting.lease_all(2_500, LONG).await;
    let bury = Settle::Bury {
        reason: "bad".to_owned(),
    };
    setting.settle(&leased, &bury).await;
    let dead = format!("{{{LIST}}}:v1:dead");
    for foreign in ["", "0", "1:2:9999999999999999999999999:x", "zzz"] {
        setting.raw.run::<()>(&["ZADD", &dead, "0", foreign]).await;
    }
    let letters = setting
        .provider
        .queue_peek("q", Part::Dead, 1_500)
        .await
        .unwrap();
    let ids: Vec<_> = letters.into_iter().filter_map(|letter| letter.id).collect();
    let count = ids.len();
    setting.forget_calls().await;

    let some = setting
        .provider
        .queue_redrive("q", Redrive::Ids(ids))
        .await
        .unwrap();
    let rest = setting
        .provider
        .queue_redrive("q", Redrive::All)
        .await
        .unwrap();

    assert_eq!((some, rest), (count, 2_500 - count));
    assert_bounded(&setting.calls().await, 4);
    assert_eq!(setting.drain().await, (0..2_500).collect::<Vec<_>>());
    assert_eq!(
        setting
            .provider
            .queue_redrive("q", Redrive::All)
            .await
            .unwrap(),
        0
    );
    assert_eq!(setting.stats().await.dead, 4);
}

#[tokio::test]
async fn a_put_with_a_bound_counts_any_number_of_ended_leases() {
    let mut setting = Setting::start().await;
    setting.put(0..1_500, &PutOptions::default()).await;
    let leased = setting.lease_all(1_500, LONG).await;
    setting
        .settle(&leased, &Settle::Extend { lease: LONG })
        .await;
    setting.let_all_end("leases").await;
    let put = |maxsize| {
        let opts = PutOptions::default().maxsize(NonZeroUsize::new(maxsize));
        setting
            .provider
            .queue_put("q", vec![Message::json("1500")], opts)
    };

    assert_eq!(put(1_500).await.unwrap_err().kind(), ErrorKind::Full);
    put(1_501).await.unwrap();

    assert_eq!(setting.drain().await, (0..=1_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_in_the_way_of_one_settlement_affects_no_other() {
    let mut setting = Setting::start().await;
    setting.put(0..3, &PutOptions::default()).await;
    let one = GetOptions::default().lease(LONG);
    let mut leased = Vec::new();
    for _ in 0..3 {
        leased.extend(setting.provider.queue_get("q", one.clone()).await.unwrap());
    }
    let receipt = leased[1].receipt.clone().unwrap();
    let text = String::from_utf8(receipt.as_bytes().to_vec()).unwrap();
    let batch = text.split_once('/').unwrap().0.to_owned();
    let keys: Vec<String> = setting.raw.run(&["KEYS", &format!("*{batch}*")]).await;
    setting.raw.run::<()>(&["DEL", &keys[0]]).await;
    setting
        .raw
        .run::<()>(&["SET", &keys[0], "in the way"])
        .await;

    for settle in [Settle::Extend { lease: LONG }, Settle::Release] {
        let all = leased
            .iter()
            .map(|one| (one.receipt.clone().unwrap(), settle.clone()));
        let results = setting
            .provider
            .queue_settle("q", all.collect())
            .await
            .unwrap();
        let oks: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(oks, [true, false, true], "{settle:?}");
    }
    setting.let_all_end("leases").await;
    assert_eq!(setting.drain().await, [0, 2]);
}

/// Prints the server time of the longest script for each operation. Run by hand with a million
/// messages.
#[tokio::test]
async fn the_longest_script_is_bounded_in_a_queue_of_any_size() {
    let count = std::env::var("PYMQ_TEST_SCRIPTS").map_or(2_000, |count| count.parse().unwrap());
    let messages: Vec<_> = (0..count)
        .map(|body| Message::json(body.to_string()))
        .collect();
    Setting::start().await.report_all(messages, 10_000).await;
}

/// Prints the same for large messages: 16 MiB by hand. A script that only reads one such message,
/// and one that only pushes it, come first.
#[tokio::test]
async fn the_longest_script_moves_one_large_message() {
    let is_by_hand = std::env::var_os("PYMQ_TEST_SCRIPTS").is_some();
    let size = if is_by_hand { 16 * MIB - 100 } else { 5 * MIB };
    let body = format!("\"{}\"", "x".repeat(size));
    let mut setting = Setting::start().await;
    let push = "return redis.call('LPUSH', KEYS[1], ARGV[1])";
    let read = "return #redis.call('LRANGE', KEYS[1], 0, 0)[1]";
    for _ in 0..5 {
        let words = ["EVAL", push, "1", "a", &body];
        setting.raw.run::<usize>(&words).await;
    }
    setting.report("only push").await;
    for _ in 0..5 {
        setting.raw.run::<usize>(&["EVAL", read, "1", "a"]).await;
    }
    setting.report("only read").await;
    setting.raw.run::<usize>(&["DEL", "a"]).await;
    setting.report_all(vec![Message::json(body); 5], 1).await;
}

impl Setting {
    /// Moves messages through all parts of the queue, and reports the scripts of each operation.
    async fn report_all(&mut self, messages: Vec<Message>, at_once: usize) {
        let count = messages.len();
        for some in messages.chunks(at_once) {
            let delayed = PutOptions::default().delay(LONG);
            let put = self.provider.queue_put("q", some.to_vec(), delayed);
            put.await.unwrap();
        }
        drop(messages);
        self.report("put with a delay").await;
        self.let_all_end("delayed").await;
        self.sweep().await;
        self.report("sweep what is due").await;
        let leased = self.lease_all(count, LONG).await;
        self.report("lease").await;
        self.settle(&leased, &Settle::Extend { lease: LONG }).await;
        self.report("extend").await;
        assert_eq!(self.stats().await.leased, count);
        self.report("stats").await;
        self.let_all_end("leases").await;
        self.sweep().await;
        self.report("sweep ended leases").await;
        let leased = self.lease_all(count, LONG).await;
        self.let_all_end("leases").await;
        self.sweep().await;
        self.report("sweep ended batches").await;
        assert_eq!(leased.len(), count);
        let leased = self.lease_all(count, LONG).await;
        self.forget_calls().await;
        self.settle(&leased, &Settle::Nack { delay: LONG }).await;
        self.report("nack with a delay").await;
        self.let_all_end("delayed").await;
        self.sweep().await;
        let leased = self.lease_all(count, LONG).await;
        self.forget_calls().await;
        let reason = "bad".to_owned();
        self.settle(&leased, &Settle::Bury { reason }).await;
        self.report("bury").await;
        let redriven = self.provider.queue_redrive("q", Redrive::All).await;
        assert_eq!(redriven.unwrap(), count);
        self.report("redrive").await;
        let leased = self.lease_all(count, LONG).await;
        self.forget_calls().await;
        self.settle(&leased, &Settle::Release).await;
        self.report("release").await;
        let cleared = self.provider.queue_clear("q", Part::Ready).await;
        assert_eq!(cleared.unwrap(), count);
        self.report("clear").await;
    }

    /// Sweeps the queue, as a peek does.
    async fn sweep(&self) {
        let peek = self.provider.queue_peek("q", Part::Ready, 1);
        assert_eq!(peek.await.unwrap().len(), 1);
    }
}
