//! Calls of a Rust stub that fail in Python: exceptions, missing functions, silence.

use std::time::Duration;

use pymq_conformance::python::Peers;
use pymq_conformance::{Failure, Outcome};
use pymq_core::{Bus, ErrorKind, RemoteError};
use serde_json::{Value, json};

use super::rust_calls_python::{GIVE, python_exposes};

cases! {
    an_exception_keeps_its_type_arguments_and_message,
    a_missing_or_surplus_argument_is_what_python_makes_of_it,
    the_number_of_a_call_shows_in_no_message,
    a_missing_remote_is_an_error_at_once,
    an_unexposed_function_is_missing,
    a_slow_function_is_a_timeout_and_its_late_answer_disturbs_nobody,
    a_function_that_stays_silent_is_a_timeout,
    a_result_that_json_does_not_have_is_an_error_with_its_payload,
}

pub(super) const FAIL: &str = "
    @pymq.remote('fail')
    def fail(expression):
        raise eval(expression)
";

async fn failure(bus: &Bus, name: &str, arg: &str) -> Result<RemoteError, Failure> {
    let error = bus
        .stub::<_, ()>(name)
        .call((arg,))
        .await
        .err()
        .ok_or("it succeeded")?;
    assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    Ok(error.remote().ok_or("no remote error in it")?.clone())
}

async fn an_exception_keeps_its_type_arguments_and_message(peers: Peers) -> Outcome {
    python_exposes(&peers, FAIL, &["fail"]).await?;
    for (expression, type_name, args, message) in [
        (
            "ValueError('oh noes')",
            "ValueError",
            json!(["oh noes"]),
            "oh noes",
        ),
        ("KeyError('k', 2)", "KeyError", json!(["k", 2]), "k, 2"),
        ("ValueError()", "ValueError", json!([]), ""),
        (
            "shop.events.OutOfStock('egg', None)",
            "shop.events.OutOfStock",
            json!(["egg", null]),
            "egg, null",
        ),
        (
            "ValueError(Placed(17, 9.0))",
            "ValueError",
            json!([{"order": 17, "total": 9.0}]),
            r#"{"order": 17, "total": 9.0}"#,
        ),
        (
            "ValueError('fail#1', 'é')",
            "ValueError",
            json!(["fail#1", "é"]),
            "fail#1, é",
        ),
        (
            "FileNotFoundError(2, 'No such file or directory', 'x')",
            "FileNotFoundError",
            json!([2, "No such file or directory"]),
            "2, No such file or directory",
        ),
    ] {
        let error = failure(&peers.bus, "fail", expression).await?;

        assert_eq!(
            (error.type_name(), error.args::<Value>()?, error.message()),
            (type_name, args, message)
        );
    }
    Ok(())
}

async fn a_missing_or_surplus_argument_is_what_python_makes_of_it(peers: Peers) -> Outcome {
    let code = "
        @pymq.remote('add')
        def add(a: int, b: int) -> int:
            return a + b
    ";
    python_exposes(&peers, code, &["add"]).await?;

    let error = failure(&peers.bus, "add", "1").await?;
    assert_eq!(
        (error.type_name(), error.message()),
        (
            "TypeError",
            "add() missing 1 required positional argument: 'b'"
        )
    );
    let error = peers
        .bus
        .stub::<_, i64>("add")
        .call(("x", 1))
        .await
        .expect_err("it succeeded");
    assert_eq!(
        error.remote().map(RemoteError::type_name),
        Some("ValueError"),
        "`x` is no int"
    );
    assert_eq!(
        peers.bus.stub::<_, i64>("add").call((1, 2, 3)).await?,
        3,
        "PyMQ drops what is too much"
    );
    Ok(())
}

async fn the_number_of_a_call_shows_in_no_message(peers: Peers) -> Outcome {
    let code = "
        @pymq.remote('nothing')
        def nothing():
            pass
    ";
    python_exposes(&peers, code, &["nothing"]).await?;

    let error = failure(&peers.bus, "nothing", "surplus").await?;

    assert_eq!(
        (error.type_name(), error.message()),
        (
            "TypeError",
            "nothing takes 0 positional arguments but 1 were given"
        )
    );
    Ok(())
}

async fn a_missing_remote_is_an_error_at_once(peers: Peers) -> Outcome {
    let calling = peers
        .bus
        .stub::<_, ()>("missing")
        .timeout(Duration::from_secs(3600))
        .call(())
        .await;
    assert_eq!(
        calling.map_err(|error| error.kind()),
        Err(ErrorKind::NoSuchRemote)
    );
    let calling = peers.bus.call_all::<()>("missing", ()).await;
    assert_eq!(
        calling.map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::NoSuchRemote)
    );
    Ok(())
}

async fn an_unexposed_function_is_missing(peers: Peers) -> Outcome {
    python_exposes(&peers, GIVE, &["give"]).await?;
    assert_eq!(peers.bus.stub::<_, u8>("give").call(("1",)).await?, 1);

    peers.python.run("pymq.unexpose('give')").await?;
    peers.until_listening("give", 0).await?;

    let calling = peers.bus.stub::<_, u8>("give").call(("1",)).await;
    assert_eq!(
        calling.map_err(|error| error.kind()),
        Err(ErrorKind::NoSuchRemote)
    );
    Ok(())
}

async fn a_slow_function_is_a_timeout_and_its_late_answer_disturbs_nobody(peers: Peers) -> Outcome {
    let code = "
        go_on = threading.Event()
        @pymq.remote('slow')
        def slow(n):
            go_on.wait(60)
            return n
    ";
    python_exposes(&peers, code, &["slow"]).await?;
    let slow = peers.bus.stub::<_, u8>("slow");

    let calling = slow
        .clone()
        .timeout(Duration::from_millis(100))
        .call((1,))
        .await;
    assert_eq!(
        calling.map_err(|error| error.kind()),
        Err(ErrorKind::Timeout)
    );

    peers.python.run("go_on.set()").await?;
    for n in 2..20 {
        assert_eq!(slow.call((n,)).await?, n);
    }
    Ok(())
}

async fn a_function_that_stays_silent_is_a_timeout(peers: Peers) -> Outcome {
    let code = "
        # Python warns of a coroutine that is never awaited.
        import warnings
        warnings.simplefilter('ignore')
        @pymq.remote('unsayable')
        def unsayable():
            return b'bytes'
        @pymq.remote('coroutine')
        async def coroutine():
            return 1
    ";
    python_exposes(&peers, code, &["unsayable", "coroutine"]).await?;

    for name in ["unsayable", "coroutine"] {
        let calling = peers
            .bus
            .stub::<_, u8>(name)
            .timeout(Duration::from_millis(200))
            .call(())
            .await;
        assert_eq!(
            calling.map_err(|error| error.kind()),
            Err(ErrorKind::Timeout),
            "{name}"
        );
    }
    Ok(())
}

async fn a_result_that_json_does_not_have_is_an_error_with_its_payload(peers: Peers) -> Outcome {
    python_exposes(&peers, GIVE, &["give"]).await?;
    for (expression, payload) in [
        ("float('nan')", "NaN"),
        ("[1, -float('inf')]", "[1, -Infinity]"),
        ("10**40", "10000000000000000000000000000000000000000"),
        ("'\\ud800'", r#""\ud800""#),
    ] {
        let error = peers
            .bus
            .stub::<_, Value>("give")
            .call((expression,))
            .await
            .expect_err("it succeeded");

        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert_eq!(error.payload().map(AsRef::as_ref), Some(payload.as_bytes()));
    }
    Ok(())
}
