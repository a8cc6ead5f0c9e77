//! Real events as a source: files are read on a thread of their own, from where they were left.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sessionwarden_machine::decode::{Decoder, Piece, Screen, Splitter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::input::{InputFile, RecordAt};

/// How many values one batch covers at the most.
const BATCH_VALUES: u64 = 65_536;
/// How many values of one batch are handed on at the most.
const BATCH_CANDIDATES: usize = 512;
const READ_BYTES: usize = 256 << 10;
const FOLLOW: Duration = Duration::from_millis(250);
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How far a file was read, and what was found up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Values passed.
    pub values: u64,
    /// Records of them that matter, without repetitions.
    pub relevant: u64,
    /// Records that do not.
    pub ignored: u64,
    /// Repetitions.
    pub duplicate: u64,
    /// What could not be read.
    pub poison: u64,
    /// Calls that AWS refused.
    pub refused: u64,
    /// Bytes of the file up to there (uncompressed).
    pub bytes: u64,
}

/// A value that may matter.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it stands.
    pub at: RecordAt,
    /// It looks whole.
    pub whole: bool,
}

/// A stretch of one file.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The file.
    pub file: Arc<str>,
    /// What may matter in it.
    pub candidates: Vec<Candidate>,
    /// Values that do not matter.
    pub ignored: u64,
    /// Values passed, up to the end of this batch, from the beginning of the file.
    pub values: u64,
    /// Bytes passed, likewise.
    pub bytes: u64,
    /// Why the file could not be read to its end.
    pub failure: Option<String>,
}

/// Reads `files` one after the other, each from after as many values as `positions` says, and sends what may matter.
/// Ends when all is read; with `follow` it goes on looking for more, in the files and in `folders`.
pub struct SourceReader {
    /// What to read, with how far each was read before.
    pub files: Vec<(InputFile, Position)>,
    /// Go on when all is read.
    pub follow: bool,
    /// Looks for more files: those that the user named, once more.
    pub rescan: Box<dyn Fn() -> Vec<InputFile> + Send>,
    /// How far a file that appears later was read before.
    pub position_of: Box<dyn Fn(&InputFile) -> Position + Send>,
}

impl SourceReader {
    /// Reads on the calling thread until everything is read, or `stop`.
    pub fn run(mut self, out: &mpsc::Sender<Batch>, stop: &CancellationToken) {
        let decoder = Decoder::default();
        let mut open: Vec<OpenFile> = Vec::new();
        let mut fresh: Vec<(InputFile, Position)> = std::mem::take(&mut self.files);
        let mut known: Vec<InputFile> = Vec::new();
        loop {
            for (file, position) in fresh.drain(..) {
                known.push(file.clone());
                match OpenFile::open(&file, position, self.follow) {
                    Ok(file) => open.push(file),
                    Err(error) => {
                        let failed = failed(&file.name().into(), position, &error);
                        if out.blocking_send(failed).is_err() {
                            return;
                        }
                    }
                }
                if let Some(last) = open.last_mut()
                    && !last.read_on(&decoder, out, stop)
                {
                    return;
                }
                if !self.follow {
                    open.clear();
                }
            }
            if !self.follow || stop.is_cancelled() {
                return;
            }
            std::thread::sleep(FOLLOW);
            for file in &mut open {
                if !file.read_on(&decoder, out, stop) {
                    return;
                }
            }
            let same = |one: &InputFile, other: &InputFile| one.name() == other.name();
            let found = (self.rescan)().into_iter().filter(|file| !known.iter().any(|known| same(known, file)));
            fresh = found.map(|file| (file.clone(), (self.position_of)(&file))).collect();
        }
    }
}

fn failed(file: &Arc<str>, position: Position, error: &io::Error) -> Batch {
    Batch {
        file: Arc::clone(file),
        candidates: Vec::new(),
        ignored: 0,
        values: position.values,
        bytes: position.bytes,
        failure: Some(error.to_string()),
    }
}

/// A file being read.
struct OpenFile {
    name: Arc<str>,
    from: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    begin: usize,
    splitter: Splitter,
    values: u64,
    bytes: u64,
    /// Values that an earlier run has handled.
    skip: u64,
    follow: bool,
    over: bool,
}

impl OpenFile {
    fn open(file: &InputFile, position: Position, follow: bool) -> io::Result<Self> {
        let (from, plain): (Box<dyn Read + Send>, bool) = match file {
            InputFile::Stdin => (Box::new(io::stdin()), true),
            InputFile::File { path, .. } => {
                let plain = !is_gzip(path)?;
                let file = File::open(path)?;
                (if plain { Box::new(file) } else { Box::new(MultiGzDecoder::new(file)) }, plain)
            }
        };
        let stdin = matches!(file, InputFile::Stdin);
        Ok(Self {
            name: file.name().into(),
            from,
            buffer: Vec::new(),
            begin: 0,
            splitter: Splitter::default(),
            values: 0,
            bytes: 0,
            skip: if stdin { 0 } else { position.values },
            follow: follow && plain && !stdin,
            over: false,
        })
    }

    /// Sends what there is. Returns false when nobody listens any more.
    fn read_on(&mut self, decoder: &Decoder, out: &mpsc::Sender<Batch>, stop: &CancellationToken) -> bool {
        let mut batch = self.batch();
        while !self.over && !stop.is_cancelled() {
            let mut read = 0;
            let failure = self.fill(&mut read).err();
            let last = read == 0 && (!self.follow || failure.is_some());
            self.over = last;
            loop {
                let (piece, done) = self.splitter.next(&self.buffer[self.begin..], last);
                let (range, whole) = match piece {
                    Piece::Whole(range) => (range, true),
                    Piece::Broken(range) | Piece::TooLong(range) => (range, false),
                    Piece::More | Piece::End => {
                        self.begin += done;
                        self.bytes += done as u64;
                        break;
                    }
                };
                self.values += 1;
                if self.values > self.skip {
                    let value = &self.buffer[self.begin + range.start..self.begin + range.end];
                    if whole && decoder.screen(value) == Screen::Irrelevant && simdutf8::basic::from_utf8(value).is_ok()
                    {
                        batch.ignored += 1;
                    } else {
                        let at = RecordAt { record: self.values, byte: self.bytes + range.start as u64 };
                        batch.candidates.push(Candidate { bytes: value.to_vec(), at, whole });
                    }
                }
                self.begin += done;
                self.bytes += done as u64;
                if batch.candidates.len() >= BATCH_CANDIDATES || batch.ignored >= BATCH_VALUES {
                    let next = self.batch();
                    let mut full = std::mem::replace(&mut batch, next);
                    (full.values, full.bytes) = (self.values, self.bytes);
                    if out.blocking_send(full).is_err() {
                        return false;
                    }
                }
            }
            batch.failure = failure.map(|error| format!("{error} (after byte {})", self.bytes));
            if read == 0 {
                break;
            }
        }
        (batch.values, batch.bytes) = (self.values, self.bytes);
        let empty = batch.candidates.is_empty() && batch.ignored == 0 && batch.failure.is_none();
        empty || out.blocking_send(batch).is_ok()
    }

    fn batch(&self) -> Batch {
        let file = Arc::clone(&self.name);
        Batch { file, candidates: Vec::new(), ignored: 0, values: self.values, bytes: self.bytes, failure: None }
    }

    fn fill(&mut self, read: &mut usize) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let result = loop {
            match self.from.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        *read = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + *read);
        result.map(|_| ())
    }
}

fn is_gzip(path: &Path) -> io::Result<bool> {
    let mut magic = [0; 2];
    let mut file = File::open(path)?;
    let read = file.read(&mut magic)?;
    Ok(read == 2 && magic == GZIP_MAGIC)
}

/// The name under which a file's position is kept.
pub fn checkpoint_name(file: &str) -> String {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| PathBuf::from(file));
    format!("source/{}", path.display())
}
