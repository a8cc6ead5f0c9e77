//! Takes a shard's records in.

use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::FixedState;
use futures_util::future::join_all;
use sessionwarden_machine::{
    decode::{Decoder, Screen},
    lease::ShardId,
};
use tokio::sync::Mutex as TaskMutex;
use tracing::Instrument;

use super::{Crew, Rechecks, SharedStore};
use crate::{
    handle::{Calls, Handler},
    input::{Parked, Parking, RecordAt},
    outbound::WakeUps,
    ports::Hands,
    run::{Candidate, Ingest, Look, Position, count, now},
    stream::{Record, RecordSink, SinkError, Unfit},
};

/// How many groups of one shard's accounts are handled side by side.
const GROUPS: usize = 4;
/// How many shards' handlers are kept; beyond that those of shards that are not read any more are forgotten.
const SHARDS_MAX: usize = 256;
/// How much of something that cannot be read is parked, in bytes.
const PARKED_BYTES_MAX: usize = 1 << 20;

/// Takes records in: those with one partition key in their order, others side by side. On return what they mean is saved,
/// reported, and due: nothing that calls an account is waited for.
pub struct FleetSink<S, H, Q> {
    stream: Arc<str>,
    rechecks: Arc<Rechecks<S, H, Q>>,
    decoder: Decoder,
    parking: Parking,
    shards: Mutex<BTreeMap<ShardId, Arc<Groups<S, H>>>>,
}

/// The handlers of one shard under one lease.
struct Groups<S, H> {
    fence: u64,
    groups: Vec<TaskMutex<Group<S, H>>>,
}

struct Group<S, H> {
    handler: Handler<S, Arc<H>>,
    ingest: Ingest,
    position: Position,
}

impl<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static> FleetSink<S, H, Q> {
    /// Takes records of `stream`; what cannot be read goes to `parking`.
    pub fn new(stream: impl Into<Arc<str>>, rechecks: Arc<Rechecks<S, H, Q>>, parking: Parking) -> Arc<Self> {
        let stream = stream.into();
        Arc::new(Self { stream, rechecks, decoder: Decoder::default(), parking, shards: Mutex::default() })
    }

    fn crew(&self) -> &Crew<S, H> {
        self.rechecks.crew()
    }

    fn groups(&self, shard: &ShardId, fence: u64) -> Arc<Groups<S, H>> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(groups) = shards.get(shard).filter(|groups| groups.fence == fence) {
            return Arc::clone(groups);
        }
        if shards.len() >= SHARDS_MAX {
            // A shard that is being read has a second owner: the batch that is under way.
            shards.retain(|_, groups| Arc::strong_count(groups) > 1);
        }
        let group = || Group {
            handler: self.crew().handler(Some(fence), Calls::Later),
            ingest: Ingest::new(self.parking.clone()),
            position: Position::default(),
        };
        let groups = Arc::new(Groups { fence, groups: (0..GROUPS).map(|_| TaskMutex::new(group())).collect() });
        shards.insert(shard.clone(), Arc::clone(&groups));
        groups
    }

    fn place(&self, shard: &ShardId) -> String {
        format!("{}/{shard}", self.stream)
    }

    async fn take_group(&self, group: &TaskMutex<Group<S, H>>, shard: &ShardId, records: Vec<&Record>) -> Result<(), SinkError> {
        let candidate = |record: &Record| Candidate {
            bytes: record.data.clone(),
            at: RecordAt { record: 1, byte: 0 },
            sequence: Some(record.sequence.to_string().into()),
            look: Look::Whole,
            known: false,
        };
        let candidates: Vec<Candidate> = records.into_iter().map(candidate).collect();
        let mut group = group.lock().await;
        let Group { handler, ingest, position } = &mut *group;
        if handler.regions.is_empty() {
            handler.regions = self.crew().regions.get();
        }
        let mut taken = *position;
        // The first span of the trace that goes on in looks and wake-ups.
        let span = tracing::info_span!("records", %shard, records = candidates.len());
        let work = async {
            let done = ingest.take(handler, &self.place(shard), &candidates, &mut taken, now()).await;
            done.map_err(|error| SinkError(error.to_string()))?;
            count(&handler.board, &handler.metrics, position, &taken);
            *position = taken;
            self.rechecks.follow(handler, now()).await;
            Ok(())
        };
        work.instrument(span).await
    }
}

impl<S, H, Q> RecordSink for FleetSink<S, H, Q>
where
    S: SharedStore,
    H: Hands + 'static,
    Q: WakeUps + 'static,
{
    async fn take(&self, shard: &ShardId, fence: u64, records: &[Record]) -> Result<(), SinkError> {
        let groups = self.groups(shard, fence);
        let mut by_group: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
        let mut ignored = 0;
        for record in records {
            let irrelevant = self.decoder.screen(&record.data) == Screen::Irrelevant
                && simdutf8::basic::from_utf8(&record.data).is_ok();
            if irrelevant {
                ignored += 1;
            } else {
                let group = FixedState::default().hash_one(&*record.partition_key) as usize % GROUPS;
                by_group.entry(group).or_default().push(record);
            }
        }
        let taken = by_group.into_iter().map(|(group, records)| self.take_group(&groups.groups[group], shard, records));
        join_all(taken).await.into_iter().collect::<Result<(), _>>()?;
        let after = Position { ignored, ..Position::default() };
        count(&self.crew().board, &self.crew().metrics, &Position::default(), &after);
        Ok(())
    }

    async fn park(&self, shard: &ShardId, record: &Record, why: Unfit) -> Result<(), SinkError> {
        let parked = Parked {
            file: self.place(shard),
            record: 1,
            byte: 0,
            sequence: Some(record.sequence.to_string().into()),
            reason: why.to_string(),
            content: Some(record.data.iter().take(PARKED_BYTES_MAX).copied().collect()),
        };
        self.parking.park(&parked).await.map_err(|error| SinkError(error.to_string()))?;
        self.parking.sync().await.map_err(|error| SinkError(error.to_string()))?;
        tracing::warn!(%parked, "parked");
        let after = Position { poison: 1, ..Position::default() };
        count(&self.crew().board, &self.crew().metrics, &Position::default(), &after);
        self.crew().metrics.records_parked(1);
        Ok(())
    }
}
