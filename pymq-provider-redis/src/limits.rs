//! The size limits in the configuration of the server. A message over a limit would break the
//! connection and fail every command in flight, so it is refused before it is sent.

use std::collections::HashMap;

use pymq_core::{Error, ErrorKind, Result};

use crate::connection::{Command, Connection};

/// Redis also counts what surrounds a message: names, lengths and its own bookkeeping.
const OVERHEAD_BYTES: usize = 4_096;

const ARGUMENT_SETTING: &str = "proto-max-bulk-len";
const COMMAND_SETTING: &str = "client-query-buffer-limit";
const OUTPUT_SETTING: &str = "client-output-buffer-limit";

/// The limits of the server, as far as the user may read them. Read at the first connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// The most bytes in one argument of a command.
    argument: Option<usize>,
    /// The most bytes in one command.
    command: Option<usize>,
    /// The most bytes that may wait for one subscriber.
    output: Option<usize>,
}

impl Limits {
    /// Reads the limits. A user without the right to `CONFIG GET` gets the server's error instead.
    pub(crate) async fn ask(connection: &Connection) -> Self {
        let mut settings = HashMap::new();
        for name in [ARGUMENT_SETTING, COMMAND_SETTING, OUTPUT_SETTING] {
            let get = Command::new(["CONFIG", "GET", name]);
            let answer: Result<HashMap<String, String>, _> = connection.query(get).await;
            match answer {
                Ok(setting) => settings.extend(setting),
                Err(error) => tracing::debug!(name, "cannot read a limit of the server: {error}"),
            }
        }
        Self::read(&settings)
    }

    fn read(settings: &HashMap<String, String>) -> Self {
        let number = |name| settings.get(name)?.parse().ok().filter(|limit| *limit > 0);
        Self {
            argument: number(ARGUMENT_SETTING),
            command: number(COMMAND_SETTING),
            output: settings
                .get(OUTPUT_SETTING)
                .and_then(|classes| hard_limit(classes)),
        }
    }

    /// Refuses a command with arguments of these sizes.
    pub(crate) fn check(
        &self,
        context: impl FnOnce() -> String,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let (largest, sum) = sizes.fold((0, OVERHEAD_BYTES), |(largest, sum), size| {
            (size.max(largest), sum + size)
        });
        refuse(
            context,
            &[
                (ARGUMENT_SETTING, largest, self.argument),
                (COMMAND_SETTING, sum, self.command),
            ],
        )
    }

    /// Refuses a published message of this size.
    pub(crate) fn check_publish(
        &self,
        context: impl FnOnce() -> String,
        size: usize,
    ) -> Result<()> {
        let sum = size + OVERHEAD_BYTES;
        refuse(
            context,
            &[
                (ARGUMENT_SETTING, size, self.argument),
                (COMMAND_SETTING, sum, self.command),
                (OUTPUT_SETTING, sum, self.output),
            ],
        )
    }
}

/// Reads the hard limit of subscribers from `normal 0 0 0 slave 256 64 60 pubsub 32 8 60`.
fn hard_limit(classes: &str) -> Option<usize> {
    let mut words = classes.split_whitespace();
    words.find(|word| *word == "pubsub")?;
    words.next()?.parse().ok().filter(|limit| *limit > 0)
}

fn refuse(context: impl FnOnce() -> String, checks: &[(&str, usize, Option<usize>)]) -> Result<()> {
    let broken = checks
        .iter()
        .find_map(|(name, size, limit)| Some((name, size, limit.filter(|limit| size > limit)?)));
    let Some((name, size, limit)) = broken else {
        return Ok(());
    };
    let context = format!(
        "{}: {size} bytes, and `{name}` of the server is {limit}: send less, or raise it",
        context()
    );
    Err(Error::new(ErrorKind::TooLarge, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_of_subscribers_is_read() {
        let classes = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";

        assert_eq!(hard_limit(classes), Some(33_554_432));
        assert_eq!(hard_limit("pubsub 0 0 0"), None);
        assert_eq!(hard_limit("normal 0 0 0"), None);
    }

    #[test]
    fn an_unknown_limit_refuses_nothing() {
        let unknown = Limits::read(&HashMap::new());

        assert!(unknown.check_publish(String::new, usize::MAX / 2).is_ok());
        assert!(unknown.check(String::new, [1 << 40].into_iter()).is_ok());
    }

    #[test]
    fn the_error_names_the_limit() {
        let settings = [(ARGUMENT_SETTING, "1000"), (COMMAND_SETTING, "10000")];
        let settings = settings.map(|(name, limit)| (name.to_owned(), limit.to_owned()));
        let limits = Limits::read(&settings.into());

        let argument = limits.check(|| "put".into(), [1_001].into_iter());
        let command = limits.check(|| "put".into(), [999; 9].into_iter());

        assert!(limits.check(|| "put".into(), [999; 5].into_iter()).is_ok());
        for (refused, name) in [(argument, ARGUMENT_SETTING), (command, COMMAND_SETTING)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
