//! `put`: appends messages to the ready ones, or delays them.

use std::num::NonZeroUsize;

use pymq_core::provider::{Put, PutOptions, once_window};
use pymq_core::{ErrorKind, Message, Result};

use super::now::Now;
use super::state::{Item, State};
use super::{Queues, error, step_on};
use crate::broker::unique;

impl Queues {
    pub(crate) fn put(&self, name: &str, messages: Vec<Message>, opts: PutOptions) -> Result<Put> {
        if messages.is_empty() {
            return Ok(Put::New);
        }
        let put = |state: &mut State, now: &Now| state.put(messages, opts, now);
        step_on(self.find_or_create(name), put).map_err(|kind| error(kind, "put to", name))
    }
}

impl State {
    pub(super) fn put(
        &mut self,
        messages: Vec<Message>,
        opts: PutOptions,
        now: &Now,
    ) -> Result<Put, ErrorKind> {
        if opts.once.as_ref().is_some_and(|id| self.once.contains(id)) {
            return Ok(Put::Known);
        }
        let is_ready = opts.delay.is_zero();
        let fits = |maxsize: NonZeroUsize| self.ready.len() + messages.len() <= maxsize.get();
        if is_ready && !opts.maxsize.is_none_or(fits) {
            return Err(ErrorKind::Full);
        }
        if let Some(id) = opts.once {
            self.once.insert(id, now.plus(once_window(opts.window)));
        }
        let items = messages.into_iter().map(|message| Item {
            message,
            attempt: 0,
        });
        if is_ready {
            self.ready.extend(items);
        } else {
            let due = now.plus(opts.delay);
            self.delayed
                .extend(items.map(|item| ((due, unique()), item)));
        }
        Ok(Put::New)
    }
}

#[cfg(test)]
mod tests {
    use pymq_core::provider::ONCE_WINDOW;

    use super::super::fixture::TestQueue;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_id_is_known_for_its_window_unless_the_put_was_refused() {
        let mut queue = TestQueue::of(&["a"]);
        let once = || PutOptions::default().once("id".into());
        let full = once().maxsize(NonZeroUsize::new(1));
        assert_eq!(queue.put(&["b"], full.clone()), Err(ErrorKind::Full));

        assert_eq!(queue.put(&["b"], once()), Ok(Put::New));
        assert_eq!(queue.put(&["b"], full), Ok(Put::Known));
        assert_eq!(queue.stats().ready, 2);

        tokio::time::advance(ONCE_WINDOW).await;
        assert_eq!(queue.put(&["b"], once()), Ok(Put::New));
        assert_eq!(queue.stats().ready, 3);
    }
}
