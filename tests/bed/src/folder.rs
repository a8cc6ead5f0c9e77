//! Where tools are installed: below the build's folder, each by one process at a time.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of a tool, installed from a locked list. Installs it where it is not there, or was from another list.
///
/// # Errors
/// What is missing.
pub(crate) fn installed(
    name: &str,
    list: &Path,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let told = |path: &Path, error: &std::io::Error| format!("{}: {error}", path.display());
    let wanted = fs::read(list).map_err(|error| told(list, &error))?;
    let tools = build_folder()?.join("tmp/tools");
    fs::create_dir_all(&tools).map_err(|error| told(&tools, &error))?;
    let turn = tools.join(format!("{name}.lock"));
    // Other tests wait here until the first has installed it; the lock ends with its file, or with its process.
    let turn = File::create(&turn).and_then(|file| file.lock().map(|()| file)).map_err(|error| told(&turn, &error))?;
    let folder = tools.join(name);
    let mark = folder.join("installed-from");
    if !fs::read(&mark).is_ok_and(|done| done == wanted) {
        install(&folder)?;
        fs::write(&mark, wanted).map_err(|error| told(&mark, &error))?;
    }
    drop(turn);
    Ok(folder)
}

/// Runs a program to its end, on this input, which it reads before it says anything. `Err` has what it said.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, String> {
    let name = command.get_program().display().to_string();
    let told = |error: std::io::Error| format!("{name} cannot be run: {error}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(told)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(told)?;
    }
    let done = child.wait_with_output().map_err(told)?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(done.stdout) } else { Err(format!("{name}: {said}")) }
}

/// The lists of `tests/tools`.
pub(crate) fn lists(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools").join(name)
}

/// The build's folder: the one that this program is in, or the one that cargo was told.
fn build_folder() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    // Cargo marks its folder as one that backups leave out.
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let told = || env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    marked.map(Path::to_path_buf).or_else(told).ok_or_else(|| "the build's folder was not found".to_owned())
}
