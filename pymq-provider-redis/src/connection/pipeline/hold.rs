//! [`Hold`]: lets commands gather, so that one write carries them.

use std::sync::Arc;

use super::{Pipeline, Shared};

/// While it exists, no further command is written. Keep it for a moment only.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Shared>);

impl Pipeline {
    /// Gathers commands until the hold is dropped. `None` if they are gathered already: a hold that
    /// followed another without a gap would keep commands back for long.
    pub(in crate::connection) fn hold(&self) -> Option<Hold> {
        let was_held = std::mem::replace(&mut self.shared.lock().is_held, true);
        (!was_held).then(|| Hold(Arc::clone(&self.shared)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_held = false;
        let must_write = !state.unsent.is_empty();
        drop(state);
        if must_write {
            self.0.wakeup.notify_one();
        }
    }
}
