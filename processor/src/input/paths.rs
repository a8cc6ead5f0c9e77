//! From what the user typed to a list of files.

use std::{collections::HashSet, fs, io, path::PathBuf};

/// Why the input cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A named file does not exist, or cannot be looked at.
    #[error("{path}: {source}")]
    Path {
        /// As it was typed.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A folder without files that could hold events.
    #[error(
        "{0}: no event files in this folder (looked for names with .json, .jsonl, .ndjson, .cloudtrail, .log, .gz)"
    )]
    EmptyFolder(String),
    /// A pattern that fits nothing.
    #[error("{0}: no file fits this pattern")]
    NoMatch(String),
    /// A pattern that is none.
    #[error("{pattern}: {reason}")]
    Pattern {
        /// As it was typed.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputFile {
    /// Standard input.
    Stdin,
    /// A file, with its size in bytes.
    File {
        /// Where.
        path: PathBuf,
        /// How large.
        bytes: u64,
    },
}

impl InputFile {
    /// The name shown to people.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Its size in bytes; 0 where unknown.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Stdin => 0,
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// Expands files, folders (with everything below them), patterns and `-`, in a stable order; each file once. A file that
/// is named is read whatever its name; in folders only names that can hold events are taken. What is there but cannot be
/// looked at is taken too: reading it tells why not.
pub fn expand(paths: &[String]) -> Result<Vec<InputFile>, InputError> {
    let mut files = Vec::new();
    for path in paths {
        if path == "-" {
            files.push(InputFile::Stdin);
            continue;
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => folder(path, &mut files)?,
            Ok(found) => files.push(InputFile::File { path: path.into(), bytes: found.len() }),
            Err(_) if path.contains(['*', '?', '[']) => pattern(path, &mut files)?,
            Err(source) if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(InputError::Path { path: path.clone(), source });
            }
            Err(_) => files.push(unreadable(path.into())),
        }
    }
    let mut seen = HashSet::new();
    files.retain(|file| match file {
        InputFile::Stdin => seen.insert(PathBuf::from("-")),
        InputFile::File { path, .. } => seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())),
    });
    Ok(files)
}

fn unreadable(path: PathBuf) -> InputFile {
    InputFile::File { path, bytes: 0 }
}

fn pattern(pattern: &str, files: &mut Vec<InputFile>) -> Result<(), InputError> {
    let before = files.len();
    // Everything below a folder is what a folder stands for; the pattern itself would find its subfolders only.
    let below = if pattern == "**" { Some(".") } else { pattern.strip_suffix("/**") };
    let found = glob::glob(below.unwrap_or(pattern))
        .map_err(|error| InputError::Pattern { pattern: pattern.to_owned(), reason: error.to_string() })?;
    for path in found {
        match path {
            Ok(path) if path.is_dir() => walk(path, files),
            Ok(path) => {
                let bytes = fs::metadata(&path).map_or(0, |found| found.len());
                files.push(InputFile::File { path, bytes });
            }
            Err(error) => files.push(unreadable(error.path().to_owned())),
        }
    }
    if files.len() == before { Err(InputError::NoMatch(pattern.to_owned())) } else { Ok(()) }
}

fn folder(path: &str, files: &mut Vec<InputFile>) -> Result<(), InputError> {
    let before = files.len();
    walk(path.into(), files);
    if files.len() == before { Err(InputError::EmptyFolder(path.to_owned())) } else { Ok(()) }
}

fn walk(folder: PathBuf, files: &mut Vec<InputFile>) {
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let Ok(mut entries) = entries else {
        files.push(unreadable(folder));
        return;
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // A link to a folder is not followed: it could lead back up.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(entry.path(), files);
        } else if can_hold_events(&entry.file_name().to_string_lossy()) {
            match fs::metadata(entry.path()) {
                Ok(found) if found.is_file() => {
                    files.push(InputFile::File { path: entry.path(), bytes: found.len() });
                }
                Ok(_) => {}
                Err(_) => files.push(unreadable(entry.path())),
            }
        }
    }
}

fn can_hold_events(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with('.')
        && name.split('.').skip(1).any(|part| matches!(part, "json" | "jsonl" | "ndjson" | "cloudtrail" | "log" | "gz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_hold_events_are_known() {
        for (name, expected) in [
            ("a.json", true),
            ("A.JSON.GZ", true),
            ("x.json.cloudtrail", true),
            ("trail.ndjson", true),
            ("MANIFEST.tsv", false),
            ("README.md", false),
            (".hidden.json", false),
            ("json", false),
        ] {
            assert_eq!(can_hold_events(name), expected, "{name}");
        }
    }

    #[test]
    fn folders_patterns_and_files_are_expanded() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(path("sub")).unwrap();
        fs::create_dir(path("empty")).unwrap();
        for name in ["b.json", "a.jsonl", "notes.txt", "sub/c.json.gz"] {
            fs::write(path(name), "{}").unwrap();
        }
        let names = |inputs: &[String]| -> Vec<String> {
            let strip = |file: &InputFile| file.name().replace(&path(""), "");
            expand(inputs).unwrap().iter().map(strip).collect()
        };
        assert_eq!(names(&[path("")]), ["a.jsonl", "b.json", "sub/c.json.gz"]);
        assert_eq!(names(&[path("*.json*"), path("notes.txt")]), ["a.jsonl", "b.json", "notes.txt"]);
        assert_eq!(names(&[path(""), path("**"), path("sub/../b.json")]), ["a.jsonl", "b.json", "sub/c.json.gz"]);
        assert_eq!(expand(&["-".to_owned(), "-".to_owned()]).unwrap(), [InputFile::Stdin]);
        assert!(matches!(expand(&[path("empty")]), Err(InputError::EmptyFolder(_))));
        assert!(matches!(expand(&[path("none.json")]), Err(InputError::Path { .. })));
        assert!(matches!(expand(&[path("none*.json")]), Err(InputError::NoMatch(_))));
    }
}
