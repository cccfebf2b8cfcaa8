//! Calls of a Python stub that fail in Rust: errors, refusals, missing functions, timeouts.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_conformance::python::Peers;
use pymq_conformance::{Failure, Outcome};
use pymq_core::RemoteError;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

cases! {
    an_error_is_raised_with_its_type_and_arguments,
    a_panic_is_raised_as_a_runtime_error,
    wrong_arguments_are_a_type_error_that_names_the_position,
    named_arguments_are_refused_with_a_reason,
    a_result_that_cannot_be_written_is_a_value_error,
    a_missing_remote_is_pythons_own_answer,
    an_unexposed_function_is_missing,
    a_slow_function_is_pythons_timeout,
}

async fn raised(peers: &Peers, call: &str) -> Result<Vec<Value>, Failure> {
    let raised = peers.python.raises(call).await?;
    assert_eq!(raised.type_name, "RemoteInvocationError", "{raised}");
    Ok(raised.args)
}

async fn an_error_is_raised_with_its_type_and_arguments(peers: Peers) -> Outcome {
    let fails = async |name: &'static str, error: RemoteError| -> Outcome {
        let fail = move || ready(Err::<u8, _>(error.clone()));
        peers.bus.expose(name, fail).await?.keep();
        Ok(())
    };
    let text = async || Err::<u8, _>("no \"stock\" ☃");
    peers.bus.expose("text", text).await?.keep();
    let egg = RemoteError::with_args("shop.events.OutOfStock", &("egg", 2, [0]))?;
    fails("args", egg).await?;
    fails("none", RemoteError::with_args("ValueError", &[(); 0])?).await?;
    fails("odd", RemoteError::new("my_crate::Error \n", "")).await?;

    assert_eq!(
        raised(&peers, "pymq.stub('text')()").await?,
        [json!("RuntimeError"), json!("no \"stock\" ☃")]
    );
    assert_eq!(
        raised(&peers, "pymq.stub('args')()").await?,
        [
            json!("shop.events.OutOfStock"),
            json!("egg"),
            json!(2),
            json!([0])
        ]
    );
    assert_eq!(
        raised(&peers, "pymq.stub('none')()").await?,
        [json!("ValueError")]
    );
    assert_eq!(
        raised(&peers, "pymq.stub('odd')()").await?,
        [json!("my_crate::Error \n"), json!("")]
    );
    Ok(())
}

async fn a_panic_is_raised_as_a_runtime_error(peers: Peers) -> Outcome {
    async fn divide(a: u8, b: u8) -> u8 {
        a / b
    }
    let _exposed = peers.bus.expose("divide", divide).await?;

    let args = raised(&peers, "pymq.stub('divide')(1, 0)").await?;

    assert_eq!(
        args,
        [
            json!("RuntimeError"),
            json!("panicked: attempt to divide by zero")
        ]
    );
    assert_eq!(peers.python.repr("pymq.stub('divide')(6, 3)").await?, "2");
    Ok(())
}

async fn wrong_arguments_are_a_type_error_that_names_the_position(peers: Peers) -> Outcome {
    let _exposed = peers
        .bus
        .expose("add", async |a: i64, b: i64| a + b)
        .await?;

    for (call, message) in [
        ("add(1)", "add takes 2 arguments but 1 was given"),
        ("add(1, 2, 3)", "add takes 2 arguments but 3 were given"),
        (
            "add(1, 'x')",
            "argument 2 of add: invalid type: string \"x\", expected i64",
        ),
        (
            "add(1.5, 2)",
            "argument 1 of add: invalid type: floating point `1.5`, expected i64",
        ),
    ] {
        let args = raised(&peers, &format!("add = pymq.stub('add')\n{call}")).await?;
        assert_eq!(args[0], "TypeError", "{call}");
        assert!(
            args[1]
                .as_str()
                .is_some_and(|text| text.starts_with(message)),
            "{call}: {args:?}"
        );
    }
    Ok(())
}

async fn named_arguments_are_refused_with_a_reason(peers: Peers) -> Outcome {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let _exposed = peers
        .bus
        .expose("add", move |_: i64, _: Option<i64>| {
            let runs = Arc::clone(&counted);
            async move { runs.fetch_add(1, Ordering::Relaxed) }
        })
        .await?;

    for call in ["add(1, b=2)", "add(a=1, b=2)", "add(1, 2, c=None)"] {
        let args = raised(
            &peers,
            &format!("add = pymq.stub('add', timeout=30)\n{call}"),
        )
        .await?;
        assert_eq!(
            args,
            [
                json!("TypeError"),
                json!("keyword arguments are not supported")
            ],
            "{call}"
        );
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    Ok(())
}

async fn a_result_that_cannot_be_written_is_a_value_error(peers: Peers) -> Outcome {
    let _exposed = peers.bus.expose("nan", async || f64::NAN).await?;

    let args = raised(&peers, "pymq.stub('nan')()").await?;

    assert_eq!(args[0], "ValueError");
    assert!(
        args[1]
            .as_str()
            .is_some_and(|text| text.starts_with("the result cannot be sent")),
        "{args:?}"
    );
    Ok(())
}

async fn a_missing_remote_is_pythons_own_answer(peers: Peers) -> Outcome {
    assert_eq!(peers.python.repr("pymq.stub('missing')()").await?, "None");
    assert_eq!(
        peers
            .python
            .repr("pymq.stub('missing', multi=True)()")
            .await?,
        "[]"
    );
    assert_eq!(
        peers
            .python
            .raises("pymq.stub('missing').rpc()")
            .await?
            .type_name,
        "NoSuchRemoteError"
    );
    Ok(())
}

async fn an_unexposed_function_is_missing(peers: Peers) -> Outcome {
    let exposed = peers.bus.expose("here", async || 1).await?;
    assert_eq!(peers.python.repr("pymq.stub('here')()").await?, "1");

    exposed.stop().await;

    assert_eq!(
        peers
            .python
            .raises("pymq.stub('here').rpc()")
            .await?
            .type_name,
        "NoSuchRemoteError"
    );
    Ok(())
}

async fn a_slow_function_is_pythons_timeout(peers: Peers) -> Outcome {
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let _exposed = peers
        .bus
        .expose("slow", move |n: u8| {
            let gate = Arc::clone(&gate);
            async move {
                drop(gate.acquire().await);
                n
            }
        })
        .await?;

    let args = raised(&peers, "pymq.stub('slow', timeout=0.1)(1)").await?;

    assert_eq!(
        args,
        [json!("TimeoutError"), json!("Gave up waiting after 0.1")]
    );
    go_on.close();
    assert_eq!(
        peers
            .python
            .repr("pymq.stub('slow', timeout=30)(2)")
            .await?,
        "2"
    );
    Ok(())
}
