//! `sessionwarden-loadtest`: generates CloudTrail streams and measures Sessionwarden.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sessionwarden_loadtest::{bench, generate, plan::PlanError};

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
    Generate(generate::Args),
    /// Measure Sessionwarden against its targets, floors and peers
    Bench(bench::Args),
}

/// Exits with 0 when all is done, 2 for arguments that make no sense, 1 for anything else, a missed target included.
fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args).map(|_| true),
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
