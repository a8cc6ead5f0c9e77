//! The audit trail: JSON lines that are only ever appended, each of which carries the hash of the one before. They are
//! kept in one file, or in objects of S3, each of which goes on where the one before it ended.
//!
//! A line is `{"seq":1,"at":"…","prev":"…","kind":"…","id":"…","body":…,"hash":"…"}`, in this order and without white
//! space. `seq` counts from 1 and is the line's number; `hash` is the SHA-256, in hexadecimal, of the line without its
//! `hash` member; `prev` is the hash of the line before, sixty-four zeros in the first.
//!
//! The chain shows every change inside the file. It cannot show that the newest lines were cut off, nor that somebody
//! computed the whole chain anew: for that, keep a head hash elsewhere and give it to [`verify`].

mod file;
#[cfg(feature = "aws")]
mod objects;
mod trail;
mod verify;

use std::{borrow::Cow, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessionwarden_machine::ids::Now;
use sha2::{Digest, Sha256};

#[cfg(feature = "aws")]
pub use self::objects::{AuditObjects, ObjectsSettings};
pub use self::{
    file::AuditFile,
    trail::AuditTrail,
    verify::{Chain, FolderSummary, Summary, verify, verify_folder},
};
use crate::feed::FileError;

/// The longest line, its line feed included.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The `prev` of the first line, and the head of an empty file.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_FIELD: &str = ",\"hash\":\"";
/// `,"hash":"…"}`
const SEAL_BYTES: usize = HASH_FIELD.len() + NO_HASH.len() + 2;

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditKind {
    /// A verdict, with what it rests on.
    Decision,
    /// An effect that is about to be performed.
    Intent,
    /// An effect's result.
    Effect,
    /// A person's doing: an approval, a release, an acknowledgement.
    Admin,
    /// The service's own life: start, stop, a policy loaded.
    Service,
}

/// One entry, still without its place in the chain.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    at: String,
    kind: AuditKind,
    id: String,
    body: Box<RawValue>,
}

impl AuditEntry {
    /// An entry about `id` (an effect, a session, a person …).
    ///
    /// # Errors
    /// `body` does not serialise.
    pub fn new(at: Now, kind: AuditKind, id: impl fmt::Display, body: &impl Serialize) -> Result<Self, AuditError> {
        let mut body = serde_json::value::to_raw_value(body).map_err(AuditError::Body)?;
        if body.get().contains(['\n', '\r']) {
            let value: serde_json::Value = serde_json::from_str(body.get()).map_err(AuditError::Body)?;
            body = serde_json::value::to_raw_value(&value).map_err(AuditError::Body)?;
        }
        Ok(Self { at: at.to_string(), kind, id: id.to_string(), body })
    }

    /// The day of its time in UTC, `yyyy/mm/dd`.
    #[cfg(feature = "aws")]
    fn day(&self) -> String {
        self.at
            .chars()
            .take_while(|letter| *letter != 'T')
            .map(|letter| if letter == '-' { '/' } else { letter })
            .collect()
    }

    /// What it tells of.
    pub fn kind(&self) -> AuditKind {
        self.kind
    }

    /// What it is about: an effect, a session, a person.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its content, as JSON.
    pub fn body(&self) -> &str {
        self.body.get()
    }

    /// About how many bytes its line has: not less than it has, in all but absurd cases.
    pub(crate) fn bytes(&self) -> usize {
        self.body.get().len() + self.id.len() + 320
    }

    /// Refuses what no line can hold, before it is put beside the entries of others.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        // Each byte of an id is six at the most where it is escaped.
        if self.bytes() + 5 * self.id.len() > LINE_BYTES_MAX {
            seal(&mut Vec::new(), self, u64::MAX, NO_HASH)?;
        }
        Ok(())
    }
}

/// Why an audit file cannot be written or does not verify.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// An entry's body cannot be written as JSON.
    #[error("audit entry cannot be written as JSON: {0}")]
    Body(#[source] serde_json::Error),
    /// An entry is longer than a line may be.
    #[error("audit entry of {bytes} bytes is longer than the {LINE_BYTES_MAX} bytes a line may have")]
    TooLong {
        /// The line's length.
        bytes: usize,
    },
    /// The chain is broken.
    #[error("{}: line {line}: {damage}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The first line that does not verify, counted from 1.
        line: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// There is nothing to verify.
    #[error("{}: there is no file that ends in .jsonl, here or below", .0.display())]
    NoObjects(PathBuf),
    /// An object cannot be written, or what is there cannot be read. The entries may be in the trail nevertheless: they
    /// can be appended again.
    #[error("audit object {key}: {why}")]
    Object {
        /// The object.
        key: String,
        /// The service's answer.
        why: String,
    },
    /// There is an object with other content where the next one belongs: another process writes under the same name.
    #[error("audit object {0} is there already, with other content: does another process write under this name?")]
    Taken(String),
    /// The remembered head hash is not in the file.
    #[error(
        "{}: none of its {records} records has the remembered head hash {head}: the end of the file was cut off or the \
         whole file was written anew (its head hash is {found})",
        path.display()
    )]
    HeadMissing {
        /// The file.
        path: PathBuf,
        /// The hash looked for.
        head: String,
        /// How many records the file has.
        records: u64,
        /// The file's own head hash.
        found: String,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The line feed is missing.
    #[error("the record is torn: its end is missing")]
    Torn,
    /// The line is longer than any that is written.
    #[error("the record is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The hash is not that of the content.
    #[error("the record was changed: its hash is not that of its content")]
    Changed,
    /// The content is not an audit record, although its hash is right.
    #[error("not an audit record: {0}")]
    NotARecord(String),
    /// The sequence number is not the line's number.
    #[error("record {expected} should stand here, but this is record {found}: records were removed, inserted or moved")]
    Sequence {
        /// The line's number.
        expected: u64,
        /// The number in the record.
        found: u64,
    },
    /// The record does not continue the one before.
    #[error("the record does not continue the one before it: one of the two was replaced")]
    Chain,
}

#[derive(Serialize)]
struct Unsealed<'a> {
    seq: u64,
    at: &'a str,
    prev: &'a str,
    kind: AuditKind,
    id: &'a str,
    body: &'a RawValue,
}

/// A record as read. Kinds are not checked, so that an older program verifies a newer one's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "present so that a record must have them")]
struct Record<'a> {
    seq: u64,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

/// Where a chain goes on: behind so many records, the last of which has this hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    records: u64,
    hash: String,
}

impl Head {
    /// Writes the entries' lines, and returns where the chain goes on behind them.
    fn seal<'a>(
        &self,
        out: &mut Vec<u8>,
        entries: impl IntoIterator<Item = &'a AuditEntry>,
    ) -> Result<Self, AuditError> {
        let mut head = self.clone();
        for entry in entries {
            head.records += 1;
            head.hash = seal(out, entry, head.records, &head.hash)?;
        }
        Ok(head)
    }
}

impl Default for Head {
    fn default() -> Self {
        Self { records: 0, hash: NO_HASH.to_owned() }
    }
}

/// The end of a chain that verified so far.
#[derive(Default)]
struct Tail {
    head: Head,
    at: Option<String>,
}

impl Tail {
    /// Takes `line` for the next record.
    fn follow(&mut self, line: &[u8]) -> Result<(), Damage> {
        let (record, hash) = unseal(line)?;
        let expected = self.head.records + 1;
        if record.seq != expected {
            return Err(Damage::Sequence { expected, found: record.seq });
        }
        if record.prev != self.head.hash {
            return Err(Damage::Chain);
        }
        self.take(&record, hash);
        Ok(())
    }

    /// Takes `line` for some record, whatever came before it.
    fn adopt(&mut self, line: &[u8]) -> Result<(), Damage> {
        let (record, hash) = unseal(line)?;
        self.take(&record, hash);
        Ok(())
    }

    fn take(&mut self, record: &Record<'_>, hash: &str) {
        self.head = Head { records: record.seq, hash: hash.to_owned() };
        self.at = Some(record.at.clone().into_owned());
    }
}

/// Writes the line and answers its hash.
fn seal(out: &mut Vec<u8>, entry: &AuditEntry, seq: u64, prev: &str) -> Result<String, AuditError> {
    let start = out.len();
    let unsealed = Unsealed { seq, at: &entry.at, prev, kind: entry.kind, id: &entry.id, body: &entry.body };
    serde_json::to_writer(&mut *out, &unsealed).map_err(AuditError::Body)?;
    let hash = hex(&Sha256::digest(&out[start..]));
    out.pop();
    out.extend_from_slice(HASH_FIELD.as_bytes());
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(b"\"}\n");
    let bytes = out.len() - start;
    if bytes > LINE_BYTES_MAX { Err(AuditError::TooLong { bytes }) } else { Ok(hash) }
}

/// The record in a line, if its hash is right, and that hash.
fn unseal(line: &[u8]) -> Result<(Record<'_>, &str), Damage> {
    let (content, seal) = line.split_at_checked(line.len().wrapping_sub(SEAL_BYTES)).ok_or(Damage::Changed)?;
    let seal = std::str::from_utf8(seal).map_err(|_| Damage::Changed)?;
    let hash = seal.strip_prefix(HASH_FIELD).and_then(|seal| seal.strip_suffix("\"}")).ok_or(Damage::Changed)?;
    let mut hasher = Sha256::new();
    hasher.update(content);
    hasher.update(b"}");
    if hex(&hasher.finalize()) != hash {
        return Err(Damage::Changed);
    }
    let record = serde_json::from_slice(line).map_err(|error| Damage::NotARecord(error.to_string()))?;
    Ok((record, hash))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
