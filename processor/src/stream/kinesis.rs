//! The stream in Kinesis, read by polling.

use std::{fmt, sync::Arc, time::Duration};

use aws_sdk_kinesis::{
    Client, Config,
    config::{http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{self, ChildShard, HashKeyRange, ShardIteratorType},
};
use aws_smithy_types::DateTime;
use sessionwarden_machine::{
    ids::EventTime,
    lease::{HashRange, ListedShard, ReadFrom, SequenceNumber, ShardId},
};

use super::{EventStream, Reading, Record, StreamError};

/// How many pages a list of shards may have. A longer one is no answer.
const PAGES_MAX: usize = 1_000;

/// How Kinesis is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisSettings {
    /// The stream's name.
    pub stream: String,
    /// The most records of one answer, 1 to 10,000 (`GetRecords`: `Limit`).
    pub records_max: u16,
    /// How long one request may take, in milliseconds.
    pub request_ms_max: u64,
}

impl KinesisSettings {
    /// The stream of this name, 10,000 records an answer, 5 s a request.
    pub fn new(stream: impl Into<String>) -> Self {
        Self { stream: stream.into(), records_max: 10_000, request_ms_max: 5_000 }
    }
}

/// A place in a shard, as the stream keeps it. It is good for five minutes (`GetShardIterator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIterator(Arc<str>);

/// A stream in Kinesis, read by polling.
#[derive(Clone, Debug)]
pub struct KinesisStream {
    pub(super) client: Client,
    pub(super) settings: Arc<KinesisSettings>,
}

impl KinesisStream {
    /// Nothing is sent yet. `config` gives the region, the credentials and the endpoint. Each request is sent once:
    /// the worker, which knows the shard's pace, sends it again.
    pub fn new(config: &Config, settings: KinesisSettings) -> Self {
        let attempt = Duration::from_millis(settings.request_ms_max);
        let timeouts = TimeoutConfig::builder().connect_timeout(attempt).operation_attempt_timeout(attempt).build();
        let config = config.to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config), settings: Arc::new(settings) }
    }
}

impl EventStream for KinesisStream {
    type Place = ShardIterator;

    async fn shards(&self) -> Result<Vec<ListedShard>, StreamError> {
        let (mut shards, mut token) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            // A page after the first is asked for by its token alone ("ListShards": `NextToken`).
            let name = token.is_none().then(|| self.settings.stream.clone());
            let asked = self.client.list_shards().set_stream_name(name).set_next_token(token.take());
            let page = asked.send().await.map_err(|error| failed(&error))?;
            for shard in page.shards() {
                let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
                shards.push(listed(shard.shard_id(), parents.into_iter().flatten(), shard.hash_key_range())?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(StreamError::Unknown(format!("the list of shards has more than {PAGES_MAX} pages")))
    }

    async fn retention_ms(&self) -> Result<u64, StreamError> {
        let asked = self.client.describe_stream_summary().stream_name(&self.settings.stream);
        let answer = asked.send().await.map_err(|error| failed(&error))?;
        let hours = answer.stream_description_summary().map(|summary| summary.retention_period_hours);
        let hours = hours.and_then(|hours| u64::try_from(hours).ok()).filter(|hours| *hours > 0);
        let hours = hours.ok_or_else(|| StreamError::Unknown("the stream names no retention period".to_owned()))?;
        Ok(hours.saturating_mul(3_600_000))
    }

    async fn open(&self, shard: &ShardId, from: &ReadFrom) -> Result<ShardIterator, StreamError> {
        let (kind, number, time) = position(from);
        let asked = self
            .client
            .get_shard_iterator()
            .stream_name(&self.settings.stream)
            .shard_id(&*shard.0)
            .shard_iterator_type(kind)
            .set_starting_sequence_number(number.map(ToString::to_string))
            .set_timestamp(time);
        let answer = asked.send().await.map_err(|error| match failed_with(&error) {
            ("InvalidArgumentException", why) if number.is_some() => StreamError::Trimmed(why),
            _ => failed(&error),
        })?;
        let place =
            answer.shard_iterator.ok_or_else(|| StreamError::Unknown("no iterator in the answer".to_owned()))?;
        Ok(ShardIterator(place.into()))
    }

    async fn read(&self, place: &mut ShardIterator) -> Result<Reading, StreamError> {
        let asked = self.client.get_records().shard_iterator(&*place.0).limit(i32::from(self.settings.records_max));
        let answer = asked.send().await.map_err(|error| match failed_with(&error) {
            // An iterator that is not taken never will be; another one goes on at the same place.
            ("InvalidArgumentException", why) => StreamError::Expired(why),
            _ => failed(&error),
        })?;
        let reading = Reading {
            children: became(answer.child_shards())?,
            records: answer.records.into_iter().map(record).collect::<Result<_, _>>()?,
            ended: answer.next_shard_iterator.is_none(),
            behind_ms: answer.millis_behind_latest.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
        };
        if let Some(next) = answer.next_shard_iterator {
            place.0 = next.into();
        }
        Ok(reading)
    }
}

/// How Kinesis names a place.
pub(super) fn position(from: &ReadFrom) -> (ShardIteratorType, Option<&SequenceNumber>, Option<DateTime>) {
    match from {
        ReadFrom::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
        ReadFrom::Latest => (ShardIteratorType::Latest, None, None),
        ReadFrom::AtTimestamp(at) => (ShardIteratorType::AtTimestamp, None, Some(DateTime::from_millis(at.0))),
        ReadFrom::At(number) => (ShardIteratorType::AtSequenceNumber, Some(number), None),
        ReadFrom::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number), None),
    }
}

pub(super) fn sequence(digits: &str) -> Result<SequenceNumber, StreamError> {
    SequenceNumber::parse(digits).map_err(|error| StreamError::Unknown(error.to_string()))
}

pub(super) fn record(record: types::Record) -> Result<Record, StreamError> {
    let arrived = record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).map(EventTime);
    Ok(Record {
        sequence: sequence(&record.sequence_number)?,
        partition_key: record.partition_key.unwrap_or_default().into(),
        arrived,
        data: record.data.into_inner(),
    })
}

/// What a shard became.
pub(super) fn became(children: &[ChildShard]) -> Result<Vec<ListedShard>, StreamError> {
    let child = |child: &ChildShard| {
        let parents = child.parent_shards().iter().map(String::as_str);
        listed(child.shard_id(), parents, child.hash_key_range())
    };
    children.iter().map(child).collect()
}

fn listed<'a>(
    shard: &str,
    parents: impl Iterator<Item = &'a str>,
    range: Option<&HashKeyRange>,
) -> Result<ListedShard, StreamError> {
    let key = |digits: &str| digits.parse::<u128>().ok();
    let range = range.and_then(|range| {
        Some(HashRange { start: key(range.starting_hash_key())?, end: key(range.ending_hash_key())? })
    });
    let range = range.ok_or_else(|| StreamError::Unknown(format!("the hash keys of {shard:.140} cannot be read")))?;
    Ok(ListedShard { shard: ShardId::from(shard), parents: parents.map(ShardId::from).collect(), range })
}

/// The service's code, empty where there is none, and a text for people.
pub(super) fn failed_with<E, R>(error: &SdkError<E, R>) -> (&str, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug,
{
    let code = error.code().unwrap_or_default();
    let why = match error {
        SdkError::ServiceError(answer) => answer.err().message().unwrap_or("no message").to_owned(),
        other => aws_sdk_kinesis::error::DisplayErrorContext(other).to_string(),
    };
    (code, format!("{code}: {why:.500}"))
}

pub(super) fn failed<E>(error: &SdkError<E, HttpResponse>) -> StreamError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (code, why) = failed_with(error);
    sorted(code, error.raw_response().map(|answer| answer.status().as_u16()), why)
}

/// What a code means ("Amazon Kinesis Data Streams Service API Reference": errors of each operation, "Common Errors").
pub(super) fn sorted(code: &str, status: Option<u16>, why: String) -> StreamError {
    match (code, status) {
        (
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded",
            _,
        )
        | (_, Some(429)) => StreamError::Throttled(why),
        ("ExpiredIteratorException", _) => StreamError::Expired(why),
        ("ResourceNotFoundException", _) => StreamError::Gone(why),
        (
            "AccessDeniedException"
            | "AccessDenied"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "KMSAccessDeniedException"
            | "KMSDisabledException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException"
            | "KMSOptInRequired"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException",
            _,
        ) => StreamError::Denied(why),
        _ => StreamError::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each error that the API reference lists, and what it must mean. What is not listed is unknown (I11).
    #[test]
    fn errors_are_sorted() {
        let kind = |code: &str, status| match sorted(code, status, String::new()) {
            StreamError::Throttled(_) => "throttled",
            StreamError::Expired(_) => "expired",
            StreamError::Trimmed(_) => "trimmed",
            StreamError::Gone(_) => "gone",
            StreamError::Denied(_) => "denied",
            StreamError::Unknown(_) => "unknown",
        };
        for (code, status, meant) in [
            ("ProvisionedThroughputExceededException", 400, "throttled"),
            ("LimitExceededException", 400, "throttled"),
            ("KMSThrottlingException", 400, "throttled"),
            ("", 429, "throttled"),
            ("ExpiredIteratorException", 400, "expired"),
            ("ResourceNotFoundException", 400, "gone"),
            ("AccessDeniedException", 400, "denied"),
            ("KMSAccessDeniedException", 400, "denied"),
            ("KMSDisabledException", 400, "denied"),
            ("InvalidSignatureException", 403, "denied"),
            ("ExpiredTokenException", 400, "unknown"),
            ("ExpiredNextTokenException", 400, "unknown"),
            ("InvalidArgumentException", 400, "unknown"),
            ("ResourceInUseException", 400, "unknown"),
            ("InternalFailureException", 500, "unknown"),
            ("SomethingNew", 400, "unknown"),
            ("", 404, "unknown"),
        ] {
            assert_eq!(kind(code, Some(status)), meant, "{code} {status}");
        }
        assert_eq!(kind("", None), "unknown");
    }
}
