//! Putting messages: one `LPUSH`, or `put.lua` for a put with options.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::{Put, PutOptions, once_window};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::time::Instant;

use super::args::{millis, number, token};
use super::queue::{Queue, script};
use crate::connection::{Command, Script};
use crate::wire;

static PUT: Script = script!("put.lua");

/// The most bytes in one put. Redis closes the connection at a command that is not much larger, and
/// that fails every command in flight on it.
const MAX_PUT_BYTES: usize = 256 << 20;

/// The most messages in one put. Servers before version 7 close the connection at a command of
/// 1,048,577 arguments.
const MAX_PUT_MESSAGES: usize = 1_000_000;

/// The most messages, and their bytes, in one put with options, which is one script.
const MAX_OPTIONS_PUT_MESSAGES: usize = 10_000;
const MAX_OPTIONS_PUT_BYTES: usize = 64 << 20;

impl Queue {
    /// Puts messages at the back, all or none.
    pub(super) async fn put(&self, messages: &[Message], opts: PutOptions) -> Result<Put> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let payloads: Vec<_> = messages.iter().map(wire::encode).collect();
        self.check_size("put to", &payloads)?;
        if payloads.len() > MAX_PUT_MESSAGES {
            let context = format!(
                "{}: {} messages at once, limit {MAX_PUT_MESSAGES}, put fewer at once",
                self.context("put to"),
                payloads.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, context));
        }
        let is_plain = opts.maxsize.is_none() && opts.delay.is_zero() && opts.once.is_none();
        if is_plain {
            let list = self.list();
            let push = || Command::with_payloads(&[b"LPUSH", list.as_bytes()], &payloads);
            let () = self.query("put to", &self.puts(), push).await?;
            return Ok(Put::New);
        }
        // Boxed, so that the future of the frequent plain put stays small.
        Box::pin(self.put_with_options(payloads, opts)).await
    }

    /// Puts messages with options, in one script.
    async fn put_with_options(&self, payloads: Vec<Bytes>, opts: PutOptions) -> Result<Put> {
        self.check_options_put(&payloads)?;
        let window = if opts.once.is_some() {
            once_window(opts.window)
        } else {
            Duration::ZERO
        };
        let options = [
            number(opts.maxsize.map_or(0, NonZeroUsize::get)),
            millis(opts.delay),
            millis(window),
        ];
        let args: Vec<_> = [token()]
            .into_iter()
            .chain(options)
            .chain(payloads)
            .collect();
        let keys = self.keys();
        let mark = opts
            .once
            .as_ref()
            .map_or_else(String::new, |id| keys.once(id.as_str()));
        let [list, delayed, leases, lease, dead] = keys.all();
        let script_keys = [
            list,
            delayed,
            leases,
            lease,
            dead,
            if opts.once.is_some() { &mark } else { list },
        ];
        let commands = if opts.once.is_some() {
            self.puts().repeatable()
        } else {
            self.puts()
        };
        let end = Instant::now() + self.shared().core.connector.op_timeout();
        loop {
            match self
                .run("put to", &commands, &PUT, &script_keys, &args)
                .await?
            {
                1_i64.. => return Ok(Put::New),
                0 => return Ok(Put::Known),
                -1 => return Err(Error::new(ErrorKind::Full, self.context("put to"))),
                // The sweep makes ready what the script could not count.
                _ if Instant::now() < end => {
                    Box::pin(self.sweep()).await?;
                }
                _ => return Err(Error::new(ErrorKind::Timeout, self.context("put to"))),
            }
        }
    }

    fn check_size(&self, operation: &str, payloads: &[Bytes]) -> Result<()> {
        let size: usize = payloads.iter().map(Bytes::len).sum();
        if size <= MAX_PUT_BYTES {
            let sizes = payloads.iter().map(Bytes::len);
            let limits = &self.shared().core.limits;
            return limits.check(|| self.context(operation), sizes);
        }
        let context = format!(
            "{}: {size} bytes at once, limit {MAX_PUT_BYTES}, put fewer at once",
            self.context(operation)
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }

    /// Checks the size of a put with options, which is one script. A single message may have any
    /// size.
    fn check_options_put(&self, payloads: &[Bytes]) -> Result<()> {
        let (count, size) = (
            payloads.len(),
            payloads.iter().map(Bytes::len).sum::<usize>(),
        );
        if count <= MAX_OPTIONS_PUT_MESSAGES && (count == 1 || size <= MAX_OPTIONS_PUT_BYTES) {
            return Ok(());
        }
        let context = format!(
            "{}: {count} messages of {size} bytes at once with options, limit \
             {MAX_OPTIONS_PUT_MESSAGES} messages and {MAX_OPTIONS_PUT_BYTES} bytes, put fewer at once",
            self.context("put to"),
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }
}
