//! The stream, and what reaches it and the log bucket.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::{primitives::Blob, types::PutRecordsRequestEntry};
use serde_json::Value;
use sessionwarden_machine::ids::SessionKey;
use sessionwarden_world::World;

use super::{Cloud, MANAGEMENT, STREAM, connect, now};

/// The most that one call takes (`PutRecords`).
const RECORDS_MAX: usize = 500;
/// How long a change of the stream may take.
const CHANGE_MAX: Duration = Duration::from_secs(30);

/// What carries things from the model into the servers.
pub(super) struct Delivery {
    pub(super) world: Arc<Mutex<World>>,
    kinesis: aws_sdk_kinesis::Client,
    s3: aws_sdk_s3::Client,
    /// One delivery at a time, so that the order stays.
    turn: tokio::sync::Mutex<()>,
    /// Sessions whose log is not written yet.
    unlogged: Mutex<BTreeSet<SessionKey>>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}

impl Delivery {
    pub(super) async fn new(world: Arc<Mutex<World>>, kinesis: &str, ministack: &str) -> Self {
        let archive = world.lock().unwrap_or_else(PoisonError::into_inner).log_archive().to_string();
        let to_stream = connect::config(&[("kinesis", kinesis)], connect::root(MANAGEMENT)).await;
        let to_bucket = connect::config(&[("s3", ministack)], connect::root(&archive)).await;
        Self {
            world,
            kinesis: aws_sdk_kinesis::Client::new(&to_stream),
            s3: aws_sdk_s3::Client::new(&to_bucket),
            turn: tokio::sync::Mutex::default(),
            unlogged: Mutex::default(),
        }
    }

    pub(super) async fn create_stream(&self, shards: u16) -> anyhow::Result<()> {
        self.kinesis.create_stream().stream_name(STREAM).shard_count(i32::from(shards)).send().await?;
        self.active().await
    }

    /// Waits until the stream can be changed again.
    async fn active(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let told = self.kinesis.describe_stream_summary().stream_name(STREAM).send().await?;
            if told.stream_description_summary().is_some_and(|it| it.stream_status().as_str() == "ACTIVE") {
                return Ok(());
            }
            ensure!(began.elapsed() < CHANGE_MAX, "the stream is not active");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn watch_log(&self, session: &SessionKey) {
        self.unlogged.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone());
    }

    /// Lets the model's time pass, and carries what came of it. What fails is tried again by the next pass.
    pub(super) async fn pass(&self, events: bool) {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).advance_to(now());
        if let Err(error) = self.write_logs().await {
            eprintln!("a session's log could not be written: {error:#}");
        }
        if events && let Err(error) = self.deliver().await {
            eprintln!("events are lost: {error:#}");
        }
    }

    pub(super) async fn deliver(&self) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let events = self.world.lock().unwrap_or_else(PoisonError::into_inner).drain_events();
        for events in events.chunks(RECORDS_MAX) {
            let entries = events.iter().map(|event| entry(event)).collect::<anyhow::Result<_>>()?;
            let call = self.kinesis.put_records().stream_name(STREAM).set_records(Some(entries));
            let put = call.send().await.context("PutRecords")?;
            ensure!(put.failed_record_count() == Some(0), "a record was refused");
        }
        Ok(())
    }

    async fn write_logs(&self) -> anyhow::Result<()> {
        let waiting = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for session in waiting {
            let (bucket, log) = {
                let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
                (Arc::clone(world.bucket_name()), world.session_log(&session))
            };
            let Some((name, log)) = log else { continue };
            let body = vec![b'x'; log.size_bytes as usize];
            self.s3.put_object().bucket(&*bucket).key(&*name).body(body.into()).send().await.context("PutObject")?;
            self.unlogged.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
        }
        Ok(())
    }
}

/// An event under the partition key that the rule gives it: the account.
fn entry(event: &[u8]) -> anyhow::Result<PutRecordsRequestEntry> {
    let envelope: Value = serde_json::from_slice(event)?;
    let account = envelope["account"].as_str().context("an envelope without an account")?;
    Ok(PutRecordsRequestEntry::builder().data(Blob::new(event)).partition_key(account).build()?)
}

/// A shard that takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShard {
    /// Its id.
    pub id: String,
    /// Its hash keys, the last included.
    pub hash_keys: (u128, u128),
}

impl Cloud {
    /// Puts bytes into the stream, under any partition key.
    ///
    /// # Errors
    /// The stream refuses them.
    pub async fn put(&self, partition_key: &str, data: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let call = self.delivery.kinesis.put_record().stream_name(STREAM).partition_key(partition_key);
        call.data(Blob::new(data)).send().await.context("PutRecord").map(drop)
    }

    /// Puts many records, each with its partition key, in as few calls as possible.
    ///
    /// # Errors
    /// The stream refuses one.
    pub async fn put_many(&self, records: Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
        let entry = |(key, data): (String, Vec<u8>)| {
            Ok(PutRecordsRequestEntry::builder().data(Blob::new(data)).partition_key(key).build()?)
        };
        let entries = records.into_iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?;
        for entries in entries.chunks(RECORDS_MAX) {
            let call = self.delivery.kinesis.put_records().stream_name(STREAM).set_records(Some(entries.to_vec()));
            let put = call.send().await.context("PutRecords")?;
            ensure!(put.failed_record_count() == Some(0), "a record was refused");
        }
        Ok(())
    }

    /// The open shards, by their hash keys.
    ///
    /// # Errors
    /// The stream does not tell.
    pub async fn open_shards(&self) -> anyhow::Result<Vec<OpenShard>> {
        let listed = self.delivery.kinesis.list_shards().stream_name(STREAM).send().await.context("ListShards")?;
        let open = listed.shards().iter().filter(|shard| {
            shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
        });
        let mut open: Vec<OpenShard> = open
            .map(|shard| {
                let range = shard.hash_key_range().context("a shard without hash keys")?;
                let hash_keys = (range.starting_hash_key().parse()?, range.ending_hash_key().parse()?);
                Ok(OpenShard { id: shard.shard_id().to_owned(), hash_keys })
            })
            .collect::<anyhow::Result<_>>()?;
        open.sort_by_key(|shard| shard.hash_keys);
        Ok(open)
    }

    /// Splits an open shard in the middle, and waits until that is done.
    ///
    /// # Errors
    /// The stream refuses it.
    pub async fn split(&self, shard: &OpenShard) -> anyhow::Result<()> {
        let (first, last) = shard.hash_keys;
        let middle = (first + (last - first) / 2 + 1).to_string();
        let call = self.delivery.kinesis.split_shard().stream_name(STREAM).shard_to_split(&shard.id);
        call.new_starting_hash_key(middle).send().await.context("SplitShard")?;
        self.delivery.active().await
    }

    /// Merges two neighbours, and waits until that is done.
    ///
    /// # Errors
    /// The stream refuses it.
    pub async fn merge(&self, one: &OpenShard, other: &OpenShard) -> anyhow::Result<()> {
        let call = self.delivery.kinesis.merge_shards().stream_name(STREAM);
        let call = call.shard_to_merge(&one.id).adjacent_shard_to_merge(&other.id);
        call.send().await.context("MergeShards")?;
        self.delivery.active().await
    }
}
