//! The audit trail: an append-only file of JSON lines, each of which carries the hash of the one before.
//!
//! A line is `{"seq":1,"at":"…","prev":"…","kind":"…","id":"…","body":…,"hash":"…"}`, in this order and without white
//! space. `seq` counts from 1 and is the line's number; `hash` is the SHA-256, in hexadecimal, of the line without its
//! `hash` member; `prev` is the hash of the line before, sixty-four zeros in the first.
//!
//! The chain shows every change inside the file. It cannot show that the newest lines were cut off, nor that somebody
//! computed the whole chain anew: for that, keep a head hash elsewhere and give it to [`verify`].

use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessionwarden_machine::ids::Now;
use sha2::{Digest, Sha256};

use crate::feed::{FileError, lines::LineFile};

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

/// What a verified audit file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// The first record's time, RFC 3339.
    pub first: Option<String>,
    /// The last record's time, RFC 3339.
    pub last: Option<String>,
    /// The last record's hash; keep it elsewhere to notice a cut tail later. [`NO_HASH`] for an empty file.
    pub head_hash: String,
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

/// The audit file of the service. One writer at a time.
#[derive(Debug)]
pub struct AuditFile {
    lines: LineFile,
    records: u64,
    head: String,
    buffer: Vec<u8>,
}

impl AuditFile {
    /// Opens or creates the file, cuts off a torn last line, and checks the last two records.
    ///
    /// # Errors
    /// The file cannot be used, or its end does not verify: nothing is ever appended to a broken chain.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let lines = LineFile::open(path)?;
        let last = lines.last_lines(2, 2 * LINE_BYTES_MAX as u64)?;
        let mut tail = Tail::default();
        for (at, line) in last.iter().enumerate() {
            let first_in_file = at == 0 && last.len() < 2;
            let opened = if at == 0 && !first_in_file { tail.adopt(line) } else { tail.follow(line) };
            if let Err(damage) = opened {
                verify(path, None)?;
                return Err(AuditError::Broken { path: path.to_owned(), line: tail.records + 1, damage });
            }
        }
        Ok(Self { lines, records: tail.records, head: tail.head, buffer: Vec::new() })
    }

    /// How many records the file has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The last record's hash, [`NO_HASH`] for an empty file.
    pub fn head_hash(&self) -> &str {
        &self.head
    }

    /// How many bytes of a torn last line were cut off at opening.
    pub fn repaired_bytes(&self) -> u64 {
        self.lines.repaired_bytes()
    }

    /// Appends the entries in one write: all of them or, on an error, none.
    ///
    /// # Errors
    /// An entry is too long, or the write failed, for example on a full disk. The entries can be appended again.
    pub fn append(&mut self, entries: &[AuditEntry]) -> Result<(), AuditError> {
        self.buffer.clear();
        let mut head = self.head.clone();
        let mut seq = self.records;
        for entry in entries {
            seq += 1;
            head = seal(&mut self.buffer, entry, seq, &head)?;
        }
        self.lines.append(&self.buffer)?;
        self.records = seq;
        self.head = head;
        Ok(())
    }

    /// Returns once everything appended is on the disk.
    ///
    /// # Errors
    /// The disk refused. What was appended since the last sync may be lost, so the file takes nothing more until it is
    /// opened again.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        Ok(self.lines.sync()?)
    }
}

/// Verifies every record of a file, in one pass and in bounded memory.
///
/// `head` is a head hash remembered from earlier; one of the records must have it. With it a cut tail is noticed, and
/// the file may have grown since.
///
/// # Errors
/// The file cannot be read; or the first line that was changed, removed, inserted, moved or torn; or `head` is missing.
/// Where a record was replaced by a well-formed one, the line after it is the first that shows it.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Summary, AuditError> {
    let io = |doing| move |source| FileError::Io { doing, path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path).map_err(io("open"))?);
    let mut tail = Tail::default();
    let mut head_seen = head.is_none_or(|head| head == NO_HASH);
    let mut first = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(io("read"))?;
        if line.is_empty() {
            break;
        }
        let followed = match line.pop() {
            Some(b'\n') => tail.follow(&line),
            _ if line.len() + 1 == LINE_BYTES_MAX => Err(Damage::TooLong),
            _ => Err(Damage::Torn),
        };
        followed.map_err(|damage| AuditError::Broken { path: path.to_owned(), line: tail.records + 1, damage })?;
        first = first.or_else(|| tail.at.clone());
        head_seen |= head == Some(tail.head.as_str());
    }
    match head {
        Some(head) if !head_seen => Err(AuditError::HeadMissing {
            path: path.to_owned(),
            head: head.to_owned(),
            records: tail.records,
            found: tail.head,
        }),
        _ => Ok(Summary { records: tail.records, first, last: tail.at, head_hash: tail.head }),
    }
}

/// The end of a chain that verified so far.
struct Tail {
    records: u64,
    head: String,
    at: Option<String>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { records: 0, head: NO_HASH.to_owned(), at: None }
    }
}

impl Tail {
    /// Takes `line` for the next record.
    fn follow(&mut self, line: &[u8]) -> Result<(), Damage> {
        let (record, hash) = unseal(line)?;
        let expected = self.records + 1;
        if record.seq != expected {
            return Err(Damage::Sequence { expected, found: record.seq });
        }
        if record.prev != self.head {
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
        self.records = record.seq;
        hash.clone_into(&mut self.head);
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
