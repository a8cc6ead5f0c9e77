//! What a seed draws: the organisation, the workers, the rules, the faults and what people do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{effect::Mode, settings::Settings};
use sessionwarden_world::{OrganisationShape, dice::Dice};

use super::chance::{Fault, Occurrence, share_of};

/// How rarely sessions are looked at where nothing goes wrong and every change is told of, in milliseconds.
const RARELY_MS: i64 = 120_000;
/// A quiet beginning, so that the workers have found their shards before anything goes wrong, in milliseconds.
pub const QUIET_MS: i64 = 20_000;
const HOUR_MS: f64 = 3_600_000.0;

/// Everything that a run depends on.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn for itself")]
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How long things go wrong, in milliseconds of simulated time.
    pub faulty_ms: i64,
    /// Ordinary accounts.
    pub accounts: usize,
    /// Shards at the beginning.
    pub shards: usize,
    /// Workers.
    pub workers: usize,
    /// Sessions alive at one time, about.
    pub sessions: usize,
    /// How long a session lasts at the most that nobody ends by force, in milliseconds; half of it in the mean.
    pub lasts_ms_max: i64,
    /// Regions in use.
    pub regions: usize,
    /// Events each second that mean nothing.
    pub noise: f64,
    /// The longest time that an ordinary call takes, in milliseconds.
    pub latency_ms_max: i64,
    /// When the waiver of the plan ends, in milliseconds from the beginning; `None`: there is none.
    pub waiver_ends_ms: Option<i64>,
    /// The settings of the core, but for what the organisation adds.
    pub settings: Settings,
    /// How long a lease may stay unchanged, in milliseconds.
    pub fail_over_ms: u64,
    /// The time between two comparisons with what AWS shows, in milliseconds.
    pub reconcile_ms: u64,
    /// People can be told.
    pub people: bool,
    /// The share of opportunities in which each fault happens.
    pub rates: BTreeMap<Fault, f64>,
    /// Nothing goes wrong but this, where it is given.
    pub only: Option<BTreeSet<Occurrence>>,
    /// What people do, in order.
    pub acts: Vec<Act>,
    /// Events are spread by their own id, not by account: those of one account come through several shards.
    pub spread: bool,
    /// One person of each account forwards ports, and nobody else: one is locked out, and not all.
    pub loners: bool,
    /// No event tells that a role loses a right: it shows when it is asked for.
    pub quiet: bool,
}

/// Something that people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Its number, by which all else about it is drawn.
    pub number: u32,
    /// When, in milliseconds from the beginning.
    pub at_ms: i64,
    /// What.
    pub kind: ActKind,
}

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActKind {
    /// A shell that keeps the rules.
    Visit,
    /// One that is resumed several times.
    Resumed,
    /// A tunnel, or a command, or a custom document.
    Violation,
    /// A session straight to a container.
    Container,
    /// A shell whose log never comes, or not as it should.
    OddLog,
    /// Tunnels one after the other, until the account is locked.
    Abuse,
    /// The same in several accounts at one time, so that not all of them may be locked at once.
    Outbreak,
    /// A role loses the right to write logs, and gets it back minutes later.
    Tampering,
    /// The log bucket's policy is written anew as it was, which disturbs the sessions of all accounts.
    Disturbance,
}

/// What is asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these faults, each where the seed draws it.
    pub faults: Option<BTreeSet<Fault>>,
    /// The organisation of the measurement: 20 accounts in one region, 4 shards, 3 workers, 200 sessions of an hour each in the
    /// mean.
    pub standard: bool,
}

impl Plan {
    /// What `seed` draws, for so many hours.
    pub fn draw(seed: u64, hours: f64, wanted: &Wanted) -> Self {
        let mut dice = Dice::new(seed ^ 0x0073_696d_756c_6174);
        let faulty_ms = (hours * HOUR_MS) as i64;
        let mut rates = draw_rates(&mut dice, wanted);
        if Dice::new(seed ^ 0x0063_616c_6d0a).chance(0.2) {
            // A quiet day: what time must bring is checked all the while.
            rates.clear();
        }
        let mut below = |low: i64, high: i64| dice.between(low, high);
        let small = (below(2, 8), below(1, 4), below(1, 4), below(2, 20), below(1, 2));
        let (accounts, shards, workers, sessions, regions) = if wanted.standard { (20, 4, 3, 200, 1) } else { small };
        let lasts_ms_max = if wanted.standard { 7_080_000 } else { 1_080_000 };
        let noise = below(0, 20) as f64 / 10.0;
        let latency_ms_max = [5, 40, 200][below(0, 2) as usize];
        let waiver_ends_ms = (below(0, 2) > 0).then(|| faulty_ms * below(20, 90) / 100);
        let fail_over_ms = [5_000, 10_000, 20_000][below(0, 2) as usize];
        let reconcile_ms = [60_000, 120_000, 300_000][below(0, 2) as usize];
        let people = below(0, 2) == 0;
        let settings = draw_settings(&mut below, wanted.standard);
        let mut settings = settings;
        if !wanted.standard {
            // Not at all, or for long.
            settings.rest_ms_max = [0, 600_000][Dice::new(seed ^ 0x0072_6573_740a).below(2) as usize];
        }
        // Half a session's longest time, about.
        let every_ms = if wanted.standard { 3_600_000 } else { 600_000 } / sessions.max(1);
        let mut acts = draw_acts(&mut dice, faulty_ms, every_ms, &settings);
        if wanted.standard {
            all_at_work(&mut acts, sessions);
        }
        let mut more = Dice::new(seed ^ 0x0071_7569_6574);
        let quiet = !wanted.standard && more.chance(0.5);
        let told = rates.is_empty() && !quiet && !wanted.standard;
        if told {
            // Whatever is noticed within a minute was told of by an event.
            (settings.recheck_ms, settings.recheck_ms_max) = (RARELY_MS, RARELY_MS);
        }
        if quiet || told {
            tamper_often(&mut acts, &mut more, faulty_ms);
        }
        Self {
            seed,
            faulty_ms,
            accounts: accounts as usize,
            shards: shards as usize,
            workers: workers as usize,
            sessions: sessions as usize,
            lasts_ms_max,
            regions: regions as usize,
            noise,
            latency_ms_max,
            waiver_ends_ms,
            settings: Settings { notify: people, ..settings },
            fail_over_ms,
            reconcile_ms,
            people,
            rates,
            only: None,
            acts,
            spread: !wanted.standard && dice.chance(0.3),
            quiet,
            loners: !wanted.standard && Dice::new(seed ^ 0x6c6f_6e65_720a).chance(0.3),
        }
    }

    /// The organisation.
    pub fn shape(&self) -> OrganisationShape {
        let regions = ["eu-central-1", "us-east-1"].map(Arc::from);
        OrganisationShape {
            accounts: self.accounts,
            nodes_per_account: 5,
            users_per_account: 3,
            regions: regions.into_iter().take(self.regions).collect(),
            log_delay_ms: (5_000, 40_000),
            quarantine_delay_ms: 20_000,
            // Nobody leaves but by `exit`, or by force.
            idle_timeout_ms: 400 * 24 * 3_600_000,
            history_ms: 30 * 24 * 3_600_000,
        }
    }
}

/// Swarm testing: each seed has about half of the faults, each at a rate of its own.
fn draw_rates(dice: &mut Dice, wanted: &Wanted) -> BTreeMap<Fault, f64> {
    let share = [0.15, 0.5, 0.85][dice.below(3) as usize];
    let mut rates = BTreeMap::new();
    for fault in Fault::ALL {
        let (drawn, rate) = (dice.chance(share), share_of(dice.bits()));
        let (low, high) = fault.rates();
        let asked = wanted.faults.as_ref().map(|faults| faults.contains(fault));
        if asked.unwrap_or(drawn) {
            rates.insert(*fault, low * (high / low).powf(rate));
        }
    }
    rates
}

fn draw_settings(below: &mut impl FnMut(i64, i64) -> i64, standard: bool) -> Settings {
    let mut settings = Settings { mode: Mode::Enforce, ..Settings::default() };
    let recheck_ms = [10_000, 15_000, 30_000][below(0, 2) as usize];
    settings.recheck_ms = if standard { 15_000 } else { recheck_ms };
    settings.recheck_ms_max = 60_000;
    settings.log_first_look_ms = 10_000;
    settings.log_wait_ms_max = 240_000;
    settings.evidence_unknown_ms_max = 300_000;
    settings.posture.stream_grace_ms = 120_000;
    let rules = &mut settings.quarantine;
    rules.mode = Mode::Enforce;
    rules.sessions_min = below(4, 8) as usize;
    rules.window_ms = 300_000;
    rules.duration_ms = below(4, 8) * 60_000;
    rules.approvals = [0, 0, 1, 2][below(0, 3) as usize];
    rules.access_principals_min = below(1, 2) as usize;
    rules.concurrent_max = below(1, 3) as usize;
    rules.hourly_max = below(3, 6) as usize;
    rules.share_percent_max = 100;
    rules.breaker_accounts = 50;
    rules.breaker_ms = 120_000;
    rules.wait_ms_max = 600_000;
    rules.compare_ms = 30_000;
    rules.bite_ms_max = 300_000;
    settings
}

/// Roles lose rights all the time.
fn tamper_often(acts: &mut Vec<Act>, dice: &mut Dice, faulty_ms: i64) {
    let mut number = acts.len() as u32;
    let mut at_ms = dice.between(QUIET_MS, 120_000);
    while at_ms < faulty_ms {
        acts.push(Act { number, at_ms, kind: ActKind::Tampering });
        number += 1;
        at_ms += dice.between(30_000, 120_000);
    }
    acts.sort_by_key(|act| (act.at_ms, act.number));
}

/// At the beginning as many sessions live as later on.
fn all_at_work(acts: &mut Vec<Act>, sessions: i64) {
    let first = acts.len() as u32;
    let opened = (0..sessions as u32).map(|number| Act {
        number: first + number,
        at_ms: QUIET_MS + 500 * i64::from(number),
        kind: ActKind::Visit,
    });
    acts.extend(opened);
    acts.sort_by_key(|act| (act.at_ms, act.number));
}

fn draw_acts(dice: &mut Dice, faulty_ms: i64, every_ms: i64, settings: &Settings) -> Vec<Act> {
    let between_ms = every_ms.max(100);
    let mut times: Vec<(i64, ActKind)> = Vec::new();
    let mut at_ms = QUIET_MS;
    while at_ms < faulty_ms {
        let kind = match dice.below(100) {
            0..70 => ActKind::Visit,
            70..78 => ActKind::Resumed,
            78..88 => ActKind::Violation,
            88..91 => ActKind::Container,
            _ => ActKind::OddLog,
        };
        times.push((at_ms, kind));
        at_ms += dice.between(between_ms / 4, between_ms * 7 / 4);
    }
    let outbreaks_ms = if dice.chance(0.5) { 1_000_000 } else { i64::MAX / 4 };
    let rare = [
        (ActKind::Abuse, 900_000),
        (ActKind::Outbreak, outbreaks_ms),
        (ActKind::Tampering, 700_000),
        (ActKind::Disturbance, 800_000),
    ];
    for (kind, every_ms) in rare {
        let mut at_ms = dice.between(QUIET_MS, every_ms);
        while at_ms < faulty_ms - settings.quarantine.window_ms {
            times.push((at_ms, kind));
            at_ms += dice.between(every_ms / 2, every_ms * 2);
        }
    }
    times.sort_unstable();
    (0..).zip(times).map(|(number, (at_ms, kind))| Act { number, at_ms, kind }).collect()
}
