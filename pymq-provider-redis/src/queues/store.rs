//! One queue in Redis: each operation is one command or one script, and what a script promises stands at its head.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pymq::provider::{Part, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored};
use pymq::{Error, ErrorKind, Message, Result};
use tokio::time::Instant;
use uuid::Uuid;

use super::args::{millis, number, text, token};
use super::taken::Taken;
use super::waiters::Order;
use super::{Shared, dead_letter, receipt};
use crate::connection::{Commands, Fault, Script, command};
use crate::keys::QueueKeys;
use crate::wire::{self, Extra};

/// How long a mark keeps what it marks from being done again.
const MARK: Duration = Duration::from_secs(120);

/// The most bytes in one command: Redis closes the connection, with all that is in flight on it, not far above.
const MAX_COMMAND: usize = 256 << 20;

/// The most messages in one put: servers before version 7 close the connection, with all that is in flight on it, at a
/// command of 1,048,577 words.
const MAX_PUT: usize = 1_000_000;

/// The most messages one take brings, whatever was asked for.
const MAX_TAKE: usize = 1 << 16;

/// The most that one script moves, for the sake of all others who use the server.
const CHUNK: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

/// So many bytes of id and colon precede the payload of a delayed message.
const ID_AND_COLON: usize = 43;

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("../../scripts/queue.lua"),
            include_str!($file)
        ))
    };
}

static PUT: Script = script!("../../scripts/put.lua");
static TAKE: Script = script!("../../scripts/take.lua");
static SETTLE: Script = script!("../../scripts/settle.lua");
static LEASED: Script = script!("../../scripts/leased.lua");
static SWEEP: Script = script!("../../scripts/sweep.lua");
static REQUEUE: Script = script!("../../scripts/requeue.lua");
static REDRIVE: Script = script!("../../scripts/redrive.lua");
static STATS: Script = script!("../../scripts/stats.lua");
static GIVE_BACK: Script = Script::new(include_str!("../../scripts/give_back.lua"));
static CLEAR: Script = Script::new(include_str!("../../scripts/clear.lua"));

/// A queue by name. Cheap to clone and to create.
#[derive(Clone, Debug)]
pub(super) struct Store {
    shared: Arc<Shared>,
    name: Arc<str>,
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Swept {
    /// How many messages became ready.
    pub(super) moved: usize,
    /// When something is due or a lease ends next.
    pub(super) next: Option<Duration>,
}

/// Tells whether an error may pass by itself, so that who waits waits on.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::OutOfMemory
    )
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        Self {
            shared,
            name: name.into(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns Python's list.
    pub(super) fn list(&self) -> String {
        self.shared.core.keys.name(&self.name)
    }

    /// Puts messages at the back, all or none.
    pub(super) async fn put(&self, messages: &[Message], opts: PutOptions) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
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
            return self.query("put to", &self.commands(), push).await;
        }
        // Apart, as plain puts are many and their futures small.
        Box::pin(self.put_with(payloads, opts)).await
    }

    /// Puts messages in the way the options say.
    async fn put_with(&self, payloads: Vec<Bytes>, opts: PutOptions) -> Result<()> {
        let window = if opts.once.is_some() {
            MARK
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
        let outcome: i64 = self.run("put to", &commands, &PUT, &keys, &args).await?;
        if outcome < 0 {
            Err(Error::new(ErrorKind::Full, self.context("put to")))
        } else {
            Ok(())
        }
    }

    /// Takes what is ordered from the front. `take` is the number of this take.
    ///
    /// Waits for the answer as long as one may come: what was taken is in the answer alone.
    pub(super) async fn take(self, take: u64, order: Order) -> Result<Taken> {
        let max = order.max.min(MAX_TAKE);
        match order.lease {
            Some(lease) => self.lease(take, max, lease).await,
            None => self.pop(take, max).await,
        }
    }

    async fn pop(self, take: u64, max: usize) -> Result<Taken> {
        let pop = || {
            let mut cmd = redis::cmd("RPOP");
            cmd.arg(self.list()).arg(max);
            cmd
        };
        let payloads: Option<Vec<Bytes>> = self
            .query("get from", &self.commands().patient(), pop)
            .await?;
        Ok(Taken::removed(&self, take, payloads.unwrap_or_default()))
    }

    async fn lease(self, take: u64, max: usize, lease: Duration) -> Result<Taken> {
        let args = [token(), number(max), millis(lease)];
        let keys = self.keys();
        let commands = self.commands().patient();
        let sent = Instant::now();
        let mut payloads: Vec<Bytes> = self
            .run("lease from", &commands, &TAKE, &keys.all(), &args)
            .await?;
        if payloads.is_empty() {
            return Ok(Taken::nothing(&self));
        }
        let batch = payloads.remove(0);
        let batch = String::from_utf8_lossy(&batch);
        Ok(Taken::leased(&self, take, &batch, lease, sent, payloads))
    }

    /// Asks for an answer of any kind.
    pub(super) async fn probe(&self) -> Result<()> {
        let ping = || redis::cmd("PING");
        self.query("get from", &self.commands(), ping).await
    }

    /// Returns why there is no connection for commands now; none if there is one.
    pub(super) fn why_down(&self) -> Option<Fault> {
        self.shared.core.commands.why_down()
    }

    /// Settles leased messages, one after the other.
    pub(super) async fn settle(
        &self,
        settlements: &[(Receipt, Settle)],
    ) -> Result<Vec<Result<()>>> {
        let receipts: Vec<_> = settlements
            .iter()
            .map(|(receipt, _)| receipt::read(receipt))
            .collect();
        // Apart, as few settlements need them.
        let payloads = Box::pin(self.leased(settlements, &receipts)).await?;
        let mut payloads = payloads.into_iter();
        let mut args = vec![token()];
        let mut is_asked = Vec::with_capacity(settlements.len());
        for ((_, settle), receipt) in settlements.iter().zip(receipts) {
            let Some((batch, index)) = receipt else {
                is_asked.push(false);
                continue;
            };
            let payload = if says_something_new(settle) {
                payloads.next().flatten()
            } else {
                Some(Bytes::new())
            };
            // Without a payload the lease is over already.
            is_asked.push(payload.is_some());
            if let Some(payload) = payload {
                let [what, time, payload] = order(settle, payload);
                args.extend([what, text(batch), text(index), time, payload]);
            }
        }
        let mut outcomes = if args.len() > 1 {
            let outcomes: Vec<i64> = self
                .run(
                    "settle in",
                    &self.commands(),
                    &SETTLE,
                    &self.keys().all(),
                    &args,
                )
                .await?;
            outcomes.into_iter()
        } else {
            Vec::new().into_iter()
        };
        let lost = || Error::new(ErrorKind::LeaseLost, self.context("settle in"));
        let result = |is_asked| {
            if is_asked && outcomes.next() == Some(1) {
                Ok(())
            } else {
                Err(lost())
            }
        };
        Ok(is_asked.into_iter().map(result).collect())
    }

    /// Reads the payloads of those that a settlement will change, in order.
    async fn leased(
        &self,
        settlements: &[(Receipt, Settle)],
        receipts: &[Option<(&str, &str)>],
    ) -> Result<Vec<Option<Bytes>>> {
        let wanted = settlements
            .iter()
            .zip(receipts)
            .filter(|((_, settle), _)| says_something_new(settle));
        let args: Vec<_> = wanted
            .filter_map(|(_, receipt)| *receipt)
            .flat_map(|(batch, index)| [text(batch), text(index)])
            .collect();
        if args.is_empty() {
            return Ok(Vec::new());
        }
        self.run(
            "settle in",
            &self.commands().repeatable(),
            &LEASED,
            &self.keys().all(),
            &args,
        )
        .await
    }

    /// Makes ready what is due, and what was leased too long ago.
    pub(super) async fn sweep(&self) -> Result<Swept> {
        let queue = self.keys();
        let limits = [number(CHUNK), number(CHUNK_BYTES)];
        let mut moved = 0;
        loop {
            type Batch = (String, Vec<(usize, Bytes)>);
            let (joined, next, batches): (usize, i64, Vec<Batch>) = self
                .run(
                    "sweep",
                    &self.commands().repeatable(),
                    &SWEEP,
                    &queue.all(),
                    &limits,
                )
                .await?;
            moved += joined;
            if !batches.is_empty() {
                let args: Vec<_> = batches
                    .into_iter()
                    .flat_map(|(batch, fields)| ended(&batch, fields))
                    .collect();
                let commands = self.commands().repeatable();
                let returned: usize = self
                    .run("sweep", &commands, &REQUEUE, &queue.all(), &args)
                    .await?;
                moved += returned;
            }
            if next != 0 {
                return Ok(Swept {
                    moved,
                    next: u64::try_from(next).ok().map(Duration::from_millis),
                });
            }
        }
    }

    /// Gives messages back to the front, the one to be taken last first. Asked again with the same mark, does nothing.
    pub(super) async fn give_back(&self, mark: &str, payloads: &[Bytes]) -> Result<()> {
        let args: Vec<_> = [millis(MARK)]
            .into_iter()
            .chain(payloads.iter().cloned())
            .collect();
        self.run(
            "give back to",
            &self.commands(),
            &GIVE_BACK,
            &[&*self.list(), mark],
            &args,
        )
        .await
    }

    pub(super) fn new_mark(&self) -> String {
        self.keys().once(&Uuid::new_v4().simple().to_string())
    }

    pub(super) async fn unmark(&self, mark: &str) -> Result<()> {
        let unlink = || {
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(mark);
            cmd
        };
        self.query("give back to", &self.commands(), unlink).await
    }

    /// Looks at up to `max` messages, the next to leave first.
    pub(super) async fn peek(&self, part: Part, max: usize) -> Result<Vec<Stored>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        // No queue is longer, and an index of Redis has a sign.
        let count = i64::try_from(max).unwrap_or(i64::MAX);
        let keys = self.keys();
        let (command, key, first, last) = match part {
            Part::Ready => ("LRANGE", &keys.list, -count, -1),
            Part::Delayed => ("ZRANGE", &keys.delayed, 0, count - 1),
            _ => ("ZRANGE", &keys.dead, 0, count - 1),
        };
        let look = || {
            let mut cmd = redis::cmd(command);
            cmd.arg(key).arg(first).arg(last);
            cmd
        };
        let found: Vec<Bytes> = self
            .query("peek into", &self.commands().repeatable(), look)
            .await?;
        let stored = |payload| {
            let (message, extra) = wire::decode_with(payload);
            Stored::new(message, extra.attempt)
        };
        Ok(match part {
            Part::Ready => found.into_iter().rev().map(stored).collect(),
            Part::Delayed => found
                .into_iter()
                .map(|member| stored(member.slice(ID_AND_COLON.min(member.len())..)))
                .collect(),
            _ => found.iter().filter_map(dead_letter::read).collect(),
        })
    }

    /// Moves dead letters to the back.
    pub(super) async fn redrive(&self, which: Redrive) -> Result<usize> {
        let queue = self.keys();
        if let Redrive::Ids(ids) = which {
            let args: Vec<_> = [number(0)]
                .into_iter()
                .chain(ids.iter().map(|id| text(id.as_str())))
                .collect();
            return self
                .run(
                    "redrive in",
                    &self.commands(),
                    &REDRIVE,
                    &queue.all(),
                    &args,
                )
                .await;
        }
        let mut moved = 0;
        loop {
            let args = [number(CHUNK)];
            let some: usize = self
                .run(
                    "redrive in",
                    &self.commands(),
                    &REDRIVE,
                    &queue.all(),
                    &args,
                )
                .await?;
            moved += some;
            if some < CHUNK {
                return Ok(moved);
            }
        }
    }

    /// Removes a part.
    pub(super) async fn clear(&self, part: Part) -> Result<usize> {
        let keys = self.keys();
        let (key, count) = match part {
            Part::Ready => (&keys.list, "LLEN"),
            Part::Delayed => (&keys.delayed, "ZCARD"),
            _ => (&keys.dead, "ZCARD"),
        };
        self.run(
            "clear",
            &self.commands(),
            &CLEAR,
            &[key.as_str()],
            &[text(count)],
        )
        .await
    }

    pub(super) async fn stats(&self) -> Result<QueueStats> {
        let none: [Bytes; 0] = [];
        let commands = self.commands().repeatable();
        let (ready, delayed, leased, dead) = self
            .run("stats of", &commands, &STATS, &self.keys().all(), &none)
            .await?;
        Ok(QueueStats::new(ready, delayed, leased, dead))
    }

    fn keys(&self) -> QueueKeys {
        self.shared.core.keys.queue(&self.name)
    }

    fn commands(&self) -> Commands {
        self.shared.core.commands.clone()
    }

    async fn query<T: redis::FromRedisValue>(
        &self,
        operation: &str,
        commands: &Commands,
        make: impl Fn() -> redis::Cmd + Send + Sync,
    ) -> Result<T> {
        commands
            .query(|| self.context(operation), make)
            .await
            .map_err(|error| self.name_key(error))
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        operation: &str,
        commands: &Commands,
        script: &Script,
        keys: &[&str],
        args: &[Bytes],
    ) -> Result<T> {
        let answer = commands
            .script(|| self.context(operation), script, keys, args)
            .await;
        answer.map_err(|error| self.name_key(error))
    }

    /// Names the operation and the queue, for errors.
    pub(super) fn context(&self, operation: &str) -> String {
        format!("redis: {operation} `{}`", self.name)
    }

    /// Turns a failure on another connection into an error.
    pub(super) fn fault(&self, operation: &str, fault: Fault) -> Error {
        self.name_key(fault.into_error(
            &self.context(operation),
            self.shared.core.connector.address(),
        ))
    }

    /// Names the key in the way, if one is: it is almost always the list, which is Python's to write too.
    fn name_key(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::WrongType {
            return error;
        }
        let context = format!(
            "redis: queue `{}`: key `{}` or one beside it",
            self.name,
            self.list()
        );
        Error::new(ErrorKind::WrongType, context).with_source(error)
    }

    fn check_size(&self, operation: &str, payloads: &[Bytes]) -> Result<()> {
        let size: usize = payloads.iter().map(Bytes::len).sum();
        if size <= MAX_COMMAND {
            return Ok(());
        }
        let context = format!(
            "{}: {size} bytes at once, limit {MAX_COMMAND}",
            self.context(operation)
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }
}

/// Tells whether a settlement changes the payload.
fn says_something_new(settle: &Settle) -> bool {
    matches!(settle, Settle::Nack { .. } | Settle::Bury { .. })
}

/// Says a settlement in the words of `settle.lua`: what, how many ms, and the payload.
fn order(settle: &Settle, payload: Bytes) -> [Bytes; 3] {
    let none = Bytes::new;
    match settle {
        Settle::Release => [text("front"), none(), none()],
        Settle::Nack { delay } if delay.is_zero() => {
            [text("front"), none(), taken_once_more(payload)]
        }
        Settle::Nack { delay } => [text("later"), millis(*delay), taken_once_more(payload)],
        Settle::Extend { lease } => [text("extend"), millis(*lease), none()],
        Settle::Bury { reason } => [text("bury"), none(), dead_letter::write(payload, reason)],
        // `Ack`; what else there may be one day is refused by the script.
        _ => [text("ack"), none(), none()],
    }
}

/// Returns the payload that says that the message has been taken once more.
fn taken_once_more(payload: Bytes) -> Bytes {
    let (message, extra) = wire::decode_with(payload);
    wire::encode_with(
        &message,
        &Extra {
            attempt: extra.attempt.saturating_add(1),
            ..extra
        },
    )
}

/// Returns batch, index and payload of each message of a batch whose lease has ended, the last first.
fn ended(batch: &str, mut fields: Vec<(usize, Bytes)>) -> Vec<Bytes> {
    fields.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
    let args = fields
        .into_iter()
        .flat_map(|(index, payload)| [text(batch), number(index), taken_once_more(payload)]);
    args.collect()
}
