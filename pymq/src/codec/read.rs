//! Reading: one scan for what `serde_json` would let pass, the envelope off if there is one, then `serde_json`.

use serde::de::{Deserialize, DeserializeOwned, Error as _};
use serde_json::Error;

use super::envelope;
use super::exact::Exact;
use super::scan::{Findings, scan};

/// Reads a value that has no envelope.
pub(super) fn bare<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    let (text, findings) = check(json)?;
    parse(text, findings)
}

/// Reads the value in a payload.
pub(super) fn payload<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let (text, findings) = check(json)?;
    if !findings.maybe_enveloped {
        return parse(text, findings);
    }
    let value = envelope::open(text)?;
    parse(&value, findings).or_else(|error| {
        // What was nothing but a tag is an object without attributes: a unit struct, if it can be one.
        if value == "{}" {
            parse("null", findings).map_err(|_| error)
        } else {
            Err(error)
        }
    })
}

fn check(json: &[u8]) -> Result<(&str, Findings), Error> {
    let text = str::from_utf8(json).map_err(Error::custom)?;
    let findings = scan(text).map_err(Error::custom)?;
    Ok((text, findings))
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
