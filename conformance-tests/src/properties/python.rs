//! Python returns the values that it got.

use pymq_core::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::cases::check;
use super::values::json;
use crate::Outcome;
use crate::python::Peers;
use crate::wait::soon;

/// A value at a place where Python adds no type to it.
#[derive(Debug, Deserialize, Serialize)]
struct Inside {
    value: Value,
}

/// Any nested value is unchanged after a way from Rust through a queue to Python and back, and as
/// the argument and the result of a call in either direction.
pub async fn json_survives_python(peers: &Peers) -> Outcome {
    peers
        .python
        .run(
            "
            pymq.expose(lambda value: value, 'echo')
            def through_queues(name):
                pymq.queue(name).put({'value': pymq.queue(name).get_nowait()})
            def through_call(name):
                pymq.queue(name).put({'value': pymq.stub('back', timeout=30)(pymq.queue(name).get_nowait())})
            ",
        )
        .await?;
    peers.until_listening("echo", 1).await?;
    let _back = peers
        .bus
        .expose("back", async |value: Json<Value>| value)
        .await?;

    check(&peers.harness, 500, json, async |value| {
        let name = format!("case-{}", Uuid::new_v4());
        for through in ["through_queues", "through_call"] {
            peers.bus.queue::<Value>(&name).put(&value).await?;
            peers.python.run(&format!("{through}({name:?})")).await?;
            let back: Inside = soon("the item", peers.bus.queue(&name).get()).await??;
            same(through, &value, &back.value)?;
        }
        let echoed: Value = peers.bus.stub("echo").call((&value,)).await?;
        same("a call", &value, &echoed)
    })
    .await
}

/// Compared as text: as numbers, `0.0` and `-0.0` are equal.
fn same(way: &str, sent: &Value, got: &Value) -> Outcome {
    let [sent, got] = [sent, got].map(Value::to_string);
    if sent == got {
        return Ok(());
    }
    Err(format!("{way}: sent {sent}, got {got}").into())
}
