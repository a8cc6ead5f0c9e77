//! `sessionwarden audit`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args as ClapArgs, Subcommand};

use super::{Failure, Format, OK, write_result};
use crate::{
    audit::{self, AuditError, FolderSummary, Summary},
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
    /// it with --head. The trail may have grown since.
    ///
    /// A trail that is kept in S3 is checked in the folder it was downloaded to: the objects of each run of a worker are
    /// one chain, in the order of their names.
    Verify {
        /// The audit file, or a folder of audit objects.
        path: PathBuf,
        /// A hash that must stand in the trail.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
        /// Let chains in a folder begin after their first record, as when only some days were downloaded.
        #[arg(long)]
        partial: bool,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let Command::Verify { path, head, partial, format } = &args.command;
    let text = if path.is_dir() {
        let summary = audit::verify_folder(path, head.as_deref(), *partial).map_err(failure)?;
        match format {
            Format::Json => serde_json::to_string(&summary).map_err(Failure::failed)? + "\n",
            Format::Human => folder_text(path, &summary),
        }
    } else {
        let summary = audit::verify(path, head.as_deref()).map_err(failure)?;
        match format {
            Format::Json => serde_json::to_string(&summary).map_err(Failure::failed)? + "\n",
            Format::Human => {
                let mut text = format!("{}: {} records, every one in its place\n", path.display(), summary.records);
                text.push_str(&times(&summary));
                text + "head " + &summary.head_hash + "\n"
            }
        }
    };
    write_result(&text)?;
    Ok(OK)
}

fn failure(error: AuditError) -> Failure {
    match error {
        AuditError::File(FileError::Io { doing: "open", .. }) | AuditError::NoObjects(_) => Failure::usage(error),
        error => Failure::failed(error),
    }
}

fn folder_text(path: &Path, summary: &FolderSummary) -> String {
    let (records, chains) = (count(summary.records, "record"), count(summary.chains.len() as u64, "chain"));
    let mut text = format!("{}: {records} in {chains}, every one in its place\n", path.display());
    for chain in &summary.chains {
        let from = if chain.from == 1 { String::new() } else { format!(", from record {} on", chain.from) };
        let (records, objects) = (count(chain.summary.records, "record"), count(chain.objects as u64, "object"));
        let _ = writeln!(text, "{}: {records} in {objects}{from}", chain.run);
        text.push_str(&times(&chain.summary));
        let _ = writeln!(text, "head {}", chain.summary.head_hash);
    }
    text
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn times(summary: &Summary) -> String {
    match (&summary.first, &summary.last) {
        (Some(first), Some(last)) => format!("first {first}, last {last}\n"),
        _ => String::new(),
    }
}
