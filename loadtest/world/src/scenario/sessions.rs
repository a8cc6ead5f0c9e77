//! Sessions that keep the rules or break them by themselves, and other ways onto a node.

use std::sync::Arc;

use sessionwarden_machine::session::Outcome::{Compliant, LogMissing, Violated};

use super::{
    Expected, FORBIDDEN_REGION, Scenario,
    script::{Acts, BEGIN, CHANGE, LEAVE, Script, scenario, while_open, with_log},
    shared,
};
use crate::{
    act::Act,
    change::Change,
    session::{LogFate, PORT_DOCUMENT, StartSession},
    texts::{CLUSTER, NODE_TAG, OPEN_ROLE, THIRD_PARTY_ROLE, THIRD_PARTY_TAG},
    world::World,
};

/// What happens, and what must come of it.
pub(super) const SESSIONS: [Scenario; 35] = [
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
        // The name is enough to end it, before its content is known; so its log is missed.
        Expected::ended(&["SW-DOC-01"], &[], LogMissing).by_event(),
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
    scenario("TH4", "a resumed session", resumed, Expected::found(&["SW-RES-01"], &[], Compliant).by_event()),
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
        Expected::ended(&["SW-ECS-01"], &[], Violated),
    ),
    scenario("TH7", "an ECS Exec that is logged", |world| execute(world, None), Expected::QUIET),
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
        Expected::ended(&["SW-TGT-01"], &[], LogMissing).by_event(),
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
    scenario("TH11", "just-in-time access", just_in_time, Expected::found(&["SW-JIT-01"], &["SW-JIT-02"], Compliant)),
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
        Expected::ended(&["SW-LOG-01"], &["SW-NODE-01"], LogMissing),
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
        "TH17",
        "a shell where no session may run",
        |world| Script::new(world).in_region(FORBIDDEN_REGION).shell(LogFate::Usual).acts,
        Expected::ended(&["SW-REG-01"], &[], Violated).by_event(),
    ),
    scenario(
        "TH18",
        "a shell in the management account",
        in_management,
        Expected::ended(&["SW-ACC-01"], &["SW-ACC-02"], Violated).by_event(),
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
        Expected::found(&["SW-IAM-01", "SW-IAM-02"], &[], Compliant),
    ),
];

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

fn in_management(world: &World) -> Acts {
    let script = Script::new(world).in_account(&world.accounts()[0]);
    script.shell(LogFate::Usual).calls("organizations", &["RegisterDelegatedAdministrator"]).acts
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
