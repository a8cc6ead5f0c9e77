//! The demonstration reaches each of its promised moments within 60 s of virtual time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, Now, SessionKey},
    permission::{ActionCheck, Answer},
    settings::Tier,
};
use sessionwarden_world::{
    Demonstration, OrganisationShape, SessionStatus, World, demo::abused_account, session::PORT_DOCUMENT,
};

const START: Now = Now(1_722_500_000_000);

/// Containers that are addressed directly have no log to write.
fn writable(world: &World, account: AccountId, region: &str, node: &str) -> bool {
    let allowed = |checks: Vec<ActionCheck>| checks.iter().all(|check| check.decision.answer == Answer::Allow);
    node.starts_with("ecs:") || world.check_node(account, region, node, "ann-0").is_some_and(allowed)
}

struct Show {
    world: World,
    demonstration: Demonstration,
    seen: BTreeMap<SessionKey, i64>,
    events: Vec<(i64, Value)>,
}

impl Show {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(OrganisationShape::quick(), seed, START),
            demonstration: Demonstration::new(seed, START),
            seen: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn run(&mut self, from_ms: i64, to_ms: i64, step_ms: usize, mut each: impl FnMut(&mut World, i64)) {
        for at_ms in (from_ms..=to_ms).step_by(step_ms) {
            self.demonstration.step(&mut self.world, START.plus_ms(at_ms));
            for key in self.demonstration.sessions() {
                self.seen.entry(key.clone()).or_insert(at_ms);
            }
            for event in self.world.drain_events() {
                self.events.push((at_ms, serde_json::from_slice(&event).unwrap()));
            }
            each(&mut self.world, at_ms);
        }
    }

    fn first(&self, name: &str) -> Option<i64> {
        self.events.iter().find(|(_, event)| event["detail"]["eventName"] == name).map(|(at_ms, _)| *at_ms)
    }
}

#[test]
fn every_moment_comes_within_a_minute() {
    for seed in 0..12 {
        let mut show = Show::new(seed);
        let (mut logged, mut unlogged_live) = (None, None);
        show.run(0, 60_000, 100, |world, at_ms| {
            for account in world.accounts() {
                for region in world.regions() {
                    for session in world.active_sessions(account.id, region) {
                        if !writable(world, account.id, region, &session.target) {
                            unlogged_live.get_or_insert(at_ms);
                        }
                    }
                }
            }
        });
        let mut missing = 0;
        for key in show.seen.keys() {
            let session = show.world.describe_session(key).unwrap();
            let started_ms = session.started.0 - START.0;
            match show.world.session_log(key) {
                Some(log) => {
                    let (ended, at_ms) = (session.ended.unwrap(), log.1.written_at.0 - START.0);
                    assert!((2_000..=4_000).contains(&(log.1.written_at.0 - ended.0)));
                    logged = Some(logged.unwrap_or(at_ms).min(at_ms));
                }
                None if session.status == SessionStatus::Terminated && (14_000..17_000).contains(&started_ms) => {
                    missing += i32::from(&*session.document == "SSM-SessionManagerRunShell");
                }
                None => {}
            }
        }
        assert!(logged.is_some_and(|at_ms| at_ms < 10_000), "a compliant session is logged early: {logged:?}");
        assert!(missing >= 1, "a log that never comes");
        assert!(unlogged_live.is_some_and(|at_ms| (11_900..=12_200).contains(&at_ms)), "{unlogged_live:?}");
        assert_eq!(show.first("DetachRolePolicy"), unlogged_live);
        let port =
            show.events.iter().find(|(_, event)| event["detail"]["requestParameters"]["documentName"] == PORT_DOCUMENT);
        assert!(port.is_some_and(|(at_ms, _)| *at_ms <= 6_100));
        assert!(show.first("SendSSHPublicKey").is_some() && show.first("SendCommand").is_some());
        let container =
            show.seen.keys().any(|key| show.world.describe_session(key).unwrap().target.starts_with("ecs:"));
        assert!(container, "a session straight to a container");
        let irrelevant = show.events.iter().filter(|(_, event)| event["detail"]["eventName"] == "GetObject").count();
        assert!(irrelevant > 5);
    }
}

#[test]
fn one_account_crosses_the_threshold_by_two_principals() {
    let mut show = Show::new(5);
    let abused = abused_account(&show.world).unwrap();
    let warden = show.world.account(abused).unwrap().warden.clone();
    show.run(0, 40_000, 100, |world, _| {
        for region in world.regions().to_vec() {
            for session in world.active_sessions(abused, &region) {
                if &*session.document == PORT_DOCUMENT {
                    world.terminate_session(&warden, &session.key).unwrap();
                }
            }
        }
    });
    let ports: Vec<_> = show
        .seen
        .keys()
        .filter(|key| key.account == abused)
        .filter_map(|key| show.world.describe_session(key))
        .filter(|session| &*session.document == PORT_DOCUMENT)
        .filter(|session| (20_000..40_000).contains(&(session.started.0 - START.0)))
        .collect();
    assert!(ports.len() >= 10, "{}", ports.len());
    let owners: BTreeSet<_> = ports.iter().map(|session| session.owner.clone()).collect();
    assert!(owners.len() >= 2, "{owners:?}");
    assert!(ports.iter().all(|session| session.status == SessionStatus::Terminated));
}

#[test]
fn quarantine_is_felt() {
    let mut show = Show::new(5);
    let abused: AccountId = abused_account(&show.world).unwrap();
    show.run(0, 30_000, 100, |_, _| {});
    let lock = Lock { tier: Tier::Access, principals: [].into() };
    show.world.attach_quarantine(abused, &lock).unwrap();
    show.run(30_100, 60_000, 100, |_, _| {});
    let refused = show.events.iter().filter(|(_, event)| event["detail"]["errorCode"] == "AccessDenied").count();
    assert!(refused >= 3, "{refused}");
}

#[test]
fn it_goes_on_with_variations_however_often_it_is_called() {
    let run = |step_ms| {
        let mut show = Show::new(9);
        show.run(0, 240_000, step_ms, |_, _| {});
        show.events.into_iter().map(|(_, event)| event).collect::<Vec<_>>()
    };
    let often = run(100);
    assert_eq!(often, run(8_000));
    let tampering: Vec<_> = often
        .iter()
        .map(|event| &event["detail"])
        .filter(|record| {
            let names =
                ["DetachRolePolicy", "CreatePolicyVersion", "PutRolePolicy", "ReplaceIamInstanceProfileAssociation"];
            record["errorCode"].is_null() && names.iter().any(|name| record["eventName"] == *name)
        })
        .map(|record| (record["recipientAccountId"].to_string(), record["eventName"].to_string()))
        .collect();
    assert!(tampering.len() >= 4, "one in each round");
    let accounts: BTreeSet<_> = tampering.iter().map(|(account, _)| account).collect();
    assert!(accounts.len() >= 4, "in other accounts each time");
    let ways: BTreeSet<_> = tampering.iter().map(|(_, way)| way).collect();
    assert!(ways.len() >= 3, "in other ways: {ways:?}");
}

#[test]
fn a_long_pause_leaves_rounds_out() {
    let mut show = Show::new(2);
    show.run(0, 10_000, 500, |_, _| {});
    let before = show.events.len();
    show.run(86_400_000, 86_460_000, 500, |_, _| {});
    assert!(show.events.len() - before < 2_000, "a day is not made up for: {}", show.events.len() - before);
    assert!(show.events.len() - before > 100, "and the show goes on");
}
