//! A route to an event bus of Amazon EventBridge.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use sessionwarden_machine::ids::Now;

use super::{Deliver, Message, Undelivered};
use crate::aws::{AwsOrganization, PutEvent};

/// The source of every event, for rules.
const SOURCE: &str = "sessionwarden";

/// An event bus in the own account, or one by its ARN.
#[derive(Clone, Debug)]
pub struct EventBus {
    hands: Arc<AwsOrganization>,
    bus: Arc<str>,
}

impl EventBus {
    /// Puts events on the bus of this name or ARN. An ARN names its region too.
    pub fn new(hands: Arc<AwsOrganization>, bus: impl Into<Arc<str>>) -> Self {
        Self { hands, bus: bus.into() }
    }
}

/// The type of a message's event, for rules.
fn detail_type(kind: &str) -> &'static str {
    match kind {
        "finding" => "Sessionwarden Finding",
        "incident" => "Sessionwarden Incident",
        "remedy" => "Sessionwarden Remedy",
        _ => "Sessionwarden Digest",
    }
}

impl Deliver for EventBus {
    fn deliver<'a>(&'a self, message: &'a Message, _: Now) -> BoxFuture<'a, Result<(), Undelivered>> {
        let detail = message.json();
        async move {
            let event = PutEvent { source: SOURCE, detail_type: detail_type(message.kind), detail: &detail };
            let put = self.hands.put_event(&self.bus, event).await;
            put.map_err(|error| {
                let why = format!("PutEvents: {error}");
                if error.is_final() { Undelivered::Refused(why) } else { Undelivered::Later(why) }
            })
        }
        .boxed()
    }
}
