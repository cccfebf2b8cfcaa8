use pymq_core::provider::{Filter, Incoming, Subscription, subscription};
use pymq_core::{ErrorKind, Published};

use super::*;

fn channel() -> Target {
    Target::Channel("c".to_owned())
}

fn topic() -> (Sink, Subscription) {
    let (inlet, subscription) = subscription(&Filter::Topic("c".to_owned()), drop);
    (Sink::Topic(inlet), subscription)
}

/// Returns a subscription that sends its `Detached` when it is dropped.
fn detachable() -> (Sink, Subscription, oneshot::Receiver<Detached>) {
    let (handed, taken) = oneshot::channel();
    let (inlet, subscription) = subscription(&Filter::Topic("c".to_owned()), move |detached| {
        drop(handed.send(detached));
    });
    (Sink::Topic(inlet), subscription, taken)
}

fn confirm(table: &mut Table) {
    let plan = table.plan();
    assert_eq!((plan.subscribe.len(), plan.unsubscribe.len()), (1, 0));
    table.subscribed(&[channel()]);
    assert!(table.plan().subscribe.is_empty());
}

fn deliver(table: &mut Table, connection: u64, text: &'static str) {
    let target = TargetRef::Channel("c");
    table.deliver(connection, target, "c", Message::json(text));
}

fn incoming(text: &'static str) -> Incoming {
    Incoming::Message(Published::new("c", Message::json(text)))
}

#[test]
fn each_subscription_is_confirmed_for_itself() {
    let mut table = Table::default();
    let (first, _first) = topic();
    let (second, _second) = topic();
    let (third, _third) = topic();

    let mut first = table.attach(&channel(), 1, first).unwrap();
    assert_eq!(table.plan().subscribe, [channel()]);
    let mut second = table.attach(&channel(), 2, second).unwrap();
    assert!(table.plan().is_empty());
    table.subscribed(&[channel()]);
    assert!(matches!(first.try_recv(), Ok(Ok(()))));
    assert!(second.try_recv().is_err());
    confirm(&mut table);
    assert!(matches!(second.try_recv(), Ok(Ok(()))));

    let mut third = table.attach(&channel(), 3, third).unwrap();
    confirm(&mut table);
    assert!(matches!(third.try_recv(), Ok(Ok(()))));
}

#[tokio::test]
async fn an_earlier_event_reaches_only_earlier_subscribers() {
    let mut table = Table::default();
    let (first, mut first_end) = topic();
    let (second, mut second_end) = topic();
    table.attach(&channel(), 1, first).unwrap();
    confirm(&mut table);

    table.attach(&channel(), 2, second).unwrap();
    deliver(&mut table, 0, "1");
    assert_eq!(table.plan().subscribe, [channel()]);
    deliver(&mut table, 0, "2");
    table.subscribed(&[channel()]);
    deliver(&mut table, 0, "3");
    table.close(&Error::new(ErrorKind::Closed, "test"));

    for (end, expected) in [
        (&mut first_end, ["1", "2", "3"].as_slice()),
        (&mut second_end, &["3"]),
    ] {
        for text in expected {
            assert_eq!(end.recv().await.unwrap(), incoming(text));
        }
        assert!(end.recv().await.is_err());
    }
}

#[test]
fn only_the_last_subscriber_unsubscribes() {
    let mut table = Table::default();
    let (first, first_end, mut first_gone) = detachable();
    let (second, second_end, mut second_gone) = detachable();
    table.attach(&channel(), 1, first).unwrap();
    confirm(&mut table);
    table.attach(&channel(), 2, second).unwrap();
    confirm(&mut table);

    drop((first_end, second_end));
    table.detach(&channel(), 1, first_gone.try_recv().unwrap().into());
    assert!(table.plan().unsubscribe.is_empty());
    table.detach(&channel(), 2, second_gone.try_recv().unwrap().into());

    assert_eq!(table.plan().unsubscribe, [channel()]);
    table.unsubscribed(&[channel()]);
    assert!(table.plan().subscribe.is_empty());
    assert!(table.channels.is_empty());
}

#[test]
fn a_subscriber_that_leaves_in_an_outage_waits_for_nothing() {
    let mut table = Table::default();
    let (first, first_end, mut first_gone) = detachable();
    let (second, second_end, mut second_gone) = detachable();
    table.attach(&channel(), 1, first).unwrap();
    confirm(&mut table);

    drop(first_end);
    table.detach(&channel(), 1, first_gone.try_recv().unwrap().into());
    assert_eq!(table.plan().unsubscribe, [channel()]);
    table.disconnected();
    assert!(table.channels.is_empty(), "on its way when it began");
    table.attach(&channel(), 2, second).unwrap();
    drop(second_end);
    table.detach(&channel(), 2, second_gone.try_recv().unwrap().into());

    assert!(table.channels.is_empty(), "in the middle of it");
    assert!(table.plan().is_empty());
}

#[test]
fn a_subscriber_that_comes_while_the_last_leaves_is_subscribed_anew() {
    let mut table = Table::default();
    let (first, first_end, mut first_gone) = detachable();
    let (second, _second) = topic();
    table.attach(&channel(), 1, first).unwrap();
    confirm(&mut table);
    drop(first_end);
    table.detach(&channel(), 1, first_gone.try_recv().unwrap().into());
    assert_eq!(table.plan().unsubscribe, [channel()]);

    let mut confirmed = table.attach(&channel(), 2, second).unwrap();
    assert!(table.plan().subscribe.is_empty());
    table.unsubscribed(&[channel()]);
    assert!(confirmed.try_recv().is_err());
    confirm(&mut table);

    assert!(matches!(confirmed.try_recv(), Ok(Ok(()))));
}

#[test]
fn a_subscriber_that_leaves_before_the_confirmation_is_unsubscribed_after_it() {
    let mut table = Table::default();
    let (sink, end, mut gone) = detachable();
    table.attach(&channel(), 1, sink).unwrap();
    assert_eq!(table.plan().subscribe, [channel()]);

    drop(end);
    table.detach(&channel(), 1, gone.try_recv().unwrap().into());
    assert!(table.plan().unsubscribe.is_empty());
    table.subscribed(&[channel()]);

    assert_eq!(table.plan().unsubscribe, [channel()]);
}

#[tokio::test]
async fn an_outage_is_a_gap_for_live_subscribers() {
    let mut table = Table::default();
    let (live, mut live_end) = topic();
    let (new, mut new_end) = topic();
    table.attach(&channel(), 1, live).unwrap();
    confirm(&mut table);

    table.disconnected();
    table.attach(&channel(), 2, new).unwrap();
    confirm(&mut table);
    table.close(&Error::new(ErrorKind::Closed, "test"));

    assert_eq!(
        live_end.recv().await.unwrap(),
        Incoming::Lagged { missed: None }
    );
    assert_eq!(new_end.recv().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn the_gap_comes_before_a_message_that_overtakes_the_confirmation() {
    let mut table = Table::default();
    let (sink, mut end) = topic();
    table.attach(&channel(), 1, sink).unwrap();
    confirm(&mut table);

    table.disconnected();
    assert_eq!(table.plan().subscribe, [channel()]);
    deliver(&mut table, 1, "1");
    table.subscribed(&[channel()]);
    deliver(&mut table, 1, "2");
    table.close(&Error::new(ErrorKind::Closed, "test"));

    let gap = Incoming::Lagged { missed: None };
    for expected in [gap, incoming("1"), incoming("2")] {
        assert_eq!(end.recv().await.unwrap(), expected);
    }
    assert!(end.recv().await.is_err());
}

#[tokio::test]
async fn an_abandoned_connection_delivers_nothing_more() {
    let mut table = Table::default();
    let (sink, mut end) = topic();
    table.attach(&channel(), 1, sink).unwrap();
    confirm(&mut table);

    table.disconnected();
    deliver(&mut table, 0, "late");
    confirm(&mut table);
    deliver(&mut table, 1, "1");
    deliver(&mut table, 0, "1");
    table.close(&Error::new(ErrorKind::Closed, "test"));

    let gap = Incoming::Lagged { missed: None };
    for expected in [gap, incoming("1")] {
        assert_eq!(end.recv().await.unwrap(), expected);
    }
    assert!(end.recv().await.is_err());
}

#[test]
fn a_refused_subscription_ends_and_can_be_tried_again() {
    let mut table = Table::default();
    let (sink, _end) = topic();
    let (again, _again) = topic();
    let mut confirmed = table.attach(&channel(), 1, sink).unwrap();
    assert_eq!(table.plan().subscribe, [channel()]);

    let fault = Fault::new(ErrorKind::Permission, "no");
    table.refused(
        &channel(),
        &fault,
        &Error::new(ErrorKind::Permission, "test"),
    );

    assert_eq!(
        confirmed.try_recv().unwrap().unwrap_err().kind,
        ErrorKind::Permission
    );
    table.attach(&channel(), 2, again).unwrap();
    assert_eq!(table.plan().subscribe, [channel()]);
}
