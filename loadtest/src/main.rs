//! `sessionwarden-loadtest`: generates CloudTrail streams and measures Sessionwarden.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use sessionwarden_loadtest::{bench, generate, plan::PlanError, scenarios};

/// Generates CloudTrail streams and measures Sessionwarden
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a seeded stream of realistic CloudTrail events
    Generate(Generate),
    /// Measure Sessionwarden against its targets, floors and peers
    Bench(bench::Args),
}

#[derive(Debug, clap::Args)]
struct Generate {
    #[command(flatten)]
    stream: generate::Args,
    /// Write scenarios instead of a stream: for each way around the logs, and each session that keeps the rules, its
    /// events to DIR/<name>.jsonl and what must come of them to DIR/<name>.expected.json
    #[arg(long, value_name = "DIR", conflicts_with_all = STREAM_ONLY)]
    scenarios: Option<PathBuf>,
}

/// What says nothing about scenarios.
const STREAM_ONLY: [&str; 15] = [
    "events",
    "relevant",
    "sessions",
    "accounts",
    "out",
    "duplicates",
    "disorder",
    "violating",
    "ended",
    "tampering",
    "events_per_second",
    "format",
    "gzip",
    "truth",
    "snapshot",
];

/// Exits with 0 when all is done, 2 for arguments that make no sense, 1 for anything else, a missed target included.
fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(Generate { stream, scenarios: Some(folder) }) => {
            scenarios::write(&folder, stream.seed).map(|_| true)
        }
        Command::Generate(Generate { stream, scenarios: None }) => generate::run(&stream).map(|_| true),
        Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<PlanError>() { 2 } else { 1 })
        }
    }
}
