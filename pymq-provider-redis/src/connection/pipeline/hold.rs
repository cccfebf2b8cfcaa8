//! [`Hold`]: lets commands gather, so that one write carries them.

use std::sync::Arc;

use super::{Pipeline, Shared};

/// While it exists, no further command is written. Keep it for a moment only.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Shared>);

impl Pipeline {
    /// Gathers commands until the hold is dropped.
    pub(in crate::connection) fn hold(&self) -> Hold {
        self.shared.lock().holds += 1;
        Hold(Arc::clone(&self.shared))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.holds -= 1;
        let must_write = state.holds == 0 && !state.unsent.is_empty();
        drop(state);
        if must_write {
            self.0.wakeup.notify_one();
        }
    }
}
