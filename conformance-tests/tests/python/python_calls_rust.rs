//! A Python stub calls a Rust function.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_conformance::python::Peers;
use pymq_conformance::{Failure, Outcome};
use pymq_core::{Json, RemoteError};
use serde_json::{Value, json};

use super::shop::{Basket, Inner, Line, PLACED, Ping, Placed, basket};

cases! {
    positional_arguments_of_every_kind_are_read,
    objects_as_arguments_are_structs,
    options_at_the_end_are_defaults,
    results_of_every_kind_have_a_type_that_python_knows,
    structs_with_a_class_return_as_its_instances,
    a_whole_response_is_as_from_python,
    python_threads_call_at_once,
    a_function_runs_once_for_each_call,
    an_answer_that_nobody_takes_expires,
}

async fn positional_arguments_of_every_kind_are_read(peers: Peers) -> Outcome {
    async fn kinds(
        int: i64,
        float: f64,
        text: String,
        none: (),
        list: Vec<Value>,
        pair: (u8, String),
        map: BTreeMap<String, Value>,
    ) -> String {
        format!("{int} {float:?} {text} {none:?} {list:?} {pair:?} {map:?}")
    }
    let _kinds = peers.bus.expose("kinds", kinds).await?;
    let _wide = peers
        .bus
        .expose("wide", async |wide: i128, set: BTreeSet<u8>| {
            wide + i128::from(set.len() as u64)
        })
        .await?;

    let shown: String = peers
        .python
        .eval("pymq.stub('kinds')(-7, 1.0, 'é😀', None, [1, None, True], (2, 'b'), {'k': (1, 2)})")
        .await?;
    assert_eq!(
        shown,
        r#"-7 1.0 é😀 () [Number(1), Null, Bool(true)] (2, "b") {"k": Array [Number(1), Number(2)]}"#
    );
    assert_eq!(
        peers
            .python
            .repr("pymq.stub('wide')(10**30, {1, 2})")
            .await?,
        "1000000000000000000000000000002"
    );
    Ok(())
}

async fn objects_as_arguments_are_structs(peers: Peers) -> Outcome {
    async fn same(placed: Placed, line: Line, all: Vec<Placed>, all_of_it: Basket) -> bool {
        placed == PLACED
            && line == Line("egg".to_owned(), 12)
            && all == [PLACED]
            && all_of_it == basket()
    }
    let _exposed = peers.bus.expose("same", same).await?;

    let is_same: bool = peers
        .python
        .eval(
            "
            placed = Placed(17, 9.0)
            basket = Basket(Customer('Zoë', ['vip']), [Line('egg', 12)], [Customer('Al', [])], {'x'}, (1, 2), {7: Line('tea', 1)})
            pymq.stub('same')(placed, Line('egg', 12), [placed], basket)
            ",
        )
        .await?;

    assert!(is_same);
    Ok(())
}

async fn options_at_the_end_are_defaults(peers: Peers) -> Outcome {
    async fn total(price: f64, count: Option<u32>, tax: Option<f64>) -> f64 {
        price * f64::from(count.unwrap_or(2)) + tax.unwrap_or(0.5)
    }
    let _exposed = peers.bus.expose("total", total).await?;

    let totals: Value = peers
        .python
        .eval("total = pymq.stub('total')\n[total(1.0), total(1.0, 3), total(1.0, None, 1), total(1, 3, 0.0)]")
        .await?;

    assert_eq!(totals, json!([2.5, 3.5, 3.0, 3.0]));
    Ok(())
}

async fn results_of_every_kind_have_a_type_that_python_knows(peers: Peers) -> Outcome {
    macro_rules! returns {
        ($($shown:literal: $value:expr,)+) => {
            let mut shown_and_name = Vec::new();
            $(
                let name = format!("f{}", shown_and_name.len());
                peers.bus.expose(&name, async || $value).await?.keep();
                shown_and_name.push(($shown, name));
            )+
            for (shown, name) in shown_and_name {
                let call = format!("pymq.stub({name:?}, timeout=30)()");
                assert_eq!(peers.python.repr(&call).await?, shown);
            }
        };
    }
    returns! {
        "None": (),
        "None": None::<u8>,
        "5": Some(5),
        "True": true,
        "-7": -7,
        "18446744073709551615": u64::MAX,
        "340282366920938463463374607431768211455": u128::MAX,
        "1.0": 1.0,
        "1e+16": 1e16,
        "'é😀'": "é😀",
        "'x'": String::from("x"),
        "[1, 2]": vec![1, 2],
        "[None, 1]": vec![None, Some(1)],
        "['__type']": vec!["__type"],
        "[[1], []]": vec![vec![1], vec![]],
        "(1, 'a')": (1, "a"),
        "(1,)": (1,),
        "{1, 2}": BTreeSet::from([2, 1]),
        "set()": BTreeSet::<u8>::new(),
        "{'1': 'a'}": HashMap::from([(1, "a")]),
        "{}": BTreeMap::<u8, u8>::new(),
        "{'__type': 'os.system'}": BTreeMap::from([("__type", "os.system")]),
        "{'a': [1, {'b': None}]}": Json(json!({"a": [1, {"b": null}]})),
        "1": Json(1),
        "[{'order': 17, 'total': 9.0}]": vec![PLACED],
    }
    Ok(())
}

async fn structs_with_a_class_return_as_its_instances(peers: Peers) -> Outcome {
    peers.bus.expose("placed", async || PLACED).await?.keep();
    peers
        .bus
        .expose("line", async || Line("egg".to_owned(), 12))
        .await?
        .keep();
    peers.bus.expose("basket", async || basket()).await?.keep();
    peers
        .bus
        .expose("inner", async || Inner { x: 4 })
        .await?
        .keep();
    peers.bus.expose("ping", async || Ping).await?.keep();

    for (name, shown) in [
        ("placed", "Placed(order=17, total=9.0)"),
        ("line", "Line(item='egg', count=12)"),
        ("basket", super::shop::BASKET),
        ("inner", "Outer.Inner(x=4)"),
        // A unit struct is null, and null is None for any type.
        ("ping", "None"),
    ] {
        assert_eq!(
            peers
                .python
                .repr(&format!("pymq.stub({name:?}, timeout=30)()"))
                .await?,
            shown,
            "{name}"
        );
    }
    Ok(())
}

async fn a_whole_response_is_as_from_python(peers: Peers) -> Outcome {
    let _exposed = peers
        .bus
        .expose("add", async |a: i64, b: i64| a + b)
        .await?;
    let _failing = peers
        .bus
        .expose("fail", async || {
            Err::<(), _>(RemoteError::new("KeyError", "k"))
        })
        .await?;

    assert_eq!(
        peers.python.repr("pymq.stub('add').rpc(2, 4)").await?,
        "RpcResponse(fn='add', result=6, result_type='int', error=False)"
    );
    assert_eq!(
        peers.python.repr("pymq.stub('fail').rpc()").await?,
        "RpcResponse(fn='fail', result=['k'], result_type='KeyError', error=True)"
    );
    Ok(())
}

async fn python_threads_call_at_once(peers: Peers) -> Outcome {
    let _exposed = peers.bus.expose("double", async |n: u32| 2 * n).await?;

    let is_right: bool = peers
        .python
        .eval(
            "
            from concurrent.futures import ThreadPoolExecutor
            double = pymq.stub('double', timeout=30)
            with ThreadPoolExecutor(16) as pool:
                doubled = list(pool.map(double, range(400)))
            doubled == list(range(0, 800, 2))
            ",
        )
        .await?;

    assert!(is_right);
    Ok(())
}

async fn a_function_runs_once_for_each_call(peers: Peers) -> Outcome {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let _exposed = peers
        .bus
        .expose("count", move || {
            let runs = Arc::clone(&counted);
            async move { runs.fetch_add(1, Ordering::Relaxed) + 1 }
        })
        .await?;

    let numbers: Vec<usize> = peers
        .python
        .eval("[pymq.stub('count')() for n in range(50)]")
        .await?;

    assert!(numbers.into_iter().eq(1..=50));
    assert_eq!(runs.load(Ordering::Relaxed), 50);
    Ok(())
}

async fn an_answer_that_nobody_takes_expires(peers: Peers) -> Outcome {
    let _exposed = peers.bus.expose("here", async || 1).await?;
    peers
        .python
        .run("pymq.publish(pymq.RpcRequest('here', '__rpc_left', [], {}), 'here')")
        .await?;

    let ttl = async || -> Result<i64, Failure> {
        let mut raw = peers.harness.raw().await?;
        Ok(redis::cmd("TTL")
            .arg(peers.key("__rpc_left"))
            .query_async(&mut raw)
            .await?)
    };
    pymq_conformance::wait::until("there is an answer", async || {
        ttl().await.is_ok_and(|ttl| ttl != -2)
    })
    .await?;

    let ttl = ttl().await?;
    assert!((290..=300).contains(&ttl), "{ttl}");
    Ok(())
}
