//! The workers: the product's own [`Fleet`], each life on a machine of its own.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use sessionwarden::{
    console::{Health, Status},
    effects::{Reports, SharedMemory},
    fleet::{Crew, Duties, DutyTimes, Fleet, FleetSink, Rechecks, Regions},
    handle::SharedStates,
    host,
    input::Parking,
    metrics::Metrics,
    outbound::{Counts, DeskLimits, MetricNames, Notifier, Outlets, Tally, Tell, WakeLimits},
    run::{Board, SharedBoard},
    stream::{Worker, WorkerSettings},
};
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    ids::Now,
    lease::{LeaseSettings, Start},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    hands::SimHands,
    host::SimHost,
    ledger::{SimLedger, SimMetrics, SimParking, SimPeople},
    queue::SimQueue,
    sim::{Sim, lock},
    store::{SimExpiry, SimStore},
    stream::{SimLeases, SimStream},
};

/// Within what time the wake-ups of one account and region are one, in milliseconds.
const GRAIN_MS: i64 = 1_000;
/// How long a wake-up is hidden.
const HIDDEN: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A loop that shows no life for so long is not ready; nobody asks.
const STALLED_AFTER: Duration = Duration::from_hours(1);

/// One of the workers.
pub struct Slot {
    /// Its machine.
    pub host: Arc<SimHost>,
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
    /// Counts sessions that were ended.
    pub tally: Arc<Tally>,
    /// It is down until then.
    pub down_until: Option<Now>,
    /// It stands still until then.
    pub stands_until: Option<Now>,
}

impl Slot {
    /// Starts a worker in its `life`-th life.
    pub fn start(sim: &Arc<Sim>, judge: &Arc<Judge>, worker: usize, life: u64) -> Self {
        let host = SimHost::new(sim, worker, life);
        let stop = CancellationToken::new();
        let (fleet, tally) = fleet(&host, judge);
        let running = host::on(Arc::clone(&host) as Arc<dyn host::Host>, Box::pin(fleet.run(stop.clone())));
        let ended = Arc::clone(&host);
        let task = tokio::spawn(async move {
            match AssertUnwindSafe(running).catch_unwind().await {
                Ok(stopped) => ended.note(format_args!("stops: {stopped:?}")),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref().copied());
                    let what = format!("it panicked: {}", text.unwrap_or_default());
                    ended.sim.broken("liveness", format!("worker {}", ended.worker), what);
                }
            }
            ended.die();
        });
        Self { host, task: Some(task), stop, tally, down_until: None, stands_until: None }
    }

    /// Everything of it is gone.
    pub async fn bury(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It was killed, or has ended.
            let _ = task.await;
        }
    }

    /// It is asked to stop.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Its next life.
    #[must_use]
    pub fn next(&self, sim: &Arc<Sim>, judge: &Arc<Judge>) -> Self {
        Self::start(sim, judge, self.host.worker, self.host.life + 1)
    }
}

type SimFleet = Fleet<SimStore, SimHands, SimQueue, SimStream, SimLeases, SimMetrics, SimExpiry>;

fn fleet(host: &Arc<SimHost>, judge: &Arc<Judge>) -> (SimFleet, Arc<Tally>) {
    let (sim, now) = (&host.sim, host::Host::now(&**host));
    let settings = sim.settings.clone();
    let metrics = Metrics::new().unwrap_or_else(|error| panic!("the table of metrics is wrong: {error}"));
    let board = SharedBoard::new(Board::new(now, &settings, "simulation", metrics.clone()).among_others(60_000));
    let people = sim
        .plan
        .people
        .then(|| -> Arc<dyn Tell> { Arc::new(Notifier::new(SimPeople(Arc::clone(host)), DeskLimits::default())) });
    let outlets = Outlets::new(people.clone());
    let tally = Arc::clone(&outlets.tally);
    let crew = Arc::new(Crew {
        store: SimStore::new(Arc::clone(host)),
        hands: Arc::new(SimHands::new(Arc::clone(host))),
        settings,
        verdicts: Verdicts::new(Arc::clone(judge)),
        reports: Reports::to(SimLedger(Arc::clone(host))),
        metrics,
        board,
        outlets,
        regions: Regions::default(),
        memory: SharedMemory::default(),
        states: SharedStates::default(),
    });
    let rechecks = Rechecks::new(crew, SimQueue(Arc::clone(host)), GRAIN_MS);
    let parker = Arc::clone(host);
    let parking = move || Parking::Elsewhere(Box::new(SimParking(Arc::clone(&parker))));
    let health = Health::new();
    let times = DutyTimes { reconcile: Duration::from_millis(sim.plan.reconcile_ms), ..DutyTimes::default() };
    let duties = Duties {
        rechecks: Arc::clone(&rechecks),
        times,
        counts: Some((Counts::new(MetricNames::Own), SimMetrics(Arc::clone(host)))),
        expiry: SimExpiry::new(Arc::clone(host)),
        people,
        status: watch::channel(Status::default()).0,
        source_pulse: health.watch("source", STALLED_AFTER),
        recheck_pulse: health.watch("recheck", STALLED_AFTER),
    };
    let settings = WorkerSettings {
        leases: LeaseSettings { fail_over_ms: sim.plan.fail_over_ms, ..LeaseSettings::default() },
        start: Start::TrimHorizon,
        batch_max: 500,
        ..WorkerSettings::default()
    };
    let worker = Worker::new(host.id(), settings).unwrap_or_else(|error| panic!("the settings are wrong: {error}"));
    let fleet = Fleet {
        sink: FleetSink::new("simulated", Arc::clone(&rechecks), parking),
        rechecks,
        duties,
        stream: Arc::new(SimStream(Arc::clone(host))),
        leases: SimLeases(Arc::clone(host)),
        worker,
        wake_limits: WakeLimits { hidden: HIDDEN, ..WakeLimits::default() },
        drain_max: DRAIN_MAX,
    };
    (fleet, tally)
}

/// I14: what a worker has counted is what it has reported, as long as it knows what it has reported.
pub fn totals_agree(sim: &Sim, slot: &Slot) {
    let life = (slot.host.worker, slot.host.life);
    let counted: u64 = slot.tally.totals().values().sum();
    let written = lock(&sim.written);
    let reported = written.ended.get(&life).map_or(0, std::collections::BTreeSet::len) as u64;
    let sure = !written.unsure.contains(&life);
    drop(written);
    *lock(&sim.watch).checks.entry("I14").or_default() += 1;
    if counted > reported || (sure && counted != reported) {
        let what = format!("{counted} sessions counted, and {reported} reported");
        sim.broken("I14", slot.host.id().to_string(), what);
    }
}
