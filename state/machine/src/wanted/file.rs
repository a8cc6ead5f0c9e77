//! The file that says what the guardrail's things are to be like: taken from what is there, and looked at by a person.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::State;
use crate::{ids::AccountId, incident::Restore};

/// What stands for an account and a region in a state that holds in several.
pub const PLACES: [&str; 2] = ["{account}", "{region}"];
/// How long a file may be, in bytes.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
const VERSION: u32 = 1;

/// What is wanted of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedThing {
    /// What kind of thing.
    pub kind: Restore,
    /// In which account; `None`, written `*`: in each.
    #[serde(with = "any_account")]
    pub account: Option<AccountId>,
    /// In which region; `None`, written `*`: in each.
    #[serde(with = "any_region")]
    pub region: Option<Arc<str>>,
    /// Its name or ARN.
    pub name: Arc<str>,
    /// What its parts are to be. `{account}` and `{region}` stand for those of the thing.
    pub state: State,
}

/// What is wanted of all things.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    things: Vec<WantedThing>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// It is too long.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no such file.
    #[error("{0}")]
    Form(String),
    /// A newer program has written it.
    #[error("it has the version {0}, and this program reads up to {VERSION}")]
    Version(u32),
    /// A thing has a part that its kind does not have.
    #[error("{thing} has no part \"{part}\"; there are {known}")]
    Part {
        /// Kind and name.
        thing: String,
        /// The part.
        part: Arc<str>,
        /// Those that there are.
        known: String,
    },
    /// A thing stands there twice.
    #[error("{0} stands there twice")]
    Twice(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<T> {
    version: u32,
    things: T,
}

impl fmt::Display for WantedThing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account.map_or_else(|| "*".to_owned(), |account| account.to_string());
        write!(f, "{} {} in {account}, {}", self.kind.as_str(), self.name, self.region.as_deref().unwrap_or("*"))
    }
}

impl Wanted {
    /// Reads a file.
    ///
    /// # Errors
    /// It is too long, no such file, of a newer version, names a part that there is not, or a thing twice.
    pub fn parse(text: &str) -> Result<Self, WantedError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(WantedError::TooLong);
        }
        let form: Form<Vec<WantedThing>> =
            serde_json::from_str(text).map_err(|error| WantedError::Form(error.to_string()))?;
        if form.version != VERSION {
            return Err(WantedError::Version(form.version));
        }
        let mut wanted = Self::default();
        for thing in form.things {
            let parts = thing.kind.parts();
            if let Some(part) = thing.state.keys().find(|name| !parts.iter().any(|part| *part.name == ***name)) {
                let known = parts.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
                return Err(WantedError::Part { thing: thing.to_string(), part: Arc::clone(part), known });
            }
            if wanted.things.iter().any(|known| known.is_for(&thing)) {
                return Err(WantedError::Twice(thing.to_string()));
            }
            wanted.things.push(thing);
        }
        Ok(wanted)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let form = Form { version: VERSION, things: &self.things };
        serde_json::to_string_pretty(&form).map(|text| text + "\n").unwrap_or_default()
    }

    /// Says what is wanted of a thing, in place of what was.
    pub fn put(&mut self, thing: WantedThing) {
        self.things.retain(|known| !known.is_for(&thing));
        self.things.push(thing);
        self.things.sort_by(|one, other| one.order().cmp(&other.order()));
    }

    /// All things.
    pub fn things(&self) -> &[WantedThing] {
        &self.things
    }

    /// What a thing is to be like. What is said for its account and region goes before what is said for all.
    pub fn state(&self, kind: Restore, account: AccountId, region: &str, name: &str) -> State {
        let mut state = kind.always();
        let holds = |thing: &&WantedThing| {
            thing.kind == kind
                && thing.account.is_none_or(|it| it == account)
                && thing.region.as_deref().is_none_or(|it| it == region)
                && short(&filled(&thing.name, account, region)) == short(name)
        };
        let exactness = |thing: &&WantedThing| (thing.account.is_some(), thing.region.is_some());
        if let Some(thing) = self.things.iter().filter(holds).max_by_key(exactness) {
            let fill = |(part, value): (&Arc<str>, &Value)| (Arc::clone(part), in_place(value, account, region));
            state.extend(thing.state.iter().map(fill));
        }
        state
    }
}

impl WantedThing {
    fn is_for(&self, other: &Self) -> bool {
        self.order() == other.order()
    }

    fn order(&self) -> (Restore, Option<AccountId>, Option<&str>, &str) {
        (self.kind, self.account, self.region.as_deref(), short(&self.name))
    }

    /// Its name in an account and region.
    pub fn name_in(&self, account: AccountId, region: &str) -> String {
        filled(&self.name, account, region)
    }
}

/// A name without what an ARN has before it: events name the same thing either way.
fn short(name: &str) -> &str {
    if name.starts_with("arn:") { name.rsplit([':', '/']).next().unwrap_or(name) } else { name }
}

fn filled(text: &str, account: AccountId, region: &str) -> String {
    let [of_account, of_region] = PLACES;
    if !text.contains('{') {
        return text.to_owned();
    }
    text.replace(of_account, &account.to_string()).replace(of_region, region)
}

/// A value with an account and a region in their places.
fn in_place(value: &Value, account: AccountId, region: &str) -> Value {
    match value {
        Value::String(text) => filled(text, account, region).into(),
        Value::Array(entries) => entries.iter().map(|entry| in_place(entry, account, region)).collect(),
        Value::Object(members) => {
            let fill =
                |(name, value): (&String, &Value)| (filled(name, account, region), in_place(value, account, region));
            members.iter().map(fill).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

mod any_account {
    use serde::{Deserializer, Serializer};

    use super::{AccountId, Deserialize as _};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(account: &Option<AccountId>, out: S) -> Result<S::Ok, S::Error> {
        match account {
            Some(account) => out.collect_str(account),
            None => out.serialize_str("*"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AccountId>, D::Error> {
        let text = String::deserialize(from)?;
        if text == "*" { Ok(None) } else { text.parse().map(Some).map_err(super::bad) }
    }
}

mod any_region {
    use serde::{Deserializer, Serializer};

    use super::{Arc, Deserialize as _};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(region: &Option<Arc<str>>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(region.as_deref().unwrap_or("*"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<str>>, D::Error> {
        let text = String::deserialize(from)?;
        Ok(if text == "*" { None } else { Some(text.into()) })
    }
}

fn bad<E: serde::de::Error>(error: impl fmt::Display) -> E {
    E::custom(error)
}
