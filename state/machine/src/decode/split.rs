//! Finds the JSON values in a stream of bytes: NDJSON, files of records, arrays, values one after the other.

use std::ops::Range;

/// The longest single value that is read, in bytes. Files of records are split into their records first, so this
/// bounds one record, or one file whose `Records` is not its first key.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// The next piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A value that is whole as far as its frame shows.
    Whole(Range<usize>),
    /// Something that is no whole value: half a record, garbage between records. To be parsed in full, and parked.
    Broken(Range<usize>),
    /// The beginning of a value longer than [`VALUE_BYTES_MAX`]; the rest is passed over, up to its end, or up to the
    /// next line where it has none.
    TooLong(Range<usize>),
    /// More bytes are needed.
    More,
    /// Nothing is left.
    End,
}

/// Splits a stream of bytes into values, whatever the mixture of formats.
///
/// The caller keeps a buffer, and passes what it has not consumed yet; see [`Splitter::next`].
#[derive(Debug, Default)]
pub struct Splitter {
    inside: Option<Container>,
    lines: bool,
    skipping: Option<Skip>,
    scan: Scan,
}

/// What is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Value,
    Line,
}

/// The mark that some programs put before UTF-8 text; it means nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Records,
    RecordsTail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scanned {
    /// The value ends before this offset.
    End(usize),
    More,
    Bad,
}

impl Splitter {
    /// A splitter for a part of a file that is known to hold one value in each line.
    pub fn lines() -> Self {
        Self { lines: true, ..Self::default() }
    }

    /// Whether every value so far stood alone in its line.
    pub fn in_lines(&self) -> bool {
        self.lines && self.inside.is_none()
    }

    /// Whether a list of records, or the object around it, has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// The next piece of `buffer`, and how many bytes of it are done with. `last` says that no more bytes follow.
    /// After [`Piece::More`] the same unconsumed bytes are passed again, with more behind them.
    pub fn next(&mut self, buffer: &[u8], last: bool) -> (Piece, usize) {
        let mut at = 0;
        loop {
            if let Some(skip) = self.skipping {
                let (done, skipping) = self.skip(skip, &buffer[at..]);
                (self.skipping, at) = (skipping, at + done);
                if skipping.is_some() {
                    return if last { (Piece::End, buffer.len()) } else { (Piece::More, at) };
                }
            }
            at += buffer[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',')).count();
            let Some(first) = buffer.get(at) else {
                return (if last { Piece::End } else { Piece::More }, at);
            };
            if *first == BYTE_ORDER_MARK[0] {
                let rest = &buffer[at..];
                if rest.starts_with(BYTE_ORDER_MARK) {
                    at += BYTE_ORDER_MARK.len();
                    continue;
                }
                if !last && BYTE_ORDER_MARK.starts_with(rest) {
                    return (Piece::More, at);
                }
            }
            match (self.inside, first) {
                (Some(Container::RecordsTail), _) => match self.tail(&buffer[at..]) {
                    Scanned::End(end) => at += end,
                    Scanned::More if !last => return (Piece::More, at),
                    Scanned::More | Scanned::Bad => return self.broken(buffer, at, last),
                },
                (Some(container), b']') => {
                    self.inside = (container == Container::Records).then_some(Container::RecordsTail);
                    at += 1;
                }
                (None, b'[') => {
                    self.inside = Some(Container::Array);
                    self.lines = false;
                    at += 1;
                }
                (None, b'{') if !self.scan.running() => match records_prefix(&buffer[at..]) {
                    Scanned::End(end) => {
                        self.inside = Some(Container::Records);
                        at += end;
                    }
                    Scanned::More if !last => return (Piece::More, at),
                    Scanned::More | Scanned::Bad => return self.value(buffer, at, last),
                },
                (_, b'{' | b'[') => return self.value(buffer, at, last),
                _ => return self.broken(buffer, at, last),
            }
        }
    }

    /// Passes over bytes: how many, and what is still to be passed over.
    fn skip(&mut self, skip: Skip, rest: &[u8]) -> (usize, Option<Skip>) {
        let line = |from: usize| match memchr::memchr(b'\n', &rest[from..]) {
            Some(end) => (from + end + 1, None),
            None => (rest.len(), Some(Skip::Line)),
        };
        if skip == Skip::Line {
            return line(0);
        }
        let scanned = self.scan.run(rest);
        let at = std::mem::take(&mut self.scan.at);
        match scanned {
            Scanned::End(end) => {
                self.scan = Scan::default();
                (end, None)
            }
            Scanned::More => (at, Some(Skip::Value)),
            Scanned::Bad => {
                self.scan = Scan::default();
                line(at)
            }
        }
    }

    fn value(&mut self, buffer: &[u8], at: usize, last: bool) -> (Piece, usize) {
        if self.in_lines() && !self.scan.running() {
            let end = memchr::memchr(b'\n', &buffer[at..]).map(|end| at + end);
            match end {
                Some(end) if end - at <= VALUE_BYTES_MAX && buffer[at..end].trim_ascii_end().ends_with(b"}") => {
                    return (Piece::Whole(at..at + buffer[at..end].trim_ascii_end().len()), end + 1);
                }
                None if !last && buffer.len() - at <= VALUE_BYTES_MAX => return (Piece::More, at),
                Some(_) | None => {}
            }
        }
        let rest = &buffer[at..];
        match self.scan.run(rest) {
            // However much of it happens to be in the buffer.
            Scanned::End(end) if end > VALUE_BYTES_MAX => {
                self.scan = Scan::default();
                (Piece::TooLong(at..at + end), at + end)
            }
            Scanned::End(end) => {
                self.scan = Scan::default();
                if self.inside.is_none() {
                    let after = rest[end..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
                    self.lines = matches!(after, None | Some(b'\n')) && memchr::memchr(b'\n', &rest[..end]).is_none();
                }
                (Piece::Whole(at..at + end), at + end)
            }
            Scanned::More if !last => {
                if rest.len() <= VALUE_BYTES_MAX {
                    return (Piece::More, at);
                }
                self.skipping = Some(Skip::Value);
                let done = at + std::mem::take(&mut self.scan.at);
                (Piece::TooLong(at..done), done)
            }
            Scanned::More | Scanned::Bad => self.broken(buffer, at, last),
        }
    }

    /// Gives up on what stands at `at`, up to what looks like the next value, so that one broken record costs no other.
    fn broken(&mut self, buffer: &[u8], at: usize, last: bool) -> (Piece, usize) {
        self.scan = Scan::default();
        let rest = &buffer[at..];
        let end = match self.next_value(rest) {
            Some(end) => end,
            None if last => rest.len(),
            // The rest of the last line may still show where the next value begins.
            None => match memchr::memrchr(b'\n', rest) {
                Some(end) if end > 0 => end,
                _ if rest.len() <= VALUE_BYTES_MAX => return (Piece::More, at),
                _ => {
                    self.skipping = Some(Skip::Line);
                    return (Piece::TooLong(at..buffer.len()), buffer.len());
                }
            },
        };
        if self.inside == Some(Container::RecordsTail) {
            self.inside = None;
        }
        let shown = rest[..end].trim_ascii_end();
        let shown = shown.strip_suffix(b",").unwrap_or(shown).len().max(1);
        (Piece::Broken(at..at + shown), at + end)
    }

    /// Where the next value seems to begin: a brace at the beginning of a line, or inside an array one behind a comma;
    /// or the end of the array.
    fn next_value(&self, rest: &[u8]) -> Option<usize> {
        let inside = matches!(self.inside, Some(Container::Array | Container::Records));
        let brace = memchr::memchr_iter(b'{', rest).filter(|brace| *brace > 0).find(|brace| {
            let before = rest[..*brace].trim_ascii_end();
            let line = memchr::memrchr(b'\n', &rest[before.len()..*brace]).is_some();
            line || (inside && before.ends_with(b","))
        });
        let before = &rest[..brace.unwrap_or(rest.len())];
        let close = if inside { memchr::memchr(b']', before).filter(|close| *close > 0) } else { None };
        match (brace, close) {
            // A bracket within a broken record says nothing; one behind it ends the array.
            (Some(brace), Some(_)) if rest.first() == Some(&b'{') => Some(brace),
            (brace, close) => close.or(brace),
        }
    }

    /// Passes over what follows the records up to the file's closing brace.
    fn tail(&mut self, rest: &[u8]) -> Scanned {
        if !self.scan.running() {
            self.scan = Scan { open: vec![b'{'], before: b',', ..Scan::default() };
        }
        let scanned = self.scan.run(rest);
        if let Scanned::End(_) = scanned {
            self.scan = Scan::default();
            self.inside = None;
        }
        scanned
    }
}

/// Recognises `{"Records":[` with any white space.
fn records_prefix(text: &[u8]) -> Scanned {
    let mut at = 0;
    for token in [&b"{"[..], b"\"Records\"", b":", b"["] {
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = &text[at..];
        if rest.len() < token.len() && token.starts_with(rest) {
            return Scanned::More;
        }
        if !rest.starts_with(token) {
            return Scanned::Bad;
        }
        at += token.len();
    }
    Scanned::End(at)
}

/// Finds the end of one value: brackets, strings, and just enough grammar to notice where one record was cut off and
/// the next begins. It can stop at the end of the buffer and go on with a longer one.
#[derive(Debug)]
struct Scan {
    at: usize,
    open: Vec<u8>,
    in_string: bool,
    /// The significant byte before `at`; a digit stands for any word or number.
    before: u8,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, open: Vec::new(), in_string: false, before: b':' }
    }
}

impl Scan {
    fn running(&self) -> bool {
        self.at > 0
    }

    fn run(&mut self, text: &[u8]) -> Scanned {
        while self.at < text.len() {
            if self.in_string {
                let Some(hit) = memchr::memchr3(b'"', b'\\', b'\n', &text[self.at..]) else {
                    self.at = text.len();
                    return Scanned::More;
                };
                self.at += hit;
                match text[self.at] {
                    b'"' => (self.in_string, self.before, self.at) = (false, b'"', self.at + 1),
                    b'\\' if self.at + 1 < text.len() => self.at += 2,
                    b'\\' => return Scanned::More,
                    _ => return Scanned::Bad,
                }
                continue;
            }
            let byte = text[self.at];
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'{' | b'[' | b'"' => {
                    if !self.may_open(byte) {
                        return Scanned::Bad;
                    }
                    match byte {
                        b'"' => self.in_string = true,
                        _ => self.open.push(byte),
                    }
                    self.before = byte;
                }
                b'}' | b']' => {
                    // In ASCII both closing brackets stand two behind their opening ones.
                    if self.open.pop() != Some(byte - 2) {
                        return Scanned::Bad;
                    }
                    if self.open.is_empty() {
                        return Scanned::End(self.at + 1);
                    }
                    self.before = byte;
                }
                b',' | b':' => self.before = byte,
                _ => self.before = b'0',
            }
            self.at += 1;
        }
        Scanned::More
    }

    fn may_open(&self, byte: u8) -> bool {
        match (self.open.last(), self.before) {
            (Some(b'{'), b'{' | b',') => byte == b'"',
            (Some(b'['), b'[' | b',') | (None | Some(b'{'), b':') => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
