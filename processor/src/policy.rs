//! Policy files, as the core takes them.

pub mod cases;
pub mod explain;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessionwarden_machine::compliance::{Judge, PolicyErrors, PolicyRole, PolicySource, shipped_sources};

/// Why the policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyLoadError {
    /// A file or folder cannot be read.
    #[error("cannot read policy {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder holds no policy.
    #[error("no policy file (*.cedar) in {0}")]
    Empty(PathBuf),
    /// Files, but no control in them: everything would pass.
    #[error("no control in the policy files of {0}; nothing could ever violate it")]
    NoControl(PathBuf),
    /// Mistakes in the files, all of them.
    #[error("{0}")]
    Mistakes(PolicyErrors),
}

/// Loads the policy: the files of `dir`, or the shipped controls without one; `waivers_dir` adds waivers.
///
/// In `dir`, files in a folder named `waivers` hold waivers, all other `*.cedar` files hold controls.
pub fn load(dir: Option<&Path>, waivers_dir: Option<&Path>) -> Result<Arc<Judge>, PolicyLoadError> {
    let mut sources = Vec::new();
    match dir {
        None => sources.extend(shipped_sources()),
        Some(dir) => {
            read_folder(dir, PolicyRole::Controls, &mut sources)?;
            if sources.is_empty() {
                return Err(PolicyLoadError::Empty(dir.to_owned()));
            }
        }
    }
    if let Some(dir) = waivers_dir {
        read_folder(dir, PolicyRole::Waivers, &mut sources)?;
    }
    let judge = Judge::load(&sources).map_err(PolicyLoadError::Mistakes)?;
    match dir {
        Some(dir) if judge.controls().is_empty() => Err(PolicyLoadError::NoControl(dir.to_owned())),
        Some(_) | None => Ok(Arc::new(judge)),
    }
}

fn read_folder(dir: &Path, role: PolicyRole, sources: &mut Vec<PolicySource>) -> Result<(), PolicyLoadError> {
    let mut files = Vec::new();
    read_files(dir, ".cedar", role == PolicyRole::Waivers, &mut files)?;
    sources.extend(files.into_iter().map(|PolicyFile { path, text, waivers }| {
        let role = if waivers { PolicyRole::Waivers } else { PolicyRole::Controls };
        PolicySource { file: path.display().to_string(), text, role }
    }));
    Ok(())
}

/// A file of a policy folder.
struct PolicyFile {
    path: PathBuf,
    text: String,
    /// It lies below a folder named `waivers`.
    waivers: bool,
}

/// Reads the files in `dir` and the folders below it whose names end in `ending`, in the order of their names.
fn read_files(dir: &Path, ending: &str, waivers: bool, files: &mut Vec<PolicyFile>) -> Result<(), PolicyLoadError> {
    let failed = |source| PolicyLoadError::Read { path: dir.to_owned(), source };
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            read_files(&path, ending, waivers || name == "waivers", files)?;
        } else if name.to_string_lossy().ends_with(ending) {
            let text =
                fs::read_to_string(&path).map_err(|source| PolicyLoadError::Read { path: path.clone(), source })?;
            files.push(PolicyFile { path, text, waivers });
        }
    }
    Ok(())
}
