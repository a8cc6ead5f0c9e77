//! Changes of what sessions and their logs rest on.

use std::sync::Arc;

use sessionwarden_machine::session::Outcome::{Compliant, LogMissing, Unproven};

use super::{
    Expected, Scenario,
    script::{Acts, BEGIN, CHANGE, LEAVE, Script, scenario, while_open, with_log},
    shared,
};
use crate::{
    act::Act,
    change::Change,
    estate::{LOG_VERSION, profile_of},
    session::LogFate,
    texts::{
        CLOSED_ENDPOINT, DENY_LOG, DENY_POLICY, LOG_GROUP, OPEN_PROFILE, UNLOGGED_PREFERENCES, USELESS_LOG,
        administrators_only,
    },
    world::World,
};

/// What happens, and what must come of it.
pub(super) const TAMPERING: [Scenario; 35] = [
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
    scenario("TH20", "detached and attached again", put_back, Expected { events: &["SW-ROLE-02"], ..Expected::QUIET }),
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
        TAMPERED,
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
        Expected::found(&["SW-BKT-02"], &["SW-BKT-01"], Compliant),
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
        // The session was closed by then.
        Expected { incidents: &["log-suspect"], ..Expected::QUIET },
    ),
    scenario(
        "TH24",
        "a log written twice",
        |world| with_log(world, LogFate::Twice),
        Expected { incidents: &["log-suspect"], outcome: Some(Unproven), ..Expected::QUIET },
    ),
    scenario(
        "TH24",
        "the log group deleted",
        |world| while_open(world, |_| Change::DeleteLogGroup { group: shared(LOG_GROUP) }),
        Expected::found(&["SW-STR-02"], &["SW-OBJ-01"], LogMissing),
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
        Expected { outcome: Some(LogMissing), ..Expected::QUIET },
    ),
    scenario(
        "R-W23",
        "a log written by another account",
        forged,
        Expected::found(&["SW-BKT-02", "SW-STR-02"], &["SW-BKT-01", "SW-ROLE-02"], LogMissing),
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
        Expected::ended(&["SW-DOC-04", "SW-STR-01", "SW-STR-02"], &["SW-DOC-06"], LogMissing),
    ),
    scenario(
        "TH26",
        "preferences deleted",
        preferences_deleted,
        Expected::ended(&["SW-DOC-04", "SW-STR-01", "SW-STR-02"], &["SW-DOC-06"], LogMissing),
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
        Expected::ended(&["SW-DOC-04", "SW-STR-01", "SW-STR-02"], &["SW-DOC-06"], LogMissing),
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
        "TH31",
        "a stream cut off while the session lives",
        |world| with_log(world, LogFate::Unstreamed),
        Expected::found(&["SW-STR-02"], &[], LogMissing),
    ),
    scenario(
        "TH32",
        "a security group opened to SSH",
        |world| Script::new(world).calls("ec2", &["AuthorizeSecurityGroupIngress"]).acts,
        Expected::events(&["SW-SSH-01"]),
    ),
];

/// A shell during which something is changed in the log archive.
fn while_archived(world: &World, change: impl FnOnce(&Script<'_>) -> Change) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let change = change(&script);
    script.archived(CHANGE, change).acts
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

/// The role behind the node can no longer write the log.
const TAMPERED: Expected = Expected::ended(&["SW-LOG-01"], &["SW-ROLE-02"], LogMissing);
const NO_IAM: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iam:*","Resource":"*"}}"#;

fn killed_agent(world: &World) -> Acts {
    let script = Script::new(world).shell(LogFate::Never);
    let node = Arc::clone(&script.node.id);
    let back = Act::FindAgent { node: Arc::clone(&node) };
    script.then(LEAVE - 1, Act::LoseAgent { node }).then(LEAVE + 200, back).acts
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
