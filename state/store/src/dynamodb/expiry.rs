//! What Time to Live deleted, read from the stream of the table of items ("DynamoDB Streams and Time to Live").

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::{
    Client, Config,
    operation::{
        get_records::{GetRecordsError, GetRecordsOutput},
        get_shard_iterator::GetShardIteratorError,
    },
    types::{AttributeValue as StreamValue, OperationType, Record, ShardIteratorType},
};
use serde::{Deserialize, Serialize};

use super::{
    DynamoDb,
    failure::{failed, refused},
    layout::{Row, attribute::PK, read_item, read_text},
    limits_of,
};
use crate::{Item, SCHEMA, Store, StoreError};

/// How the service signs its own deletions, in every partition.
const SERVICE: (Option<&str>, Option<&str>) = (Some("Service"), Some("dynamodb.amazonaws.com"));
/// Records of one answer at the most: the service's own limit, beside 1 MB (`GetRecords`).
const RECORDS_MAX: i32 = 1_000;
/// Answers of one shard in one pass.
const PAGES_MAX: usize = 8;
/// With so many items a pass ends. Those of the answer that reached it are in it, too.
const FOUND_MAX: usize = 1_000;
/// After this time a pass begins no further shard.
const PASS_MAX: Duration = Duration::from_secs(20);
/// More shards than any stream has: a list of more is no answer.
const SHARDS_MAX: usize = 10_000;
/// How long a list of shards is used. A shard that ends has it read anew at once.
const LIST_KEPT: Duration = Duration::from_mins(1);
/// How often positions are kept while nothing was found. Until then a restart reads the same records again.
const KEEP_PAUSE: Duration = Duration::from_secs(30);
/// The first pause of a shard that cannot be read; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How far a shard was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Position {
    /// Not at all: it begins at the oldest record there is.
    Start,
    /// Up to this sequence number.
    After(String),
    /// To its end.
    End,
}

/// The positions, as they are kept: one value for all shards, so that it is bounded by the list of shards.
#[derive(Serialize, Deserialize)]
struct Kept {
    stream: String,
    positions_by_shard: BTreeMap<String, Position>,
}

#[derive(Debug)]
struct Shard {
    parent: Option<String>,
    position: Position,
    /// Where the next answer begins; absent where it has to be asked for.
    iterator: Option<String>,
    /// Until when it is left alone, and for how long that was.
    pause: Option<(Instant, Duration)>,
}

impl Shard {
    fn at(position: Position) -> Self {
        Self { parent: None, position, iterator: None, pause: None }
    }
}

/// The items that Time to Live deleted, in the order in which their shards tell it, and each at least once.
///
/// One reader for a table is enough; two find the same. Parents are read before their children. The stream keeps its
/// records for 24 hours: who has not read for longer begins at the oldest, and [`Self::gaps`] counts it.
#[derive(Debug)]
pub struct ExpiredItems {
    client: Client,
    store: DynamoDb,
    stream: Option<String>,
    shards_by_id: BTreeMap<String, Shard>,
    listed_at: Option<Instant>,
    /// The shard that was read last: the next pass begins behind it.
    last: Option<String>,
    found: Vec<Item>,
    moved: bool,
    kept_at: Option<Instant>,
    gaps: u64,
}

impl ExpiredItems {
    /// Reads the stream of the store's table of items, and keeps its positions in the store. Nothing is sent yet.
    ///
    /// `config` gives the region, the credentials and the endpoint; retries and time limits are those of the store.
    pub fn new(config: &Config, store: &DynamoDb) -> Self {
        let (retries, limits) = limits_of(&store.settings);
        let config = config.to_builder().retry_config(retries).timeout_config(limits).build();
        Self {
            client: Client::from_conf(config),
            store: store.clone(),
            stream: None,
            shards_by_id: BTreeMap::new(),
            listed_at: None,
            last: None,
            found: Vec::new(),
            moved: false,
            kept_at: None,
            gaps: 0,
        }
    }

    /// One bounded pass over the shards: the items that Time to Live deleted, as they were. None may mean that there
    /// was nothing new, or that there is more to read.
    ///
    /// What was returned is returned again until [`Self::done`]. An item that cannot be read comes with an empty body.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where no shard could be read; one that cannot be read for a while is left alone for
    /// up to 30 s, and the others go on. [`StoreError::Refused`] where the credentials do not allow it, or the table
    /// has no stream. Nothing is lost by an error: the next pass goes on.
    pub async fn next(&mut self) -> Result<&[Item], StoreError> {
        if self.found.is_empty() {
            self.pass().await?;
        }
        Ok(&self.found)
    }

    /// To be called once everything that follows from the returned items is durable. Deletes the entries of what they
    /// depended on, which Time to Live leaves behind, and keeps the positions.
    ///
    /// # Errors
    /// As the requests fail; then the items are returned again.
    pub async fn done(&mut self) -> Result<(), StoreError> {
        for item in &self.found {
            self.store.remove_entries(item).await?;
        }
        let keep = !self.found.is_empty() || self.kept_at.is_none_or(|at| at.elapsed() >= KEEP_PAUSE);
        if let Some(stream) = self.stream.as_ref().filter(|_| keep && self.moved) {
            let positions = self.shards_by_id.iter().map(|(id, shard)| (id.clone(), shard.position.clone()));
            let kept = Kept { stream: stream.clone(), positions_by_shard: positions.collect() };
            let kept = serde_json::to_vec(&kept).map_err(|error| self.refused(error.to_string()))?;
            self.store.set_checkpoint(&self.checkpoint_name(), &kept).await?;
            self.kept_at = Some(Instant::now());
            self.moved = false;
        }
        self.found.clear();
        Ok(())
    }

    /// How often records were gone before they were read: deletions among them are not told any more.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn table(&self) -> &str {
        &self.store.settings.state_table
    }

    fn refused(&self, why: impl Into<String>) -> StoreError {
        refused(self.table(), why)
    }

    fn checkpoint_name(&self) -> String {
        format!("expiry/{}", self.table())
    }

    async fn pass(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        if self.listed_at.is_none_or(|at| at.elapsed() >= LIST_KEPT) {
            self.list().await?;
        }
        let (mut any_read, mut failure) = (false, None);
        for id in self.readable(begun) {
            if self.found.len() >= FOUND_MAX || begun.elapsed() >= PASS_MAX {
                break;
            }
            let read = self.read(&id).await;
            if let Some(shard) = self.shards_by_id.get_mut(&id) {
                let last = shard.pause.map_or(PAUSE_MIN, |(_, last)| (last * 2).min(PAUSE_MAX));
                shard.pause = read.is_err().then(|| (Instant::now() + last, last));
            }
            self.last = Some(id);
            match read {
                Ok(()) => any_read = true,
                Err(refusal @ StoreError::Refused { .. }) => return Err(refusal),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.filter(|_| !any_read).map_or(Ok(()), Err)
    }

    /// The shards that can be read now, those behind the last one first. Children wait for their parent.
    fn readable(&self, now: Instant) -> Vec<String> {
        let ended = |id: &String| self.shards_by_id.get(id).is_none_or(|shard| shard.position == Position::End);
        let readable = |(_, shard): &(&String, &Shard)| {
            shard.position != Position::End
                && shard.parent.as_ref().is_none_or(ended)
                && shard.pause.is_none_or(|(until, _)| until <= now)
        };
        let ids = self.shards_by_id.iter().filter(readable).map(|(id, _)| id.clone());
        let (behind, before): (Vec<String>, Vec<String>) = ids.partition(|id| Some(id) > self.last.as_ref());
        behind.into_iter().chain(before).collect()
    }

    async fn list(&mut self) -> Result<(), StoreError> {
        let stream = self.store.stream().await?;
        if self.stream.as_ref() != Some(&stream) {
            self.shards_by_id = self.kept_shards(&stream).await?;
            self.stream = Some(stream.clone());
        }
        let (mut listed, mut from) = (BTreeSet::new(), None);
        loop {
            let sent = self.client.describe_stream().stream_arn(&stream).set_exclusive_start_shard_id(from.take());
            let sent = sent.send().await.map_err(|error| failed(self.table(), &error))?;
            let found = sent.stream_description.ok_or_else(|| self.refused("its stream has no description"))?;
            for shard in found.shards() {
                let Some(id) = shard.shard_id() else { continue };
                let known = self.shards_by_id.entry(id.to_owned()).or_insert_with(|| Shard::at(Position::Start));
                known.parent = shard.parent_shard_id().map(str::to_owned);
                listed.insert(id.to_owned());
            }
            if listed.len() > SHARDS_MAX {
                return Err(self.refused(format!("its stream has more than {SHARDS_MAX} shards")));
            }
            from = found.last_evaluated_shard_id;
            if from.is_none() {
                break;
            }
        }
        let unread =
            self.shards_by_id.iter().filter(|(id, shard)| !listed.contains(*id) && shard.position != Position::End);
        self.gaps += unread.count() as u64;
        self.shards_by_id.retain(|id, _| listed.contains(id));
        self.listed_at = Some(Instant::now());
        Ok(())
    }

    /// The shards whose positions were kept for this stream.
    async fn kept_shards(&self, stream: &str) -> Result<BTreeMap<String, Shard>, StoreError> {
        let kept = self.store.checkpoint(&self.checkpoint_name()).await?;
        let kept = kept.and_then(|kept| serde_json::from_slice::<Kept>(&kept).ok());
        let kept = kept.filter(|kept| kept.stream == stream).map(|kept| kept.positions_by_shard);
        Ok(kept.into_iter().flatten().map(|(id, position)| (id, Shard::at(position))).collect())
    }

    async fn read(&mut self, id: &str) -> Result<(), StoreError> {
        for _ in 0..PAGES_MAX {
            let Some(iterator) = self.iterator(id).await? else { return Ok(()) };
            let page = match self.client.get_records().shard_iterator(iterator).limit(RECORDS_MAX).send().await {
                Ok(page) => page,
                Err(error) => match error.as_service_error() {
                    // An iterator can be used for 15 minutes ("GetShardIterator").
                    Some(GetRecordsError::ExpiredIteratorException(_)) => continue,
                    Some(GetRecordsError::TrimmedDataAccessException(_)) => {
                        self.rewind(id);
                        continue;
                    }
                    Some(GetRecordsError::ResourceNotFoundException(_)) => {
                        self.forget(id);
                        return Ok(());
                    }
                    Some(_) | None => return Err(failed(self.table(), &error)),
                },
            };
            if !self.take(id, page) || self.found.len() >= FOUND_MAX {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where the shard is read next; nothing where it is gone.
    async fn iterator(&mut self, id: &str) -> Result<Option<String>, StoreError> {
        for _ in 0..2 {
            let Some(shard) = self.shards_by_id.get_mut(id) else { return Ok(None) };
            if let Some(iterator) = shard.iterator.take() {
                return Ok(Some(iterator));
            }
            let ask = self.client.get_shard_iterator().set_stream_arn(self.stream.clone()).shard_id(id);
            let ask = match &shard.position {
                Position::After(number) => {
                    ask.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).sequence_number(number)
                }
                Position::Start | Position::End => ask.shard_iterator_type(ShardIteratorType::TrimHorizon),
            };
            match ask.send().await {
                Ok(answer) => return Ok(answer.shard_iterator),
                Err(error) => match error.as_service_error() {
                    Some(GetShardIteratorError::TrimmedDataAccessException(_)) => self.rewind(id),
                    Some(GetShardIteratorError::ResourceNotFoundException(_)) => self.forget(id),
                    Some(_) | None => return Err(failed(self.table(), &error)),
                },
            }
        }
        Ok(None)
    }

    /// The records behind the position are gone: it begins at the oldest there is.
    fn rewind(&mut self, id: &str) {
        if let Some(shard) = self.shards_by_id.get_mut(id) {
            self.gaps += 1;
            self.moved = true;
            shard.position = Position::Start;
        }
    }

    /// The shard is gone, or its whole stream.
    fn forget(&mut self, id: &str) {
        self.gaps += 1;
        self.moved = true;
        self.shards_by_id.remove(id);
        self.listed_at = None;
    }

    /// Takes an answer, and says whether the shard may have more.
    fn take(&mut self, id: &str, page: GetRecordsOutput) -> bool {
        let records = page.records.unwrap_or_default();
        self.found.extend(records.iter().filter_map(expired));
        let Some(shard) = self.shards_by_id.get_mut(id) else { return false };
        let last = records.iter().rev().find_map(|record| record.dynamodb()?.sequence_number());
        if let Some(number) = last {
            shard.position = Position::After(number.to_owned());
            self.moved = true;
        }
        shard.iterator = page.next_shard_iterator;
        if shard.iterator.is_none() {
            shard.position = Position::End;
            self.moved = true;
            self.listed_at = None;
        }
        shard.iterator.is_some() && !records.is_empty()
    }
}

/// The item that Time to Live deleted, if the record tells that.
fn expired(record: &Record) -> Option<Item> {
    let by = record.user_identity()?;
    if record.event_name() != Some(&OperationType::Remove) || (by.r#type(), by.principal_id()) != SERVICE {
        return None;
    }
    let change = record.dynamodb()?;
    let values = change.keys().into_iter().chain(change.old_image()).flatten();
    let row: Row = values.filter_map(|(name, value)| Some((name.clone(), value_of(value)?))).collect();
    let key: Arc<str> = read_text(&row, PK).ok()?;
    let unread = Item { key, rev: 0, schema: SCHEMA, body: Vec::new(), due: None, depends: Vec::new(), expires: None };
    Some(read_item(&row).unwrap_or(unread))
}

/// A value of the types that the layout has.
fn value_of(value: &StreamValue) -> Option<AttributeValue> {
    match value {
        StreamValue::S(text) => Some(AttributeValue::S(text.clone())),
        StreamValue::N(digits) => Some(AttributeValue::N(digits.clone())),
        StreamValue::B(bytes) => Some(AttributeValue::B(bytes.clone())),
        StreamValue::L(values) => values.iter().map(value_of).collect::<Option<_>>().map(AttributeValue::L),
        _ => None,
    }
}
