//! Peers that can be measured here: `DuckDB`, from its Python package.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::input::Input;

const SCRIPT: &str = include_str!("duckdb_peer.py");

#[derive(Deserialize)]
struct Answer {
    cpu_seconds: f64,
    seen: u64,
    open: u64,
}

/// The Python of a virtual environment with `DuckDB` in it, made in `folder` where it is not there yet.
///
/// # Errors
/// There is no Python, or the package cannot be installed.
pub(super) fn install(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("peers");
    let python = venv.join("bin").join("python");
    if !works(&python) {
        eprintln!("installing DuckDB in {}", venv.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb"]))?;
        ensure!(works(&python), "DuckDB was installed but cannot be loaded");
    }
    Ok(python)
}

fn works(python: &Path) -> bool {
    let quiet = Command::new(python).args(["-c", "import duckdb"]).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Processor seconds that `DuckDB` takes for the sessions of `input`, its start not included.
///
/// # Errors
/// It fails, or is wrong.
pub(super) fn duckdb_seconds(python: &Path, input: &Input) -> Result<f64> {
    let output = Command::new(python).args(["-c", SCRIPT]).arg(&input.path).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "DuckDB ended with {}", output.status);
    let answer: Answer = serde_json::from_slice(&output.stdout).context("the DuckDB script printed no JSON")?;
    let truth = &input.truth.sessions;
    ensure!(
        [answer.seen, answer.open] == [truth.seen, truth.open],
        "DuckDB found {} sessions and {} open, true is {truth:?}",
        answer.seen,
        answer.open
    );
    Ok(answer.cpu_seconds)
}
