//! `sessionwarden audit`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{Failure, Format, OK};
use crate::audit;

/// Check the audit trail.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no record was changed, removed, inserted or moved.
    ///
    /// A chain cannot show by itself that records were cut off at its end: remember the head's hash elsewhere, and give
    /// it with --head. The file may have grown since.
    Verify {
        /// The audit file.
        file: PathBuf,
        /// A hash that must stand in the file.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let Command::Verify { file, head, format } = &args.command;
    let summary = audit::verify(file, head.as_deref()).map_err(Failure::failed)?;
    match format {
        Format::Json => println!("{}", serde_json::to_string(&summary).map_err(Failure::failed)?),
        Format::Human => {
            println!("{}: {} records, every one in its place", file.display(), summary.records);
            if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
                println!("first {first}, last {last}");
            }
            println!("head {}", summary.head_hash);
        }
    }
    Ok(OK)
}
