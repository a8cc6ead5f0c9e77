//! The byte filter: says for most records, without parsing them, that they cannot matter.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::catalog::Catalog;

/// What the filter says of one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// One record whose event name is not in the catalogue.
    Irrelevant,
    /// One record whose event name is in the catalogue, but from another service.
    OtherSource,
    /// Only a parse can tell, and it will likely find one bare record of a session call.
    SessionCall,
    /// Only a parse can tell.
    Parse,
}

const ESCAPE: &[u8] = b"\\u00";
const SESSION_CALLS: [&[u8]; 3] = [b"StartSession", b"ResumeSession", b"TerminateSession"];

static NAME_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"eventName"));
static SOURCE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"eventSource"));
static ESCAPE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ESCAPE));
static ENVELOPE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"detail-type\""));

/// Screens one JSON value.
///
/// Complete: a value that holds a relevant record is never called irrelevant. A relevant record has a key `eventName`
/// with a name of the catalogue. Written plainly, the key is one of the hits of the search, and anything but exactly
/// one hit, in the form of a key, with a plain unknown name, is parsed; a known name is spared a parse only where the
/// same holds of `eventSource`, and the catalogue does not have the two together. Written with escapes, the key or the name
/// needs `\u00XX` for a letter (JSON's short escapes stand for no letter), and any such escape is parsed too.
pub(super) fn screen(value: &[u8], catalog: &Catalog) -> Screen {
    let Some((name, behind)) = value_of(value, &NAME_FINDER) else {
        return Screen::Parse;
    };
    if !catalog.knows(name) {
        let sole = NAME_FINDER.find(behind).is_none() && !hides_letters(value);
        return if sole { Screen::Irrelevant } else { Screen::Parse };
    }
    if comes_from_elsewhere(value, name, catalog) && NAME_FINDER.find(behind).is_none() && !hides_letters(value) {
        return Screen::OtherSource;
    }
    if SESSION_CALLS.contains(&name) && !is_wrapped(value) { Screen::SessionCall } else { Screen::Parse }
}

/// Whether the value's only event source is written plainly, and the catalogue has no call of that name from there.
fn comes_from_elsewhere(value: &[u8], name: &[u8], catalog: &Catalog) -> bool {
    value_of(value, &SOURCE_FINDER)
        .is_some_and(|(source, behind)| !catalog.has(source, name) && SOURCE_FINDER.find(behind).is_none())
}

/// Whether an EventBridge envelope shows in the first bytes. A guess: it saves an attempt, and decides nothing.
fn is_wrapped(value: &[u8]) -> bool {
    const HEAD_BYTES: usize = 160;
    ENVELOPE_FINDER.find(&value[..value.len().min(HEAD_BYTES)]).is_some()
}

/// The plain string value of the first hit of `finder`, if that is a key; and what stands behind the hit.
fn value_of<'v>(value: &'v [u8], finder: &Finder<'_>) -> Option<(&'v [u8], &'v [u8])> {
    let hit = finder.find(value)?;
    if hit == 0 || value[hit - 1] != b'"' {
        return None;
    }
    let behind = &value[hit + finder.needle().len()..];
    let rest = behind.strip_prefix(b"\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest[end] == b'"').then(|| (&rest[..end], behind))
}

fn hides_letters(value: &[u8]) -> bool {
    let Some(first) = memchr::memchr(b'\\', value) else {
        return false;
    };
    let value = &value[first..];
    ESCAPE_FINDER.find_iter(value).any(|at| match value.get(at + ESCAPE.len()..at + ESCAPE.len() + 2) {
        Some([high, low]) => {
            let digit = |byte: u8| (byte as char).to_digit(16);
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => ((high << 4 | low) as u8).is_ascii_alphanumeric(),
                _ => true,
            }
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screened(text: &str) -> Screen {
        screen(text.as_bytes(), &Catalog::new())
    }

    #[test]
    fn names_outside_the_catalogue_are_not_parsed() {
        assert_eq!(screened(r#"{"eventName":"DescribeInstances"}"#), Screen::Irrelevant);
        assert_eq!(screened("{\"eventName\" \t:\r\n \"GetObject\", \"p\":\"a\\u003db\"}"), Screen::Irrelevant);
    }

    #[test]
    fn everything_else_is_parsed() {
        assert_eq!(screened(r#"{"eventName":"StartSession"}"#), Screen::SessionCall);
        assert_eq!(
            screened(r#"{"eventName":"StartSession", "eventSource" : "glue.amazonaws.com"}"#),
            Screen::OtherSource
        );
        for text in [
            r#"{"eventName":"StopLogging","eventSource":"glue.amazonaws.com","eventSource":"cloudtrail.amazonaws.com"}"#,
            r#"{"eventName":"StopLogging","eventSource":"glue.amazonaws.com","\u0065ventSource":"cloudtrail.amazonaws.com"}"#,
            r#"{"eventName":"StopLogging","eventSource":"\u0063loudtrail.amazonaws.com"}"#,
            r#"[{"eventName":"StopLogging","eventSource":"glue.amazonaws.com"},{"eventName":"StopLogging"}]"#,
            r#"{"detail-type":"","detail":{"eventName":"StartSession"}}"#,
            "{\"eventName\"\n:\t\"StopLogging\"}",
            r#"{"\u0065ventName":"StartSession","x":{"eventName":"GetObject"}}"#,
            r#"{"eventName":"\u0053tartSession"}"#,
            r#"{"eventName":"Start\u0053ession"}"#,
            r#"{"a":"eventName","eventName":"StartSession"}"#,
            r#"{"eventName":"GetObject","eventName":"StartSession"}"#,
            r"{}",
            r#"{"a":"\"eventName\":\"GetObject\""}"#,
            "[1]",
        ] {
            assert_eq!(screened(text), Screen::Parse, "{text}");
        }
    }
}
