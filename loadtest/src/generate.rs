//! `generate`: writes a stream of CloudTrail events to a file, and what is true of it to another.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    casting::SESSIONS_MAX,
    plan::{Plan, Wish},
    sink::{Format, Sink},
    snapshot,
    stream::{Setting, Stream, Truth},
};

/// What to generate. Equal arguments give equal bytes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Lines in all, repeated ones included
    #[arg(long, default_value_t = 300_000)]
    pub events: u64,
    /// Share of lines that matter to Sessionwarden, 0 to 1
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub relevant: f64,
    /// Sessions started; 1000 by default, or a third of the relevant lines where these are fewer. Relevant lines left
    /// over become resumes; where they are short, fewer sessions end
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=SESSIONS_MAX))]
    pub sessions: Option<u64>,
    /// Accounts in which it all happens
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub accounts: u32,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// File to write, or - for standard output
    #[arg(long, default_value = "-")]
    pub out: PathBuf,
    /// Share of lines that repeat an earlier one, 0 to 1
    #[arg(long, default_value_t = 0.02, value_parser = share)]
    pub duplicates: f64,
    /// Share of lines that are moved by up to 400 places, 0 to 1
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    pub disorder: f64,
    /// Share of sessions with a forbidden document or a target that is no node, 0 to 1
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub violating: f64,
    /// Share of sessions that are terminated, 0 to 1
    #[arg(long, default_value_t = 0.6, value_parser = share)]
    pub ended: f64,
    /// Calls of the threat catalogue beside sessions: tampering and other ways onto a node
    #[arg(long, default_value_t = 0)]
    pub tampering: u64,
    /// Events in one second of event time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events_per_second: u64,
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Compress the output; a name that ends in .gz does so too
    #[arg(long)]
    pub gzip: bool,
    /// File for what is true of the stream, as JSON: events, relevant, duplicate, sessions
    #[arg(long)]
    pub truth: Option<PathBuf>,
    /// File for what the sessions rest on, as `replay --snapshot` reads it: every node, role, document, key and bucket
    #[arg(long)]
    pub snapshot: Option<PathBuf>,
}

/// Generates the stream, with a progress bar where standard error is a terminal.
///
/// # Errors
/// Arguments that contradict each other; a file that cannot be created or written, named in the message.
pub fn run(args: &Args) -> Result<Truth> {
    let plan = Plan::new(&Wish {
        events: args.events,
        relevant: args.relevant,
        sessions: args.sessions,
        duplicates: args.duplicates,
        violating: args.violating,
        ended: args.ended,
        tampering: args.tampering,
    })?;
    let files = [("--out", Some(&args.out)), ("--truth", args.truth.as_ref()), ("--snapshot", args.snapshot.as_ref())];
    for (at, (option, file)) in files.iter().enumerate() {
        let same = files.iter().take(at).find(|(_, other)| file.is_some() && other == file);
        if let (Some(file), Some((other, _))) = (file, same) {
            bail!("{option} and {other} name the same file: {}", file.display());
        }
    }
    let setting = Setting {
        accounts: args.accounts as usize,
        seed: args.seed,
        disorder: args.disorder,
        events_per_second: args.events_per_second,
        envelopes: args.format == Format::Envelope,
    };
    if let Some(path) = &args.snapshot {
        write_snapshot(path, &setting).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let truth = write(args, plan, setting)?;
    if let Some(path) = &args.truth {
        let text = serde_json::to_string_pretty(&truth)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(truth)
}

fn write_snapshot(path: &Path, setting: &Setting) -> Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    for line in snapshot::lines(&setting.world()) {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn write(args: &Args, plan: Plan, setting: Setting) -> Result<Truth> {
    const EVENTS_PER_TICK: u64 = 4_096;
    let name = name(&args.out);
    let mut sink = Sink::create(&args.out, args.format, args.gzip).with_context(|| format!("cannot create {name}"))?;
    let bar = ProgressBar::new(args.events);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let mut written = 0;
    let result = Stream::new(plan, setting).write(|record| {
        written += 1;
        if written % EVENTS_PER_TICK == 0 {
            bar.set_position(written);
        }
        sink.record(record)
    });
    let truth = result.with_context(|| format!("cannot write {name} (event {written} of {})", args.events))?;
    sink.finish().with_context(|| format!("cannot write the end of {name}"))?;
    bar.finish_and_clear();
    Ok(truth)
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard output".to_owned() } else { path.display().to_string() }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use sessionwarden::snapshot::Snapshot;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn generate(folder: &Path, more: &str) -> Result<String> {
        let out = folder.join("out").display().to_string();
        let snapshot = folder.join("snapshot").display().to_string();
        let words = ["generate", "--events", "300", "--out", &out, "--snapshot", &snapshot];
        run(&Cli::try_parse_from(words.into_iter().chain(more.split_whitespace()))?.args)?;
        Ok(fs::read_to_string(snapshot)?)
    }

    #[test]
    fn a_snapshot_has_an_answer_for_everything_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = generate(folder.path(), "--accounts 3").unwrap();
        let snapshot = Snapshot::read(&folder.path().join("snapshot")).unwrap();
        assert_eq!(snapshot.taken(), Some(crate::stream::START));
        let kinds = |kind: &str| text.lines().filter(|line| line.starts_with(&format!("{{\"{kind}\":"))).count();
        let all = ["taken", "node", "identity", "guards", "document", "bucket", "key", "network", "cluster"];
        // Five accounts in two regions with six nodes each; each key has an alias, and the bucket has a key too.
        let counts = all.map(kinds);
        assert_eq!((counts[0], counts[1], counts[3], counts[4], counts[5], counts[6]), (1, 30, 5, 40, 1, 11));
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), text.lines().count());
        assert_eq!(text.lines().skip(1).find(|line| !line.contains("{\"is\":")), None, "everything has an answer");
        assert_eq!(generate(folder.path(), "--accounts 3").unwrap(), text, "equal arguments, equal bytes");
        assert_ne!(generate(folder.path(), "--accounts 3 --seed 2").unwrap(), text);
    }

    #[test]
    fn outputs_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("snapshot").display().to_string();
        let error = generate(folder.path(), &format!("--truth {snapshot}")).unwrap_err().to_string();
        assert_eq!(error, format!("--snapshot and --truth name the same file: {snapshot}"));
        let out = folder.path().join("out").display().to_string();
        let error = generate(folder.path(), &format!("--truth {out}")).unwrap_err().to_string();
        assert_eq!(error, format!("--truth and --out name the same file: {out}"));
    }
}
