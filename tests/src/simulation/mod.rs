//! A deterministic simulation of the whole system over the product's own code.
//!
//! Workers of the fleet run as they do in production: [`sessionwarden::fleet::Fleet`] with its readers, handlers, rechecks,
//! duties and loops. Around them everything is a model that follows from a seed: the stream and its leases, the state table,
//! the queue of wake-ups, feed and audit trail, the organisation, the network to it, and the clocks. One thread runs all of
//! it on a virtual clock, so that an hour takes as long as what happens in it.
//!
//! Between two polls of any task, and at each call of a model, a worker can be held up, die, or be told something wrong.
//! See `docs/simulation.md`.

pub mod chance;
pub mod converge;
pub mod driver;
pub mod hands;
pub mod host;
pub mod ledger;
pub mod orders;
pub mod people;
pub mod plan;
pub mod queue;
pub mod reference;
pub mod report;
pub mod shrink;
pub mod sim;
pub mod store;
pub mod stream;
pub mod trace;
pub mod watch;
pub mod workers;

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden::local::LocalOrganization;
use sessionwarden_machine::{
    compliance::{Judge, PolicyRole, PolicySource, shipped_sources},
    ids::Now,
    invariants::Broken,
};
use sessionwarden_world::World;

use self::{
    chance::{Fault, Occurrence},
    driver::Run,
    plan::Plan,
    sim::{START, Sim, lock},
};

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The first promise that did not hold, and when that was seen.
    pub broken: Option<(Now, Broken)>,
    /// The trace's number, and how many steps it has. Equal plans have equal ones.
    pub digest: (u64, u64),
    /// What was simulated, in milliseconds: the time of the faults and the time until all had come to rest.
    pub simulated_ms: i64,
    /// The faults that happened, in order.
    pub happened: Vec<Occurrence>,
    /// How often each promise was checked by the models. What the product checks after each save comes on top.
    pub checks: BTreeMap<&'static str, u64>,
    /// How many sessions there were, how many were ended by force, and how many locks.
    pub sessions: [u64; 3],
    /// The trace's text, where it was asked for.
    pub text: Option<String>,
}

impl Outcome {
    /// How often each fault happened.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        let mut counts = BTreeMap::new();
        for (fault, _) in &self.happened {
            *counts.entry(*fault).or_default() += 1;
        }
        counts
    }
}

/// The policy of a plan: the shipped controls, and its waiver. Mistakes in it are those of the simulation.
fn judge(plan: &Plan) -> Arc<Judge> {
    let mut sources = shipped_sources();
    if let Some(ends_ms) = plan.waiver_ends_ms {
        let expires = START.plus_ms(ends_ms);
        let text = format!(
            "@id(\"WV-SSH\")\n@control(\"SW-DOC-02\")\n@owner(\"ops@example.com\")\n@ticket(\"OPS-1\")\n@expires(\"{expires}\")\n\
             permit (principal, action == Action::\"session\", resource)\n\
             when {{ context.documentKind == DocumentKind::\"ssh\" }};\n",
        );
        sources.push(PolicySource { file: "ssh.cedar".to_owned(), text, role: PolicyRole::Waivers });
    }
    Arc::new(Judge::load(&sources).unwrap_or_else(|errors| panic!("the policy of the simulation is wrong: {errors}")))
}

/// Runs a plan, on this thread.
///
/// # Panics
/// Where the simulation itself is wrong.
pub fn run(plan: &Plan, text: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    let judge = judge(plan);
    runtime.block_on(async {
        let organization = LocalOrganization::new(World::new(plan.shape(), plan.seed, START));
        let mut settings = plan.settings.clone();
        organization.settle_in(&mut settings);
        let sim = Arc::new(Sim::new(plan.clone(), organization, settings, &judge, text));
        Box::pin(Run::new(&sim, &judge).run()).await;
        outcome(&sim)
    })
}

fn outcome(sim: &Arc<Sim>) -> Outcome {
    let sessions = *lock(&sim.sessions);
    let watch = lock(&sim.watch);
    let (broken, checks) = (watch.broken.first().cloned(), watch.checks.clone());
    drop(watch);
    let happened = std::mem::take(&mut sim.chance().happened);
    let simulated_ms = sim.elapsed_ms();
    let trace = std::mem::replace(&mut *sim.trace(), trace::Trace::new(false));
    let digest = trace.digest();
    Outcome { broken, digest, simulated_ms, happened, checks, sessions, text: trace.into_text() }
}
