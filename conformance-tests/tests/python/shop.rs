//! The Rust side of `python/shop/events.py`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Placed {
    pub(super) order: u64,
    pub(super) total: f64,
}
pymq_core::event!(
    Placed,
    topic = "shop.events.Placed",
    class = "shop.events.Placed"
);

pub(super) const PLACED: Placed = Placed {
    order: 17,
    total: 9.0,
};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Customer {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Line(pub(super) String, pub(super) u32);
pymq_core::event!(Line, topic = "shop.events.Line", class = "shop.events.Line");

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Basket {
    pub(super) customer: Customer,
    pub(super) lines: Vec<Line>,
    pub(super) others: Vec<Customer>,
    pub(super) labels: BTreeSet<String>,
    pub(super) size: (u32, u32),
    pub(super) shelves: BTreeMap<u32, Line>,
}
pymq_core::event!(
    Basket,
    topic = "shop.events.Basket",
    class = "shop.events.Basket"
);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Ping;
pymq_core::event!(Ping, topic = "shop.events.Ping", class = "shop.events.Ping");

/// On the channel that Python uses for a nested class, and under the name that it can import.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Inner {
    pub(super) x: i64,
}
pymq_core::event!(
    Inner,
    topic = "shop.events.Inner",
    class = "shop.events.Outer.Inner"
);

/// What Python shows for [`basket`].
pub(super) const BASKET: &str = "Basket(customer=Customer(name='Zoë', tags=['vip']), lines=[Line(item='egg', count=12)], \
    others=[Customer(name='Al', tags=[])], labels={'x'}, size=(1, 2), shelves={7: Line(item='tea', count=1)})";

pub(super) fn basket() -> Basket {
    Basket {
        customer: customer("Zoë", &["vip"]),
        lines: vec![Line("egg".to_owned(), 12)],
        others: vec![customer("Al", &[])],
        labels: BTreeSet::from(["x".to_owned()]),
        size: (1, 2),
        shelves: BTreeMap::from([(7, Line("tea".to_owned(), 1))]),
    }
}

fn customer(name: &str, tags: &[&str]) -> Customer {
    Customer {
        name: name.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
    }
}
