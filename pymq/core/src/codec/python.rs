//! The format of Python's `json`: `", "` and `": "`, ASCII only, floats as `repr` writes them.

use std::fmt::LowerExp;
use std::io;

use serde_json::ser::{CompactFormatter, Formatter};

use super::MAX_DEPTH;
use super::json::{self, Fault};

/// Makes `serde_json` write as Python does. The methods that are not here write the same in both.
///
/// It refuses everything that our reader would refuse.
#[derive(Default)]
pub(super) struct PythonForm {
    /// How many lists and objects are open.
    depth: usize,
}

impl PythonForm {
    fn open(&mut self) -> io::Result<()> {
        self.check_depth(1)?;
        self.depth += 1;
        Ok(())
    }

    /// Fails if `more` levels would make the value too deep.
    fn check_depth(&self, more: usize) -> io::Result<()> {
        if self.depth + more > MAX_DEPTH {
            Err(refused(Fault::TooDeep))
        } else {
            Ok(())
        }
    }

    fn check_text(&self, text: &str) -> io::Result<()> {
        let findings = json::check(text).map_err(refused)?;
        self.check_depth(findings.depth)
    }
}

fn refused(fault: Fault) -> io::Error {
    io::Error::other(fault.to_string())
}

impl Formatter for PythonForm {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open()?;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"}")
    }

    /// Writes a number of any length, which `serde_json` passes as text.
    fn write_number_str<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &str,
    ) -> io::Result<()> {
        self.check_text(value)?;
        writer.write_all(value.as_bytes())
    }

    /// Writes the bytes of a text in which nothing is to be escaped, see
    /// [`Dialect`](super::dialect::Dialect).
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        writer.write_all(b"\"")?;
        writer.write_all(value)?;
        writer.write_all(b"\"")
    }

    /// Writes a JSON text that the value contains.
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.check_text(fragment)?;
        writer.write_all(fragment.as_bytes())
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
            write!(writer, "{value:?}")
        } else {
            write_exponent(writer, value)
        }
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
            CompactFormatter.write_f64(writer, value)
        } else {
            write_exponent(writer, value)
        }
    }

    /// Writes text in which `serde_json` has nothing to escape.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\x7f') {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c < '\x7f' {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write_unit(writer, *unit)?;
            }
        }
        Ok(())
    }
}

/// Writes `1e-05` and `1.5e+16`, where Rust writes `1e-5` and `1.5e16`.
fn write_exponent<W: ?Sized + io::Write>(writer: &mut W, value: impl LowerExp) -> io::Result<()> {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent
        .strip_prefix('-')
        .map_or(('+', exponent), |rest| ('-', rest));
    write!(writer, "{digits}e{sign}{exponent:0>2}")
}

fn write_unit<W: ?Sized + io::Write>(writer: &mut W, unit: u16) -> io::Result<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |shift: u32| HEX[usize::from(unit >> shift & 0xf)];
    writer.write_all(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)])
}
