//! STS and Organizations, by a server that checks who may do what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden::{
    aws::{Api, AwsOrganization, AwsSettings, Limit, LockSettings},
    ports::{CallError, Identities as _, LockError, LogPlaces as _, Logs as _, Organization as _},
};
use sessionwarden_machine::{
    effect::Lock,
    ids::EventTime,
    posture::{Guards, Who},
    scp::{ScpName, ScpSettings, render},
    settings::Tier,
};
use sessionwarden_testbed::{
    or_say,
    python::{Access, ministack},
};

use super::{REGION, account, connect, prepare};

const MEMBER: u64 = 111_122_223_333;
const LOCK: Lock = Lock { tier: Tier::Access, principals: BTreeSet::new() };

fn rendered(scp: &ScpSettings) -> String {
    render(ScpName::QuarantineAccess, scp, &BTreeSet::new()).unwrap().text
}

fn settings(role: &str, external_id: &str) -> AwsSettings {
    let limits = BTreeMap::from([(Api::Organizations, Limit::new(200, 200))]);
    AwsSettings { limits, regions: vec![Arc::from(REGION)], ..AwsSettings::new(role, external_id) }
}

#[tokio::test]
async fn ministack_answers_the_ports() {
    let Some(server) = or_say(ministack(Access::Checked)) else {
        return;
    };
    let known = prepare("ministack", &server, &rendered(&ScpSettings::default()));
    let text = |name: &str| known[name].as_str().unwrap().to_owned();
    let hands = async |settings| connect(&text("management"), &[("sts", &server.url)], settings).await;

    Box::pin(assumes_only_with_its_external_id(&hands)).await;
    let plain = hands(settings("guard/sessionwarden", "right")).await;
    buckets(&plain).await;
    objects(&plain).await;
    // The role may not read buckets, and the bucket is not that account's: either way nobody can say what it is.
    let elsewhere = AwsSettings { log_account: Some(account(MEMBER)), ..settings("guard/sessionwarden", "right") };
    let elsewhere = hands(elsewhere).await;
    assert_eq!(elsewhere.bucket("logs").await, Err(CallError::Denied));
    assert_eq!(elsewhere.object("logs", "once.log").await, Err(CallError::Denied));
    let member = text("account").parse().unwrap();
    let locking = |scp: ScpSettings| {
        let locks = LockSettings { access_policy: Some(text("quarantine").into()), scp, ..LockSettings::default() };
        AwsSettings { locks, ..settings("guard/sessionwarden", "right") }
    };
    let changed = ScpSettings { break_glass_roles: ["BreakGlass".into()].into(), ..ScpSettings::default() };
    let refused = hands(locking(changed)).await.lock(member, &LOCK).await;
    let Err(LockError::Hopeless(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("is not what `sessionwarden scp render quarantine-access` prints"), "{why}");
    let other = hands(locking(ScpSettings::default())).await;
    let hands = hands(locking(ScpSettings::default())).await;
    let channel = hands.lock(member, &Lock { tier: Tier::Channel, ..LOCK }).await;
    assert_eq!(channel, Err(LockError::Hopeless("quarantine.channel_policy is not set".into())));
    let levels = |guards: &Guards| -> Vec<Vec<String>> {
        let names = |level: &Vec<_>| {
            level.iter().map(|policy: &sessionwarden_machine::posture::PolicyText| policy.name.to_string()).collect()
        };
        guards.scps.iter().map(names).collect()
    };
    let locked = format!("{} quarantine", text("quarantine"));

    let before = hands.guards(member).await.unwrap();
    assert_eq!(before.organization.as_deref(), Some(&*text("organization")));
    assert_eq!(before.scps.len(), 3, "the root, a unit and the account");
    assert!(before.scps[0][0].text.contains("\"Allow\""));
    // Resource control policies are not enabled in this organisation: they bind nobody.
    assert_eq!(before.rcps, Vec::<Vec<_>>::new());
    assert!(!levels(&before).concat().contains(&locked));

    for _ in 0..2 {
        // The second time the policy is attached already: DuplicatePolicyAttachmentException.
        hands.lock(member, &LOCK).await.unwrap();
        let guards = hands.guards(member).await.unwrap();
        assert!(levels(&guards)[2].contains(&locked), "{:?}", levels(&guards));
        assert!(guards.scps[2].iter().any(|policy| *policy.text == *text("content")));
    }
    for _ in 0..2 {
        // The second time it is not attached any more: PolicyNotAttachedException.
        hands.unlock(member).await.unwrap();
        assert_eq!(hands.guards(member).await.unwrap(), before);
    }
    // What somebody else changes is seen once an event tells of it.
    other.lock(member, &LOCK).await.unwrap();
    assert_eq!(hands.guards(member).await.unwrap(), before);
    hands.changed().await;
    assert!(levels(&hands.guards(member).await.unwrap())[2].contains(&locked));
    hands.unlock(member).await.unwrap();
    assert_eq!(hands.lock(account(123_412_341_234), &LOCK).await, Err(CallError::Gone.into()));
    assert_eq!(hands.guards(account(123_412_341_234)).await, Err(CallError::Gone));

    let management = hands.guards(hands.own_account()).await.unwrap();
    assert_eq!((management.organization, management.scps.len()), (before.organization, 0));
    let (accounts, regions) = hands.places().await.unwrap();
    assert!(accounts.contains(&member) && accounts.contains(&hands.own_account()));
    assert_eq!(regions, [Arc::from(REGION)]);
}

async fn assumes_only_with_its_external_id(hands: &impl AsyncFn(AwsSettings) -> AwsOrganization) {
    let node = Who::Role(Arc::from("node"));
    let right = hands(settings("guard/sessionwarden", "right")).await;
    let role = right.identity(account(MEMBER), &node).await.unwrap();
    assert_eq!(&*role.arn, "arn:aws:iam::111122223333:role/node");
    for (role, external_id) in [("guard/sessionwarden", "wrong"), ("missing", "right")] {
        let wrong = hands(settings(role, external_id)).await;
        assert_eq!(wrong.identity(account(MEMBER), &node).await, Err(CallError::Denied), "{role} {external_id}");
    }
    // An account without the role.
    assert_eq!(right.identity(account(444_455_556_666), &node).await, Err(CallError::Denied));
    let unset = right.lock(account(MEMBER), &LOCK).await;
    assert_eq!(unset, Err(LockError::Hopeless("quarantine.access_policy is not set".into())));
}

async fn buckets(hands: &AwsOrganization) {
    let bucket = hands.bucket("logs").await.unwrap();
    assert_eq!(bucket.account, hands.own_account());
    assert!(bucket.versioned && bucket.locked);
    assert!(bucket.policy.is_some_and(|policy| policy.text.contains("s3:PutObject")));
    assert_eq!(bucket.key.as_deref(), Some(&*format!("arn:aws:kms:{REGION}:{}:key/key-1", hands.own_account())));

    let plain = hands.bucket("plain").await.unwrap();
    assert_eq!((plain.policy, plain.key, plain.versioned, plain.locked), (None, None, false, false));
    assert_eq!(hands.bucket("nobodys").await, Err(CallError::Gone));
}

async fn objects(hands: &AwsOrganization) {
    let once = hands.object("logs", "once.log").await.unwrap().unwrap();
    assert_eq!((once.size_bytes, once.versions, once.writer), (5, 1, None));
    assert!(once.written_at > EventTime(1_700_000_000_000));
    // TH24: a log that was written twice, and one that was deleted.
    let twice = hands.object("logs", "twice.log").await.unwrap().unwrap();
    assert_eq!((twice.size_bytes, twice.versions), (3, 2));
    assert_eq!(hands.object("logs", "deleted.log").await, Ok(None));
    assert_eq!(hands.object("logs", "once").await, Ok(None), "only a prefix");
    assert_eq!(hands.object("nobodys", "once.log").await, Err(CallError::Gone));
}
