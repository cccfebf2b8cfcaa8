//! The query parameters of a [`ProviderUrl`](super::ProviderUrl).

use std::collections::HashMap;
use std::time::Duration;

use url::Url;

use super::secrets::{HIDDEN, is_ambiguous};
use super::unknown::unknown;
use crate::error::{Error, ErrorKind, Result};

/// The query parameters of a [`ProviderUrl`](crate::ProviderUrl). All of them are known by name.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    values: HashMap<&'static str, String>,
    /// The values may be parts of a password.
    is_ambiguous: bool,
}

impl Parameters {
    pub(super) fn parse(url: &Url, known: &[&'static str]) -> Result<Self> {
        let is_ambiguous = is_ambiguous(url);
        let mut values = HashMap::new();
        for (name, value) in url.query_pairs() {
            let Some(name) = known.iter().find(|known| **known == name) else {
                let name = if is_ambiguous { HIDDEN.into() } else { name };
                return Err(unknown("URL parameter", &name, known.iter().copied()));
            };
            if values.insert(*name, value.into_owned()).is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("URL parameter `{name}` is given twice"),
                ));
            }
        }
        Ok(Self {
            values,
            is_ambiguous,
        })
    }

    /// Returns a parameter as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns a parameter as a duration: `250ms`, `5s`, `2m`, `1h`, or a plain number of seconds.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a text that is not a duration.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let fault = || {
            let is_hidden = self.is_ambiguous || text.contains('=');
            let text = if is_hidden { HIDDEN } else { text };
            Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "URL parameter `{name}={text}`: expected a duration such as `250ms` or `5s`"
                ),
            )
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds_each = match &text[digits.len()..] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(fault()),
        };
        let amount: f64 = digits.parse().map_err(|_| fault())?;
        Duration::try_from_secs_f64(amount * seconds_each)
            .map(Some)
            .map_err(|_| fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::ProviderUrl;

    #[test]
    fn an_unknown_parameter_suggests_the_nearest() {
        let url: ProviderUrl = "redis://host?namspace=a".parse().unwrap();

        let error = url.parameters(&["namespace", "op_timeout"]).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`namespace`"), "{error}");
    }

    #[test]
    fn durations_need_a_unit_we_know() {
        let url: ProviderUrl = "redis://host?a=250ms&b=2&c=1.5m&d=3parsecs&e=-1s"
            .parse()
            .unwrap();
        let parameters = url.parameters(&["a", "b", "c", "d", "e"]).unwrap();

        assert_eq!(
            parameters.duration("a").unwrap(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            parameters.duration("b").unwrap(),
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            parameters.duration("c").unwrap(),
            Some(Duration::from_secs(90))
        );
        assert_eq!(parameters.duration("missing").unwrap(), None);
        assert!(parameters.duration("d").is_err());
        assert!(parameters.duration("e").is_err());
    }
}
