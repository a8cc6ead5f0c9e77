//! What could not be read: kept with its place and its reason, so that nothing is lost (I12).

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::ports::CallError;

/// The place of a record in a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPlace {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The shard's id.
    pub shard: Arc<str>,
    /// The record's sequence number.
    pub sequence: Arc<str>,
}

/// One thing that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parked {
    /// The file; for a record of a stream, its stream, shard and sequence number with `/` in between.
    pub file: String,
    /// The record's number in it, from 1; 0 for the file as a whole.
    pub record: u64,
    /// The record's first byte in the file, from 0 (uncompressed).
    pub byte: u64,
    /// Why.
    pub reason: String,
    /// The record's length in bytes, where `content` may be only its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The place in the stream, where it comes from one.
    #[serde(skip)]
    pub stream: Option<StreamPlace>,
    /// The bytes themselves, where they were to be kept.
    #[serde(skip)]
    pub content: Option<Vec<u8>>,
}

impl Parked {
    /// A file as a whole, or from this byte on.
    pub fn of_file(file: String, byte: u64, reason: String) -> Self {
        Self { file, record: 0, byte, reason, bytes: None, stream: None, content: None }
    }
}

impl std::fmt::Display for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.record {
            0 => write!(f, "{}: {}", self.file, self.reason),
            record => write!(f, "{}: record {record} (byte {}): {}", self.file, self.byte, self.reason),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    parked: &'a Parked,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hex: Option<String>,
}

/// A file of parked records, as JSON lines: place, reason, and the content as text, or in hexadecimal where it is none.
#[derive(Debug)]
pub struct ParkedFile {
    path: PathBuf,
    out: BufWriter<File>,
}

/// What could not be read cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    /// The file cannot be written.
    #[error("cannot write parked records to {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The queue did not take it.
    #[error("cannot park {place} in the queue: {why}")]
    Queue {
        /// What was to be parked.
        place: String,
        /// Why.
        why: CallError,
    },
}

impl ParkedFile {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, ParkedError> {
        let failed = |source| ParkedError::File { path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), out: BufWriter::new(File::create(path).map_err(failed)?) })
    }

    /// Opens the file to add to it.
    pub fn append(path: &Path) -> Result<Self, ParkedError> {
        let failed = |source| ParkedError::File { path: path.to_owned(), source };
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file) })
    }

    /// Adds one record.
    pub fn write(&mut self, parked: &Parked) -> Result<(), ParkedError> {
        let content = parked.content.as_deref();
        let text = content.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let hex = content.filter(|_| text.is_none()).map(|bytes| {
            bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
                use std::fmt::Write;
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        });
        let line = Line { parked, content: text, content_hex: hex };
        serde_json::to_writer(&mut self.out, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|source| ParkedError::File { path: self.path.clone(), source })
    }

    /// Writes what is buffered to the disk.
    pub fn sync(&mut self) -> Result<(), ParkedError> {
        let failed = |source| ParkedError::File { path: self.path.clone(), source };
        self.out.flush().map_err(failed)?;
        match self.out.get_ref().sync_data() {
            // A device or a pipe cannot be synced.
            Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => Err(failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
