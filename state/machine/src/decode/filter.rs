//! The byte filter: says for most records, without parsing them, that they cannot matter.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::catalog::Catalog;

/// What the filter says of one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// One record whose event name is not in the catalogue.
    Irrelevant,
    /// Only a parse can tell.
    Parse,
}

const KEY: &[u8] = b"eventName";
const ESCAPE: &[u8] = b"\\u00";

static KEY_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));
static ESCAPE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ESCAPE));

/// Screens one JSON value.
///
/// Complete: a value that holds a relevant record is never called irrelevant. A relevant record has a key `eventName`
/// with a name of the catalogue. Written plainly, the key is one of the hits of the search, and anything but exactly
/// one hit, in the form of a key, with a plain unknown name, is parsed. Written with escapes, the key or the name
/// needs `\u00XX` for a letter (JSON's short escapes stand for no letter), and any such escape is parsed too.
pub(super) fn screen(value: &[u8], catalog: &Catalog) -> Screen {
    let mut hits = KEY_FINDER.find_iter(value);
    let Some(hit) = hits.next() else {
        return Screen::Parse;
    };
    let Some(name) = name_after(value, hit) else {
        return Screen::Parse;
    };
    if catalog.knows(name) || hits.next().is_some() || hides_letters(value) {
        return Screen::Parse;
    }
    Screen::Irrelevant
}

/// The plain string value of the key that ends at `hit`, if it is one.
fn name_after(value: &[u8], hit: usize) -> Option<&[u8]> {
    if hit == 0 || value[hit - 1] != b'"' {
        return None;
    }
    let rest = value[hit + KEY.len()..].strip_prefix(b"\"")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest[end] == b'"').then(|| &rest[..end])
}

fn hides_letters(value: &[u8]) -> bool {
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
        for text in [
            r#"{"eventName":"StartSession"}"#,
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
