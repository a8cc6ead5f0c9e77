//! Bytes in, observations out: the first step of every record's way.
//!
//! A cheap byte filter ([`Decoder::screen`]) sets aside what cannot matter; only the rest is parsed.

mod catalog;
mod filter;
mod observe;
mod split;
mod wire;

use std::borrow::Cow;

use crate::ids::{AccountId, EventId, EventTime, ThingKind};

pub use filter::Screen;
pub use observe::PREFERENCES;
pub use split::{Piece, Splitter, VALUE_BYTES_MAX};

/// AWS's limit for a session id, in characters.
pub const SESSION_ID_CHARS_MAX: usize = 96;

/// One record that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation<'a> {
    /// CloudTrail's id of the event.
    pub event: EventId,
    /// When the call was made.
    pub at: EventTime,
    /// The account it was made in.
    pub account: AccountId,
    /// The region it was made in.
    pub region: Cow<'a, str>,
    /// The call, for example `StartSession`.
    pub name: &'static str,
    /// The row of the threat catalogue; empty for the session calls themselves.
    pub threat: &'static str,
    /// The caller's ARN, or the calling service; empty where the event names none.
    pub principal_arn: Cow<'a, str>,
    /// `userIdentity.type`; empty where the event names none.
    pub principal_kind: Cow<'a, str>,
    /// `errorCode` of a call that failed.
    pub failure: Option<Cow<'a, str>>,
    /// What happened.
    pub what: What<'a>,
}

/// What an observation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A session was opened.
    Start(Opened<'a>),
    /// A session was resumed.
    Resume {
        /// The session's id.
        session: Cow<'a, str>,
    },
    /// A session was terminated through the API.
    Terminate {
        /// The session's id.
        session: Cow<'a, str>,
    },
    /// A session call failed: nothing began or ended.
    Refused {
        /// The target or session, where the event still names it.
        target: Cow<'a, str>,
    },
    /// Another way onto a node, or around the session log (TH5, TH6, TH9, TH11, TH12).
    Access {
        /// The node or document, where the event names it.
        target: Cow<'a, str>,
    },
    /// A thing that sessions or the guardrail rest on was changed; nothing changed if the call failed.
    Change {
        /// What kind of thing.
        kind: ThingKind,
        /// Its name or id; empty where the event names none.
        id: Cow<'a, str>,
    },
}

/// A session as its opening call describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The session's id.
    pub session: Cow<'a, str>,
    /// What it was opened to: an instance, a hybrid node, a container.
    pub target: Cow<'a, str>,
    /// The document's name or ARN; absent means the default shell.
    pub document: Option<Cow<'a, str>>,
    /// The reason the caller gave.
    pub reason: Option<Cow<'a, str>>,
    /// Opened by `ecs:ExecuteCommand`.
    pub container: bool,
}

/// Why a record does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Its event name is not in the catalogue.
    OtherEvent,
    /// The name is, but from another service.
    OtherSource,
    /// The call's parameters make it harmless, for example a security group opened for port 443.
    Harmless,
    /// A JSON object that is no CloudTrail record.
    NotCloudTrail,
}

/// Why a record cannot be used. It is parked, never dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    /// Not JSON, or not of CloudTrail's shape.
    #[error("not a CloudTrail record: {0}")]
    Malformed(String),
    /// JSON, but no object.
    #[error("not an object")]
    NotObject,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 at byte {0} of the record")]
    NotUtf8(usize),
    /// A relevant record that lacks what is needed.
    #[error("{name} without {field}")]
    Missing {
        /// The event's name.
        name: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// A relevant record with a field that cannot be right.
    #[error("{name} with {field} that is not {wanted}")]
    Invalid {
        /// The event's name.
        name: &'static str,
        /// Which field.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// Records aggregated by the Kinesis Producer Library, which EventBridge never writes.
    #[error("an aggregated Kinesis record (KPL), which EventBridge does not write")]
    Aggregated,
    /// Larger than the reader takes.
    #[error("longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
}

/// What became of one record.
// A box would cost an allocation for every record that matters.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// It matters.
    Relevant(Observation<'a>),
    /// It does not.
    Ignored(Ignored),
    /// It cannot be read.
    Poison(Poison),
}

/// The magic number of an aggregated KPL record.
const KPL_MAGIC: &[u8] = &[0xF3, 0x89, 0x9A, 0xC2];

/// Decodes records; built once, shared by all threads.
#[derive(Debug)]
pub struct Decoder {
    catalog: catalog::Catalog,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { catalog: catalog::Catalog::new() }
    }
}

impl Decoder {
    /// Screens one JSON value without parsing it.
    pub fn screen(&self, value: &[u8]) -> Screen {
        filter::screen(value, &self.catalog)
    }

    /// Decodes one JSON value: a record, an envelope, a file of records or an array, calling `each` once for each
    /// record found in it. Bytes that the filter sets aside are checked for UTF-8 and nothing else.
    pub fn decode<'a>(&self, value: &'a [u8], each: &mut dyn FnMut(Decoded<'a>)) {
        if value.starts_with(KPL_MAGIC) {
            return each(Decoded::Poison(Poison::Aggregated));
        }
        let Ok(text) = simdutf8::basic::from_utf8(value) else {
            return each(Decoded::Poison(not_utf8(value)));
        };
        match self.screen(value) {
            Screen::Irrelevant => each(Decoded::Ignored(Ignored::OtherEvent)),
            Screen::OtherSource => each(Decoded::Ignored(Ignored::OtherSource)),
            Screen::SessionCall => match observe::parse_call(text, &self.catalog) {
                Some(decoded) => each(decoded),
                None => observe::parse(text, &self.catalog, each),
            },
            Screen::Parse => observe::parse(text, &self.catalog, each),
        }
    }

    /// Decodes without the filter: the reference that the filter is tested against.
    pub fn decode_fully<'a>(&self, value: &'a [u8], each: &mut dyn FnMut(Decoded<'a>)) {
        match std::str::from_utf8(value) {
            Ok(text) => observe::parse(text, &self.catalog, each),
            Err(_) => each(Decoded::Poison(not_utf8(value))),
        }
    }

    /// Every event of the catalogue as (threat, source, name), in the catalogue's order.
    pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        catalog::rows().map(|row| (row.threat, row.source, row.name))
    }
}

#[cold]
fn not_utf8(value: &[u8]) -> Poison {
    Poison::NotUtf8(std::str::from_utf8(value).err().map_or(0, |error| error.valid_up_to()))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, clippy::format_push_string)]
mod tests;
