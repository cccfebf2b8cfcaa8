//! Forged requests and forged answers: nothing is run, nothing is sent to a list that did not ask,
//! no call is disturbed.

use std::sync::atomic::Ordering;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use serde_json::json;

use super::hostile::{counting, publish, put, runs_now};

cases! {
    a_request_by_another_tag_is_an_event,
    a_forged_response_queue_gets_no_answer_and_no_expiry,
    forged_answers_in_an_inbox_disturb_no_call,
}

async fn a_request_by_another_tag_is_an_event(peers: Peers) -> Outcome {
    let runs = counting(&peers, "count").await?;
    let elements = r#"["count", "__rpc_left", [], {}]"#;
    for payload in [
        format!(r#"{{"__obj": {elements}, "__type": "pymq.core.RpcRequests"}}"#),
        format!(r#"{{"__obj": {elements}, "__type": "os.system"}}"#),
        format!(r#"{{"__obj": {elements}}}"#),
        format!(r#"{{"__list": {elements}, "__type": "list", "x": "pymq.core.RpcRequest"}}"#),
        elements.to_owned(),
    ] {
        publish(&peers, "count", payload.as_bytes()).await?;
    }

    assert_eq!(runs_now(&peers, "count").await?, 1);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert!(peers.payloads("__rpc_left").await?.is_empty());
    Ok(())
}

async fn a_forged_response_queue_gets_no_answer_and_no_expiry(peers: Peers) -> Outcome {
    let runs = counting(&peers, "count").await?;
    peers.python.run("pymq.queue('jobs').put('work')").await?;
    let long = format!("__rpc_{}", "x".repeat(1_000));
    for inbox in [
        "jobs",
        "",
        "__rpc",
        "_rpc_x",
        "x__rpc_y",
        " __rpc_x",
        "../__rpc_x",
        &long,
    ] {
        // In both forms, and with arguments that alone would be answered with an error.
        for request in [
            json!({"__obj": ["count", inbox, [], {}], "__type": "pymq.core.RpcRequest"}),
            json!({"__obj": ["count", inbox, 5, {"a": 1}], "__type": "pymq.core.RpcRequest"}),
            json!({"fn": "count", "response_channel": inbox, "args": [], "__type": "pymq.RpcRequest"}),
        ] {
            publish(&peers, "count", request.to_string().as_bytes()).await?;
        }
    }
    for inbox in ["null", "5", "[\"__rpc_x\"]", "\"\\u005f_rp"] {
        let request = format!(
            r#"{{"__obj": ["count", {inbox}, [], {{}}], "__type": "pymq.core.RpcRequest"}}"#
        );
        publish(&peers, "count", request.as_bytes()).await?;
    }

    assert_eq!(
        runs_now(&peers, "count").await?,
        1,
        "a forged request was run"
    );
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let mut raw = peers.harness.raw().await?;
    let mut ours: Vec<String> = redis::cmd("KEYS")
        .arg(peers.key("*"))
        .query_async(&mut raw)
        .await?;
    ours.retain(|key| !key.contains("__rpc_ping"));
    assert_eq!(ours, [peers.key("jobs")]);
    assert_eq!(peers.payloads("jobs").await?, ["\"work\""]);
    assert_eq!(
        redis::cmd("TTL")
            .arg(peers.key("jobs"))
            .query_async::<i64>(&mut raw)
            .await?,
        -1
    );
    Ok(())
}

async fn forged_answers_in_an_inbox_disturb_no_call(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            inboxes = queue.Queue()
            of_pymq = pymq.provider.base.DefaultSkeletonMethod._queue_response
            def noting(skeleton, request, response):
                inboxes.put(request.response_channel)
                of_pymq(skeleton, request, response)
            pymq.provider.base.DefaultSkeletonMethod._queue_response = noting
            pymq.expose(lambda n: 2 * n, 'double')
            ",
        )
        .await?;
    peers.until_listening("double", 1).await?;
    let double = peers.bus.stub::<_, u32>("double");
    assert_eq!(double.call((1,)).await?, 2);
    let inbox: String = peers.python.eval("inboxes.get()").await?;

    for forged in [
        &b""[..],
        b"\xff\xfe",
        b"[",
        b"5",
        br#"{"__obj": ["double#1", 7, "int", false], "__type": "pymq.core.RpcResponse"}"#,
        br#"{"__obj": ["double#18446744073709551616", 7, "int", false]}"#,
        br##"{"__obj": ["#", 7, "int", false]}"##,
        br#"{"__obj": ["double#99", 7]}"#,
        br#"{"__obj": [["double#2"], 7, "int", false]}"#,
        br#"{"fn": "double#-1", "result": null, "error": "no"}"#,
    ] {
        put(&peers, &inbox, forged).await?;
        assert_eq!(double.call((4,)).await?, 8);
    }
    Ok(())
}
