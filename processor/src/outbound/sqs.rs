//! Wake-ups in a standard queue of Amazon SQS.
//!
//! A message waits at most 15 minutes in a queue (`DelaySeconds`, `SendMessage`), so that a wake-up that is due later is
//! sent on when it comes. A lost message is not missed: the sweep over the due index finds what is overdue. A second
//! delivery is harmless: nothing is due any more. The queue therefore needs no order and no dead-letter queue of its own;
//! what cannot be read, or is never done, is parked in a second queue, with its reason in the attribute `reason`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client, config,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
        QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use sessionwarden_machine::ids::Now;

use super::{
    Delivered, Receipt, Received, Trace, Wake, WakeUps, delay_seconds,
    failure::{failed, meaning},
    parking::{ParkedQueue, text},
};
use crate::ports::CallError;

/// How many entries a batch takes (`SendMessageBatch`, `DeleteMessageBatch`, `ChangeMessageVisibilityBatch`).
const BATCH_MAX: usize = 10;
/// How long a message can be delayed (`SendMessage`).
const DELAY_SECONDS_MAX: u16 = 900;
/// How long a call can wait for a message (`ReceiveMessage`).
const WAIT_SECONDS_MAX: u8 = 20;
/// What an answer may take beyond the time that SQS itself waits.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The queues, and how they are used.
#[derive(Clone, Debug)]
pub struct Queues {
    /// The URL of the queue of wake-ups: a standard queue.
    pub wake_ups: Arc<str>,
    /// The URL of the queue for what is parked.
    pub parked: Arc<str>,
    /// How long a message waits in the queue at most, in seconds: at most 900.
    pub delay_seconds_max: u16,
    /// How long one call waits for a message, in seconds: at most 20. 0 asks a part of the queue only.
    pub wait_seconds: u8,
    /// How often a message may be delivered before it is parked.
    pub deliveries_max: u32,
}

impl Queues {
    /// These queues; 900 s of delay, 20 s of waiting, 20 deliveries.
    pub fn new(wake_ups: impl Into<Arc<str>>, parked: impl Into<Arc<str>>) -> Self {
        Self {
            wake_ups: wake_ups.into(),
            parked: parked.into(),
            delay_seconds_max: DELAY_SECONDS_MAX,
            wait_seconds: WAIT_SECONDS_MAX,
            deliveries_max: 20,
        }
    }
}

/// [`WakeUps`] in Amazon SQS.
#[derive(Clone, Debug)]
pub struct SqsWakeUps {
    client: Client,
    parked: ParkedQueue,
    queues: Queues,
}

impl SqsWakeUps {
    /// Uses these queues with this configuration's region, credentials and time limits.
    pub fn new(config: &SdkConfig, queues: Queues) -> Self {
        let client = Client::new(config);
        Self { parked: ParkedQueue::with(client.clone(), Arc::clone(&queues.parked)), client, queues }
    }

    /// Looks whether both queues are there, and names those that cannot be used.
    pub async fn check(&self) -> Vec<(Arc<str>, CallError)> {
        let look = async |url: &Arc<str>| {
            let call =
                self.client.get_queue_attributes().queue_url(&**url).attribute_names(QueueAttributeName::QueueArn);
            let seen = call.send().await.map_err(|error| failed("GetQueueAttributes", &error));
            seen.err().map(|error| (Arc::clone(url), error))
        };
        let (wake_ups, parked) = tokio::join!(look(&self.queues.wake_ups), look(&self.queues.parked));
        wake_ups.into_iter().chain(parked).collect()
    }

    async fn send_batch(&self, wakes: &[(Wake, Trace)], now: Now) -> Result<Vec<(Wake, CallError)>, CallError> {
        let seconds_max = self.queues.delay_seconds_max.min(DELAY_SECONDS_MAX);
        let mut entries = Vec::new();
        for (number, (wake, trace)) in wakes.iter().enumerate() {
            let mut entry = SendMessageBatchRequestEntry::builder()
                .id(number.to_string())
                .message_body(wake.text())
                .delay_seconds(i32::from(delay_seconds(wake.due_at, now, seconds_max)));
            for (name, value) in [("traceparent", &trace.parent), ("tracestate", &trace.state)] {
                if let Some(value) = value {
                    entry = entry.message_attributes(name, text(value)?);
                }
            }
            entries.push(entry.build().map_err(|_| CallError::Unknown)?);
        }
        let call = self.client.send_message_batch().queue_url(&*self.queues.wake_ups).set_entries(Some(entries));
        let answer = call.send().await.map_err(|error| failed("SendMessageBatch", &error))?;
        let wake = |id: &str| id.parse::<usize>().ok().and_then(|number| wakes.get(number));
        let lost = answer.failed().iter().filter_map(|one| Some((wake(one.id())?.0.clone(), meaning(one.code(), 0))));
        Ok(lost.collect())
    }

    /// Reads a message, or says why it is no wake-up to act on.
    fn read(&self, message: &Message, now: Now) -> Result<Delivered, String> {
        let wake = Wake::parse(message.body().unwrap_or_default(), now).map_err(|error| error.to_string())?;
        let times = times(message);
        if times > self.queues.deliveries_max {
            return Err(format!("it was delivered {times} times and never done"));
        }
        let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value().map(Arc::from);
        let trace = Trace { parent: attribute("traceparent"), state: attribute("tracestate") };
        let receipt = Receipt(message.receipt_handle().unwrap_or_default().into());
        Ok(Delivered { wake, receipt, times, trace })
    }

    /// Puts a message away, and then deletes it. One that cannot be put away comes again.
    async fn park(&self, message: &Message, reason: &str) -> Result<(), CallError> {
        let body = message.body().unwrap_or_default();
        let id = message.message_id().unwrap_or_default();
        tracing::warn!(message = id, reason, "a message is parked");
        let bytes = body.len().to_string();
        let attributes = [("source", "wake-ups"), ("reason", reason), ("message_id", id), ("bytes", &*bytes)];
        self.parked.put(body, attributes).await?;
        self.delete(&[Receipt(message.receipt_handle().unwrap_or_default().into())]).await
    }
}

impl WakeUps for SqsWakeUps {
    async fn send(&self, wakes: &[(Wake, Trace)], now: Now) -> Vec<(Wake, CallError)> {
        let mut lost = Vec::new();
        for batch in wakes.chunks(BATCH_MAX) {
            match self.send_batch(batch, now).await {
                Ok(some) => lost.extend(some),
                Err(error) => lost.extend(batch.iter().map(|(wake, _)| (wake.clone(), error))),
            }
        }
        lost
    }

    async fn receive(&self, room: usize, hidden: Duration, now: Now) -> Result<Received, CallError> {
        let wait = self.queues.wait_seconds.min(WAIT_SECONDS_MAX);
        let limit = Duration::from_secs(u64::from(wait)) + ANSWER_MAX;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(limit).read_timeout(limit).build();
        let call = self
            .client
            .receive_message()
            .queue_url(&*self.queues.wake_ups)
            .max_number_of_messages(room.clamp(1, BATCH_MAX) as i32)
            .wait_time_seconds(i32::from(wait))
            .visibility_timeout(seconds(hidden))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_attribute_names("traceparent")
            .message_attribute_names("tracestate")
            .customize()
            .config_override(config::Builder::new().timeout_config(timeouts));
        let answer = call.send().await.map_err(|error| failed("ReceiveMessage", &error))?;
        let mut received = Received::default();
        for message in answer.messages() {
            match self.read(message, now) {
                Ok(delivered) => received.deliveries.push(delivered),
                Err(reason) => match self.park(message, &reason).await {
                    Ok(()) => received.parked += 1,
                    Err(error) => tracing::warn!(%error, "a message cannot be parked; it will be delivered again"),
                },
            }
        }
        Ok(received)
    }

    async fn extend(&self, receipts: &[Receipt], hidden: Duration) -> Result<(), CallError> {
        for batch in receipts.chunks(BATCH_MAX) {
            let entry = |(number, receipt): (usize, &Receipt)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(number.to_string())
                    .receipt_handle(&*receipt.0)
                    .visibility_timeout(seconds(hidden))
                    .build()
                    .map_err(|_| CallError::Unknown)
            };
            let entries = batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
            let call = self.client.change_message_visibility_batch().queue_url(&*self.queues.wake_ups);
            let answer = call.set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|error| failed("ChangeMessageVisibilityBatch", &error))?;
            if let Some(one) = answer.failed().first() {
                return Err(meaning(one.code(), 0));
            }
        }
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), CallError> {
        let mut result = Ok(());
        for batch in receipts.chunks(BATCH_MAX) {
            let entry = |(number, receipt): (usize, &Receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(number.to_string())
                    .receipt_handle(&*receipt.0)
                    .build()
                    .map_err(|_| CallError::Unknown)
            };
            let entries = batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
            let call = self.client.delete_message_batch().queue_url(&*self.queues.wake_ups);
            match call.set_entries(Some(entries)).send().await {
                Ok(answer) => result = answer.failed().first().map_or(result, |one| Err(meaning(one.code(), 0))),
                Err(error) => result = Err(failed("DeleteMessageBatch", &error)),
            }
        }
        result
    }
}

fn times(message: &Message) -> u32 {
    let counts: Option<&HashMap<_, _>> = message.attributes();
    let count = counts.and_then(|counts| counts.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Whole seconds within what a visibility may be.
fn seconds(hidden: Duration) -> i32 {
    i32::try_from(hidden.as_secs()).unwrap_or(i32::MAX).clamp(1, 12 * 3_600)
}
