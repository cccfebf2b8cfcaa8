//! Reads a payload in three steps: a scan for what `serde_json` would accept by mistake, the
//! removal of the envelope, and `serde_json`.

use serde::de::{Deserialize, DeserializeOwned, Error as _};
use serde_json::Error;

use super::MAX_DEPTH;
use super::envelope;
use super::exact::Exact;
use super::json::{self, Fault, Findings};

/// Reads a value that has no envelope.
pub(super) fn bare<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    let (text, findings) = check(json)?;
    value(text, findings)
}

/// Reads the value in a payload.
pub(super) fn payload<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let (text, findings) = check(json)?;
    if !findings.maybe_enveloped {
        return value(text, findings);
    }
    let content = envelope::open(text)?;
    // One level too many may be the envelope.
    let findings = match findings.depth {
        0..=MAX_DEPTH => findings,
        _ => json::check(&content).map_err(Error::custom)?,
    };
    value(&content, findings).or_else(|error| {
        // An envelope with nothing but a tag is an object without attributes. It may be a unit
        // struct.
        if content == "{}" {
            parse("null", findings).map_err(|_| error)
        } else {
            Err(error)
        }
    })
}

fn check(json: &[u8]) -> Result<(&str, Findings), Error> {
    let text = str::from_utf8(json).map_err(Error::custom)?;
    let findings = json::check(text).map_err(Error::custom)?;
    Ok((text, findings))
}

/// Reads a value and checks its depth. `serde_json` does not check the depth of values that a type
/// ignores.
fn value<'de, T: Deserialize<'de>>(text: &'de str, findings: Findings) -> Result<T, Error> {
    if findings.depth > MAX_DEPTH {
        return Err(Error::custom(Fault::TooDeep));
    }
    parse(text, findings)
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str, findings: Findings) -> Result<T, Error> {
    if !findings.wide_integers {
        return serde_json::from_str(text);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Exact(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}
