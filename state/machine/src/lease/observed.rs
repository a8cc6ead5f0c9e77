//! What one worker saw of the lease table, and when by its own clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Applied, HandOffChange, Lease, LeaseSettings, Leases, Mono, ShardId, WorkerId, Write};

/// Why a worker must stop reading a shard at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// It could not renew in time, by its own clock; nobody need have taken the shard yet.
    TooLate,
    /// Its reader did not get on, so that it did not renew.
    Stalled,
    /// Somebody else owns the shard.
    Taken,
    /// The row is gone.
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mine {
    No,
    /// `since`: before the write that last renewed it was sent. `taken`: before the one that took it was.
    Held {
        since: Mono,
        taken: Mono,
    },
    Lost(Lost),
    /// Let go because the reader stalled; others go first.
    LetGo,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    /// When the row was seen to have changed: after the answer that showed it.
    changed: Mono,
    /// When the request for a hand-off was first seen.
    asked: Option<Mono>,
    mine: Mine,
    /// When the first write since the last known one was sent whose answer did not come.
    unanswered: Option<Mono>,
}

impl Note {
    fn new(now: Mono) -> Self {
        Self { changed: now, asked: None, mine: Mine::No, unanswered: None }
    }
}

/// One worker's view of the lease table.
///
/// Memory follows the store: a write counts only once it is known to be done, and every row is read again with each
/// call of [`Self::see`].
#[derive(Clone, Debug)]
pub struct Observed {
    me: WorkerId,
    leases: Leases,
    vanished: Leases,
    notes: BTreeMap<ShardId, Note>,
}

impl Observed {
    /// The view of a worker that has seen nothing.
    pub fn new(me: WorkerId) -> Self {
        Self { me, leases: Leases::new(), vanished: Leases::new(), notes: BTreeMap::new() }
    }

    /// Whose view it is.
    pub fn me(&self) -> &WorkerId {
        &self.me
    }

    /// The rows as they are known.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Rows that were there and are not any more, as they were last known.
    pub fn vanished(&self) -> &Leases {
        &self.vanished
    }

    /// Takes in all rows of the table, read with strong consistency; `now` is after the answer.
    pub fn see(&mut self, rows: impl IntoIterator<Item = Lease>, now: Mono) {
        let rows: Vec<Lease> = rows.into_iter().collect();
        let there: BTreeSet<&ShardId> = rows.iter().map(|row| &row.shard).collect();
        let gone = self.leases.keys().filter(|shard| !there.contains(shard));
        for shard in gone.cloned().collect::<Vec<_>>() {
            if let Some(lease) = self.leases.remove(&shard) {
                self.vanished.insert(shard.clone(), lease);
            }
            if let Some(note) = self.notes.get_mut(&shard)
                && matches!(note.mine, Mine::Held { .. })
            {
                note.mine = Mine::Lost(Lost::Deleted);
            }
        }
        for row in rows {
            self.see_row(row, now);
        }
        let leases = &self.leases;
        self.notes.retain(|shard, note| leases.contains_key(shard) || matches!(note.mine, Mine::Lost(_)));
    }

    /// Takes in one row; `now` is after the answer that showed it, or after its creation.
    pub fn see_row(&mut self, row: Lease, now: Mono) {
        self.vanished.remove(&row.shard);
        let before = self.leases.get(&row.shard);
        let note = self.notes.entry(row.shard.clone()).or_insert_with(|| Note::new(now));
        let changed = before.is_none_or(|before| before.version() != row.version());
        if let (Some(before), Mine::Held { taken, .. }) = (before, note.mine) {
            if (row.fence, row.counter) < (before.fence, before.counter) {
                // Read before the last own write was done.
                return;
            }
            if row.owner.as_ref() != Some(&self.me) || row.fence != before.fence {
                note.mine = Mine::Lost(Lost::Taken);
            } else if changed && let Some(since) = note.unanswered.take() {
                note.mine = Mine::Held { since, taken };
            }
        } else if changed {
            note.unanswered = None;
        }
        if changed {
            note.changed = now;
            if note.mine == Mine::LetGo && row.owner.as_ref() != Some(&self.me) {
                note.mine = Mine::No;
            }
        }
        let same_request = before.is_some_and(|before| before.hand_off_to == row.hand_off_to);
        if !same_request || row.hand_off_to.is_none() {
            note.asked = row.hand_off_to.as_ref().map(|_| now);
        }
        self.leases.insert(row.shard.clone(), row);
    }

    /// Takes in what is known after a write. `sent` is before the write was sent, `now` after its answer. Every attempt
    /// is told, those without an answer as well.
    pub fn applied(&mut self, write: &Write, applied: &Applied, sent: Mono, now: Mono) {
        let (Some(lease), Some(note)) = (self.leases.get_mut(&write.shard), self.notes.get_mut(&write.shard)) else {
            return;
        };
        let took = write.becomes.owner.as_ref() == Some(&self.me) && write.becomes.fence != write.expected.fence;
        let since = match applied {
            // A take and a hand-over leave the same row behind, and this one may be as old as the hand-over: the row
            // is read again and then taken as given.
            Applied::DoneEarlier { .. } if took => return,
            Applied::Unknown => {
                note.unanswered = note.unanswered.or(Some(sent));
                if write.becomes.owner.as_ref() != Some(&self.me) && matches!(note.mine, Mine::Held { .. }) {
                    // The shard may be another's already.
                    note.mine = Mine::No;
                }
                return;
            }
            Applied::Lost => {
                if matches!(note.mine, Mine::Held { .. }) {
                    note.mine = Mine::Lost(Lost::Taken);
                }
                return;
            }
            Applied::Done(_) => sent,
            Applied::DoneEarlier { .. } => note.unanswered.unwrap_or(sent),
        };
        if matches!(write.hand_off, HandOffChange::Request(_)) {
            if lease.owner == write.expected.owner && lease.fence == write.expected.fence {
                *lease = write.apply_to(lease);
                note.asked = Some(now);
            }
            return;
        }
        let version = lease.version();
        if version != write.expected && version != write.becomes {
            return;
        }
        if let Applied::DoneEarlier { complete: false, .. } = applied {
            (lease.owner, lease.counter, lease.fence) =
                (write.becomes.owner.clone(), write.becomes.counter, write.becomes.fence);
        } else {
            *lease = write.apply_to(lease);
        }
        (note.changed, note.unanswered) = (now, None);
        if lease.hand_off_to.is_none() {
            note.asked = None;
        }
        let owned = lease.owner.as_ref() == Some(&self.me) && !lease.ended();
        note.mine = match note.mine {
            _ if !owned => Mine::No,
            _ if took => Mine::Held { since, taken: since },
            Mine::Held { since: before, taken } => Mine::Held { since: since.max(before), taken },
            other @ (Mine::No | Mine::Lost(_) | Mine::LetGo) => other,
        };
    }

    /// The reader of a shard has stopped, as [`super::Plan::Stop`] asked.
    pub fn stopped(&mut self, shard: &ShardId, why: Lost) {
        if let Some(note) = self.notes.get_mut(shard) {
            note.mine = if why == Lost::Stalled { Mine::LetGo } else { Mine::No };
        }
    }

    /// Forgets vanished rows of shards that the stream does not list any more.
    pub fn forget(&mut self, listed: impl Fn(&ShardId) -> bool) {
        self.vanished.retain(|shard, _| listed(shard));
    }

    /// Whether the owner of a lease takes no notice of it any more: it has not changed for the fail-over time by this
    /// worker's clock. Never for what this worker holds; a shard it let go, because its reader stalled, only after twice
    /// the time, so that others go first.
    pub fn expired(&self, shard: &ShardId, settings: &LeaseSettings, now: Mono) -> bool {
        let (Some(lease), Some(note)) = (self.leases.get(shard), self.notes.get(shard)) else { return false };
        let wait_ms = match note.mine {
            Mine::Held { .. } | Mine::Lost(_) => return false,
            Mine::No => settings.fail_over_ms,
            Mine::LetGo => settings.fail_over_ms.saturating_mul(2),
        };
        lease.owner.is_some() && now.since_ms(note.changed) >= wait_ms
    }

    /// Whether this worker may read a shard and act on it now, and with which fence.
    pub fn holds(&self, shard: &ShardId, settings: &LeaseSettings, now: Mono) -> Option<u64> {
        let (lease, note) = (self.leases.get(shard)?, self.notes.get(shard)?);
        let held = matches!(note.mine, Mine::Held { since, .. } if now.since_ms(since) < settings.own_ms());
        held.then_some(lease.fence)
    }

    /// Whether a shard that this worker held is lost, and why: by its own clock earlier than others may take it.
    pub fn mine_lost(&self, shard: &ShardId, settings: &LeaseSettings, now: Mono) -> Option<Lost> {
        match self.notes.get(shard)?.mine {
            Mine::Held { since, .. } => (now.since_ms(since) >= settings.own_ms()).then_some(Lost::TooLate),
            Mine::Lost(why) => Some(why),
            Mine::No | Mine::LetGo => None,
        }
    }

    /// The workers that own a lease which has not expired, and this one.
    pub fn workers(&self, settings: &LeaseSettings, now: Mono) -> BTreeSet<WorkerId> {
        let live = self.leases.values().filter(|lease| !lease.ended() && !self.expired(&lease.shard, settings, now));
        live.filter_map(|lease| lease.owner.clone()).chain([self.me.clone()]).collect()
    }

    /// The shards this worker holds or has to stop reading.
    pub(super) fn to_tend(&self) -> impl Iterator<Item = &ShardId> {
        let tended = |note: &Note| matches!(note.mine, Mine::Held { .. } | Mine::Lost(_));
        self.notes.iter().filter(move |(_, note)| tended(note)).map(|(shard, _)| shard)
    }

    /// When a held lease was last renewed and when it was taken.
    pub(super) fn held(&self, shard: &ShardId) -> Option<(Mono, Mono)> {
        match self.notes.get(shard)?.mine {
            Mine::Held { since, taken } => Some((since, taken)),
            Mine::No | Mine::Lost(_) | Mine::LetGo => None,
        }
    }

    /// Whether a row names this worker although it does not read the shard: handed over, or taken by a write whose
    /// answer was lost.
    pub(super) fn waits_for_me(&self, lease: &Lease) -> bool {
        let idle = self.notes.get(&lease.shard).is_some_and(|note| note.mine == Mine::No);
        idle && lease.owner.as_ref() == Some(&self.me)
    }

    /// Whether a free shard has stayed free for a tenth of the fail-over time.
    pub(super) fn left_over(&self, lease: &Lease, settings: &LeaseSettings, now: Mono) -> bool {
        let silent_ms = if lease.owner.is_some() { settings.fail_over_ms } else { 0 };
        let unchanged_ms = self.notes.get(&lease.shard).map_or(0, |note| now.since_ms(note.changed));
        unchanged_ms >= silent_ms.saturating_add(settings.fail_over_ms / 10)
    }

    /// Whether the owner has had its time to hand the shard over to this worker.
    pub(super) fn hand_off_late(&self, lease: &Lease, settings: &LeaseSettings, now: Mono) -> bool {
        let asked = self.notes.get(&lease.shard).and_then(|note| note.asked);
        lease.hand_off_to.as_ref() == Some(&self.me)
            && asked.is_some_and(|asked| now.since_ms(asked) >= settings.hand_off_ms_max)
    }
}
