//! What leaves Sessionwarden for somebody else, or for a later time: wake-ups, notifications and metric data.
//!
//! The ports have no type of an SDK; what is decided without a service (when to wake, what a message says, what goes into
//! a digest, what is still to be counted) stands in modules of its own and is the same for every service behind a port.

#[cfg(feature = "aws")]
mod bus;
#[cfg(feature = "aws")]
mod cloudwatch;
mod counts;
mod deliver;
mod desk;
#[cfg(feature = "aws")]
mod failure;
mod line;
mod message;
mod notify;
mod outlets;
#[cfg(feature = "aws")]
mod parking;
mod patience;
mod route;
mod secret;
#[cfg(feature = "aws")]
mod sns;
#[cfg(feature = "aws")]
mod sqs;
mod wake;
mod wake_loop;
mod webhook;

use std::{sync::Arc, time::Duration};

use sessionwarden_machine::ids::{AccountId, Now};

pub(crate) use self::wake_loop::follow;
#[cfg(feature = "aws")]
pub use self::{
    bus::EventBus,
    cloudwatch::CloudWatch,
    parking::ParkedQueue,
    sns::{Configs, SnsRoute, SnsTopics, TopicTemplate, TopicTemplateError},
    sqs::{Queues, SqsWakeUps},
};
pub use self::{
    counts::{CountKey, Counts, MetricNames, publish},
    deliver::{DeadLetters, Deliver, JsonLines, Undelivered},
    desk::{Desk, DeskLimits},
    line::{Common, Line},
    message::{BODY_BYTES_MAX, Message, SUBJECT_CHARS_MAX},
    notify::{Delivery, Nobody, Notifier, Outcome},
    outlets::{Outlets, Tally, Tell},
    route::{Destination, Kind, Route, SecretRef, TRIES_MAX},
    secret::{Secret, SecretError},
    wake::{Lane, Planned, Wake, WakeError, delay_seconds},
    wake_loop::{WakeLimits, serve},
    webhook::{REQUEST_MAX, Webhook, WebhookError, signature, webhook_url},
};
use crate::ports::CallError;

/// A queue of wake-ups.
///
/// It may deliver a wake-up twice, late, or never: who is woken looks at what is due, so that a second delivery finds
/// nothing to do, and the sweep over the due index finds what a lost one would have.
pub trait WakeUps: Send + Sync {
    /// Sends wake-ups, each to be received when it is due or, where that is too far ahead, as late as the queue allows.
    /// The trace, usually [`Trace::current`], goes with it. Returns those that were not sent, with the reason.
    fn send(&self, wakes: &[(Wake, Trace)], now: Now) -> impl Future<Output = Vec<(Wake, CallError)>> + Send;

    /// Waits for at most `room` wake-ups (at most 10 come at once), which are not delivered again for `hidden`, in whole
    /// seconds from 1 s to 12 h. What is no wake-up, or was received too often, is parked with its reason and not
    /// returned (I12).
    fn receive(
        &self,
        room: usize,
        hidden: Duration,
        now: Now,
    ) -> impl Future<Output = Result<Received, CallError>> + Send;

    /// Keeps received wake-ups from being delivered again for `hidden` from now, in the same bounds.
    fn extend(&self, receipts: &[Receipt], hidden: Duration) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Deletes received wake-ups. One that could not be deleted is delivered again.
    fn delete(&self, receipts: &[Receipt]) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// Names one delivery of one wake-up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(pub Arc<str>);

/// What came from a queue at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The wake-ups.
    pub deliveries: Vec<Delivered>,
    /// How many messages were parked instead.
    pub parked: usize,
}

/// One delivery of a wake-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What was sent.
    pub wake: Wake,
    /// To extend or delete it by.
    pub receipt: Receipt,
    /// How often it has been delivered, this time included.
    pub times: u32,
    /// The trace in which it was sent.
    pub trace: Trace,
}

/// A trace's context as the W3C recommendation "Trace Context" writes it; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trace {
    /// `traceparent`.
    pub parent: Option<Arc<str>>,
    /// `tracestate`.
    pub state: Option<Arc<str>>,
}

/// Where people are told.
pub trait Notify: Send + Sync {
    /// Tells those who look after one account (R-G10). `Ok(false)` where there is no such place for it.
    fn member(&self, account: AccountId, message: &Message) -> impl Future<Output = Result<bool, CallError>> + Send;

    /// Tells those who look after all accounts (R-G11). `Ok(false)` where there is no such place.
    fn central(&self, message: &Message) -> impl Future<Output = Result<bool, CallError>> + Send;

    /// Whether members have a place at all: otherwise nothing is held for them.
    fn tells_members(&self) -> bool {
        true
    }

    /// Whether there is one for all accounts.
    fn tells_central(&self) -> bool {
        true
    }
}

/// Where metric data goes.
pub trait MetricSink: Send + Sync {
    /// How many data one call takes.
    fn batch_max(&self) -> usize;

    /// Adds data, at most [`Self::batch_max`]: all or, with an error, probably none. A call whose answer was lost may
    /// have added them.
    fn put(&self, namespace: &str, data: &[Datum]) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// One value of a count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datum {
    /// The metric's name.
    pub name: Arc<str>,
    /// Names and values of its dimensions, none of them empty.
    pub dimensions: Vec<(&'static str, Arc<str>)>,
    /// How many.
    pub value: u64,
    /// When they were counted.
    pub at: Now,
}
