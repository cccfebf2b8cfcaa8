//! The wire vectors again, with the live decoder: the recorded output of Python still holds, and
//! our output is read as the right value. Tests without Python show that our writer produces it
//! byte for byte.

use pymq_conformance::properties::json_survives_python;
use pymq_conformance::python::Peers;
use pymq_conformance::{Failure, Outcome};
use pymq_core::Message;
use pymq_core::codec::{Decode, Encode};
use pymq_core::provider::PutOptions;
use serde::Deserialize;
use serde_json::Value;

cases! {
    python_reads_each_vector_as_it_was_recorded,
    what_rust_writes_of_each_vector_python_reads_as_the_same_value,
    what_rust_serves_and_calls_of_each_vector_python_reads_as_the_same_value,
    json_like_values_survive_rust_to_python_to_rust,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    direction: String,
    operation: String,
    payload: Option<String>,
    #[serde(alias = "python_reads")]
    python_reads_back: Option<Reading>,
    python_value_description: String,
}

/// What Python made of a payload.
#[derive(Deserialize)]
struct Reading {
    ok: bool,
    #[serde(rename = "type")]
    type_name: String,
    repr: String,
}

fn vectors() -> Result<Vec<Vector>, Failure> {
    Ok(serde_json::from_str(include_str!(
        "../../data/wire-vectors.json"
    ))?)
}

async fn put(peers: &Peers, message: Message) -> Outcome {
    let provider = peers.bus.provider()?;
    provider
        .queue_put("vectors", vec![message], PutOptions::default())
        .await?;
    Ok(())
}

async fn python_reads_each_vector_as_it_was_recorded(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            import oracle_types
            def read():
                try:
                    value = pymq.queue('vectors').get_nowait()
                    return type(value).__name__, repr(value)
                except Exception as e:
                    return type(e).__name__, 'decode error'
            ",
        )
        .await?;
    let mut read = 0;
    for vector in vectors()? {
        let (Some(payload), Some(recorded)) = (vector.payload, vector.python_reads_back) else {
            continue;
        };
        // A handler with an annotation makes these of it.
        if vector.name.starts_with("accept_typed") {
            continue;
        }
        put(&peers, Message::json(payload)).await?;

        let live: (String, String) = peers.python.eval("read()").await?;

        assert_eq!(live, (recorded.type_name, recorded.repr), "{}", vector.name);
        assert_eq!(live.1 != "decode error", recorded.ok, "{}", vector.name);
        read += 1;
    }
    assert_eq!(read, 88);
    Ok(())
}

/// Reads Python's output into a type that takes any value, writes that anew, and lets Python
/// compare. Plain data is equal, and objects have become dicts.
async fn what_rust_writes_of_each_vector_python_reads_as_the_same_value(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            def plain(value):
                return json.dumps(value, sort_keys=True)
            def inside(payload):
                value = json.loads(payload)
                if isinstance(value, dict):
                    value.pop('__type', None)
                    value = value.get('__obj', value.get('__list', value))
                return value
            def are_equal(payload):
                return plain(pymq.queue('vectors').get_nowait()) == plain(inside(payload))
            ",
        )
        .await?;
    let mut equal = 0;
    for vector in vectors()? {
        let Some(payload) = vector
            .payload
            .filter(|_| vector.direction == "python_to_wire")
        else {
            continue;
        };
        // A value that Rust cannot hold is refused with its payload.
        let Ok(value) = Value::decode(&Message::json(payload.clone())) else {
            continue;
        };
        put(&peers, value.encode()?).await?;

        let are_equal: bool = peers
            .python
            .eval(&format!("are_equal({})", in_python(&payload)))
            .await?;

        assert!(
            are_equal,
            "{}: {}",
            vector.name, vector.python_value_description
        );
        equal += 1;
    }
    assert_eq!(equal, 138);
    Ok(())
}

/// Writes a text as a literal of Python.
fn in_python(text: &str) -> String {
    format!("json.loads({:?})", Value::from(text).to_string())
}

async fn what_rust_serves_and_calls_of_each_vector_python_reads_as_the_same_value(
    peers: Peers,
) -> Outcome {
    peers
        .python
        .run("pymq.expose(lambda a: seen.put(repr(a)) or a, 'echo')")
        .await?;
    peers.until_listening("echo", 1).await?;
    let _back = peers
        .bus
        .expose("back", async |value: pymq_core::Json<Value>| value)
        .await?;
    for vector in vectors()? {
        let Some(payload) = vector.payload.filter(|_| vector.operation == "queue.put") else {
            continue;
        };
        let Ok(value) = Value::decode(&Message::json(payload)) else {
            continue;
        };

        // As an argument and as a result, of a call in either direction.
        let echoed: Value = peers.bus.stub("echo").call((&value,)).await?;
        assert_eq!(echoed, value, "{}", vector.name);
        let shown: String = peers.python.eval("seen.get()").await?;
        let back = peers
            .python
            .repr(&format!("pymq.stub('back', timeout=30)({shown})"))
            .await?;
        assert_eq!(back, shown, "{}", vector.name);
    }
    Ok(())
}

async fn json_like_values_survive_rust_to_python_to_rust(peers: Peers) -> Outcome {
    json_survives_python(&peers).await
}
