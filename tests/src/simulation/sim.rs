//! What a run is made of: the models, and what they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sessionwarden::local::LocalOrganization;
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    ids::{AccountId, Now, SessionKey},
    invariants::Broken,
    settings::Settings,
};
use tokio::{sync::Notify, time::Instant};

use super::{
    chance::{Chance, Fault, mix},
    ledger::Written,
    plan::Plan,
    queue::Messages,
    reference::{Happened, Interpreter, RulesRead},
    store::Tables,
    stream::Shards,
    trace::Trace,
    watch::Watch,
};

/// When every run begins.
pub const START: Now = Now(1_795_000_000_000);

/// One run: the models of all that surrounds the workers.
pub struct Sim {
    /// What was drawn.
    pub plan: Plan,
    /// The settings of the core.
    pub settings: Settings,
    begun: Instant,
    /// By fault: whether it can happen at all.
    possible: Vec<bool>,
    chance: Mutex<Chance>,
    trace: Mutex<Trace>,
    latencies: Mutex<u64>,
    /// The organisation.
    pub organization: LocalOrganization,
    /// The store's tables.
    pub tables: Mutex<Tables>,
    /// The stream and the lease table.
    pub shards: Mutex<Shards>,
    /// The queue of wake-ups.
    pub messages: Mutex<Messages>,
    /// A message may be visible.
    pub sent: Notify,
    /// Feed, audit trail, parked records, metric data.
    pub written: Mutex<Written>,
    /// The promises.
    pub watch: Mutex<Watch>,
    /// What is right by now.
    pub reference: Mutex<Interpreter>,
    /// The policy, to judge again what is stored.
    pub verdicts: Mutex<Verdicts>,
    /// Who was for locking each account, since it was last free.
    pub approvers: Mutex<BTreeMap<AccountId, BTreeSet<Arc<str>>>>,
    /// Sessions that began, sessions that were ended by force, locks.
    pub sessions: Mutex<[u64; 3]>,
    /// What is out of order for a while.
    pub troubles: Mutex<Troubles>,
    /// Workers that died and were not noticed yet.
    pub died: Mutex<Vec<usize>>,
}

/// What is out of order until a time.
#[derive(Debug, Default)]
pub struct Troubles {
    /// Accounts that refuse everything.
    pub denied: BTreeMap<AccountId, Now>,
    /// Accounts that refuse questions about their roles.
    pub iam: BTreeMap<AccountId, Now>,
    /// Accounts that answer nothing.
    pub slow: BTreeMap<AccountId, Now>,
    /// Regions that answer nothing.
    pub regions: BTreeMap<Arc<str>, Now>,
    /// Accounts that take no further policy.
    pub full: BTreeMap<AccountId, Now>,
    /// The feed takes nothing.
    pub feed: Option<Now>,
    /// Accounts of which some call was not answered as it should have been, and since when that is over.
    pub touched: BTreeMap<AccountId, Now>,
    /// Sessions whose items were deleted before their time.
    pub forgotten: BTreeSet<SessionKey>,
    /// When the rights of each role last changed.
    pub roles_changed: BTreeMap<(AccountId, Arc<str>), Now>,
    /// When the last trouble that can hold all up was over.
    pub calm_since: Now,
}

/// A lock that is never held across an await.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// Everything at its beginning; to be called inside of the run's runtime.
    pub fn new(
        plan: Plan,
        organization: LocalOrganization,
        settings: Settings,
        judge: &Arc<Judge>,
        text: bool,
    ) -> Self {
        Self {
            begun: Instant::now(),
            possible: Fault::ALL.iter().map(|fault| plan.rates.contains_key(fault)).collect(),
            chance: Mutex::new(Chance::new(plan.seed, &plan.rates, plan.only.clone())),
            trace: Mutex::new(Trace::new(text)),
            latencies: Mutex::default(),
            organization,
            tables: Mutex::default(),
            shards: Mutex::new(Shards::new(plan.shards)),
            messages: Mutex::default(),
            sent: Notify::new(),
            written: Mutex::default(),
            watch: Mutex::default(),
            reference: Mutex::new(Interpreter::new(RulesRead {
                waiver_ends: plan.waiver_ends_ms.map(|ms| START.plus_ms(ms)),
                quarantine: settings.quarantine.clone(),
            })),
            verdicts: Mutex::new(Verdicts::new(Arc::clone(judge))),
            approvers: Mutex::default(),
            sessions: Mutex::default(),
            troubles: Mutex::new(Troubles { calm_since: START, ..Troubles::default() }),
            died: Mutex::default(),
            settings,
            plan,
        }
    }

    /// Milliseconds since the beginning.
    pub fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The true time.
    pub fn now(&self) -> Now {
        START.plus_ms(self.elapsed_ms())
    }

    /// Whether a fault happens, with a number to draw its details from.
    pub fn happens(&self, fault: Fault) -> Option<u64> {
        if !self.possible[fault as usize] {
            return None;
        }
        let drawn = lock(&self.chance).happens(fault)?;
        self.note(None, format_args!("fault {}", fault.name()));
        Some(drawn)
    }

    /// Looks at the faults, or ends them.
    pub fn chance(&self) -> MutexGuard<'_, Chance> {
        lock(&self.chance)
    }

    /// Adds a step to the trace.
    pub fn note(&self, worker: Option<usize>, what: fmt::Arguments<'_>) {
        lock(&self.trace).add(self.now(), worker, what);
    }

    /// The trace so far.
    pub fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    /// How long the next ordinary call takes.
    pub fn latency(&self) -> Option<Duration> {
        let mut count = lock(&self.latencies);
        *count += 1;
        let drawn = mix(self.plan.seed, 2_000, *count);
        let long = self.plan.latency_ms_max.unsigned_abs() + 1;
        // Half of all calls are answered at once.
        (drawn & 1 == 0).then(|| Duration::from_millis((drawn >> 1) % long))
    }

    /// A promise does not hold.
    pub fn broken(&self, id: &'static str, subject: impl Into<String>, what: impl Into<String>) {
        self.found(Broken { id, subject: subject.into(), what: what.into() });
    }

    /// A promise was found not to hold.
    pub fn found(&self, broken: Broken) {
        self.note(None, format_args!("{broken}"));
        lock(&self.watch).broken.push((self.now(), broken));
    }

    /// Something really happened.
    pub fn happened(&self, what: &Happened) {
        self.note(None, format_args!("{what:?}"));
        let counted = match what {
            Happened::Started { .. } => Some(0),
            Happened::Ended { forced: true, .. } => Some(1),
            Happened::Locked { .. } => Some(2),
            Happened::Ended { forced: false, .. }
            | Happened::Heard { .. }
            | Happened::Spoiled { .. }
            | Happened::Mended { .. }
            | Happened::Unlocked { .. }
            | Happened::Forgotten { .. } => None,
        };
        if let Some(counted) = counted {
            lock(&self.sessions)[counted] += 1;
        }
        if let Happened::Spoiled { account, role } | Happened::Mended { account, role } = what {
            lock(&self.troubles).roles_changed.insert((*account, Arc::clone(role)), self.now());
        }
        if let Happened::Unlocked { account } = what {
            lock(&self.approvers).remove(account);
        }
        lock(&self.reference).read(self.now(), what);
    }

    /// Nothing could be held up from now on, until something is again.
    pub fn disturbed_until(&self, until: Now) {
        let mut troubles = lock(&self.troubles);
        troubles.calm_since = troubles.calm_since.max(until);
    }

    /// An account's answers are not what they should be.
    pub fn touch(&self, account: AccountId, until: Now) {
        let mut troubles = lock(&self.troubles);
        let touched = troubles.touched.entry(account).or_insert(until);
        *touched = (*touched).max(until);
    }
}
