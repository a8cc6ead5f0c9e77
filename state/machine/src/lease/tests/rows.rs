use super::*;
use crate::ids::EventTime;

#[test]
fn checkpoints_are_written_and_read_back() {
    let of_library = Position { sub_sequence: 7, ..at(49) };
    for checkpoint in [
        Checkpoint::TrimHorizon,
        Checkpoint::Latest,
        Checkpoint::AtTimestamp(EventTime(1_700_000_000_000)),
        Checkpoint::Sequence(of_library),
        Checkpoint::ShardEnd,
    ] {
        let read = Checkpoint::read(checkpoint.text(), checkpoint.sub_sequence(), checkpoint.time());
        assert_eq!(read, Ok(checkpoint));
    }
}

#[test]
fn a_checkpoint_that_says_nothing_is_refused_with_its_reason() {
    assert_eq!(Checkpoint::read("AT_TIMESTAMP", 0, None), Err(BadCheckpoint::NoTime));
    for text in ["", "trim_horizon", "-1", "007", "4x", &"9".repeat(130)] {
        assert!(matches!(Checkpoint::read(text, 0, None), Err(BadCheckpoint::Text(_))), "{text}");
    }
}

#[test]
fn sequence_numbers_are_ordered_by_number() {
    let longest = "9".repeat(129);
    let texts = ["0", "9", "10", "49590338271490256608559692538361571095921575989136588898", &longest];
    let numbers: Vec<_> = texts.iter().map(|text| SequenceNumber::parse(text).unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let good = LeaseSettings::default();
    assert_eq!(good.check(), Ok(()));
    let bad = |change: fn(&mut LeaseSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        settings.check()
    };
    assert_eq!(bad(|of| of.fail_over_ms = 999), Err(BadLeaseSettings::FailOver(999)));
    assert_eq!(bad(|of| of.fail_over_ms = 3_600_001), Err(BadLeaseSettings::FailOver(3_600_001)));
    assert_eq!(bad(|of| of.hand_off_ms_max = 3_600_001), Err(BadLeaseSettings::HandOff(3_600_001)));
    assert_eq!(bad(|of| of.leases_max = 0), Err(BadLeaseSettings::Leases));
}

#[test]
fn an_owner_has_two_more_tries_to_renew_before_it_takes_its_lease_for_lost() {
    let settings = LeaseSettings::default();
    assert!(2 * settings.renew_after_ms() < settings.own_ms() && settings.own_ms() < settings.fail_over_ms);
}

#[test]
fn the_leaves_of_a_table_cover_all_hash_keys_once() {
    let half = u128::MAX / 2;
    let leaf = |shard: &str, start, end, parents: &[&str]| Lease {
        range: HashRange { start, end },
        parents: ids(parents),
        ..row(shard, None)
    };
    let hole = |start, end, kind| Hole { range: HashRange { start, end }, kind };
    let (uncovered, overlap) = (HoleKind::Uncovered, HoleKind::Overlap);
    let all = leaf("p", 0, u128::MAX, &[]);
    let (left, right) = (leaf("a", 0, half, &["p"]), leaf("b", half + 1, u128::MAX, &["p"]));
    let named = Lease { children: ids(&["c"]), ..all.clone() };
    let cases = [
        (vec![], vec![hole(0, u128::MAX, uncovered)]),
        (vec![all.clone()], vec![]),
        (vec![all.clone(), left.clone(), right.clone()], vec![]),
        (vec![all.clone(), left.clone()], vec![hole(half + 1, u128::MAX, uncovered)]),
        (vec![all.clone(), right.clone()], vec![hole(0, half, uncovered)]),
        (vec![named, leaf("c", 0, u128::MAX, &[])], vec![]),
        (vec![all.clone(), leaf("c", 5, 9, &[])], vec![hole(5, 9, overlap)]),
        (vec![leaf("a", 0, 9, &[]), leaf("b", 5, u128::MAX, &[])], vec![hole(5, 9, overlap)]),
        (
            vec![leaf("a", 0, 9, &[]), leaf("b", 12, 20, &[]), leaf("c", 21, u128::MAX - 1, &[])],
            vec![hole(10, 11, uncovered), hole(u128::MAX, u128::MAX, uncovered)],
        ),
        (vec![leaf("a", 9, 2, &[])], vec![hole(0, u128::MAX, uncovered)]),
    ];
    for (rows, holes) in cases {
        assert_eq!(coverage(&table(rows.clone())), holes, "{rows:?}");
    }
}
