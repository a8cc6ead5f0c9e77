//! Patterns: text with `*`, `?` and policy variables.

use super::{
    context::{Facts, Lookup},
    truth::{Truth, Why},
};

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Text(Box<str>),
    /// `?`: one character.
    One,
    /// `*`: any characters, or none.
    Many,
    /// `${key}` or `${key, 'default'}`; the key is in lower case.
    Variable {
        key: Box<str>,
        default: Option<Box<str>>,
    },
}

/// Which special signs a place of a policy knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    pub(super) wildcards: bool,
    /// Only policies of version 2012-10-17 know variables ("IAM policy elements: Variables and tags").
    pub(super) variables: bool,
}

/// A text that a value is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    has_variables: bool,
}

/// How many of some texts match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    None,
    /// Some of them, or it is not certain how many.
    Some,
    All,
}

impl Pattern {
    /// Reads a pattern. Errors name what AWS does not document: variables inside of variables, without an end, without
    /// a name or with a default that is not quoted.
    ///
    /// Source: "IAM policy elements: Variables and tags", with its sections on special characters and default values.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let Some(end) = rest.find('}') else { return Err("a variable without an end") };
                let inside = &rest[2..end];
                rest = &rest[end + 1..];
                if matches!(inside, "*" | "?" | "$") {
                    literal.push_str(inside);
                } else {
                    flush(&mut literal, &mut tokens);
                    tokens.push(variable(inside)?);
                }
                continue;
            }
            rest = &rest[first.len_utf8()..];
            match first {
                '*' | '?' if syntax.wildcards => {
                    flush(&mut literal, &mut tokens);
                    let token = if first == '*' { Token::Many } else { Token::One };
                    // Two stars in a row mean what one means.
                    if token != Token::Many || tokens.last() != Some(&Token::Many) {
                        tokens.push(token);
                    }
                }
                _ => literal.push(first),
            }
        }
        flush(&mut literal, &mut tokens);
        Ok(Self::of(tokens))
    }

    fn of(tokens: Vec<Token>) -> Self {
        let has_variables = tokens.iter().any(|token| matches!(token, Token::Variable { .. }));
        Self { tokens, has_variables }
    }

    /// Whether a variable stands in it.
    pub(super) fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// Whether a variable in it has no default and no value either, as far as is known.
    pub(super) fn lacks_value(&self, facts: &Facts<'_>) -> bool {
        self.has_variables
            && self.tokens.iter().any(|token| match token {
                Token::Variable { key, default: None } => !matches!(facts.look_up(key), Lookup::Values(_)),
                Token::Variable { .. } | Token::Text(_) | Token::One | Token::Many => false,
            })
    }

    /// Whether it ends in `*`.
    pub(super) fn ends_open(&self) -> bool {
        self.tokens.last() == Some(&Token::Many)
    }

    /// Cuts it at its first colons into at most `parts_max` patterns; colons inside of variables do not count.
    pub(super) fn split(&self, parts_max: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        for token in &self.tokens {
            let Token::Text(text) = token else {
                part.push(token.clone());
                continue;
            };
            let mut rest: &str = text;
            while parts.len() + 1 < parts_max {
                let Some((before, after)) = rest.split_once(':') else { break };
                if !before.is_empty() {
                    part.push(Token::Text(before.into()));
                }
                parts.push(Self::of(std::mem::take(&mut part)));
                rest = after;
            }
            if !rest.is_empty() {
                part.push(Token::Text(rest.into()));
            }
        }
        parts.push(Self::of(part));
        parts
    }

    /// Whether `text` matches. Variables are filled in from `facts`; what they are filled with is never read as a
    /// variable again.
    ///
    /// A variable without a value and without a default matches nothing ("Policy variables with no value").
    pub(super) fn matches<'a>(&'a self, text: &str, facts: &'a Facts<'_>) -> Truth<'a> {
        if self.has_variables { self.matches_filled(text, facts, false) } else { glob(&self.tokens, text).into() }
    }

    /// The same, ignoring case.
    pub(super) fn matches_folded<'a>(&'a self, text: &str, facts: &'a Facts<'_>) -> Truth<'a> {
        self.matches_filled(&text.to_lowercase(), facts, true)
    }

    /// How many of the texts that begin with `base` match, whatever its variables hold.
    pub(super) fn share_under(&self, base: &str) -> Share {
        if !self.has_variables {
            return share_under(&self.tokens, base);
        }
        let loosen = |token: &Token| if let Token::Variable { .. } = token { Token::Many } else { token.clone() };
        let loose: Vec<Token> = self.tokens.iter().map(loosen).collect();
        match share_under(&loose, base) {
            Share::None => Share::None,
            Share::Some | Share::All => Share::Some,
        }
    }

    fn matches_filled<'a>(&'a self, text: &str, facts: &'a Facts<'_>, folded: bool) -> Truth<'a> {
        let (mut exact, mut loose) = (Filled::new(text, folded), Filled::new(text, folded));
        let (mut unknown, mut wild) = (None, None);
        for token in &self.tokens {
            let (key, default) = match token {
                Token::One | Token::Many => {
                    exact.tokens.push(token.clone());
                    loose.tokens.push(token.clone());
                    continue;
                }
                Token::Text(text) => {
                    exact.push(text);
                    loose.push(text);
                    continue;
                }
                Token::Variable { key, default } => (key, default),
            };
            let (value, is_wild): (&str, bool) = match (facts.look_up(key), default) {
                (Lookup::Values([value]), _) => (value, facts.is_wild(key)),
                (Lookup::Absent, Some(default)) => (default, default.contains(['*', '?'])),
                (Lookup::Absent, None) => return Truth::No,
                (Lookup::Values(_), _) => {
                    unknown = unknown.or(Some(Why::Values(key)));
                    loose.tokens.push(Token::Many);
                    continue;
                }
                (Lookup::Unknown, _) => {
                    unknown = unknown.or(Some(Why::Key(key)));
                    loose.tokens.push(Token::Many);
                    continue;
                }
            };
            exact.push(value);
            if is_wild {
                wild = Some(Why::Wildcard(key));
                loose.tokens.push(Token::Many);
            } else {
                loose.push(value);
            }
        }
        match (unknown, wild) {
            (Some(why), _) if loose.matches(text) => Truth::Maybe(why),
            (Some(_), _) => Truth::No,
            (None, Some(why)) => Truth::from(exact.matches(text)).agreeing(loose.matches(text).into(), why),
            (None, None) => exact.matches(text).into(),
        }
    }
}

/// Tokens with variables filled in. They never have more literal bytes than the text that they are compared with: so
/// that values, each of which may be long and stand in many places, cost no more than the text does.
struct Filled {
    tokens: Vec<Token>,
    folded: bool,
    /// How many literal bytes still fit. `None`: there were more, so that nothing matches.
    room: Option<usize>,
}

impl Filled {
    fn new(text: &str, folded: bool) -> Self {
        Self { tokens: Vec::new(), folded, room: Some(text.len()) }
    }

    fn push(&mut self, literal: &str) {
        let Some(room) = self.room else { return };
        // In lower case a text has at least a third of its bytes.
        let least = if self.folded { literal.len() / 3 } else { literal.len() };
        if least > room {
            self.room = None;
            return;
        }
        let literal: Box<str> = if self.folded { literal.to_lowercase().into() } else { literal.into() };
        self.room = room.checked_sub(literal.len());
        self.tokens.push(Token::Text(literal));
        #[cfg(test)]
        super::tests::count_step(self.tokens.last());
    }

    fn matches(&self, text: &str) -> bool {
        self.room.is_some() && glob(&self.tokens, text)
    }
}

fn flush(literal: &mut String, tokens: &mut Vec<Token>) {
    if !literal.is_empty() {
        tokens.push(Token::Text(std::mem::take(literal).into()));
    }
}

fn variable(inside: &str) -> Result<Token, &'static str> {
    if inside.contains("${") {
        return Err("a variable inside of a variable");
    }
    let (key, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((key, default)) => {
            let quoted =
                default.strip_prefix(' ').map(str::trim).and_then(|it| it.strip_prefix('\'')?.strip_suffix('\''));
            (key, Some(quoted.ok_or("a variable whose default is not quoted")?))
        }
    };
    let key = key.trim();
    if key.is_empty() || key.contains(['*', '?', '$', '{', '\'']) {
        return Err("a variable without a proper name");
    }
    Ok(Token::Variable { key: key.to_lowercase().into(), default: default.map(Into::into) })
}

/// How a walk through tokens without variables along a text ends.
enum Walk {
    /// The text does not match, however it might go on.
    Dead,
    /// It stops within the tokens: whether a text matches that goes on from here depends on how it does.
    Within,
    /// It matches as it is; whether a text matches that goes on depends on how it does.
    Done,
    /// It matches, however it might go on.
    Open,
}

/// Takes at most (literal bytes + tokens) × (characters + 1) steps: on a mismatch it goes back to the last `*` only.
fn walk(tokens: &[Token], text: &str) -> Walk {
    let bytes = text.as_bytes();
    let (mut token, mut at) = (0, 0);
    let mut retry = None;
    loop {
        #[cfg(test)]
        super::tests::count_step(tokens.get(token));
        match tokens.get(token) {
            None if at == bytes.len() => return Walk::Done,
            Some(Token::Many) => {
                if token + 1 == tokens.len() {
                    return Walk::Open;
                }
                token += 1;
                retry = Some((token, at));
                continue;
            }
            Some(Token::One) if at < bytes.len() => {
                at += char_len(bytes[at]);
                token += 1;
                continue;
            }
            Some(Token::Text(literal)) if bytes[at..].starts_with(literal.as_bytes()) => {
                at += literal.len();
                token += 1;
                continue;
            }
            Some(Token::One) => return Walk::Within,
            Some(Token::Text(literal)) if literal.as_bytes().starts_with(&bytes[at..]) => return Walk::Within,
            None | Some(Token::Text(_) | Token::Variable { .. }) => {}
        }
        match retry {
            Some((after, from)) if from < bytes.len() => {
                at = from + char_len(bytes[from]);
                token = after;
                retry = Some((after, at));
            }
            Some(_) => return Walk::Within,
            None => return Walk::Dead,
        }
    }
}

/// Whether `text` matches tokens without variables.
pub(super) fn glob(tokens: &[Token], text: &str) -> bool {
    matches!(walk(tokens, text), Walk::Done | Walk::Open)
}

/// How many of the texts that begin with `base` match tokens without variables.
fn share_under(tokens: &[Token], base: &str) -> Share {
    match walk(tokens, base) {
        Walk::Dead => Share::None,
        Walk::Within | Walk::Done => Share::Some,
        Walk::Open => Share::All,
    }
}

/// How many bytes the character with this first byte has.
fn char_len(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0..0xf0 => 3,
        0xc0..0xe0 => 2,
        ..0xc0 => 1,
    }
}
