//! Verifies a trail: one file, or a folder of objects.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{AuditError, Damage, LINE_BYTES_MAX, NO_HASH, Tail};
use crate::feed::FileError;

/// How deep below a folder objects are looked for.
const DEPTH_MAX: usize = 16;

/// What a verified audit file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// The first record's time, RFC 3339.
    pub first: Option<String>,
    /// The last record's time, RFC 3339.
    pub last: Option<String>,
    /// The last record's hash; keep it elsewhere to notice a cut tail later. [`NO_HASH`] for an empty file.
    pub head_hash: String,
}

/// What one chain of a verified folder holds: the objects of one run of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The name of the folder that holds its objects.
    pub run: String,
    /// How many objects.
    pub objects: usize,
    /// The number of its first record in the chain: 1 where it is whole.
    pub from: u64,
    /// What they hold together.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What a verified folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderSummary {
    /// How many records, in all chains.
    pub records: u64,
    /// The chains, by name.
    pub chains: Vec<Chain>,
}

/// Verifies every record of a file, in one pass and in bounded memory.
///
/// `head` is a head hash remembered from earlier; one of the records must have it. With it a cut tail is noticed, and
/// the file may have grown since.
///
/// # Errors
/// The file cannot be read; or the first line that was changed, removed, inserted, moved or torn; or `head` is missing.
/// Where a record was replaced by a well-formed one, the line after it is the first that shows it.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Summary, AuditError> {
    let mut walk = Walk::new(head, false);
    walk.file(path)?;
    let summary = walk.summary();
    if walk.head_seen {
        return Ok(summary);
    }
    Err(head_missing(path, head, summary.records, summary.head_hash))
}

/// Verifies the objects in and below a folder, as they were downloaded: each chain in the order of its objects' names,
/// for the folders above name the day and the objects their first record.
///
/// `head` is as in [`verify`], in any chain. With `partial` a chain may begin behind its first record, as when only
/// some days were downloaded; nothing may be missing from there on.
///
/// # Errors
/// As [`verify`], by object and line; [`AuditError::NoObjects`] where there are none.
pub fn verify_folder(path: &Path, head: Option<&str>, partial: bool) -> Result<FolderSummary, AuditError> {
    let mut objects_by_run: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    collect(path, DEPTH_MAX, &mut objects_by_run)?;
    if objects_by_run.is_empty() {
        return Err(AuditError::NoObjects(path.to_owned()));
    }
    let (mut chains, mut head_seen) = (Vec::new(), head.is_none_or(|head| head == NO_HASH));
    for (run, mut objects) in objects_by_run {
        objects.sort();
        let mut walk = Walk::new(head, partial);
        for object in &objects {
            walk.file(object)?;
        }
        head_seen |= walk.head_seen;
        chains.push(Chain { run, objects: objects.len(), from: walk.from, summary: walk.summary() });
    }
    let records = chains.iter().map(|chain| chain.summary.records).sum();
    if head_seen {
        return Ok(FolderSummary { records, chains });
    }
    let found: Vec<&str> = chains.iter().map(|chain| &*chain.summary.head_hash).collect();
    Err(head_missing(path, head, records, found.join(", ")))
}

fn head_missing(path: &Path, head: Option<&str>, records: u64, found: String) -> AuditError {
    AuditError::HeadMissing { path: path.to_owned(), head: head.unwrap_or_default().to_owned(), records, found }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AuditError {
    move |source| FileError::Io { doing, path: path.to_owned(), source }.into()
}

/// The objects in and below a folder, by the name of the folder each is in.
fn collect(folder: &Path, depth: usize, objects_by_run: &mut BTreeMap<String, Vec<PathBuf>>) -> Result<(), AuditError> {
    for entry in fs::read_dir(folder).map_err(io("open", folder))? {
        let entry = entry.map_err(io("read", folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(io("read", folder))?);
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, objects_by_run)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "jsonl") {
            let folder = folder.canonicalize().map_err(io("open", folder))?;
            let run = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            objects_by_run.entry(run).or_default().push(path);
        }
    }
    Ok(())
}

/// One chain on its way through its files.
struct Walk<'a> {
    head: Option<&'a str>,
    head_seen: bool,
    /// The first record may be any.
    adopts: bool,
    tail: Tail,
    from: u64,
    records: u64,
    first: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(head: Option<&'a str>, adopts: bool) -> Self {
        let head_seen = head.is_none_or(|head| head == NO_HASH);
        Self { head, head_seen, adopts, tail: Tail::default(), from: 1, records: 0, first: None }
    }

    fn file(&mut self, path: &Path) -> Result<(), AuditError> {
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(path).map_err(io("open", path))?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
            read.map_err(io("read", path))?;
            if line.is_empty() {
                break;
            }
            let followed = match line.pop() {
                Some(b'\n') => self.line(&line),
                _ if line.len() + 1 == LINE_BYTES_MAX => Err(Damage::TooLong),
                _ => Err(Damage::Torn),
            };
            followed.map_err(|damage| AuditError::Broken { path: path.to_owned(), line: number, damage })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Damage> {
        if self.adopts && self.records == 0 {
            self.tail.adopt(line)?;
            self.from = self.tail.head.records;
        } else {
            self.tail.follow(line)?;
        }
        self.records += 1;
        if self.first.is_none() {
            self.first.clone_from(&self.tail.at);
        }
        self.head_seen |= self.head == Some(&*self.tail.head.hash);
        Ok(())
    }

    fn summary(&self) -> Summary {
        Summary {
            records: self.records,
            first: self.first.clone(),
            last: self.tail.at.clone(),
            head_hash: self.tail.head.hash.clone(),
        }
    }
}
