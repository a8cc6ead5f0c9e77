//! The service without its clock: each test says what time it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use sessionwarden::{
    audit::{self, AuditFile},
    effects::Reports,
    feed::FeedFile,
    handle::{Handler, State},
    input::{ParkedFile, RecordAt},
    local::{DemonstrationSource, LocalOrganization, demonstration, quicken},
    metrics::Metrics,
    policy,
    ports::Hands as Port,
    run::{Board, Candidate, Ingest, IngestError, Look, Position, SharedBoard},
};
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    effect::Mode,
    ids::{AccountId, Now, Subject},
    session::Session,
    settings::Settings,
};
use sessionwarden_store::{Memory, Store};

use crate::hands::Hands;

pub(crate) const START: Now = Now(1_722_500_000_000);
const TICK_MS: i64 = 100;
pub(crate) const SWEEP_MS: i64 = 5_000;
pub(crate) const RECONCILE_MS: i64 = 15_000;

/// The demonstration's settings in enforce mode.
pub(crate) fn settings(hands: &LocalOrganization) -> Settings {
    let mut settings = Settings { mode: Mode::Enforce, ..Settings::default() };
    settings.quarantine.mode = Mode::Enforce;
    hands.settle_in(&mut settings);
    quicken(&mut settings);
    settings
}

fn judge() -> Arc<Judge> {
    policy::load(None, None).unwrap()
}

/// The handler over one store and one folder, from start to crash.
pub(crate) struct Stage<S, H> {
    pub(crate) handler: Handler<S, H>,
    pub(crate) ingest: Ingest,
    pub(crate) metrics: Metrics,
    pub(crate) store: S,
    folder: PathBuf,
    position: Position,
}

impl<S: Store + Clone, H: Port> Stage<S, H> {
    pub(crate) fn new(folder: &Path, store: S, hands: Option<H>, settings: Settings) -> Self {
        let metrics = Metrics::new().unwrap();
        let board = SharedBoard::new(Board::new(START, &settings, "test", metrics.clone()));
        let feed = FeedFile::open(&folder.join("feed.jsonl")).unwrap();
        let audit = AuditFile::open(&folder.join("audit.jsonl")).unwrap();
        let verdicts = Verdicts::new(judge());
        let reports = Reports::new(feed, audit);
        let handler = Handler::new(store.clone(), hands, settings, verdicts, reports, metrics.clone(), board);
        let ingest = Ingest::new(ParkedFile::append(&folder.join("parked.jsonl")).unwrap());
        Self { handler, ingest, metrics, store, folder: folder.to_owned(), position: Position::default() }
    }

    pub(crate) async fn deliver(&mut self, events: &[Vec<u8>], now: Now) -> Result<(), IngestError> {
        let candidates: Vec<Candidate> = events
            .iter()
            .map(|bytes| Candidate {
                bytes: bytes.clone(),
                at: RecordAt { record: 1, byte: 0 },
                look: Look::Whole,
                known: false,
            })
            .collect();
        self.ingest.take(&mut self.handler, "test", &candidates, &mut self.position, now).await
    }

    pub(crate) async fn states(&self) -> Vec<State> {
        let mut states = Vec::new();
        for key in self.store.keys("", None, usize::MAX >> 1).await.unwrap() {
            let subject: Subject = key.parse().unwrap();
            // A fault that is left in a script is not what the test is about.
            let state = loop {
                if let Ok(state) = self.handler.load(&subject).await {
                    break state;
                }
            };
            states.push(state.unwrap());
        }
        states
    }

    pub(crate) async fn sessions(&self) -> Vec<Session> {
        let states = self.states().await.into_iter();
        states
            .filter_map(|state| match state {
                State::Session(session) => Some(*session),
                State::Account(_) | State::Incident(_) | State::Register(_) | State::Place(_) => None,
            })
            .collect()
    }

    /// Records of the feed by `metadata.uid`. A record that comes twice under its id must be the same record.
    pub(crate) fn feed(&self) -> BTreeMap<String, Value> {
        feed(&self.folder)
    }

    /// Audit records by kind and id, in order; the chain must verify.
    pub(crate) fn audit(&self) -> Vec<Value> {
        audit::verify(&self.folder.join("audit.jsonl"), None).unwrap();
        lines(&self.folder.join("audit.jsonl"))
    }

    /// How each closed session came out.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, String> {
        let verdicts = self.audit().into_iter().filter_map(|record| {
            let session = record["id"].as_str().unwrap().strip_prefix("verdict/")?.to_owned();
            Some((session, record["body"]["outcome"].as_str().unwrap().to_owned()))
        });
        verdicts.collect()
    }

    /// The service's own check has found no broken promise.
    pub(crate) fn assert_sound(&self) {
        let text = self.metrics.prometheus_text().unwrap();
        let broken = text.lines().filter(|line| line.starts_with("sessionwarden_invariant_violations_total"));
        let broken: Vec<_> = broken.filter(|line| !line.ends_with(" 0")).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn feed(folder: &Path) -> BTreeMap<String, Value> {
    let mut records: BTreeMap<String, Value> = BTreeMap::new();
    for record in lines(&folder.join("feed.jsonl")) {
        let uid = record["metadata"]["uid"].as_str().unwrap().to_owned();
        if let Some(known) = records.insert(uid.clone(), record.clone()) {
            assert_eq!(known["class_uid"], record["class_uid"], "{uid} is two things");
        }
    }
    records
}

/// Ids of one kind, for example `finding`.
pub(crate) fn ids(feed: &BTreeMap<String, Value>, kind: &str) -> BTreeSet<String> {
    let prefix = format!("{kind}/");
    feed.keys().filter(|uid| uid.starts_with(&prefix)).cloned().collect()
}

/// The demonstration, its events on their way through `post`, which may lose, repeat, hold back or reorder them.
pub(crate) struct Show<S> {
    pub(crate) stage: Stage<S, Hands>,
    pub(crate) source: DemonstrationSource,
    pub(crate) hands: Hands,
    pub(crate) at_ms: i64,
}

impl Show<Memory> {
    pub(crate) fn in_memory(folder: &Path, seed: u64, script: impl FnOnce(LocalOrganization) -> Hands) -> Self {
        Self::new(folder, Memory::new(), seed, script, |_| {})
    }
}

impl<S: Store + Clone> Show<S> {
    pub(crate) fn new(
        folder: &Path,
        store: S,
        seed: u64,
        script: impl FnOnce(LocalOrganization) -> Hands,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (organization, source) = demonstration(seed, START);
        let mut settings = settings(&organization);
        change(&mut settings);
        let hands = script(organization);
        let stage = Stage::new(folder, store, Some(hands.clone()), settings);
        Self { stage, source, hands, at_ms: 0 }
    }

    /// Runs up to `until_ms`, as the service's loop does.
    pub(crate) async fn run(&mut self, until_ms: i64) -> Result<(), IngestError> {
        self.run_with(until_ms, |events, _| events).await
    }

    pub(crate) async fn run_with(
        &mut self,
        until_ms: i64,
        mut post: impl FnMut(Vec<Vec<u8>>, i64) -> Vec<Vec<u8>>,
    ) -> Result<(), IngestError> {
        while self.at_ms < until_ms {
            let now = START.plus_ms(self.at_ms);
            self.hands.clock.store(self.at_ms, Ordering::Relaxed);
            if self.at_ms % RECONCILE_MS == 0 {
                self.stage.handler.reconcile(now).await?;
            }
            if self.at_ms % SWEEP_MS == 0 {
                self.stage.handler.sweep(now).await?;
            }
            let events = post(self.source.step(now), self.at_ms);
            self.stage.deliver(&events, now).await?;
            self.stage.handler.recheck(now).await?;
            self.at_ms += TICK_MS;
        }
        Ok(())
    }
}

/// Nothing fails.
pub(crate) fn willing(organization: LocalOrganization) -> Hands {
    Hands::new(organization, |_, _, _| crate::hands::Fate::Answered)
}

/// The account whose people open one port session after another.
pub(crate) fn abused(sessions: &[Session]) -> AccountId {
    let mut counts: BTreeMap<AccountId, usize> = BTreeMap::new();
    for session in sessions.iter().filter(|session| session.document().starts_with("AWS-StartPort")) {
        *counts.entry(session.key.account).or_default() += 1;
    }
    *counts.iter().max_by_key(|(_, count)| **count).unwrap().0
}
