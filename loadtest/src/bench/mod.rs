//! `bench`: measures the product against its targets, with floors and peers in the same run.

mod child;
mod core;
mod fleet;
mod floor;
mod iam;
mod input;
mod lines;
mod looks;
mod memory;
mod peers;
mod replay;
mod report;
mod startup;
mod threads;
mod timers;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::stores;
use input::{Input, Spec};
use report::{Machine, Outcome, Section};

/// What to measure, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Events in the inputs of the replay benchmark
    #[arg(long, global = true, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    events: u64,
    /// Repetitions of every measurement
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Write the report to this file, as Markdown
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder for generated inputs, kept for the next run; below target/ by default, or below the temporary folder
    /// where there is no target/
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The sessionwarden program to measure; the one beside this program by default
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[arg(long, global = true, help = "Measure DuckDB too; installs its Python package in the data folder")]
    peers: bool,
}

/// One benchmark.
#[derive(Clone, Debug, clap::Subcommand)]
enum Part {
    /// Events for each second of processor time, against floors and peers
    Replay,
    /// Peak memory by live sessions and by events
    Memory,
    /// What a second thread brings
    Threads,
    /// Rechecks in the pure core
    Timers,
    /// Looks at live sessions, against reading and writing their items
    Looks,
    /// Time until the program begins
    Startup,
    /// Records through the pure core, for information
    Core,
    /// What a node's role may do, decided anew and remembered
    Iam,
    /// On an emulated AWS: from a record's arrival to the call that ends its session. Needs Python; is no part of all
    Fleet,
    /// redb against fjall, for the decision on the embedded store; has no target and is no part of all
    Stores(stores::Args),
    /// Everything with a target, and the core; the default
    All,
}

/// What the benchmarks share.
struct Bench {
    events: u64,
    rounds: u32,
    data: PathBuf,
    binary: PathBuf,
    /// The Python that runs the peers.
    peers: Option<PathBuf>,
    machine: Machine,
}

impl Bench {
    fn new(args: &Args) -> Result<Self> {
        let data = args.data.clone().unwrap_or_else(default_data);
        Ok(Self {
            events: args.events,
            rounds: args.rounds,
            binary: child::binary(args.binary.as_deref())?,
            peers: args.peers.then(|| peers::install(&data)).transpose()?,
            machine: Machine::here(),
            data,
        })
    }

    fn input(&self, spec: &Spec) -> Result<Input> {
        input::get(&self.data, spec)
    }
}

fn default_data() -> PathBuf {
    let target = Path::new("target");
    if target.is_dir() { target.join("bench") } else { std::env::temp_dir().join("sessionwarden-bench") }
}

/// Measures, prints, and tells whether every target was reached.
///
/// # Errors
/// A debug build; no program to measure; one that fails or answers wrong; a file that cannot be written.
pub fn run(args: &Args) -> Result<bool> {
    if cfg!(debug_assertions) {
        bail!("this is a debug build, whose figures mean nothing: build with --release");
    }
    let part = args.part.clone().unwrap_or(Part::All);
    if let Part::Stores(stores) = &part {
        stores::run(stores)?;
        return Ok(true);
    }
    let bench = Bench::new(args)?;
    let mut sections = Vec::new();
    // Whatever needs a quiet machine comes first: measuring makes it busy.
    for (name, measure) in PARTS {
        if part.includes(name) {
            eprintln!("measuring: {name}");
            sections.push(measure(&bench)?);
        }
    }
    print!("{}", report::human(&sections));
    if let Some(out) = &args.out {
        let text = report::markdown(&sections, &bench.machine, &command());
        fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(sections.iter().flat_map(|section| &section.lines).all(|line| line.outcome != Outcome::Fail))
}

type Measure = fn(&Bench) -> Result<Section>;

const PARTS: [(&str, Measure); 9] = [
    ("threads", threads::measure),
    ("replay", replay::measure),
    ("memory", memory::measure),
    ("timers", |_| timers::measure()),
    ("looks", looks::measure),
    ("startup", startup::measure),
    ("core", core::measure),
    ("iam", iam::measure),
    ("fleet", fleet::measure),
];

impl Part {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::Replay => name == "replay",
            Self::Memory => name == "memory",
            Self::Threads => name == "threads",
            Self::Timers => name == "timers",
            Self::Looks => name == "looks",
            Self::Startup => name == "startup",
            Self::Core => name == "core",
            Self::Iam => name == "iam",
            Self::Fleet => name == "fleet",
            Self::Stores(_) => false,
            Self::All => name != "fleet",
        }
    }
}

/// The command line, with the program by its name only.
fn command() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
