//! What an application shares with its handlers: [`State`].

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A value that a handler, a worker or a remote function takes as its first argument.
///
/// [`Bus::with_state`](crate::Bus::with_state) gives the value. Each event, item or call gets a
/// clone of it, so put a large value into an `Arc`. If the bus does not have the state of a
/// function, the registration of the function fails.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use pymq::State;
///
/// #[derive(Clone, Default)]
/// struct Ledger(Arc<AtomicU64>);
///
/// async fn book(State(ledger): State<Ledger>, cents: u64) {
///     ledger.0.fetch_add(cents, Ordering::Relaxed);
/// }
///
/// async fn total(State(ledger): State<Ledger>) -> u64 {
///     ledger.0.load(Ordering::Relaxed)
/// }
///
/// let bus = bus.with_state(Ledger::default());
/// bus.queue("payments").worker(book).start()?.keep();
/// bus.expose("total", total).await?.keep();
///
/// bus.queue::<u64>("payments").put(&250).await?;
/// bus.queue::<u64>("payments").join().await?;
/// assert_eq!(bus.stub::<(), u64>("total").call(()).await?, 250);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct State<S>(pub S);

/// The values that a handle of a bus has for its handlers, one of each type.
#[doc(hidden)]
#[derive(Clone, Default)]
pub struct States(Arc<HashMap<TypeId, Entry>>);

#[derive(Clone)]
struct Entry {
    name: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl States {
    /// Returns these values and one more, which takes the place of that of the same type.
    pub(crate) fn with<S: Send + Sync + 'static>(&self, value: S) -> Self {
        let mut states = HashMap::clone(&self.0);
        let entry = Entry {
            name: type_name::<S>(),
            value: Arc::new(value),
        };
        states.insert(TypeId::of::<S>(), entry);
        Self(Arc::new(states))
    }

    /// Returns a clone of the value of this type.
    pub(crate) fn get<S: Clone + 'static>(&self) -> Result<State<S>> {
        let entry = self.0.get(&TypeId::of::<S>());
        let value = entry.and_then(|entry| entry.value.downcast_ref::<S>());
        value.cloned().map(State).ok_or_else(|| {
            let context = format!(
                "it takes a `State<{}>` that the bus does not have; add it by `Bus::with_state`",
                type_name::<S>()
            );
            Error::new(ErrorKind::InvalidConfig, context)
        })
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.values().map(|entry| entry.name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_state_of_each_type() {
        let one = States::default().with(1_u8).with("a");
        let two = one.with(2_u8);

        assert_eq!(one.get::<u8>().unwrap(), State(1));
        assert_eq!(two.get::<u8>().unwrap(), State(2));
        assert_eq!(two.get::<&str>().unwrap(), State("a"));
        let error = two.get::<u16>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("State<u16>"), "{error}");
    }
}
