//! The registration of a consumer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_kinesis::types::ConsumerStatus;
use tokio::time::sleep;

use super::FanOutSettings;
use crate::stream::{
    KinesisStream, StreamError,
    kinesis::{failed, failed_with},
};

/// The time between two looks at a registration. An account may look 20 times and register 5 times a second
/// (`DescribeStreamConsumer`, `RegisterStreamConsumer`).
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// There is no consumer to read with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FanOutError {
    /// Kinesis does not let it be registered.
    #[error("the consumer {consumer} cannot be registered with the stream {stream}: {why}")]
    Refused {
        /// The consumer's name.
        consumer: String,
        /// The stream's name.
        stream: String,
        /// Why.
        why: StreamError,
    },
    /// It did not become active in time.
    #[error("the consumer {consumer} of the stream {stream} is not active after {waited_ms} ms: {last}")]
    NotActive {
        /// The consumer's name.
        consumer: String,
        /// The stream's name.
        stream: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u64,
        /// What was seen last.
        last: String,
    },
}

/// The ARN of the active consumer, which is registered where there is none.
pub(super) async fn registered(stream: &KinesisStream, settings: &FanOutSettings) -> Result<Arc<str>, FanOutError> {
    let begun = Instant::now();
    let names = || (settings.consumer.clone(), stream.settings.stream.clone());
    loop {
        let last = match look(stream, &settings.consumer).await {
            Ok(Seen::Active(arn)) => return Ok(arn),
            Ok(Seen::NotYet(what)) => what,
            Err(error @ (StreamError::Throttled(_) | StreamError::Unknown(_))) => error.to_string(),
            Err(why) => {
                let (consumer, stream) = names();
                return Err(FanOutError::Refused { consumer, stream, why });
            }
        };
        let waited = begun.elapsed() + LOOK_EVERY;
        if waited > Duration::from_millis(settings.register_ms_max) {
            let (consumer, stream) = names();
            let waited_ms = begun.elapsed().as_millis() as u64;
            return Err(FanOutError::NotActive { consumer, stream, waited_ms, last });
        }
        sleep(LOOK_EVERY).await;
    }
}

enum Seen {
    Active(Arc<str>),
    NotYet(String),
}

async fn look(stream: &KinesisStream, consumer: &str) -> Result<Seen, StreamError> {
    let asked = stream.client.describe_stream_summary().stream_name(&stream.settings.stream);
    let summary = asked.send().await.map_err(|error| failed(&error))?.stream_description_summary;
    let arn = summary.map(|summary| summary.stream_arn);
    let arn = arn.ok_or_else(|| StreamError::Unknown("the stream names no ARN".to_owned()))?;
    let described = stream.client.describe_stream_consumer().stream_arn(&arn).consumer_name(consumer).send().await;
    match described.map_err(|error| failed(&error)) {
        Ok(answer) => Ok(match answer.consumer_description {
            Some(found) if found.consumer_status == ConsumerStatus::Active => Seen::Active(found.consumer_arn.into()),
            Some(found) => Seen::NotYet(format!("it is {}", found.consumer_status)),
            None => Seen::NotYet("its description is missing".to_owned()),
        }),
        Err(StreamError::Gone(_)) => {
            let asked = stream.client.register_stream_consumer().stream_arn(&arn).consumer_name(consumer);
            match asked.send().await {
                Ok(_) => Ok(Seen::NotYet("it is being registered".to_owned())),
                Err(error) => match failed_with(&error) {
                    // Another worker has registered it meanwhile, or it is being deleted.
                    ("ResourceInUseException", why) => Ok(Seen::NotYet(why)),
                    // All that the stream may have, or too many at once; some may end.
                    _ => Err(failed(&error)),
                },
            }
        }
        Err(error) => Err(error),
    }
}
