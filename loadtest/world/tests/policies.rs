//! What nodes may do, and that logs arrive exactly where the policies let them.

use std::sync::Arc;

use sessionwarden_machine::{
    ids::{Now, SessionKey},
    permission::Answer,
    posture::{Agent, RoleFrom, Who},
};
use sessionwarden_world::{
    Account, Change, LogFate, Node, NodeKind, OrganisationShape, StartSession, World,
    estate::{LOG_VERSION, customer_policy, profile_of},
    texts::{
        CLOSED_ENDPOINT, CLUSTER, DENY_LOG, DENY_POLICY, LOG_GROUP, LOG_POLICY, OPEN_PROFILE, OPEN_ROLE,
        UNLOGGED_PREFERENCES, USELESS_LOG, administrators_only,
    },
};

const START: Now = Now(1_722_500_000_000);

struct Stage {
    world: World,
    account: Account,
    archive: Account,
    node: Node,
}

impl Stage {
    fn new() -> Self {
        let world = World::new(OrganisationShape::quick(), 7, START);
        let account = world.accounts().iter().find(|account| account.ordinary()).unwrap().clone();
        let archive = world.account(world.log_archive()).unwrap().clone();
        let node = account.nodes[0].clone();
        Self { world, account, archive, node }
    }

    fn change(&mut self, change: &Change) {
        self.world.change(&self.account.admin, &self.node.region, change).unwrap();
    }

    fn change_archive(&mut self, change: &Change) {
        self.world.change(&self.archive.admin, &self.node.region, change).unwrap();
    }

    fn policy(&self) -> Arc<str> {
        customer_policy(self.account.id, LOG_POLICY)
    }

    fn start(&mut self, log: LogFate) -> SessionKey {
        let (region, target) = (Arc::clone(&self.node.region), Arc::clone(&self.node.id));
        let request = StartSession { region, target, log, ..StartSession::default() };
        self.world.start_session(&self.account.users[0], &request).unwrap()
    }

    /// How many checks of the node are not allowed.
    fn refused(&self) -> Vec<&'static str> {
        let checks = self.world.check_node(self.account.id, &self.node.region, &self.node.id, "ann-0").unwrap();
        let refused = checks.iter().filter(|check| check.decision.answer != Answer::Allow);
        refused.map(|check| check.action).collect()
    }

    /// Plays a session to its end, with the change while it lives: whether its log arrives.
    fn logged_after(mut self, change: impl FnOnce(&mut Self)) -> bool {
        let key = self.start(LogFate::Usual);
        self.world.advance_to(START.plus_ms(2_000));
        change(&mut self);
        self.world.exit_session(&key);
        self.world.advance_to(START.plus_ms(60_000));
        self.world.session_log(&key).is_some()
    }
}

#[test]
fn every_node_of_the_untouched_organisation_can_log() {
    let stage = Stage::new();
    for account in stage.world.accounts() {
        for node in &account.nodes {
            let checks = stage.world.check_node(account.id, &node.region, &node.id, "ann-0").unwrap();
            assert_eq!(checks.len(), 12, "{}", node.id);
            for check in checks {
                let reason = &check.decision.reason;
                assert_eq!(check.decision.answer, Answer::Allow, "{} {} {reason}", check.action, check.resource);
            }
        }
    }
}

/// R-G4, R-W14: instances with a profile, instances without one, and hybrid nodes.
#[test]
fn nodes_have_their_roles_from_three_places() {
    let stage = Stage::new();
    let from = |at: usize| {
        let node = &stage.account.nodes[at];
        stage.world.node(stage.account.id, &node.region, &node.id).unwrap().role.unwrap()
    };
    assert_eq!(from(0), (Arc::from("web-node-role"), RoleFrom::InstanceProfile(Arc::from("web-node-profile"))));
    assert_eq!(from(4), (Arc::from("hybrid-node-role"), RoleFrom::Activation));
    assert_eq!(from(5), (Arc::from("data-node-role"), RoleFrom::DefaultHostManagement));
    assert!(stage.account.nodes.iter().any(|node| node.kind == NodeKind::Container));
    assert_eq!(stage.world.node(stage.account.id, "mars-north-1", &stage.node.id), None);
}

type Play = fn(&mut Stage);

/// TH20, TH21, TH22, TH23, TH25: each takes the log away, by the policies alone.
#[test]
fn tampering_keeps_the_log_from_arriving() {
    assert!(Stage::new().logged_after(|_| {}), "untouched");
    let plays: [(&str, Play); 14] = [
        ("detached", |stage| {
            let (role, policy) = (Arc::clone(&stage.node.role), stage.policy());
            stage.change(&Change::DetachRolePolicy { role, policy });
        }),
        ("denied inline", |stage| {
            let (role, name) = (Arc::clone(&stage.node.role), Arc::from(DENY_POLICY));
            stage.change(&Change::PutRolePolicy { role, name, text: Arc::from(DENY_LOG) });
        }),
        ("bounded", |stage| {
            let (role, policy) = (Arc::clone(&stage.node.role), Arc::from("arn:aws:iam::aws:policy/ReadOnlyAccess"));
            stage.change(&Change::PutBoundary { role, policy });
        }),
        ("a new version", |stage| {
            let policy = stage.policy();
            stage.change(&Change::CreatePolicyVersion { policy, text: Arc::from(USELESS_LOG) });
        }),
        ("an old version", |stage| {
            let policy = stage.policy();
            stage.change(&Change::SetDefaultPolicyVersion { policy, version: LOG_VERSION - 1 });
        }),
        ("another profile", |stage| {
            let node = Arc::clone(&stage.node.id);
            stage.change(&Change::ReplaceProfile { node, profile: Arc::from(OPEN_PROFILE) });
        }),
        ("a profile without its role", |stage| {
            let role = Arc::clone(&stage.node.role);
            stage.change(&Change::RemoveRoleFromProfile { profile: profile_of(&role), role });
        }),
        ("a disabled key", |stage| {
            let key = stage.world.bucket(stage.world.bucket_name()).unwrap().key.unwrap();
            stage.change_archive(&Change::DisableKey { key });
        }),
        ("a key that goes", |stage| {
            let key = stage.world.bucket(stage.world.bucket_name()).unwrap().key.unwrap();
            stage.change_archive(&Change::ScheduleKeyDeletion { key });
        }),
        ("a closed key", |stage| {
            let key = stage.world.bucket(stage.world.bucket_name()).unwrap().key.unwrap();
            let text = administrators_only(stage.archive.id);
            stage.change_archive(&Change::PutKeyPolicy { key, text });
        }),
        ("a closed bucket", |stage| {
            let text = stage.world.closed_bucket_policy();
            stage.change_archive(&Change::PutBucketPolicy { text });
        }),
        ("a bucket without policy", |stage| stage.change_archive(&Change::DeleteBucketPolicy)),
        ("a closed endpoint", |stage| {
            let endpoint = stage.world.endpoint(stage.account.id, &stage.node.region, "s3").unwrap();
            stage.change(&Change::PutEndpointPolicy { endpoint, text: Arc::from(CLOSED_ENDPOINT) });
        }),
        ("a dead agent", |stage| stage.world.lose_agent(&stage.node.id)),
    ];
    for (name, play) in plays {
        assert!(!Stage::new().logged_after(play), "{name}");
    }
}

#[test]
fn what_leaves_the_log_alone_lets_it_arrive() {
    let plays: [(&str, Play); 5] = [
        ("an unrelated deny", |stage| {
            let (role, name) = (Arc::clone(&stage.node.role), Arc::from("no-iam"));
            let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iam:*","Resource":"*"}}"#;
            stage.change(&Change::PutRolePolicy { role, name, text: Arc::from(text) });
        }),
        ("put back in time", |stage| {
            let policy = stage.policy();
            stage.change(&Change::CreatePolicyVersion { policy: Arc::clone(&policy), text: Arc::from(USELESS_LOG) });
            assert_eq!(stage.refused().len(), 6);
            stage.change(&Change::SetDefaultPolicyVersion { policy, version: LOG_VERSION });
            assert!(stage.refused().is_empty());
        }),
        ("preferences of later sessions", |stage| {
            stage.change(&Change::update_preferences(UNLOGGED_PREFERENCES));
            stage.change(&Change::set_preferences(None));
        }),
        ("a bucket with S3's own key", |stage| stage.change_archive(&Change::UseOwnEncryption)),
        ("another node's profile", |stage| {
            let node = Arc::clone(&stage.account.nodes[2].id);
            stage.node.region = Arc::clone(&stage.account.nodes[2].region);
            stage.change(&Change::ReplaceProfile { node, profile: Arc::from(OPEN_PROFILE) });
        }),
    ];
    for (name, play) in plays {
        assert!(Stage::new().logged_after(play), "{name}");
    }
}

/// TH13: a node without a profile rests on the account's setting.
#[test]
fn default_host_management_decides_for_nodes_without_a_profile() {
    let mut stage = Stage::new();
    stage.node = stage.account.nodes[5].clone();
    assert!(stage.refused().is_empty());
    stage.change(&Change::SetHostManagement { role: Arc::from(OPEN_ROLE) });
    assert_eq!(stage.refused().len(), 6);
    stage.change(&Change::ResetHostManagement);
    assert_eq!(stage.world.check_node(stage.account.id, &stage.node.region, &stage.node.id, "ann-0"), None);
}

/// R-W22, R-W23, TH24.
#[test]
fn logs_come_twice_small_elsewhere_or_from_others() {
    let mut stage = Stage::new();
    let fates = [LogFate::Twice, LogFate::Small, LogFate::Misplaced, LogFate::Forged(stage.archive.id)];
    let keys = fates.map(|fate| stage.start(fate));
    for key in &keys {
        stage.world.exit_session(key);
    }
    stage.world.advance_to(START.plus_ms(60_000));
    let log = |at: usize| stage.world.session_log(&keys[at]);
    assert_eq!(log(0).unwrap().1.versions, 2);
    assert_eq!(log(1).unwrap().1.size_bytes, 8);
    assert_eq!(*log(2).unwrap().0, *format!("{}/elsewhere/{}.log", stage.account.id, keys[2].id));
    assert_eq!(log(3), None, "the bucket's policy keeps each account to its prefix");

    let text = stage.world.open_bucket_policy();
    stage.change_archive(&Change::PutBucketPolicy { text });
    let stranger = stage.world.accounts().iter().rfind(|account| account.ordinary()).unwrap().clone();
    let role = Arc::from("web-node-role");
    let everything =
        Arc::from(r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#);
    let everything = Change::PutRolePolicy { role, name: Arc::from("all"), text: everything };
    stage.world.change(&stranger.admin, "us-east-1", &everything).unwrap();
    let forged = stage.start(LogFate::Forged(stranger.id));
    stage.world.exit_session(&forged);
    stage.world.advance_to(START.plus_ms(120_000));
    assert_eq!(stage.world.session_log(&forged).unwrap().1.writer, Some(stranger.id));

    let (name, _) = stage.world.session_log(&keys[1]).unwrap();
    assert!(
        stage.world.change(&stage.account.admin, "us-east-1", &Change::DeleteLog { key: Arc::clone(&name) }).is_err()
    );
    stage.change_archive(&Change::OverwriteLog { key: Arc::clone(&name) });
    assert_eq!(stage.world.session_log(&keys[1]).unwrap().1.versions, 2);
    stage.change_archive(&Change::DeleteLog { key: Arc::clone(&name) });
    assert_eq!(stage.world.object(stage.world.bucket_name(), &name), Ok(None));
}

/// R-T5: a stream shows that a session is logged while it lives.
#[test]
fn streams_grow_while_sessions_live() {
    let mut stage = Stage::new();
    let key = stage.start(LogFate::Never);
    let look = |stage: &Stage| stage.world.stream(key.account, &key.region, LOG_GROUP, &key.id).unwrap();
    assert_eq!(look(&stage), None);
    stage.world.advance_to(START.plus_ms(12_000));
    let stream = look(&stage).unwrap();
    assert_eq!(stream.created_at, START.plus_ms(1_000).as_event_time());
    assert_eq!(stream.last_event_at, Some(START.plus_ms(11_000).as_event_time()));
    let (role, name) = (Arc::clone(&stage.node.role), Arc::from(DENY_POLICY));
    stage.change(&Change::PutRolePolicy { role, name, text: Arc::from(DENY_LOG) });
    stage.world.advance_to(START.plus_ms(30_000));
    assert_eq!(look(&stage), Some(stream), "what may not be written is not written");
    assert!(stage.world.stream(key.account, &key.region, "nothing", &key.id).is_err());
}

/// TH7: ECS Exec is logged as the cluster says, by the task's role.
#[test]
fn commands_in_containers_are_logged_by_the_cluster() {
    let mut stage = Stage::new();
    let container = stage.account.nodes.last().unwrap().clone();
    let run = |stage: &mut Stage| {
        let key = stage.world.execute_command(&stage.account.users[0], &container.region, &container.id).unwrap();
        stage.world.exit_session(&key);
        stage.world.advance_to(stage.world.now().plus_ms(60_000));
        stage.world.session_log(&key).is_some()
    };
    assert!(run(&mut stage));
    let (cluster, logging) = (Arc::from(CLUSTER), Arc::from("NONE"));
    stage.change(&Change::SetClusterLogging { cluster, logging });
    assert!(!run(&mut stage));
}

/// TH1: documents of other accounts are seen once they are shared.
#[test]
fn documents_are_shared() {
    let mut stage = Stage::new();
    let other = stage.world.accounts().iter().rfind(|account| account.ordinary()).unwrap().id;
    let region = Arc::clone(&stage.node.region);
    let arn = format!("arn:aws:ssm:{region}:{}:document/debug-shell", stage.account.id);
    assert!(stage.world.document(other, &region, &arn).is_err());
    stage.change(&Change::ShareDocument { name: Arc::from("debug-shell"), with: other });
    assert!(stage.world.document(other, &region, &arn).unwrap().content.contains("Standard_Stream"));
    assert!(stage.world.document(other, &region, "AWS-StartSSHSession").unwrap().content.contains("Port"));
    assert!(stage.world.document(other, &region, "nobody's").is_err());
}

#[test]
fn a_role_in_use_is_not_deleted() {
    let mut stage = Stage::new();
    let role = Arc::clone(&stage.node.role);
    let delete = Change::DeleteRole { role: Arc::clone(&role) };
    assert!(stage.world.change(&stage.account.admin, "us-east-1", &delete).is_err());
    stage.change(&Change::RemoveRoleFromProfile { profile: profile_of(&role), role: Arc::clone(&role) });
    for policy in [stage.policy(), Arc::from("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")] {
        stage.change(&Change::DetachRolePolicy { role: Arc::clone(&role), policy });
    }
    stage.change(&delete);
    assert!(stage.world.identity(stage.account.id, &Who::Role(role)).is_err());
}

#[test]
fn a_lost_agent_is_seen_and_takes_no_session() {
    let mut stage = Stage::new();
    stage.world.lose_agent(&stage.node.id);
    let seen = stage.world.node(stage.account.id, &stage.node.region, &stage.node.id).unwrap().agent;
    assert_eq!(seen, Agent::Lost(START.as_event_time()));
    let (region, target) = (Arc::clone(&stage.node.region), Arc::clone(&stage.node.id));
    let request = StartSession { region, target, ..StartSession::default() };
    assert!(stage.world.start_session(&stage.account.users[0], &request).is_err());
    stage.world.find_agent(&stage.node.id);
    assert!(stage.world.start_session(&stage.account.users[0], &request).is_ok());
}
