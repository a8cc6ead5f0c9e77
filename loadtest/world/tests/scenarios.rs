//! The scenarios play as they say: in the world, sessions open, events come, and logs arrive where they must.

use std::collections::BTreeSet;

use serde_json::Value;
use sessionwarden_machine::{
    decode::{Decoded, Decoder},
    document::log_stream_name,
    ids::{Now, SessionKey},
    session::Outcome,
};
use sessionwarden_world::{Scenario, World, scenario::organisation, scenarios, texts::LOG_GROUP};

const START: Now = Now(1_722_500_000_000);

fn played(scenario: &Scenario) -> (World, Option<SessionKey>, Vec<Vec<u8>>) {
    let mut world = World::new(organisation(), 11, START);
    let mut play = scenario.play(&world, START);
    let over = play.over_at().plus_ms(30_000);
    play.step(&mut world, over);
    let events = world.drain_events();
    (world, play.session().cloned(), events)
}

/// TH1 to TH32: no row of the threat catalogue is without a scenario.
#[test]
fn every_row_has_a_scenario() {
    let rows: BTreeSet<&str> = scenarios().map(|scenario| scenario.threat).collect();
    for row in [1..=15, 17..=18, 20..=32].into_iter().flatten() {
        // the numbers it leaves out have no evidence that a control plane can see.
        assert!(rows.contains(&*format!("TH{row}")), "TH{row}");
    }
    assert!(rows.contains(""), "a session that keeps the rules");
    let names: BTreeSet<&str> = scenarios().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), scenarios().count());
}

#[test]
fn every_scenario_plays() {
    let decoder = Decoder::default();
    for scenario in scenarios() {
        let (name, expected) = (scenario.name, &scenario.expected);
        let (_, session, events) = played(scenario);
        assert_eq!(session.is_some(), expected.outcome.is_some(), "{name}");
        let mut threats = BTreeSet::new();
        for event in &events {
            let text: Value = serde_json::from_slice(event).unwrap();
            assert!(text["detail"]["errorCode"].is_null(), "{name}: {text}");
            decoder.decode_fully(event, &mut |decoded| match decoded {
                Decoded::Relevant(observation) => {
                    threats.insert(observation.threat);
                }
                Decoded::Ignored(_) => {}
                Decoded::Poison(poison) => panic!("{name}: {poison}"),
            });
        }
        if !expected.events.is_empty() && scenario.threat.starts_with("TH") {
            assert!(threats.contains(scenario.threat), "{name}: {threats:?}");
        }
    }
}

/// A log of its own, and a stream.
fn is_logged(world: &World, key: &SessionKey) -> bool {
    let object = world
        .session_log(key)
        .filter(|(name, log)| log.size_bytes > 0 && log.writer == Some(key.account) && !name.contains("/elsewhere/"));
    let stream = world.stream(key.account, &key.region, LOG_GROUP, &log_stream_name(&key.id));
    object.is_some() && stream.is_ok_and(|stream| stream.is_some())
}

/// Left alone, a session that keeps the rules has its log, and one whose log cannot be there has none.
#[test]
fn logs_arrive_as_the_outcomes_say() {
    for scenario in scenarios() {
        let (world, session, _) = played(scenario);
        let Some(key) = session else { continue };
        let container = world.describe_session(&key).is_some_and(|session| session.target.starts_with("ecs:"));
        match scenario.expected.outcome {
            // What is done to a log afterwards comes too late for the outcome.
            Some(Outcome::Compliant) if scenario.threat == "TH24" || container => {}
            Some(Outcome::Compliant) => assert!(is_logged(&world, &key), "{}", scenario.name),
            Some(Outcome::LogMissing) => assert!(!is_logged(&world, &key), "{}", scenario.name),
            Some(Outcome::Violated | Outcome::Unproven) | None => {}
        }
    }
}

#[test]
fn a_play_is_the_same_however_often_it_is_stepped() {
    for scenario in scenarios() {
        let whole = played(scenario).2;
        let mut world = World::new(organisation(), 11, START);
        let mut play = scenario.play(&world, START);
        let over = play.over_at().plus_ms(30_000);
        while world.now() < over {
            let next = world.now().plus_ms(250).min(over);
            play.step(&mut world, next);
        }
        assert_eq!(world.drain_events(), whole, "{}", scenario.name);
    }
}
