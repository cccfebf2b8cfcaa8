//! The codec: nothing panics, and a value that was read is the same after it is written and read.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pymq_core::Message;
use pymq_core::codec::{Decode, Encode};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let message = Message::json(data.to_vec());
    drop(<(String, Option<f64>)>::decode(&message));
    drop(BTreeMap::<i128, Vec<u8>>::decode(&message));
    drop(<()>::decode(&message));
    if let Ok(value) = Value::decode(&message) {
        let written = value.encode().expect("what is read can be written");
        let again = Value::decode(&written).expect("what is written can be read");
        assert_eq!(value, again);
    }
});
