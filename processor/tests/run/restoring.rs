//! Things of the guardrail that somebody changes, from the event to the end of the incident.

use std::sync::Arc;

use sessionwarden::{handle::State, ports::CallError};
use sessionwarden_machine::{
    effect::Mode,
    incident::{Incident, Restore},
    settings::Settings,
};
use sessionwarden_world::Change;

use crate::{
    evidence::{ARCHIVE, Scene, two_accounts},
    hands::{Fate, Port},
};

/// The key of the log bucket.
fn log_key(scene: &Scene) -> Arc<str> {
    scene.world(|world| {
        let name = world.bucket_name().to_owned();
        world.bucket(&name).unwrap().key.expect("it is encrypted")
    })
}

fn enabled(scene: &Scene) -> bool {
    let key = log_key(scene);
    scene.world(|world| {
        let (archive, region) = (world.accounts()[ARCHIVE].id, Arc::clone(&world.regions()[0]));
        world.key(archive, &region, &key).unwrap().enabled
    })
}

async fn incident(scene: &Scene) -> Incident {
    let states = scene.stage.states().await;
    let mut found = states.into_iter().filter_map(|state| match state {
        State::Incident(Some(incident)) if &*incident.control == "SW-KEY-01" => Some(*incident),
        State::Incident(_) | State::Session(_) | State::Account(_) | State::Register(_) | State::Place(_) => None,
    });
    found.next().expect("the key was changed")
}

/// What the feed says about putting something back.
fn told(scene: &Scene) -> Vec<String> {
    let feed = scene.stage.feed();
    feed.values().map(ToString::to_string).filter(|report| report.contains("as it is to be")).collect()
}

/// The log key is disabled, and so long passes.
async fn disabled(fate: impl Fn(i64) -> Fate + Send + Sync + 'static, change: impl FnOnce(&mut Settings)) -> Scene {
    let script = move |port: Port, _, at| if port == Port::Restore { fate(at) } else { Fate::Answered };
    let mut scene = Scene::new(two_accounts(), script, change);
    let key = log_key(&scene);
    scene.change(ARCHIVE, &Change::DisableKey { key });
    assert!(!enabled(&scene));
    scene.pass(60_000).await;
    scene
}

fn allowed(settings: &mut Settings) {
    settings.restore.insert(Restore::Key);
}

// TH22: the key is enabled again, seen to be so, and the incident is over.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_disabled_is_enabled_again() {
    let scene = disabled(|_| Fate::Answered, allowed).await;
    assert!(enabled(&scene));
    assert!(incident(&scene).await.resolved.is_some_and(|over| over.by.is_none()));
    assert!(
        told(&scene).iter().any(|body| body.contains("the key is as it is to be again: enabled")),
        "{:?}",
        told(&scene)
    );
}

// TH22: it is tried again while AWS does not answer (I11), and each attempt has the same id.
#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again() {
    let scene =
        disabled(|at| if at < 20_000 { Fate::Fails(CallError::Throttled) } else { Fate::Answered }, allowed).await;
    assert!(enabled(&scene));
    assert!(incident(&scene).await.resolved.is_some());
}

// TH22: without leave nothing is touched, and what would be done is said.
#[tokio::test(start_paused = true)]
async fn without_leave_it_is_only_looked_at() {
    let observing = |settings: &mut Settings| {
        allowed(settings);
        settings.mode = Mode::Observe;
    };
    let not_allowed = |_: &mut Settings| {};
    for scene in [disabled(|_| Fate::Answered, observing).await, disabled(|_| Fate::Answered, not_allowed).await] {
        assert!(!enabled(&scene));
        assert_eq!(incident(&scene).await.resolved, None);
        let told = told(&scene);
        let planned = "the key would be put back as it is to be: enabled";
        assert!(told.len() == 1 && told[0].contains(planned), "{told:?}");
    }
}
