//! `sessionwarden policy`.

mod lookup;
mod show;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;
use sessionwarden_machine::{
    compliance::{Judge, PolicyError, PolicyErrors},
    ids::{EventTime, Now},
};

use super::{FAILED, Failure, Format, OK, USAGE, write_result};
use crate::policy::{
    self, PolicyLoadError,
    cases::{self, Case},
    explain::{self, Explanation},
};

/// Check, try and explain controls and waivers.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load controls, waivers and cases, show them, and tell every mistake with its place.
    ///
    /// The exit code is 2 where there is a mistake.
    Check(Folder),
    /// Try the cases (*.cases.toml) beside the policies.
    ///
    /// The exit code is 1 where a case fails, and 2 where there is a mistake or no case at all.
    Test(Folder),
    /// Say why the policies judge a session as they do: every control, and every piece of evidence.
    Explain(Explain),
}

#[derive(Debug, ClapArgs)]
struct Folder {
    /// The folder of policies; without it those of the configuration, or the shipped ones.
    dir: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, ClapArgs)]
struct Explain {
    /// A session in the state, by its id or as account/region/id; or a file of cases, JSON or TOML.
    #[arg(value_name = "SESSION|FILE")]
    subject: String,
    /// Judge by the *.cedar files in this folder instead of those of the configuration.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for state, feed and audit trail.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Check(folder) => check(folder),
        Command::Test(folder) => test(folder),
        Command::Explain(args) => explain(args),
    }
}

/// A policy with its cases, or every mistake in them.
enum Loaded {
    Fine { judge: Arc<Judge>, cases: Vec<Case>, place: String },
    Mistakes(Vec<PolicyError>),
}

impl Folder {
    fn load(&self) -> Result<Loaded, Failure> {
        let config = super::config(self.config.as_ref())?;
        let dir = self.dir.as_deref().or(config.policy.dir.as_deref());
        let judge = match policy::load(dir, config.policy.waivers_dir.as_deref()) {
            Ok(judge) => judge,
            Err(PolicyLoadError::Mistakes(PolicyErrors(mistakes))) => return Ok(Loaded::Mistakes(mistakes)),
            Err(error) => return Err(Failure::usage(error)),
        };
        let (cases, mistakes) = match dir {
            Some(dir) => cases::load(dir, &judge).map_err(Failure::usage)?,
            None => cases::shipped(&judge),
        };
        if !mistakes.is_empty() {
            return Ok(Loaded::Mistakes(mistakes));
        }
        let place = dir.map_or_else(|| "the shipped policies".to_owned(), |dir| dir.display().to_string());
        Ok(Loaded::Fine { judge, cases, place })
    }
}

#[derive(Serialize)]
struct Mistake<'m> {
    file: &'m str,
    line: u32,
    column: u32,
    message: &'m str,
    hint: Option<&'m str>,
}

/// Mistakes in files, as the format wants them.
fn mistaken(mistakes: Vec<PolicyError>, format: Format) -> Result<u8, Failure> {
    match format {
        Format::Human => Err(Failure::usage(PolicyErrors(mistakes))),
        Format::Json => {
            let rows = mistakes.iter().map(|mistake| Mistake {
                file: &mistake.file,
                line: mistake.line,
                column: mistake.column,
                message: &mistake.message,
                hint: mistake.hint.as_deref(),
            });
            write_json(&serde_json::json!({ "mistakes": rows.collect::<Vec<_>>() }))?;
            Ok(USAGE)
        }
    }
}

fn write_json(value: &impl Serialize) -> Result<(), Failure> {
    write_result(&(serde_json::to_string(value).map_err(Failure::failed)? + "\n"))
}

fn now() -> EventTime {
    Now(jiff::Timestamp::now().as_millisecond()).as_event_time()
}

fn check(folder: &Folder) -> Result<u8, Failure> {
    let (judge, cases) = match folder.load()? {
        Loaded::Fine { judge, cases, .. } => (judge, cases),
        Loaded::Mistakes(mistakes) => return mistaken(mistakes, folder.format),
    };
    let now = now();
    match folder.format {
        Format::Human => write_result(&show::policies(&judge, cases.len(), now))?,
        Format::Json => write_json(&show::policies_json(&judge, cases.len(), now))?,
    }
    for waiver in judge.expired_waivers(now) {
        eprintln!(
            "warning: {}:{}: waiver {} expired at {}; it excuses nothing since then (owner {}, ticket {})",
            waiver.file, waiver.line, waiver.id, waiver.expires, waiver.owner, waiver.ticket
        );
    }
    Ok(OK)
}

fn test(folder: &Folder) -> Result<u8, Failure> {
    let (judge, cases, place) = match folder.load()? {
        Loaded::Fine { judge, cases, place } => (judge, cases, place),
        Loaded::Mistakes(mistakes) => return mistaken(mistakes, folder.format),
    };
    if cases.is_empty() {
        return Err(Failure::usage(anyhow!("no case (*{}) in {place}; nothing was tried", cases::SUFFIX)));
    }
    let tested = cases::test(&cases, &judge, now());
    match folder.format {
        Format::Human => write_result(&show::tested(&tested))?,
        Format::Json => write_json(&tested)?,
    }
    Ok(if tested.failed.is_empty() { OK } else { FAILED })
}

fn explain(args: &Explain) -> Result<u8, Failure> {
    let mut config = super::config(args.config.as_ref())?;
    if let Some(dir) = &args.data_dir {
        config.service.data_dir.clone_from(dir);
    }
    let dir = args.policy.as_deref().or(config.policy.dir.as_deref());
    let judge = policy::load(dir, config.policy.waivers_dir.as_deref()).map_err(Failure::usage)?;
    let path = Path::new(&args.subject);
    let explained: Vec<Explanation> = if path.is_file() {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))
            .map_err(Failure::usage)?;
        let (cases, mistakes) = cases::load_one(&args.subject, &text, &judge);
        if !mistakes.is_empty() {
            return mistaken(mistakes, args.format);
        }
        if cases.is_empty() {
            return Err(Failure::usage(anyhow!("no session and no event in {}", path.display())));
        }
        cases.iter().map(|case| explain::case(case, &judge, now())).collect()
    } else {
        let (session, settings) = lookup::session(&config, &args.subject)?;
        vec![explain::session(&session, &judge, &settings)]
    };
    match args.format {
        Format::Human => write_result(&explained.iter().map(show::explanation).collect::<Vec<_>>().join("\n"))?,
        Format::Json => write_json(&serde_json::json!({ "explained": explained }))?,
    }
    Ok(OK)
}
