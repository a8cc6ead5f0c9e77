//! The command line.
//!
//! Exit codes: 0 all done; 1 something failed on the way, for example a full disk; 2 usage, configuration or policy;
//! 3 done, but something could not be read and was parked.

mod audit;
mod control;
#[cfg(feature = "aws")]
mod fleet;
mod iam;
mod incidents;
mod policy;
mod quarantine;
mod replay;
mod report;
mod routes;
mod run;
mod scp;
#[cfg(feature = "aws")]
mod wanted;

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Config;

/// Done.
pub const OK: u8 = 0;
/// Something failed on the way.
pub const FAILED: u8 = 1;
/// Usage, configuration or policy.
pub const USAGE: u8 = 2;
/// Done, but something was parked.
pub const PARKED: u8 = 3;

/// Watches every AWS Session Manager session of an organisation and ends those that break the rules.
#[derive(Debug, Parser)]
#[command(name = "sessionwarden", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 failed on the way; 2 usage, configuration or policy; 3 done, but \
                        something could not be read and was parked.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Replay(replay::Args),
    Run(run::Args),
    Quarantine(quarantine::Args),
    Incidents(incidents::Args),
    Audit(audit::Args),
    Iam(iam::Args),
    Policy(policy::Args),
    Scp(scp::Args),
    #[cfg(feature = "aws")]
    Wanted(wanted::Args),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

/// A failure with its exit code.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: USAGE, error: error.into() }
    }

    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: FAILED, error: error.into() }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Replay(args) => replay::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Incidents(args) => incidents::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Iam(args) => iam::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Scp(args) => scp::run(&args),
        #[cfg(feature = "aws")]
        Command::Wanted(args) => wanted::run(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("sessionwarden: {}", told_once(&failure.error));
            ExitCode::from(failure.code)
        }
    }
}

/// Writes a result to standard output: a full disk or a closed pipe there is a failure like any other.
fn write_result(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write the result").map_err(Failure::failed)
}

/// An error with its causes, leaving out those that the messages before them tell already.
fn told_once(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

/// The configuration from `file` and the environment.
fn config(file: Option<&PathBuf>) -> Result<Config, Failure> {
    Config::load(file.map(PathBuf::as_path), std::env::vars()).map_err(Failure::usage)
}
