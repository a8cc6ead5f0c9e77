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
                Some(end) if buffer[at..end].trim_ascii_end().ends_with(b"}") => {
                    return (Piece::Whole(at..at + buffer[at..end].trim_ascii_end().len()), end + 1);
                }
                None if !last && buffer.len() - at <= VALUE_BYTES_MAX => return (Piece::More, at),
                Some(_) | None => {}
            }
        }
        let rest = &buffer[at..];
        match self.scan.run(rest) {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pieces of `input`, fed in chunks of `chunk` bytes: (whole, text).
    fn pieces(input: &[u8], chunk: usize) -> Vec<(bool, String)> {
        let (mut splitter, mut buffer, mut out, mut fed) = (Splitter::default(), Vec::new(), Vec::new(), 0);
        for _ in 0..100_000 {
            let (piece, done) = splitter.next(&buffer, fed == input.len());
            match &piece {
                Piece::Whole(at) => out.push((true, String::from_utf8_lossy(&buffer[at.clone()]).into_owned())),
                Piece::Broken(at) | Piece::TooLong(at) => {
                    out.push((false, String::from_utf8_lossy(&buffer[at.clone()]).into_owned()));
                }
                Piece::More => {}
                Piece::End => return out,
            }
            buffer.drain(..done);
            if piece == Piece::More {
                let next = (fed + chunk).min(input.len());
                buffer.extend_from_slice(&input[fed..next]);
                fed = next;
            }
        }
        panic!("the splitter does not come to an end");
    }

    fn whole(texts: &[&str]) -> Vec<(bool, String)> {
        texts.iter().map(|text| (true, (*text).to_owned())).collect()
    }

    #[test]
    fn every_format_is_split() {
        let (a, b, c) = (r#"{"a":{"x":"}{\"["}}"#, r#"{"b":[1,{"y":2}]}"#, r#"{"c":"\\"}"#);
        for text in [
            format!("{a}\n{b}\r\n\n{c}\n"),
            format!("{a}\n{b}\n{c}"),
            format!("[{a},{b},\n {c}]"),
            format!("{{\"Records\":[{a},{b},{c}]}}"),
            format!(" {{ \"Records\" : [\n{a},\n{b},\n{c} ] , \"more\" : {{\"x\":[]}} }}\n"),
            format!("{a}{b} {c}"),
            format!("[{a}]\n{{\"Records\":[{b}]}}\n{c}\n"),
        ] {
            for chunk in [1, 2, 7, 4096] {
                assert_eq!(pieces(text.as_bytes(), chunk), whole(&[a, b, c]), "{text} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let (a, b) = (r#"{"a":1}"#, r#"{"b":2}"#);
        for text in [
            format!("\u{feff}{a}\n{b}\n"),
            format!("\u{feff}{{\"Records\":[{a},{b}]}}"),
            format!("\u{feff}[{a},{b}]\r\n"),
            format!("{a}\n\u{feff}{b}"),
        ] {
            for chunk in [1, 2, 3, 4096] {
                assert_eq!(pieces(text.as_bytes(), chunk), whole(&[a, b]), "{text:?} in chunks of {chunk}");
            }
        }
        assert_eq!(pieces(b"\xEF\xBB", 1).len(), 1);
    }

    /// Gives the splitter a value that it has already called too long, and what follows.
    fn after_too_long(rest: &[u8], chunk: usize) -> Vec<(bool, String)> {
        let mut long = b"[{\"a\":\"".to_vec();
        long.resize(VALUE_BYTES_MAX + 16, b'x');
        let mut splitter = Splitter::default();
        let (piece, done) = splitter.next(&long, false);
        assert!(matches!(piece, Piece::TooLong(_)) && done == long.len());
        let (mut buffer, mut fed, mut out) = (Vec::new(), 0, Vec::new());
        loop {
            let (piece, done) = splitter.next(&buffer, fed == rest.len());
            match &piece {
                Piece::Whole(at) => out.push((true, String::from_utf8_lossy(&buffer[at.clone()]).into_owned())),
                Piece::Broken(at) | Piece::TooLong(at) => {
                    out.push((false, String::from_utf8_lossy(&buffer[at.clone()]).into_owned()));
                }
                Piece::More => {}
                Piece::End => return out,
            }
            buffer.drain(..done);
            if piece == Piece::More {
                let next = (fed + chunk).min(rest.len());
                buffer.extend_from_slice(&rest[fed..next]);
                fed = next;
            }
        }
    }

    #[test]
    fn what_follows_a_value_that_is_too_long_is_not_lost() {
        let (b, c) = (r#"{"b":2}"#, r#"{"c":3}"#);
        for chunk in [1, 3, 4096] {
            let same_line = format!("\\\"]}}\\\\\",\"y\":[{{}}]}},{b},{c}]");
            assert_eq!(after_too_long(same_line.as_bytes(), chunk), whole(&[b, c]));
            let next_line = format!("xxx\n{b},\n{c}]");
            assert_eq!(after_too_long(next_line.as_bytes(), chunk), whole(&[b, c]));
            assert_eq!(after_too_long(b"xxx", chunk), []);
        }
    }

    #[test]
    fn an_open_list_is_known() {
        for (text, open) in [
            ("[{\"a\":1},", true),
            ("[{\"a\":1}]", false),
            ("{\"Records\":[{\"a\":1}]", true),
            ("{\"Records\":[{\"a\":1}]}", false),
            ("{\"a\":1}\n", false),
        ] {
            let (mut splitter, mut at) = (Splitter::default(), 0);
            loop {
                let (piece, done) = splitter.next(&text.as_bytes()[at..], true);
                at += done;
                if piece == Piece::End {
                    break;
                }
            }
            assert_eq!(splitter.is_inside(), open, "{text}");
        }
    }

    #[test]
    fn values_over_many_lines_are_kept_together() {
        let (a, b) = ("{\n  \"a\": {\n    \"x\": 1\n  }\n}", "{\n \"b\": [\n{\"y\": 2}\n]\n}");
        assert_eq!(pieces(format!("{a}\n{b}\n").as_bytes(), 5), whole(&[a, b]));
    }

    #[test]
    fn a_broken_record_costs_no_other() {
        let cases = [
            ("{\"a\":1}\n{\"b\":\n{\"c\":3}\n", vec![(true, "{\"a\":1}"), (false, "{\"b\":"), (true, "{\"c\":3}")]),
            (
                "{\"a\":1}\n{\"b\":\"x\n{\"c\":3}\n",
                vec![(true, "{\"a\":1}"), (false, "{\"b\":\"x"), (true, "{\"c\":3}")],
            ),
            ("{\"a\":1}\n{\"b\":2,\n{\"c\":3}\n", vec![(true, "{\"a\":1}"), (false, "{\"b\":2"), (true, "{\"c\":3}")]),
            ("{\"a\":1}\nnonsense\n{\"c\":3}", vec![(true, "{\"a\":1}"), (false, "nonsense"), (true, "{\"c\":3}")]),
            ("{\"a\":1}\n{\"b\":{\"x\":", vec![(true, "{\"a\":1}"), (false, "{\"b\":{\"x\":")]),
            ("[{\"a\":1}}},\n{\"b\":2}]", vec![(true, "{\"a\":1}"), (false, "}}"), (true, "{\"b\":2}")]),
            ("[{\"a\":1},{\"b\":]},{\"c\":3}]", vec![(true, "{\"a\":1}"), (false, "{\"b\":]}"), (true, "{\"c\":3}")]),
            ("{\"Records\":[{\"a\":1},{\"b\":", vec![(true, "{\"a\":1}"), (false, "{\"b\":")]),
            ("[1,\"x\",{\"a\":1}]", vec![(false, "1,\"x\""), (true, "{\"a\":1}")]),
            ("[1,2]\n{\"a\":1}", vec![(false, "1,2"), (true, "{\"a\":1}")]),
            (
                "[{\"a\":\n{\"x\":1}\n{\n\"b\":[2]\n},\n {\"c\":3}]",
                vec![(false, "{\"a\":"), (true, "{\"x\":1}"), (true, "{\n\"b\":[2]\n}"), (true, "{\"c\":3}")],
            ),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.into_iter().map(|(whole, text)| (whole, text.to_owned())).collect();
            assert_eq!(pieces(text.as_bytes(), 4096), expected, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Into::into),
            "[a-z{}\\[\\]\",:\\\\ \n]{0,8}".prop_map(Into::into),
            Just(serde_json::Value::Null)
        ];
        let value = leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-z]{1,3}", value, 0..4)
            .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn any_values_in_any_frame_come_out_as_they_went_in(
            values in prop::collection::vec((json(), any::<bool>()), 1..6),
            frame in 0..4,
            chunk in 1..64_usize,
        ) {
            let texts: Vec<String> = values.iter().map(|(value, pretty)| {
                if *pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
            }).collect();
            let input = match frame {
                0 => texts.join("\n"),
                1 => format!("[{}]", texts.join(" ,\n")),
                2 => format!("{{\"Records\": [{}]}}", texts.join(",")),
                _ => texts.concat(),
            };
            let expected: Vec<_> = texts.into_iter().map(|text| (true, text)).collect();
            prop_assert_eq!(pieces(input.as_bytes(), chunk), expected);
        }

        #[test]
        fn no_bytes_make_it_panic_or_lose_its_way(input in prop::collection::vec(
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b','),
                        Just(b':'), Just(b'\n'), Just(b' '), any::<u8>()], 0..64), chunk in 1..9_usize) {
            pieces(&input, chunk);
        }
    }
}
