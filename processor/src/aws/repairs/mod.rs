//! Things of the guardrail that were changed: looked at, put back, and looked at again.
//!
//! Each kind of thing is read as a state, part by part, and written the same way; what is wanted and what differs is the
//! core's to say ([`sessionwarden_machine::wanted`]).

mod accounts;
mod buckets;
mod documents;
mod keys;
mod organization;
mod roles;
mod rules;
mod senders;
mod trails;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use sessionwarden_machine::{
    decode::PREFERENCES,
    ids::AccountId,
    incident::Restore,
    wanted::{State, differences},
};

use super::{
    AwsOrganization, Means,
    errors::Failure,
    limits::Place,
    settings::Api,
    signed::{self, Service},
};
use crate::ports::{CallError, Repairs, RestoreError};

/// One thing, and the parts of it that are looked at.
struct Thing<'a> {
    hands: &'a AwsOrganization,
    place: Place,
    kind: Restore,
    /// As the event has named it.
    name: &'a str,
    parts: BTreeSet<Arc<str>>,
}

/// A part that is put back.
struct Change<'a> {
    part: &'a str,
    /// What it is to be; `null`: it is not to be there.
    wanted: &'a Value,
    /// What it is; `null`: it is not there.
    have: &'a Value,
    /// All that the thing is to be.
    state: &'a State,
    /// Whether the thing exists.
    exists: bool,
}

impl Repairs for AwsOrganization {
    async fn restore(
        &self,
        account: AccountId,
        region: &str,
        restore: Restore,
        thing: &str,
        parts: &BTreeSet<&'static str>,
        act: bool,
    ) -> Result<Vec<Arc<str>>, RestoreError> {
        let wanted = self.settings.wanted.state(restore, account, region, thing);
        let mut looked_at = self.thing((account, Arc::from(region)), restore, thing);
        looked_at.parts = wanted.keys().cloned().chain(parts.iter().map(|part| Arc::from(*part))).collect();
        let have = looked_at.read().await?;
        let wanted = looked_at.with_preferences(wanted, have.as_ref());
        let unsaid: Vec<&str> = parts.iter().filter(|part| !wanted.contains_key(**part)).copied().collect();
        let changes = match &have {
            Some(have) => differences(restore, &wanted, have),
            None if !looked_at.can_be_made(&wanted) => return Err(hopeless("it does not exist any more".to_owned())),
            None => differences(restore, &wanted, &State::new()),
        };
        if act && !changes.is_empty() {
            looked_at.write_all(&changes, &wanted, have.as_ref()).await?;
            let have = looked_at.read().await?.ok_or(CallError::Unknown)?;
            if !differences(restore, &wanted, &have).is_empty() {
                return Err(CallError::Unknown.into());
            }
        }
        if unsaid.is_empty() {
            return Ok(changes);
        }
        let done =
            if act && !changes.is_empty() { format!("; put back: {}", changes.join(", ")) } else { String::new() };
        Err(hopeless(format!("what it is to be is written nowhere: {}{done}", unsaid.join(", "))))
    }
}

fn hopeless(why: String) -> RestoreError {
    RestoreError::Hopeless(why.into())
}

impl From<Failure> for RestoreError {
    fn from(failure: Failure) -> Self {
        match failure.code.as_str() {
            // What is in the way has to be put right by a person: no repetition helps.
            "LimitExceeded"
            | "LimitExceededException"
            | "MalformedPolicyDocument"
            | "MalformedPolicyDocumentException"
            | "ConstraintViolationException"
            | "InsufficientS3BucketPolicyException" => hopeless(format!("{}: {}", failure.code, failure.message)),
            _ => Self::Call(failure.error),
        }
    }
}

impl AwsOrganization {
    /// What is there of a thing, all parts of it; `None` where it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn state_of(
        &self,
        account: AccountId,
        region: &str,
        kind: Restore,
        name: &str,
    ) -> Result<Option<State>, CallError> {
        Ok(self.thing((account, Arc::from(region)), kind, name).read().await?)
    }

    fn thing<'a>(&'a self, place: Place, kind: Restore, name: &'a str) -> Thing<'a> {
        let parts = kind.parts().iter().map(|part| Arc::from(part.name)).collect();
        Thing { hands: self, place, kind, name, parts }
    }
}

impl Thing<'_> {
    async fn read(&self) -> Result<Option<State>, Failure> {
        // On the heap: it holds the future of each kind.
        let read = Box::pin(async {
            match self.kind {
                Restore::Key => self.key().await,
                Restore::Bucket => self.bucket().await,
                Restore::Rule => self.rule().await,
                Restore::Trail => self.trail().await,
                Restore::SerialConsole => self.serial_console().await,
                Restore::Role => self.role().await,
                Restore::Policy => self.policy().await,
                Restore::Document => self.document().await,
                Restore::HostManagement => self.host_management().await,
                Restore::Stream => self.stream().await,
                Restore::Topic => self.topic().await,
                Restore::Alarm => self.alarm().await,
                Restore::OrganizationPolicy => self.organization_policy().await,
            }
        });
        match read.await {
            Ok(state) => Ok(Some(state)),
            Err(failure) if failure.error == CallError::Gone => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn write_all(&self, parts: &[Arc<str>], wanted: &State, have: Option<&State>) -> Result<(), RestoreError> {
        let mut exists = have.is_some();
        for part in parts {
            let change = Change {
                part,
                wanted: &wanted[part],
                have: have.and_then(|have| have.get(part)).unwrap_or(&Value::Null),
                state: wanted,
                exists,
            };
            Box::pin(self.write(&change)).await?;
            exists = true;
        }
        Ok(())
    }

    async fn write(&self, change: &Change<'_>) -> Result<(), RestoreError> {
        match self.kind {
            Restore::Key => self.write_key(change).await?,
            Restore::Bucket => self.write_bucket(change).await?,
            Restore::Rule => self.write_rule(change).await?,
            Restore::Trail => self.write_trail(change).await?,
            Restore::SerialConsole => self.close_serial_console().await?,
            Restore::Role => self.write_role(change).await?,
            Restore::Policy => self.write_policy(change).await?,
            Restore::Document => self.write_document(change).await?,
            Restore::HostManagement => self.write_host_management(change).await?,
            Restore::Stream => self.write_stream(change).await?,
            Restore::Topic => self.write_topic(change).await?,
            Restore::Alarm => self.enable_alarm().await?,
            Restore::OrganizationPolicy => self.write_organization_policy(change).await?,
        }
        Ok(())
    }

    /// Whether a thing that is gone can be made anew: all that it is to be has to be known.
    fn can_be_made(&self, wanted: &State) -> bool {
        let makes = match self.kind {
            Restore::Rule | Restore::Trail | Restore::Role | Restore::Policy | Restore::Document => true,
            Restore::Key
            | Restore::Bucket
            | Restore::SerialConsole
            | Restore::HostManagement
            | Restore::Stream
            | Restore::Topic
            | Restore::Alarm
            | Restore::OrganizationPolicy => false,
        };
        makes && self.kind.parts().iter().all(|part| wanted.contains_key(part.name))
    }

    /// What the configuration says of the preferences, where no file says anything.
    fn with_preferences(&self, mut wanted: State, have: Option<&State>) -> State {
        let (account, region) = &self.place;
        if self.kind == Restore::Document && self.name == PREFERENCES {
            let present = have.and_then(|have| have.get("content")).map(Value::to_string);
            let content = self.hands.settings.preferences.restored(present.as_deref(), *account, region);
            if let Some(content) = content.filter(|_| !wanted.contains_key("content")) {
                wanted.insert("content".into(), content);
                wanted.entry("shared".into()).or_insert_with(|| Value::Array(Vec::new()));
            }
        }
        wanted
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.contains(part)
    }

    /// A question to a service that speaks JSON.
    async fn ask(&self, service: &'static Service, operation: &'static str, input: Value) -> Result<Value, Failure> {
        let send = |means: &Means| signed::json::<Value>(service, means.clone(), operation, input.clone());
        self.hands.call(&self.place, Api::Repairs, operation, send).await
    }

    /// A call whose answer says nothing.
    async fn tell(&self, service: &'static Service, operation: &'static str, input: Value) -> Result<(), Failure> {
        let send = |means: &Means| signed::silent(service, means.clone(), operation, input.clone());
        self.hands.call(&self.place, Api::Repairs, operation, send).await
    }
}

/// A policy as JSON; what is no JSON stays a text.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A policy as a text.
fn unparsed(policy: &Value) -> String {
    policy.as_str().map_or_else(|| policy.to_string(), str::to_owned)
}

/// The members of an object that are named and say something.
fn picked(object: &Value, names: &[&str]) -> Value {
    let told = |name: &&str| Some(((*name).to_owned(), object.get(*name).filter(|value| !value.is_null())?.clone()));
    names.iter().filter_map(told).collect::<serde_json::Map<_, _>>().into()
}

/// An object with the members of another.
fn joined(mut object: Value, more: &Value) -> Value {
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    object
}
