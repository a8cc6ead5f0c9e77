//! The list of shards, compared with the leases.

use std::collections::BTreeMap;

use sessionwarden_machine::lease::{
    Checkpoint, Gap, Hole, Lease, ListedShard, ShardId, ShardStep, coverage, sync_shards,
};

use super::{Rounds, StreamGone, complain, lock};
use crate::stream::{Clock, EventStream, LeaseTable, RecordSink, StreamError};

/// So often in a row the stream has to be missing to be taken for deleted.
const GONE_MAX: u32 = 3;

impl<E: EventStream, L: LeaseTable, R: RecordSink, C: Clock> Rounds<E, L, R, C> {
    /// Lists the shards and brings the leases up to them, where that is due: every two minutes, when a row vanished, and
    /// when a shard or the stream is not found.
    pub(super) async fn survey(&mut self) -> Result<(), StreamGone> {
        let now = self.clock.mono();
        let due = self.surveyed.is_none_or(|at| now.since_ms(at) >= self.settings.coverage_ms);
        let missed = self.running.values().any(|running| lock(&running.shared).gone);
        let vanished = self.observed.vanished().len() > self.vanished;
        if !(due || vanished || missed || self.gone > 0) {
            return Ok(());
        }
        let listed = match self.stream.shards().await {
            Ok(listed) => listed,
            Err(StreamError::Gone(why)) => {
                self.gone += 1;
                if self.gone >= GONE_MAX {
                    return Err(StreamGone(why));
                }
                complain(&mut self.shown.stream_error, "the stream is not found", &why);
                return Ok(());
            }
            Err(error) => {
                complain(&mut self.shown.stream_error, "the shards cannot be listed", &error);
                return Ok(());
            }
        };
        self.gone = 0;
        self.shown.stream_error = None;
        match self.stream.retention_ms().await {
            Ok(retention_ms) => self.retention_ms = Some(retention_ms),
            Err(error) => complain(&mut self.shown.stream_error, "the stream's retention is not known", &error),
        }
        let listed: BTreeMap<ShardId, ListedShard> =
            listed.into_iter().map(|shard| (shard.shard.clone(), shard)).collect();
        self.end_missing(&listed);
        let before = coverage(self.observed.leases());
        let all = self.sync(&listed).await;
        self.observed.forget(|shard| listed.contains_key(shard));
        self.vanished = self.observed.vanished().len();
        if !all {
            return Ok(());
        }
        // While a shard is being split its second child is missing for a moment: only what is still there counts.
        let seen = before.is_empty() || self.look().await;
        if seen {
            let holes = if before.is_empty() { before } else { coverage(self.observed.leases()) };
            self.tell_holes(holes);
            self.surveyed = Some(now);
        }
        Ok(())
    }

    /// Creates and deletes rows; tells whether all that was to be done is done.
    async fn sync(&mut self, listed: &BTreeMap<ShardId, ListedShard>) -> bool {
        let steps = sync_shards(self.observed.leases(), self.observed.vanished(), listed, self.settings.start);
        let (mut rows, mut all): (Vec<Lease>, bool) = (Vec::new(), true);
        for step in steps {
            match step {
                ShardStep::Create(row) => rows.push(row),
                ShardStep::Delete { shard, fence } => {
                    if let Err(error) = self.leases.delete(&shard, fence).await {
                        complain(&mut self.shown.leases_error, "a lease cannot be deleted", &error);
                        all = false;
                    }
                }
                ShardStep::Gap(gap) => {
                    tracing::error!(shard = %gap.shard, "records may be lost: the shard was never read to its end");
                    self.note_gaps([gap]);
                }
            }
        }
        self.create(rows).await && all
    }

    fn tell_holes(&mut self, holes: Vec<Hole>) {
        for hole in &holes {
            tracing::error!(start = hole.range.start, end = hole.range.end, kind = ?hole.kind, "hash keys not covered once");
        }
        self.shown.coverage_checks += 1;
        self.shown.holes = holes;
    }

    /// Ends shards that are read and not kept any more.
    fn end_missing(&mut self, listed: &BTreeMap<ShardId, ListedShard>) {
        let mut gaps = Vec::new();
        for (shard, running) in &self.running {
            let mut shared = lock(&running.shared);
            if !std::mem::take(&mut shared.gone) || listed.contains_key(shard) {
                continue;
            }
            let known = self.observed.leases().get(shard).map_or(Checkpoint::TrimHorizon, |row| row.checkpoint.clone());
            let after = shared.checkpointer.last().cloned().map_or(known, Checkpoint::Sequence);
            tracing::error!(%shard, after = after.text(), "records may be lost: the shard is not kept any more");
            gaps.push(Gap { shard: shard.clone(), after });
            let children = listed.values().filter(|child| child.parents.contains(shard));
            shared.children = children.cloned().collect();
            shared.checkpointer.end();
            running.quit.cancel();
        }
        self.note_gaps(gaps);
    }
}
