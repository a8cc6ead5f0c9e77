use super::*;
use EvidenceKind::{DocumentsChecked, DocumentsExplicit, ReasonGiven, RunAsAsPrescribed, TagMatches};

fn third_party() -> Show {
    let mut show = Show::new();
    show.settings.posture.third_party_roles = vec!["Vendor*".into()];
    show
}

fn tag(show: &mut Show, value: Option<&str>) {
    let tags = &mut show.caller().tags;
    tags.clear();
    tags.extend(value.map(|value| ("ExternalAccessGrantedTo".into(), value.into())));
}

/// R-T2
#[test]
fn a_third_partys_tag_equals_the_nodes() {
    let mut show = third_party();
    show.expect(TagMatches, Tri::Yes, "\"acme\"");
    tag(&mut show, Some("other"));
    show.expect(TagMatches, Tri::No, "the role Vendor is \"other\", the node's is \"acme\"");
    for improper in [None, Some("*"), Some(""), Some(" ")] {
        tag(&mut show, improper);
        show.node().tags.insert("ExternalAccessGrantedTo".into(), improper.unwrap_or("").into());
        show.expect(TagMatches, Tri::No, "no proper tag");
    }
    tag(&mut show, Some("acme"));
    show.node().tags.clear();
    show.expect(TagMatches, Tri::No, "the node has no tag");
    show.caller = Some(Err(CallError::Denied));
    show.expect(TagMatches, Tri::No, "the node has no tag");
    show.node = Some(Err(CallError::Denied));
    show.expect(TagMatches, Tri::Unknown, "the node: denied");
}

#[test]
fn others_need_no_tag() {
    let mut show = third_party();
    tag(&mut show, None);
    for owner in ["arn:aws:sts::111122223333:assumed-role/Operator/ann", "arn:aws:iam::111122223333:user/Vendor"] {
        show.described.owner = owner.into();
        show.expect(TagMatches, Tri::Yes, "no third party");
    }
    show.described.owner = "".into();
    show.expect(TagMatches, Tri::Unknown, "who opened the session is not known");
    show.settings.posture.third_party_roles.clear();
    show.expect(TagMatches, Tri::Yes, "no roles of third parties");
}

/// R-T3
#[test]
fn the_os_user_is_the_prescribed_one() {
    let mut show = Show::new();
    show.expect(RunAsAsPrescribed, Tri::Yes, "no OS user is prescribed");
    show.settings.posture.run_as_roles = vec!["Vendor".into()];
    show.expect(RunAsAsPrescribed, Tri::Yes, "\"operator\"");
    for strong in ["root", "ssm-user", "Administrator", ""] {
        show.prefer("runAsDefaultUser", json!(strong));
        show.expect(RunAsAsPrescribed, Tri::No, "not prescribed");
    }
    show.caller().tags.insert("SSMSessionRunAs".into(), "acme-user".into());
    show.expect(RunAsAsPrescribed, Tri::Yes, "\"acme-user\"");
    show.settings.posture.run_as_users.insert("other".into());
    show.expect(RunAsAsPrescribed, Tri::No, "\"acme-user\"");
    show.settings.posture.run_as_users.insert("acme-user".into());
    show.expect(RunAsAsPrescribed, Tri::Yes, "\"acme-user\"");
    show.prefer("runAsEnabled", json!(false));
    show.expect(RunAsAsPrescribed, Tri::No, "does not choose an OS user");
    show.prefer("runAsEnabled", json!("{{ runAs }}"));
    show.expect(RunAsAsPrescribed, Tri::No, "whoever starts the session chooses");
    show.preferences = Err(CallError::Denied);
    show.expect(RunAsAsPrescribed, Tri::Unknown, "the preferences document: denied");
    let mut caller = Show::new();
    caller.settings.posture.run_as_roles = vec!["Vendor".into()];
    caller.caller = Some(Err(CallError::Denied));
    caller.expect(RunAsAsPrescribed, Tri::Unknown, "the caller's tags: denied");
}

#[test]
fn a_reason_is_given_where_the_unit_needs_one() {
    let mut show = Show::new();
    show.described.reason = Some("  ".into());
    show.expect(ReasonGiven, Tri::Yes, "no reason is required");
    show.settings.posture.reason_units.insert("ou-prod".into());
    show.expect(ReasonGiven, Tri::Unknown, "unit is not known");
    show.settings.units.insert(show.key.account, "ou-test".into());
    show.expect(ReasonGiven, Tri::Yes, "ou-test requires no reason");
    show.settings.units.insert(show.key.account, "ou-prod".into());
    show.expect(ReasonGiven, Tri::No, "ou-prod requires");
    show.described.reason = Some("ticket 7".into());
    show.expect(ReasonGiven, Tri::Yes, "a reason was given");
    show.settings.units.clear();
    show.described.reason = None;
    show.settings.posture.reason_units.insert("*".into());
    show.expect(ReasonGiven, Tri::No, "no reason was given");
}

fn starting(statements: Value) -> Show {
    let mut show = Show::new();
    show.caller().policies = vec![policy("starter", statements)];
    show
}

/// R-D1
#[test]
fn one_statement_without_the_check_is_found() {
    let checked = json!({"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}});
    let with = json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*", "Condition": checked});
    let without = json!({"Effect": "Allow", "Action": "ssm:Start*", "Resource": "arn:aws:ec2:*:*:instance/i-0abc"});
    starting(with.clone()).expect(DocumentsChecked, Tri::Yes, "StartSession");
    let mut both = starting(json!([with, without]));
    both.expect(DocumentsChecked, Tri::No, "(starter), statement 2, allows ssm:StartSession");
    // An SCP takes it away again.
    both.guards().scps[0].push(policy(
        "p-check",
        json!({"Effect": "Deny", "Action": "ssm:StartSession",
        "Resource": "*", "Condition": {"Bool": {"ssm:SessionDocumentAccessCheck": "false"}}}),
    ));
    both.expect(DocumentsChecked, Tri::Yes, "(p-check), statement 1, denies");
    both.guards = Err(CallError::Denied);
    both.expect(DocumentsChecked, Tri::Unknown, "the organisation's policies: denied");
}

#[test]
fn statements_bound_to_tags_of_the_node_are_decided() {
    let tagged = |key: &str, value: &str| {
        starting(json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*",
            "Condition": {"StringEquals": {(format!("ssm:resourceTag/{key}")): value}}}))
    };
    tagged("ExternalAccessGrantedTo", "acme").expect(DocumentsChecked, Tri::No, "unchecked");
    tagged("ExternalAccessGrantedTo", "other").expect(DocumentsChecked, Tri::Yes, "");
    let mut unknown = tagged("ExternalAccessGrantedTo", "acme");
    unknown.node = Some(Err(CallError::Denied));
    unknown.expect(DocumentsChecked, Tri::Unknown, "resourcetag");
    let mut absent = tagged("ExternalAccessGrantedTo", "acme");
    absent.node().tags.clear();
    absent.expect(DocumentsChecked, Tri::Yes, "");
    let mut hybrid = tagged("ExternalAccessGrantedTo", "acme");
    hybrid.described.target = "mi-0abc".into();
    hybrid.expect(DocumentsChecked, Tri::No, "unchecked");
}

/// What is remembered of a node with some tags is not said of it with others, however alike they are written.
#[test]
fn tags_that_look_alike_are_told_apart() {
    let mut show = starting(json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*",
        "Condition": {"StringEquals": {"ssm:resourceTag/ExternalAccessGrantedTo": "a=b"}}}));
    let mut memory = Memory::default();
    let mut answer = |show: &mut Show, name: &str, value: &str| {
        show.node().tags = [(name.into(), value.into())].into();
        assess(&show.facts(), &[DocumentsChecked], &mut memory).remove(&DocumentsChecked).unwrap().value
    };
    assert_eq!(answer(&mut show, "ExternalAccessGrantedTo=a", "b"), Tri::Yes);
    assert_eq!(answer(&mut show, "ExternalAccessGrantedTo", "a=b"), Tri::No);
    assert_eq!(answer(&mut show, "ExternalAccessGrantedTo", "other"), Tri::Yes);
}

/// R-D2
#[test]
fn documents_must_be_named() {
    Show::new().expect(DocumentsExplicit, Tri::Yes, "name the documents");
    for any in ["*", "arn:aws:ssm:*:*:document/*", "arn:aws:ssm:eu-west-1:111122223333:document/*"] {
        let statement = json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": any});
        starting(statement).expect(DocumentsExplicit, Tri::No, "any document");
    }
    let nodes = json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "arn:aws:ec2:*:*:instance/*"});
    starting(nodes).expect(DocumentsExplicit, Tri::Yes, "");
}

/// R-D3
#[test]
fn ssh_must_be_named() {
    let of_aws = |name: &str| {
        let resource = format!("arn:aws:ssm:*::document/{name}");
        starting(json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": resource}))
    };
    of_aws("AWS-StartSSHSession").expect(DocumentsExplicit, Tri::Yes, "");
    for wild in ["*", "AWS-*", "AWS-StartSSH*", "*SSHSession", "AWS-*Session"] {
        of_aws(wild).expect(DocumentsExplicit, Tri::No, "reaches AWS-StartSSHSession by a wildcard");
    }
    // What SSH is denied does no harm.
    let mut denied = of_aws("*");
    let ssh = json!({"Effect": "Deny", "Action": "ssm:StartSession", "Resource": "arn:aws:ssm:*::document/AWS-StartSSHSession"});
    denied.caller().policies.push(policy("no-ssh", ssh));
    denied.expect(DocumentsExplicit, Tri::Yes, "");
}

#[test]
fn a_caller_that_is_not_known_is_unknown_and_root_may_do_all() {
    let mut show = Show::new();
    show.caller = Some(Err(CallError::Throttled));
    for kind in [DocumentsChecked, DocumentsExplicit] {
        show.expect(kind, Tri::Unknown, "the caller's policies: throttled");
    }
    show.caller = None;
    show.expect(DocumentsChecked, Tri::Unknown, "neither a role nor a user");
    show.described.owner = "arn:aws:iam::111122223333:root".into();
    show.expect(DocumentsChecked, Tri::No, "may start sessions unchecked");
}
