use redis::{ConnectionAddr, IntoConnectionInfo};

use super::*;
use crate::connection::dialer::Kind;

fn dialer(place: &Place) -> Result<Dialer, Fault> {
    let (host, port) = place.clone();
    let server = ConnectionAddr::Tcp(host, port).into_connection_info();
    Dialer::new(&server.unwrap(), Kind::Owner, Duration::from_secs(1))
}

fn claim(first: usize, last: usize, host: &str, epoch: u64) -> Claim {
    Claim {
        first,
        last,
        place: (host.to_owned(), 7000),
        epoch,
    }
}

fn owner(table: &Table, slot: usize) -> Option<String> {
    let slot = Slot::from_number(slot).unwrap();
    table
        .owner(slot)
        .map(|owner| owner.dialer.host().to_owned())
}

fn owners(table: &Table, slots: [usize; 4]) -> [String; 4] {
    slots.map(|slot| owner(table, slot).unwrap_or_default())
}

fn table() -> Table {
    let mut table = Table::default();
    assert!(table.learn(&[claim(0, 99, "a", 1), claim(100, 16_383, "b", 2)], dialer));
    assert!(table.forget_unused().is_empty());
    table
}

#[tokio::test(start_paused = true)]
async fn each_slot_has_its_owner() {
    let mut table = table();

    assert_eq!(owners(&table, [0, 99, 100, 16_383]), ["a", "a", "b", "b"]);
    assert!(!table.learn(&[claim(0, 99, "a", 1), claim(100, 16_383, "b", 2)], dialer));
    let slot = Slot::from_number(0).unwrap();
    assert_eq!(table.changed_at(slot), None);
}

#[tokio::test(start_paused = true)]
async fn an_owner_with_a_higher_epoch_takes_over() {
    let mut table = table();

    let claims = [
        claim(0, 49, "a", 1),
        claim(50, 149, "c", 3),
        claim(150, 16_383, "b", 2),
    ];
    assert!(table.learn(&claims, dialer));

    assert_eq!(owners(&table, [49, 50, 149, 150]), ["a", "c", "c", "b"]);
    let moved = Slot::from_number(50).unwrap();
    assert_eq!(table.changed_at(moved), Some(Instant::now()));
    let kept = Slot::from_number(49).unwrap();
    assert_eq!(table.changed_at(kept), None);
    assert!(table.forget_unused().is_empty());
}

/// A node that was cut off still names itself.
#[tokio::test(start_paused = true)]
async fn an_older_claim_is_ignored_for_a_while() {
    let mut table = table();
    table.learn(&[claim(0, 99, "c", 3), claim(100, 16_383, "b", 2)], dialer);
    let old = [claim(0, 99, "a", 1), claim(100, 16_383, "b", 2)];

    assert!(!table.learn(&old, dialer));
    assert_eq!(owner(&table, 0).as_deref(), Some("c"));

    // A cluster that was set up anew.
    tokio::time::advance(EPOCH_LIFE + Duration::from_millis(1)).await;
    assert!(table.learn(&old, dialer));
    assert_eq!(owner(&table, 0).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_slot_without_a_claim_keeps_its_owner_for_a_while() {
    let mut table = table();
    let rest = [claim(100, 16_383, "b", 2)];

    assert!(!table.learn(&rest, dialer));
    assert_eq!(owner(&table, 0).as_deref(), Some("a"));

    tokio::time::advance(EPOCH_LIFE + Duration::from_millis(1)).await;
    assert!(table.learn(&rest, dialer));
    assert_eq!(owner(&table, 0), None);
    assert_eq!(table.forget_unused().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_moves_one_slot() {
    let mut table = table();
    let to = ("c".to_owned(), 7000);
    for slot in [0, 50, 16_383] {
        let slot = Slot::from_number(slot).unwrap();
        assert!(table.note_moved(slot, &to, || dialer(&to)));
        assert!(!table.note_moved(slot, &to, || dialer(&to)));
    }

    assert_eq!(owners(&table, [0, 1, 49, 50]), ["c", "a", "a", "c"]);
    assert_eq!(
        owners(&table, [51, 100, 16_382, 16_383]),
        ["a", "b", "b", "c"]
    );

    assert!(table.forget_unused().is_empty());

    // The nodes say more.
    assert!(table.learn(&[claim(0, 99, "a", 1), claim(100, 16_383, "b", 2)], dialer));
    assert_eq!(owners(&table, [0, 50, 100, 16_383]), ["a", "a", "b", "b"]);
    assert_eq!(table.forget_unused().len(), 1);
}
/// A node that gets its first slot is asked for keys of it before it owns the slot.
#[tokio::test(start_paused = true)]
async fn a_node_without_a_slot_is_kept_until_it_has_lost_one() {
    let mut table = table();
    let place = ("c".to_owned(), 7000);
    let member = table.member(&place, || dialer(&place)).unwrap();
    assert!(table.forget_unused().is_empty());

    table.learn(&[claim(0, 99, "c", 3), claim(100, 16_383, "b", 2)], dialer);
    assert_eq!(table.forget_unused().len(), 1);
    table.learn(&[claim(0, 16_383, "b", 4)], dialer);

    let forgotten = table.forget_unused();
    assert_eq!(forgotten.len(), 1);
    assert!(Arc::ptr_eq(&forgotten[0], &member));
}
