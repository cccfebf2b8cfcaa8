//! A Rust stub calls a Python function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conformance_tests::python::{Peers, Python};
use conformance_tests::wait::soon;
use conformance_tests::{Failure, Outcome};
use pymq::{Bus, ErrorKind, RemoteError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::shop::{Basket, Customer, Line, PLACED, Placed, basket};

cases! {
    positional_arguments_of_every_kind_arrive,
    annotated_arguments_become_objects,
    defaults_are_pythons,
    results_of_every_kind_return,
    objects_as_results_are_structs,
    a_function_is_reached_by_its_qualified_name,
    an_exception_keeps_its_type_arguments_and_message,
    a_missing_or_surplus_argument_is_what_python_makes_of_it,
    the_number_of_a_call_shows_in_no_message,
    a_missing_remote_is_an_error_at_once,
    an_unexposed_function_is_missing,
    a_slow_function_is_a_timeout_and_its_late_answer_disturbs_nobody,
    a_function_that_stays_silent_is_a_timeout,
    a_result_that_json_does_not_have_is_an_error_with_its_payload,
    sixty_four_calls_in_flight_share_one_inbox,
    all_servers_of_both_kinds_answer_a_call_to_all,
    a_failure_of_one_server_is_one_item_of_a_call_to_all,
    a_plain_call_among_servers_of_both_kinds_returns_one_answer,
}

/// Has Python define and expose what follows, and waits until it is live under these names.
async fn python_exposes(peers: &Peers, code: &str, names: &[&str]) -> Outcome {
    peers.python.run(code).await?;
    for name in names {
        peers.until_listening(name, 1).await?;
    }
    Ok(())
}

const SHOW: &str = "
    @pymq.remote('show')
    def show(a=None, b=None, c=None):
        return repr((a, b, c))
";

async fn positional_arguments_of_every_kind_arrive(peers: Peers) -> Outcome {
    python_exposes(&peers, SHOW, &["show"]).await?;
    let bus = &peers.bus;

    let shown: String = bus.stub("show").call((1, -2.5, true)).await?;
    assert_eq!(shown, "(1, -2.5, True)");
    let shown: String = bus.stub("show").call(("é😀", (), None::<u8>)).await?;
    assert_eq!(shown, "('é😀', None, None)");
    let shown: String = bus
        .stub("show")
        .call(([1, 2], (1, "a"), BTreeMap::from([("k", [0])])))
        .await?;
    assert_eq!(shown, "([1, 2], [1, 'a'], {'k': [0]})");
    let shown: String = bus
        .stub("show")
        .call((u64::MAX, 10_i128.pow(30), 1e-7))
        .await?;
    assert_eq!(
        shown,
        "(18446744073709551615, 1000000000000000000000000000000, 1e-07)"
    );
    let shown: String = bus
        .stub("show")
        .call((PLACED, Line("egg".into(), 12), ["__type"]))
        .await?;
    assert_eq!(
        shown,
        "({'order': 17, 'total': 9.0}, ['egg', 12], ['__type'])"
    );
    let shown: String = bus
        .stub("show")
        .call((json!({"__type": "os.system"}), "__obj", json!([[[]]])))
        .await?;
    assert_eq!(shown, "({'__type': 'os.system'}, '__obj', [[[]]])");
    Ok(())
}

async fn annotated_arguments_become_objects(peers: Peers) -> Outcome {
    let code = "
        from typing import Dict, List, Tuple
        @pymq.remote('typed')
        def typed(placed: Placed, line: Line, basket: Basket):
            return repr((placed, line, basket))
        @pymq.remote('generic')
        def generic(all: List[Placed], by_number: Dict[int, Line], pair: Tuple[int, str], labels: set):
            return repr((all, by_number, pair, labels))
    ";
    python_exposes(&peers, code, &["typed", "generic"]).await?;

    let shown: String = peers
        .bus
        .stub("typed")
        .call((PLACED, Line("egg".into(), 12), basket()))
        .await?;
    let expected = format!(
        "(Placed(order=17, total=9.0), Line(item='egg', count=12), {})",
        super::shop::BASKET
    );
    assert_eq!(shown, expected);
    let by_number = BTreeMap::from([(7, Line("tea".into(), 1))]);
    let shown: String = peers
        .bus
        .stub("generic")
        .call(([PLACED], by_number, (1, "x"), BTreeSet::from([1])))
        .await?;
    assert_eq!(
        shown,
        "([Placed(order=17, total=9.0)], {7: Line(item='tea', count=1)}, (1, 'x'), {1})"
    );
    Ok(())
}

async fn defaults_are_pythons(peers: Peers) -> Outcome {
    let code = "
        @pymq.remote('total')
        def total(price: float, count: int = 2, tax: float = 0.5):
            return price * count + tax
    ";
    python_exposes(&peers, code, &["total"]).await?;

    assert_eq!(
        peers.bus.stub::<_, Value>("total").call((1.0,)).await?,
        json!(2.5)
    );
    assert_eq!(
        peers.bus.stub::<_, Value>("total").call((1.0, 3)).await?,
        json!(3.5)
    );
    assert_eq!(
        peers
            .bus
            .stub::<_, Value>("total")
            .call((1.0, 3, 0.0))
            .await?,
        json!(3.0)
    );
    Ok(())
}

const GIVE: &str = "
    @pymq.remote('give')
    def give(expression):
        return eval(expression)
";

async fn results_of_every_kind_return(peers: Peers) -> Outcome {
    async fn give<R: serde::de::DeserializeOwned + Send>(
        bus: &Bus,
        expression: &str,
    ) -> pymq::Result<R> {
        bus.stub("give").call((expression,)).await
    }
    python_exposes(&peers, GIVE, &["give"]).await?;
    let bus = &peers.bus;

    give::<()>(bus, "None").await?;
    assert_eq!(give::<Option<u8>>(bus, "None").await?, None);
    assert_eq!(give::<i64>(bus, "-7").await?, -7);
    assert_eq!(give::<u128>(bus, "2**127").await?, 1 << 127);
    assert_eq!(give::<Value>(bus, "0.1 + 0.2").await?, json!(0.1 + 0.2));
    assert_eq!(give::<Value>(bus, "1.0").await?, json!(1.0));
    assert!(give::<bool>(bus, "True").await?);
    assert_eq!(give::<String>(bus, "'é😀\\0'").await?, "é😀\0");
    assert_eq!(
        give::<Vec<Option<u8>>>(bus, "[None, 1]").await?,
        [None, Some(1)]
    );
    assert_eq!(give::<Vec<String>>(bus, "['__type']").await?, ["__type"]);
    assert_eq!(
        give::<(i64, String)>(bus, "(1, 'a')").await?,
        (1, "a".to_owned())
    );
    assert_eq!(
        give::<BTreeSet<u8>>(bus, "{2, 1}").await?,
        BTreeSet::from([1, 2])
    );
    assert_eq!(
        give::<Value>(bus, "{'a': {'__type': 'x'}, 'b': (1, 2)}").await?,
        json!({"a": {"__type": "x"}, "b": [1, 2]})
    );
    assert_eq!(
        give::<Value>(bus, "{'__obj': 5}").await?,
        json!({"__obj": 5})
    );
    assert_eq!(
        give::<(String,)>(bus, "ValueError('returned, not raised')")
            .await?
            .0,
        "returned, not raised"
    );
    Ok(())
}

async fn objects_as_results_are_structs(peers: Peers) -> Outcome {
    python_exposes(&peers, GIVE, &["give"]).await?;
    let bus = &peers.bus;

    assert_eq!(
        bus.stub::<_, Placed>("give")
            .call(("Placed(17, 9.0)",))
            .await?,
        PLACED
    );
    assert_eq!(
        bus.stub::<_, Line>("give")
            .call(("Line('egg', 12)",))
            .await?,
        Line("egg".into(), 12)
    );
    assert_eq!(
        bus.stub::<_, Vec<Placed>>("give")
            .call(("[Placed(17, 9.0)]",))
            .await?,
        [PLACED]
    );
    let customer: Customer = bus.stub("give").call(("Customer('Zoë', ['vip'])",)).await?;
    assert_eq!(customer, basket().customer);
    let expression = "Basket(Customer('Zoë', ['vip']), [Line('egg', 12)], [Customer('Al', [])], {'x'}, (1, 2), {7: Line('tea', 1)})";
    assert_eq!(
        bus.stub::<_, Basket>("give").call((expression,)).await?,
        basket()
    );
    Ok(())
}

async fn a_function_is_reached_by_its_qualified_name(peers: Peers) -> Outcome {
    let code = "
        def add(a: int, b: int) -> int:
            return a + b
        class Calculator:
            def negate(self, n: int) -> int:
                return -n
        pymq.expose(add)
        pymq.expose(Calculator().negate)
    ";
    python_exposes(
        &peers,
        code,
        &["__main__.add", "__main__.Calculator.negate"],
    )
    .await?;

    assert_eq!(
        peers
            .bus
            .stub::<_, i64>("__main__.add")
            .call((2, 4))
            .await?,
        6
    );
    assert_eq!(
        peers
            .bus
            .stub::<_, i64>("__main__.Calculator.negate")
            .call((4,))
            .await?,
        -4
    );
    Ok(())
}

const FAIL: &str = "
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

async fn sixty_four_calls_in_flight_share_one_inbox(peers: Peers) -> Outcome {
    let code = "
        inboxes = set()
        of_pymq = pymq.provider.base.DefaultSkeletonMethod._queue_response
        def noting(skeleton, request, response):
            inboxes.add(request.response_channel)
            of_pymq(skeleton, request, response)
        pymq.provider.base.DefaultSkeletonMethod._queue_response = noting
        @pymq.remote('double')
        def double(n):
            if n % 16 == 15:
                raise ValueError(n)
            return 2 * n
    ";
    python_exposes(&peers, code, &["double"]).await?;
    let mut calls = JoinSet::new();
    for n in 0..64_u32 {
        let double = peers
            .bus
            .stub::<_, u32>("double")
            .timeout(Duration::from_secs(30));
        calls.spawn(async move { (n, double.call((n,)).await) });
    }

    for (n, result) in calls.join_all().await {
        if n % 16 == 15 {
            let error = result.expect_err("it succeeded");
            assert_eq!(
                error
                    .remote()
                    .map(RemoteError::args::<(u32,)>)
                    .ok_or("no remote error")??,
                (n,)
            );
        } else {
            assert_eq!(result?, 2 * n);
        }
    }
    assert_eq!(peers.python.repr("len(inboxes)").await?, "1");
    Ok(())
}

/// Two servers of each kind under one name; each answers its own.
async fn four_servers(peers: &Peers) -> Result<(Python, Bus), Failure> {
    let (python, bus) = (peers.another_python().await?, peers.another_bus().await?);
    for (python, name) in [(&peers.python, "python 1"), (&python, "python 2")] {
        python
            .run(&format!("pymq.expose(lambda: {name:?}, 'who')"))
            .await?;
    }
    for (bus, name) in [(&peers.bus, "rust 1"), (&bus, "rust 2")] {
        bus.expose("who", move || async move { name }).await?.keep();
    }
    peers.until_listening("who", 4).await?;
    Ok((python, bus))
}

async fn all_servers_of_both_kinds_answer_a_call_to_all(peers: Peers) -> Outcome {
    let _servers = four_servers(&peers).await?;
    let caller = peers.another_bus().await?;

    let responses = caller.call_all::<String>("who", ()).await?;

    assert_eq!(responses.expected(), 4);
    let mut names = soon("all answers", responses.all())
        .await?
        .into_iter()
        .collect::<pymq::Result<Vec<_>>>()?;
    names.sort_unstable();
    assert_eq!(names, ["python 1", "python 2", "rust 1", "rust 2"]);
    Ok(())
}

async fn a_failure_of_one_server_is_one_item_of_a_call_to_all(peers: Peers) -> Outcome {
    python_exposes(&peers, FAIL, &["fail"]).await?;
    let _exposed = peers.bus.expose("fail", async |text: String| text).await?;

    let responses = peers
        .bus
        .call_all::<String>("fail", ("KeyError('k')",))
        .await?
        .all()
        .await;

    let (answers, errors): (Vec<_>, Vec<_>) = responses.into_iter().partition(Result::is_ok);
    assert_eq!(
        answers.into_iter().flatten().collect::<Vec<_>>(),
        ["KeyError('k')"]
    );
    let errors: Vec<_> = errors
        .iter()
        .filter_map(|error| error.as_ref().err()?.remote())
        .collect();
    assert_eq!(errors, [&RemoteError::new("KeyError", "k")]);
    Ok(())
}

async fn a_plain_call_among_servers_of_both_kinds_returns_one_answer(peers: Peers) -> Outcome {
    let _servers = four_servers(&peers).await?;
    let who = peers.another_bus().await?.stub::<_, String>("who");

    for _ in 0..20 {
        let name = who.call(()).await?;
        assert!(
            name.starts_with("python") || name.starts_with("rust"),
            "{name}"
        );
    }
    Ok(())
}
