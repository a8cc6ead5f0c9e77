//! `generate --scenarios` from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use sessionwarden::{
    config::{Config, settings_of},
    input::expand,
    policy,
    replay::{Options, Period, replay},
};
use sessionwarden_machine::{
    decode::{Decoded, Decoder},
    session::Outcome,
};
use sessionwarden_world::scenarios;

/// Controls of events that open no incident.
const REPORTED: [&str; 5] = ["SW-DOC-05", "SW-JIT-02", "SW-NET-02", "SW-RDP-01", "SW-ROLE-02"];

fn generate(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwarden-loadtest"));
    command.current_dir(folder).arg("generate").args(line.split_whitespace()).output().unwrap()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn each_scenario_has_its_events_and_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let said = generate(folder.path(), "--scenarios new/folder --seed 5");
    assert!(said.status.success() && said.stdout.is_empty(), "{said:?}");
    let files = files(&folder.path().join("new/folder"));
    assert_eq!(files.len(), 2 * scenarios().count() + 1);
    let decoder = Decoder::default();
    let mut threats = BTreeSet::new();
    for (name, bytes) in &files {
        let Some(name) = name.strip_suffix(".expected.json") else { continue };
        let verdict: Value = serde_json::from_slice(bytes).unwrap();
        let scenario = scenarios().find(|scenario| verdict["name"] == scenario.name).unwrap();
        assert_eq!(scenario.name.to_lowercase().replace(' ', "-"), name);
        assert_eq!(verdict["controls"], serde_json::json!(scenario.expected.session), "{name}");
        assert_eq!(verdict["event_controls"], serde_json::json!(scenario.expected.events), "{name}");
        let flags = (&verdict["terminated"], &verdict["evidence"]);
        assert_eq!(flags, (&scenario.expected.terminated.into(), &scenario.expected.evidence.into()), "{name}");
        assert_eq!(verdict["outcome"].as_str(), scenario.expected.outcome.map(Outcome::as_str), "{name}");
        threats.insert(verdict["threat"].as_str().unwrap().to_owned());

        // The session that is judged is one that the events open.
        let events = std::str::from_utf8(&files[&format!("{name}.jsonl")]).unwrap();
        assert!(events.ends_with('\n'), "{name}");
        for event in events.lines() {
            decoder.decode_fully(event.as_bytes(), &mut |decoded| {
                assert!(!matches!(decoded, Decoded::Poison(_)), "{name}: {event}");
            });
        }
        let session = verdict["session"].as_str();
        assert_eq!(session.is_some(), scenario.expected.outcome.is_some(), "{name}");
        let id = session.and_then(|session| session.rsplit('/').next()).unwrap_or_default();
        assert!(events.contains(id), "{name}");
    }
    assert!(threats.len() > 30, "{threats:?}");
}

// TH17, TH18, TH22, TH24: what a replay has to be told of the organisation stands in the configuration.
#[test]
fn a_replay_comes_to_the_verdicts_that_need_no_evidence() {
    let folder = tempfile::tempdir().unwrap();
    assert!(generate(folder.path(), "--scenarios . --seed 9").status.success());
    let config = Config::load(Some(&folder.path().join("sessionwarden.toml")), std::iter::empty()).unwrap();
    let mut replayed = 0;
    for scenario in scenarios() {
        let name = folder.path().join(scenario.name.to_lowercase().replace(' ', "-"));
        let options = Options {
            judge: policy::load(None, None).unwrap(),
            settings: settings_of(&config),
            snapshot: None,
            period: Period::default(),
            threads: 1,
            feed: None,
            parked: None,
        };
        let input = expand(&[format!("{}.jsonl", name.display())]).unwrap();
        let summary = replay(&input, &options, &|_| {}).unwrap();
        let verdict = fs::read(name.with_extension("expected.json")).unwrap();
        let verdict: Value = serde_json::from_slice(&verdict).unwrap();
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let controls = if verdict["evidence"] == true { BTreeSet::new() } else { names(&verdict["controls"]) };
        let incidents = summary.incidents_by_cause.keys().cloned().collect::<BTreeSet<_>>();
        let mut expected = names(&verdict["event_controls"]);
        expected.retain(|control| !REPORTED.contains(&control.as_str()));
        assert_eq!(incidents, expected, "{}", scenario.name);
        let found: BTreeSet<String> = summary.sessions.by_control.keys().cloned().collect();
        assert_eq!(found, controls, "{}", scenario.name);
        replayed += incidents.len() + found.len();
    }
    assert!(replayed > 30, "{replayed}");
}

#[test]
fn equal_seeds_give_equal_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["--scenarios a --seed 5", "--scenarios b --seed 5", "--scenarios c --seed 6"] {
        assert!(generate(folder.path(), line).status.success(), "{line}");
    }
    let [a, b, c] = ["a", "b", "c"].map(|name| files(&folder.path().join(name)));
    assert!(a == b, "the same seed");
    assert!(a != c, "another seed");
}

#[test]
fn what_cannot_be_done_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("taken"), "").unwrap();
    for (line, code, text) in [
        ("--scenarios taken", 1, "cannot create taken"),
        ("--scenarios a --events 5", 2, "cannot be used with"),
        ("--scenarios a --out b", 2, "cannot be used with"),
        ("--scenarios a --snapshot b", 2, "cannot be used with"),
    ] {
        let said = generate(folder.path(), line);
        assert_eq!(said.status.code(), Some(code), "{line}");
        let error = String::from_utf8(said.stderr).unwrap();
        assert!(error.contains(text), "{error}");
    }
    assert!(!folder.path().join("a").exists());
}
