//! What a worker does about its leases and those of others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Checkpointer, Lease, LeaseSettings, Lost, Mono, Observed, Readable, ReaderProgress, ShardId, WorkerId, Write,
    readable,
};
use crate::{
    ids::digest_128,
    mutation::{Mutation, made},
};

/// The reader of one shard, as far as planning needs it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Whether it gets on.
    pub progress: &'a ReaderProgress,
    /// Its records.
    pub checkpointer: &'a Checkpointer,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the worker saw.
    pub observed: &'a Observed,
    /// Its readers. A shard that has just been taken may still be without one.
    pub readers: &'a BTreeMap<ShardId, Reader<'a>>,
    /// The workers that share the shards, for instance [`Observed::workers`]. This worker counts as one of them.
    pub workers: &'a BTreeSet<WorkerId>,
    /// Whether this worker is about to stop: it hands over what it has and takes nothing.
    pub stopping: bool,
}

/// Why a shard may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TakeReason {
    /// The row names this worker: the shard was handed to it, or an earlier write arrived without an answer.
    Given,
    /// The owner did not hand the shard over in time.
    HandOffLate,
    /// Nobody owns it.
    Unowned,
    /// Its owner has not renewed it for the fail-over time.
    Expired,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Stop reading at once and tell [`Observed::stopped`]; no checkpoint, no effect.
    Stop {
        /// The shard.
        shard: ShardId,
        /// Why.
        why: Lost,
    },
    /// Hand out no further records, and complete those under way.
    Drain {
        /// The shard.
        shard: ShardId,
    },
    /// All is completed: give the shard to `to`, or to nobody, with the last checkpoint. From when it is sent, the
    /// shard is no longer this worker's, whatever the answer.
    Release {
        /// Who gets it.
        to: Option<WorkerId>,
        /// The write.
        write: Write,
    },
    /// Say that the owner is there.
    Renew {
        /// The write.
        write: Write,
    },
    /// Become the owner.
    Take {
        /// Why this is allowed.
        why: TakeReason,
        /// The write.
        write: Write,
    },
    /// Ask the busiest worker for one of its shards.
    Steal {
        /// Who has it.
        from: WorkerId,
        /// The write: a request, which the owner answers with a release.
        write: Write,
    },
}

/// Plans one round. The same situation gives the same plan; the order in which shards are taken differs from worker to
/// worker, so that they do not all reach for the same one.
///
/// The target of a worker is the number of shards that can be read now divided by the number of workers, rounded up.
/// A shard that stays free because all are at their target, while one that is about to leave still counts as a worker,
/// is taken by somebody all the same after a tenth of the fail-over time.
pub fn plan_leases(situation: &Situation<'_>, settings: &LeaseSettings, now: Mono) -> Vec<Plan> {
    let Situation { observed, stopping, .. } = *situation;
    let mut plans = Vec::new();
    for shard in observed.to_tend() {
        tend(situation, settings, now, shard, &mut plans);
    }
    for lease in observed.leases().values().filter(|lease| observed.waits_for_me(lease) && !lease.ended()) {
        if stopping || lease.hand_off_to.is_some() {
            plans.push(release(situation, lease));
        }
    }
    if !stopping {
        gain(situation, settings, now, &mut plans);
    }
    plans
}

/// The next checkpoint of a held shard; `None` where there is nothing new, or the lease is lost by this worker's own
/// clock. The write renews the lease as well.
pub fn plan_checkpoint(
    observed: &Observed,
    shard: &ShardId,
    checkpointer: &Checkpointer,
    settings: &LeaseSettings,
    now: Mono,
) -> Option<Write> {
    observed.holds(shard, settings, now)?;
    Some(Write::checkpoint(observed.leases().get(shard)?, checkpointer.to_write()?))
}

/// What to do about a shard that this worker reads.
fn tend(situation: &Situation<'_>, settings: &LeaseSettings, now: Mono, shard: &ShardId, plans: &mut Vec<Plan>) {
    let observed = situation.observed;
    let reader = situation.readers.get(shard);
    let stalled = match (reader, observed.held(shard)) {
        (Some(_), _) if made(Mutation::RenewalWithoutProgress) => false,
        (Some(reader), _) => reader.progress.stalled(settings, now),
        (None, Some((_, taken))) => now.since_ms(taken) > settings.fail_over_ms,
        (None, None) => false,
    };
    if let Some(why) = observed.mine_lost(shard, settings, now) {
        let why = if why == Lost::TooLate && stalled { Lost::Stalled } else { why };
        plans.push(Plan::Stop { shard: shard.clone(), why });
        return;
    }
    let (Some(lease), Some((since, _))) = (observed.leases().get(shard), observed.held(shard)) else { return };
    if situation.stopping || lease.hand_off_to.is_some() {
        if reader.is_none_or(|reader| reader.checkpointer.drained()) {
            plans.push(release(situation, lease));
            return;
        }
        plans.push(Plan::Drain { shard: shard.clone() });
    }
    if !stalled && now.since_ms(since) >= settings.renew_after_ms() {
        plans.push(Plan::Renew { write: Write::renew(lease) });
    }
}

fn release(situation: &Situation<'_>, lease: &Lease) -> Plan {
    let checkpoint = situation.readers.get(&lease.shard).and_then(|reader| reader.checkpointer.to_write());
    let to = lease.hand_off_to.clone();
    Plan::Release { write: Write::release(lease, to.clone(), checkpoint), to }
}

/// What to take, or whom to ask for a shard.
fn gain(situation: &Situation<'_>, settings: &LeaseSettings, now: Mono, plans: &mut Vec<Plan>) {
    let observed = situation.observed;
    let me = observed.me();
    let leases = observed.leases();
    let take = |lease: &Lease, why| {
        let parents = lease.parents.iter().filter_map(|parent| leases.get(parent));
        let floor = parents.map(|parent| parent.fence).max().unwrap_or(0);
        Plan::Take { why, write: Write::take(lease, me, floor) }
    };
    let mut shards = 0_usize;
    let mut mine = 0_usize;
    let mut free = Vec::new();
    let mut by_worker: BTreeMap<&WorkerId, (usize, Vec<&Lease>)> = BTreeMap::new();
    for lease in leases.values().filter(|lease| readable(lease, leases) == Readable::Yes) {
        shards += 1;
        let expired = observed.expired(&lease.shard, settings, now);
        match (&lease.owner, &lease.hand_off_to) {
            (_, None) if observed.waits_for_me(lease) => {
                mine += 1;
                plans.push(take(lease, TakeReason::Given));
            }
            (None, _) => free.push((lease, TakeReason::Unowned)),
            (Some(_), _) if expired => free.push((lease, TakeReason::Expired)),
            (Some(_), Some(to)) if to == me => {
                mine += 1;
                if observed.hand_off_late(lease, settings, now) {
                    plans.push(take(lease, TakeReason::HandOffLate));
                }
            }
            (Some(_), Some(to)) => by_worker.entry(to).or_default().0 += 1,
            (Some(owner), None) if owner == me => mine += 1,
            (Some(owner), None) => {
                let theirs = by_worker.entry(owner).or_default();
                theirs.0 += 1;
                theirs.1.push(lease);
            }
        }
    }
    let workers = situation.workers.len() + usize::from(!situation.workers.contains(me));
    let target = shards.div_ceil(workers).min(settings.leases_max);
    let rank = |name: &str| digest_128(format!("{me}\0{name}").as_bytes());
    let wanted = target.saturating_sub(mine);
    if !free.is_empty() {
        free.sort_by_cached_key(|(lease, _)| rank(&lease.shard.0));
        if wanted == 0 && mine < settings.leases_max {
            free.retain(|(lease, _)| observed.left_over(lease, settings, now));
        }
        let bound = wanted.max(usize::from(mine < settings.leases_max));
        plans.extend(free.into_iter().take(bound).map(|(lease, why)| take(lease, why)));
        return;
    }
    let busiest = by_worker.into_iter().max_by_key(|(worker, (count, _))| (*count, rank(&worker.0)));
    if let Some((from, (count, theirs))) = busiest
        && wanted > 0
        && count >= mine + 2
        && let Some(lease) = theirs.into_iter().min_by_key(|lease| rank(&lease.shard.0))
    {
        plans.push(Plan::Steal { from: from.clone(), write: Write::request(lease, me) });
    }
}
