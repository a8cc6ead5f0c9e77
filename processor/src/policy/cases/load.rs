//! Reads case files, and finds every mistake in them.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use sessionwarden_machine::{
    compliance::{Judge, PolicyError, SCHEMA},
    ids::EventTime,
};
use toml::Spanned;

use super::{Case, EventCase, Facts, SUFFIX, SessionCase};
use crate::policy::{PolicyLoadError, read_files};

/// The cases that ship with the product.
const SHIPPED: [(&str, &str); 2] = [
    ("cases/events.cases.toml", include_str!("../../../../infra/policies/cases/events.cases.toml")),
    ("cases/sessions.cases.toml", include_str!("../../../../infra/policies/cases/sessions.cases.toml")),
];

/// A file of cases; each is wrapped in its place where the format tells one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<S, E> {
    #[serde(default = "Vec::new")]
    session: Vec<S>,
    #[serde(default = "Vec::new")]
    event: Vec<E>,
}

/// Loads the cases in `dir` and the folders below it, and checks them against `judge`.
///
/// # Errors
/// A file or folder cannot be read. Mistakes in files are the second part of the answer, by file and line.
pub fn load(dir: &Path, judge: &Judge) -> Result<(Vec<Case>, Vec<PolicyError>), PolicyLoadError> {
    let mut files = Vec::new();
    read_files(dir, SUFFIX, false, &mut files)?;
    Ok(read_all(files.iter().map(|file| (file.path.display().to_string(), file.text.as_str())), judge))
}

/// The shipped cases; they are tried with the shipped controls.
pub fn shipped(judge: &Judge) -> (Vec<Case>, Vec<PolicyError>) {
    read_all(SHIPPED.iter().map(|(name, text)| ((*name).to_owned(), *text)), judge)
}

/// The cases in one text, JSON where `name` ends in `.json` and TOML else; names of cases may be missing.
pub fn load_one(name: &str, text: &str, judge: &Judge) -> (Vec<Case>, Vec<PolicyError>) {
    let mut reader = Reader { file: name, text, errors: Vec::new() };
    let cases = reader.read().into_iter().filter_map(|(line, facts)| reader.case(line, facts, judge)).collect();
    (cases, reader.errors)
}

fn read_all<'t>(files: impl Iterator<Item = (String, &'t str)>, judge: &Judge) -> (Vec<Case>, Vec<PolicyError>) {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in files {
        let mut reader = Reader { file: &file, text, errors: Vec::new() };
        for (line, facts) in reader.read() {
            let name = facts.name();
            if name.is_empty() {
                reader.add(line, "the case has no name", Some("add `name = \"…\"`: what it shows".to_owned()));
            } else if let Some(first) = named.get(name) {
                let hint = format!("it is first used at {first}; give each case its own name");
                reader.add(line, format!("the name \"{name}\" is used twice"), Some(hint));
            } else {
                named.insert(name.to_owned(), format!("{file}:{line}"));
            }
            all.extend(reader.case(line, facts, judge));
        }
        errors.append(&mut reader.errors);
    }
    errors.sort();
    (all, errors)
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    errors: Vec<PolicyError>,
}

impl Reader<'_> {
    fn add(&mut self, line: u32, message: impl Into<String>, hint: Option<String>) {
        let file = self.file.to_owned();
        self.errors.push(PolicyError { file, line, column: 1, message: message.into(), hint });
    }

    /// The cases with the lines they begin at.
    fn read(&mut self) -> Vec<(u32, Facts)> {
        let json = Path::new(self.file).extension().is_some_and(|extension| extension == "json");
        if json { self.read_json() } else { self.read_toml() }
    }

    fn read_json(&mut self) -> Vec<(u32, Facts)> {
        match serde_json::from_str::<File<SessionCase, EventCase>>(self.text) {
            Ok(file) => {
                let sessions = file.session.into_iter().map(|case| (1, Facts::Session(Box::new(case))));
                sessions.chain(file.event.into_iter().map(|case| (1, Facts::Event(Box::new(case))))).collect()
            }
            Err(error) => {
                let text = error.to_string();
                let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
                self.mistake(error.line() as u32, error.column() as u32, message);
                Vec::new()
            }
        }
    }

    fn read_toml(&mut self) -> Vec<(u32, Facts)> {
        match toml::from_str::<File<Spanned<SessionCase>, Spanned<EventCase>>>(self.text) {
            Ok(file) => {
                let line = |at: usize| self.place(at).0;
                let sessions = file.session.into_iter().map(|case| {
                    let at = case.span().start;
                    (line(at), Facts::Session(Box::new(case.into_inner())))
                });
                let events = file.event.into_iter().map(|case| {
                    let at = case.span().start;
                    (line(at), Facts::Event(Box::new(case.into_inner())))
                });
                let mut all: Vec<_> = sessions.chain(events).collect();
                all.sort_by_key(|(line, _)| *line);
                all
            }
            Err(error) => {
                let (line, column) = self.place(error.span().map_or(0, |span| span.start));
                self.mistake(line, column, error.message());
                Vec::new()
            }
        }
    }

    /// What a parser says; what it expected instead becomes the hint.
    fn mistake(&mut self, line: u32, column: u32, said: &str) {
        let (message, hint) = match said.split_once(", expected ") {
            Some((message, expected)) => (message, Some(hint(message, expected))),
            None => (said, None),
        };
        let file = self.file.to_owned();
        self.errors.push(PolicyError { file, line, column, message: message.trim().replace('\n', ": "), hint });
    }

    /// The line and column, both from 1, of the byte `at`.
    fn place(&self, at: usize) -> (u32, u32) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() as u32 + 1, line.chars().count() as u32 + 1)
    }

    /// The case, where its account can be read; whatever is wrong with it is told.
    fn case(&mut self, line: u32, facts: Facts, judge: &Judge) -> Option<Case> {
        self.check_ids(line, &facts, judge);
        let (account, at, started_at) = match &facts {
            Facts::Session(case) => (&case.account, &case.at, case.started_at.as_ref()),
            Facts::Event(case) => (&case.account, &case.at, None),
        };
        let account_id = account.parse();
        if account_id.is_err() {
            self.add(line, format!("`{account}` is no account"), Some("write its twelve digits".to_owned()));
        }
        let at = self.time(line, at.as_ref());
        let started_at = self.time(line, started_at);
        if let (Some(started_at), Some(at)) = (started_at, at)
            && at < started_at
        {
            self.add(line, "`at` is before `started_at`", None);
        }
        if let Facts::Event(case) = &facts
            && !threats().any(|threat| threat == case.threat)
        {
            let hint = "it is a row of the threat catalogue, `TH1` to `TH32`".to_owned();
            self.add(line, format!("`threat` cannot be `{}`", case.threat), Some(hint));
        }
        let file = self.file.to_owned();
        account_id.ok().map(|account| Case { file, line, facts, account, at, started_at })
    }

    fn time(&mut self, line: u32, text: Option<&String>) -> Option<EventTime> {
        let text = text?;
        let time = EventTime::parse(text);
        if time.is_none() {
            let hint = "write it like `2026-12-31T00:00:00Z`".to_owned();
            self.add(line, format!("`{text}` is not a time"), Some(hint));
        }
        time
    }

    fn check_ids(&mut self, line: u32, facts: &Facts, judge: &Judge) {
        let expected = facts.expected();
        let named = [&expected.violated, &expected.undecided, &expected.waived].into_iter().flatten();
        for id in named.chain(facts.clear()) {
            let Some(control) = judge.controls().iter().find(|control| *control.id == **id) else {
                let hint = suggest(id, judge.controls().iter().map(|control| &*control.id));
                self.add(line, format!("there is no control `{id}`"), hint);
                continue;
            };
            let (judges, what) = match facts {
                Facts::Session(_) => (control.session, "sessions"),
                Facts::Event(_) => (control.event, "events"),
            };
            if !judges {
                self.add(line, format!("`{id}` does not judge {what}"), None);
            }
        }
    }
}

/// A name that is close to the unknown one, else all that is expected.
fn hint(message: &str, expected: &str) -> String {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let known = quoted(expected);
    let wrong = quoted(message).into_iter().next().unwrap_or_default();
    let near = suggest(&wrong, known.iter().map(String::as_str)).filter(|_| message.starts_with("unknown"));
    near.unwrap_or_else(|| format!("expected {expected}"))
}

fn suggest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(4) / 3)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// The rows that the schema knows.
fn threats() -> impl Iterator<Item = &'static str> {
    let rows = SCHEMA.split("entity Threat enum [").nth(1).and_then(|rest| rest.split(']').next());
    rows.unwrap_or_default().split('"').skip(1).step_by(2)
}
