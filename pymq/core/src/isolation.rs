//! Catches panics of user code: of handlers, of remote functions, and of the values that they hold.
//!
//! This includes a panic in the `drop` of such a value, and in the `drop` of a panic payload.

use std::any::Any;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::text::cut;

/// How many panic payloads are dropped in a row while each of them panics. The next one is leaked.
const MAX_PAYLOAD_DROPS: usize = 16;

/// Runs a function and returns its result, or the text of its panic.
pub(crate) fn isolate<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // Unwind safe: the function is dropped after a panic, and shares state only through `&self`.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let text = text(&*payload);
        discard(payload);
        text
    })
}

/// Runs `make`, polls its future to the end and drops it. Returns the output, or the text of a
/// panic in any of these steps.
pub(crate) async fn catch_panic<F>(make: impl FnOnce() -> F) -> Result<F::Output, String>
where
    F: Future + Unpin,
{
    CatchPanic::new(make).await
}

/// A future of the user. It resolves to its output, or to the text of a panic.
#[derive(Debug)]
#[must_use = "nothing runs until it is polled"]
pub(crate) struct CatchPanic<F>(Option<Result<Isolated<F>, String>>);

impl<F: Future + Unpin> CatchPanic<F> {
    /// Runs `make` at once. A panic in it is the output.
    pub(crate) fn new(make: impl FnOnce() -> F) -> Self {
        Self(Some(isolate(make).map(Isolated::new)))
    }
}

impl<F: Future + Unpin> Future for CatchPanic<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = match self.0.take() {
            Some(Ok(future)) => future,
            Some(Err(panic)) => return Poll::Ready(Err(panic)),
            None => unreachable!("it is not polled after its end"),
        };
        let output = match isolate(|| Pin::new(&mut *future).poll(cx)) {
            Ok(Poll::Pending) => {
                self.0 = Some(Ok(future));
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        Poll::Ready(future.end().and(output))
    }
}

/// A value of the user. A panic in its `drop` is logged.
#[derive(Debug)]
pub(crate) struct Isolated<T>(Option<T>);

impl<T> Isolated<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Drops the value. Returns the text of a panic as the error.
    fn end(mut self) -> Result<(), String> {
        let value = self.0.take();
        isolate(|| drop(value))
    }
}

impl<T> Deref for Isolated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
            .as_ref()
            .expect("the value is there until `end` or drop")
    }
}

impl<T> DerefMut for Isolated<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0
            .as_mut()
            .expect("the value is there until `end` or drop")
    }
}

impl<T> Drop for Isolated<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take()
            && let Err(panic) = isolate(|| drop(value))
        {
            tracing::error!(
                panic,
                "a value that a handler or a remote function held panicked while it was dropped"
            );
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    cut(text.unwrap_or("a value that is not text")).into_owned()
}

/// Drops a panic payload. Its `drop` may panic with another payload.
fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..MAX_PAYLOAD_DROPS {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    // Each payload may panic with a new one, without end.
    Box::leak(payload);
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::panic::panic_any;

    use super::*;

    /// Panics with a new `Endless` when it is dropped.
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
    fn a_panic_in_the_drop_of_a_value_is_caught() {
        drop(Isolated::new(Endless));
    }

    #[tokio::test]
    async fn a_panic_of_a_value_in_a_future_is_a_panic_of_the_future() {
        let held = Box::new(Endless);
        let future = || {
            let mut held = Some(held);
            Box::pin(poll_fn(move |_| {
                // Moves the value into the future.
                let _held = held.as_mut();
                Poll::Ready(1)
            }))
        };

        assert!(catch_panic(future).await.is_err());
        assert_eq!(catch_panic(|| ready(1)).await, Ok(1));
    }
}
