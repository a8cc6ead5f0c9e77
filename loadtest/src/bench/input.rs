//! Generated inputs, kept from one run to the next.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{generate, sink::Format};

/// A stream to measure on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spec {
    /// Lines.
    pub(super) events: u64,
    /// Share of lines that matter, 0 to 1.
    pub(super) relevant: f64,
    /// Sessions started; the generator's choice where absent.
    pub(super) sessions: Option<u64>,
}

impl Spec {
    fn file_name(&self) -> String {
        let sessions = self.sessions.map_or_else(String::new, |sessions| format!("-s{sessions}"));
        format!("e{}-r{}{sessions}.ndjson", self.events, self.relevant)
    }
}

/// A file to measure on.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// Where.
    pub(super) path: PathBuf,
    /// Its size in bytes.
    pub(super) bytes: u64,
    /// What is true of it.
    pub(super) truth: Truth,
}

/// What is true of a stream, as far as it is checked here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Truth {
    /// Lines.
    pub(super) events: u64,
    /// Lines that matter.
    pub(super) relevant: u64,
    /// Its sessions.
    pub(super) sessions: TrueSessions,
}

/// What is true of a stream's sessions.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TrueSessions {
    /// Distinct ones.
    pub(super) seen: u64,
    /// Started and not ended.
    pub(super) open: u64,
}

/// The file for `spec` in `folder`: an earlier one where it is younger than this program, or else a fresh one.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn get(folder: &Path, spec: &Spec) -> Result<Input> {
    let path = folder.join(spec.file_name());
    let truth_path = path.with_extension("truth.json");
    if !is_fresh(&path) || !is_fresh(&truth_path) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let partial = path.with_extension("partial");
        eprintln!("generating {}", path.display());
        generate::run(&arguments(spec, &partial, &truth_path))?;
        fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = fs::read(&truth_path).with_context(|| format!("cannot read {}", truth_path.display()))?;
    let truth = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", truth_path.display()))?;
    let bytes = fs::metadata(&path)?.len();
    Ok(Input { path, bytes, truth })
}

/// A program built later may generate something else.
fn is_fresh(path: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let program = std::env::current_exe().ok().and_then(|program| written(&program));
    written(path) > program
}

fn arguments(spec: &Spec, out: &Path, truth: &Path) -> generate::Args {
    generate::Args {
        events: spec.events,
        relevant: spec.relevant,
        sessions: spec.sessions,
        accounts: 50,
        seed: 1,
        out: out.to_owned(),
        duplicates: 0.02,
        disorder: 0.05,
        violating: 0.1,
        ended: 0.6,
        tampering: 0,
        events_per_second: 500,
        format: Format::Ndjson,
        gzip: false,
        truth: Some(truth.to_owned()),
        snapshot: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_generated_once() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec { events: 200, relevant: 0.5, sessions: Some(20) };
        let first = get(folder.path(), &spec).unwrap();
        assert_eq!((first.truth.events, first.truth.relevant, first.truth.sessions.seen), (200, 100, 20));
        let written = |input: &Input| fs::metadata(&input.path).unwrap().modified().unwrap();
        let again = get(folder.path(), &spec).unwrap();
        assert_eq!((written(&again), again.bytes), (written(&first), first.bytes));
        let other = get(folder.path(), &Spec { sessions: None, ..spec }).unwrap();
        assert_ne!(other.path, first.path);
    }
}
