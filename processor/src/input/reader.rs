//! Reads one file, or one part of it, and hands out the values in it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::read::MultiGzDecoder;
use sessionwarden_machine::decode::{Piece, Splitter, VALUE_BYTES_MAX};

use super::InputFile;

/// How much of a file one thread takes at a time, in bytes.
const CHUNK_BYTES: u64 = 8 << 20;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;
/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A part of a file for one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Index of the file.
    pub file: usize,
    /// Bytes from and to; `None` for the whole file. The lines that begin in it belong to it.
    pub range: Option<(u64, u64)>,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// Its number within what was read, from 1.
    pub record: u64,
    /// Its first byte in the file (uncompressed).
    pub byte: u64,
}

/// What takes the values.
pub trait Sink {
    /// A value that looks whole.
    fn whole(&mut self, value: &[u8], at: RecordAt);
    /// Something that is no whole value.
    fn broken(&mut self, value: &[u8], at: RecordAt);
    /// The beginning of something longer than is read.
    fn too_long(&mut self, value: &[u8], at: RecordAt);
}

/// The input cannot be read, or ended before its time, for example a truncated gzip file.
#[derive(Debug)]
pub struct Truncated {
    /// How many bytes could be read (uncompressed).
    pub byte: u64,
    /// Why no more.
    pub source: io::Error,
}

impl std::error::Error for Truncated {}

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.byte {
            0 => write!(f, "cannot be read: {}", self.source),
            byte => write!(f, "cannot be read beyond byte {byte}: {}", self.source),
        }
    }
}

/// Splits the files into parts that threads can read side by side: large plain files with one value in each line into
/// parts of 8 MiB, all others whole. The largest come first.
pub fn plan_chunks(files: &[InputFile]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (file, input) in files.iter().enumerate() {
        let bytes = input.bytes();
        match input {
            InputFile::File { path, .. } if bytes > 2 * CHUNK_BYTES && begins_in_lines(path).unwrap_or(false) => {
                let parts = bytes.div_ceil(CHUNK_BYTES);
                let range = |part: u64| Some((part * CHUNK_BYTES, ((part + 1) * CHUNK_BYTES).min(bytes)));
                chunks.extend((0..parts).map(|part| Chunk { file, range: range(part) }));
            }
            InputFile::Stdin | InputFile::File { .. } => chunks.push(Chunk { file, range: None }),
        }
    }
    chunks.sort_by_key(|chunk| chunk.range.is_none().then(|| std::cmp::Reverse(files[chunk.file].bytes())));
    chunks
}

/// Whether a plain file begins with a value that fills its first line.
fn begins_in_lines(path: &Path) -> io::Result<bool> {
    let mut head = vec![0; 256 << 10];
    let filled = read_full(&mut File::open(path)?, &mut head)?;
    let head = &head[..filled];
    let mut splitter = Splitter::default();
    let (piece, _) = splitter.next(head, false);
    Ok(!head.starts_with(&GZIP_MAGIC) && matches!(piece, Piece::Whole(_)) && splitter.in_lines())
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads files, keeping its buffer from one to the next.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads `chunk` of `file` into `sink`, adding to `progress` the bytes read from the disk.
    ///
    /// Returns `Ok(false)` when a part of a file turned out not to hold one value in each line, or not to be readable; the
    /// whole file then has to be read instead. Errors: the file cannot be opened or read to its end; what came before has been handed out.
    pub fn read(
        &mut self,
        file: &InputFile,
        chunk: &Chunk,
        progress: &AtomicU64,
        sink: &mut impl Sink,
    ) -> Result<bool, Truncated> {
        let cannot = |source| Truncated { byte: 0, source };
        match (file, chunk.range) {
            (InputFile::Stdin, _) => self.stream(Counted { inner: io::stdin().lock(), progress }, sink),
            (InputFile::File { path, .. }, None) => {
                self.stream(Counted { inner: File::open(path).map_err(cannot)?, progress }, sink)
            }
            // Where a part cannot be read, reading the whole file hands out what comes before.
            (InputFile::File { path, .. }, Some(range)) => {
                let read = File::open(path).and_then(|from| self.lines(from, range, sink)).unwrap_or(false);
                progress.fetch_add(if read { range.1 - range.0 } else { 0 }, Ordering::Relaxed);
                Ok(read)
            }
        }
    }

    fn stream(&mut self, mut from: impl Read, sink: &mut impl Sink) -> Result<bool, Truncated> {
        let mut magic = [0; 2];
        let filled = read_full(&mut from, &mut magic).map_err(|source| Truncated { byte: 0, source })?;
        let from = magic[..filled].chain(from);
        if magic == GZIP_MAGIC {
            self.values(MultiGzDecoder::new(from), sink)?;
        } else {
            self.values(from, sink)?;
        }
        Ok(true)
    }

    fn values(&mut self, mut from: impl Read, sink: &mut impl Sink) -> Result<(), Truncated> {
        let mut splitter = Splitter::default();
        let (mut base, mut record, mut last) = (0, 0, None);
        let (mut begin, mut end) = (0, 0);
        // Whether the last value was half a record, so that the input's early end is told already.
        let mut half = false;
        loop {
            let (piece, done) = splitter.next(&self.buffer[begin..end], last.is_some());
            let value = |at: std::ops::Range<usize>| begin + at.start..begin + at.end;
            let mut at = |range: &std::ops::Range<usize>| {
                record += 1;
                RecordAt { record, byte: base + (begin + range.start) as u64 }
            };
            half = match piece {
                Piece::Whole(_) | Piece::TooLong(_) => false,
                Piece::Broken(_) => true,
                Piece::More | Piece::End => half,
            };
            match piece {
                Piece::Whole(range) => sink.whole(&self.buffer[value(range.clone())], at(&range)),
                Piece::Broken(range) => sink.broken(&self.buffer[value(range.clone())], at(&range)),
                Piece::TooLong(range) => sink.too_long(&self.buffer[value(range.clone())], at(&range)),
                Piece::End => break,
                Piece::More => {
                    self.buffer.copy_within(begin + done..end, 0);
                    base += (begin + done) as u64;
                    end -= begin + done;
                    begin = 0;
                    if self.buffer.len() < end + READ_BYTES {
                        self.buffer.resize((end + READ_BYTES).max(self.buffer.len() * 2), 0);
                    }
                    // Filled to its end, so that a value over many reads is looked at few times.
                    while last.is_none() && end < self.buffer.len() {
                        match from.read(&mut self.buffer[end..]) {
                            Ok(0) => last = Some(Ok(())),
                            Ok(bytes) => end += bytes,
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => last = Some(Err(error)),
                        }
                    }
                    continue;
                }
            }
            begin += done;
        }
        let byte = base + end as u64;
        match last {
            Some(Err(source)) => Err(Truncated { byte, source }),
            Some(Ok(())) | None if splitter.is_inside() && !half => {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the list of records is not closed");
                Err(Truncated { byte, source })
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Reads the lines that begin between the two offsets.
    fn lines(&mut self, mut from: File, (begin, end): (u64, u64), sink: &mut impl Sink) -> io::Result<bool> {
        // The byte before the part tells whether a line begins at its first byte.
        let first = begin.saturating_sub(1);
        from.seek(SeekFrom::Start(first))?;
        let wanted = (end - first) as usize;
        self.buffer.resize(self.buffer.len().max(wanted), 0);
        let mut filled = read_full(&mut from, &mut self.buffer[..wanted])?;
        let mut at = match begin {
            0 => 0,
            _ => match memchr::memchr(b'\n', &self.buffer[..filled]) {
                Some(line_end) => line_end + 1,
                // No line begins in this part.
                None => return Ok(true),
            },
        };
        while at < filled && self.buffer[filled - 1] != b'\n' {
            if filled - at > VALUE_BYTES_MAX {
                return Ok(false);
            }
            self.buffer.resize(self.buffer.len().max(filled + (64 << 10)), 0);
            let more = read_full(&mut from, &mut self.buffer[filled..filled + (64 << 10)])?;
            if more == 0 {
                break;
            }
            match memchr::memchr(b'\n', &self.buffer[filled..filled + more]) {
                Some(line_end) => {
                    filled += line_end + 1;
                    break;
                }
                None => filled += more,
            }
        }
        let mut splitter = Splitter::lines();
        let mut record = 0;
        loop {
            let (piece, done) = splitter.next(&self.buffer[at..filled], true);
            match piece {
                Piece::Whole(range) if splitter.in_lines() => {
                    record += 1;
                    let place = RecordAt { record, byte: first + (at + range.start) as u64 };
                    sink.whole(&self.buffer[at + range.start..at + range.end], place);
                    at += done;
                }
                Piece::End => return Ok(true),
                Piece::Whole(_) | Piece::Broken(_) | Piece::TooLong(_) | Piece::More => return Ok(false),
            }
        }
    }
}

/// Counts the bytes that pass.
struct Counted<'a, R> {
    inner: R,
    progress: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.progress.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
