//! The hands in an organisation whose parts fit together: roles of ministack, sessions of the model, documents of moto.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use sessionwarden::{
    aws::{Api, AwsOrganization, AwsSettings, Limit, LockSettings},
    ports::{
        CallError, Documents as _, Identities as _, LogPlaces as _, Logs as _, Nodes as _, Organization as _,
        Sessions as _,
    },
};
use sessionwarden_machine::{
    effect::Lock,
    posture::{Agent, RoleFrom, Who},
    session::Life,
    settings::Tier,
};
use sessionwarden_testbed::{
    Cloud, CloudShape,
    cloud::{EXTERNAL_ID, MANAGEMENT, REGION, ROLE, root, scp_settings},
    or_say,
};
use sessionwarden_world::{StartSession, texts};

async fn hands(cloud: &Cloud, external_id: &str) -> AwsOrganization {
    let limits = BTreeMap::from([(Api::Organizations, Limit::new(200, 200))]);
    let [access, channel] = cloud.quarantine_policies().map(|id| Some(Arc::from(id)));
    let log_account = Some(cloud.world().log_archive());
    let settings = AwsSettings {
        limits,
        locks: LockSettings { access_policy: access, channel_policy: channel, scp: scp_settings() },
        regions: vec![Arc::from(REGION)],
        log_account,
        ..AwsSettings::new(ROLE, external_id)
    };
    AwsOrganization::connect_with(cloud.loader(root(MANAGEMENT)), settings).await.unwrap()
}

#[tokio::test]
async fn an_organisation_answers_for_a_session_and_all_it_rests_on() {
    let Some(cloud) = or_say(Cloud::start(CloudShape::default()).await) else { return };
    let hands = hands(&cloud, EXTERNAL_ID).await;
    places_and_locks(&cloud, &hands).await;
    posture(&cloud, &hands).await;
    a_session(&cloud, &hands).await;
}

async fn places_and_locks(cloud: &Cloud, hands: &AwsOrganization) {
    let (accounts, _) = hands.places().await.unwrap();
    let known: BTreeSet<_> = cloud.world().accounts().iter().map(|account| account.id).collect();
    assert_eq!(accounts.into_iter().collect::<BTreeSet<_>>(), known);
    let member = cloud.members()[1].account;
    let before = hands.guards(member).await.unwrap();
    let user = cloud.user(member).unwrap();
    let lock = |tier| Lock { tier, principals: [Arc::clone(&user.arn)].into() };
    // Each tier takes the place of the one before; attaching and detaching again is no error.
    for tier in [Tier::Principal, Tier::Access, Tier::Access, Tier::Channel, Tier::Principal, Tier::Principal] {
        hands.lock(member, &lock(tier)).await.unwrap();
        let locked = hands.guards(member).await.unwrap();
        assert_eq!(locked.scps.concat().len(), before.scps.concat().len() + 1, "{tier:?}");
        assert_eq!(hands.locks().await.unwrap(), BTreeMap::from([(member, tier)]));
    }
    let more = Lock {
        tier: Tier::Principal,
        principals: [Arc::clone(&user.arn), format!("arn:aws:iam::{member}:user/x").into()].into(),
    };
    hands.lock(member, &more).await.unwrap();
    let text = hands.guards(member).await.unwrap().scps.concat().iter().any(|policy| policy.text.contains("user/x"));
    assert!(text, "the policy of principals is brought up to date");
    for _ in 0..2 {
        hands.unlock(member).await.unwrap();
        assert_eq!(hands.guards(member).await.unwrap(), before);
        assert_eq!(hands.locks().await.unwrap(), BTreeMap::new());
    }
}

async fn posture(cloud: &Cloud, hands: &AwsOrganization) {
    let member = &cloud.members()[0];
    let wanted = BTreeSet::from([Arc::clone(&member.logging), Arc::clone(&member.silent)]);
    let nodes = hands.nodes(member.account, REGION, &wanted).await.unwrap();
    for (id, role, profile) in [
        (&member.logging, "web-node-role", "web-node-profile"),
        (&member.silent, texts::OPEN_ROLE, texts::OPEN_PROFILE),
    ] {
        let node = &nodes[id];
        assert_eq!(node.role, Some((Arc::from(role), RoleFrom::InstanceProfile(Arc::from(profile)))));
        assert_eq!((node.agent, node.association.is_some()), (Agent::Online, true));
        assert_eq!(node.tags.get(texts::NODE_TAG.0).map(|value| &**value), Some(texts::NODE_TAG.1));
    }
    let may_write = async |role: &str| {
        let role = hands.identity(member.account, &Who::Role(Arc::from(role))).await.unwrap();
        role.policies.iter().any(|policy| policy.text.contains("s3:PutObject"))
    };
    assert!(may_write("web-node-role").await && !may_write(texts::OPEN_ROLE).await);
    let user = cloud.user(member.account).unwrap();
    let role = Who::Role(Arc::from(user.arn.split('/').nth(1).unwrap()));
    assert!(hands.identity(member.account, &role).await.unwrap().policies[0].text.contains("ssm:StartSession"));

    let name = Arc::clone(cloud.world().bucket_name());
    let bucket = hands.bucket(&name).await.unwrap();
    assert_eq!(bucket.account, cloud.world().log_archive());
    assert!(bucket.versioned && bucket.locked && bucket.policy.is_some());
    let bucket_key = hands.key(member.account, REGION, &bucket.key.unwrap()).await.unwrap();
    assert!(bucket_key.enabled);
    assert!(hands.key(member.account, REGION, texts::SESSION_KEY).await.unwrap().enabled);
    let shell = hands.document(member.account, REGION, "SSM-SessionManagerRunShell").await.unwrap();
    assert!(shell.content.contains(&*name));
    assert!(hands.document(member.account, REGION, "AWS-StartSSHSession").await.unwrap().content.contains("Port"));
    assert_eq!(hands.document(member.account, REGION, "nothing").await, Err(CallError::Gone));
}

async fn a_session(cloud: &Cloud, hands: &AwsOrganization) {
    let member = &cloud.members()[0];
    let request =
        StartSession { region: Arc::from(REGION), target: Arc::clone(&member.logging), ..StartSession::default() };
    let key = cloud.open(&cloud.user(member.account).unwrap(), &request).unwrap();
    let active = hands.active(member.account, REGION).await.unwrap();
    assert_eq!(active.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&key]);
    let stream = cloud.world().stream(member.account, REGION, texts::LOG_GROUP, &key.id).unwrap();
    assert_eq!(hands.stream(member.account, REGION, texts::LOG_GROUP, &key.id).await, Ok(stream));
    assert_eq!(hands.stream(member.account, REGION, "nothing", &key.id).await, Err(CallError::Gone));
    hands.terminate(&key).await.unwrap();
    let lives = hands.describe(member.account, REGION, &BTreeSet::from([key.clone()])).await.unwrap();
    assert!(matches!(lives[&key], Life::Ended(_)), "{lives:?}");

    let bucket = Arc::clone(cloud.world().bucket_name());
    let began = Instant::now();
    let (name, log) = loop {
        let written = cloud.world().session_log(&key);
        if let Some((name, _)) = written
            && let Some(log) = hands.object(&bucket, &name).await.unwrap()
        {
            break (name, log);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the log did not arrive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(name.starts_with(&format!("{}/{REGION}/", member.account)), "{name}");
    assert_eq!((log.versions, log.size_bytes > 0), (1, true));
}

#[tokio::test]
async fn without_its_external_id_nothing_is_answered() {
    let Some(cloud) = or_say(Cloud::start(CloudShape { members: 1, ..CloudShape::default() }).await) else { return };
    let hands = hands(&cloud, "wrong").await;
    assert_eq!(hands.active(cloud.members()[0].account, REGION).await, Err(CallError::Denied));
    assert_eq!(cloud.session_manager().calls("DescribeSessions"), 0);
}
