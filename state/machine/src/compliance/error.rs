//! What is wrong with a policy file, and where.

use std::fmt;

use miette::Diagnostic;

/// One mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Every mistake found in a set of policy files: at least one, by file, line and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PolicyErrors(pub Vec<PolicyError>);

/// Collects the mistakes of one file.
pub(super) struct Report<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) errors: Vec<PolicyError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, errors: Vec::new() }
    }

    /// Adds a mistake at the byte `offset`.
    pub(super) fn add(&mut self, offset: usize, message: impl Into<String>, hint: Option<String>) {
        let (line, column) = position(self.text, offset);
        self.errors.push(PolicyError { file: self.file.to_owned(), line, column, message: message.into(), hint });
    }

    /// Adds what Cedar reports; `fallback` is the byte offset to name where Cedar names none.
    pub(super) fn add_cedar(&mut self, error: &dyn Diagnostic, policy: Option<&str>, fallback: usize) {
        let label = error.labels().and_then(|mut labels| labels.next());
        let offset = label.as_ref().map_or(fallback, miette::LabeledSpan::offset);
        let hint = error.help().map(|help| help.to_string());
        let hint = hint.or_else(|| label.and_then(|label| label.label().map(str::to_owned)));
        let plain = |text: String| match policy.and_then(|policy| text.strip_prefix(&format!("for policy `{policy}`")))
        {
            Some(rest) => rest.trim_start_matches([',', ':', ' ']).to_owned(),
            None => text,
        };
        let (message, hint) = (plain(error.to_string()), hint.map(plain));
        self.add(offset, message, hint);
    }
}

/// The line and column, both from 1, of the byte `offset` in `text`.
pub(super) fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line as u32, before[line_start..].chars().count() as u32 + 1)
}

/// "did you mean …" where one of `known` is close to `word`.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(4) / 3)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
