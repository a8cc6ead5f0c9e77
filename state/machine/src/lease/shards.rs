//! From shards to leases: what is created, read, ended and deleted, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checkpoint, Checkpointer, Gap, HashRange, Lease, LeaseSettings, Leases, Mono, Observed, ShardId, Write};
use crate::{
    ids::EventTime,
    mutation::{Mutation, made},
};

/// A shard as `ListShards` names it, or as the end of its parent does (`ChildShards` of `GetRecords`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    /// The shard.
    pub shard: ShardId,
    /// Its parent and its adjacent parent, where there are any. They may be older than anything that is still listed.
    pub parents: BTreeSet<ShardId>,
    /// Its hash keys.
    pub range: HashRange,
}

/// Where a stream that has no leases yet is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record of each shard.
    TrimHorizon,
    /// At what arrives from now on, in the shards that are open. A shard that nobody has a record of yet begins anew
    /// with each owner; to lose nothing in between, begin at the time of now.
    Latest,
    /// At the first record from this time on.
    AtTimestamp(EventTime),
}

/// One step towards a lease for each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardStep {
    /// Create the row, on the condition that there is none.
    Create(Lease),
    /// Delete the row, on the condition that its checkpoint is `SHARD_END` and its fence this one.
    Delete {
        /// The shard.
        shard: ShardId,
        /// The fence.
        fence: u64,
    },
    /// A shard that children wait for is neither listed nor known to have been read: its records are gone.
    Gap(Gap),
}

/// Whether a shard may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    /// It may.
    Yes,
    /// All of it has been read.
    Ended,
    /// Not before these parents have ended; one without a row is not known to have.
    Waits(BTreeSet<ShardId>),
}

/// Whether a shard may be read: once it has begun, or when all of its parents have ended.
pub fn readable(lease: &Lease, leases: &Leases) -> Readable {
    if lease.ended() {
        return Readable::Ended;
    }
    if lease.begun() {
        return Readable::Yes;
    }
    let waits = |parent: &&ShardId| !leases.get(*parent).is_some_and(Lease::ended);
    let waits: BTreeSet<ShardId> = lease.parents.iter().filter(waits).cloned().collect();
    if waits.is_empty() || made(Mutation::ChildBeforeParent) { Readable::Yes } else { Readable::Waits(waits) }
}

/// What the reader of a shard does at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Records are still under way, or the lease is not held.
    NotYet,
    /// The stream named no children: list the shards and ask again. Only the shards of a deleted stream have none.
    AskForChildren,
    /// Create these first, each on the condition that there is no such row, and take them in with
    /// [`Observed::see_row`].
    Create(Vec<Lease>),
    /// Write that the shard has ended.
    End(Write),
}

/// What the reader of a shard does once the stream has no further record in it.
///
/// The children are created at `TRIM_HORIZON` before the parent ends, so that no moment exists in which nobody would
/// go on.
pub fn finish(
    observed: &Observed,
    shard: &ShardId,
    checkpointer: &Checkpointer,
    children: &[ListedShard],
    settings: &LeaseSettings,
    now: Mono,
) -> Finish {
    let held = observed.holds(shard, settings, now).and_then(|_| observed.leases().get(shard));
    let Some(lease) = held.filter(|_| checkpointer.finished()) else { return Finish::NotYet };
    let children: Vec<&ListedShard> = children.iter().filter(|child| child.parents.contains(shard)).collect();
    if children.is_empty() {
        return Finish::AskForChildren;
    }
    let fence = fence_above(observed.leases(), observed.vanished());
    let missing = children.iter().filter(|child| !observed.leases().contains_key(&child.shard));
    let missing: Vec<Lease> = missing
        .map(|child| {
            // A child that had a row goes on where that row was.
            let known = observed.vanished().get(&child.shard).map(|lease| lease.checkpoint.clone());
            new_lease(child, child.parents.clone(), known.unwrap_or(Checkpoint::TrimHorizon), fence)
        })
        .collect();
    if missing.is_empty() {
        Finish::End(Write::end(lease, children.iter().map(|child| child.shard.clone()).collect()))
    } else {
        Finish::Create(missing)
    }
}

/// Compares rows with shards. `vanished` are rows that were there before ([`Observed::vanished`]).
///
/// An empty list is no evidence that a stream has no shards, and nothing follows from it.
pub fn sync_shards(
    leases: &Leases,
    vanished: &Leases,
    listed: &BTreeMap<ShardId, ListedShard>,
    start: Start,
) -> Vec<ShardStep> {
    if listed.is_empty() {
        return Vec::new();
    }
    let family = Family::new(leases, vanished, listed);
    let mut steps = Vec::new();
    let mut create: BTreeMap<&ShardId, Checkpoint> = BTreeMap::new();
    let unread = leases.values().filter(|lease| !lease.begun());
    let claimed: BTreeSet<&ShardId> = unread.flat_map(|lease| &lease.parents).collect();
    let candidates: BTreeSet<&ShardId> = listed.keys().chain(claimed.iter().copied()).collect();
    for shard in candidates.into_iter().filter(|shard| !leases.contains_key(*shard)) {
        let known = vanished.get(shard).map(|lease| &lease.checkpoint);
        if family.passed.contains(shard) || !listed.contains_key(shard) {
            if !claimed.contains(shard) {
                continue;
            }
            if !family.passed.contains(shard) && known != Some(&Checkpoint::ShardEnd) {
                let after = known.cloned().unwrap_or(Checkpoint::TrimHorizon);
                steps.push(ShardStep::Gap(Gap { shard: shard.clone(), after }));
            }
            create.insert(shard, Checkpoint::ShardEnd);
        } else if let Some(known) = known {
            create.insert(shard, known.clone());
        } else if !(leases.is_empty() && vanished.is_empty()) {
            create.insert(shard, Checkpoint::TrimHorizon);
        } else {
            match start {
                Start::TrimHorizon => create.insert(shard, Checkpoint::TrimHorizon),
                Start::AtTimestamp(time) => create.insert(shard, Checkpoint::AtTimestamp(time)),
                Start::Latest if family.children.contains_key(shard) => None,
                Start::Latest => create.insert(shard, Checkpoint::Latest),
            };
        }
    }
    let deletions = leases.values().filter(|lease| lease.ended() && family.outlived(lease, &create));
    let deletions = deletions.map(|lease| ShardStep::Delete { shard: lease.shard.clone(), fence: lease.fence });
    let fence = fence_above(leases, vanished);
    let creations = create.iter().filter_map(|(shard, checkpoint)| {
        let listed = listed.get(*shard).cloned().or_else(|| family.stand_in(shard))?;
        let waits_for = |parent: &&ShardId| leases.contains_key(*parent) || create.contains_key(*parent);
        let parents = listed.parents.iter().filter(waits_for).cloned().collect();
        Some(ShardStep::Create(new_lease(&listed, parents, checkpoint.clone(), fence)))
    });
    steps.extend(creations.chain(deletions));
    steps
}

/// Which shard was made from which, by rows and list together.
struct Family<'a> {
    leases: &'a Leases,
    vanished: &'a Leases,
    listed: &'a BTreeMap<ShardId, ListedShard>,
    children: BTreeMap<&'a ShardId, BTreeSet<&'a ShardId>>,
    /// Shards that need no row: a descendant has begun, or was begun without waiting for them.
    passed: BTreeSet<&'a ShardId>,
}

impl<'a> Family<'a> {
    fn new(leases: &'a Leases, vanished: &'a Leases, listed: &'a BTreeMap<ShardId, ListedShard>) -> Self {
        let passed = BTreeSet::new();
        let mut family = Self { leases, vanished, listed, children: BTreeMap::new(), passed };
        for shard in leases.keys().chain(listed.keys()) {
            for parent in family.parents(shard) {
                family.children.entry(parent).or_default().insert(shard);
            }
        }
        for lease in leases.values() {
            for child in &lease.children {
                family.children.entry(&lease.shard).or_default().insert(child);
            }
        }
        let mut climb: Vec<&'a ShardId> = Vec::new();
        for lease in leases.values().chain(vanished.values()) {
            let done = family.parents(&lease.shard).filter(|parent| lease.begun() || !lease.parents.contains(*parent));
            climb.extend(done);
        }
        while let Some(shard) = climb.pop() {
            if family.passed.insert(shard) {
                climb.extend(family.parents(shard));
            }
        }
        family
    }

    fn parents(&self, shard: &ShardId) -> impl Iterator<Item = &'a ShardId> + use<'a> {
        let listed = self.listed.get(shard).map(|listed| &listed.parents);
        let rows = [self.leases.get(shard), self.vanished.get(shard)];
        let of_rows = rows.into_iter().flatten().flat_map(|lease| &lease.parents);
        listed.into_iter().flatten().chain(of_rows)
    }

    /// Whether every child of an ended shard has begun, or is past.
    fn outlived(&self, lease: &Lease, create: &BTreeMap<&ShardId, Checkpoint>) -> bool {
        let Some(children) = self.children.get(&lease.shard) else { return !self.listed.contains_key(&lease.shard) };
        children.iter().all(|child| match self.leases.get(*child) {
            Some(row) => row.begun() || !row.parents.contains(&lease.shard),
            None => !create.contains_key(*child),
        })
    }

    /// A shard that is not listed, for the row that says it has ended: the hash keys of its children, which are not
    /// read from it any more.
    fn stand_in(&self, shard: &ShardId) -> Option<ListedShard> {
        let known = self.vanished.get(shard).map(|lease| lease.range);
        let of_children = self.children.get(shard).into_iter().flatten();
        let ranges = of_children.filter_map(|child| self.leases.get(*child).map(|lease| lease.range));
        let span = |a: HashRange, b: HashRange| HashRange { start: a.start.min(b.start), end: a.end.max(b.end) };
        let range = known.or_else(|| ranges.reduce(span))?;
        Some(ListedShard { shard: shard.clone(), parents: BTreeSet::new(), range })
    }
}

/// A fence above all that were ever seen, so that a row that is created again stands behind none of its earlier
/// owners.
fn fence_above(leases: &Leases, vanished: &Leases) -> u64 {
    let fences = leases.values().chain(vanished.values()).map(|lease| lease.fence);
    fences.max().unwrap_or(0).saturating_add(1)
}

fn new_lease(listed: &ListedShard, parents: BTreeSet<ShardId>, checkpoint: Checkpoint, fence: u64) -> Lease {
    Lease {
        shard: listed.shard.clone(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint,
        parents,
        children: BTreeSet::new(),
        range: listed.range,
        fence,
        hand_off_to: None,
    }
}
