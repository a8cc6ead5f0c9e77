//! ministack and moto, and scripts that prepare them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    child::{Server, start},
    folder::{installed, lists, run},
};

/// What would make ministack take somebody else's key for a root user's, or another region for its own.
const FOREIGN: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "MINISTACK_ACCOUNT_ID",
    "MINISTACK_REGION",
];

/// Whether ministack asks who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody may do everything.
    Open,
    /// Roles, trust policies and permissions are checked. A key of twelve digits is the root user of that account, with
    /// the secret `test`.
    Checked,
}

/// Starts ministack, for which an access key of twelve digits is an account.
///
/// # Errors
/// What is missing.
pub fn ministack(access: Access) -> Result<Server, String> {
    let folder = environment()?;
    start("ministack", |port| {
        let mut command = command(&folder, "ministack");
        command.envs([("BIND_HOST", "127.0.0.1"), ("IOT_MTLS_ENABLED", "0")]);
        command.env("AUTH", (access == Access::Checked).to_string()).env("GATEWAY_PORT", port.to_string());
        command
    })
}

/// Starts moto's server, by a script that teaches it one thing.
///
/// # Errors
/// What is missing.
pub fn moto() -> Result<Server, String> {
    let folder = environment()?;
    start("moto", |port| {
        let mut command = command(&folder, "python");
        command.arg(lists("aws").join("serve_moto.py")).args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    })
}

/// Runs a script of `tests/tools/aws`, which may use boto3, on this input. Returns the one JSON text that it prints.
///
/// # Errors
/// What is missing, or what the script said.
pub fn script(name: &str, arguments: &[&str], input: &[u8]) -> Result<Value, String> {
    let folder = environment()?;
    let told = run(command(&folder, "python").arg(lists("aws").join(name)).args(arguments), input)?;
    serde_json::from_slice(&told).map_err(|error| format!("{name}: {error}"))
}

fn command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(folder.join("bin").join(program));
    command.current_dir(folder);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
}

/// The virtual environment.
fn environment() -> Result<PathBuf, String> {
    let list = lists("aws").join("requirements.txt");
    installed("python", &list, |folder| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder), &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "--requirement"];
        run(Command::new(folder.join("bin/python")).args(install).arg(&list), &[]).map(drop)
    })
}
