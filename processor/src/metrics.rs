//! The metrics: one table of names, units and meanings, and a handle with one method for each.

use std::{fmt::Write, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, MeterProvider},
};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{Resource, error::OTelSdkResult, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use sessionwarden_machine::ids::Now;

use crate::stream::{Movements, WorkerStatus};

/// What a metric's value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Is the latest value.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl MetricKind {
    /// The kind as Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDef {
    /// The name, the same in Prometheus and in OTLP.
    pub name: &'static str,
    /// What its value does.
    pub kind: MetricKind,
    /// The unit, as UCUM writes it: `ms`, `s`, or a counted thing in braces.
    pub unit: &'static str,
    /// Its labels; empty for a single value.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> MetricDef {
    MetricDef { name, kind: MetricKind::Counter, unit, labels, meaning }
}

const fn gauge(name: &'static str, unit: &'static str, meaning: &'static str) -> MetricDef {
    MetricDef { name, kind: MetricKind::Gauge, unit, labels: &[], meaning }
}

const RECORDS_READ: MetricDef =
    counter("sessionwarden_records_read_total", "{record}", &[], "Records taken from the source.");
const RECORDS_RELEVANT: MetricDef =
    counter("sessionwarden_records_relevant_total", "{record}", &[], "Records that said something about a subject.");
const RECORDS_IGNORED: MetricDef =
    counter("sessionwarden_records_ignored_total", "{record}", &[], "Records that concern nothing that is watched.");
const RECORDS_DUPLICATE: MetricDef =
    counter("sessionwarden_records_duplicate_total", "{record}", &[], "Relevant records that were seen before.");
const RECORDS_PARKED: MetricDef = counter(
    "sessionwarden_records_parked_total",
    "{record}",
    &[],
    "Records that could not be read, parked with the reason.",
);
const SOURCE_LAG: MetricDef =
    gauge("sessionwarden_source_lag_ms", "ms", "Age of the newest record handled: now less its event time.");
const HANDLE: MetricDef = MetricDef {
    name: "sessionwarden_handle_seconds",
    kind: MetricKind::Histogram,
    unit: "s",
    labels: &[],
    meaning: "Time from one input to its durable effects: load, step, save, execute.",
};
const SESSIONS_LIVE: MetricDef = gauge("sessionwarden_sessions_live", "{session}", "Sessions that are live now.");
const VERDICTS: MetricDef = counter(
    "sessionwarden_verdicts_total",
    "{verdict}",
    &["control", "outcome"],
    "Verdicts that changed, by control and outcome.",
);
const JUDGE_HITS: MetricDef =
    counter("sessionwarden_judge_memo_hits_total", "{question}", &[], "Verdicts answered from memory.");
const JUDGE_MISSES: MetricDef = counter(
    "sessionwarden_judge_memo_misses_total",
    "{question}",
    &[],
    "Verdicts for which the policies were evaluated.",
);
const TERMINATIONS: MetricDef = counter(
    "sessionwarden_terminations_total",
    "{session}",
    &["result"],
    "Terminations of sessions, by how they ended.",
);
const EFFECTS: MetricDef =
    counter("sessionwarden_effects_total", "{effect}", &["kind", "result"], "Effects performed, by kind and result.");
const INCIDENTS_OPEN: MetricDef = gauge("sessionwarden_incidents_open", "{incident}", "Incidents that are open now.");
const QUARANTINED: MetricDef =
    gauge("sessionwarden_quarantined_accounts", "{account}", "Accounts that are locked now.");
const RECHECK_OVERDUE: MetricDef = gauge(
    "sessionwarden_recheck_overdue_ms",
    "ms",
    "How long the longest overdue recheck has been due; 0 when none is.",
);
const STORE_CONFLICTS: MetricDef = counter(
    "sessionwarden_store_conflicts_total",
    "{write}",
    &[],
    "Conditional writes that lost a race and were stepped again.",
);
const STORE_UNITS: MetricDef = counter(
    "sessionwarden_store_units_total",
    "{unit}",
    &["kind"],
    "DynamoDB capacity units consumed, as the service reported them: read, write.",
);
const HEARTBEAT: MetricDef =
    gauge("sessionwarden_heartbeat_seconds", "s", "When the loop that reads shards last went round, as Unix time.");
const ITERATOR_AGE: MetricDef = gauge(
    "sessionwarden_iterator_age_ms",
    "ms",
    "How far the shard that is furthest behind is behind its newest record.",
);
const SHARDS: MetricDef = gauge("sessionwarden_shards", "{shard}", "Shards that this worker reads.");
const LEASES_MOVED: MetricDef = counter(
    "sessionwarden_leases_moved_total",
    "{lease}",
    &["how"],
    "Shards that changed hands: taken, asked, released, lost, ended.",
);
const CALLS: MetricDef = counter(
    "sessionwarden_calls_total",
    "{call}",
    &["call", "result"],
    "Calls of AWS in the organisation's accounts, by operation and result: ok, throttled, denied, gone, unknown.",
);
const ACCOUNTS: MetricDef = counter(
    "sessionwarden_roles_assumed_total",
    "{role}",
    &["result"],
    "Roles of member accounts that were to be assumed, by result.",
);
const ACCOUNTS_REFUSED: MetricDef = gauge(
    "sessionwarden_accounts_refused",
    "{account}",
    "Accounts whose role could not be assumed at the last try: nothing is seen of their sessions.",
);
const ADOPTED: MetricDef =
    counter("sessionwarden_sessions_adopted_total", "{session}", &[], "Sessions found alive that no event announced.");
const STARTED: MetricDef = counter(
    "sessionwarden_sessions_announced_total",
    "{session}",
    &[],
    "Sessions first heard of by an event. Adopted by adopted and announced is the share of missed events.",
);
const ROUTED: MetricDef = counter(
    "sessionwarden_route_messages_total",
    "{message}",
    &["route", "result"],
    "Messages of each route, by result of each try: told, later (it is tried again), dead (kept as a dead letter).",
);
const VIOLATIONS: MetricDef = counter(
    "sessionwarden_invariant_violations_total",
    "{violation}",
    &["invariant"],
    "Broken promises found by the service's own check; anything above 0 is a defect.",
);

const TABLE: [MetricDef; 29] = [
    RECORDS_READ,
    RECORDS_RELEVANT,
    RECORDS_IGNORED,
    RECORDS_DUPLICATE,
    RECORDS_PARKED,
    SOURCE_LAG,
    HANDLE,
    SESSIONS_LIVE,
    VERDICTS,
    JUDGE_HITS,
    JUDGE_MISSES,
    TERMINATIONS,
    EFFECTS,
    INCIDENTS_OPEN,
    QUARANTINED,
    RECHECK_OVERDUE,
    STORE_CONFLICTS,
    STORE_UNITS,
    HEARTBEAT,
    ITERATOR_AGE,
    SHARDS,
    LEASES_MOVED,
    CALLS,
    ACCOUNTS,
    ACCOUNTS_REFUSED,
    ADOPTED,
    STARTED,
    ROUTED,
    VIOLATIONS,
];

const HANDLE_BOUNDS_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Every metric there is.
pub fn table() -> &'static [MetricDef] {
    &TABLE
}

/// The table as the Markdown page `docs/metrics.md`.
pub fn table_markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\nAt `/metrics` of the console in Prometheus' text format, and over OTLP where a collector is \
         configured. This page is generated from the table in `processor/src/metrics.rs`.\n\n\
         | name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for MetricDef { name, kind, unit, labels, meaning } in &TABLE {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {} | {unit} | {} | {meaning} |", kind.as_str(), labels.join(", "));
    }
    page
}

/// The handle through which the service counts. Clones count into the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    provider: SdkMeterProvider,
    records_read: Counter<u64>,
    records_relevant: Counter<u64>,
    records_ignored: Counter<u64>,
    records_duplicate: Counter<u64>,
    records_parked: Counter<u64>,
    source_lag: Gauge<u64>,
    handle: Histogram<f64>,
    sessions_live: Gauge<u64>,
    verdicts: Counter<u64>,
    judge_hits: Counter<u64>,
    judge_misses: Counter<u64>,
    terminations: Counter<u64>,
    effects: Counter<u64>,
    incidents_open: Gauge<u64>,
    quarantined: Gauge<u64>,
    recheck_overdue: Gauge<u64>,
    store_conflicts: Counter<u64>,
    store_units: Counter<f64>,
    heartbeat: Gauge<u64>,
    iterator_age: Gauge<u64>,
    shards: Gauge<u64>,
    leases_moved: Counter<u64>,
    calls: Counter<u64>,
    roles: Counter<u64>,
    accounts_refused: Gauge<u64>,
    adopted: Counter<u64>,
    announced: Counter<u64>,
    routed: Counter<u64>,
    violations: Counter<u64>,
}

/// The meter provider could not be built.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be set up: {0}")]
pub struct MetricsError(String);

fn counts(meter: &Meter, def: &MetricDef) -> Counter<u64> {
    let counter = meter.u64_counter(def.name).with_unit(def.unit).with_description(def.meaning).build();
    if def.labels.is_empty() {
        counter.add(0, &[]);
    }
    counter
}

fn shows(meter: &Meter, def: &MetricDef) -> Gauge<u64> {
    let gauge = meter.u64_gauge(def.name).with_unit(def.unit).with_description(def.meaning).build();
    gauge.record(0, &[]);
    gauge
}

impl Metrics {
    /// Metrics that are read at `/metrics` only.
    ///
    /// # Errors
    /// As [`Metrics::with_exporter`].
    pub fn new() -> Result<Self, MetricsError> {
        Self::with_exporter(Resource::builder().with_service_name("sessionwarden").build(), None)
    }

    /// Metrics that are read at `/metrics`, and also sent by `exporter` every 60 s
    /// (`OTEL_METRIC_EXPORT_INTERVAL`, in ms, changes that).
    ///
    /// # Errors
    /// When the Prometheus registry refuses the reader.
    pub fn with_exporter(resource: Resource, exporter: Option<MetricExporter>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| MetricsError(error.to_string()))?;
        let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
        if let Some(exporter) = exporter {
            provider = provider.with_periodic_exporter(exporter);
        }
        let provider = provider.build();
        let meter = provider.meter("sessionwarden");
        let handle = meter
            .f64_histogram(HANDLE.name)
            .with_unit(HANDLE.unit)
            .with_description(HANDLE.meaning)
            .with_boundaries(HANDLE_BOUNDS_SECONDS.to_vec())
            .build();
        let inner = Inner {
            records_read: counts(&meter, &RECORDS_READ),
            records_relevant: counts(&meter, &RECORDS_RELEVANT),
            records_ignored: counts(&meter, &RECORDS_IGNORED),
            records_duplicate: counts(&meter, &RECORDS_DUPLICATE),
            records_parked: counts(&meter, &RECORDS_PARKED),
            source_lag: shows(&meter, &SOURCE_LAG),
            handle,
            sessions_live: shows(&meter, &SESSIONS_LIVE),
            verdicts: counts(&meter, &VERDICTS),
            judge_hits: counts(&meter, &JUDGE_HITS),
            judge_misses: counts(&meter, &JUDGE_MISSES),
            terminations: counts(&meter, &TERMINATIONS),
            effects: counts(&meter, &EFFECTS),
            incidents_open: shows(&meter, &INCIDENTS_OPEN),
            quarantined: shows(&meter, &QUARANTINED),
            recheck_overdue: shows(&meter, &RECHECK_OVERDUE),
            store_conflicts: counts(&meter, &STORE_CONFLICTS),
            store_units: meter
                .f64_counter(STORE_UNITS.name)
                .with_unit(STORE_UNITS.unit)
                .with_description(STORE_UNITS.meaning)
                .build(),
            heartbeat: shows(&meter, &HEARTBEAT),
            iterator_age: shows(&meter, &ITERATOR_AGE),
            shards: shows(&meter, &SHARDS),
            leases_moved: counts(&meter, &LEASES_MOVED),
            calls: counts(&meter, &CALLS),
            roles: counts(&meter, &ACCOUNTS),
            accounts_refused: shows(&meter, &ACCOUNTS_REFUSED),
            adopted: counts(&meter, &ADOPTED),
            announced: counts(&meter, &STARTED),
            routed: counts(&meter, &ROUTED),
            violations: counts(&meter, &VIOLATIONS),
            registry,
            provider,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn prometheus_text(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.inner.registry.gather())
            .map_err(|error| MetricsError(error.to_string()))
    }

    /// Sends what is left to the collector and stops sending. Blocks, for as long as the exporter takes.
    pub(crate) fn shutdown(&self) -> OTelSdkResult {
        self.inner.provider.shutdown()
    }

    /// `records` were taken from the source.
    pub fn records_read(&self, records: u64) {
        self.inner.records_read.add(records, &[]);
    }

    /// `records` said something about a subject.
    pub fn records_relevant(&self, records: u64) {
        self.inner.records_relevant.add(records, &[]);
    }

    /// `records` concern nothing that is watched.
    pub fn records_ignored(&self, records: u64) {
        self.inner.records_ignored.add(records, &[]);
    }

    /// `records` were seen before.
    pub fn records_duplicate(&self, records: u64) {
        self.inner.records_duplicate.add(records, &[]);
    }

    /// `records` were parked.
    pub fn records_parked(&self, records: u64) {
        self.inner.records_parked.add(records, &[]);
    }

    /// The newest record handled is `ms` old; a record from the future counts as 0.
    pub fn source_lag_ms(&self, ms: i64) {
        self.inner.source_lag.record(u64::try_from(ms).unwrap_or(0), &[]);
    }

    /// One input took `seconds`.
    pub fn handle_seconds(&self, seconds: f64) {
        self.inner.handle.record(seconds, &[]);
    }

    /// `sessions` are live.
    pub fn sessions_live(&self, sessions: u64) {
        self.inner.sessions_live.record(sessions, &[]);
    }

    /// A verdict changed to `outcome` under `control`.
    pub fn verdict(&self, control: &Arc<str>, outcome: &'static str) {
        let labels = [KeyValue::new("control", Arc::clone(control)), KeyValue::new("outcome", outcome)];
        self.inner.verdicts.add(1, &labels);
    }

    /// `hits` verdicts came from memory, `misses` had to be evaluated.
    pub fn judged(&self, hits: u64, misses: u64) {
        self.inner.judge_hits.add(hits, &[]);
        self.inner.judge_misses.add(misses, &[]);
    }

    /// A termination ended as `result` says: `planned`, `done`, `unneeded`, `failed`, `refused`.
    pub fn termination(&self, result: &'static str) {
        self.inner.terminations.add(1, &[KeyValue::new("result", result)]);
    }

    /// An effect of `kind` was performed with `result`.
    pub fn effect(&self, kind: &'static str, result: &'static str) {
        self.inner.effects.add(1, &[KeyValue::new("kind", kind), KeyValue::new("result", result)]);
    }

    /// `incidents` are open.
    pub fn incidents_open(&self, incidents: u64) {
        self.inner.incidents_open.record(incidents, &[]);
    }

    /// `accounts` are locked.
    pub fn quarantined_accounts(&self, accounts: u64) {
        self.inner.quarantined.record(accounts, &[]);
    }

    /// The longest overdue recheck was due `ms` ago; 0 or less when none is overdue.
    pub fn recheck_overdue_ms(&self, ms: i64) {
        self.inner.recheck_overdue.record(u64::try_from(ms).unwrap_or(0), &[]);
    }

    /// `writes` lost a race.
    pub fn store_conflicts(&self, writes: u64) {
        self.inner.store_conflicts.add(writes, &[]);
    }

    /// So many read and write units were consumed.
    pub fn store_units(&self, [read, write]: [f64; 2]) {
        self.inner.store_units.add(read, &[KeyValue::new("kind", "read")]);
        self.inner.store_units.add(write, &[KeyValue::new("kind", "write")]);
    }

    /// The loop that reads shards went round at `at`.
    pub fn heartbeat(&self, at: Now) {
        self.inner.heartbeat.record(u64::try_from(at.0 / 1_000).unwrap_or(0), &[]);
    }

    /// How the shards are doing that this worker reads.
    pub fn shards(&self, status: &WorkerStatus) {
        self.inner.shards.record(status.shards.len() as u64, &[]);
        let behind = status.shards.values().filter_map(|shard| shard.behind_ms).max();
        self.inner.iterator_age.record(behind.unwrap_or(0), &[]);
    }

    /// Shards changed hands.
    pub fn movements(&self, before: &Movements, after: &Movements) {
        for (how, before, after) in [
            ("taken", before.taken, after.taken),
            ("asked", before.asked, after.asked),
            ("released", before.released, after.released),
            ("lost", before.lost, after.lost),
            ("ended", before.ended, after.ended),
        ] {
            if after > before {
                self.inner.leases_moved.add(after - before, &[KeyValue::new("how", how)]);
            }
        }
    }

    /// `call` of AWS ended as `result` says: `ok`, `throttled`, `denied`, `gone`, `unknown`.
    pub fn call(&self, call: &'static str, result: &'static str) {
        self.inner.calls.add(1, &[KeyValue::new("call", call), KeyValue::new("result", result)]);
    }

    /// A role was to be assumed; `refused` accounts are out of reach now.
    pub fn role_assumed(&self, result: &'static str, refused: u64) {
        self.inner.roles.add(1, &[KeyValue::new("result", result)]);
        self.inner.accounts_refused.record(refused, &[]);
    }

    /// `sessions` were found alive that no event announced.
    pub fn sessions_adopted(&self, sessions: u64) {
        self.inner.adopted.add(sessions, &[]);
    }

    /// `sessions` were first heard of by an event.
    pub fn sessions_announced(&self, sessions: u64) {
        self.inner.announced.add(sessions, &[]);
    }

    /// A message of `route` was tried: `told`, `later`, `dead`.
    pub fn routed(&self, route: &Arc<str>, result: &'static str) {
        let labels = [KeyValue::new("route", Arc::clone(route)), KeyValue::new("result", result)];
        self.inner.routed.add(1, &labels);
    }

    /// The promise `invariant`, for example `I8`, was found broken.
    pub fn invariant_violation(&self, invariant: &'static str) {
        self.inner.violations.add(1, &[KeyValue::new("invariant", invariant)]);
    }
}
