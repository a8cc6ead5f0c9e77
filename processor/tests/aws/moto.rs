//! What sessions rest on, as moto answers for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sessionwarden::{
    aws::AwsOrganization,
    ports::{CallError, Documents as _, Identities as _, LogPlaces as _, Logs as _, Nodes as _, Organization as _},
};
use sessionwarden_machine::{
    ids::{AccountId, EventTime, Now},
    posture::{Agent, Identity, RoleFrom, Who},
};
use sessionwarden_testbed::{SessionManager, SessionManagerSettings, or_say, python};
use sessionwarden_world::{OrganisationShape, World};

use super::{REGION, account, connect, prepare, settings};

const OWN: u64 = 123_456_789_012;

struct Known(Value);

impl Known {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().expect("it was prepared")
    }

    fn arc(&self, name: &str) -> Arc<str> {
        Arc::from(self.text(name))
    }
}

fn member() -> AccountId {
    account(111_122_223_333)
}

#[tokio::test]
async fn moto_answers_the_ports() {
    let Some(server) = or_say(python::moto()) else {
        return;
    };
    let known = Known(prepare("moto", &server, ""));
    let manager = session_manager(&known);
    let hands = connect("testing", &[("sts", &server.url)], settings()).await;
    roles_and_users(&hands, &known).await;
    documents(&hands, &known).await;
    keys(&hands, &known).await;
    streams(&hands).await;
    containers(&hands).await;
    organisation(&hands).await;
    let hands = connect("testing", &[("sts", &server.url), ("ssm", manager.url())], settings()).await;
    nodes(&hands, &known).await;
}

fn texts(identity: &Identity) -> Vec<(&str, Value)> {
    let policies = identity.policies.iter();
    policies.map(|policy| (&*policy.name, serde_json::from_str(&policy.text).unwrap())).collect()
}

async fn roles_and_users(hands: &AwsOrganization, known: &Known) {
    let read: Value = serde_json::from_str(known.text("read")).unwrap();
    let denied: Value = serde_json::from_str(known.text("denied")).unwrap();
    let managed = format!("{} v2", known.text("policy"));

    let role = hands.identity(member(), &Who::Role(Arc::from("node"))).await.unwrap();
    assert_eq!(&*role.arn, "arn:aws:iam::111122223333:role/nodes/node");
    assert_eq!(
        texts(&role),
        [
            ("inline policy Inline0", read.clone()),
            ("inline policy Inline1", read.clone()),
            ("inline policy Inline2", read.clone()),
            (&*managed, denied.clone()),
        ]
    );
    assert_eq!(role.attached, [known.arc("policy")]);
    assert_eq!(role.boundary.as_ref().map(|it| &*it.name), Some(&*format!("{} v1", known.text("boundary"))));
    assert_eq!(role.tags.get("team").map(|it| &**it), Some("orders"));

    let user = hands.identity(member(), &Who::User(Arc::from("ann"))).await.unwrap();
    assert_eq!(
        texts(&user),
        [
            ("inline policy Own", read),
            ("inline policy OfGroup of the group admins", denied.clone()),
            (&*managed, denied),
        ]
    );
    assert_eq!((user.boundary, user.tags.len()), (None, 1));

    for nobody in [Who::Role(Arc::from("nobody")), Who::User(Arc::from("nobody"))] {
        assert_eq!(hands.identity(member(), &nobody).await, Err(CallError::Gone));
    }
}

async fn documents(hands: &AwsOrganization, known: &Known) {
    let own = hands.document(member(), REGION, "Own").await.unwrap();
    let content: Value = serde_json::from_str(&own.content).unwrap();
    let wanted: Value = serde_json::from_str(known.text("document")).unwrap();
    assert_eq!((&*own.version, content), ("2", wanted));
    let by_arn = "arn:aws:ssm:eu-west-1:111122223333:document/Own";
    assert_eq!(hands.document(member(), REGION, by_arn).await, Ok(own));
    assert_eq!(&*hands.document(member(), REGION, "SSM-SessionManagerRunShell").await.unwrap().version, "1");
    assert_eq!(hands.document(member(), REGION, "Nothing").await, Err(CallError::Gone));
    assert_eq!(hands.document(member(), "eu-west-3", "Own").await, Err(CallError::Gone));
}

async fn keys(hands: &AwsOrganization, known: &Known) {
    let id = known.text("key").rsplit('/').next().unwrap();
    for name in [known.text("key"), id, "alias/logs"] {
        let key = hands.key(member(), REGION, name).await.unwrap();
        assert_eq!((&*key.arn, key.enabled), (known.text("key"), true), "{name}");
        assert_eq!(&*key.policy.text, known.text("key_policy"));
        assert_eq!(key.aliases, Some(vec![Arc::from("alias/logs")]));
    }
    assert!(!hands.key(member(), REGION, known.text("disabled")).await.unwrap().enabled);
    assert_eq!(hands.key(member(), REGION, "alias/nothing").await, Err(CallError::Gone));
}

async fn streams(hands: &AwsOrganization) {
    let stream = hands.stream(member(), REGION, "/sessions", "ann-0a").await.unwrap().unwrap();
    assert!(stream.created_at > EventTime(1_700_000_000_000));
    assert_eq!(stream.last_event_at, Some(EventTime(1_795_000_000_000)));
    let silent = hands.stream(member(), REGION, "/sessions", "bob-1").await.unwrap().unwrap();
    assert_eq!(silent.last_event_at, None);
    assert_eq!(hands.stream(member(), REGION, "/sessions", "ann").await, Ok(None), "only a prefix");
    assert_eq!(hands.stream(member(), REGION, "/nothing", "ann-0a").await, Err(CallError::Gone));
}

async fn containers(hands: &AwsOrganization) {
    let web = hands.cluster(member(), REGION, "web").await.unwrap();
    assert_eq!((&*web.logging, &*web.bucket, &*web.log_group), ("OVERRIDE", "logs", "/sessions"));
    let default = hands.cluster(member(), REGION, "default").await.unwrap();
    assert_eq!((&*default.logging, &*default.bucket), ("", ""));
    assert_eq!(hands.cluster(member(), REGION, "nothing").await, Err(CallError::Gone));
}

async fn organisation(hands: &AwsOrganization) {
    let (accounts, regions) = hands.places().await.unwrap();
    assert_eq!(accounts, [account(OWN)]);
    assert!(regions.iter().any(|region| **region == *REGION) && regions.len() > 10, "{regions:?}");
}

/// What Systems Manager knows of the nodes; no server known answers for that.
fn session_manager(known: &Known) -> SessionManager {
    let world = Arc::new(Mutex::new(World::new(OrganisationShape::quick(), 1, Now(1_795_000_000_000))));
    let agent = |id: &str, status: &str, role: Option<&str>| json!({ "InstanceId": id, "PingStatus": status, "LastPingDateTime": 1_795_000_000.0, "IamRole": role });
    let agents = vec![
        agent(known.text("with_role"), "Online", None),
        agent(known.text("empty"), "ConnectionLost", None),
        agent(known.text("stopped"), "ConnectionLost", None),
        agent("mi-0123456789abcdef0", "Online", Some("service-role/hybrid")),
    ];
    let settings = SessionManagerSettings {
        agents: Some(agents),
        host_management: Some("service-role/DefaultHost".to_owned()),
        ..SessionManagerSettings::new(account(OWN))
    };
    SessionManager::start(&world, settings).unwrap()
}

async fn nodes(hands: &AwsOrganization, known: &Known) {
    let nobody: Arc<str> = Arc::from("i-0123456789abcdef0");
    let names = ["with_role", "empty", "bare", "stopped"].map(|name| known.arc(name));
    let hybrid: Arc<str> = Arc::from("mi-0123456789abcdef0");
    let others = [hybrid.clone(), nobody.clone(), Arc::from("mi-00000000000000000"), Arc::from("ecs:web_task_id")];
    let wanted: BTreeSet<Arc<str>> = names.iter().cloned().chain(others).collect();
    let found = hands.nodes(member(), REGION, &wanted).await.unwrap();

    assert_eq!(found.len(), 5, "{found:?}");
    let with_role = &found[&names[0]];
    let profile = RoleFrom::InstanceProfile(Arc::from("node-profile"));
    assert_eq!(with_role.role, Some((Arc::from("node"), profile)));
    assert_eq!(with_role.association.as_deref(), Some(known.text("association")));
    assert_eq!(with_role.tags.get("Name").map(|it| &**it), Some("orders <1> & more"));
    assert_eq!((with_role.agent, with_role.network.as_deref()), (Agent::Online, Some(known.text("vpc"))));
    let empty = &found[&names[1]];
    assert_eq!((&empty.role, empty.agent), (&None, Agent::Lost(EventTime(1_795_000_000_000))));
    let bare = &found[&names[2]];
    // TH13: the role of an instance without a profile is the account's setting.
    assert_eq!(bare.role, Some((Arc::from("DefaultHost"), RoleFrom::DefaultHostManagement)));
    // TH15: an agent that this account never saw, on a machine that runs.
    assert!(matches!(bare.agent, Agent::Lost(since) if since > EventTime(1_700_000_000_000)), "{:?}", bare.agent);
    assert_eq!(found[&names[3]].agent, Agent::Stopped);
    let activated = &found[&hybrid];
    assert_eq!(activated.role, Some((Arc::from("hybrid"), RoleFrom::Activation)));
    assert_eq!((activated.agent, &activated.network), (Agent::Online, &None));
    assert_eq!(activated.tags.get("Name"), Some(&hybrid));

    let network = hands.network(member(), REGION, known.text("vpc")).await.unwrap();
    assert_eq!(network.endpoints.len(), 1);
    assert_eq!(&*network.endpoints["s3"].id, known.text("endpoint"));
    assert!(network.endpoints["s3"].policy.text.contains("\"Allow\""));
    assert_eq!(hands.network(member(), REGION, "vpc-0").await.unwrap().endpoints.len(), 0);
}
