//! The two ways to read Kinesis, chosen by a setting.

use aws_sdk_kinesis::Config;
use sessionwarden_machine::lease::{ListedShard, ReadFrom, ShardId};

use super::{
    EventStream, FanOutError, FanOutSettings, FanOutStream, KinesisSettings, KinesisStream, Reading, ShardIterator,
    StreamError, Subscription,
};

/// How the records of a shard come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadBy {
    /// They are asked for. All readers of a shard share its 2 MB and five calls a second.
    #[default]
    Polling,
    /// They are pushed to a registered consumer, which costs extra ("Enhanced fan-out").
    FanOut(FanOutSettings),
}

/// A stream in Kinesis.
#[derive(Debug)]
pub enum Kinesis {
    /// Read by polling.
    Polled(KinesisStream),
    /// Read by enhanced fan-out.
    Pushed(FanOutStream),
}

/// A place in a shard of [`Kinesis`].
#[derive(Debug)]
pub enum KinesisPlace {
    /// Of one that is polled.
    Polled(ShardIterator),
    /// Of one that is pushed.
    Pushed(Box<Subscription>),
}

impl Kinesis {
    /// The stream, read as `by` says. For polling nothing is sent yet.
    ///
    /// # Errors
    /// The consumer for enhanced fan-out cannot be registered.
    pub async fn connect(config: &Config, settings: KinesisSettings, by: ReadBy) -> Result<Self, FanOutError> {
        Ok(match by {
            ReadBy::Polling => Self::Polled(KinesisStream::new(config, settings)),
            ReadBy::FanOut(by) => Self::Pushed(FanOutStream::register(config, settings, by).await?),
        })
    }
}

impl EventStream for Kinesis {
    type Place = KinesisPlace;

    async fn shards(&self) -> Result<Vec<ListedShard>, StreamError> {
        match self {
            Self::Polled(stream) => stream.shards().await,
            Self::Pushed(stream) => stream.shards().await,
        }
    }

    async fn retention_ms(&self) -> Result<u64, StreamError> {
        match self {
            Self::Polled(stream) => stream.retention_ms().await,
            Self::Pushed(stream) => stream.retention_ms().await,
        }
    }

    async fn open(&self, shard: &ShardId, from: &ReadFrom) -> Result<KinesisPlace, StreamError> {
        Ok(match self {
            Self::Polled(stream) => KinesisPlace::Polled(stream.open(shard, from).await?),
            Self::Pushed(stream) => KinesisPlace::Pushed(Box::new(stream.open(shard, from).await?)),
        })
    }

    async fn read(&self, place: &mut KinesisPlace) -> Result<Reading, StreamError> {
        match (self, place) {
            (Self::Polled(stream), KinesisPlace::Polled(place)) => stream.read(place).await,
            (Self::Pushed(stream), KinesisPlace::Pushed(place)) => stream.read(place).await,
            (Self::Polled(_), KinesisPlace::Pushed(_)) | (Self::Pushed(_), KinesisPlace::Polled(_)) => {
                Err(StreamError::Expired("the place is not this stream's".to_owned()))
            }
        }
    }

    fn waits(&self) -> bool {
        match self {
            Self::Polled(stream) => stream.waits(),
            Self::Pushed(stream) => stream.waits(),
        }
    }
}
