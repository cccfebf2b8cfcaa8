//! Arguments and results: values, failures, and everything that is neither.

use std::collections::{BTreeMap, BTreeSet};

use pymq_core::{CallMeta, Error, ErrorKind, Json, RemoteError, Result};
use serde::{Deserialize, Serialize};

use crate::bomb::{Mine, explode};
use crate::typed::{kind, open};
use crate::wait::soon;
use crate::{Failure, Harness, Outcome};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Point {
    x: f64,
    y: f64,
}

async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// A call returns the result of the function.
pub async fn call_returns_the_result(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("add", add).await?;

    let sum = soon(
        "the call",
        caller.stub::<(i64, i64), i64>("add").call((2, 40)),
    )
    .await??;

    assert_eq!(sum, 42);
    Ok(())
}

/// A function without a result also answers.
pub async fn void_result(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let _guard = bus.expose("nothing", async || {}).await?;

    soon("the call", bus.stub::<(), ()>("nothing").call(())).await??;

    let none = bus.stub::<(), Option<u64>>("nothing").call(()).await?;
    assert_eq!(none, None);
    Ok(())
}

/// Up to eight arguments of different types arrive in order.
pub async fn several_arguments(h: &dyn Harness) -> Outcome {
    type All = (u8, i64, f64, bool, char, String, Option<u8>, (u8, u8));
    let join = async |small: u8,
                      large: i64,
                      real: f64,
                      truth: bool,
                      letter: char,
                      text: String,
                      none: Option<u8>,
                      pair: (u8, u8)| {
        format!("{small} {large} {real} {truth} {letter} {text} {none:?} {pair:?}")
    };
    let bus = open(h).await?;
    let _guard = bus.expose("join", join).await?;
    let stub = bus.stub::<All, String>("join");

    let joined = soon(
        "the call",
        stub.call((1, -2, 3.5, true, 'é', "text".to_owned(), None, (7, 8))),
    )
    .await??;

    assert_eq!(joined, "1 -2 3.5 true é text None (7, 8)");
    Ok(())
}

/// Collections go in and come out.
pub async fn list_argument(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let count = async |words: Vec<String>| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
        counts
    };
    let _guard = bus.expose("count", count).await?;
    let _other = bus.expose("set", async |items: BTreeSet<u8>| items).await?;

    let counts: BTreeMap<String, usize> = bus.stub("count").call((["a", "b", "a"],)).await?;
    let items: BTreeSet<u8> = bus.stub("set").call((vec![2, 1, 2],)).await?;

    assert_eq!(
        counts,
        BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)])
    );
    assert_eq!(items, BTreeSet::from([1, 2]));
    Ok(())
}

/// Structs go in and come out.
pub async fn struct_argument_and_result(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let mirror = async |point: Point| {
        Json(Point {
            x: point.y,
            y: point.x,
        })
    };
    let _guard = bus.expose("mirror", mirror).await?;

    let mirrored = bus
        .stub::<(Point,), Point>("mirror")
        .call((Point { x: 1.0, y: 2.5 },))
        .await?;

    assert_eq!(mirrored, Point { x: 2.5, y: 1.0 });
    Ok(())
}

/// An optional argument at the end may be omitted.
pub async fn optional_arguments_may_be_left_out(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let greet = async |name: String, greeting: Option<String>| {
        format!("{}, {name}", greeting.as_deref().unwrap_or("Hello"))
    };
    let _guard = bus.expose("greet", greet).await?;

    let greeting: String = bus.stub("greet").call(("Ada",)).await?;

    assert_eq!(greeting, "Hello, Ada");
    Ok(())
}

/// A failure of the function arrives as its type and its message.
pub async fn server_error_is_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let find = async |key: String| -> Result<u64, RemoteError> {
        Err(RemoteError::with_args("KeyError", &(key, 404)).expect("a tuple is an array"))
    };
    let _find = server.expose("find", find).await?;
    let _divide = server
        .expose("divide", async |a: i64, b: i64| {
            a.checked_div(b).ok_or("division by zero")
        })
        .await?;

    let missing = remote(caller.stub::<(&str,), u64>("find").call(("x",)).await)?;
    let undefined = remote(caller.stub::<(i64, i64), i64>("divide").call((1, 0)).await)?;

    assert_eq!(missing.type_name(), "KeyError");
    assert_eq!(missing.args::<(String, u16)>()?, ("x".to_owned(), 404));
    assert_eq!(undefined.type_name(), "RuntimeError");
    assert_eq!(undefined.message(), "division by zero");
    Ok(())
}

/// A panic is answered with its text, and the next call is served.
pub async fn server_panic_is_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let halve = |n: u64| {
        assert_ne!(n, 1, "one is indivisible");
        async move {
            assert_eq!(n % 2, 0, "{n} is odd");
            n / 2
        }
    };
    let _guard = server.expose("halve", halve).await?;
    let stub = caller.stub::<(u64,), u64>("halve");

    let early = remote(stub.call((1,)).await)?;
    let late = remote(stub.call((3,)).await)?;

    assert!(early.message().contains("one is indivisible"), "{early}");
    assert!(late.message().contains("3 is odd"), "{late}");
    assert_eq!(stub.call((4,)).await?, 2);
    Ok(())
}

/// A panic with a payload that panics again when it is dropped is answered, and the next call is
/// served. The panic may be in the function, in its future, or while that is dropped.
pub async fn a_panic_that_panics_again_does_not_end_a_remote(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let double = |n: u64| {
        if n == 1 {
            explode();
        }
        async move {
            if n == 2 {
                explode();
            }
            let _mine = (n == 3).then(|| Mine);
            tokio::task::yield_now().await;
            2 * n
        }
    };
    let _guard = server.expose("double", double).await?;
    let stub = caller.stub::<(u64,), u64>("double");

    for n in 1..=3 {
        let error = remote(soon("a hostile call", stub.call((n,))).await?)?;
        assert!(error.message().contains("panicked"), "{n}: {error}");
    }

    assert_eq!(soon("a call", stub.call((4,))).await??, 8);
    Ok(())
}

/// Arguments of a wrong number or type are answered with an error, and the function does not run.
pub async fn bad_arguments_are_answered(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("add", add).await?;

    let too_few = remote(caller.stub::<(i64,), i64>("add").call((1,)).await)?;
    let too_many = remote(
        caller
            .stub::<(i64, i64, i64), i64>("add")
            .call((1, 2, 3))
            .await,
    )?;
    let mistyped = remote(
        caller
            .stub::<(&str, i64), i64>("add")
            .call(("one", 2))
            .await,
    )?;

    for error in [&too_few, &too_many, &mistyped] {
        assert_eq!(error.type_name(), "TypeError", "{error}");
    }
    assert!(too_few.message().contains("2 arguments"), "{too_few}");
    assert!(
        mistyped.message().contains("argument 1 of add"),
        "{mistyped}"
    );
    Ok(())
}

/// A result that cannot be sent is answered with an error.
pub async fn unserialisable_result_is_answered(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let _guard = server.expose("nan", async || f64::NAN).await?;

    let error = remote(soon("the call", caller.stub::<(), f64>("nan").call(())).await?)?;

    assert_eq!(error.type_name(), "ValueError");
    Ok(())
}

/// A result of an unexpected type is an error with the payload.
pub async fn a_result_of_another_type_is_a_codec_error(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let _guard = bus.expose("name", async || "Ada").await?;

    let error = bus
        .stub::<(), u64>("name")
        .call(())
        .await
        .expect_err("a text is no number");

    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(
        error.payload().map(|bytes| &**bytes),
        Some(&br#""Ada""#[..])
    );
    Ok(())
}

/// A request over the limit of the caller is not sent. A reply over the limit of the server is
/// answered with an error.
pub async fn oversized_calls_and_replies_are_refused(h: &dyn Harness) -> Outcome {
    let (server, caller) = (
        open(h).await?.max_payload(32),
        open(h).await?.max_payload(64),
    );
    let _guard = server
        .expose("repeat", async |text: String, n: usize| text.repeat(n))
        .await?;
    let stub = caller.stub::<(String, usize), String>("repeat");

    let unsent = stub.call(("x".repeat(100), 1)).await;
    let unanswered = remote(stub.call(("x".to_owned(), 100)).await)?;

    assert_eq!(kind(&unsent), Some(ErrorKind::TooLarge));
    assert!(unanswered.message().contains("too large"), "{unanswered}");
    assert_eq!(stub.call(("x".to_owned(), 3)).await?, "xxx");
    Ok(())
}

/// Headers of a call reach a function that asks for them.
pub async fn headers_reach_the_function(h: &dyn Harness) -> Outcome {
    let (server, caller) = (open(h).await?, open(h).await?);
    let tenant = async |meta: CallMeta| meta.headers().get("tenant").map(str::to_owned);
    let _guard = server.expose("tenant", tenant).await?;
    let stub = caller.stub::<(), Option<String>>("tenant");

    assert_eq!(stub.call(()).await?, None);
    assert_eq!(
        stub.header("tenant", "a").call(()).await?,
        Some("a".to_owned())
    );
    Ok(())
}

/// Returns what the remote function reported.
pub(super) fn remote<T: std::fmt::Debug>(result: Result<T>) -> Result<RemoteError, Failure> {
    let error: Error = result.expect_err("the call must fail");
    assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    error
        .remote()
        .cloned()
        .ok_or_else(|| "there is no remote error in it".into())
}
