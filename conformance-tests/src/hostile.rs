//! Malformed payloads: random bytes, and payloads from Python with one part broken. One seed makes
//! one sequence.

use std::env;

use serde_json::Value;

use crate::Failure;

/// Payloads that real Python PyMQ wrote, and inputs that it was tested with.
const VECTORS: &str = include_str!("../data/wire-vectors.json");

/// Pieces that a decoder treats specially.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b", ",
    b",",
    b"\\",
    b" ",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\udc00",
    b"\\u0000",
    b"\\u00",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-",
    b"0",
    b"1.0",
    b"1e-07",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
    b"\"__obj\": ",
    b"\"__type\": ",
    b"\"__list\": ",
    b"\"__pymq\": ",
    b"\"__\\u006fbj\": ",
    b"\"pymq.core.RpcRequest\"",
    b"\"pymq.core.RpcResponse\"",
    b"\"__rpc_x\"",
    b"{\"attempt\":4294967295}",
    b"{\"enc\":\"base64\"}",
    b"{\"enc\":\"base64/json\"}",
    b"{\"form\":\"obj\"}",
    b"{\"cut\":[3,\"x\"]}",
    b"{\"cut\":[18446744073709551615,\"\"]}",
    b"{\"headers\":{\"a\":\"b\"}}",
    b"{\"timeout\":18446744073709551615}",
    b"{\"claim\":\"x\"}",
    b"{\"opaque\":true}",
    b"#1",
    b"{}",
    b"[]",
];

/// An endless sequence of payloads.
#[derive(Debug)]
pub struct Payloads {
    samples: Vec<Vec<u8>>,
    state: u64,
}

impl Payloads {
    /// Starts from a seed. It breaks the payloads of Python and these payloads of ours.
    ///
    /// # Panics
    ///
    /// If the vector file is not JSON.
    pub fn new(seed: u64, ours: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("the vectors are JSON");
        let of_python = vectors
            .iter()
            .filter_map(|vector| vector["payload"].as_str());
        Self {
            samples: of_python
                .map(|payload| payload.as_bytes().to_vec())
                .chain(ours)
                .collect(),
            state: seed,
        }
    }

    /// Returns the seed in `PYMQ_TEST_SEED`, or the default one, and prints it.
    ///
    /// # Errors
    ///
    /// If it is not a number.
    pub fn seed() -> Result<u64, Failure> {
        let seed = env::var("PYMQ_TEST_SEED").map_or(Ok(2_026), |seed| seed.parse())?;
        eprintln!("PYMQ_TEST_SEED={seed}");
        Ok(seed)
    }

    /// Creates the next payload.
    pub fn make(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => (0..self.below(64)).map(|_| self.byte()).collect(),
            1 => (0..self.below(24))
                .flat_map(|_| self.piece().to_vec())
                .collect(),
            2 => self.nested(),
            _ => self.broken(),
        }
    }

    /// Opens more brackets than it closes, or closes more than it opens.
    fn nested(&mut self) -> Vec<u8> {
        let depth = [1, 100, 127, 129, 499, 501, 1_200][self.below(7)];
        let (open, close): (&[u8], &[u8]) = if self.below(2) == 0 {
            (b"[", b"]")
        } else {
            (b"{\"a\":", b"}")
        };
        let mut nested = self.piece().to_vec();
        nested.extend(open.repeat(depth));
        nested.extend(self.piece());
        if self.below(2) == 0 {
            nested.extend(close.repeat(depth));
        }
        nested
    }

    /// Breaks a sample in one place or in a few.
    fn broken(&mut self) -> Vec<u8> {
        let mut payload = self.sample();
        for _ in 0..=self.below(4) {
            let (from, to) = (self.below(payload.len() + 1), self.below(payload.len() + 1));
            let range = from.min(to)..from.max(to);
            match self.below(6) {
                0 => payload.truncate(to),
                1 => drop(payload.drain(range)),
                2 => payload.extend_from_within(range),
                3 => drop(payload.splice(from..from, self.piece().to_vec())),
                4 => drop(payload.splice(range, self.sample())),
                _ => {
                    let byte = self.byte();
                    if let Some(place) = payload.get_mut(from) {
                        *place = byte;
                    }
                }
            }
        }
        payload
    }

    fn sample(&mut self) -> Vec<u8> {
        let at = self.below(self.samples.len());
        self.samples[at].clone()
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES[self.below(PIECES.len())]
    }

    fn byte(&mut self) -> u8 {
        self.random().to_le_bytes()[7]
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a length fits 64 bits");
        usize::try_from((self.random() >> 16) % end).expect("it is below a length")
    }

    /// The generator `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
