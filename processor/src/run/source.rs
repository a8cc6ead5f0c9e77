//! Real events as a source: files are read on a thread of their own, from where they were left.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sessionwarden_machine::{
    decode::{Decoder, Piece, Screen, Splitter},
    ids::EventId,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::input::{GZIP_MAGIC, InputFile, RecordAt, read_full};

/// How many values one batch covers at the most.
const BATCH_VALUES: u64 = 65_536;
/// How many values of one batch are handed on at the most.
const BATCH_CANDIDATES: usize = 512;
const READ_BYTES: usize = 256 << 10;
const FOLLOW: Duration = Duration::from_millis(250);
/// How often a follower looks for new files.
const RESCAN: Duration = Duration::from_secs(1);
/// By so many first bytes a file is known again.
const HEAD_BYTES: usize = 1_024;

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
    /// Bytes read from the disk, before decompression.
    pub bytes: u64,
    /// Those of them that belong to an earlier content of the file.
    #[serde(default)]
    pub bytes_before: u64,
    /// After how many bytes it could not be read on, where that was so.
    #[serde(default)]
    pub failed_at: Option<u64>,
    /// How the file begins.
    #[serde(default)]
    pub head: Head,
}

/// How a file begins: another file under the same name is read from its own beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    bytes: usize,
    digest: u64,
}

impl Head {
    fn of(first: &[u8]) -> Self {
        Self { bytes: first.len(), digest: EventId::of_content(first).0 as u64 }
    }

    /// Whether a file that begins with `first` can be the one this was made of.
    fn fits(self, first: &[u8]) -> bool {
        first.get(..self.bytes).is_some_and(|first| self.bytes == 0 || Self::of(first) == self)
    }
}

/// How a value looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whole.
    Whole,
    /// Not whole: half a record, or garbage.
    Broken,
    /// The beginning of something longer than is read.
    TooLong,
}

/// A value that may matter.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it stands.
    pub at: RecordAt,
    /// How it looks.
    pub look: Look,
    /// An earlier run has handled it: it is passed again so that its repetitions are known.
    pub known: bool,
}

/// A stretch of one file.
#[derive(Clone, Debug, Default)]
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
    /// How the file begins; nothing for what is read only once.
    pub head: Option<Head>,
    /// The first of another file than the one that was read under this name before, or of what is read only once.
    pub anew: bool,
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
        let mut known: BTreeSet<String> = BTreeSet::new();
        loop {
            for (file, position) in fresh.drain(..) {
                known.insert(file.name());
                match OpenFile::open(&file, position, self.follow) {
                    Ok(mut opened) => {
                        if !opened.read_on(&decoder, out, stop) {
                            return;
                        }
                        if !opened.over && self.follow {
                            open.push(opened);
                        }
                    }
                    Err(error) => {
                        if out.blocking_send(failed(&file, position, &error)).is_err() {
                            return;
                        }
                    }
                }
            }
            if !self.follow || stop.is_cancelled() {
                return;
            }
            let rescanned = Instant::now();
            while rescanned.elapsed() < RESCAN && !stop.is_cancelled() {
                std::thread::sleep(FOLLOW);
                for file in &mut open {
                    if !file.read_on(&decoder, out, stop) {
                        return;
                    }
                }
            }
            let found = (self.rescan)().into_iter().filter(|file| !known.contains(&file.name()));
            fresh = found.map(|file| (file.clone(), (self.position_of)(&file))).collect();
        }
    }
}

fn failed(file: &InputFile, position: Position, error: &io::Error) -> Batch {
    Batch {
        file: file.name().into(),
        values: position.values,
        bytes: position.bytes - position.bytes_before,
        failure: Some(format!("cannot be read: {error}")),
        ..Batch::default()
    }
}

/// A file being read.
struct OpenFile {
    name: Arc<str>,
    from: Box<dyn Read + Send>,
    /// Of what is compressed: the bytes read from the disk.
    disk_bytes: Option<Arc<AtomicU64>>,
    buffer: Vec<u8>,
    begin: usize,
    splitter: Splitter,
    values: u64,
    bytes: u64,
    /// Values that an earlier run has handled.
    skip: u64,
    head: Option<Head>,
    anew: bool,
    follow: bool,
    /// How the last value looked: after half a record the early end is told already.
    last: Look,
    over: bool,
}

impl OpenFile {
    fn open(file: &InputFile, position: Position, follow: bool) -> io::Result<Self> {
        let disk_bytes = Arc::new(AtomicU64::new(0));
        let counted = |inner: Box<dyn Read + Send>| Counted { inner, bytes: Arc::clone(&disk_bytes) };
        let (from, first, head) = match file {
            InputFile::Stdin => {
                let mut first = vec![0; GZIP_MAGIC.len()];
                let filled = read_full(&mut io::stdin(), &mut first)?;
                first.truncate(filled);
                let all = io::Cursor::new(first.clone()).chain(io::stdin());
                (counted(Box::new(all)), first, None)
            }
            InputFile::File { path, .. } => {
                let mut from = File::open(path)?;
                let mut first = vec![0; HEAD_BYTES];
                let filled = read_full(&mut from, &mut first)?;
                first.truncate(filled);
                // A pipe has no beginning to go back to.
                match from.rewind() {
                    Ok(()) => (counted(Box::new(from)), first.clone(), Some(Head::of(&first))),
                    Err(_) => (counted(Box::new(io::Cursor::new(first.clone()).chain(from))), first, None),
                }
            }
        };
        let plain = !first.starts_with(&GZIP_MAGIC);
        let same = head.is_some() && position.head.fits(&first);
        Ok(Self {
            name: file.name().into(),
            from: if plain { Box::new(from) } else { Box::new(MultiGzDecoder::new(from)) },
            disk_bytes: (!plain).then_some(disk_bytes),
            buffer: Vec::new(),
            begin: 0,
            splitter: Splitter::default(),
            values: 0,
            bytes: 0,
            skip: if same { position.values } else { 0 },
            head,
            anew: !same,
            follow: follow && plain && head.is_some(),
            last: Look::Whole,
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
            if !self.split(last, decoder, &mut batch, out) {
                return false;
            }
            batch.failure = match failure {
                Some(error) => Some(format!("cannot be read beyond byte {}: {error}", self.bytes)),
                None if last && self.splitter.is_inside() && self.last != Look::Broken => {
                    Some(format!("cannot be read beyond byte {}: the list of records is not closed", self.bytes))
                }
                None => None,
            };
            if read == 0 {
                break;
            }
        }
        let empty = batch.candidates.is_empty() && batch.ignored == 0 && batch.failure.is_none();
        empty || self.send(batch, out)
    }

    /// Returns false when nobody listens any more.
    fn send(&mut self, mut batch: Batch, out: &mpsc::Sender<Batch>) -> bool {
        batch.values = self.values;
        batch.bytes = self.disk_bytes.as_ref().map_or(self.bytes, |bytes| bytes.load(Ordering::Relaxed));
        batch.anew = std::mem::take(&mut self.anew);
        out.blocking_send(batch).is_ok()
    }

    /// Takes apart what was read. Returns false when nobody listens any more.
    fn split(&mut self, last: bool, decoder: &Decoder, batch: &mut Batch, out: &mpsc::Sender<Batch>) -> bool {
        loop {
            let (piece, done) = self.splitter.next(&self.buffer[self.begin..], last);
            let (range, look) = match piece {
                Piece::Whole(range) => (range, Look::Whole),
                Piece::Broken(range) => (range, Look::Broken),
                Piece::TooLong(range) => (range, Look::TooLong),
                Piece::More | Piece::End => {
                    self.begin += done;
                    self.bytes += done as u64;
                    return true;
                }
            };
            self.values += 1;
            self.last = look;
            let value = &self.buffer[self.begin + range.start..self.begin + range.end];
            let known = self.values <= self.skip;
            let irrelevant = look == Look::Whole
                && decoder.screen(value) == Screen::Irrelevant
                && simdutf8::basic::from_utf8(value).is_ok();
            if !irrelevant {
                let at = RecordAt { record: self.values, byte: self.bytes + range.start as u64 };
                batch.candidates.push(Candidate { bytes: value.to_vec(), at, look, known });
            } else if !known {
                batch.ignored += 1;
            }
            self.begin += done;
            self.bytes += done as u64;
            if batch.candidates.len() >= BATCH_CANDIDATES || batch.ignored >= BATCH_VALUES {
                let full = std::mem::replace(batch, self.batch());
                if !self.send(full, out) {
                    return false;
                }
            }
        }
    }

    fn batch(&self) -> Batch {
        Batch { file: Arc::clone(&self.name), head: self.head, ..Batch::default() }
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

/// Counts the bytes that pass.
struct Counted {
    inner: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// The name under which a file's position is kept.
pub fn checkpoint_name(file: &str) -> String {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| PathBuf::from(file));
    format!("source/{}", path.display())
}
