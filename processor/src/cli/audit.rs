//! `sessionwarden audit`.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use super::{Failure, Format, OK, write_result};
use crate::{
    audit::{self, AuditError},
    feed::FileError,
};

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
    let summary = audit::verify(file, head.as_deref()).map_err(|error| match error {
        AuditError::File(FileError::Io { doing: "open", .. }) => Failure::usage(error),
        error => Failure::failed(error),
    })?;
    let text = match format {
        Format::Json => serde_json::to_string(&summary).map_err(Failure::failed)? + "\n",
        Format::Human => {
            let mut text = format!("{}: {} records, every one in its place\n", file.display(), summary.records);
            if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
                let _ = writeln!(text, "first {first}, last {last}");
            }
            text + "head " + &summary.head_hash + "\n"
        }
    };
    write_result(&text)?;
    Ok(OK)
}
