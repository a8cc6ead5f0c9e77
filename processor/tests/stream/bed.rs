//! Servers, workers and a sink that remembers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::{
    Client, Config,
    config::{BehaviorVersion, Region},
    primitives::Blob,
    types::PutRecordsRequestEntry,
};
use sessionwarden::stream::{
    EventStream, KinesisSettings, KinesisStream, LeaseTable, Record, RecordSink, SinkError, Stopped, StreamGone,
    SystemClock, Unfit, Worker, WorkerSettings, WorkerStatus,
};
use sessionwarden_machine::lease::{LeaseSettings, SequenceNumber, ShardId, WorkerId};
use sessionwarden_store::DynamoDbLeases;
pub(crate) use sessionwarden_testbed::quick_kinesis as options;
use sessionwarden_testbed::{InProcess, StoreOptions, dynamodb};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const STREAM: &str = "events";

/// One stream and its lease table.
pub(crate) struct Bed {
    pub(crate) kinesis: Client,
    pub(crate) config: Config,
    /// Where the stream's server listens.
    pub(crate) address: SocketAddr,
    pub(crate) leases: DynamoDbLeases,
    pub(crate) rows: aws_sdk_dynamodb::Client,
    pub(crate) table: String,
    _tables: InProcess,
}

pub(crate) async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

impl Bed {
    pub(crate) async fn new(shards: i32) -> Self {
        Self::with(shards, options()).await
    }

    pub(crate) async fn with(shards: i32, options: StoreOptions) -> Self {
        Self::over(shards, ferrokinesis::create_app(options).0).await
    }

    /// With this server for the stream.
    pub(crate) async fn over(shards: i32, app: axum::Router) -> Self {
        let (listener, url) = listen().await;
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(url)
            .build();
        let kinesis = Client::from_conf(config.clone());
        let table_server = dynamodb().unwrap();
        let tables = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&table_server.url)
            .build();
        let table = "leases".to_owned();
        let leases = DynamoDbLeases::new(&tables, table.clone(), 2_000);
        leases.ensure_table().await.unwrap();
        let rows = aws_sdk_dynamodb::Client::from_conf(tables);
        if shards > 0 {
            kinesis.create_stream().stream_name(STREAM).shard_count(shards).send().await.unwrap();
            let active = async || {
                let seen = kinesis.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
                seen.stream_description_summary().unwrap().stream_status().as_str() == "ACTIVE"
            };
            while !active().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Self { kinesis, config, address, leases, rows, table, _tables: table_server }
    }

    pub(crate) fn stream(&self) -> KinesisStream {
        KinesisStream::new(&self.config, KinesisSettings::new(STREAM))
    }

    /// Puts `count` records, numbered from `first`, under `keys` partition keys; the number is the content.
    pub(crate) async fn put(&self, first: u64, count: u64, keys: u64) {
        let numbers: Vec<u64> = (first..first + count).collect();
        for chunk in numbers.chunks(500) {
            let entry = |number: &u64| {
                let key = format!("key-{}", number % keys);
                PutRecordsRequestEntry::builder()
                    .data(Blob::new(number.to_string()))
                    .partition_key(key)
                    .build()
                    .unwrap()
            };
            let entries: Vec<_> = chunk.iter().map(entry).collect();
            let put = self.kinesis.put_records().stream_name(STREAM).set_records(Some(entries)).send().await.unwrap();
            assert_eq!(put.failed_record_count(), Some(0));
        }
    }

    /// Puts one record into the shard that has this hash key.
    pub(crate) async fn put_at(&self, hash_key: u128, data: &[u8]) {
        let put = self.kinesis.put_record().stream_name(STREAM).partition_key("at").data(Blob::new(data));
        put.explicit_hash_key(hash_key.to_string()).send().await.unwrap();
    }

    pub(crate) async fn start<R: RecordSink>(&self, name: &str, settings: WorkerSettings, sink: &Arc<R>) -> Running {
        start(name, settings, self.stream(), self.leases.clone(), sink).await
    }

    pub(crate) async fn open_shards(&self) -> Vec<(String, String, String)> {
        let listed = self.kinesis.list_shards().stream_name(STREAM).send().await.unwrap();
        let open = listed.shards().iter().filter(|shard| {
            shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
        });
        let mut open: Vec<_> = open
            .map(|shard| {
                let range = shard.hash_key_range().unwrap();
                let (start, end) = (range.starting_hash_key().to_owned(), range.ending_hash_key().to_owned());
                (shard.shard_id().to_owned(), start, end)
            })
            .collect();
        open.sort_by_key(|(_, start, _)| start.parse::<u128>().unwrap());
        open
    }
}

/// Quick leases and readings, so that a test is short.
pub(crate) fn quick(fail_over_ms: u64) -> WorkerSettings {
    WorkerSettings {
        leases: LeaseSettings { fail_over_ms, hand_off_ms_max: 3_000, ..LeaseSettings::default() },
        round_ms: 50,
        poll_ms: 20,
        poll_idle_ms_max: 100,
        checkpoint_ms: 50,
        batch_max: 100,
        retry_ms_max: 100,
        ..WorkerSettings::default()
    }
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) task: JoinHandle<Result<Stopped, StreamGone>>,
    pub(crate) stop: CancellationToken,
    pub(crate) status: watch::Receiver<WorkerStatus>,
}

impl Running {
    pub(crate) async fn stop(self) -> Stopped {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// As a crash would end it.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    pub(crate) fn shards(&self) -> BTreeSet<ShardId> {
        self.status.borrow().shards.keys().cloned().collect()
    }
}

pub(crate) async fn start<E: EventStream, L: LeaseTable + 'static, R: RecordSink>(
    name: &str,
    settings: WorkerSettings,
    stream: E,
    leases: L,
    sink: &Arc<R>,
) -> Running {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let me = WorkerId::from(format!("{name}-{run}").as_str());
    let (worker, status) = Worker::new(me, settings).unwrap();
    let stop = CancellationToken::new();
    let (sink, token) = (Arc::clone(sink), stop.clone());
    let task = tokio::spawn(async move { worker.run(Arc::new(stream), leases, sink, SystemClock::new(), token).await });
    Running { task, stop, status }
}

/// A record as the sink got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) shard: ShardId,
    pub(crate) fence: u64,
    pub(crate) sequence: SequenceNumber,
    pub(crate) key: Arc<str>,
    pub(crate) text: String,
    pub(crate) at: Instant,
}

impl Got {
    pub(crate) fn number(&self) -> u64 {
        self.text.parse().unwrap()
    }
}

/// Remembers what it was given.
#[derive(Default)]
pub(crate) struct Memory {
    got: Mutex<Vec<Got>>,
    parked: Mutex<Vec<(ShardId, Unfit)>>,
    /// So many calls fail.
    pub(crate) failing: AtomicU32,
    /// How many calls there were, failed ones included.
    pub(crate) calls: AtomicU32,
    /// How long a call takes, in milliseconds.
    pub(crate) slow_ms: AtomicU64,
    /// Where there is one, a call needs a permit of it first, for ever.
    pub(crate) permits: Option<Semaphore>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A sink that takes so many batches and then hangs.
    pub(crate) fn hanging_after(batches: usize) -> Arc<Self> {
        Arc::new(Self { permits: Some(Semaphore::new(batches)), ..Self::default() })
    }

    pub(crate) fn got(&self) -> MutexGuard<'_, Vec<Got>> {
        self.got.lock().unwrap()
    }

    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        self.got().iter().map(Got::number).collect()
    }

    pub(crate) fn parked(&self) -> Vec<(ShardId, Unfit)> {
        self.parked.lock().unwrap().clone()
    }

    /// Each key's records came in the order in which they were put; repetitions are passed over.
    pub(crate) fn assert_ordered(&self) {
        let mut newest: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for got in self.got().iter().filter(|got| seen.insert(got.number())) {
            let before = newest.insert(Arc::clone(&got.key), got.number());
            assert!(before < Some(got.number()), "{got:?} came after {before:?}");
        }
    }
}

impl RecordSink for Memory {
    async fn take(&self, shard: &ShardId, fence: u64, records: &[Record]) -> Result<(), SinkError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(permits) = &self.permits {
            permits.acquire().await.unwrap().forget();
        }
        tokio::time::sleep(Duration::from_millis(self.slow_ms.load(Ordering::Relaxed))).await;
        let fails = |left: u32| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return Err(SinkError("as the test wants".to_owned()));
        }
        let got = |record: &Record| Got {
            shard: shard.clone(),
            fence,
            sequence: record.sequence.clone(),
            key: Arc::clone(&record.partition_key),
            text: String::from_utf8(record.data.clone()).unwrap(),
            at: Instant::now(),
        };
        self.got().extend(records.iter().map(got));
        Ok(())
    }

    async fn park(&self, shard: &ShardId, _: &Record, why: Unfit) -> Result<(), SinkError> {
        self.parked.lock().unwrap().push((shard.clone(), why));
        Ok(())
    }
}

/// Waits until it holds, and returns how long that took. Fails after `within`.
pub(crate) async fn until(what: &str, within: Duration, holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

pub(crate) const SOON: Duration = Duration::from_secs(20);
