use proptest::prelude::*;

use super::*;
use crate::ids::EventTime;

fn new(outstanding_max: usize) -> Checkpointer {
    Checkpointer::new(&Checkpoint::TrimHorizon, outstanding_max)
}

fn sequence(checkpoint: Option<Checkpoint>) -> Option<Position> {
    let checkpoint = checkpoint?;
    let Checkpoint::Sequence(position) = checkpoint else { panic!("{checkpoint:?}") };
    Some(position)
}

#[test]
fn the_checkpoint_is_the_longest_completed_prefix() {
    // I2
    let mut records = new(10);
    let tickets: Vec<Ticket> = (1..=4).map(|number| records.hand_out(at(number)).unwrap()).collect();
    let mut steps = Vec::new();
    for done in [2, 0, 3, 1] {
        records.complete(tickets[done]);
        steps.push(sequence(records.to_write()));
    }
    assert_eq!(steps, [None, Some(at(1)), Some(at(1)), Some(at(4))]);
    records.written(&Checkpoint::Sequence(at(1)));
    assert_eq!(sequence(records.to_write()), Some(at(4)), "only what is known to be written counts");
    records.written(&Checkpoint::Sequence(at(4)));
    assert_eq!(records.to_write(), None);
}

#[test]
fn a_record_that_fails_is_not_passed_over() {
    // Designed out: records skipped when processing throws. I2
    let mut records = new(4);
    let failing = records.hand_out(at(1)).unwrap();
    for number in 2..=4 {
        let ticket = records.hand_out(at(number)).unwrap();
        records.complete(ticket);
    }
    assert_eq!((records.to_write(), records.outstanding(), records.room()), (None, 4, 0));
    records.complete(failing);
    assert_eq!((sequence(records.to_write()), records.outstanding(), records.room()), (Some(at(4)), 0, 4));
}

#[test]
fn too_many_records_under_way_stop_the_reading() {
    // I13: a slow shard holds a bounded number of records, and no other shard waits for it.
    let mut records = new(2);
    let first = records.hand_out(at(1)).unwrap();
    records.hand_out(at(2)).unwrap();
    assert_eq!((records.room(), records.hand_out(at(3))), (0, Err(Refused::Full)));
    records.complete(first);
    assert_eq!(records.room(), 1);
    assert!(records.hand_out(at(3)).is_ok());
    assert_eq!(new(0).room(), 1, "a bound of none would never read");
}

#[test]
fn records_come_in_order_and_not_after_the_end() {
    let mut records = new(10);
    records.hand_out(at(10)).unwrap();
    assert_eq!(records.hand_out(at(10)), Err(Refused::OutOfOrder));
    assert_eq!(records.hand_out(at(9)), Err(Refused::OutOfOrder));
    assert!(records.hand_out(Position { sub_sequence: 1, ..at(10) }).is_ok());
    records.drain();
    assert_eq!((records.hand_out(at(11)), records.room()), (Err(Refused::Closed), 0));
}

#[test]
fn a_shard_is_finished_when_its_last_record_is_completed() {
    let mut records = new(10);
    let ticket = records.hand_out(at(1)).unwrap();
    records.end();
    assert_eq!((records.finished(), records.drained()), (false, false));
    records.complete(ticket);
    assert_eq!((records.finished(), records.drained()), (true, true));
    let mut draining = new(10);
    draining.drain();
    assert_eq!((draining.finished(), draining.drained()), (false, true));
}

#[test]
fn nothing_is_checkpointed_after_the_lease_was_lost() {
    // Designed out: a checkpoint written after the lease was lost.
    let mut records = new(10);
    let ticket = records.hand_out(at(1)).unwrap();
    records.lose();
    records.complete(ticket);
    records.end();
    records.drain();
    assert_eq!((records.to_write(), records.finished(), records.drained()), (None, false, false));
}

#[test]
fn a_reader_begins_behind_the_checkpoint() {
    let time = EventTime(1_700_000_000_000);
    let inside = Position { sub_sequence: 3, ..at(9) };
    for (checkpoint, from) in [
        (Checkpoint::TrimHorizon, Some(ReadFrom::TrimHorizon)),
        (Checkpoint::Latest, Some(ReadFrom::Latest)),
        (Checkpoint::AtTimestamp(time), Some(ReadFrom::AtTimestamp(time))),
        (Checkpoint::Sequence(at(9)), Some(ReadFrom::After(at(9).sequence))),
        (Checkpoint::Sequence(inside), Some(ReadFrom::At(at(9).sequence))),
        (Checkpoint::ShardEnd, None),
    ] {
        assert_eq!(resume_from(&checkpoint), from);
    }
}

#[test]
fn an_expired_iterator_goes_on_behind_the_last_record() {
    // Designed out: an expired iterator restarted from the start position.
    let opened = EventTime(1_700_000_000_000);
    let last = at(20).sequence;
    for (checkpoint, last, from) in [
        (Checkpoint::TrimHorizon, Some(&last), ReadFrom::After(last.clone())),
        (Checkpoint::Latest, Some(&last), ReadFrom::After(last.clone())),
        (Checkpoint::Sequence(at(9)), Some(&last), ReadFrom::After(last.clone())),
        (Checkpoint::Sequence(at(9)), None, ReadFrom::After(at(9).sequence)),
        (Checkpoint::TrimHorizon, None, ReadFrom::TrimHorizon),
        (Checkpoint::Latest, None, ReadFrom::AtTimestamp(opened)),
    ] {
        let resumed = resume(&"s".into(), Interruption::Expired, &checkpoint, last, opened);
        assert_eq!(resumed, Some(Resume { from, gap: None }), "{checkpoint:?}");
    }
}

#[test]
fn a_checkpoint_older_than_retention_is_reported_and_left() {
    // Designed out: a checkpoint older than retention giving empty reads for ever.
    let checkpoint = Checkpoint::Sequence(at(9));
    let resumed = resume(&"s".into(), Interruption::Trimmed, &checkpoint, None, EventTime(0)).unwrap();
    assert_eq!(resumed.from, ReadFrom::TrimHorizon);
    assert_eq!(resumed.gap, Some(Gap { shard: "s".into(), after: checkpoint }));

    const DAY_MS: u64 = 86_400_000;
    let after = ReadFrom::After(at(9).sequence);
    let trimmed = |from: &ReadFrom, answers: &[(usize, u64)]| {
        let mut watch = TrimWatch::new(from);
        answers.iter().any(|(records, behind_ms)| watch.answered(*records, *behind_ms, DAY_MS))
    };
    let standing: Vec<(usize, u64)> = (0..5).map(|at| (0, DAY_MS + at * 250)).collect();
    assert!(trimmed(&after, &standing));
    assert!(!trimmed(&after, &standing[..4]));
    assert!(!trimmed(&ReadFrom::TrimHorizon, &standing), "it begins at the oldest already");
    let moving: Vec<(usize, u64)> = (0..50).map(|at| (0, 2 * DAY_MS - at * 250)).collect();
    assert!(!trimmed(&after, &moving), "an empty stretch is crossed");
    assert!(!trimmed(&after, &[[(1, DAY_MS)].as_slice(), &standing].concat()), "it has found records");
    let recent: Vec<(usize, u64)> = (0..50).map(|at| (0, at * 250)).collect();
    assert!(!trimmed(&after, &recent), "an empty shard");
}

proptest! {
    // I2
    #[test]
    fn every_record_is_checkpointed_only_after_it_and_all_before_are_completed(
        outstanding_max in 1..20_usize,
        moves in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..300),
    ) {
        let mut records = new(outstanding_max);
        let mut under_way: Vec<(u64, Ticket)> = Vec::new();
        let mut handed_out = 0;
        let mut last = None;
        for (kind, which) in moves {
            match kind {
                0 | 1 => match records.hand_out(at(handed_out + 1)) {
                    Ok(ticket) => {
                        handed_out += 1;
                        under_way.push((handed_out, ticket));
                    }
                    Err(refused) => prop_assert!(refused == Refused::Full && records.room() == 0),
                },
                2 if !under_way.is_empty() => {
                    let (_, ticket) = under_way.swap_remove(which.index(under_way.len()));
                    records.complete(ticket);
                    records.complete(ticket);
                }
                _ => {
                    if let Some(checkpoint) = records.to_write() {
                        records.written(&checkpoint);
                        let new = sequence(Some(checkpoint));
                        prop_assert!(new > last);
                        last = new;
                    }
                }
            }
            let oldest = under_way.iter().map(|(number, _)| *number).min();
            let prefix = oldest.unwrap_or(handed_out + 1) - 1;
            let expected = (prefix > 0).then(|| at(prefix));
            prop_assert_eq!(sequence(records.to_write()).or(last.clone()), expected);
            prop_assert!(records.outstanding() <= outstanding_max);
        }
    }
}
