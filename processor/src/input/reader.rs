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
/// How much of a part is read at once, in bytes.
const LINES_BYTES: u64 = 256 << 10;
/// How much is read at once to find the end of a part's last line, in bytes.
const LAST_LINE_BYTES: u64 = 16 << 10;
/// The first bytes of a gzip file.
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

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

/// Reads until `into` is full or nothing more comes; returns how many bytes came.
pub(crate) fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
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
    /// Returns `Ok(false)` when a part of a file turned out not to hold one value in each line, or not to be readable;
    /// the whole file then has to be read instead. Errors: the file cannot be opened or read to its end; what came
    /// before has been handed out.
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
        let (mut base, mut filled, mut skip) = (first, 0, begin > 0);
        let (mut splitter, mut record) = (Splitter::lines(), 0);
        loop {
            // Little at a time, so that it is still in the processor's cache when it is looked at; and no more of the
            // next part than the end of the last line.
            let position = base + filled as u64;
            let in_part = position < end;
            let wanted = if in_part { (end - position).min(LINES_BYTES) } else { LAST_LINE_BYTES } as usize;
            self.buffer.resize(self.buffer.len().max(filled + wanted), 0);
            let fresh = filled;
            filled += read_full(&mut from, &mut self.buffer[fresh..fresh + wanted])?;
            let at_end = filled < fresh + wanted;
            let read = &self.buffer[fresh..filled];
            let line_end = if in_part { memchr::memrchr(b'\n', read) } else { memchr::memchr(b'\n', read) };
            let mut complete = line_end.map_or(0, |line_end| fresh + line_end + 1);
            let part_done = if in_part { base + complete as u64 == end } else { line_end.is_some() };
            // Behind the part only the rest of its last line belongs to it.
            if at_end && (in_part || line_end.is_none()) {
                complete = filled;
            }
            let mut at = 0;
            if skip {
                match memchr::memchr(b'\n', &self.buffer[..filled]) {
                    Some(line_end) => (at, skip) = (line_end + 1, false),
                    // No line begins in this part.
                    None if at_end || base + filled as u64 >= end => return Ok(true),
                    None => complete = filled,
                }
            }
            // Within a line that belongs to the part before, nothing is looked at.
            loop {
                if skip {
                    break;
                }
                let (piece, done) = splitter.next(&self.buffer[at..complete], true);
                match piece {
                    Piece::Whole(range) if splitter.in_lines() => {
                        record += 1;
                        let place = RecordAt { record, byte: base + (at + range.start) as u64 };
                        sink.whole(&self.buffer[at + range.start..at + range.end], place);
                        at += done;
                    }
                    Piece::End => break,
                    Piece::Whole(_) | Piece::Broken(_) | Piece::TooLong(_) | Piece::More => return Ok(false),
                }
            }
            if at_end || part_done {
                return Ok(true);
            }
            self.buffer.copy_within(complete..filled, 0);
            (base, filled) = (base + complete as u64, filled - complete);
            if filled > VALUE_BYTES_MAX {
                return Ok(false);
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Default)]
    struct Kept(Vec<(u64, Vec<u8>)>);

    impl Sink for Kept {
        fn whole(&mut self, value: &[u8], at: RecordAt) {
            self.0.push((at.byte, value.to_owned()));
        }

        fn broken(&mut self, _: &[u8], at: RecordAt) {
            panic!("broken at {}", at.byte);
        }

        fn too_long(&mut self, _: &[u8], at: RecordAt) {
            panic!("too long at {}", at.byte);
        }
    }

    /// Lines of many lengths, some of them longer than what is read at once; the last without an end.
    fn lines() -> Vec<String> {
        let length = |number: usize| match number % 97 {
            96 => 3 * LINES_BYTES as usize + number,
            rest => rest * rest * 7 % 5_000,
        };
        (0..400).map(|number| format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(length(number)))).collect()
    }

    #[test]
    fn parts_hand_out_every_line_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (lines, mut begins, mut bytes) = (lines(), Vec::new(), 0);
        for (at, line) in lines.iter().enumerate() {
            begins.push(bytes);
            let end = if at + 1 == lines.len() { "" } else { "\n" };
            write!(file, "{line}{end}").unwrap();
            bytes += (line.len() + end.len()) as u64;
        }
        let expected: Vec<_> = begins.iter().copied().zip(lines.into_iter().map(String::into_bytes)).collect();
        let one = InputFile::File { path: file.path().to_owned(), bytes };
        // Parts that end before, at and behind the ends of lines and of what is read at once.
        let edges = [1, begins[1], begins[2] - 1, begins[3] + 1, LINES_BYTES - 1, LINES_BYTES, LINES_BYTES + 1];
        let around = [begins[96] - 1, begins[96], begins[96] + LINES_BYTES, begins[97] - 2, begins[97], begins[98]];
        for part in edges.into_iter().chain([300_000, 1 << 20, bytes]) {
            let steps = (0..bytes).step_by(part as usize).skip(1).take(2_000);
            let mut cuts: Vec<u64> = steps.chain(around).chain([0, bytes]).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let (mut reader, mut kept, progress) = (Reader::default(), Kept::default(), AtomicU64::new(0));
            for cut in cuts.windows(2) {
                let chunk = Chunk { file: 0, range: Some((cut[0], cut[1])) };
                assert!(reader.read(&one, &chunk, &progress, &mut kept).unwrap());
            }
            assert_eq!(progress.into_inner(), bytes);
            let places = |of: &[(u64, Vec<u8>)]| of.iter().map(|(byte, line)| (*byte, line.len())).collect::<Vec<_>>();
            assert_eq!(places(&kept.0), places(&expected), "parts of {part} bytes");
            assert!(kept.0 == expected, "parts of {part} bytes");
        }
    }

    #[test]
    fn a_part_with_a_value_over_two_lines_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("{}{{\"a\":\n1}}\n", "{\"b\":2}\n".repeat(100_000));
        file.write_all(text.as_bytes()).unwrap();
        let one = InputFile::File { path: file.path().to_owned(), bytes: text.len() as u64 };
        let chunk = Chunk { file: 0, range: Some((0, text.len() as u64)) };
        let read = Reader::default().read(&one, &chunk, &AtomicU64::new(0), &mut Kept::default());
        assert!(!read.unwrap());
    }
}
