mod apply;
mod lifecycle;
mod plan;
mod records;
mod rows;
mod shards;
mod simulation;

use super::*;

fn row(shard: &str, owner: Option<&str>) -> Lease {
    Lease {
        shard: shard.into(),
        owner: owner.map(WorkerId::from),
        counter: 5,
        owner_switches: 0,
        checkpoint: Checkpoint::TrimHorizon,
        parents: BTreeSet::new(),
        children: BTreeSet::new(),
        range: HashRange { start: 0, end: u128::MAX },
        fence: 3,
        hand_off_to: None,
    }
}

fn table(rows: impl IntoIterator<Item = Lease>) -> Leases {
    rows.into_iter().map(|row| (row.shard.clone(), row)).collect()
}

fn ids(shards: &[&str]) -> BTreeSet<ShardId> {
    shards.iter().map(|shard| ShardId::from(*shard)).collect()
}

fn at(sequence: u64) -> Position {
    Position { sequence: SequenceNumber::parse(&sequence.to_string()).unwrap(), sub_sequence: 0 }
}

fn saw(me: &str, rows: impl IntoIterator<Item = Lease>, now: u64) -> Observed {
    let mut observed = Observed::new(me.into());
    observed.see(rows, Mono(now));
    observed
}

/// A view in which `me` took `lease` at `now`.
fn holding(me: &str, lease: &Lease, now: u64) -> Observed {
    let mut observed = saw(me, [lease.clone()], now);
    let write = Write::take(lease, &me.into(), 0);
    observed.applied(&write, &write.judge(&Answer::Done), Mono(now), Mono(now));
    observed
}

fn plan(observed: &Observed, now: u64) -> Vec<Plan> {
    plan_with(observed, &BTreeMap::new(), false, now)
}

fn plan_with(observed: &Observed, readers: &BTreeMap<ShardId, Reader<'_>>, stopping: bool, now: u64) -> Vec<Plan> {
    let settings = LeaseSettings::default();
    let workers = observed.workers(&settings, Mono(now));
    plan_leases(&Situation { observed, readers, workers: &workers, stopping }, &settings, Mono(now))
}
