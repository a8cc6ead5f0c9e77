//! `sessionwarden-loadtest`: generates CloudTrail streams and measures Sessionwarden.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sessionwarden_loadtest::{generate, plan::PlanError};

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
}

/// Exits with 0 when all is done, 2 for arguments that make no sense, 1 for anything else.
fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args).map(drop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<PlanError>() { 2 } else { 1 })
        }
    }
}
