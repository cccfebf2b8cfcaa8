//! Putting messages: one `LPUSH`, or `put.lua` where an option asks for more.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::{Put, PutOptions, once_window};
use pymq_core::{Error, ErrorKind, Message, Result};
use tokio::time::Instant;

use super::args::{millis, number, token};
use super::queue::{Store, script};
use crate::connection::{Script, command};
use crate::wire;

static PUT: Script = script!("put.lua");

/// The most bytes in one command: Redis closes the connection, with all that is in flight on it, not far above.
const MAX_COMMAND: usize = 256 << 20;

/// The most messages in one put: servers before version 7 close the connection, with all that is in flight on it, at a
/// command of 1,048,577 words.
const MAX_PUT: usize = 1_000_000;

/// The most messages, and bytes of them, in one put with options, which is one script.
const MAX_PUT_WITH: usize = 10_000;
const MAX_PUT_WITH_BYTES: usize = 64 << 20;

impl Store {
    /// Puts messages at the back, all or none.
    pub(super) async fn put(&self, messages: &[Message], opts: PutOptions) -> Result<Put> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let payloads: Vec<_> = messages.iter().map(wire::encode).collect();
        self.check_size("put to", &payloads)?;
        if payloads.len() > MAX_PUT {
            let context = format!(
                "{}: {} messages at once, limit {MAX_PUT}",
                self.context("put to"),
                payloads.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, context));
        }
        let is_plain = opts.maxsize.is_none() && opts.delay.is_zero() && opts.once.is_none();
        if is_plain {
            let push = || {
                let list = self.list();
                let head = [&b"LPUSH"[..], list.as_bytes()];
                command(head.into_iter().chain(payloads.iter().map(AsRef::as_ref)))
            };
            let () = self.query("put to", &self.commands(), push).await?;
            return Ok(Put::New);
        }
        // Apart, as plain puts are many and their futures small.
        Box::pin(self.put_with(payloads, opts)).await
    }

    /// Puts messages in the way the options say.
    async fn put_with(&self, payloads: Vec<Bytes>, opts: PutOptions) -> Result<Put> {
        self.check_bound(&payloads)?;
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
        let queue = self.keys();
        let mark = opts
            .once
            .as_ref()
            .map_or_else(String::new, |id| queue.once(id.as_str()));
        let [list, delayed, leases, lease, dead] = queue.all();
        let keys = [
            list,
            delayed,
            leases,
            lease,
            dead,
            if opts.once.is_some() { &mark } else { list },
        ];
        let commands = if opts.once.is_some() {
            self.commands().repeatable()
        } else {
            self.commands()
        };
        let end = Instant::now() + self.shared().core.connector.op_timeout();
        loop {
            match self.run("put to", &commands, &PUT, &keys, &args).await? {
                1_i64.. => return Ok(Put::New),
                0 => return Ok(Put::Known),
                -1 => return Err(Error::new(ErrorKind::Full, self.context("put to"))),
                // The sweep makes ready what the put could not count.
                _ if Instant::now() < end => {
                    Box::pin(self.sweep()).await?;
                }
                _ => return Err(Error::new(ErrorKind::Timeout, self.context("put to"))),
            }
        }
    }

    fn check_size(&self, operation: &str, payloads: &[Bytes]) -> Result<()> {
        let size: usize = payloads.iter().map(Bytes::len).sum();
        if size <= MAX_COMMAND {
            let sizes = payloads.iter().map(Bytes::len);
            let limits = &self.shared().core.limits;
            return limits.check(|| self.context(operation), sizes);
        }
        let context = format!(
            "{}: {size} bytes at once, limit {MAX_COMMAND}",
            self.context(operation)
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }

    /// Checks what one script puts, all or none. One message alone may be as large as any.
    fn check_bound(&self, payloads: &[Bytes]) -> Result<()> {
        let (count, size) = (
            payloads.len(),
            payloads.iter().map(Bytes::len).sum::<usize>(),
        );
        if count <= MAX_PUT_WITH && (count == 1 || size <= MAX_PUT_WITH_BYTES) {
            return Ok(());
        }
        let context = format!(
            "{}: {count} messages of {size} bytes at once with options, limit {MAX_PUT_WITH} \
             messages and {MAX_PUT_WITH_BYTES} bytes",
            self.context("put to"),
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }
}
