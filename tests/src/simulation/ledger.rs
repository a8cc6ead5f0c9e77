//! Where workers report to: feed, audit trail, parked records, metric data, people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use sessionwarden::{
    audit::{AuditEntry, AuditError, AuditKind},
    effects::{Ledger, WriteError},
    input::{Park, Parked, ParkedError},
    outbound::{Datum, Message, MetricSink, Notify},
    ports::CallError,
};
use sessionwarden_machine::{
    effect::Report,
    ids::{AccountId, Now},
};

use super::{chance::Fault, host::SimHost, sim::lock};

/// What was written, by all workers together.
#[derive(Debug, Default)]
pub struct Written {
    /// Decisions and effects, by id; each with its content as it was written first, and how often.
    pub entries: BTreeMap<Arc<str>, (Box<str>, u32)>,
    /// Intents, by id, each with the time of the first.
    pub intents: BTreeMap<Arc<str>, Now>,
    /// Sessions that were ended, as each life of a worker wrote it: the ids of the remedies.
    pub ended: BTreeMap<(usize, u64), BTreeSet<Arc<str>>>,
    /// Lives of workers that may have written what they do not know of.
    pub unsure: BTreeSet<(usize, u64)>,
    /// Records that could not be read: stream, shard and number.
    pub parked: BTreeSet<String>,
    /// Metric data, by life of a worker: sessions that were ended, without their accounts' own counts.
    pub counted: BTreeMap<(usize, u64), u64>,
    /// People who were told, by the id of what they were told.
    pub told: BTreeMap<Arc<str>, u32>,
}

impl Written {
    fn take(&mut self, life: (usize, u64), entry: &AuditEntry, now: Now) {
        let id: Arc<str> = Arc::from(entry.id());
        match entry.kind() {
            AuditKind::Intent => {
                self.intents.entry(id).or_insert(now);
            }
            AuditKind::Decision | AuditKind::Effect | AuditKind::Admin | AuditKind::Service => {
                let told = |what: &str| entry.body().contains(what);
                if told(r#""kind":"terminate""#) && told(r#""result":"done""#) {
                    self.ended.entry(life).or_default().insert(Arc::clone(&id));
                }
                let (_, times) = self.entries.entry(id).or_insert_with(|| (entry.body().into(), 0));
                *times += 1;
            }
        }
    }
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// Feed and audit trail, as one worker sees them.
#[derive(Debug)]
pub struct SimLedger(pub Arc<SimHost>);

fn refused() -> WriteError {
    WriteError::Audit(AuditError::Object { key: "simulated".to_owned(), why: "injected".to_owned() })
}

impl Ledger for SimLedger {
    fn write<'a>(
        &'a mut self,
        reports: &'a [Report],
        entries: &'a [AuditEntry],
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let (host, sim) = (&self.0, &self.0.sim);
            host.way().await;
            let down = lock(&sim.troubles).feed;
            if down.is_some_and(|until| sim.now() < until) {
                return Err(refused());
            }
            let life = (host.worker, host.life);
            {
                let mut written = lock(&sim.written);
                for entry in entries {
                    written.take(life, entry, sim.now());
                }
            }
            let first = entries.first().map_or("", AuditEntry::id);
            host.note(format_args!("writes {} reports, {} entries, first {first}", reports.len(), entries.len()));
            host.may_die(Fault::CrashAfterEffect).await;
            host.way().await;
            if sim.happens(Fault::FeedAnswerLost).is_some() {
                lock(&sim.written).unsure.insert(life);
                return Err(refused());
            }
            Ok(())
        }
        .boxed()
    }
}

/// Where a worker parks what it cannot read.
#[derive(Debug)]
pub struct SimParking(pub Arc<SimHost>);

impl Park for SimParking {
    fn park<'a>(&'a mut self, parked: &'a Parked) -> BoxFuture<'a, Result<(), ParkedError>> {
        async move {
            let (host, sim) = (&self.0, &self.0.sim);
            host.way().await;
            if sim.happens(Fault::ParkingFails).is_some() {
                return Err(ParkedError::Queue { place: parked.file.clone(), why: CallError::Throttled });
            }
            let place = parked.stream.as_ref().map(|place| format!("{}/{}", place.shard, place.sequence));
            host.note(format_args!("parks {place:?}: {}", parked.reason));
            lock(&sim.written).parked.extend(place);
            Ok(())
        }
        .boxed()
    }
}

/// Where a worker sends metric data.
pub struct SimMetrics(pub Arc<SimHost>);

impl MetricSink for SimMetrics {
    fn batch_max(&self) -> usize {
        20
    }

    async fn put(&self, _: &str, data: &[Datum]) -> Result<(), CallError> {
        self.0.way().await;
        if self.0.sim.happens(Fault::MetricsFail).is_some() {
            return Err(CallError::Throttled);
        }
        let by_control = data.iter().filter(|datum| datum.dimensions.iter().any(|(name, _)| *name == "Control"));
        let sessions: u64 = by_control.map(|datum| datum.value).sum();
        *lock(&self.0.sim.written).counted.entry((self.0.worker, self.0.life)).or_default() += sessions;
        Ok(())
    }
}

/// People whom a worker tells.
pub struct SimPeople(pub Arc<SimHost>);

impl SimPeople {
    async fn tell(&self, message: &Message) -> Result<bool, CallError> {
        self.0.way().await;
        if self.0.sim.happens(Fault::NotifyFails).is_some() {
            return Err(CallError::Throttled);
        }
        *lock(&self.0.sim.written).told.entry(Arc::clone(&message.id.0)).or_default() += 1;
        Ok(true)
    }
}

impl Notify for SimPeople {
    async fn member(&self, _: AccountId, message: &Message) -> Result<bool, CallError> {
        self.tell(message).await
    }

    async fn central(&self, message: &Message) -> Result<bool, CallError> {
        self.tell(message).await
    }
}
