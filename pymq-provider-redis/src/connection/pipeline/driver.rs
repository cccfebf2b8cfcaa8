//! The task of a connection: it reads the answers, and writes what callers leave to it.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::DropGuard;

use super::{Shared, State, Wakers};
use crate::connection::fault::Fault;
use crate::connection::resp::{Decoder, Malformed, Reply};

/// Takes the messages that are not answers.
pub(in crate::connection) type OnPush = Box<dyn Fn(Vec<Reply>) + Send + Sync>;

/// How many bytes are reserved for reads at first, and at most.
const MIN_RESERVED: usize = 8 << 10;
const MAX_RESERVED: usize = 256 << 10;

/// With less space than this, more is reserved. Payloads are slices of what was read: each keeps the
/// reserved memory around it, so that memory must be used to its end.
const MIN_SPACE: usize = 1 << 10;

/// The shortest time between two looks for commands that have expired.
const MIN_EXPIRY_INTERVAL: Duration = Duration::from_millis(1);

/// Serves a connection until it ends or is closed.
pub(super) async fn drive(
    shared: Arc<Shared>,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    on_push: OnPush,
    lost: DropGuard,
    time_limit: Duration,
) {
    let ended = EndOnDrop(Arc::clone(&shared));
    let fault = tokio::select! {
        biased;
        () = shared.closed.cancelled() => Fault::abandoned(),
        fault = serve(&shared, reader, &on_push, time_limit) => fault,
    };
    shared.end(&fault);
    drop((ended, lost, on_push));
}

/// Ends all commands when the driver ends, for any reason.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(&Fault::abandoned());
    }
}

async fn serve(
    shared: &Shared,
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    on_push: &OnPush,
    time_limit: Duration,
) -> Fault {
    let mut decoder = Decoder::default();
    // Kept for its memory.
    let mut wakers = Wakers::default();
    let mut reserved = MIN_RESERVED;
    // The socket takes no more bytes for now.
    let mut is_blocked = false;
    let first_expiry = shared.lock().next_expiry;
    let mut expiry = pin!(sleep_until(first_expiry));
    loop {
        let space = decoder.buffer.capacity() - decoder.buffer.len();
        if space < MIN_SPACE {
            decoder.buffer.reserve(reserved);
        }
        let must_write = tokio::select! {
            biased;
            read = reader.read_buf(&mut decoder.buffer) => match read {
                Ok(0) => return Fault::abandoned(),
                Ok(bytes) => {
                    // A full buffer means that there may be more to read.
                    if decoder.buffer.len() == decoder.buffer.capacity() {
                        reserved = (reserved * 2).min(MAX_RESERVED);
                    } else if bytes < reserved / 8 {
                        reserved = (reserved / 2).max(MIN_RESERVED);
                    }
                    match shared.receive(&mut decoder, on_push, &mut wakers) {
                        Ok(is_write_planned) => is_write_planned,
                        Err(Malformed) => return Fault::malformed(),
                    }
                }
                Err(error) => return Fault::broken(error),
            },
            () = shared.wakeup.notified() => {
                let next_expiry = shared.lock().next_expiry;
                if next_expiry < expiry.deadline() {
                    expiry.as_mut().reset(next_expiry);
                }
                true
            }
            () = writable(shared, &mut is_blocked), if is_blocked => true,
            () = expiry.as_mut() => {
                expiry.as_mut().reset(shared.expire(time_limit));
                false
            }
        };
        if must_write {
            // The callers that were just answered run first, and bring their next commands.
            yield_now().await;
            match poll_fn(|cx| Poll::Ready(shared.poll_write(cx))).await {
                Poll::Ready(Ok(())) => is_blocked = false,
                Poll::Ready(Err(error)) => return Fault::broken(error),
                Poll::Pending => is_blocked = true,
            }
        }
    }
}

/// Waits until the socket takes bytes again.
async fn writable(shared: &Shared, is_blocked: &mut bool) {
    // An error comes again at the next attempt.
    drop(poll_fn(|cx| shared.poll_write(cx)).await);
    *is_blocked = false;
}

impl Shared {
    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.poll_write(self, cx)
    }

    /// Gives the replies that were received to their callers. Tells whether the driver must write
    /// after that.
    fn receive(
        &self,
        decoder: &mut Decoder,
        on_push: &OnPush,
        wakers: &mut Wakers,
    ) -> Result<bool, Malformed> {
        let mut count = 0;
        let mut state = None;
        while let Some(reply) = decoder.next()? {
            let reply = match reply {
                Reply::Push(values) if !is_confirmation(&values) => {
                    // Not under the lock: this calls code of others.
                    drop(state.take());
                    on_push(values);
                    continue;
                }
                reply => reply,
            };
            let state = state.get_or_insert_with(|| self.lock());
            count += usize::from(state.answer(reply, wakers)?);
        }
        let mut state = state.unwrap_or_else(|| self.lock());
        // Callers of several answers bring their next commands together.
        let is_write_planned = count > 1 || !state.unsent.is_empty();
        state.is_write_planned |= is_write_planned;
        drop(state);
        wakers.wake();
        Ok(is_write_planned)
    }

    /// Fails the commands that have expired. Returns when to do so again.
    fn expire(&self, time_limit: Duration) -> Instant {
        // Dropped after the lock: it wakes.
        let mut wakers = Wakers::default();
        let now = Instant::now();
        let mut next = now + time_limit;
        let mut state = self.lock();
        let unsent = state.unsent.iter().map(|(key, _)| (*key, false));
        let sent = state.sent.iter().map(|key| (*key, true));
        for (key, is_sent) in unsent.chain(sent).collect::<Vec<_>>() {
            let Some(until) = state.slots.get(key).and_then(|slot| slot.until) else {
                continue;
            };
            if until > now {
                next = next.min(until);
            } else if is_sent {
                state.expire(key, Fault::timeout(), &mut wakers);
            } else {
                state.expire(key, Fault::timeout().with_known_outcome(), &mut wakers);
            }
        }
        state.next_expiry = next.max(now + MIN_EXPIRY_INTERVAL);
        state.next_expiry
    }
}

impl State {
    /// Gives a reply to the command that has waited longest. Tells whether this ends the command.
    fn answer(&mut self, reply: Reply, wakers: &mut Wakers) -> Result<bool, Malformed> {
        let Some(&key) = self.sent.front() else {
            if let Reply::Error(text) = reply {
                self.refusal = Some(Fault::of_reply(&text));
            }
            return Err(Malformed);
        };
        if let Some(slot) = self.slots.get_mut(key)
            && matches!(reply, Reply::Push(_))
        {
            // A confirmation.
            slot.confirmations = slot.confirmations.checked_sub(1).ok_or(Malformed)?;
            if slot.confirmations > 0 {
                return Ok(false);
            }
        }
        let mut reply = reply;
        if let Some(slot) = self.slots.get_mut(key) {
            if slot.replies.len() < slot.replies_before {
                slot.replies.push(reply);
                return Ok(false);
            }
            if slot.replies_before > 0 {
                slot.replies.push(reply);
                let mut replies = std::mem::take(&mut slot.replies);
                let all_failed = replies.iter().all(|reply| matches!(reply, Reply::Error(_)));
                reply = if all_failed {
                    replies.swap_remove(0)
                } else {
                    Reply::List(replies)
                };
            }
        }
        self.sent.pop_front();
        self.finish(key, Ok(reply), wakers);
        Ok(true)
    }
}

/// Tells whether a message confirms a subscription or its end. `sunsubscribe` does not: the server
/// also sends it on its own.
fn is_confirmation(values: &[Reply]) -> bool {
    let Some(Reply::Text(kind)) = values.first() else {
        return false;
    };
    matches!(
        &kind[..],
        b"subscribe" | b"unsubscribe" | b"psubscribe" | b"punsubscribe" | b"ssubscribe"
    )
}
