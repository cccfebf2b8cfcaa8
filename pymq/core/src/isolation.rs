//! Where code of the user runs: handlers, remote functions, and whatever they hold. A panic there ends here, also one that
//! comes as a value is dropped, or as the payload of a panic is.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::text::cut;

/// How many payloads that panic as they are dropped are dropped in a row. The next one is leaked.
const MOST_PAYLOADS: usize = 16;

/// Runs something, and returns the text of a panic.
pub(crate) fn isolate<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // Unwind safe: what panicked is dropped, and what it shares with others it shares through `&self`.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let text = text(&*payload);
        discard(payload);
        text
    })
}

/// Runs `make` and its future to the end, drops that, and returns the text of a panic in any of these.
pub(crate) async fn catch_panic<F>(make: impl FnOnce() -> F) -> Result<F::Output, String>
where
    F: Future + Unpin,
{
    let mut future = Isolated::new(isolate(make)?);
    let output = poll_fn(|cx| {
        let Some(future) = &mut future.0 else {
            unreachable!("it is there until the end");
        };
        match isolate(|| Pin::new(future).poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    future.end().and(output)
}

/// A value of the user. A panic as it is dropped ends here.
#[derive(Debug)]
pub(crate) struct Isolated<T>(Option<T>);

impl<T> Isolated<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Drops the value, and returns the text of a panic.
    fn end(mut self) -> Result<(), String> {
        let value = self.0.take();
        isolate(|| drop(value))
    }
}

impl<T> Deref for Isolated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Isolated<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take()
            && let Err(panic) = isolate(|| drop(value))
        {
            tracing::error!(
                panic,
                "what a handler or a remote function held panicked as it was dropped"
            );
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    cut(text.unwrap_or("a value that is not text")).into_owned()
}

/// Drops the payload of a panic, which may panic in turn.
fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..MOST_PAYLOADS {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    // It would go on without end.
    Box::leak(payload);
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::panic::panic_any;

    use super::*;

    /// Panics with another of its kind whenever it is dropped.
    struct Endless;

    impl Drop for Endless {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[test]
    fn a_payload_that_always_panics_is_leaked_in_the_end() {
        let outcome = isolate(|| panic_any(Endless));

        assert_eq!(outcome, Err::<(), _>("a value that is not text".to_owned()));
    }

    #[test]
    fn a_value_that_panics_as_it_is_dropped_hurts_nobody() {
        drop(Isolated::new(Endless));
    }

    #[tokio::test]
    async fn what_a_future_holds_panics_as_a_part_of_it() {
        let held = Box::new(Endless);
        let future = || {
            let mut held = Some(held);
            Box::pin(poll_fn(move |_| {
                // Only so that it holds it.
                let _held = held.as_mut();
                Poll::Ready(1)
            }))
        };

        assert!(catch_panic(future).await.is_err());
        assert_eq!(catch_panic(|| ready(1)).await, Ok(1));
    }
}
