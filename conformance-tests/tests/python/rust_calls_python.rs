//! A Rust stub calls a Python function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_core::{Bus, RemoteError};
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
    sixty_four_calls_in_flight_share_one_inbox,
}

/// Python defines and exposes these functions. Waits until they are live under these names.
pub(super) async fn python_exposes(peers: &Peers, code: &str, names: &[&str]) -> Outcome {
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

pub(super) const GIVE: &str = "
    @pymq.remote('give')
    def give(expression):
        return eval(expression)
";

async fn results_of_every_kind_return(peers: Peers) -> Outcome {
    async fn give<R: serde::de::DeserializeOwned + Send>(
        bus: &Bus,
        expression: &str,
    ) -> pymq_core::Result<R> {
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
