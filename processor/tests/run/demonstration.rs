//! A minute of the demonstration.

use std::collections::BTreeSet;

use sessionwarden::handle::State;
use sessionwarden_machine::{
    account::CLEAN_PASSES,
    effect::Mode,
    session::{Outcome, Session},
};
use sessionwarden_store::{Embedded, Memory, Store};

use crate::{
    hands::{Fate, Port},
    stage::{START, Show, abused, ids, willing},
};

fn violates(session: &Session, control: &str) -> bool {
    session.violations.iter().flat_map(|found| found.keys()).any(|id| &**id == control)
}

fn ended_after_ms(session: &Session) -> i64 {
    session.ended_at().unwrap().0 - START.0
}

/// The session that a `StartSession` of Systems Manager began; other services have one too.
fn started(event: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap();
    let record = &event["detail"];
    let began = record["eventName"] == "StartSession" && record["eventSource"] == "ssm.amazonaws.com";
    let session = record["responseElements"]["sessionId"].as_str().filter(|_| began)?;
    let (account, region) = (record["recipientAccountId"].as_str()?, record["awsRegion"].as_str()?);
    Some(format!("{account}/{region}/{session}"))
}

async fn a_minute<S: Store + Clone>(store: S, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::new(folder.path(), store, seed, willing, |_| {});
    let mut begun = BTreeSet::new();
    show.run_with(60_000, |events, _| {
        begun.extend(events.iter().filter_map(|event| started(event)));
        events
    })
    .await
    .unwrap();
    let stage = &show.stage;
    let (sessions, feed, outcomes) = (stage.sessions().await, stage.feed(), stage.outcomes());

    // R-G1: every session that EventBridge told of was seen, in its account and region.
    assert_eq!(sessions.iter().map(|session| session.key.to_string()).collect::<BTreeSet<_>>(), begun);

    // R-G6: those that kept the rules were left by `exit`, which no event tells, and closed with their log.
    let compliant: Vec<_> = sessions
        .iter()
        .filter(|session| {
            outcomes.get(&session.key.to_string()).is_some_and(|outcome| outcome == Outcome::Compliant.as_str())
        })
        .collect();
    assert!(compliant.len() >= 10, "seed {seed}: {} compliant", compliant.len());
    for session in &compliant {
        assert!(!session.is_violating(), "{}", session.key);
        let log = session.seen.as_ref().unwrap().log.clone().expect("a log");
        assert!(log.size_bytes > 0 && log.written_at >= session.ended_at().unwrap());
    }

    // R-G2, R-G5, TH2: a session that forwards a port is ended, with its reason, and its end is confirmed.
    let port =
        sessions.iter().find(|session| violates(session, "SW-DOC-02") && session.key.account != abused(&sessions));
    let port = port.expect("a port session in a quiet account");
    assert!((6_000..6_500).contains(&ended_after_ms(port)), "{}", ended_after_ms(port));
    let remedy = &feed[&format!("terminate/{}", port.key)];
    assert_eq!((&remedy["class_uid"], &remedy["status"]), (&7001.into(), &"Success".into()), "{remedy}");
    assert!(remedy.to_string().contains("forwards a port"), "{remedy}");
    assert!(feed.contains_key(&format!("finding/{}/SW-DOC-02", port.key)));
    assert_eq!(outcomes[&port.key.to_string()], "violated");

    // TH20: the role behind a live session lost its log policy at 12 s.
    let tampered = sessions.iter().find(|session| violates(session, "SW-LOG-01")).expect("a tampered role");
    assert!((12_000..13_000).contains(&ended_after_ms(tampered)), "{}", ended_after_ms(tampered));

    // R-G7: the log of a session that ended at 19 s never came.
    let unlogged = outcomes.iter().find(|(_, outcome)| *outcome == "log-missing").expect("a log that never came").0;
    let incident = &feed[&format!("incident/log-missing/{unlogged}")];
    assert_eq!(incident["class_uid"], 2005);

    // R-G13, I7: the account over the threshold is locked, once, and released when its time is over.
    let (locks, unlocks) = (show.hands.calls_of(Port::Lock), show.hands.calls_of(Port::Unlock));
    let account = abused(&sessions);
    // Once more when no attempt to attach it can be under way.
    assert_eq!((locks.len(), unlocks.len()), (1, 2), "{locks:?} {unlocks:?}");
    assert_eq!((&*locks[0].2, &*unlocks[0].2), (&*format!("{account} access"), &*account.to_string()));
    assert!((15_000..15_300).contains(&(unlocks[0].0 - locks[0].0)), "{locks:?} {unlocks:?}");
    let states = stage.states().await;
    let episode = states.iter().find_map(|state| match state {
        State::Account(found) if found.account == account => found.episode.clone(),
        State::Account(_) | State::Session(_) | State::Incident(_) | State::Register(_) | State::Place(_) => None,
    });
    let episode = episode.expect("an episode");
    assert!(episode.sessions >= 10 && episode.principals.len() >= 2);
    assert!(episode.locked_at.is_some() && episode.released_at.is_some());
    // It was seen to bite, and two sweeps in a row found nothing.
    assert!(episode.bites_at.is_some() && episode.clean_passes >= CLEAN_PASSES, "{episode:?}");
    assert!(
        feed.contains_key(&format!("quarantine/{account}/1")) && feed.contains_key(&format!("release/{account}/1"))
    );

    // I1: no session that is to be ended lives on, and each that was ended was counted as its own.
    for session in sessions.iter().filter(|session| session.is_violating()) {
        let lived_ms = session.ended_at().expect("it was ended").0 - session.born_at().unwrap().0;
        assert!(lived_ms < 6_000, "{} lived {lived_ms} ms", session.key);
        assert!(feed.contains_key(&format!("terminate/{}", session.key)));
    }
    let terminated: BTreeSet<_> = show.hands.calls_of(Port::Terminate).into_iter().map(|call| call.2).collect();
    assert_eq!(terminated.len(), show.hands.calls_of(Port::Terminate).len(), "none was ended twice");

    assert!(stage.ingest.parked_list.is_empty());
    stage.assert_sound();
}

#[tokio::test]
async fn a_minute_shows_every_kind_of_trouble() {
    for seed in [1, 2, 7] {
        a_minute(Memory::new(), seed).await;
    }
}

#[tokio::test]
async fn a_minute_in_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    a_minute(Embedded::open(folder.path()).await.unwrap(), 3).await;
}

// TH20, R-W17: without any polling, the event of the change alone ends the session.
#[tokio::test]
async fn tampering_is_answered_by_its_event() {
    let folder = tempfile::tempdir().unwrap();
    let without_polling = |settings: &mut sessionwarden_machine::settings::Settings| settings.recheck_ms = 3_600_000;
    let mut show = Show::new(folder.path(), Memory::new(), 1, willing, without_polling);
    show.run(14_000).await.unwrap();
    let sessions = show.stage.sessions().await;
    let tampered = sessions.iter().find(|session| violates(session, "SW-LOG-01")).expect("a tampered role");
    assert!((12_000..12_300).contains(&ended_after_ms(tampered)), "{}", ended_after_ms(tampered));
    show.stage.assert_sound();
}

// R-G3: without the event, the next look at the role ends the session.
#[tokio::test]
async fn tampering_that_no_event_tells_is_found_by_looking_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::in_memory(folder.path(), 1, willing);
    let lose = |events: Vec<Vec<u8>>, _| -> Vec<Vec<u8>> {
        let told = |event: &Vec<u8>| String::from_utf8_lossy(event).contains("DetachRolePolicy");
        events.into_iter().filter(|event| !told(event)).collect()
    };
    show.run_with(16_000, lose).await.unwrap();
    let sessions = show.stage.sessions().await;
    let tampered = sessions.iter().find(|session| violates(session, "SW-LOG-01")).expect("a tampered role");
    assert!((12_000..14_300).contains(&ended_after_ms(tampered)), "{}", ended_after_ms(tampered));
}

#[tokio::test]
async fn to_observe_calls_nothing_and_reports_what_it_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::new(folder.path(), Memory::new(), 1, willing, |settings| settings.mode = Mode::Observe);
    show.run(60_000).await.unwrap();
    assert_eq!(show.hands.calls(), []);
    let (feed, sessions) = (show.stage.feed(), show.stage.sessions().await);
    let violating: Vec<_> = sessions.iter().filter(|session| session.is_violating()).collect();
    assert!(violating.len() >= 10);
    let planned = ids(&feed, "terminate");
    assert_eq!(planned.len(), violating.len());
    assert!(planned.iter().all(|uid| uid.ends_with("#planned")), "{planned:?}");
    assert_eq!(ids(&feed, "quarantine"), BTreeSet::from([format!("quarantine/{}/1#planned", abused(&sessions))]));
    assert!(ids(&feed, "release").is_empty());
    show.stage.audit();
    show.stage.assert_sound();
    assert!(show.hands.calls_of(Port::Terminate).iter().all(|call| call.3 == Fate::Answered));
}
