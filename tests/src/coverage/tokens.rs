//! Just enough of Rust's lexical grammar to tell comments, strings and code apart.

/// One piece of Rust source. White space and literals leave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    /// Line of its first character, from 1.
    pub(super) line: usize,
    /// Line of its last character, from 1.
    pub(super) line_last: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Comment(&'a str),
    Word(&'a str),
    Punct(char),
}

/// Splits `source` into tokens. An unfinished comment or string reaches to the end; nothing is an error.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (len, kind) = piece(rest, first);
        let (text, after) = rest.split_at(len);
        let line_last = line + text.matches('\n').count();
        if let Some(kind) = kind {
            found.push(Token { kind, line, line_last });
        }
        (rest, line) = (after, line_last);
    }
    found
}

fn piece(rest: &str, first: char) -> (usize, Option<Kind<'_>>) {
    if rest.starts_with("//") {
        let len = rest.find('\n').unwrap_or(rest.len());
        return (len, Some(Kind::Comment(&rest[..len])));
    }
    if rest.starts_with("/*") {
        let len = block_comment_len(rest);
        return (len, Some(Kind::Comment(&rest[..len])));
    }
    if first == '"' {
        return (string_len(rest), None);
    }
    if first == '\'' {
        return (quote_len(rest), None);
    }
    if first.is_alphanumeric() || first == '_' {
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(len);
        if let Some(raw) = matches!(word, "r" | "br" | "cr").then(|| raw_string_len(after)).flatten() {
            return (len + raw, None);
        }
        return (len, Some(Kind::Word(word)));
    }
    (first.len_utf8(), (!first.is_whitespace()).then_some(Kind::Punct(first)))
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a raw string whose prefix has been read, or nothing where `after` does not begin one.
fn raw_string_len(after: &str) -> Option<usize> {
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(after.len(), |at| hashes + 1 + at + end.len()))
}

/// Length of a character literal, or of the quote alone where it begins a lifetime.
fn quote_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |at| after + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind<'_>> {
        tokens(source).into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn strings_and_characters_hide_their_content() {
        use Kind::{Punct, Word};
        for literal in
            [r#""// a \" b""#, r##"r#"a " // b"#"##, "br\"c\\\"", "'\"'", r"'\''", r"'\u{7d}'", "b'{'", "'ß'"]
        {
            let source = format!("x({literal})y");
            let expected: &[Kind<'_>] = if literal == "b'{'" {
                &[Word("x"), Punct('('), Word("b"), Punct(')'), Word("y")]
            } else {
                &[Word("x"), Punct('('), Punct(')'), Word("y")]
            };
            assert_eq!(kinds(&source), expected, "{literal}");
        }
    }

    #[test]
    fn a_lifetime_is_no_character() {
        use Kind::{Comment, Punct, Word};
        assert_eq!(
            kinds("&'a str // c"),
            [Punct('&'), Word("a"), Word("str"), Comment("// c")],
            "the comment behind a lifetime is seen"
        );
    }

    #[test]
    fn comments_nest_and_know_their_lines() {
        let found = tokens("a\n/* b /* c\n */ d */ e");
        assert_eq!(found[1].kind, Kind::Comment("/* b /* c\n */ d */"));
        assert_eq!((found[1].line, found[1].line_last), (2, 3));
        assert_eq!(found[2].line, 3);
    }

    #[test]
    fn unfinished_input_ends() {
        for source in ["/* a", "\"a", "r#\"a", "'\\", "'", "r#", "/* ü", "\"\\"] {
            assert!(tokens(source).len() <= 2, "{source}");
        }
    }
}
