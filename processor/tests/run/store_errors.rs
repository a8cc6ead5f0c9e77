//! A store that fails stops the service; a start on the same store and files completes everything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sessionwarden::{handle::State, local::demonstration};
use sessionwarden_machine::settings::Settings;
use sessionwarden_store::{Fault, Faulty, Memory, Op};

use crate::{
    hands::{Hands, Port},
    stage::{START, Show, Stage, feed, settings, willing},
};

const BATCH: usize = 12;

/// Some forty relevant events.
fn events() -> (Vec<Vec<u8>>, Settings) {
    let (organization, mut source) = demonstration(8, START);
    let settings = settings(&organization);
    let mut events = Vec::new();
    for at_ms in (0..42_000).step_by(100) {
        events.extend(source.step(START.plus_ms(at_ms)));
    }
    events.retain(|event| {
        let text = String::from_utf8_lossy(event);
        ["StartSession", "RolePolicy", "SendCommand", "SendSSH"].iter().any(|name| text.contains(name))
    });
    (events, settings)
}

type Outcome = (Vec<State>, BTreeMap<String, Value>);

/// Takes the events in, starting again after every error, from the first batch whose success nobody was told of.
async fn taken(store: &Faulty<Memory>, events: &[Vec<u8>], settings: &Settings, errors_max: usize) -> (Outcome, usize) {
    let folder = tempfile::tempdir().unwrap();
    // A whole number of ticks, so that a timer set at this time fires at this time.
    let at = START.plus_ms(64_000);
    let (mut errors, mut taken) = (0, 0);
    let states = 'starts: loop {
        let mut stage: Stage<_, Hands> = Stage::new(folder.path(), store.clone(), None, settings.clone());
        let mut attempt = async || {
            stage.handler.recover(at).await.map_err(|error| error.to_string())?;
            stage.handler.recheck(at).await.map_err(|error| error.to_string())?;
            for batch in events.chunks(BATCH).skip(taken) {
                stage.deliver(batch, at).await.map_err(|error| error.to_string())?;
                taken += 1;
            }
            Ok::<_, String>(())
        };
        match attempt().await {
            Ok(()) => break 'starts stage.states().await,
            Err(error) => {
                assert!(error.contains("the store did not answer: injected fault"), "{error}");
                errors += 1;
                assert!(errors <= errors_max, "{error}");
            }
        }
    };
    sessionwarden::audit::verify(&folder.path().join("audit.jsonl"), None).unwrap();
    ((states, feed(folder.path())), errors)
}

// I2
#[tokio::test]
async fn an_error_at_any_call_of_the_store_loses_nothing() {
    let (events, settings) = events();
    let (expected, errors) = taken(&Faulty::new(Memory::new()), &events, &settings, 0).await;
    assert_eq!(errors, 0);
    assert!(expected.1.len() > 40, "{}", expected.1.len());
    for op in [Op::Save, Op::Load] {
        for fault in [Fault::ErrorBefore, Fault::ErrorAfter] {
            for at in (0..).step_by(if op == Op::Load { 17 } else { 1 }) {
                let store = Faulty::new(Memory::new());
                store.script(op, std::iter::repeat_n(Fault::Pass, at).chain([fault]));
                let (found, errors) = taken(&store, &events, &settings, 1).await;
                assert!(found == expected, "{op:?} {fault:?} at call {at}: another end");
                if errors == 0 {
                    assert!(at > 10, "{op:?} was called only {at} times");
                    break;
                }
            }
        }
    }
}

// I2: with an organisation behind it, whatever was begun when the store failed is finished after the next start.
#[tokio::test]
async fn the_demonstration_survives_a_store_that_fails_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(Memory::new());
    let faults = |fault| std::iter::repeat_n(Fault::Pass, 17).chain([fault]);
    store.script(Op::Save, (0..30).flat_map(|at| faults([Fault::ErrorBefore, Fault::ErrorAfter][at % 2])));
    store.script(Op::Load, (0..30).flat_map(|_| std::iter::repeat_n(Fault::Pass, 149).chain([Fault::ErrorBefore])));
    let mut show = Show::new(folder.path(), store.clone(), 1, willing, |_| {});
    let (mut failures, mut undelivered) = (0, Vec::new());
    loop {
        let mut last = Vec::new();
        let again = std::mem::take(&mut undelivered);
        let mut again = Some(again);
        let done = show
            .run_with(60_000, |mut events, _| {
                events.splice(0..0, again.take().into_iter().flatten());
                last.clone_from(&events);
                events
            })
            .await;
        let Err(error) = done else { break };
        assert!(error.to_string().contains("injected fault"), "{error}");
        failures += 1;
        // What was not confirmed is delivered again, as by a stream that was not checkpointed.
        undelivered = if last.is_empty() { again.take().unwrap_or_default() } else { last };
        let Show { stage, source, hands, at_ms } = show;
        let settings = settings(&hands.inner);
        drop(stage);
        let mut stage = Stage::new(folder.path(), store.clone(), Some(hands.clone()), settings);
        while let Err(error) = stage.handler.recover(START.plus_ms(at_ms)).await {
            assert!(error.to_string().contains("injected fault"), "{error}");
            failures += 1;
            drop(stage);
            stage = Stage::new(folder.path(), store.clone(), Some(hands.clone()), crate::stage::settings(&hands.inner));
        }
        show = Show { stage, source, hands, at_ms };
    }
    assert!(failures >= 15, "{failures} failures");

    let (sessions, outcomes) = (show.stage.sessions().await, show.stage.outcomes());
    let feed = show.stage.feed();
    for session in &sessions {
        let key = &session.key;
        for control in session.violations.iter().flat_map(|found| found.keys()) {
            assert!(feed.contains_key(&format!("finding/{key}/{control}")), "{key} {control}");
        }
        if session.is_violating() {
            assert!(session.ended_at().is_some(), "{key}");
            assert!(feed.contains_key(&format!("terminate/{key}")), "{key}");
            assert!(["violated", "log-missing"].contains(&&*outcomes[&key.to_string()]), "{key}");
        }
    }
    assert!(sessions.iter().filter(|session| session.is_violating()).count() >= 10);
    assert!(outcomes.values().filter(|outcome| *outcome == "compliant").count() >= 10);
    assert!(outcomes.values().any(|outcome| outcome == "log-missing"));
    let locked: BTreeSet<_> = show.hands.calls_of(Port::Lock).into_iter().map(|call| call.2).collect();
    let unlocked: BTreeSet<_> = show.hands.calls_of(Port::Unlock).into_iter().map(|call| call.2 + " access").collect();
    assert_eq!((locked.len(), &unlocked), (1, &locked));
    show.stage.assert_sound();
}
