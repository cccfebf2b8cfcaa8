//! A queue on a server that logs every script, and the calls in that log.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{Delivery, GetOptions, Provider, PutOptions, QueueStats, Settle};
use pymq_core::{Connect, Message};

use super::{LIST, MIB, number};
use crate::server::{Raw, Server};

/// A queue on a server that logs every script.
pub(super) struct Setting {
    _server: Server,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) raw: Raw,
}

impl Setting {
    pub(super) async fn start() -> Self {
        // The log also holds each command of each script. With many commands, the scripts would
        // drop out of it.
        let is_by_hand = std::env::var_os("PYMQ_TEST_SCRIPTS").is_some();
        let options = [
            "--slowlog-log-slower-than",
            if is_by_hand { "1000" } else { "0" },
            "--slowlog-max-len",
            "1000000",
        ];
        let server = Server::start(&options).await;
        let config = server.config().op_timeout(Duration::from_secs(60));
        let provider = config.connect().await.unwrap();
        let raw = server.raw().await;
        Self {
            _server: server,
            provider,
            raw,
        }
    }

    pub(super) async fn put(&self, bodies: impl IntoIterator<Item = usize>, opts: &PutOptions) {
        let messages: Vec<_> = bodies
            .into_iter()
            .map(|body| Message::json(body.to_string()))
            .collect();
        let many = if *opts == PutOptions::default() {
            100_000
        } else {
            10_000
        };
        for some in messages.chunks(many) {
            let put = self.provider.queue_put("q", some.to_vec(), opts.clone());
            put.await.unwrap();
        }
    }

    /// Puts messages of 16 MiB.
    pub(super) async fn put_large(&self, count: usize) {
        for n in 0..count {
            let body = format!("\"{n}{}\"", "x".repeat(16 * MIB - 100));
            let put =
                self.provider
                    .queue_put("q", vec![Message::json(body)], PutOptions::default());
            put.await.unwrap();
        }
    }

    /// Leases all messages, in as many takes as it needs.
    pub(super) async fn lease_all(&self, count: usize, lease: Duration) -> Vec<Delivery> {
        let mut all = Vec::new();
        while all.len() < count {
            let opts = GetOptions::default().max(NonZeroUsize::MAX).lease(lease);
            let some = self.provider.queue_get("q", opts).await.unwrap();
            assert!(!some.is_empty());
            all.extend(some);
        }
        all
    }

    pub(super) async fn settle(&self, deliveries: &[Delivery], settle: &Settle) {
        let all = deliveries
            .iter()
            .map(|one| (one.receipt.clone().unwrap(), settle.clone()));
        let results = self
            .provider
            .queue_settle("q", all.collect())
            .await
            .unwrap();
        assert!(results.iter().all(Result::is_ok));
    }

    pub(super) async fn stats(&self) -> QueueStats {
        self.provider.queue_stats("q").await.unwrap()
    }

    pub(super) async fn drain(&self) -> Vec<usize> {
        let mut all = Vec::new();
        loop {
            let opts = GetOptions::default().max(NonZeroUsize::MAX);
            let some = self.provider.queue_get("q", opts).await.unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some.iter().map(number));
        }
    }

    /// Makes every time in a sorted set long past. Calls are counted from here on, because the
    /// provider also sweeps by itself.
    pub(super) async fn let_all_end(&mut self, part: &str) {
        self.forget_calls().await;
        let code =
            "local some = redis.call('ZRANGEBYSCORE', KEYS[1], 1e11, '+inf', 'LIMIT', 0, 10000)
            for i, one in ipairs(some) do redis.call('ZADD', KEYS[1], ARGV[1] + i, one) end
            return #some";
        let key = format!("{{{LIST}}}:v1:{part}");
        let mut ended = 0;
        loop {
            let from = ended.to_string();
            let words = ["EVAL", code, "1", &key, &from];
            match self.raw.run::<usize>(&words).await {
                0 => return,
                some => ended += some,
            }
        }
    }

    pub(super) async fn forget_calls(&mut self) {
        self.raw.run::<()>(&["SLOWLOG", "RESET"]).await;
    }

    /// Returns the scripts that were called since `forget_calls`.
    pub(super) async fn calls(&mut self) -> Vec<Call> {
        type Entry = (u64, u64, u64, Vec<String>, ::redis::Value, ::redis::Value);
        let entries: Vec<Entry> = self.raw.run(&["SLOWLOG", "GET", "-1"]).await;
        let calls = entries
            .into_iter()
            .filter(|entry| entry.3[0].starts_with("EVAL"))
            // Without the script of `let_all_end`.
            .filter(|entry| !entry.3[1].starts_with("local some"));
        calls
            .map(|(_, _, micros, words, _, _)| Call { micros, words })
            .collect()
    }
}

/// A script call in the log of the server.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) micros: u64,
    /// At most 32. The last one tells how many more there were, and each how many more bytes it
    /// had.
    pub(super) words: Vec<String>,
}

impl Call {
    pub(super) fn words(&self) -> usize {
        self.words.len()
            + self
                .words
                .last()
                .map_or(0, |last| more(last, "more arguments"))
    }
}

/// Reads the number in `... (5 more arguments)`.
fn more(text: &str, what: &str) -> usize {
    let number = text
        .strip_suffix(&format!(" {what})"))
        .and_then(|text| text.rsplit_once("... ("));
    number.map_or(0, |(_, number)| number.parse().unwrap())
}

/// Asserts that no call had too many arguments, and that there were at least this many calls.
pub(super) fn assert_bounded(calls: &[Call], at_least: usize) {
    assert!(calls.len() >= at_least, "{} calls", calls.len());
    for call in calls {
        assert!(call.words() <= 10_000, "{} words", call.words());
    }
}

impl Setting {
    /// Prints the longest script since the last report, and asserts the bounds of all scripts.
    pub(super) async fn report(&mut self, operation: &str) {
        let calls = self.calls().await;
        let longest = calls.iter().map(|call| call.micros).max().unwrap_or(0);
        let words = calls.iter().map(Call::words).max().unwrap_or(0);
        println!(
            "{operation:20} {:6} scripts, longest {longest:7} us, {words:5} words",
            calls.len()
        );
        assert!(words <= 10_020, "{operation}: {words} words");
        self.forget_calls().await;
    }
}
