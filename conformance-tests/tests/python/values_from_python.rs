//! What Python sends and Rust reads: each kind of value as an event on a topic and as an item of a
//! queue.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_core::codec::Decode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shop::{Basket, Inner, Line, PLACED, Ping, Placed, basket};

cases! {
    ints_are_integers,
    ints_past_64_bits_are_exact,
    floats_are_floats,
    bools_are_booleans,
    str_is_text_of_any_script,
    none_is_nothing,
    lists_are_lists_whatever_comes_first,
    lists_of_collections_are_lists,
    lists_of_objects_are_structs,
    dicts_are_maps_and_structs,
    keys_that_are_no_str_are_read_from_text,
    tuples_are_tuples,
    sets_are_sets,
    named_tuples_are_tuples_and_structs,
    objects_are_structs,
    objects_in_objects_are_structs_in_structs,
    an_object_without_attributes_is_a_unit_struct,
    an_object_of_a_class_in_a_class_is_a_struct,
    exceptions_are_their_arguments,
    enums_are_their_numbers,
    rows_of_numbers_are_lists_of_lists,
}

/// Python sends a value in both ways. Compares the values that Rust reads.
async fn rust_reads<T>(peers: &Peers, expression: &str, expected: T) -> Outcome
where
    T: Decode + Debug + PartialEq,
{
    let mut events = peers.bus.topic("values").stream::<T>().await?;
    let send =
        format!("pymq.publish({expression}, 'values')\npymq.queue('values').put({expression})");
    peers.python.run(&send).await?;

    let event = soon("the event", events.recv()).await??.into_event();
    assert_eq!(event.as_ref(), Some(&expected), "{expression} as an event");
    let item = soon("the item", peers.bus.queue::<T>("values").get()).await??;
    assert_eq!(item, expected, "{expression} as an item");
    Ok(())
}

async fn ints_are_integers(peers: Peers) -> Outcome {
    rust_reads(&peers, "0", 0).await?;
    rust_reads(&peers, "-2**63", i64::MIN).await?;
    rust_reads(&peers, "2**64-1", u64::MAX).await?;
    rust_reads(&peers, "-7", json!(-7)).await
}

async fn ints_past_64_bits_are_exact(peers: Peers) -> Outcome {
    rust_reads(&peers, "2**64", u128::from(u64::MAX) + 1).await?;
    rust_reads(&peers, "-2**127", i128::MIN).await?;
    rust_reads(&peers, "[10**30, 1]", vec![10_u128.pow(30), 1]).await
}

async fn floats_are_floats(peers: Peers) -> Outcome {
    rust_reads(&peers, "1.0", json!(1.0)).await?;
    rust_reads(&peers, "0.1 + 0.2", 0.1 + 0.2).await?;
    rust_reads(
        &peers,
        "[1e16, 1e-07, 5e-324, 1.7976931348623157e308]",
        vec![1e16, 1e-7, 5e-324, f64::MAX],
    )
    .await
}

async fn bools_are_booleans(peers: Peers) -> Outcome {
    rust_reads(&peers, "[True, False]", [true, false]).await
}

async fn str_is_text_of_any_script(peers: Peers) -> Outcome {
    rust_reads(&peers, "'héllo ☃ 😀'", "héllo ☃ 😀".to_owned()).await?;
    rust_reads(
        &peers,
        r#"'\0\b\t\n\x7f\u2028"\\/'"#,
        "\0\u{8}\t\n\u{7f}\u{2028}\"\\/".to_owned(),
    )
    .await?;
    rust_reads(&peers, "'{\"a\": 1}'", json!("{\"a\": 1}")).await
}

async fn none_is_nothing(peers: Peers) -> Outcome {
    rust_reads(&peers, "None", ()).await?;
    rust_reads(&peers, "None", None::<u8>).await?;
    rust_reads(&peers, "None", Value::Null).await
}

async fn lists_are_lists_whatever_comes_first(peers: Peers) -> Outcome {
    rust_reads(&peers, "[]", Vec::<u8>::new()).await?;
    rust_reads(&peers, "[1, 'a', None]", json!([1, "a", null])).await?;
    rust_reads(&peers, "[None, 1]", vec![None, Some(1)]).await?;
    rust_reads(&peers, "[{'a': 1}, 2]", json!([{"a": 1}, 2])).await
}

async fn lists_of_collections_are_lists(peers: Peers) -> Outcome {
    rust_reads(
        &peers,
        "[{'a': 1}, {}]",
        vec![BTreeMap::from([("a".to_owned(), 1)]), BTreeMap::new()],
    )
    .await?;
    rust_reads(
        &peers,
        "[(1, 'a'), (2, 'b')]",
        vec![(1, "a".to_owned()), (2, "b".to_owned())],
    )
    .await?;
    rust_reads(&peers, "[{1, 2}]", vec![BTreeSet::from([1, 2])]).await
}

async fn lists_of_objects_are_structs(peers: Peers) -> Outcome {
    rust_reads(&peers, "[Placed(17, 9.0)]", vec![PLACED]).await?;
    rust_reads(
        &peers,
        "[Line('a', 1), Line('b', 2)]",
        vec![Line("a".to_owned(), 1), Line("b".to_owned(), 2)],
    )
    .await
}

async fn dicts_are_maps_and_structs(peers: Peers) -> Outcome {
    rust_reads(&peers, "{'order': 17, 'total': 9.0}", PLACED).await?;
    rust_reads(
        &peers,
        "{'a': [1, None], 'b': {'c': (1, 2)}}",
        json!({"a": [1, null], "b": {"c": [1, 2]}}),
    )
    .await?;
    rust_reads(&peers, "{}", BTreeMap::<String, u8>::new()).await
}

async fn keys_that_are_no_str_are_read_from_text(peers: Peers) -> Outcome {
    rust_reads(
        &peers,
        "{1: 'a', 20: 'b'}",
        BTreeMap::from([(1_u8, 'a'), (20, 'b')]),
    )
    .await?;
    rust_reads(
        &peers,
        "{None: 1, True: 2}",
        BTreeMap::from([("null".to_owned(), 1), ("true".to_owned(), 2)]),
    )
    .await
}

async fn tuples_are_tuples(peers: Peers) -> Outcome {
    rust_reads(&peers, "('a', 1)", ("a".to_owned(), 1)).await?;
    rust_reads(&peers, "((1, 2), [3])", ((1, 2), vec![3])).await?;
    rust_reads(&peers, "()", Vec::<u8>::new()).await
}

async fn sets_are_sets(peers: Peers) -> Outcome {
    rust_reads(&peers, "{3, 1, 2}", BTreeSet::from([1, 2, 3])).await?;
    rust_reads(&peers, "set()", BTreeSet::<u8>::new()).await
}

async fn named_tuples_are_tuples_and_structs(peers: Peers) -> Outcome {
    #[derive(Debug, Deserialize, PartialEq)]
    struct ByName {
        item: String,
        count: u32,
    }
    let by_name = ByName {
        item: "egg".to_owned(),
        count: 12,
    };
    rust_reads(&peers, "Line('egg', 12)", Line("egg".to_owned(), 12)).await?;
    rust_reads(&peers, "Line('egg', 12)", by_name).await
}

async fn objects_are_structs(peers: Peers) -> Outcome {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        order: u64,
        #[serde(default)]
        note: Option<String>,
    }
    rust_reads(&peers, "Placed(17, 9.0)", PLACED).await?;
    rust_reads(
        &peers,
        "Placed(17, 9.0)",
        Order {
            order: 17,
            note: None,
        },
    )
    .await?;
    rust_reads(
        &peers,
        "Placed(17, 9.0)",
        json!({"order": 17, "total": 9.0}),
    )
    .await
}

async fn objects_in_objects_are_structs_in_structs(peers: Peers) -> Outcome {
    let expression = "Basket(Customer('Zoë', ['vip']), [Line('egg', 12)], [Customer('Al', [])], {'x'}, (1, 2), {7: Line('tea', 1)})";
    rust_reads::<Basket>(&peers, expression, basket()).await
}

async fn an_object_without_attributes_is_a_unit_struct(peers: Peers) -> Outcome {
    rust_reads(&peers, "Ping()", Ping).await
}

async fn an_object_of_a_class_in_a_class_is_a_struct(peers: Peers) -> Outcome {
    rust_reads(&peers, "Outer.Inner(4)", Inner { x: 4 }).await
}

async fn exceptions_are_their_arguments(peers: Peers) -> Outcome {
    rust_reads(
        &peers,
        "ValueError('oh', 'noes')",
        ("oh".to_owned(), "noes".to_owned()),
    )
    .await?;
    rust_reads(&peers, "shop.events.OutOfStock()", Vec::<u8>::new()).await
}

async fn enums_are_their_numbers(peers: Peers) -> Outcome {
    rust_reads(&peers, "shop.events.Color.RED", 1).await
}

async fn rows_of_numbers_are_lists_of_lists(peers: Peers) -> Outcome {
    rust_reads(
        &peers,
        "[[1.0, 2.0], [3.0, 4.0]]",
        vec![[1.0, 2.0], [3.0, 4.0]],
    )
    .await?;
    rust_reads::<Vec<Placed>>(&peers, "[]", vec![]).await
}
