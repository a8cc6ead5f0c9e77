//! The proof that the simulation finds mistakes: makes one after the other, and looks how many seeds it takes.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Parser;
use comfy_table::{Table, presets};
use sessionwarden_machine::mutation::{Mutation, choose};
use sessionwarden_tests::simulation::{
    plan::{Plan, Wanted},
    run,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Make one mistake after the other in the product, and see that the simulation finds each.
#[derive(Parser)]
struct Args {
    /// Within how many seeds each has to be found.
    #[arg(long, default_value_t = 60)]
    seeds_max: u64,
    /// How long things go wrong in each run, in simulated hours.
    #[arg(long, default_value_t = 0.5)]
    hours: f64,
    /// Only this one.
    #[arg(long)]
    mutation: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// How a mistake was found.
struct Found {
    mutation: Mutation,
    /// Seeds until then, and what was broken.
    seeds: Option<(u64, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wanted = |mutation: &&Mutation| args.mutation.as_ref().is_none_or(|name| name == mutation.name());
    let mutations: Vec<Mutation> = Mutation::ALL.iter().filter(wanted).copied().collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::<Vec<Found>>::default());
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                while let Some(mutation) = mutations.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = Found { mutation: *mutation, seeds: find(&args, *mutation) };
                    eprintln!("{}: {:?}", mutation.name(), found.seeds);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|found| found.mutation);
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["mistake", "seeds", "found by"]);
    for found in &all {
        let (seeds, what) = found.seeds.clone().map_or_else(
            || (format!("more than {}", args.seeds_max), "NOT FOUND".to_owned()),
            |(seeds, what)| (seeds.to_string(), what),
        );
        table.add_row([found.mutation.name(), &seeds, &what]);
    }
    println!("{table}");
    let missed = all.iter().filter(|found| found.seeds.is_none()).count();
    println!("{} of {} mistakes were found", all.len() - missed, all.len());
    if missed == 0 && !all.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many seeds it takes to find a mistake, and by what.
fn find(args: &Args, mutation: Mutation) -> Option<(u64, String)> {
    (0..args.seeds_max).find_map(|seed| {
        let plan = Plan::draw(seed, args.hours, &Wanted::default());
        choose(Some(mutation));
        let outcome = run(&plan, false);
        choose(None);
        // What breaks without the mistake as well does not count.
        if outcome.broken.is_some() && run(&plan, false).broken.is_some() {
            return None;
        }
        let (_, broken) = outcome.broken?;
        let subject = broken.subject.chars().take(60).collect::<String>();
        Some((seed + 1, format!("{}: {}: {}", broken.id, subject, broken.what)))
    })
}
