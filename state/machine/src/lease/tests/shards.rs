use super::*;
use crate::ids::EventTime;

fn listed(shards: &[(&str, &[&str])]) -> BTreeMap<ShardId, ListedShard> {
    let one = |(shard, parents): &(&str, &[&str])| {
        let range = HashRange { start: 0, end: u128::MAX };
        ListedShard { shard: (*shard).into(), parents: ids(parents), range }
    };
    shards.iter().map(one).map(|listed| (listed.shard.clone(), listed)).collect()
}

fn row_at(shard: &str, parents: &[&str], checkpoint: Checkpoint) -> Lease {
    Lease { parents: ids(parents), checkpoint, ..row(shard, None) }
}

fn sequence() -> Checkpoint {
    Checkpoint::Sequence(at(9))
}

/// Steps in short: what is created where and behind whom, what is deleted, which gaps there are.
fn steps(leases: &[Lease], vanished: &[Lease], shards: &[(&str, &[&str])], start: Start) -> Vec<String> {
    let steps = sync_shards(&table(leases.to_vec()), &table(vanished.to_vec()), &listed(shards), start);
    let names = |shards: &BTreeSet<ShardId>| shards.iter().map(|shard| &*shard.0).collect::<Vec<_>>().join(",");
    let step = |step| match step {
        ShardStep::Create(lease) if lease.parents.is_empty() => format!("+{} {}", lease.shard, lease.checkpoint.text()),
        ShardStep::Create(lease) => format!("+{} {} <{}", lease.shard, lease.checkpoint.text(), names(&lease.parents)),
        ShardStep::Delete { shard, .. } => format!("-{shard}"),
        ShardStep::Gap(gap) => format!("gap {}", gap.shard),
    };
    steps.into_iter().map(step).collect()
}

const SPLIT: &[(&str, &[&str])] = &[("p", &[]), ("a", &["p"]), ("b", &["p"])];
const MERGE: &[(&str, &[&str])] = &[("p", &[]), ("q", &[]), ("m", &["p", "q"])];

#[test]
fn a_stream_without_leases_begins_where_the_settings_say() {
    let time = EventTime(1_700_000_000_000);
    let all = |word: &str| [format!("+a {word} <p"), format!("+b {word} <p"), format!("+p {word}")];
    assert_eq!(steps(&[], &[], SPLIT, Start::TrimHorizon), all("TRIM_HORIZON"));
    assert_eq!(steps(&[], &[], SPLIT, Start::AtTimestamp(time)), all("AT_TIMESTAMP"));
    assert_eq!(steps(&[], &[], SPLIT, Start::Latest), ["+a LATEST", "+b LATEST"]);
    let open = [row_at("a", &[], Checkpoint::Latest), row_at("b", &[], Checkpoint::Latest)];
    assert_eq!(steps(&open, &[], SPLIT, Start::Latest), Vec::<String>::new(), "older shards are not wanted");
}

#[test]
fn new_shards_of_a_stream_with_leases_begin_at_the_oldest_record() {
    for parent in [Checkpoint::Latest, sequence(), Checkpoint::ShardEnd] {
        let created = steps(&[row_at("p", &[], parent)], &[], SPLIT, Start::Latest);
        assert_eq!(created, ["+a TRIM_HORIZON <p", "+b TRIM_HORIZON <p"]);
    }
    let unrelated = [row_at("p", &[], sequence()), row_at("q", &[], sequence())];
    assert_eq!(steps(&unrelated, &[], MERGE, Start::Latest), ["+m TRIM_HORIZON <p,q"]);
}

#[test]
fn an_empty_list_of_shards_says_nothing() {
    // I11
    let rows = [row_at("p", &[], Checkpoint::ShardEnd), row_at("a", &["p", "lost"], Checkpoint::TrimHorizon)];
    assert_eq!(steps(&rows, &[], &[], Start::TrimHorizon), Vec::<String>::new());
}

#[test]
fn a_missing_parent_row_blocks_until_it_is_there_again() {
    // Designed out: a missing parent row read as "not blocking".
    let child = row_at("a", &["p"], Checkpoint::TrimHorizon);
    assert_eq!(readable(&child, &table([child.clone()])), Readable::Waits(ids(&["p"])));
    let rows = [child, row_at("b", &["p"], Checkpoint::TrimHorizon)];
    let lost = [row_at("p", &[], sequence())];
    let ended = [row_at("p", &[], Checkpoint::ShardEnd)];
    let without_parent = &SPLIT[1..];
    assert_eq!(steps(&rows, &[], SPLIT, Start::Latest), ["+p TRIM_HORIZON"]);
    assert_eq!(steps(&rows, &lost, SPLIT, Start::Latest), ["+p 9"]);
    assert_eq!(steps(&rows, &ended, SPLIT, Start::Latest), ["+p SHARD_END"]);
    assert_eq!(steps(&rows, &[], without_parent, Start::Latest), ["gap p", "+p SHARD_END"]);
    assert_eq!(steps(&rows, &lost, without_parent, Start::Latest), ["gap p", "+p SHARD_END"]);
    assert_eq!(steps(&rows, &ended, without_parent, Start::Latest), ["+p SHARD_END"]);
    let other_begun = [rows[0].clone(), row_at("b", &["p"], sequence())];
    assert_eq!(steps(&other_begun, &[], SPLIT, Start::Latest), ["+p SHARD_END"], "b proves that p has ended");
}

#[test]
fn a_deleted_lease_is_created_again_where_it_was() {
    // Designed out: a deleted lease row never read again.
    let lost = [Lease { fence: 41, ..row_at("q", &[], sequence()) }];
    let rows = [row_at("p", &[], sequence())];
    let shards: &[(&str, &[&str])] = &[("p", &[]), ("q", &[])];
    assert_eq!(steps(&rows, &lost, shards, Start::Latest), ["+q 9"]);
    assert_eq!(steps(&[], &lost, shards, Start::Latest), ["+p TRIM_HORIZON", "+q 9"]);
    assert_eq!(steps(&rows, &lost, &shards[..1], Start::Latest), Vec::<String>::new(), "it has no data any more");
    let created = sync_shards(&table(rows), &table(lost), &listed(shards), Start::Latest);
    assert!(matches!(&created[..], [ShardStep::Create(lease)] if lease.fence == 42), "above its last owner's fence");
}

#[test]
fn a_merged_shard_waits_for_both_parents() {
    let child = row_at("m", &["p", "q"], Checkpoint::TrimHorizon);
    for (p, q, expected) in [
        (sequence(), sequence(), Readable::Waits(ids(&["p", "q"]))),
        (Checkpoint::ShardEnd, sequence(), Readable::Waits(ids(&["q"]))),
        (sequence(), Checkpoint::ShardEnd, Readable::Waits(ids(&["p"]))),
        (Checkpoint::ShardEnd, Checkpoint::ShardEnd, Readable::Yes),
    ] {
        let leases = table([row_at("p", &[], p), row_at("q", &[], q), child.clone()]);
        assert_eq!(readable(&child, &leases), expected);
    }
    let begun = row_at("m", &["p", "q"], sequence());
    assert_eq!(readable(&begun, &Leases::new()), Readable::Yes, "its parents ended, or it would not have begun");
    assert_eq!(readable(&row_at("m", &[], Checkpoint::ShardEnd), &Leases::new()), Readable::Ended);
}

#[test]
fn ended_leases_go_only_after_all_children_have_begun() {
    let parent = Lease { children: ids(&["a", "b"]), ..row_at("p", &[], Checkpoint::ShardEnd) };
    let child = |shard: &str, checkpoint| row_at(shard, &["p"], checkpoint);
    let horizon = || Checkpoint::TrimHorizon;
    for (a, b, expected) in [
        (horizon(), horizon(), &[][..]),
        (sequence(), horizon(), &[]),
        (sequence(), sequence(), &["-p"]),
        (Checkpoint::ShardEnd, sequence(), &["-p"]),
    ] {
        let rows = [parent.clone(), child("a", a), child("b", b)];
        assert_eq!(steps(&rows, &[], SPLIT, Start::TrimHorizon), expected);
    }
    let half = [parent.clone(), child("a", sequence())];
    assert_eq!(steps(&half, &[], SPLIT, Start::TrimHorizon), ["+b TRIM_HORIZON <p"]);
    let gone = [child("a", sequence()), child("b", sequence())];
    assert_eq!(
        steps(&gone, std::slice::from_ref(&parent), SPLIT, Start::TrimHorizon),
        Vec::<String>::new(),
        "nor come back"
    );
    assert_eq!(steps(&gone, &[], SPLIT, Start::TrimHorizon), Vec::<String>::new(), "even to one who never saw it");
    let childless = [row_at("p", &[], Checkpoint::ShardEnd), row_at("q", &[], sequence())];
    assert_eq!(steps(&childless, &[], &[("p", &[]), ("q", &[])], Start::TrimHorizon), Vec::<String>::new());
    assert_eq!(steps(&childless, &[], &[("q", &[])], Start::TrimHorizon), ["-p"]);
}

#[test]
fn children_are_created_before_their_parent_ends() {
    let settings = LeaseSettings::default();
    let children: Vec<ListedShard> = listed(&SPLIT[1..]).into_values().collect();
    let mut observed = holding("ann", &row("p", None), 0);
    let mut records = Checkpointer::new(&Checkpoint::TrimHorizon, 10);
    let ticket = records.hand_out(at(1)).unwrap();
    records.end();
    let next = |observed: &Observed, records: &Checkpointer, children: &[ListedShard]| {
        finish(observed, &"p".into(), records, children, &settings, Mono(1))
    };
    assert_eq!(next(&observed, &records, &children), Finish::NotYet, "a record is under way");
    records.complete(ticket);
    assert_eq!(next(&observed, &records, &[]), Finish::AskForChildren);
    let Finish::Create(created) = next(&observed, &records, &children) else { panic!("not created") };
    assert_eq!(created.iter().map(|lease| lease.shard.clone()).collect::<BTreeSet<_>>(), ids(&["a", "b"]));
    assert!(created.iter().all(|lease| lease.checkpoint == Checkpoint::TrimHorizon && lease.parents == ids(&["p"])));
    observed.see_row(created[0].clone(), Mono(1));
    assert!(
        matches!(next(&observed, &records, &children), Finish::Create(left) if left.len() == 1 && left[0].shard == created[1].shard)
    );
    observed.see_row(created[1].clone(), Mono(1));
    let Finish::End(write) = next(&observed, &records, &children) else { panic!("not ended") };
    assert_eq!((&write.checkpoint, &write.children), (&Some(Checkpoint::ShardEnd), &Some(ids(&["a", "b"]))));
    assert_eq!(finish(&observed, &"p".into(), &records, &children, &settings, Mono(8_000)), Finish::NotYet, "lost");
    observed.applied(&write, &Applied::Done(write.becomes.counter), Mono(2), Mono(3));
    let both = plan(&observed, 3);
    assert!(both.len() == 2 && both.iter().all(|plan| matches!(plan, Plan::Take { why: TakeReason::Unowned, .. })));
}
