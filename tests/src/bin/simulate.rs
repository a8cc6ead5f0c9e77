//! Runs the simulation: many seeds, each twice, and makes what fails small.

use std::{
    collections::BTreeSet,
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sessionwarden_tests::simulation::{
    Outcome,
    chance::{Fault, Occurrence},
    plan::{Plan, Wanted},
    report::{Failure, Totals, command},
    run,
    shrink::shrink,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many lines of the smallest trace are shown.
const TRACE_LINES_MAX: usize = 60;

/// Where nobody sees the bar, a line says how far it is after so many seeds.
const SEEDS_BETWEEN_LINES: u64 = 500;

/// Simulate workers, their services and the organisation they watch, with faults.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Parser)]
struct Args {
    /// Seeds, the last one not included.
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = seeds)]
    seeds: Range<u64>,
    /// How long things go wrong in each run, in simulated hours.
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Only these faults, with commas in between; `none` for no fault [default: each seed draws its own]
    #[arg(long, value_name = "LIST", value_parser = faults)]
    faults: Option<FaultList>,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// The organisation of the measurement: 20 accounts, 4 shards, 3 workers, 200 sessions.
    #[arg(long)]
    standard: bool,
    /// Run each N-th seed a second time, and compare the two traces; 0: none.
    #[arg(long, value_name = "N", default_value_t = 1)]
    again_every: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Begin no further seed after so many minutes.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// How many runs may be spent on making a failure small.
    #[arg(long, default_value_t = 150)]
    shrink_runs_max: u32,
    /// Print the whole trace.
    #[arg(long)]
    trace: bool,
    /// End the faults earlier, in simulated milliseconds.
    #[arg(long, value_name = "MS")]
    until_ms: Option<i64>,
    /// Only these occurrences of faults, as a failure names them.
    #[arg(long, value_name = "LIST", value_parser = occurrences)]
    only: Option<Occurrences>,
    /// Only these acts of people, as a failure names them.
    #[arg(long, value_name = "LIST", value_parser = numbers)]
    acts: Option<Numbers>,
    /// Say which faults there are.
    #[arg(long)]
    list_faults: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table.
    Human,
    /// One JSON object.
    Json,
}

#[derive(Clone, Debug)]
struct FaultList(BTreeSet<Fault>);

#[derive(Clone, Debug)]
struct Occurrences(BTreeSet<Occurrence>);

#[derive(Clone, Debug)]
struct Numbers(BTreeSet<u32>);

fn seeds(text: &str) -> anyhow::Result<Range<u64>> {
    let (first, last) = text.split_once("..").context("seeds are given as A..B")?;
    let range = first.parse()?..last.parse()?;
    if range.is_empty() {
        bail!("there is no seed in {text}");
    }
    Ok(range)
}

fn fault(name: &str) -> anyhow::Result<Fault> {
    Fault::named(name.trim()).with_context(|| format!("there is no fault {name:?}; --list-faults names them"))
}

fn faults(text: &str) -> anyhow::Result<FaultList> {
    if text == "none" {
        return Ok(FaultList(BTreeSet::new()));
    }
    Ok(FaultList(text.split(',').map(fault).collect::<Result<_, _>>()?))
}

fn occurrences(text: &str) -> anyhow::Result<Occurrences> {
    if text == "none" {
        return Ok(Occurrences(BTreeSet::new()));
    }
    let one = |part: &str| {
        let (name, at) = part.split_once(':').context("an occurrence is given as fault:number")?;
        Ok::<_, anyhow::Error>((fault(name)?, at.parse()?))
    };
    Ok(Occurrences(text.split(',').map(one).collect::<Result<_, _>>()?))
}

fn numbers(text: &str) -> anyhow::Result<Numbers> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>()?..=last.parse()?);
    }
    Ok(Numbers(numbers))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list_faults {
        for fault in Fault::ALL {
            println!("{:<20} {}", fault.name(), fault.about().trim());
        }
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let before = cpu_time();
    let totals = run_all(&args);
    let (cpu, took) = (cpu_time().saturating_sub(before), begun.elapsed());
    match args.format {
        Format::Human => print!("{}", totals.text(cpu, took)),
        Format::Json => println!("{:#}", totals.json(cpu, took)),
    }
    if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The CPU time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn run_all(args: &Args) -> Totals {
    let count = args.seeds.end - args.seeds.start;
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg} {eta}") {
        bar.set_style(style);
    }
    let (next, stop, totals) = (AtomicU64::new(args.seeds.start), AtomicBool::new(false), Mutex::<Totals>::default());
    let ends = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = ends.is_some_and(|ends| Instant::now() >= ends);
                    if seed >= args.seeds.end || late || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let (outcome, runs, failure) = one(args, seed, &bar);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.add(&outcome, runs);
                    if let Some(failure) = failure {
                        // A bar that is not shown would keep it to itself.
                        bar.suspend(|| eprintln!("seed {seed}: {}: {}", failure.id, failure.what));
                        totals.failures.push(failure);
                        stop.fetch_or(args.fail_fast, Ordering::Relaxed);
                    }
                    bar.set_message(format!("{} failed", totals.failures.len()));
                    bar.inc(1);
                    if bar.is_hidden() && bar.position().is_multiple_of(SEEDS_BETWEEN_LINES) {
                        eprintln!("{} of {count} seeds, {} failed", bar.position(), totals.failures.len());
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.failures.sort_by_key(|failure| failure.seed);
    totals
}

fn plan(args: &Args, seed: u64) -> Plan {
    let wanted = Wanted { faults: args.faults.as_ref().map(|list| list.0.clone()), standard: args.standard };
    let mut plan = Plan::draw(seed, args.hours, &wanted);
    plan.faulty_ms = args.until_ms.unwrap_or(plan.faulty_ms);
    plan.only = args.only.as_ref().map(|only| only.0.clone());
    if let Some(acts) = &args.acts {
        plan.acts.retain(|act| acts.0.contains(&act.number));
    }
    plan
}

/// One seed, and whether a second run of it is the same. Returns how many runs there were, too.
fn one(args: &Args, seed: u64, bar: &ProgressBar) -> (Outcome, u32, Option<Failure>) {
    let plan = plan(args, seed);
    let first = run(&plan, args.trace);
    if let Some(text) = &first.text {
        print!("{text}");
    }
    if first.broken.is_some() {
        let failure = make_small(args, &plan, &first, bar);
        return (first, 1, Some(failure));
    }
    if args.again_every > 0 && seed.is_multiple_of(args.again_every) {
        let second = run(&plan, false);
        if second.digest != first.digest {
            let failure = Failure {
                seed,
                id: "determinism".to_owned(),
                what: format!("two runs differ: {:x?} and {:x?}", first.digest, second.digest),
                command: command(&plan, args.hours, &options(args)),
                trace: first_difference(&plan),
            };
            return (first, 2, Some(failure));
        }
        return (first, 2, None);
    }
    (first, 1, None)
}

/// Where two runs of a plan part.
fn first_difference(plan: &Plan) -> Vec<String> {
    let [one, two] = [(); 2].map(|()| run(plan, true).text.unwrap_or_default());
    let mut before = Vec::new();
    for (left, right) in one.lines().zip(two.lines()) {
        if left != right {
            let from = before.len().saturating_sub(10);
            before.drain(..from);
            before.extend([format!("first run:  {left}"), format!("second run: {right}")]);
            return before;
        }
        before.push(left.to_owned());
    }
    vec!["a third and a fourth run are equal".to_owned()]
}

/// Options that a repetition needs.
fn options(args: &Args) -> String {
    let mut options = String::new();
    if args.standard {
        options.push_str(" --standard");
    }
    if let Some(list) = &args.faults {
        let names: Vec<&str> = list.0.iter().map(|fault| fault.name()).collect();
        options.push_str(" --faults ");
        options.push_str(&if names.is_empty() { "none".to_owned() } else { names.join(",") });
    }
    options
}

fn make_small(args: &Args, plan: &Plan, outcome: &Outcome, bar: &ProgressBar) -> Failure {
    let small = shrink(plan, outcome, args.shrink_runs_max, &mut |text| bar.set_message(text.to_owned()));
    let broken = small.outcome.broken.as_ref().or(outcome.broken.as_ref());
    let (id, what) = broken.map_or_else(Default::default, |(at, broken)| (broken.id, format!("at {at}: {broken}")));
    let text = small.outcome.text.unwrap_or_default();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    Failure {
        seed: plan.seed,
        id: id.to_owned(),
        what,
        command: command(&small.plan, args.hours, &options(args)),
        trace: lines[lines.len().saturating_sub(TRACE_LINES_MAX)..].to_vec(),
    }
}
