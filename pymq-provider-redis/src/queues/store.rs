//! One queue in Redis: each operation is one command or one script, and what a script promises stands at its head.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pymq_core::provider::{
    Part, Put, PutOptions, QueueStats, Receipt, Redrive, Settle, Stored, once_window,
};
use pymq_core::{Error, ErrorKind, Message, MessageId, Result};
use tokio::time::Instant;
use uuid::Uuid;

use super::args::{millis, number, text, token};
use super::receipt::is_id;
use super::settlement::{Settlement, taken_once_more};
use super::taken::Taken;
use super::waiters::Order;
use super::{Shared, dead_letter};
use crate::connection::{Commands, Fault, Script, command};
use crate::keys::QueueKeys;
use crate::wire;

/// How long a mark keeps messages from being given back again.
const MARK: Duration = Duration::from_secs(120);

/// The most bytes in one command: Redis closes the connection, with all that is in flight on it, not far above.
const MAX_COMMAND: usize = 256 << 20;

/// The most messages in one put: servers before version 7 close the connection, with all that is in flight on it, at a
/// command of 1,048,577 words.
const MAX_PUT: usize = 1_000_000;

/// The most messages a take without a lease brings. Of a take with a lease the script decides.
const MAX_TAKE: usize = 1 << 16;

/// The most messages, and bytes of them, in one put with options, which is one script.
const MAX_PUT_WITH: usize = 10_000;
const MAX_PUT_WITH_BYTES: usize = 64 << 20;

/// The most that one script handles, for the sake of all others who use the server: as in `queue.lua`.
pub(super) const CHUNK: usize = 1_000;
pub(super) const CHUNK_BYTES: usize = 4 << 20;

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
pub(super) static SETTLE: Script = script!("../../scripts/settle.lua");
pub(super) static LEASED: Script = script!("../../scripts/leased.lua");
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
        let end = Instant::now() + self.shared.core.connector.op_timeout();
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
        Settlement::new(self, settlements).run().await
    }

    /// Makes ready what is due, and what was leased too long ago, as of the moment it begins.
    pub(super) async fn sweep(&self) -> Result<Swept> {
        let queue = self.keys();
        let commands = self.commands().repeatable();
        let mut moved = 0;
        let mut place = [Bytes::new(), Bytes::new(), Bytes::new()];
        loop {
            type Report = (usize, u8, i64, Bytes, Bytes, Bytes, Vec<Bytes>);
            let (joined, is_more, next, moment, batch, index, ended): Report = self
                .run("sweep", &commands, &SWEEP, &queue.all(), &place)
                .await?;
            moved += joined;
            let reached = [moment, batch, index];
            let is_stuck = joined == 0 && ended.is_empty() && reached == place;
            place = reached;
            if !ended.is_empty() {
                let args = taken_again(ended);
                let returned: usize = self
                    .run("sweep", &commands, &REQUEUE, &queue.all(), &args)
                    .await?;
                moved += returned;
            }
            if is_more == 0 || is_stuck {
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

    /// Moves dead letters to the back: those that are there when it begins, each once.
    pub(super) async fn redrive(&self, which: Redrive) -> Result<usize> {
        match which {
            Redrive::Ids(ids) => self.redrive_ids(&ids).await,
            _ => self.redrive_all().await,
        }
    }

    async fn redrive_all(&self) -> Result<usize> {
        let mut all = 0;
        let mut args = [text("all"), Bytes::new(), number(0), number(0)];
        loop {
            let (moved, last, left, passed) = self.redrive_some(&args).await?;
            all += moved;
            if left == 0 {
                return Ok(all);
            }
            args = [text("all"), last, number(left), number(passed)];
        }
    }

    async fn redrive_ids(&self, ids: &[MessageId]) -> Result<usize> {
        // What is no id of ours names nothing.
        let ids: Vec<_> = ids
            .iter()
            .map(MessageId::as_str)
            .filter(|id| is_id(id))
            .collect();
        let mut all = 0;
        let mut at = 0;
        while at < ids.len() {
            let some = &ids[at..ids.len().min(at + CHUNK)];
            let args: Vec<_> = [text("ids")]
                .into_iter()
                .chain(some.iter().map(|id| text(id)))
                .collect();
            let (moved, _, left, _) = self.redrive_some(&args).await?;
            all += moved;
            at += some.len() - left;
        }
        Ok(all)
    }

    async fn redrive_some(&self, args: &[Bytes]) -> Result<(usize, Bytes, usize, usize)> {
        let (commands, queue) = (self.commands(), self.keys());
        self.run("redrive in", &commands, &REDRIVE, &queue.all(), args)
            .await
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

    /// Counts each part; beyond 1,000 lease batches in several steps.
    pub(super) async fn stats(&self) -> Result<QueueStats> {
        let (commands, queue) = (self.commands().repeatable(), self.keys());
        let mut sum = QueueStats::default();
        let mut args = [number(0), Bytes::new()];
        loop {
            let (ready, delayed, leased, dead, next, time): (
                usize,
                usize,
                usize,
                usize,
                usize,
                Bytes,
            ) = self
                .run("stats of", &commands, &STATS, &queue.all(), &args)
                .await?;
            sum = QueueStats::new(
                sum.ready + ready,
                sum.delayed + delayed,
                sum.leased + leased,
                sum.dead + dead,
            );
            if next == 0 {
                return Ok(sum);
            }
            args = [number(next), time];
        }
    }

    pub(super) fn keys(&self) -> QueueKeys {
        self.shared.core.keys.queue(&self.name)
    }

    pub(super) fn commands(&self) -> Commands {
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

    pub(super) async fn run<T: redis::FromRedisValue>(
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
            let sizes = payloads.iter().map(Bytes::len);
            let limits = &self.shared.core.limits;
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

/// Returns batch, index and payload of each message whose lease has ended, as `requeue.lua` wants them.
fn taken_again(mut ended: Vec<Bytes>) -> Vec<Bytes> {
    for payload in ended.iter_mut().skip(2).step_by(3) {
        *payload = taken_once_more(std::mem::take(payload));
    }
    ended
}
