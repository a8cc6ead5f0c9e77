//! What happens in each scenario, and what must come of it.

use std::sync::Arc;

use sessionwarden_machine::session::Outcome::{Compliant, LogMissing, Unproven, Violated};

use super::{Expected, Scenario, shared};
use crate::{
    act::Act,
    change::Change,
    cloudtrail::Caller,
    estate::{LOG_VERSION, customer_policy, profile_of},
    organisation::{Account, Node, NodeKind},
    session::{LogFate, PORT_DOCUMENT, StartSession},
    texts::{
        CLOSED_ENDPOINT, CLUSTER, DENY_LOG, DENY_POLICY, LOG_GROUP, LOG_POLICY, NODE_TAG, OPEN_PROFILE, OPEN_ROLE,
        THIRD_PARTY_ROLE, THIRD_PARTY_TAG, UNLOGGED_PREFERENCES, USELESS_LOG, administrators_only,
    },
    world::World,
};

/// When the session of a scenario begins, something is changed, and the session is left, in milliseconds.
const BEGIN: i64 = 1_000;
const CHANGE: i64 = 5_000;
const LEAVE: i64 = 15_000;

type Acts = Vec<(i64, Act)>;

const fn scenario(threat: &'static str, name: &'static str, acts: fn(&World) -> Acts, expected: Expected) -> Scenario {
    Scenario { name, threat, expected, acts }
}

/// A script while it is written: an ordinary account with a node, and the account of the logs.
struct Script<'w> {
    world: &'w World,
    account: &'w Account,
    archive: &'w Account,
    node: &'w Node,
    acts: Acts,
}

impl<'w> Script<'w> {
    /// On the first node of the first ordinary account, or of the only account there is.
    fn new(world: &'w World) -> Self {
        let accounts = world.accounts();
        let account = accounts.iter().find(|account| account.ordinary()).unwrap_or(&accounts[0]);
        let archive = world.account(world.log_archive()).unwrap_or(account);
        Self { world, account, archive, node: &account.nodes[0], acts: Vec::new() }
    }

    /// On another node of the account: 4 is a hybrid one, 5 has no profile, the last is a container.
    fn at_node(mut self, at: usize) -> Self {
        self.node = self.account.nodes.get(at).unwrap_or(self.node);
        self
    }

    fn at_container(mut self) -> Self {
        let container = self.account.nodes.iter().find(|node| node.kind == NodeKind::Container);
        self.node = container.unwrap_or(self.node);
        self
    }

    fn in_account(mut self, account: &'w Account) -> Self {
        (self.account, self.node) = (account, &account.nodes[0]);
        self
    }

    fn request(&self) -> StartSession {
        let (region, target) = (Arc::clone(&self.node.region), Arc::clone(&self.node.id));
        StartSession { region, target, reason: Some(shared("OPS-7 look around")), ..StartSession::default() }
    }

    fn starts(mut self, at: i64, caller: &Arc<Caller>, request: StartSession) -> Self {
        self.acts.push((at, Act::Start { slot: 0, caller: Arc::clone(caller), request }));
        self.acts.push((LEAVE.max(at + 10_000), Act::Exit { slot: 0 }));
        self
    }

    /// Somebody works in a shell from [`BEGIN`] to [`LEAVE`].
    fn shell(self, log: LogFate) -> Self {
        let (caller, request) = (&self.account.users[0], StartSession { log, ..self.request() });
        self.starts(BEGIN, caller, request)
    }

    fn with_document(self, at: i64, document: &str) -> Self {
        let (caller, request) = (&self.account.users[0], self.request());
        self.starts(at, caller, StartSession { document: Some(shared(document)), ..request })
    }

    fn then(mut self, at: i64, act: Act) -> Self {
        self.acts.push((at, act));
        self
    }

    fn by(self, at: i64, caller: &Arc<Caller>, change: Change) -> Self {
        let (caller, region) = (Arc::clone(caller), Arc::clone(&self.node.region));
        self.then(at, Act::Change { caller, region, change })
    }

    /// The account's administrator changes something.
    fn change(self, at: i64, change: Change) -> Self {
        let admin = &self.account.admin;
        self.by(at, admin, change)
    }

    /// The log archive's administrator changes something.
    fn archived(self, at: i64, change: Change) -> Self {
        let admin = &self.archive.admin;
        self.by(at, admin, change)
    }

    /// Calls that change nothing the model knows, one second apart.
    fn calls(mut self, source: &'static str, names: &[&'static str]) -> Self {
        let node = Arc::clone(&self.node.id);
        for (at, name) in (0..).zip(names) {
            self = self.change(CHANGE + 1_000 * at, Change::Other(source, name, Arc::clone(&node)));
        }
        self
    }

    fn role(&self) -> Arc<str> {
        Arc::clone(&self.node.role)
    }

    fn policy(&self) -> Arc<str> {
        customer_policy(self.account.id, LOG_POLICY)
    }

    fn key(&self) -> Arc<str> {
        let bucket = self.world.bucket(self.world.bucket_name()).ok();
        bucket.and_then(|bucket| bucket.key).unwrap_or_default()
    }
}

/// A shell during which something is changed in its account.
fn while_open(world: &World, change: impl FnOnce(&Script<'_>) -> Change) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let change = change(&script);
    script.change(CHANGE, change).acts
}

/// A shell during which something is changed in the log archive.
fn while_archived(world: &World, change: impl FnOnce(&Script<'_>) -> Change) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let change = change(&script);
    script.archived(CHANGE, change).acts
}

/// A shell whose log comes in another way.
fn with_log(world: &World, log: LogFate) -> Acts {
    Script::new(world).shell(log).acts
}

/// A shell that begins after the preferences were changed.
fn after_preferences(world: &World, content: impl FnOnce(&Script<'_>) -> Arc<str>) -> Acts {
    let script = Script::new(world);
    let content = content(&script);
    let (caller, request) = (&script.account.users[0], script.request());
    script
        .change(BEGIN, Change::update_preferences(&content))
        .change(BEGIN + 1_000, Change::set_preferences(None))
        .starts(CHANGE, caller, request)
        .acts
}

/// The rows, with the plays that fit in a line or few.
pub(super) const ALL: [Scenario; 68] = [
    scenario("", "a shell", |world| with_log(world, LogFate::Usual), Expected::QUIET),
    scenario("", "a shell whose log is late", |world| with_log(world, LogFate::After(9_000)), Expected::QUIET),
    scenario(
        "",
        "a shell on a hybrid node",
        |world| Script::new(world).at_node(4).shell(LogFate::Usual).acts,
        Expected::QUIET,
    ),
    scenario(
        "",
        "a shell on a node without a profile",
        |world| Script::new(world).at_node(5).shell(LogFate::Usual).acts,
        Expected::QUIET,
    ),
    scenario("", "a shell of a third party", third_party, Expected::QUIET),
    scenario(
        "TH1",
        "a custom document",
        custom_document,
        Expected::ended(&["SW-DOC-01"], &["SW-DOC-05"], LogMissing).by_event(),
    ),
    scenario("TH1", "a shared document", shared_document, Expected::ended(&["SW-DOC-01"], &[], LogMissing).by_event()),
    scenario(
        "TH2",
        "a forwarded port",
        |world| Script::new(world).with_document(BEGIN, PORT_DOCUMENT).acts,
        Expected::ended(&["SW-DOC-02"], &[], Violated).by_event(),
    ),
    scenario(
        "TH2",
        "a tunnel for SSH",
        |world| Script::new(world).with_document(BEGIN, "AWS-StartSSHSession").acts,
        Expected::ended(&["SW-DOC-02"], &[], Violated).by_event(),
    ),
    scenario(
        "TH2",
        "a port behind a custom name",
        |world| Script::new(world).with_document(BEGIN, "database-tunnel").acts,
        Expected::ended(&["SW-DOC-01"], &[], Violated),
    ),
    scenario(
        "TH3",
        "an interactive command",
        |world| Script::new(world).with_document(BEGIN, "AWS-StartInteractiveCommand").acts,
        Expected::ended(&["SW-DOC-03"], &[], Violated).by_event(),
    ),
    scenario(
        "TH3",
        "a command",
        |world| Script::new(world).with_document(BEGIN, "AWS-StartNonInteractiveCommand").acts,
        Expected::ended(&["SW-DOC-03"], &[], Violated).by_event(),
    ),
    scenario("TH4", "a resumed session", resumed, Expected::found(&["SW-RES-01"], &[], Violated).by_event()),
    scenario(
        "TH5",
        "a command sent to a node",
        |world| Script::new(world).calls("ssm", &["SendCommand"]).acts,
        Expected::events(&["SW-CMD-01"]),
    ),
    scenario(
        "TH6",
        "automation",
        |world| {
            Script::new(world)
                .calls(
                    "ssm",
                    &[
                        "StartAutomationExecution",
                        "CreateAssociation",
                        "UpdateAssociation",
                        "RegisterTaskWithMaintenanceWindow",
                    ],
                )
                .acts
        },
        Expected::events(&["SW-CMD-02"]),
    ),
    scenario(
        "TH7",
        "an ECS Exec that is not logged",
        |world| execute(world, Some("NONE")),
        Expected { session: &["SW-ECS-01"], terminated: true, ..Expected::NO_SESSION },
    ),
    scenario("TH7", "an ECS Exec that is logged", |world| execute(world, None), Expected::NO_SESSION),
    scenario(
        "TH7",
        "ECS Exec switched on",
        |world| Script::new(world).calls("ecs", &["UpdateService"]).acts,
        Expected::events(&["SW-ECS-02"]),
    ),
    scenario(
        "TH8",
        "a container addressed directly",
        |world| Script::new(world).at_container().shell(LogFate::Usual).acts,
        Expected { session: &["SW-TGT-01"], terminated: true, evidence: false, ..Expected::NO_SESSION },
    ),
    scenario(
        "TH9",
        "EC2 Instance Connect",
        |world| {
            Script::new(world)
                .calls("ec2-instance-connect", &["SendSSHPublicKey", "OpenTunnel"])
                .calls("ec2", &["CreateInstanceConnectEndpoint"])
                .acts
        },
        Expected::events(&["SW-EIC-01", "SW-EIC-02"]),
    ),
    scenario(
        "TH10",
        "the serial console",
        |world| {
            Script::new(world)
                .calls("ec2", &["EnableSerialConsoleAccess"])
                .calls("ec2-instance-connect", &["SendSerialConsoleSSHPublicKey"])
                .acts
        },
        Expected::events(&["SW-SER-01"]),
    ),
    scenario("TH11", "just-in-time access", just_in_time, Expected::found(&["SW-JIT-01"], &["SW-JIT-02"], Violated)),
    scenario(
        "TH12",
        "a remote desktop",
        |world| Script::new(world).calls("ssm-guiconnect", &["StartConnection"]).acts,
        Expected::events(&["SW-RDP-01"]),
    ),
    scenario(
        "TH13",
        "another Default Host Management role",
        |world| host_management(world, Change::SetHostManagement { role: shared(OPEN_ROLE) }),
        Expected::ended(&["SW-LOG-01"], &["SW-NODE-01"], LogMissing),
    ),
    scenario(
        "TH13",
        "no Default Host Management role",
        |world| host_management(world, Change::ResetHostManagement),
        Expected { outcome: Some(LogMissing), session: &[], terminated: false, ..Expected::events(&["SW-NODE-01"]) },
    ),
    scenario(
        "TH14",
        "a hybrid activation",
        |world| Script::new(world).calls("ssm", &["CreateActivation", "RegisterManagedInstance"]).acts,
        Expected::events(&["SW-NODE-02"]),
    ),
    scenario(
        "TH14",
        "a node without the tag of allowed nodes",
        |world| {
            while_open(world, |script| Change::Untag { node: Arc::clone(&script.node.id), key: shared(NODE_TAG.0) })
        },
        Expected::ended(&["SW-NODE-03"], &[], Violated),
    ),
    scenario("TH15", "an agent registered elsewhere", lost_agent, Expected::found(&["SW-AGT-01"], &[], LogMissing)),
    scenario(
        "TH17",
        "another region",
        |world| Script::new(world).calls("account", &["EnableRegion"]).acts,
        Expected::events(&["SW-REG-02"]),
    ),
    scenario(
        "TH18",
        "a shell in the management account",
        in_management,
        Expected {
            session: &["SW-ACC-01"],
            events: &["SW-ACC-02"],
            terminated: true,
            evidence: false,
            ..Expected::NO_SESSION
        },
    ),
    scenario(
        "TH20",
        "the log policy detached",
        |world| while_open(world, |script| Change::DetachRolePolicy { role: script.role(), policy: script.policy() }),
        TAMPERED,
    ),
    scenario(
        "TH20",
        "an inline deny",
        |world| {
            while_open(world, |script| Change::PutRolePolicy {
                role: script.role(),
                name: shared(DENY_POLICY),
                text: shared(DENY_LOG),
            })
        },
        TAMPERED,
    ),
    scenario(
        "TH20",
        "a boundary",
        |world| {
            while_open(world, |script| Change::PutBoundary {
                role: script.role(),
                policy: shared("arn:aws:iam::aws:policy/ReadOnlyAccess"),
            })
        },
        TAMPERED,
    ),
    scenario(
        "TH20",
        "a new version of the log policy",
        |world| {
            while_open(world, |script| Change::CreatePolicyVersion {
                policy: script.policy(),
                text: shared(USELESS_LOG),
            })
        },
        TAMPERED,
    ),
    scenario(
        "TH20",
        "an old version of the log policy",
        |world| {
            while_open(world, |script| Change::SetDefaultPolicyVersion {
                policy: script.policy(),
                version: LOG_VERSION - 1,
            })
        },
        TAMPERED,
    ),
    scenario("TH20", "the role deleted", role_deleted, TAMPERED),
    scenario(
        "TH20",
        "an unrelated deny",
        |world| {
            while_open(world, |script| Change::PutRolePolicy {
                role: script.role(),
                name: shared("no-iam"),
                text: shared(NO_IAM),
            })
        },
        Expected { events: &["SW-ROLE-02"], ..Expected::QUIET },
    ),
    scenario(
        "TH20",
        "detached and attached again",
        put_back,
        Expected { events: &["SW-ROLE-02"], outcome: None, ..Expected::QUIET },
    ),
    scenario(
        "TH21",
        "another instance profile",
        |world| {
            while_open(world, |script| Change::ReplaceProfile {
                node: Arc::clone(&script.node.id),
                profile: shared(OPEN_PROFILE),
            })
        },
        TAMPERED,
    ),
    scenario(
        "TH21",
        "a profile without its role",
        |world| {
            while_open(world, |script| Change::RemoveRoleFromProfile {
                profile: profile_of(&script.role()),
                role: script.role(),
            })
        },
        Expected { outcome: Some(LogMissing), ..Expected::events(&["SW-ROLE-02"]) },
    ),
    scenario(
        "TH22",
        "the log key disabled",
        |world| while_archived(world, |script| Change::DisableKey { key: script.key() }),
        Expected::found(&["SW-KEY-02"], &["SW-KEY-01"], LogMissing),
    ),
    scenario(
        "TH22",
        "the log key to be deleted",
        |world| while_archived(world, |script| Change::ScheduleKeyDeletion { key: script.key() }),
        Expected::found(&["SW-KEY-02"], &["SW-KEY-01"], LogMissing),
    ),
    scenario(
        "TH22",
        "the log key closed",
        |world| {
            while_archived(world, |script| Change::PutKeyPolicy {
                key: script.key(),
                text: administrators_only(script.archive.id),
            })
        },
        Expected::ended(&["SW-LOG-01"], &["SW-KEY-01"], LogMissing),
    ),
    scenario(
        "TH23",
        "the log bucket closed",
        |world| while_archived(world, |script| Change::PutBucketPolicy { text: script.world.closed_bucket_policy() }),
        Expected::ended(&["SW-LOG-01"], &["SW-BKT-01"], LogMissing),
    ),
    scenario(
        "TH23",
        "the log bucket without a policy",
        |world| while_archived(world, |_| Change::DeleteBucketPolicy),
        Expected::ended(&["SW-LOG-01"], &["SW-BKT-01"], LogMissing),
    ),
    scenario(
        "TH23",
        "old versions of logs no longer kept",
        |world| while_archived(world, |_| Change::SuspendVersioning),
        Expected::found(&["SW-BKT-02"], &["SW-BKT-01"], Violated),
    ),
    scenario(
        "TH24",
        "a log deleted",
        |world| to_log(world, |key| Change::DeleteLog { key }),
        Expected { events: &["SW-OBJ-01"], ..Expected::QUIET },
    ),
    scenario(
        "TH24",
        "a log overwritten",
        |world| to_log(world, |key| Change::OverwriteLog { key }),
        Expected { outcome: None, ..Expected::QUIET },
    ),
    scenario(
        "TH24",
        "a log written twice",
        |world| with_log(world, LogFate::Twice),
        Expected { outcome: None, ..Expected::QUIET },
    ),
    scenario(
        "TH24",
        "the log group deleted",
        |world| while_open(world, |_| Change::DeleteLogGroup { group: shared(LOG_GROUP) }),
        Expected { events: &["SW-OBJ-01"], outcome: None, ..Expected::QUIET },
    ),
    scenario(
        "R-G7",
        "a log under another prefix",
        |world| with_log(world, LogFate::Misplaced),
        Expected { outcome: Some(LogMissing), ..Expected::QUIET },
    ),
    scenario(
        "R-W22",
        "an empty log",
        |world| with_log(world, LogFate::Empty),
        Expected { outcome: Some(Unproven), ..Expected::QUIET },
    ),
    scenario(
        "R-W23",
        "a log written by another account",
        forged,
        Expected { session: &["SW-BKT-02"], events: &["SW-BKT-01"], outcome: Some(Violated), ..Expected::QUIET },
    ),
    scenario(
        "TH25",
        "an endpoint closed to the logs",
        closed_endpoint,
        Expected::ended(&["SW-LOG-01"], &["SW-NET-02"], LogMissing),
    ),
    scenario(
        "TH26",
        "preferences that log nothing",
        |world| after_preferences(world, |_| shared(UNLOGGED_PREFERENCES)),
        Expected::ended(&["SW-DOC-04"], &["SW-DOC-06"], LogMissing),
    ),
    scenario(
        "TH26",
        "preferences deleted",
        preferences_deleted,
        Expected { events: &["SW-DOC-06"], outcome: Some(LogMissing), ..Expected::NO_SESSION },
    ),
    scenario(
        "TH26",
        "preferences shared",
        |world| {
            while_open(world, |script| Change::ShareDocument {
                name: shared("SSM-SessionManagerRunShell"),
                with: script.archive.id,
            })
        },
        Expected { events: &["SW-DOC-06"], ..Expected::QUIET },
    ),
    scenario(
        "R-T5",
        "preferences without the stream",
        |world| {
            after_preferences(world, |script| {
                script.world.unstreamed_preferences(script.account.id, &script.node.region)
            })
        },
        Expected { session: &["SW-DOC-04", "SW-STR-01"], ..Expected::ended(&[], &["SW-DOC-06"], Violated) },
    ),
    scenario(
        "TH27",
        "the event rule",
        |world| {
            Script::new(world)
                .calls("events", &["DisableRule", "RemoveTargets", "PutTargets", "PutRule", "DeleteRule"])
                .acts
        },
        Expected::events(&["SW-RULE-01"]),
    ),
    scenario(
        "TH28",
        "the trail",
        |world| {
            Script::new(world)
                .calls("cloudtrail", &["StopLogging", "PutEventSelectors", "UpdateTrail", "DeleteTrail"])
                .acts
        },
        Expected::events(&["SW-TRAIL-01"]),
    ),
    scenario(
        "TH29",
        "the guardrail itself",
        |world| {
            Script::new(world)
                .calls("kinesis", &["DeleteStream"])
                .calls("dynamodb", &["DeleteTable"])
                .calls("sqs", &["PurgeQueue"])
                .calls("monitoring", &["SetAlarmState"])
                .calls("sns", &["SetTopicAttributes"])
                .acts
        },
        Expected::events(&["SW-GRD-01"]),
    ),
    scenario("TH30", "the organisation", organization, Expected::events(&["SW-ORG-01"])),
    scenario(
        "TH31",
        "an agent killed before it writes the log",
        killed_agent,
        Expected { outcome: Some(LogMissing), ..Expected::QUIET },
    ),
    scenario(
        "TH32",
        "a security group opened to SSH",
        |world| Script::new(world).calls("ec2", &["AuthorizeSecurityGroupIngress"]).acts,
        Expected::events(&["SW-SSH-01"]),
    ),
    scenario(
        "R-T2",
        "a third party on a node that is not theirs",
        not_theirs,
        Expected::ended(&["SW-TP-01"], &[], Violated),
    ),
    scenario("R-T3", "a third party as root", third_party_as_root, Expected::ended(&["SW-RUN-01"], &[], Violated)),
    scenario(
        "R-OPEN-2",
        "no reason where one is needed",
        without_reason,
        Expected::found(&["SW-RSN-01"], &[], Violated),
    ),
    scenario(
        "R-D1",
        "an administrator without the document check",
        by_administrator,
        Expected::found(&["SW-IAM-01", "SW-IAM-02"], &[], Violated),
    ),
];

/// The role behind the node can no longer write the log.
const TAMPERED: Expected = Expected::ended(&["SW-LOG-01"], &["SW-ROLE-02"], LogMissing);
const NO_IAM: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iam:*","Resource":"*"}}"#;

fn third_party(world: &World) -> Acts {
    let script = Script::new(world);
    let (caller, request) = (&script.account.third_party, script.request());
    script.starts(BEGIN, caller, request).acts
}

fn custom_document(world: &World) -> Acts {
    let content = world.document(world.log_archive(), &world.regions()[0], "debug-shell");
    let content = content.map(|document| document.content).unwrap_or_default();
    let create = Change::CreateDocument { name: shared("my-shell"), content };
    Script::new(world).change(BEGIN, create).with_document(BEGIN + 1_000, "my-shell").acts
}

fn shared_document(world: &World) -> Acts {
    let script = Script::new(world);
    let (owner, region) = (script.archive.id, &script.node.region);
    let arn = format!("arn:aws:ssm:{region}:{owner}:document/debug-shell");
    let share = Change::ShareDocument { name: shared("debug-shell"), with: script.account.id };
    script.archived(BEGIN, share).with_document(BEGIN + 1_000, &arn).acts
}

fn resumed(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let caller = Arc::clone(&script.account.users[0]);
    script.then(CHANGE, Act::Disconnect { slot: 0 }).then(CHANGE + 2_000, Act::Resume { slot: 0, caller }).acts
}

fn execute(world: &World, logging: Option<&str>) -> Acts {
    let mut script = Script::new(world).at_container();
    if let Some(logging) = logging {
        let change = Change::SetClusterLogging { cluster: shared(CLUSTER), logging: shared(logging) };
        script = script.change(BEGIN, change);
    }
    let (region, target) = (Arc::clone(&script.node.region), Arc::clone(&script.node.id));
    let caller = Arc::clone(&script.account.users[0]);
    let run = Act::Execute { slot: 0, caller, region, target };
    script.then(BEGIN + 1_000, run).then(LEAVE, Act::Exit { slot: 0 }).acts
}

fn just_in_time(world: &World) -> Acts {
    let script = Script::new(world).calls("ssm", &["StartAccessRequest", "GetAccessToken"]);
    let (caller, request) = (&script.account.users[0], script.request());
    script.starts(CHANGE + 2_000, caller, StartSession { just_in_time: true, ..request }).acts
}

fn host_management(world: &World, change: Change) -> Acts {
    Script::new(world).at_node(5).shell(LogFate::Usual).change(CHANGE, change).acts
}

fn lost_agent(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let node = Arc::clone(&script.node.id);
    script.then(CHANGE, Act::LoseAgent { node }).acts
}

fn killed_agent(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Never);
    let node = Arc::clone(&script.node.id);
    let back = Act::FindAgent { node: Arc::clone(&node) };
    script.then(LEAVE - 1, Act::LoseAgent { node }).then(LEAVE + 200, back).acts
}

fn in_management(world: &World) -> Acts {
    let script = Script::new(world).in_account(&world.accounts()[0]);
    script.shell(LogFate::Usual).calls("organizations", &["RegisterDelegatedAdministrator"]).acts
}

fn role_deleted(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let (role, core) = (script.role(), shared("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"));
    let detach = |policy| Change::DetachRolePolicy { role: Arc::clone(&role), policy };
    let (own, others) = (detach(script.policy()), detach(core));
    let remove = Change::RemoveRoleFromProfile { profile: profile_of(&role), role: Arc::clone(&role) };
    let delete = Change::DeleteRole { role: Arc::clone(&role) };
    let at = |step: i64| CHANGE + 100 * step;
    script.change(at(0), own).change(at(1), others).change(at(2), remove).change(at(3), delete).acts
}

fn put_back(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let (role, policy) = (script.role(), script.policy());
    let detach = Change::DetachRolePolicy { role: Arc::clone(&role), policy: Arc::clone(&policy) };
    script.change(CHANGE, detach).change(CHANGE + 10, Change::AttachRolePolicy { role, policy }).acts
}

fn to_log(world: &World, change: fn(Arc<str>) -> Change) -> Acts {
    let script = Script::new(world).shell(LogFate::After(2_000));
    let (caller, region) = (Arc::clone(&script.archive.admin), Arc::clone(&script.node.region));
    script.then(LEAVE + 8_000, Act::ToLog { slot: 0, caller, region, change }).acts
}

fn forged(world: &World) -> Acts {
    let other = world.accounts().iter().rfind(|account| account.ordinary()).map_or(world.log_archive(), |it| it.id);
    let script = Script::new(world).shell(LogFate::Forged(other));
    let everything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let open = Change::PutBucketPolicy { text: world.open_bucket_policy() };
    let put = Change::PutRolePolicy { role: script.role(), name: shared("all"), text: shared(everything) };
    let admin = world.account(other).map_or(&script.archive.admin, |account| &account.admin);
    script.archived(CHANGE, open).by(CHANGE, admin, put).acts
}

fn closed_endpoint(world: &World) -> Acts {
    while_open(world, |script| {
        let endpoint = world.endpoint(script.account.id, &script.node.region, "s3").unwrap_or_default();
        Change::PutEndpointPolicy { endpoint, text: shared(CLOSED_ENDPOINT) }
    })
}

fn preferences_deleted(world: &World) -> Acts {
    let script = Script::new(world);
    let (caller, request) = (&script.account.users[0], script.request());
    let delete = Change::DeleteDocument { name: shared("SSM-SessionManagerRunShell") };
    script.change(BEGIN, delete).starts(CHANGE, caller, request).acts
}

fn organization(world: &World) -> Acts {
    let target = Script::new(world).account.id;
    let script = Script::new(world).in_account(&world.accounts()[0]);
    let names = ["MoveAccount", "UpdatePolicy", "DisablePolicyType", "RemoveAccountFromOrganization"];
    script.calls("organizations", &names).change(BEGIN, Change::DetachQuarantine { account: target }).acts
}

fn not_theirs(world: &World) -> Acts {
    let script = Script::new(world);
    let (caller, request) = (&script.account.third_party, script.request());
    let untag = Change::Untag { node: Arc::clone(&script.node.id), key: shared(THIRD_PARTY_TAG.0) };
    script.starts(BEGIN, caller, request).change(CHANGE, untag).acts
}

fn third_party_as_root(world: &World) -> Acts {
    let script = Script::new(world);
    let (caller, request) = (&script.account.third_party, script.request());
    let (role, key) = (shared(THIRD_PARTY_ROLE), shared("SSMSessionRunAs"));
    let tag = Change::TagRole { role, key, value: shared("root") };
    script.change(BEGIN, tag).starts(CHANGE, caller, request).acts
}

fn without_reason(world: &World) -> Acts {
    let script = Script::new(world);
    let archive = script.archive;
    let script = script.in_account(archive);
    let (caller, request) = (&script.account.users[0], script.request());
    script.starts(BEGIN, caller, StartSession { reason: None, ..request }).acts
}

fn by_administrator(world: &World) -> Acts {
    let script = Script::new(world);
    let (caller, request) = (&script.account.admin, script.request());
    script.starts(BEGIN, caller, request).acts
}
