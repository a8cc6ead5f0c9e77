//! Who opened a session, and what that caller may do and must do.

use std::sync::Arc;

use super::{
    Facts, Identity, Memory, Node,
    assess::{Read, is_container, no, own_document, partition_of, unanswered, unknown, yes},
    assess_ask::{caller_context, caller_of},
    assess_role::IAM,
    memory::Ground,
};
use crate::{
    compliance::EvidenceKind,
    permission::{Answer, Caller, Context, Decision, Request, Target, evaluate},
    session::Answered,
    settings::matches,
};

const SSM: &str = "ssm";
/// The tag of a role or user that names its OS user ("Turn on Run As support for Linux and macOS managed nodes").
const RUN_AS_TAG: &str = "SSMSessionRunAs";
/// The OS users that nobody is prescribed.
const STRONG_USERS: [&str; 3] = ["root", "ssm-user", "Administrator"];
const SSH: &str = "AWS-StartSSHSession";
/// Names beside that of SSH's document, which only a wildcard can reach.
const BESIDE_SSH: [&str; 3] = ["AWS-StartSSHSession-", "-AWS-StartSSHSession", "AWS-Start-SSHSession"];
/// A document of the account that no policy names.
const ANY_DOCUMENT: &str = "sessionwarden-any-document";

/// Whether the one who opened a session has a role with one of some names.
enum Named<'a> {
    Role(&'a str),
    No,
    Unknown,
}

fn named<'a>(facts: &Facts<'a>, patterns: &[Arc<str>]) -> Named<'a> {
    let owner: &'a str = &facts.described.owner;
    let Some(resource) = owner.splitn(6, ':').nth(5) else { return Named::Unknown };
    let role = match resource.split_once('/') {
        Some(("assumed-role", rest)) => rest.split('/').next(),
        Some(("role", rest)) => rest.rsplit('/').next(),
        _ => None,
    };
    match role {
        Some(role) if patterns.iter().any(|pattern| matches(pattern, role)) => Named::Role(role),
        _ => Named::No,
    }
}

/// The tag of a third party's role is the node's (R-T2). A value of `*` or an empty one matches nothing.
pub(super) fn tag_matches(facts: &Facts<'_>) -> Answered {
    let posture = &facts.settings.posture;
    if posture.third_party_roles.is_empty() {
        return yes("", "no roles of third parties are configured");
    }
    let role = match named(facts, &posture.third_party_roles) {
        Named::Role(role) => role,
        Named::No => return yes(SSM, "the caller is no third party"),
        Named::Unknown => return unknown("", "who opened the session is not known"),
    };
    let tag = &posture.third_party_tag;
    let proper = |value: &str| !value.trim().is_empty() && value != "*";
    let party = match facts.caller {
        Some(Ok(identity)) => Ok(identity.tags.get(tag).filter(|value| proper(value))),
        Some(Err(error)) => Err(unanswered(IAM, "the caller's tags", *error)),
        None => Err(unknown("", "the caller was not asked for")),
    };
    if matches!(party, Ok(None)) {
        return no(IAM, format_args!("the role {role} of a third party has no proper tag {tag}"));
    }
    let node = match facts.node {
        Some(Ok(node)) => node,
        Some(Err(error)) => return unanswered(SSM, "the node", *error),
        None => return unknown("", "the target is no node and has no tags"),
    };
    let Some(of_node) = node.tags.get(tag) else {
        return no(SSM, format_args!("the node has no tag {tag}"));
    };
    match party {
        Ok(Some(value)) if value == of_node => yes(IAM, format_args!("role and node both have {tag} {value:?}")),
        Ok(value) => {
            let value = value.map_or("", |value| value);
            no(IAM, format_args!("the tag {tag} of the role {role} is {value:?}, the node's is {of_node:?}"))
        }
        Err(answer) => answer,
    }
}

/// The session of a role with prescribed users runs as one of them (R-T3): as the one in the tag `SSMSessionRunAs` of
/// the role or user, else as the default user of the session's document.
pub(super) fn run_as_as_prescribed(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let posture = &facts.settings.posture;
    if posture.run_as_roles.is_empty() {
        return yes("", "no OS user is prescribed");
    }
    match named(facts, &posture.run_as_roles) {
        Named::Role(_) => {}
        Named::No => return yes(SSM, "no OS user is prescribed for the caller"),
        Named::Unknown => return unknown("", "who opened the session is not known"),
    }
    if is_container(facts) {
        return unknown("", "preferences say nothing about a container");
    }
    let document = match own_document(facts, memory) {
        Read::Known(document) => document,
        Read::Gone => return no(SSM, "the session's document does not exist, so no OS user is chosen"),
        Read::Unknown(reason) => return unknown(SSM, reason),
    };
    let inputs = &document.inputs;
    if inputs.open.contains("runAsEnabled") {
        return no(SSM, "whoever starts the session chooses whether it runs as another OS user");
    }
    if !inputs.run_as {
        return no(SSM, "the session's document does not choose an OS user");
    }
    let tag = match facts.caller {
        Some(Ok(identity)) => identity.tags.get(RUN_AS_TAG).filter(|user| !user.is_empty()),
        Some(Err(error)) => return unanswered(IAM, "the caller's tags", *error),
        None => return unknown("", "the caller was not asked for"),
    };
    if tag.is_none() && inputs.open.contains("runAsDefaultUser") {
        return no(SSM, "whoever starts the session chooses the OS user");
    }
    let user: &str = tag.unwrap_or(&inputs.run_as_user);
    let prescribed = if posture.run_as_users.is_empty() {
        !user.is_empty() && !STRONG_USERS.iter().any(|strong| strong.eq_ignore_ascii_case(user))
    } else {
        posture.run_as_users.contains(user)
    };
    if prescribed {
        yes(SSM, format_args!("the session runs as {user:?}"))
    } else {
        no(SSM, format_args!("the session runs as {user:?}, who is not prescribed"))
    }
}

/// A reason was given where the organisational unit requires one.
pub(super) fn reason_given(facts: &Facts<'_>) -> Answered {
    let units = &facts.settings.posture.reason_units;
    if units.is_empty() {
        return yes("", "no reason is required");
    }
    if facts.described.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty()) {
        return yes(SSM, "a reason was given");
    }
    match facts.settings.unit(facts.key.account) {
        _ if units.contains("*") => no(SSM, "no reason was given"),
        Some(unit) if units.contains(unit) => no(SSM, format_args!("no reason was given, which {unit} requires")),
        Some(unit) => yes("", format_args!("{unit} requires no reason")),
        None => unknown("", "the account's organisational unit is not known"),
    }
}

/// No policy lets the caller start a session without the check of its document (R-D1): `ssm:StartSession` on this node
/// is denied while `ssm:SessionDocumentAccessCheck` is false. One statement without that condition is enough to pass by
/// it ("Enforce a session document permission check for the AWS CLI").
pub(super) fn documents_checked(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let identity = match identity_of(facts) {
        Ok(identity) => identity,
        Err(answer) => return answer,
    };
    let Some(node) = node_arn(facts, &identity) else { return unknown("", "the target is no node") };
    let known = facts.node.and_then(|node| node.as_ref().ok());
    // Names and values apart: signs between them can be part of either.
    let tags = known.iter().flat_map(|node| &node.tags).flat_map(|(name, value)| [name.to_string(), value.to_string()]);
    // Tags of a node that nobody knows are other grounds than none.
    let mut resources = vec![node.clone(), if known.is_some() { "known" } else { "" }.to_owned()];
    resources.extend(tags);
    let ground = ground_of(EvidenceKind::DocumentsChecked, facts, identity, resources);
    memory.answer(ground.clone(), ground.resources, |memory, ground, _| {
        let starter = match Starter::of(ground, memory) {
            Ok(starter) => starter,
            Err(answer) => return (answer, false),
        };
        let mut context = starter.context("false");
        if let Some(node) = known {
            node_context(&mut context, facts, node);
        }
        let decision = starter.may_start(&node, &context);
        let answer = match decision.answer {
            Answer::Allow => no(IAM, format_args!("the caller may start sessions unchecked: {}", decision.reason)),
            Answer::Deny => yes(IAM, decision.reason),
            Answer::Unknown => unknown(IAM, decision.reason),
        };
        (answer, false)
    })
}

/// The caller's policies name the documents that may be used (R-D2), SSH's among them (R-D3).
///
/// A document that is named in a call is checked as a resource of `ssm:StartSession` ("Start a session with a document
/// by specifying the session documents in IAM policies"). So the caller must not start one with a document of the
/// account whose name no policy holds; and where it may use `AWS-StartSSHSession`, it must not use documents of AWS
/// whose names differ from that one by a sign before, within or after it: only a wildcard reaches those.
pub(super) fn documents_explicit(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let identity = match identity_of(facts) {
        Ok(identity) => identity,
        Err(answer) => return answer,
    };
    if is_container(facts) {
        return unknown("", "ECS Exec brings its own document");
    }
    let ground = ground_of(EvidenceKind::DocumentsExplicit, facts, identity, Vec::new());
    memory.answer(ground, Vec::new(), |memory, ground, _| {
        let starter = Starter::of(ground, memory);
        (starter.map_or_else(|answer| answer, |starter| starter.names_documents()), false)
    })
}

/// Who opened the session. The root user of an account has no policies of its own.
fn identity_of(facts: &Facts<'_>) -> Result<Arc<Identity>, Answered> {
    match facts.caller {
        Some(Ok(identity)) => Ok(Arc::clone(identity)),
        Some(Err(error)) => Err(unanswered(IAM, "the caller's policies", *error)),
        None if facts.described.owner.ends_with(":root") => Ok(Arc::new(Identity {
            arn: facts.described.owner.clone(),
            policies: Vec::new(),
            attached: Vec::new(),
            boundary: None,
            tags: super::Tags::new(),
        })),
        None => Err(unknown("", "the caller was not asked for, or is neither a role nor a user")),
    }
}

/// What a caller's rights rest on.
fn ground_of(kind: EvidenceKind, facts: &Facts<'_>, caller: Arc<Identity>, resources: Vec<String>) -> Ground {
    Ground {
        kind,
        account: facts.key.account,
        region: Arc::clone(&facts.key.region),
        role: caller,
        guards: facts.guards.clone(),
        bucket: None,
        bucket_guards: None,
        bucket_key: None,
        session_keys: Vec::new(),
        network: None,
        resources,
    }
}

/// The node's ARN ("Actions, resources, and condition keys for AWS Systems Manager").
fn node_arn(facts: &Facts<'_>, identity: &Identity) -> Option<String> {
    let target = &*facts.described.target;
    let (service, form) = match target {
        target if target.starts_with("i-") => ("ec2", "instance"),
        target if target.starts_with("mi-") => ("ssm", "managed-instance"),
        _ => return None,
    };
    let partition = partition_of(&identity.arn);
    Some(format!("arn:{partition}:{service}:{}:{}:{form}/{target}", facts.key.region, facts.key.account))
}

/// Who starts sessions, with all policies.
struct Starter<'a> {
    caller: Caller,
    ground: &'a Ground,
}

impl<'a> Starter<'a> {
    fn of(ground: &'a Ground, memory: &mut Memory) -> Result<Self, Answered> {
        Ok(Self { caller: caller_of(memory, &ground.role, &ground.guards)?, ground })
    }

    fn context(&self, checked: &str) -> Context {
        let mut context = Context::new()
            .with("ssm:SessionDocumentAccessCheck", [checked])
            .with("aws:RequestedRegion", [&*self.ground.region])
            .with("aws:SecureTransport", ["true"])
            .with("aws:ViaAWSService", ["false"]);
        caller_context(&mut context, &self.ground.role, &self.ground.guards);
        context
    }

    fn may_start(&self, resource: &str, context: &Context) -> Decision {
        let target = Target::new(resource);
        evaluate(&Request { action: "ssm:StartSession", caller: &self.caller, target: &target, context })
    }

    fn names_documents(&self) -> Answered {
        let context = self.context("true");
        let (partition, region) = (partition_of(&self.ground.role.arn), &self.ground.region);
        let own = format!("arn:{partition}:ssm:{region}:{}:document/{ANY_DOCUMENT}", self.ground.account);
        let of_aws = |name: &str| format!("arn:{partition}:ssm:{region}::document/{name}");
        let any = self.may_start(&own, &context);
        if any.answer == Answer::Allow {
            return no(IAM, format_args!("the caller may use any document: {}", any.reason));
        }
        let mut unclear = (any.answer == Answer::Unknown).then_some(any.reason);
        let ssh = self.may_start(&of_aws(SSH), &context);
        if ssh.answer != Answer::Deny {
            for name in BESIDE_SSH {
                let beside = self.may_start(&of_aws(name), &context);
                match (beside.answer, ssh.answer) {
                    (Answer::Deny, _) => {}
                    (Answer::Allow, Answer::Allow) => {
                        return no(IAM, format_args!("the caller reaches {SSH} by a wildcard: {}", beside.reason));
                    }
                    (Answer::Allow | Answer::Unknown, _) => unclear = unclear.or(Some(beside.reason)),
                }
            }
        }
        match unclear {
            Some(reason) => unknown(IAM, reason),
            None => yes(IAM, "the caller's policies name the documents it may use"),
        }
    }
}

/// The node's tags, and those that settings name and the node does not have.
fn node_context(context: &mut Context, facts: &Facts<'_>, node: &Node) {
    let posture = &facts.settings.posture;
    for prefix in ["ssm:resourceTag", "aws:ResourceTag"] {
        for name in posture.node_tags.keys().chain([&posture.third_party_tag]) {
            context.set_absent(&format!("{prefix}/{name}"));
        }
        for (name, value) in &node.tags {
            context.set(&format!("{prefix}/{name}"), [&**value]);
        }
    }
}
