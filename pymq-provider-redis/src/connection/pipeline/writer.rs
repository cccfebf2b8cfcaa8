//! [`Writer`]: the sending half of a connection.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{Answer, Shared};
use crate::connection::resp::Command;

/// The most bytes that are made ready at once. What waits behind them can still be cancelled.
const MAX_READY: usize = 256 << 10;

/// Larger commands are sent from where they are. Smaller ones are joined: one buffer costs the
/// kernel less than many.
const MAX_JOINED: usize = 4 << 10;

/// The most buffers in one system call.
const MAX_SLICES: usize = 64;

pub(super) struct Writer {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    /// What is being written, in order.
    ready: VecDeque<Bytes>,
    /// Where small commands are joined.
    joined: BytesMut,
    must_flush: bool,
}

impl Writer {
    pub(super) fn new(io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self {
            io,
            ready: VecDeque::new(),
            joined: BytesMut::new(),
            must_flush: false,
        }
    }

    /// Writes all commands that wait, those included that come meanwhile.
    pub(super) fn poll_write(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.ready.is_empty() && !self.take_unsent(shared) {
                if self.must_flush {
                    ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                    self.must_flush = false;
                }
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.ready) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.must_flush = true;
            self.advance(written);
        }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.ready.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.ready.pop_front();
        }
    }

    /// Makes waiting commands ready, up to a bound. Tells whether there were any. While the
    /// connection is held, there are none.
    fn take_unsent(&mut self, shared: &Shared) -> bool {
        let mut state = shared.lock();
        let state = &mut *state;
        let is_alone = state.unsent.len() == 1;
        let mut bytes = 0;
        while !state.is_held
            && bytes < MAX_READY
            && let Some((key, command)) = state.unsent.pop_front()
        {
            let Some(slot) = state.slots.get_mut(key) else {
                continue;
            };
            match slot.answer {
                Answer::Waiting(_) | Answer::Handler(_) => {}
                // Its time is over.
                Answer::Ready(_) => {
                    slot.is_queued = false;
                    continue;
                }
                // Its caller has left.
                Answer::Unwanted => {
                    state.slots.remove(key);
                    continue;
                }
            }
            state.sent.push_back(key);
            bytes += command.len();
            self.make_ready(command, is_alone);
        }
        state.is_write_planned = !state.unsent.is_empty();
        if !self.joined.is_empty() {
            self.ready.push_back(self.joined.split().freeze());
        }
        !self.ready.is_empty()
    }

    fn make_ready(&mut self, command: Command, is_alone: bool) {
        if command.rest.is_empty() && command.head.len() < MAX_JOINED && !is_alone {
            self.joined.extend_from_slice(&command.head);
            return;
        }
        if !self.joined.is_empty() {
            self.ready.push_back(self.joined.split().freeze());
        }
        self.ready.push_back(command.head);
        self.ready.extend(command.rest);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}
