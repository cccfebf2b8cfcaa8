//! What Rust sends and Python reads: each kind of value as an event on a topic and as an item of a
//! queue.

use std::collections::BTreeMap;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_core::codec::Encode;
use pymq_core::provider::PutOptions;
use pymq_core::{Event, Raw};
use serde::Serialize;
use uuid::Uuid;

use super::shop::{BASKET, Inner, Line, PLACED, Ping, Placed, basket};

cases! {
    integers_are_ints,
    integers_past_64_bits_are_ints,
    floats_stay_floats,
    booleans_are_bools,
    text_of_any_script_is_str,
    nothing_is_none,
    lists_are_lists_whatever_comes_first,
    empty_collections_are_empty,
    maps_are_dicts,
    keys_of_maps_are_str,
    tuples_are_tuples_and_lists_further_in,
    structs_without_a_class_are_dicts,
    enums_are_what_serde_makes_of_them,
    lists_with_reserved_words_are_lists,
    maps_with_reserved_keys_are_dicts,
    opaque_bytes_are_base64_text,
    a_struct_with_a_class_is_its_instance,
    objects_in_objects_are_built_by_annotation,
    a_tuple_struct_is_a_named_tuple,
    a_class_without_attributes_is_built,
    a_class_in_a_class_is_found_by_its_whole_path,
    lists_of_structs_are_objects_to_a_handler_that_says_so,
    a_tagged_list_is_a_list_of_instances,
    annotations_are_read_as_the_guide_says,
    enums_and_numbers_are_sent_as_the_guide_says,
    a_handler_with_annotations_as_text_is_on_the_topic_str,
}

/// Sends a value in both ways, and compares what Python shows for it.
async fn python_reads(peers: &Peers, value: &(impl Encode + Sync), shown: &str) -> Outcome {
    let topic = Uuid::new_v4().to_string();
    peers.python_hears(&topic).await?;
    peers.bus.topic(topic).publish(value).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, shown, "as an event");

    let (provider, opts) = (peers.bus.provider()?, PutOptions::default());
    provider
        .queue_put("values", vec![value.encode()?], opts)
        .await?;
    let item = peers.python.repr("pymq.queue('values').get()").await?;
    assert_eq!(item, shown, "as an item");

    assert!(peers.python.errors().await?.is_empty());
    Ok(())
}

/// The same for an event: on its own topic, to a handler without an annotation, and in a queue.
async fn python_builds<E: Event + Sync>(peers: Peers, event: E, shown: &str) -> Outcome {
    peers.python_hears(E::TOPIC).await?;
    peers.bus.publish(&event).await?;
    assert_eq!(peers.python.repr("seen.get()").await?, shown, "as an event");

    let items = peers.bus.queue::<E>("values").tagged();
    items.put(&event).await?;
    let item = peers.python.repr("pymq.queue('values').get()").await?;
    assert_eq!(item, shown, "as an item");

    assert!(peers.python.errors().await?.is_empty());
    Ok(())
}

async fn integers_are_ints(peers: Peers) -> Outcome {
    python_reads(&peers, &0, "0").await?;
    python_reads(&peers, &i64::MIN, "-9223372036854775808").await?;
    python_reads(&peers, &u64::MAX, "18446744073709551615").await
}

async fn integers_past_64_bits_are_ints(peers: Peers) -> Outcome {
    python_reads(
        &peers,
        &u128::MAX,
        "340282366920938463463374607431768211455",
    )
    .await?;
    python_reads(
        &peers,
        &i128::MIN,
        "-170141183460469231731687303715884105728",
    )
    .await
}

async fn floats_stay_floats(peers: Peers) -> Outcome {
    python_reads(&peers, &1.0, "1.0").await?;
    python_reads(&peers, &-0.0, "-0.0").await?;
    python_reads(
        &peers,
        &vec![1e16, 1e-7, f64::MAX, 5e-324],
        "[1e+16, 1e-07, 1.7976931348623157e+308, 5e-324]",
    )
    .await
}

async fn booleans_are_bools(peers: Peers) -> Outcome {
    python_reads(&peers, &true, "True").await?;
    python_reads(&peers, &false, "False").await
}

async fn text_of_any_script_is_str(peers: Peers) -> Outcome {
    python_reads(&peers, &"héllo ☃ 😀", "'héllo ☃ 😀'").await?;
    python_reads(
        &peers,
        &"\0\t\n\u{7f}\u{2028}\"\\/",
        r#"'\x00\t\n\x7f\u2028"\\/'"#,
    )
    .await?;
    python_reads(&peers, &'é', "'é'").await
}

async fn nothing_is_none(peers: Peers) -> Outcome {
    python_reads(&peers, &(), "None").await?;
    python_reads(&peers, &None::<u8>, "None").await
}

async fn lists_are_lists_whatever_comes_first(peers: Peers) -> Outcome {
    python_reads(&peers, &vec![1, 2], "[1, 2]").await?;
    python_reads(&peers, &vec![None, Some(1)], "[None, 1]").await?;
    python_reads(&peers, &vec![vec![1], vec![]], "[[1], []]").await?;
    python_reads(&peers, &vec![PLACED], "[{'order': 17, 'total': 9.0}]").await
}

async fn empty_collections_are_empty(peers: Peers) -> Outcome {
    python_reads(&peers, &Vec::<u8>::new(), "[]").await?;
    python_reads(&peers, &BTreeMap::<String, u8>::new(), "{}").await
}

async fn maps_are_dicts(peers: Peers) -> Outcome {
    let map = BTreeMap::from([("a", vec![(1, None::<u8>)]), ("é", vec![])]);
    python_reads(&peers, &map, "{'a': [[1, None]], 'é': []}").await
}

async fn keys_of_maps_are_str(peers: Peers) -> Outcome {
    python_reads(&peers, &BTreeMap::from([(1, true)]), "{'1': True}").await
}

async fn tuples_are_tuples_and_lists_further_in(peers: Peers) -> Outcome {
    python_reads(&peers, &("a", 1), "('a', 1)").await?;
    python_reads(&peers, &((1, 2), [3]), "([1, 2], [3])").await
}

async fn structs_without_a_class_are_dicts(peers: Peers) -> Outcome {
    #[derive(Serialize)]
    struct Stock {
        item: &'static str,
        left: Option<u8>,
        size: (u8, u8),
    }
    let stock = Stock {
        item: "egg",
        left: None,
        size: (1, 2),
    };
    python_reads(
        &peers,
        &stock,
        "{'item': 'egg', 'left': None, 'size': [1, 2]}",
    )
    .await
}

async fn enums_are_what_serde_makes_of_them(peers: Peers) -> Outcome {
    #[derive(Serialize)]
    enum Payment {
        Cash,
        Card(u64),
        Check { bank: &'static str },
    }
    python_reads(&peers, &Payment::Cash, "'Cash'").await?;
    python_reads(&peers, &Payment::Card(7), "{'Card': 7}").await?;
    python_reads(
        &peers,
        &Payment::Check { bank: "b" },
        "{'Check': {'bank': 'b'}}",
    )
    .await
}

async fn lists_with_reserved_words_are_lists(peers: Peers) -> Outcome {
    python_reads(&peers, &vec!["__type"], "['__type']").await?;
    python_reads(&peers, &vec!["__list", "__obj"], "['__list', '__obj']").await
}

async fn maps_with_reserved_keys_are_dicts(peers: Peers) -> Outcome {
    python_reads(
        &peers,
        &BTreeMap::from([("__type", "os.system")]),
        "{'__type': 'os.system'}",
    )
    .await?;
    python_reads(&peers, &BTreeMap::from([("__obj", 5)]), "{'__obj': 5}").await?;
    python_reads(&peers, &BTreeMap::from([("__list", 5)]), "{'__list': 5}").await?;
    python_reads(&peers, &BTreeMap::from([("__pymq", 5)]), "{'__pymq': 5}").await
}

async fn opaque_bytes_are_base64_text(peers: Peers) -> Outcome {
    python_reads(&peers, &Raw::from(&b"\xff\x00"[..]), "'/wA='").await
}

async fn a_struct_with_a_class_is_its_instance(peers: Peers) -> Outcome {
    python_builds(peers, PLACED, "Placed(order=17, total=9.0)").await
}

async fn objects_in_objects_are_built_by_annotation(peers: Peers) -> Outcome {
    python_builds(peers, basket(), BASKET).await
}

async fn a_tuple_struct_is_a_named_tuple(peers: Peers) -> Outcome {
    python_builds(
        peers,
        Line("egg".to_owned(), 12),
        "Line(item='egg', count=12)",
    )
    .await
}

async fn a_class_without_attributes_is_built(peers: Peers) -> Outcome {
    python_builds(peers, Ping, "Ping()").await
}

async fn a_class_in_a_class_is_found_by_its_whole_path(peers: Peers) -> Outcome {
    python_builds(peers, Inner { x: 4 }, "Outer.Inner(x=4)").await
}

async fn lists_of_structs_are_objects_to_a_handler_that_says_so(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            from typing import Dict, List
            def on_all(event: List[Placed]):
                seen.put(event)
            def on_lines(event: Dict[int, Line]):
                seen.put(event)
            pymq.subscribe(on_all, 'all')
            pymq.subscribe(on_lines, 'lines')
            ",
        )
        .await?;
    peers.until_listening("lines", 1).await?;

    peers.bus.topic("all").publish(&vec![PLACED]).await?;
    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "[Placed(order=17, total=9.0)]"
    );
    let lines = BTreeMap::from([(7, Line("tea".to_owned(), 1))]);
    peers.bus.topic("lines").publish(&lines).await?;
    assert_eq!(
        peers.python.repr("seen.get()").await?,
        "{7: Line(item='tea', count=1)}"
    );
    Ok(())
}

async fn a_tagged_list_is_a_list_of_instances(peers: Peers) -> Outcome {
    async fn python_builds_all<E: Event + Sync>(
        peers: &Peers,
        events: Vec<E>,
        shown: &str,
    ) -> Outcome {
        let items = peers.bus.queue::<Vec<E>>("values").tagged();
        items.put(&events).await?;
        items.header("trace", "af01").put(&events).await?;
        for _ in 0..2 {
            let item = peers.python.repr("pymq.queue('values').get()").await?;
            assert_eq!(item, shown);
        }
        Ok(())
    }
    let placed = "Placed(order=17, total=9.0)";
    let both = format!("[{placed}, {placed}]");
    python_builds_all(&peers, vec![PLACED, PLACED], &both).await?;
    python_builds_all(&peers, vec![basket()], &format!("[{BASKET}]")).await?;
    let line = Line("egg".to_owned(), 12);
    python_builds_all(&peers, vec![line], "[Line(item='egg', count=12)]").await?;
    python_builds_all(&peers, vec![Inner { x: 4 }], "[Outer.Inner(x=4)]").await?;
    python_builds_all(&peers, Vec::<Inner>::new(), "[]").await?;

    // Byte for byte what Python would have put, so that each may replace the other.
    let payloads = peers.bus.queue::<Raw>("values");
    let again = "pymq.queue('values').put([Placed(order=17, total=9.0)])";
    peers.python.run(again).await?;
    let of_python = payloads.get().await?;
    peers
        .bus
        .queue::<Vec<Placed>>("values")
        .tagged()
        .put(&vec![PLACED])
        .await?;
    assert_eq!(payloads.get().await?, of_python);

    peers
        .bus
        .queue::<Vec<Placed>>("values")
        .put(&vec![PLACED])
        .await?;
    let item = peers.python.repr("pymq.queue('values').get()").await?;
    assert_eq!(item, "[{'order': 17, 'total': 9.0}]", "without a tag");
    Ok(())
}

/// Defines the names that the two cases below use, in the Python process.
const READING: &str = "
    import json, enum, decimal, uuid
    from typing import *
    from pymq.json import DeepDictDecoder, DeepDictEncoder
    class Pay(str, enum.Enum):
        CARD = 'card'
    class Size(enum.Enum):
        BIG = 'big'
    class Level(enum.IntEnum):
        ONE = 1
    def read(text, annotation):
        return json.loads(text, cls=DeepDictDecoder.for_type(annotation))
    def write(value):
        return DeepDictEncoder().encode(value)
";

async fn annotations_are_read_as_the_guide_says(peers: Peers) -> Outcome {
    peers.python.run(READING).await?;
    for (annotation, json) in [
        ("list[int]", "[1]"),
        ("dict[str, int]", r#"{"a": 1}"#),
        ("set[int]", "[1]"),
        ("tuple[int, int]", "[1, 2]"),
        ("List", "[1]"),
        ("Dict", r#"{"a": 1}"#),
        ("Set", "[1]"),
        ("Tuple", "[1, 2]"),
        ("Tuple[int, ...]", "[1, 2]"),
        ("Sequence[int]", "[1]"),
        ("Iterable[int]", "[1]"),
        ("Mapping[str, int]", r#"{"a": 1}"#),
        ("FrozenSet[int]", "[1]"),
        ("Optional[int]", "1"),
        ("int | None", "1"),
        ("Union[int, str]", "1"),
        ("int | str", "1"),
        ("Literal['a']", r#""a""#),
        ("bytes", r#""a""#),
        ("frozenset", "[1]"),
    ] {
        let read = format!("read({json:?}, {annotation})");
        let raised = peers.python.raises(&read).await;
        assert_eq!(raised.map(|it| it.type_name)?, "TypeError", "{read}");
    }
    for (annotation, json, shown) in [
        ("List[int]", "[1]", "[1]"),
        ("Dict[int, int]", r#"{"2": 1}"#, "{2: 1}"),
        ("Set[int]", "[1]", "{1}"),
        ("Tuple[int, int]", "[1, 2]", "(1, 2)"),
        ("list", "[1]", "[1]"),
        ("dict", r#"{"a": 1}"#, "{'a': 1}"),
        ("Any", "[1]", "[1]"),
        ("Optional[int]", "null", "None"),
        ("Pay", r#""card""#, "<Pay.CARD: 'card'>"),
        ("Size", r#""big""#, "<Size.BIG: 'big'>"),
        ("Level", "1", "<Level.ONE: 1>"),
        ("decimal.Decimal", r#""1.50""#, "Decimal('1.50')"),
        (
            "uuid.UUID",
            r#""00000000-0000-0000-0000-000000000001""#,
            "UUID('00000000-0000-0000-0000-000000000001')",
        ),
    ] {
        let read = format!("read({json:?}, {annotation})");
        assert_eq!(peers.python.repr(&read).await?, shown, "{read}");
    }
    Ok(())
}

async fn enums_and_numbers_are_sent_as_the_guide_says(peers: Peers) -> Outcome {
    peers.python.run(READING).await?;
    for (value, written) in [("Pay.CARD", r#""card""#), ("Level.ONE", "1")] {
        let json: String = peers.python.eval(&format!("write({value})")).await?;
        assert_eq!(json, written);
    }
    let json: String = peers.python.eval("write(Size.BIG)").await?;
    assert!(json.starts_with('{') && json.contains("_value_"), "{json}");
    for value in ["decimal.Decimal('1.5')", "uuid.UUID(int=1)"] {
        let raised = peers.python.raises(&format!("write({value})")).await?;
        assert_eq!(raised.type_name, "TypeError", "{value}");
    }
    Ok(())
}

async fn a_handler_with_annotations_as_text_is_on_the_topic_str(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            def on_placed(event: 'Placed'):
                seen.put(event)
            pymq.subscribe(on_placed)
            ",
        )
        .await?;
    peers.until_listening("str", 1).await?;

    assert_eq!(peers.bus.publish(&PLACED).await?, 0);
    Ok(())
}
