//! From what the user typed to a list of files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

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

/// Expands files, folders (with everything below them), patterns and `-`, in a stable order. A file that is named is
/// read whatever its name; in folders only names that can hold events are taken.
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
            Err(source) => return Err(InputError::Path { path: path.clone(), source }),
        }
    }
    Ok(files)
}

fn pattern(pattern: &str, files: &mut Vec<InputFile>) -> Result<(), InputError> {
    let bad = |reason: String| InputError::Pattern { pattern: pattern.to_owned(), reason };
    let before = files.len();
    for path in glob::glob(pattern).map_err(|error| bad(error.to_string()))? {
        let path = path.map_err(|error| bad(error.to_string()))?;
        let found =
            fs::metadata(&path).map_err(|source| InputError::Path { path: path.display().to_string(), source })?;
        if found.is_dir() {
            folder(&path.to_string_lossy(), files)?;
        } else {
            files.push(InputFile::File { path, bytes: found.len() });
        }
    }
    if files.len() == before { Err(InputError::NoMatch(pattern.to_owned())) } else { Ok(()) }
}

fn folder(path: &str, files: &mut Vec<InputFile>) -> Result<(), InputError> {
    let before = files.len();
    walk(Path::new(path), files).map_err(|source| InputError::Path { path: path.to_owned(), source })?;
    if files.len() == before { Err(InputError::EmptyFolder(path.to_owned())) } else { Ok(()) }
}

fn walk(folder: &Path, files: &mut Vec<InputFile>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // A link to a folder is not followed: it could lead back up.
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if can_hold_events(&entry.file_name().to_string_lossy())
            && let Ok(found) = fs::metadata(entry.path())
            && found.is_file()
        {
            files.push(InputFile::File { path: entry.path(), bytes: found.len() });
        }
    }
    Ok(())
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
        assert_eq!(expand(&["-".to_owned()]).unwrap(), [InputFile::Stdin]);
        assert!(matches!(expand(&[path("empty")]), Err(InputError::EmptyFolder(_))));
        assert!(matches!(expand(&[path("none.json")]), Err(InputError::Path { .. })));
        assert!(matches!(expand(&[path("none*.json")]), Err(InputError::NoMatch(_))));
    }
}
