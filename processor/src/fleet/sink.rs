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
use sessionwarden_store::Fence;
use tokio::sync::Mutex as TaskMutex;
use tracing::Instrument;

use super::{Crew, Rechecks, SharedStore};
use crate::{
    handle::{Calls, Handler},
    input::{Parked, Parking, RecordAt, StreamPlace},
    outbound::WakeUps,
    ports::Hands,
    run::{Candidate, Ingest, Look, Origin, Position, count, now},
    stream::{RECORD_BYTES_MAX, Record, RecordSink, SinkError, Unfit},
};

/// How many groups of one shard's accounts are handled side by side.
const GROUPS: usize = 4;
/// How many shards' handlers are kept; beyond that those of shards that are not read any more are forgotten.
const SHARDS_MAX: usize = 256;

/// Makes a place for what cannot be read, one for each of those who need it.
type MakeParking = Box<dyn Fn() -> Parking + Send + Sync>;

/// Takes records in: those with one partition key in their order, others side by side. On return what they mean is saved,
/// reported, and due: nothing that calls an account is waited for.
pub struct FleetSink<S, H, Q> {
    stream: Arc<str>,
    rechecks: Arc<Rechecks<S, H, Q>>,
    decoder: Decoder,
    parking: MakeParking,
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
    pub fn new(
        stream: impl Into<Arc<str>>,
        rechecks: Arc<Rechecks<S, H, Q>>,
        parking: impl Fn() -> Parking + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (stream, parking) = (stream.into(), Box::new(parking));
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
            handler: self.crew().handler(Some(Fence { shard: Arc::clone(&shard.0), number: fence }), Calls::Later),
            ingest: Ingest::new((self.parking)()),
            position: Position::default(),
        };
        let groups = Arc::new(Groups { fence, groups: (0..GROUPS).map(|_| TaskMutex::new(group())).collect() });
        shards.insert(shard.clone(), Arc::clone(&groups));
        groups
    }

    async fn take_group(
        &self,
        group: &TaskMutex<Group<S, H>>,
        origin: Origin<'_>,
        candidates: Vec<Candidate>,
    ) -> Result<(), SinkError> {
        let mut group = group.lock().await;
        let Group { handler, ingest, position } = &mut *group;
        if handler.regions.is_empty() {
            handler.regions = self.crew().regions.get();
        }
        let mut taken = *position;
        // The first span of the trace that goes on in looks and wake-ups.
        let span = tracing::info_span!("records", records = candidates.len());
        let work = async {
            let done = Box::pin(ingest.take(handler, origin, &candidates, &mut taken, now())).await;
            done.map_err(|error| SinkError(error.to_string()))?;
            count(&handler.board, &handler.metrics, position, &taken);
            *position = taken;
            self.rechecks.follow(handler, true, now()).await;
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
        let mut by_group: BTreeMap<usize, Vec<Candidate>> = BTreeMap::new();
        let mut ignored = 0;
        for (number, record) in (1_u64..).zip(records) {
            let irrelevant = self.decoder.screen(&record.data) == Screen::Irrelevant
                && simdutf8::basic::from_utf8(&record.data).is_ok();
            if irrelevant {
                ignored += 1;
            } else {
                let group = FixedState::default().hash_one(&*record.partition_key) as usize % GROUPS;
                let at = RecordAt { record: number, byte: 0 };
                let candidate = Candidate { bytes: record.data.clone(), at, look: Look::Whole, known: false };
                by_group.entry(group).or_default().push(candidate);
            }
        }
        let origin = Origin::Shard { stream: &self.stream, shard, records };
        let take = |(group, candidates)| self.take_group(&groups.groups[group], origin, candidates);
        let taken = by_group.into_iter().map(take);
        join_all(taken).await.into_iter().collect::<Result<(), _>>()?;
        let after = Position { ignored, ..Position::default() };
        count(&self.crew().board, &self.crew().metrics, &Position::default(), &after);
        Ok(())
    }

    async fn park(&self, shard: &ShardId, record: &Record, why: Unfit) -> Result<(), SinkError> {
        let parked = Parked {
            file: format!("{}/{shard}/{}", self.stream, record.sequence),
            record: 1,
            byte: 0,
            reason: why.to_string(),
            bytes: Some(record.data.len() as u64),
            stream: Some(StreamPlace {
                stream: Arc::clone(&self.stream),
                shard: Arc::clone(&shard.0),
                sequence: record.sequence.as_str().into(),
            }),
            content: Some(record.data.iter().take(RECORD_BYTES_MAX).copied().collect()),
        };
        let mut parking = (self.parking)();
        parking.park(&parked).await.map_err(|error| SinkError(error.to_string()))?;
        parking.sync().map_err(|error| SinkError(error.to_string()))?;
        tracing::warn!(%parked, "parked");
        let after = Position { poison: 1, ..Position::default() };
        count(&self.crew().board, &self.crew().metrics, &Position::default(), &after);
        self.crew().metrics.records_parked(1);
        Ok(())
    }
}
