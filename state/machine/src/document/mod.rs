//! Session documents: what one says, whether the preferences are as wanted, and where a session's log then is.
//!
//! Everything here reads the content that `GetDocument` answers with `DocumentFormat=JSON`. Which version is asked for
//! is the caller's choice; sessions use the default one.

mod canonical;
mod place;
mod preferences;
#[cfg(test)]
mod tests;
mod wanted;

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::Value;

pub(crate) use self::canonical::text as canonical_text;
pub use self::{
    place::{log_object_key, log_object_keys, log_stream_name},
    preferences::{IDLE_MINUTES_DEFAULT, IDLE_MINUTES_MAX, Preferences, SESSION_MINUTES_MAX},
    wanted::WantedPreferences,
};
use crate::ids::digest_128;

/// How long a document may be, in bytes: AWS's own limit ("AWS Systems Manager endpoints and quotas").
pub const CONTENT_BYTES_MAX: usize = 65_536;

/// The session type of shell sessions, and the only one that preferences may have ("Create a Session Manager
/// preferences document (command line)").
pub const STANDARD_STREAM: &str = "Standard_Stream";

const SCHEMA_VERSION: &str = "1.0";
const MEMBERS: [&str; 6] = ["schemaVersion", "description", "sessionType", "inputs", "parameters", "properties"];

/// A session document, as far as it decides how its sessions run ("Session document schema").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDocument {
    /// `Standard_Stream`, `Port`, `InteractiveCommands`, `NonInteractiveCommands` or whatever else stands there;
    /// `None` where nothing does. It decides, not the document's name.
    pub session_type: Option<Arc<str>>,
    /// The preferences of its sessions; those of a document without inputs log nothing.
    pub inputs: Preferences,
    /// The hash of the canonical form.
    pub hash: DocumentHash,
}

impl SessionDocument {
    /// Reads a document's content: JSON of at most [`CONTENT_BYTES_MAX`] bytes and 127 levels.
    ///
    /// # Errors
    /// Content that is no JSON or too long, names a member twice, spells a known member in another case (the agent
    /// would take it for the known one, the service might not), has another schema version, or gives a known member a
    /// value that the agent or the service refuses. Nothing is then known about the document's sessions.
    pub fn parse(content: &str) -> Result<Self, BadDocument> {
        let Value::Object(mut document) = canonical::read(content)? else {
            return Err(BadDocument::field("the document", "is no object"));
        };
        canonical::check_names(&document, &MEMBERS)?;
        match document.get("schemaVersion") {
            Some(Value::String(version)) if version == SCHEMA_VERSION => {}
            Some(other) => return Err(BadDocument::Version(canonical::clipped(&other.to_string()))),
            None => return Err(BadDocument::field("schemaVersion", "is missing")),
        }
        let session_type = match document.get("sessionType") {
            None | Some(Value::Null) => None,
            Some(Value::String(kind)) => Some(Arc::from(kind.as_str())),
            Some(other) => return Err(BadDocument::kind("sessionType", other, "a string")),
        };
        let inputs = match document.get_mut("inputs") {
            None | Some(Value::Null) => Preferences::default(),
            Some(Value::Object(inputs)) => Preferences::take(inputs)?,
            Some(other) => return Err(BadDocument::kind("inputs", other, "an object")),
        };
        document.remove("description");
        for name in ["sessionType", "inputs", "parameters", "properties"] {
            let empty = document.get(name).is_some_and(|value| match value {
                Value::Null => true,
                Value::Object(members) => members.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
            });
            if empty {
                document.remove(name);
            }
        }
        let hash = DocumentHash(digest_128(canonical::text(&Value::Object(document)).as_bytes()));
        Ok(Self { session_type, inputs, hash })
    }
}

/// The first 128 bits of the SHA-256 of a document's canonical form; shown as 32 hexadecimal digits.
///
/// The order of members, white space, escapes, the spelling of known booleans and minutes, a known member that says
/// what its absence means, and the description make no difference. Anything else does, unknown members included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentHash(u128);

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no document's hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a document's hash is 32 hexadecimal digits")]
pub struct BadDocumentHash;

impl FromStr for DocumentHash {
    type Err = BadDocumentHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadDocumentHash);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| BadDocumentHash)
    }
}

/// Why a document cannot be read. No value of a shell profile stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// Longer than [`CONTENT_BYTES_MAX`].
    #[error("the document has {0} bytes, more than {CONTENT_BYTES_MAX}")]
    TooLong(usize),
    /// No JSON, too deep, or a member that stands twice.
    #[error("the document cannot be read: {0}")]
    Json(String),
    /// A known member's name in another case.
    #[error("{found:?} is spelled {known}")]
    Spelling {
        /// What stands there, clipped.
        found: String,
        /// What is meant.
        known: &'static str,
    },
    /// A schema version that session documents do not have.
    #[error("schemaVersion is {0}, session documents have \"{SCHEMA_VERSION}\"")]
    Version(String),
    /// A member that is missing or has a value it cannot have.
    #[error("{name} {problem}")]
    Field {
        /// The member.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl BadDocument {
    fn field(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { name, problem: problem.into() }
    }

    fn kind(name: &'static str, found: &Value, wanted: &str) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::field(name, format!("is {found}, not {wanted}"))
    }
}
