//! The stream in Kinesis, read by enhanced fan-out.
//!
//! Kinesis pushes the records of a shard to a registered consumer, 2 MB a second for each, apart from what all others
//! read. A subscription lasts five minutes at the most (`SubscribeToShard`); the place outlives it and subscribes anew
//! where the last event said to go on.

mod consumer;

use std::{sync::Arc, time::Duration};

use aws_sdk_kinesis::{
    Config,
    config::StalledStreamProtectionConfig,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::subscribe_to_shard::SubscribeToShardOutput,
    types::{
        StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream as Event,
        error::SubscribeToShardEventStreamError as EventError,
    },
};
use sessionwarden_machine::lease::{ListedShard, ReadFrom, SequenceNumber, ShardId};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

pub use self::consumer::FanOutError;
use super::{
    EventStream, KinesisSettings, KinesisStream, Reading, Record, StreamError,
    kinesis::{became, failed, failed_with, position, record, sequence, sorted},
};

/// The time between two subscriptions of one place (`SubscribeToShard`: one call a second for each consumer and shard).
const SUBSCRIBE_EVERY: Duration = Duration::from_secs(1);

/// How Kinesis is read by enhanced fan-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOutSettings {
    /// The consumer's name: one for all workers of the stream, and nobody else's. At most 128 letters, digits, `_`, `.`
    /// and `-` (`RegisterStreamConsumer`: `ConsumerName`).
    pub consumer: String,
    /// How long a reading waits for records, in milliseconds. With the time for a request and a second it should stay
    /// below the fail-over time.
    pub wait_ms: u64,
    /// How long a subscription may be silent before it is taken for broken, in milliseconds. Kinesis sends events
    /// without records, too; the Kinesis Client Library waits 35 s for one.
    pub silence_ms_max: u64,
    /// How long the registration of the consumer may take, in milliseconds.
    pub register_ms_max: u64,
}

impl FanOutSettings {
    /// The consumer of this name; 2 s a reading, 35 s of silence, 60 s for the registration.
    pub fn new(consumer: impl Into<String>) -> Self {
        Self { consumer: consumer.into(), wait_ms: 2_000, silence_ms_max: 35_000, register_ms_max: 60_000 }
    }
}

/// A stream in Kinesis, read by enhanced fan-out.
#[derive(Debug)]
pub struct FanOutStream {
    /// Lists the shards.
    stream: KinesisStream,
    settings: FanOutSettings,
    /// The ARN of the consumer. One that is registered again has another.
    consumer: Mutex<Arc<str>>,
}

impl FanOutStream {
    /// Registers the consumer unless there is one of its name, and waits until it is active. `config` gives the region,
    /// the credentials and the endpoint. All workers may do so at once.
    ///
    /// # Errors
    /// The registration is refused, or not done in time.
    pub async fn register(
        config: &Config,
        stream: KinesisSettings,
        settings: FanOutSettings,
    ) -> Result<Self, FanOutError> {
        // A subscription may rest; how long is a setting of its own.
        let config = config.to_builder().stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build();
        let stream = KinesisStream::new(&config, stream);
        let consumer = Mutex::new(consumer::registered(&stream, &settings).await?);
        Ok(Self { stream, settings, consumer })
    }

    async fn subscribe(&self, shard: &ShardId, from: &ReadFrom) -> Result<Live, StreamError> {
        let consumer = Arc::clone(&*self.consumer.lock().await);
        let (kind, number, time) = position(from);
        let start = StartingPosition::builder()
            .r#type(kind)
            .set_sequence_number(number.map(ToString::to_string))
            .set_timestamp(time)
            .build()
            .map_err(|error| StreamError::Unknown(error.to_string()))?;
        let asked = self.stream.client.subscribe_to_shard().consumer_arn(&*consumer).shard_id(&*shard.0);
        let failure = match asked.starting_position(start).send().await {
            Ok(answer) => return Ok(Live { answer, heard: false, silent_ms: 0 }),
            Err(error) => match failed_with(&error) {
                ("InvalidArgumentException", why) if number.is_some() => StreamError::Trimmed(why),
                // Subscribed to within the last 5 s, or the consumer or the stream is changing.
                ("ResourceInUseException", why) => StreamError::Throttled(why),
                _ => failed(&error),
            },
        };
        if let StreamError::Gone(_) = failure {
            self.renew(&consumer).await;
        }
        Err(failure)
    }

    /// Registers the consumer anew where it, and not the shard, is gone.
    async fn renew(&self, missed: &str) {
        let mut consumer = self.consumer.lock().await;
        if **consumer != *missed {
            return;
        }
        match consumer::registered(&self.stream, &self.settings).await {
            Ok(found) => *consumer = found,
            Err(error) => tracing::warn!(%error, "the consumer is not there"),
        }
    }
}

impl EventStream for FanOutStream {
    type Place = Subscription;

    async fn shards(&self) -> Result<Vec<ListedShard>, StreamError> {
        self.stream.shards().await
    }

    async fn retention_ms(&self) -> Result<u64, StreamError> {
        self.stream.retention_ms().await
    }

    async fn open(&self, shard: &ShardId, from: &ReadFrom) -> Result<Subscription, StreamError> {
        let subscribed = Instant::now();
        let live = Some(self.subscribe(shard, from).await?);
        Ok(Subscription { shard: shard.clone(), from: from.clone(), last: None, behind_ms: 0, subscribed, live })
    }

    /// Waits for the next event, for the settings' time at the most: then the reading has no records.
    async fn read(&self, place: &mut Subscription) -> Result<Reading, StreamError> {
        let live = match &mut place.live {
            Some(live) => live,
            None => {
                sleep_until(place.subscribed + SUBSCRIBE_EVERY).await;
                place.subscribed = Instant::now();
                let live = self.subscribe(&place.shard, &place.from).await.map_err(|error| match error {
                    // It was told by Kinesis; the last record's number is another one to try.
                    StreamError::Trimmed(why) => StreamError::Expired(why),
                    error => error,
                })?;
                place.live.insert(live)
            }
        };
        let wait_ms = self.settings.wait_ms;
        match timeout(Duration::from_millis(wait_ms), live.answer.event_stream.recv()).await {
            Ok(Ok(Some(event))) => {
                (live.heard, live.silent_ms) = (true, 0);
                let Event::SubscribeToShardEvent(event) = event else { return Ok(place.nothing()) };
                place.take(event).map_err(|error| place.lose(error))
            }
            Ok(Ok(None)) => place.broken("it is over"),
            Ok(Err(SdkError::ServiceError(error))) => Err(place.lose(told(error.err()))),
            Ok(Err(error)) => place.broken(&DisplayErrorContext(error).to_string()),
            Err(_) => {
                live.silent_ms = live.silent_ms.saturating_add(wait_ms);
                if live.silent_ms < self.settings.silence_ms_max {
                    return Ok(place.nothing());
                }
                place.broken("it is silent")
            }
        }
    }

    fn waits(&self) -> bool {
        true
    }
}

/// A place in a shard that is subscribed to. The subscription ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    shard: ShardId,
    /// Where to subscribe anew.
    from: ReadFrom,
    /// The last record that was read.
    last: Option<SequenceNumber>,
    behind_ms: u64,
    /// When it was last subscribed to.
    subscribed: Instant,
    /// `None` once the subscription has ended.
    live: Option<Live>,
}

/// A subscription that lasts.
#[derive(Debug)]
struct Live {
    answer: SubscribeToShardOutput,
    /// Whether an event came.
    heard: bool,
    /// How long it was waited for the next one in vain.
    silent_ms: u64,
}

impl Subscription {
    fn nothing(&self) -> Reading {
        Reading { records: Vec::new(), ended: false, behind_ms: self.behind_ms, children: Vec::new() }
    }

    fn take(&mut self, event: SubscribeToShardEvent) -> Result<Reading, StreamError> {
        let children = became(event.child_shards())?;
        let next = &*event.continuation_sequence_number;
        let next = if next.is_empty() { None } else { Some(sequence(next)?) };
        let mut records: Vec<Record> = event.records.into_iter().map(record).collect::<Result<_, _>>()?;
        // The last event of a shard names its children and no number. A server that names one sends the children with
        // the last records already.
        let ended = !children.is_empty() && (next.is_none() || records.is_empty());
        // Whether the number is that of the last record or of the next one is not said: it is read from, so that none
        // is passed over, and what was read already is left out.
        records.retain(|record| self.last.as_ref().is_none_or(|last| *last < record.sequence));
        let last = records.last().map(|record| record.sequence.clone());
        match (next, &last) {
            (Some(next), _) => self.from = ReadFrom::At(next),
            (None, Some(last)) => self.from = ReadFrom::After(last.clone()),
            (None, None) if ended => {}
            (None, None) => {
                let why = "the event tells neither where to go on nor what the shard became";
                return Err(StreamError::Unknown(why.to_owned()));
            }
        }
        self.last = last.or(self.last.take());
        self.behind_ms = u64::try_from(event.millis_behind_latest).unwrap_or(0);
        Ok(Reading { records, ended, behind_ms: self.behind_ms, children })
    }

    /// The subscription has ended without an error of the service: the next reading subscribes anew. One without any
    /// event is an error, so that a shard that cannot be read does not look like one that has nothing to read.
    fn broken(&mut self, why: &str) -> Result<Reading, StreamError> {
        if self.live.as_ref().is_some_and(|live| live.heard) {
            tracing::debug!(shard = %self.shard, why, "the subscription has ended");
            self.live = None;
            return Ok(self.nothing());
        }
        Err(self.lose(StreamError::Unknown(format!("the subscription has ended without an event: {why}"))))
    }

    /// What has become of a subscription that has failed.
    fn lose(&mut self, error: StreamError) -> StreamError {
        self.live = None;
        match self.from {
            // To subscribe anew at the latest record would pass over what has arrived since.
            ReadFrom::Latest => StreamError::Expired(error.to_string()),
            _ => error,
        }
    }
}

/// What an error inside of a subscription means. Its code stands in the event's header and not always in its content.
fn told(error: &EventError) -> StreamError {
    let code = match error {
        EventError::ResourceNotFoundException(_) => "ResourceNotFoundException",
        EventError::ResourceInUseException(_) => "ResourceInUseException",
        EventError::KmsDisabledException(_) => "KMSDisabledException",
        EventError::KmsInvalidStateException(_) => "KMSInvalidStateException",
        EventError::KmsAccessDeniedException(_) => "KMSAccessDeniedException",
        EventError::KmsNotFoundException(_) => "KMSNotFoundException",
        EventError::KmsOptInRequired(_) => "KMSOptInRequired",
        EventError::KmsThrottlingException(_) => "KMSThrottlingException",
        EventError::InternalFailureException(_) => "InternalFailureException",
        other => other.code().unwrap_or_default(),
    };
    let why = format!("{code}: {:.500}", error.message().unwrap_or("no message"));
    match code {
        // Another subscription of the same consumer has taken the shard over.
        "ResourceInUseException" => StreamError::Throttled(why),
        _ => sorted(code, None, why),
    }
}

#[cfg(test)]
mod tests;
