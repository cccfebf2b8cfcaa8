//! A Lua script and its hash on the server.

use std::sync::OnceLock;

use bytes::Bytes;

use super::resp::Command;

/// One of our scripts: a `static` for each file under `scripts/`.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: OnceLock::new(),
        }
    }

    /// Returns the call by hash, which is what is normally sent.
    pub(crate) fn by_hash(&self, keys: &[impl AsRef<[u8]>], args: &[Bytes]) -> Command {
        call("EVALSHA", self.hash(), keys, args)
    }

    /// Returns the call with the full code, from which Redis also learns the hash. It needs no
    /// right to `SCRIPT LOAD`.
    pub(crate) fn with_code(&self, keys: &[impl AsRef<[u8]>], args: &[Bytes]) -> Command {
        call("EVAL", self.code, keys, args)
    }

    fn hash(&self) -> &str {
        self.hash
            .get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }
}

fn call(how: &str, script: &str, keys: &[impl AsRef<[u8]>], args: &[Bytes]) -> Command {
    let count = keys.len().to_string();
    let mut words = vec![how.as_bytes(), script.as_bytes(), count.as_bytes()];
    words.extend(keys.iter().map(AsRef::as_ref));
    Command::with_payloads(&words, args)
}
