//! Events that are lost, repeated, late or out of order.

use std::collections::BTreeSet;

use sessionwarden::{
    local::demonstration,
    ports::{Organization as _, Sessions as _},
};
use sessionwarden_machine::{effect::Mode, ids::Subject};
use sessionwarden_store::{Memory, Store};

use crate::{
    hands::{Hands, Port},
    stage::{START, Show, Stage, ids, settings, willing},
};

fn named(event: &[u8], name: &str) -> bool {
    let value: serde_json::Value = serde_json::from_slice(event).unwrap();
    value["detail"]["eventName"] == name
}

/// A small generator of chance: equal seeds give equal orders.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

// R-W4, I9
#[tokio::test]
async fn sessions_that_no_event_announced_are_adopted_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::in_memory(folder.path(), 1, willing);
    let mut adopted = BTreeSet::new();
    for period in 1..=4 {
        let lose = |events: Vec<Vec<u8>>, _| -> Vec<Vec<u8>> {
            events.into_iter().filter(|event| !named(event, "StartSession")).collect()
        };
        // The reconciler runs as the next period begins.
        show.run_with(period * 15_000 + 100, lose).await.unwrap();
        let now = START.plus_ms(period * 15_000);
        let (accounts, regions) = show.hands.inner.places().await.unwrap();
        for account in accounts {
            for region in &regions {
                for (key, described) in show.hands.inner.active(account, region).await.unwrap() {
                    // Younger than a recheck period: its event may still be on its way.
                    if now.0 - described.started_at.0 >= 2_000 {
                        let subject = Subject::Session(key.clone()).to_string();
                        assert!(show.stage.store.load(&subject).await.unwrap().is_some(), "{key} is not tracked");
                        adopted.insert(key);
                    }
                }
            }
        }
    }
    assert!(adopted.len() >= 5, "{adopted:?}");
    let sessions = show.stage.sessions().await;
    assert!(sessions.iter().all(|session| session.start.is_none()));
    // The port session of 6 s and the one on the tampered role are found by the look at 15 s, and ended at once.
    let calls = show.hands.calls_of(Port::Terminate);
    for control in ["SW-DOC-02", "SW-LOG-01"] {
        let violating = sessions
            .iter()
            .find(|session| session.violations.iter().flat_map(|found| found.keys()).any(|id| &**id == control));
        let key = violating.unwrap_or_else(|| panic!("{control} is not found")).key.to_string();
        assert!(calls.iter().any(|call| call.2 == key), "{key} was not ended");
    }
    assert!(calls.iter().any(|call| call.0 == 15_000), "{calls:?}");
    show.stage.assert_sound();
}

/// What an uninterrupted minute in observe mode finds, with events on their way through `post`.
async fn observed(post: impl FnMut(Vec<Vec<u8>>, i64) -> Vec<Vec<u8>>) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::new(folder.path(), Memory::new(), 4, willing, |settings| settings.mode = Mode::Observe);
    show.run_with(60_000, post).await.unwrap();
    show.stage.assert_sound();
    let feed = show.stage.feed();
    ["finding", "terminate", "quarantine"].iter().flat_map(|kind| ids(&feed, kind)).collect()
}

// R-W2: with an organisation that answers, repeated and disordered delivery gives the same findings and remedies.
#[tokio::test]
async fn repeated_and_late_events_give_the_same_ids() {
    let expected = observed(|events, _| events).await;
    assert!(expected.len() > 30, "{}", expected.len());
    let (mut dice, mut held) = (Dice(7), Vec::new());
    let shaken = observed(|events, _| {
        for event in events {
            for _ in 0..=dice.below(3) {
                held.push(event.clone());
            }
        }
        dice.shuffle(&mut held);
        let now = held.len() / 2;
        held.drain(..now).collect()
    })
    .await;
    assert_eq!(shaken, expected);
}

// I4, R-W2: events alone, in any order and any number of times, give the same records of the feed.
#[tokio::test]
async fn events_alone_give_the_same_feed_in_any_order() {
    let (organization, mut source) = demonstration(5, START);
    let settings = settings(&organization);
    let mut events = Vec::new();
    for at_ms in (0..120_000).step_by(100) {
        events.extend(source.step(START.plus_ms(at_ms)));
    }
    let mut dice = Dice(11);
    let mut feeds = Vec::new();
    for order in 0..4 {
        if order > 0 {
            let again: Vec<_> = (0..events.len() / 3).map(|_| events[dice.below(events.len())].clone()).collect();
            events.extend(again);
            dice.shuffle(&mut events);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut stage: Stage<Memory, Hands> = Stage::new(folder.path(), Memory::new(), None, settings.clone());
        for (at, batch) in events.chunks(1 + 97 * order).enumerate() {
            stage.deliver(batch, START.plus_ms(200_000 + at as i64)).await.unwrap();
        }
        stage.assert_sound();
        feeds.push(stage.feed().into_keys().collect::<BTreeSet<_>>());
    }
    assert!(feeds[0].len() > 100 && feeds[0].iter().any(|uid| uid.starts_with("quarantine/")), "{}", feeds[0].len());
    for feed in &feeds[1..] {
        assert_eq!(feed, &feeds[0]);
    }
}
