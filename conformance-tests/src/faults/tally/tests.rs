use super::super::ledger::now;
use super::*;
use crate::redis::Scratch;

const fn job(seq: u32) -> Job {
    Job { producer: 3, seq }
}

fn tally(entries: &[(u32, Entry)]) -> Tally {
    let scratch = Scratch::new().unwrap();
    let ledger = Ledger::open(&scratch, "test").unwrap();
    let journal = ledger.journal("journal").unwrap();
    let mut tally = Tally::default();
    for &(seq, entry) in entries {
        journal.write(job(seq), entry).unwrap();
        tally.read_on(&ledger).unwrap();
    }
    tally
}

#[test]
fn a_line_that_is_not_whole_says_nothing() {
    use std::io::Write;

    let scratch = Scratch::new().unwrap();
    let ledger = Ledger::open(&scratch, "test").unwrap();
    let journal = ledger.journal("journal").unwrap();
    let path = ledger.path("journal");
    let mut raw = File::options().append(true).open(path).unwrap();
    let mut tally = Tally::default();
    journal.write(job(1), Entry::Sent).unwrap();

    // An incomplete line.
    raw.write_all(b"\ns 1795933109276258").unwrap();
    tally.read_on(&ledger).unwrap();
    assert_eq!(tally.sent(), 1);
    raw.write_all(b" 3 2 0 .\n").unwrap();
    tally.read_on(&ledger).unwrap();
    assert_eq!(tally.sent(), 2);
    // A line that was cut, also at a place where it could be read.
    raw.write_all(b"\ns 1795933109276258 3 3 0").unwrap();
    journal.write(job(4), Entry::Sent).unwrap();
    tally.read_on(&ledger).unwrap();
    assert_eq!(tally.sent(), 3);
}

#[test]
fn what_was_accepted_and_never_seen_again_is_lost() {
    let tally = tally(&[
        (1, Entry::Sent),
        (1, Entry::Accepted),
        (1, Entry::Worked(1)),
        (2, Entry::Sent),
        (2, Entry::Accepted),
        (3, Entry::Sent),
        (3, Entry::Accepted),
        (4, Entry::Sent),
        (4, Entry::Unknown),
    ]);
    let rest = Rest {
        jobs: HashSet::from([job(3)]),
        ..Rest::default()
    };

    assert_eq!((tally.sent(), tally.accepted(), tally.worked()), (4, 3, 1));
    assert_eq!((tally.lost(&rest), tally.lost(&Rest::default())), (1, 2));
    assert_eq!(
        (tally.duplicates(), tally.ghosts(), tally.doubled()),
        (0, 0, 0)
    );
}

#[test]
fn what_was_worked_on_again_is_a_duplicate_and_in_the_same_attempt_a_double() {
    let tally = tally(&[
        (1, Entry::Sent),
        (1, Entry::Accepted),
        (1, Entry::Worked(1)),
        (1, Entry::Worked(3)),
        (2, Entry::Sent),
        (2, Entry::Unknown),
        (2, Entry::Worked(1)),
        (2, Entry::Worked(1)),
    ]);

    assert_eq!((tally.duplicates(), tally.doubled()), (2, 1));
}

#[test]
fn what_two_takers_acked_is_acked_twice() {
    let tally = tally(&[
        (1, Entry::Worked(1)),
        (1, Entry::Acked),
        (1, Entry::Worked(2)),
        (1, Entry::Acked),
        (2, Entry::Worked(1)),
        (2, Entry::Lost),
        (2, Entry::Worked(2)),
        (2, Entry::Acked),
    ]);

    assert_eq!((tally.acked_twice(), tally.open_acks()), (1, 1));
}

#[test]
fn an_ack_is_forgotten_if_the_message_is_handed_out_after_it() {
    let tally = tally(&[
        (1, Entry::Begun(1)),
        (1, Entry::Acked),
        (1, Entry::Begun(1)),
        (1, Entry::Begun(2)),
        (2, Entry::Begun(1)),
        (2, Entry::Begun(2)),
        (2, Entry::Acked),
    ]);

    assert_eq!(tally.forgotten_acks().len(), 1);
}

#[test]
fn what_was_refused_and_worked_on_is_a_ghost() {
    let tally = tally(&[(1, Entry::Sent), (1, Entry::Refused), (1, Entry::Worked(1))]);

    assert_eq!(tally.ghosts(), 1);
}

#[test]
fn recovery_needs_a_put_and_some_work() {
    let before = now();
    let tally = tally(&[(1, Entry::Accepted), (1, Entry::Worked(1))]);

    assert!(tally.recovery(before).is_some());
    assert_eq!(tally.recovery(now() + Duration::from_secs(1)), None);
    assert!(Tally::default().recovery(before).is_none());
}
