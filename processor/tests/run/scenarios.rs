//! Every scenario of the model through the live service in enforce mode: what is found, what is ended, and how the
//! session comes out are what the scenario says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::Ordering,
};

use serde_json::Value;
use sessionwarden::{
    input::expand,
    local::LocalOrganization,
    policy,
    replay::{Options, Period, replay},
};
use sessionwarden_machine::{effect::Mode, session::Outcome, settings::Settings};
use sessionwarden_store::Memory;
use sessionwarden_world::{
    Expected, Scenario, World,
    scenario::{FORBIDDEN_REGION, STREAM_GRACE_MS, organisation},
    scenarios,
};

use crate::{
    hands::Port,
    stage::{self, RECONCILE_MS, START, SWEEP_MS, Stage, settings, willing},
};

/// The rows of the threat catalogue; the numbers it leaves out have no evidence that a control plane can see.
const THREATS: [&str; 30] = [
    "TH1", "TH2", "TH3", "TH4", "TH5", "TH6", "TH7", "TH8", "TH9", "TH10", "TH11", "TH12", "TH13", "TH14", "TH15",
    "TH17", "TH18", "TH20", "TH21", "TH22", "TH23", "TH24", "TH25", "TH26", "TH27", "TH28", "TH29", "TH30", "TH31",
    "TH32",
];
const SEED: u64 = 11;
const TICK_MS: usize = 250;
/// From the last act to the end, in milliseconds: longer than a log is waited for.
const AFTER_MS: i64 = 30_000;

/// What became of a scenario: controls found for its session, for events that are no session's, and what else the
/// session's incidents are about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    session: BTreeSet<String>,
    events: BTreeSet<String>,
    incidents: BTreeSet<String>,
    terminated: bool,
    outcome: Option<String>,
}

impl Came {
    fn expected(expected: &Expected) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let missing = expected.outcome.filter(|outcome| *outcome == Outcome::LogMissing).map(Outcome::as_str);
        let others = expected.incidents.iter().copied();
        Self {
            session: names(expected.session),
            events: names(expected.events),
            incidents: others.chain(missing).map(str::to_owned).collect(),
            terminated: expected.terminated,
            outcome: expected.outcome.map(|outcome| outcome.as_str().to_owned()),
        }
    }

    /// What the records of the feed say about `session`.
    fn told(feed: &BTreeMap<String, Value>, session: &str) -> Self {
        let mut came = Self::default();
        for (uid, record) in feed {
            let about = record["metadata"]["correlation_uid"].as_str();
            match (record["class_uid"].as_u64(), about) {
                (Some(2004), None) => drop(came.events.insert(record["policy"]["name"].as_str().unwrap().to_owned())),
                (Some(2004), Some(about)) if about == session => {
                    came.session.insert(record["policy"]["name"].as_str().unwrap().to_owned());
                }
                (Some(2005), Some(about)) if about == session => {
                    let cause = uid.strip_prefix("incident/").and_then(|cause| cause.split('/').next()).unwrap();
                    came.incidents.extend((!cause.starts_with("SW-")).then(|| cause.to_owned()));
                }
                _ => {}
            }
        }
        came
    }
}

/// The settings that scenarios reckon with, on top of the demonstration's.
fn wanted(organization: &LocalOrganization) -> Settings {
    let mut settings = settings(organization);
    settings.posture.stream_grace_ms = STREAM_GRACE_MS;
    let regions = organization.with(|world| world.regions().to_vec());
    settings.allowed_regions = regions.into_iter().filter(|region| **region != *FORBIDDEN_REGION).collect();
    settings
}

/// The scenario in the live service.
async fn live(scenario: &Scenario, mode: Mode, folder: &Path) -> Came {
    let world = World::new(organisation(), SEED, START);
    let mut play = scenario.play(&world, START);
    let organization = LocalOrganization::new(world);
    let settings = Settings { mode, ..wanted(&organization) };
    let hands = willing(organization);
    let mut stage = Stage::new(folder, Memory::new(), Some(hands.clone()), settings);
    let over_ms = play.over_at().0 - START.0 + AFTER_MS;
    for at_ms in (0..over_ms).step_by(TICK_MS) {
        let now = START.plus_ms(at_ms);
        hands.clock.store(at_ms, Ordering::Relaxed);
        if at_ms % RECONCILE_MS == 0 {
            stage.handler.reconcile(now).await.unwrap();
        }
        if at_ms % SWEEP_MS == 0 {
            stage.handler.sweep(now).await.unwrap();
        }
        let events = hands.inner.with(|world| {
            play.step(world, now);
            world.drain_events()
        });
        stage.deliver(&events, now).await.unwrap();
        stage.handler.recheck(now).await.unwrap();
    }
    stage.assert_sound();
    assert!(stage.ingest.parked_list.is_empty(), "{}: {:?}", scenario.name, stage.ingest.parked_list);
    let session = play.session().map(ToString::to_string).unwrap_or_default();
    let ended = hands.calls_of(Port::Terminate).iter().any(|call| call.2 == session);
    let gone = play.session().and_then(|key| hands.inner.with(|world| world.describe_session(key)));
    assert!(!ended || gone.is_some_and(|session| session.ended.is_some()), "{}: it lives on", scenario.name);
    Came { terminated: ended, outcome: stage.outcomes().remove(&session), ..Came::told(&stage.feed(), &session) }
}

/// The scenario's events alone, through a replay: what was found, and whether the session would have been ended.
fn replayed(scenario: &Scenario, folder: &Path) -> Came {
    let world = World::new(organisation(), SEED, START);
    let mut play = scenario.play(&world, START);
    let organization = LocalOrganization::new(world);
    let over = play.over_at().plus_ms(AFTER_MS);
    let events = organization.with(|world| {
        play.step(world, over);
        world.drain_events()
    });
    let (input, feed) = (folder.join("events.jsonl"), folder.join("feed.jsonl"));
    let text: Vec<u8> = events.iter().flat_map(|event| [event, &b"\n"[..]].concat()).collect();
    std::fs::write(&input, text).unwrap();
    let options = Options {
        judge: policy::load(None, None).unwrap(),
        settings: wanted(&organization),
        snapshot: None,
        period: Period::default(),
        threads: 1,
        feed: Some(feed),
        parked: None,
    };
    let summary = replay(&expand(&[input.display().to_string()]).unwrap(), &options, &|_| {}).unwrap();
    assert_eq!((summary.events.read, summary.events.poison), (events.len() as u64, 0), "{}", scenario.name);
    let session = play.session().map(ToString::to_string).unwrap_or_default();
    let feed = stage::feed(folder);
    let planned = feed.contains_key(&format!("terminate/{session}/planned#planned"));
    Came { terminated: planned, ..Came::told(&feed, &session) }
}

/// All that came out otherwise than expected, at once.
fn compare(came: impl IntoIterator<Item = (&'static Scenario, Came, Came)>) {
    let wrong = came.into_iter().filter(|(_, came, expected)| came != expected);
    let wrong: Vec<String> = wrong
        .map(|(scenario, came, expected)| {
            format!("{} {}\n  expected {expected:?}\n  came     {came:?}", scenario.threat, scenario.name)
        })
        .collect();
    assert!(wrong.is_empty(), "{} scenarios came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

// TH1, TH2, TH3, TH4, TH5, TH6, TH7, TH8, TH9, TH10, TH11, TH12, TH13, TH14, TH15, TH17, TH18, TH20, TH21, TH22, TH23,
// TH24, TH25, TH26, TH27, TH28, TH29, TH30, TH31, TH32, R-G2, R-G7, R-T2, R-T3, R-T5, R-D1, R-D2
#[tokio::test]
async fn every_scenario_comes_out_as_it_says() {
    let mut all = Vec::new();
    for scenario in scenarios() {
        let folder = tempfile::tempdir().unwrap();
        let came = live(scenario, Mode::Enforce, folder.path()).await;
        all.push((scenario, came, Came::expected(&scenario.expected)));
    }
    compare(all);
}

/// What history alone shows: every event outside sessions, and of sessions what needs no evidence.
#[test]
fn replay_sees_what_needs_no_evidence() {
    compare(scenarios().map(|scenario| {
        let folder = tempfile::tempdir().unwrap();
        let expected = Came::expected(&scenario.expected);
        let seen = if scenario.expected.evidence {
            Came { events: expected.events, ..Came::default() }
        } else {
            Came { outcome: None, incidents: BTreeSet::new(), ..expected }
        };
        (scenario, replayed(scenario, folder.path()), seen)
    }));
}

// TH2: where the session is left to go on, the content of its document shows what the name does not.
#[tokio::test]
async fn a_port_behind_a_custom_name_is_known_by_its_content() {
    let scenario = scenarios().find(|scenario| scenario.name == "a port behind a custom name").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let came = live(scenario, Mode::Observe, folder.path()).await;
    assert!(["SW-DOC-01", "SW-DOC-02"].iter().all(|control| came.session.contains(*control)), "{came:?}");
    // And so no log is missed.
    assert_eq!((came.outcome.as_deref(), came.incidents), (Some("violated"), BTreeSet::new()));
}

#[test]
fn every_row_of_the_catalogue_has_a_scenario() {
    let rows: BTreeSet<&str> = scenarios().map(|scenario| scenario.threat).collect();
    let missing: Vec<&str> = THREATS.into_iter().filter(|row| !rows.contains(row)).collect();
    assert_eq!(missing, [] as [&str; 0]);
}
