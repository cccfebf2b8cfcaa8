//! [`Exposed`]: the names that a bus exposes now. It exposes each of them once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::lifeline::Alive;
use crate::error::{Error, ErrorKind, Result};

/// The names that a bus exposes.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    names: Arc<Mutex<HashMap<String, Holder>>>,
}

/// The remote that has a name.
#[derive(Clone, Debug)]
struct Holder {
    alive: Arc<Alive>,
    released: CancellationToken,
}

impl Exposed {
    /// Takes a name.
    ///
    /// If the remote that has it was stopped, it waits until requests no longer reach that remote.
    /// So a function that is exposed again gets all calls.
    pub(crate) async fn claim(&self, name: &str, alive: &Arc<Alive>) -> Result<Claim> {
        loop {
            let released = match self.lock().entry(name.to_owned()) {
                Entry::Vacant(place) => {
                    let released = CancellationToken::new();
                    place.insert(Holder {
                        alive: Arc::clone(alive),
                        released: released.clone(),
                    });
                    return Ok(Claim {
                        name: name.to_owned(),
                        names: Arc::clone(&self.names),
                        _released: released.drop_guard(),
                    });
                }
                Entry::Occupied(holder) if holder.get().alive.is_stopped() => {
                    holder.get().released.clone()
                }
                Entry::Occupied(_) => {
                    return Err(Error::new(
                        ErrorKind::AlreadyExposed,
                        format!("expose `{name}`"),
                    ));
                }
            };
            released.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A taken name. Dropping it makes the name free again.
pub(crate) struct Claim {
    name: String,
    names: Arc<Mutex<HashMap<String, Holder>>>,
    _released: DropGuard,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}
