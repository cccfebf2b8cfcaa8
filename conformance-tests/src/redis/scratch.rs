//! A directory for journals and the data of servers. It is removed with the process, however that
//! ends.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Watchdog;
use crate::Failure;

/// A server that is ending may write once more.
const SCRIPT: &str = r#"cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && exit; sleep 0.3; done 2>/dev/null"#;

/// The directory. It is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _watchdog: Watchdog,
}

impl Scratch {
    /// Makes one.
    pub fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("pymq-test-{}", Uuid::new_v4().simple()));
        // The watchdog comes first, so that the directory always has an owner.
        let watchdog = Watchdog::start(SCRIPT, &[&path.display().to_string()])?;
        std::fs::create_dir(&path)?;
        Ok(Self {
            path,
            _watchdog: watchdog,
        })
    }

    /// Makes a directory in it.
    pub fn dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
