//! The limits in the configuration of the server. A message beyond one of them would not just fail: it
//! would cut a connection, with all that is under way on it. So it is refused before it is sent.

use std::collections::HashMap;

use pymq_core::{Error, ErrorKind, Result};

use crate::connection::Live;

/// Redis counts what surrounds a message as well: a name, lengths, an object of its own.
const OVERHEAD: usize = 4_096;

const WORD: &str = "proto-max-bulk-len";
const COMMAND: &str = "client-query-buffer-limit";
const OUTPUT: &str = "client-output-buffer-limit";

/// What the server takes, as far as it may be asked. Read at the first connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// The most bytes of one word of a command.
    word: Option<usize>,
    /// The most bytes of a command that the server reads at once.
    command: Option<usize>,
    /// The most bytes that may wait for a subscriber.
    output: Option<usize>,
}

impl Limits {
    /// Asks the server. A user that may not use `CONFIG GET` learns of a limit by its error.
    pub(crate) async fn ask(live: &Live) -> Self {
        let mut connection = live.connection.clone();
        let mut settings = HashMap::new();
        for name in [WORD, COMMAND, OUTPUT] {
            let answer: Result<HashMap<String, String>, _> = redis::cmd("CONFIG")
                .arg("GET")
                .arg(name)
                .query_async(&mut connection)
                .await;
            match answer {
                Ok(setting) => settings.extend(setting),
                Err(error) => tracing::debug!(name, "a limit of the server is not known: {error}"),
            }
        }
        Self::read(&settings)
    }

    fn read(settings: &HashMap<String, String>) -> Self {
        let number = |name| settings.get(name)?.parse().ok().filter(|limit| *limit > 0);
        Self {
            word: number(WORD),
            command: number(COMMAND),
            output: settings.get(OUTPUT).and_then(|classes| hard_limit(classes)),
        }
    }

    /// Refuses a command whose words have these sizes.
    pub(crate) fn check(
        &self,
        context: impl FnOnce() -> String,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let (largest, sum) = sizes.fold((0, OVERHEAD), |(largest, sum), size| {
            (size.max(largest), sum + size)
        });
        refuse(
            context,
            &[(WORD, largest, self.word), (COMMAND, sum, self.command)],
        )
    }

    /// Refuses a message to subscribers of this size.
    pub(crate) fn check_publish(
        &self,
        context: impl FnOnce() -> String,
        size: usize,
    ) -> Result<()> {
        let sum = size + OVERHEAD;
        refuse(
            context,
            &[
                (WORD, size, self.word),
                (COMMAND, sum, self.command),
                (OUTPUT, sum, self.output),
            ],
        )
    }
}

/// Reads the hard limit of subscribers out of `normal 0 0 0 slave 256 64 60 pubsub 32 8 60`.
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
        "{}: {size} bytes, and `{name}` of the server is {limit}",
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
    fn what_is_not_known_refuses_nothing() {
        let unknown = Limits::read(&HashMap::new());

        assert!(unknown.check_publish(String::new, usize::MAX / 2).is_ok());
        assert!(unknown.check(String::new, [1 << 40].into_iter()).is_ok());
    }

    #[test]
    fn the_error_names_the_limit() {
        let settings = [(WORD, "1000"), (COMMAND, "10000")];
        let settings = settings.map(|(name, limit)| (name.to_owned(), limit.to_owned()));
        let limits = Limits::read(&settings.into());

        let word = limits.check(|| "put".into(), [1_001].into_iter());
        let command = limits.check(|| "put".into(), [999; 9].into_iter());

        assert!(limits.check(|| "put".into(), [999; 5].into_iter()).is_ok());
        for (refused, name) in [(word, WORD), (command, COMMAND)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
