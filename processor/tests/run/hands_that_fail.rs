//! The organisation does not answer, or answers wrongly.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sessionwarden::ports::CallError;
use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    session::Session,
    settings::Settings,
};
use sessionwarden_store::Memory;
use sessionwarden_world::session::PORT_DOCUMENT;

use crate::{
    evidence::{LIMIT, ONE, OTHER, Scene, two_accounts},
    hands::{Fate, Hands, Port},
    stage::{START, Show, Stage, abused, ids, willing},
};

fn intents(stage: &Stage<Memory, Hands>, key: &SessionKey) -> Vec<String> {
    let session = key.to_string();
    let all = stage.audit().into_iter().filter(|record| record["kind"] == "intent");
    let ids = all.map(|record| record["id"].as_str().unwrap().to_owned());
    ids.filter(|id| id.ends_with(&session)).collect()
}

/// The port session that somebody opens at 6 s, away from the account that is abused later.
async fn port_session(show: &Show<Memory>) -> Session {
    let sessions = show.stage.sessions().await;
    let early = |session: &&Session| session.born_at().is_some_and(|born| born.0 < START.0 + 12_000);
    let port = sessions.iter().filter(early).find(|session| session.document().starts_with("AWS-StartPort"));
    port.expect("a port session").clone()
}

// I11, R-W13
#[tokio::test]
async fn evidence_that_cannot_be_had_is_neither_compliance_nor_violation() {
    for error in [CallError::Throttled, CallError::Denied, CallError::Unknown] {
        let folder = tempfile::tempdir().unwrap();
        let script = move |port, _, at_ms| match port {
            Port::Identity if at_ms < 25_000 => Fate::Fails(error),
            _ => Fate::Answered,
        };
        let short = |settings: &mut sessionwarden_machine::settings::Settings| settings.evidence_unknown_ms_max = 5_000;
        let mut show =
            Show::new(folder.path(), Memory::new(), 1, |organization| Hands::new(organization, script), short);

        show.run(25_000).await.unwrap();
        let (feed, outcomes) = (show.stage.feed(), show.stage.outcomes());
        assert!(!outcomes.values().any(|outcome| outcome == "compliant"), "{outcomes:?}");
        assert!(outcomes.values().any(|outcome| outcome == "unproven"), "{outcomes:?}");
        assert!(!feed.keys().any(|uid| uid.ends_with("SW-LOG-01")));
        assert!(!ids(&feed, "incident/evidence-unknown").is_empty(), "an incident says that it lasts");
        // What needs no such evidence is still judged.
        assert!(port_session(&show).await.ended_at().is_some());

        // Afterwards all is as if nothing had been.
        show.run(60_000).await.unwrap();
        let (feed, outcomes) = (show.stage.feed(), show.stage.outcomes());
        assert!(feed.keys().any(|uid| uid.ends_with("SW-LOG-01")), "the tampered role is found");
        assert!(outcomes.values().filter(|outcome| *outcome == "compliant").count() >= 5);
        show.stage.assert_sound();
    }
}

// R-W3, R-W13
#[tokio::test]
async fn sessions_that_cannot_be_described_are_judged_when_they_can() {
    let folder = tempfile::tempdir().unwrap();
    let script = |port, _, at_ms| match port {
        Port::Describe | Port::Active | Port::Object | Port::Stream if (3_000..20_000).contains(&at_ms) => {
            Fate::Fails(CallError::Throttled)
        }
        _ => Fate::Answered,
    };
    let mut show = Show::in_memory(folder.path(), 2, |organization| Hands::new(organization, script));
    show.run(20_000).await.unwrap();
    assert!(!show.stage.feed().keys().any(|uid| uid.starts_with("incident/log-missing")));
    show.run(50_000).await.unwrap();
    let sessions = show.stage.sessions().await;
    let early = |session: &&Session| session.born_at().is_some_and(|born| born.0 < START.0 + 20_000);
    for session in sessions.iter().filter(early) {
        assert!(session.ended_at().is_some(), "{} is known to have ended", session.key);
    }
    assert!(show.stage.outcomes().values().filter(|outcome| *outcome == "compliant").count() >= 5);
    show.stage.assert_sound();
}

// R-W3
#[tokio::test]
async fn a_throttled_termination_is_tried_again_under_the_same_id() {
    for error in [CallError::Throttled, CallError::Unknown] {
        let folder = tempfile::tempdir().unwrap();
        let script = move |port, _, at_ms| match port {
            Port::Terminate if at_ms < 9_000 => Fate::Fails(error),
            _ => Fate::Answered,
        };
        let mut show = Show::in_memory(folder.path(), 1, |organization| Hands::new(organization, script));
        show.run(12_000).await.unwrap();
        let port = port_session(&show).await;
        let attempts = intents(&show.stage, &port.key);
        assert!((4..=12).contains(&attempts.len()), "every half second from 6 s to 9 s: {}", attempts.len());
        assert_eq!(attempts.iter().collect::<BTreeSet<_>>().len(), 1, "{attempts:?}");
        let ended_ms = port.ended_at().expect("ended").0 - START.0;
        assert!((9_000..9_700).contains(&ended_ms), "{ended_ms}");
        let feed = show.stage.feed();
        assert_eq!(feed[&format!("terminate/{}", port.key)]["status"], "Success");
        assert!(ids(&feed, "incident/termination-unconfirmed").is_empty());
        show.stage.assert_sound();
    }
}

// R-W3, R-W5, I1
#[tokio::test]
async fn a_termination_that_does_not_help_ends_in_an_incident() {
    for fate in [Fate::Fails(CallError::Throttled), Fate::Fails(CallError::Denied), Fate::Pretends] {
        let folder = tempfile::tempdir().unwrap();
        let script = move |port, _, at_ms| match port {
            Port::Terminate if at_ms < 25_000 => fate,
            _ => Fate::Answered,
        };
        let mut show = Show::in_memory(folder.path(), 1, |organization| Hands::new(organization, script));
        show.run(20_000).await.unwrap();
        let port = port_session(&show).await;
        assert_eq!(port.ended_at(), None, "{fate:?}: nobody believes that it has ended");
        let feed = show.stage.feed();
        assert!(feed.contains_key(&format!("incident/termination-unconfirmed/{}", port.key)), "{fate:?}");
        assert!(!feed.contains_key(&format!("terminate/{}", port.key)));
        let attempts = intents(&show.stage, &port.key);
        assert!(attempts.len() > 10, "{} attempts", attempts.len());

        show.run(28_000).await.unwrap();
        let port = port_session(&show).await;
        let ended_ms = port.ended_at().expect("ended at last").0 - START.0;
        assert!((25_000..26_000).contains(&ended_ms), "{fate:?} {ended_ms}");
        show.stage.assert_sound();
    }
}

// R-W5: a TerminateSession in CloudTrail is no end where AWS shows the session alive.
#[tokio::test]
async fn a_reported_termination_is_not_taken_for_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let script = |port, _, at_ms| match port {
        Port::Terminate if at_ms < 9_000 => Fate::Pretends,
        _ => Fate::Answered,
    };
    let mut show = Show::in_memory(folder.path(), 1, |organization| Hands::new(organization, script));
    show.run(7_500).await.unwrap();
    let port = port_session(&show).await;
    let at = jiff::Timestamp::from_millisecond(START.0 + 7_500).unwrap().to_string();
    let event = serde_json::json!({
        "eventVersion": "1.08", "eventID": "0c2f5a60-1111-4222-8333-444455556666", "eventTime": at,
        "eventSource": "ssm.amazonaws.com", "eventName": "TerminateSession", "awsRegion": *port.key.region,
        "recipientAccountId": port.key.account, "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/x"},
        "requestParameters": {"sessionId": *port.key.id}, "responseElements": {"sessionId": *port.key.id},
    });
    let mut told = Some(event.to_string().into_bytes());
    show.run_with(8_900, |mut events, _| {
        events.extend(told.take());
        events
    })
    .await
    .unwrap();
    assert!(!show.stage.outcomes().contains_key(&port.key.to_string()), "nobody takes its word");
    assert!(!show.stage.feed().contains_key(&format!("terminate/{}", port.key)));
    show.run(20_000).await.unwrap();
    assert!(port_session(&show).await.ended_at().is_some());
    let mut attempts = show.hands.calls_of(Port::Terminate).into_iter().rev();
    let last = attempts.find(|call| call.2 == port.key.to_string()).expect("it was tried again");
    assert!((9_000..10_000).contains(&last.0) && last.3 == Fate::Answered, "{last:?}");
    assert_eq!(show.stage.feed()[&format!("terminate/{}", port.key)]["status"], "Success");
    show.stage.assert_sound();
}

// Refusals come at once, and nobody waits for them.
#[tokio::test]
async fn an_account_that_refuses_everything_stops_no_other() {
    let reference = {
        let folder = tempfile::tempdir().unwrap();
        let mut show = Show::in_memory(folder.path(), 1, willing);
        show.run(40_000).await.unwrap();
        show.stage.sessions().await
    };
    let closed = abused(&reference);
    let folder = tempfile::tempdir().unwrap();
    let script = move |_, account, _| {
        if account == Some(closed) { Fate::Fails(CallError::Denied) } else { Fate::Answered }
    };
    let mut show = Show::in_memory(folder.path(), 1, |organization| Hands::new(organization, script));
    show.run(40_000).await.unwrap();
    let sessions = show.stage.sessions().await;
    assert!(sessions.iter().any(|session| session.key.account == closed && session.ended_at().is_none()));
    let port = port_session(&show).await;
    assert!(port.ended_at().is_some_and(|ended| ended.0 - START.0 < 6_500));
    let tampered = sessions.iter().find(|session| {
        session.violations.iter().flat_map(|found| found.keys()).any(|control| &**control == "SW-LOG-01")
    });
    assert!(tampered.and_then(Session::ended_at).is_some_and(|ended| ended.0 - START.0 < 13_000));
    let compliant = show.stage.outcomes().values().filter(|outcome| *outcome == "compliant").count();
    assert!(compliant >= 8, "{compliant}");
    show.stage.assert_sound();
}

// I7: a lock that cannot be attached or detached is tried until it can.
#[tokio::test]
async fn locking_and_unlocking_are_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = |port, _, at_ms| match port {
        Port::Lock if at_ms < 36_000 => Fate::Fails(CallError::Throttled),
        Port::Unlock if at_ms < 56_000 => Fate::Fails(CallError::Denied),
        _ => Fate::Answered,
    };
    let mut show = Show::in_memory(folder.path(), 1, |organization| Hands::new(organization, script));
    show.run(64_000).await.unwrap();
    let (locks, unlocks) = (show.hands.calls_of(Port::Lock), show.hands.calls_of(Port::Unlock));
    assert!(locks.len() > 1 && locks.last().unwrap().3 == Fate::Answered, "{locks:?}");
    assert!(unlocks.len() > 1 && unlocks.last().unwrap().3 == Fate::Answered, "{unlocks:?}");
    assert!(unlocks.iter().all(|call| call.0 >= locks.last().unwrap().0 + 15_000));
    let feed = show.stage.feed();
    assert_eq!((ids(&feed, "quarantine").len(), ids(&feed, "release").len()), (1, 1));
    show.stage.assert_sound();
}

/// The script in which one account has this fate at these ports, up to a moment.
fn silent(
    account: AccountId,
    until_ms: i64,
    fate: Fate,
    ports: &'static [Port],
) -> impl Fn(Port, Option<AccountId>, i64) -> Fate {
    move |port, of, at_ms| {
        let hit = of == Some(account) && at_ms < until_ms && (ports.is_empty() || ports.contains(&port));
        if hit { fate } else { Fate::Answered }
    }
}

/// The milliseconds at which an account was asked, each once.
fn asked_at(scene: &Scene, account: AccountId) -> Vec<i64> {
    let asked = scene.hands.take_asked().into_iter().filter(|question| question.account == Some(account));
    asked.map(|question| question.at_ms).collect::<BTreeSet<_>>().into_iter().collect()
}

// R-W13, I11, I13: an account that answers nothing, or nothing but refusals.
#[tokio::test(start_paused = true)]
async fn an_account_without_answers_is_asked_ever_more_rarely() {
    const AGAIN_MS: i64 = 100_000;
    for (fate, lasts) in [(Fate::Hangs, LIMIT), (Fate::Fails(CallError::Denied), Duration::ZERO)] {
        let world = two_accounts();
        let account = world.accounts()[ONE].id;
        let change = |settings: &mut Settings| {
            (settings.recheck_ms_max, settings.evidence_unknown_ms_max) = (16_000, 30_000);
        };
        let mut scene = Scene::new(world, silent(account, AGAIN_MS, fate, &[]), change);
        let (key, beside) = (scene.open(ONE, 0), scene.open(OTHER, 0));
        assert_eq!(scene.wake().await, lasts, "{fate:?}");
        assert_eq!(scene.writable(&beside).await, Some((0, true)), "{fate:?}: the others have theirs in the same wake");
        assert_eq!(scene.writable(&key).await, None);

        scene.pass(29_000).await;
        let incident = format!("incident/evidence-unknown/{key}");
        assert!(!scene.stage.feed().contains_key(&incident), "{fate:?}: not yet");
        scene.pass(AGAIN_MS - 29_000).await;
        let feed = scene.stage.feed();
        assert_eq!(ids(&feed, "incident"), BTreeSet::from([incident]), "{fate:?}");
        assert!(ids(&feed, "finding").is_empty() && scene.hands.calls().is_empty(), "{fate:?}: nobody is accused");
        assert_eq!(scene.session(&key).await.ended_at(), None);
        let asked = asked_at(&scene, account);
        let gaps: Vec<i64> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
        assert_eq!(gaps, [2, 2, 4, 8, 16, 16, 16, 16, 16], "{fate:?}: {asked:?}");

        // Afterwards all is as if nothing had been.
        scene.pass(20_000).await;
        let asked = asked_at(&scene, account);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] < 2_300), "{fate:?}: {asked:?}");
        assert!(scene.writable(&key).await.is_some_and(|(at_ms, yes)| yes && at_ms > AGAIN_MS));
        scene.world(|world| world.exit_session(&key));
        scene.pass(10_000).await;
        assert_eq!(scene.stage.outcomes()[&key.to_string()], "compliant", "{fate:?}");
        scene.stage.assert_sound();
    }
}

// I11, I13: one port at a time.
#[tokio::test(start_paused = true)]
async fn a_port_that_hangs_costs_its_own_account_its_evidence_and_nobody_else() {
    const PORTS: [Port; 6] = [Port::Describe, Port::Nodes, Port::Identity, Port::Guards, Port::Network, Port::Key];
    for port in PORTS {
        let world = two_accounts();
        let account = world.accounts()[ONE].id;
        let script = move |asked, of, _| {
            if (asked, of) == (port, Some(account)) { Fate::Hangs } else { Fate::Answered }
        };
        let mut scene = Scene::new(world, script, |_| {});
        let keys = [scene.open(ONE, 0), scene.open(ONE, 1), scene.open(ONE, 3)];
        let beside = scene.open(OTHER, 0);
        assert!(scene.wake().await <= LIMIT * 2, "{port:?}");
        assert_eq!(scene.writable(&beside).await, Some((0, true)), "{port:?}");
        for key in &keys {
            assert_eq!((scene.writable(key).await, scene.session(key).await.ended_at()), (None, None), "{port:?}");
        }
        assert!(ids(&scene.stage.feed(), "finding").is_empty() && scene.hands.calls().is_empty(), "{port:?}");
        scene.stage.assert_sound();
    }
}

// I11: the bucket belongs to all, and its silence accuses nobody.
#[tokio::test(start_paused = true)]
async fn a_bucket_that_hangs_is_no_violation() {
    let script = |port, _, at_ms| match port {
        Port::Bucket if at_ms < 5_000 => Fate::Hangs,
        _ => Fate::Answered,
    };
    let mut scene = Scene::new(two_accounts(), script, |_| {});
    let keys = [scene.open(ONE, 0), scene.open(OTHER, 0)];
    assert_eq!(scene.wake().await, LIMIT);
    for key in &keys {
        assert_eq!(scene.writable(key).await, None);
    }
    scene.pass(10_000).await;
    for key in &keys {
        assert!(scene.writable(key).await.is_some_and(|(_, yes)| yes));
    }
    assert!(ids(&scene.stage.feed(), "finding").is_empty() && scene.hands.calls().is_empty());
    scene.stage.assert_sound();
}

// I13: two questions without an answer, and the account is asked nothing more in this survey.
#[tokio::test(start_paused = true)]
async fn two_time_outs_are_enough() {
    let world = two_accounts();
    let account = world.accounts()[ONE].id;
    let script = move |port, of, _| {
        if of == Some(account) && port != Port::Describe { Fate::Hangs } else { Fate::Answered }
    };
    let mut scene = Scene::new(world, script, |_| {});
    let key = scene.open(ONE, 0);
    let beside = scene.open(OTHER, 0);
    assert_eq!(scene.wake().await, LIMIT * 2);
    let mut counts: BTreeMap<Port, usize> = BTreeMap::new();
    for question in scene.hands.take_asked().into_iter().filter(|question| question.account == Some(account)) {
        *counts.entry(question.port).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(Port::Describe, 1), (Port::Nodes, 1), (Port::Document, 1)]));
    assert_eq!((scene.writable(&beside).await, scene.writable(&key).await), (Some((0, true)), None));
    scene.stage.assert_sound();
}

// I13: logs that cannot be looked for keep nobody from judging who is alive.
#[tokio::test(start_paused = true)]
async fn logs_that_hang_do_not_blind_live_sessions() {
    for hanging in [Port::Object, Port::Stream] {
        let script = move |port, _, _| if port == hanging { Fate::Hangs } else { Fate::Late(10) };
        let mut scene = Scene::new(two_accounts(), script, |_| {});
        let ended: Vec<SessionKey> = (0..40).map(|_| scene.open(ONE, 0)).collect();
        scene.pass(1_000).await;
        scene.world(|world| ended.iter().for_each(|key| world.exit_session(key)));
        scene.hands.take_asked();
        let mut before: Option<SessionKey> = None;
        // In each wake somebody new is looked at, in some together with the logs.
        for _ in 0..40 {
            let next = before.replace(scene.open(ONE, 1));
            assert!(scene.wake().await < LIMIT * 3, "{hanging:?}");
            if let Some(key) = next {
                let (at_ms, yes) = scene.writable(&key).await.expect("evidence");
                assert!(yes && at_ms >= scene.at_ms - 100, "{hanging:?}: {at_ms}");
            }
            scene.at_ms += 100;
        }
        assert!(scene.hands.asked()[&hanging] > 2, "{hanging:?} was asked");
        assert!(ids(&scene.stage.feed(), "incident").is_empty(), "{hanging:?}");
        scene.stage.assert_sound();
    }
}

// R-W3, I1, I13: forty terminations that hang keep neither the wake nor another account's termination waiting.
#[tokio::test(start_paused = true)]
async fn terminations_that_hang_block_nobody() {
    let world = two_accounts();
    let account = world.accounts()[ONE].id;
    let mut scene = Scene::new(world, silent(account, 20_000, Fate::Hangs, &[Port::Terminate]), |_| {});
    let port = |request: &mut sessionwarden_world::StartSession| request.document = Some(PORT_DOCUMENT.into());
    let keys: Vec<SessionKey> = (0..40).map(|_| scene.open_with(ONE, 0, port)).collect();
    let beside = scene.open_with(OTHER, 0, port);
    let lasted = scene.wake().await;
    assert!(lasted <= LIMIT * 2, "{lasted:?}");
    scene.pass(1_000).await;
    assert!(scene.session(&beside).await.end_confirmed());
    scene.pass(14_000).await;
    let feed = scene.stage.feed();
    for key in &keys {
        assert_eq!(scene.session(key).await.ended_at(), None, "nobody believes that it has ended");
        assert!(feed.contains_key(&format!("incident/termination-unconfirmed/{key}")));
        assert!(intents(&scene.stage, key).len() > 5, "it is tried again");
    }
    scene.pass(7_000).await;
    let feed = scene.stage.feed();
    for key in &keys {
        assert!(scene.session(key).await.end_confirmed());
        assert_eq!(feed[&format!("terminate/{key}")]["status"], "Success");
    }
    scene.stage.assert_sound();
}
