//! `sessionwarden replay`.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use sessionwarden_machine::ids::{EventTime, Now};

use super::{Failure, Format, report, write_result};
use crate::{
    config::settings_of,
    input::{InputFile, expand},
    policy,
    replay::{Options, Period, Progress, ReplayError, Summary, replay},
    snapshot::Snapshot,
};

/// Run CloudTrail history through the policy: what would have been terminated, and which accounts locked.
///
/// Nothing is called. A violating session counts as terminated at the time of the evidence, so the threshold shows what
/// would have happened. Every format is understood, and they may be mixed: CloudTrail files, EventBridge envelopes,
/// arrays, one record in each line, plain or gzipped.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Files, folders, patterns, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Judge by the *.cedar files in this folder instead of the shipped controls; files below a folder named `waivers`
    /// are waivers.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Judge by this snapshot of roles, documents, keys and buckets too, as if the organisation had always been so;
    /// without it controls that need such evidence are not evaluated.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Write findings, incidents and session calls to this file as OCSF 1.8.0 JSON lines; - for standard output, and then
    /// the result goes to standard error.
    #[arg(long, value_name = "FILE")]
    feed: Option<PathBuf>,
    /// Write what could not be read to this file, with its place and reason.
    #[arg(long, value_name = "FILE")]
    parked: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Threads to read with; as many as processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Only events at or after this time, for example 2026-05-04T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<EventTime>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<EventTime>,
}

fn time(text: &str) -> Result<EventTime, String> {
    let day = format!("{text}T00:00:00Z");
    let known = EventTime::parse(text).or_else(|| EventTime::parse(&day));
    known.ok_or_else(|| "not a time; write it as 2026-05-04T10:00:00Z or 2026-05-04".to_owned())
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = super::config(args.config.as_ref())?;
    let dir = args.policy.as_ref().or(config.policy.dir.as_ref());
    let judge =
        policy::load(dir.map(PathBuf::as_path), config.policy.waivers_dir.as_deref()).map_err(Failure::usage)?;
    let now = Now(jiff::Timestamp::now().as_millisecond());
    for waiver in judge.expired_waivers(now.as_event_time()) {
        eprintln!(
            "warning: {}:{}: waiver {} expired at {}; it excuses nothing since then (owner {}, ticket {})",
            waiver.file, waiver.line, waiver.id, waiver.expires, waiver.owner, waiver.ticket
        );
    }
    let files = expand(&args.paths).map_err(Failure::usage)?;
    check_outputs(args, &files)?;
    let threads = args.threads.map(usize::from);
    let snapshot = args.snapshot.as_deref().map(Snapshot::read).transpose().map_err(Failure::usage)?;
    let options = Options {
        judge,
        settings: settings_of(&config),
        snapshot: snapshot.map(Arc::new),
        period: Period { from: args.from, to: args.to },
        threads: threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        feed: args.feed.clone(),
        parked: args.parked.clone(),
    };
    let (summary, failures) = match with_progress(&files, |on_progress| replay(&files, &options, on_progress)) {
        Ok(summary) => (summary, Vec::new()),
        Err(ReplayError::Results { summary, failures }) => (*summary, failures),
        // Nothing was read yet: the place that was named cannot be written.
        Err(error @ (ReplayError::Feed(_) | ReplayError::Parked(_))) => return Err(Failure::usage(error)),
        Err(error @ (ReplayError::Thread | ReplayError::Runtime(_))) => return Err(Failure::failed(error)),
    };
    print(args, &summary, &options)?;
    complain(&summary, args.parked.is_some());
    match failures.iter().map(ToString::to_string).reduce(|all, one| all + "\nsessionwarden: " + &one) {
        Some(failures) => Err(Failure::failed(anyhow::Error::msg(failures))),
        None => Ok(summary.exit_code()),
    }
}

fn print(args: &Args, summary: &Summary, options: &Options) -> Result<(), Failure> {
    let text = match args.format {
        Format::Json => serde_json::to_string(summary).map_err(Failure::failed)? + "\n",
        Format::Human => report::human(summary, &options.judge),
    };
    let feed_on_stdout = args.feed.as_deref().is_some_and(|feed| feed == Path::new("-"));
    if feed_on_stdout {
        return std::io::stderr()
            .write_all(text.as_bytes())
            .context("cannot write the result")
            .map_err(Failure::failed);
    }
    write_result(&text)
}

/// An output that is also an input, or another output, would be destroyed.
fn check_outputs(args: &Args, files: &[InputFile]) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::usage(anyhow::Error::msg(text)));
    if args.from.zip(args.to).is_some_and(|(from, to)| from >= to) {
        return usage("--from is not before --to: no event could be in between".to_owned());
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let outputs = [("--feed", &args.feed), ("--parked", &args.parked)];
    for (option, path) in outputs {
        let Some(path) = path.as_deref().filter(|path| *path != Path::new("-") && path.is_file()) else {
            continue;
        };
        let is_input =
            |file: &InputFile| matches!(file, InputFile::File { path: input, .. } if real(input) == real(path));
        if files.iter().any(is_input) {
            return usage(format!("{option} would overwrite {}, which is also to be read", path.display()));
        }
    }
    if args.feed.is_some() && args.feed == args.parked {
        return usage("--feed and --parked name the same file".to_owned());
    }
    Ok(())
}

fn complain(summary: &Summary, kept: bool) {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for parked in summary.parked.iter().take(SHOWN) {
        let _ = writeln!(text, "parked: {parked}");
    }
    if summary.parked.len() > SHOWN {
        let _ = writeln!(text, "parked: and {} more", summary.parked.len() - SHOWN);
    }
    if !summary.parked.is_empty() && !kept {
        text.push_str("(--parked FILE keeps what could not be read)\n");
    }
    if summary.events.read == 0 {
        text.push_str("warning: no CloudTrail events found\n");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Shows a progress bar on a terminal, and nothing elsewhere.
fn with_progress<T>(files: &[InputFile], work: impl FnOnce(&(dyn Fn(&Progress) + Sync)) -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work(&|_| {});
    }
    let bytes = files.iter().map(InputFile::bytes).sum();
    let known = bytes > 0 && !files.contains(&InputFile::Stdin);
    let bar = if known { ProgressBar::new(bytes) } else { ProgressBar::new_spinner() };
    let template = if known {
        "{bar:32.cyan/blue} {bytes}/{total_bytes}  {msg}  {eta} left"
    } else {
        "{spinner:.cyan} {bytes}  {msg}  {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let started = std::time::Instant::now();
    let last = Mutex::new(Duration::ZERO);
    let done = work(&|progress| {
        let elapsed = started.elapsed();
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if elapsed.saturating_sub(*last) < Duration::from_millis(80) {
            return;
        }
        *last = elapsed;
        let values = progress.values.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64().max(0.001);
        bar.set_position(progress.bytes.load(Ordering::Relaxed));
        bar.set_message(format!("{values:.0} events/s"));
    });
    bar.finish_and_clear();
    done
}
