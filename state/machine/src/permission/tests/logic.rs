use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny, Unknown},
    ACCOUNT, Caller, Context, KEY, OBJECT, OTHER, Principal, ROLE, SESSION, Target, USER, allow, caller, decide, deny,
    grant, policy, statements,
};

const FEDERATED: &str = "arn:aws:sts::111122223333:federated-user/Ann";
const UNKNOWN_KEY: &str = "aws:SourceVpce";

/// A statement that is in effect or not, nobody knows.
fn perhaps(effect: &str, action: &str) -> Value {
    json!({"Effect": effect, "Action": action, "Resource": "*", "Condition": {"StringEquals": {UNKNOWN_KEY: "vpce-1"}}})
}

fn identity(policies: &[Value]) -> (Answer, bool) {
    let decision = decide("s3:PutObject", &caller(SESSION, policies), &Target::new(OBJECT), &Context::new());
    (decision.answer, decision.explicit)
}

#[test]
fn an_explicit_deny_goes_first_and_nothing_allows_by_itself() {
    assert_eq!(identity(&[]), (Deny, false));
    assert_eq!(identity(&[allow("s3:*")]), (Allow, false));
    assert_eq!(identity(&[allow("s3:Get*")]), (Deny, false));
    assert_eq!(identity(&[allow("s3:*"), deny("s3:Put*")]), (Deny, true));
    assert_eq!(identity(&[deny("s3:Put*")]), (Deny, true));
    assert_eq!(identity(&[json!([deny("s3:Get*"), allow("*")])]), (Allow, false));
}

#[test]
fn what_is_not_known_counts_where_it_could_change_the_answer() {
    let (maybe_allow, maybe_deny) = (perhaps("Allow", "s3:*"), perhaps("Deny", "s3:*"));
    assert_eq!(identity(std::slice::from_ref(&maybe_allow)), (Unknown, false));
    assert_eq!(identity(&[maybe_deny.clone(), allow("*")]), (Unknown, false));
    assert_eq!(identity(&[maybe_deny.clone(), deny("*"), allow("*")]), (Deny, true));
    assert_eq!(identity(&[maybe_allow.clone(), allow("*")]), (Allow, false));
    assert_eq!(identity(&[maybe_deny]), (Deny, false), "nothing allows in any case");
    assert_eq!(identity(&[maybe_allow, deny("*")]), (Deny, true));
    assert_eq!(identity(&[perhaps("Deny", "s3:Get*"), allow("*")]), (Allow, false), "another action");
}

#[test]
fn the_reason_names_the_statement() {
    let named = |policies: &[Value]| {
        decide("s3:PutObject", &caller(SESSION, policies), &Target::new(OBJECT), &Context::new()).reason
    };
    let sid = json!([allow("ec2:*"), {"Sid": "Write", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}]);
    assert_eq!(named(&[allow("ec2:*"), sid]), "identity policy 2, statement 2 \"Write\", allows s3:PutObject");
    assert_eq!(named(&[deny("*")]), "identity policy 1, statement 1, denies s3:PutObject");
    assert_eq!(named(&[]), "no statement of the identity policies allows s3:PutObject");
    assert_eq!(
        named(&[perhaps("Allow", "*")]),
        "it is not known whether identity policy 1, statement 1, allows s3:PutObject: the context key aws:sourcevpce is \
         not known"
    );
}

#[test]
fn reasons_name_other_policies_too() {
    let mut node = caller(SESSION, &[allow("*")]);
    node.identity = vec![std::sync::Arc::new(super::Policy::parse(&allow_all()).named("Logging"))];
    let mut target = Target::new(OBJECT);
    let reason = |node: &Caller, target: &Target| decide("s3:PutObject", node, target, &Context::new()).reason;
    assert_eq!(reason(&node, &target), "identity policy 1 (Logging), statement 1, allows s3:PutObject");
    target.account = Some(OTHER.parse().unwrap());
    assert_eq!(reason(&node, &target), "no statement of the resource policy allows s3:PutObject");
    target.policy = Some(statements(grant("Allow", json!({"AWS": ACCOUNT}), "s3:*")));
    assert_eq!(
        reason(&node, &target),
        "identity policy 1 (Logging), statement 1, and the resource policy, statement 1, allow s3:PutObject"
    );
    node.scps = vec![vec![statements(allow("*"))], vec![statements(allow("ec2:*"))]];
    assert_eq!(reason(&node, &target), "no statement of the SCPs of level 2 allows s3:PutObject");
    node.scps[1].push(statements(deny("s3:*")));
    assert_eq!(reason(&node, &target), "SCP 2 of level 2, statement 1, denies s3:PutObject");
}

fn allow_all() -> String {
    json!({"Version": "2012-10-17", "Statement": allow("*")}).to_string()
}

/// "Permissions boundaries for IAM entities", "Service control policies": intersections.
#[test]
fn boundary_scps_rcps_session_and_endpoint_must_each_allow() {
    let everyone = |effect, action| grant(effect, json!("*"), action);
    for (s3, wanted) in [("s3:*", (Allow, false)), ("ec2:*", (Deny, false))] {
        let base = || caller(SESSION, &[allow("*")]);
        let bounded = Caller { boundary: Some(statements(allow(s3))), ..base() };
        let in_session = Caller { session: vec![statements(allow(s3))], ..base() };
        let in_unit = Caller { scps: vec![vec![statements(allow("*"))], vec![statements(allow(s3))]], ..base() };
        let endpoint = Target { endpoint: Some(statements(everyone("Allow", s3))), ..Target::new(OBJECT) };
        let by_rcp = Target { rcps: vec![vec![statements(everyone("Allow", s3))]], ..Target::new(OBJECT) };
        let cases = [
            (bounded, Target::new(OBJECT)),
            (in_session, Target::new(OBJECT)),
            (in_unit, Target::new(OBJECT)),
            (base(), endpoint),
            (base(), by_rcp),
        ];
        for (number, (caller, target)) in cases.iter().enumerate() {
            let decision = decide("s3:PutObject", caller, target, &Context::new());
            assert_eq!((decision.answer, decision.explicit), wanted, "case {number}: {}", decision.reason);
        }
    }
}

#[test]
fn a_deny_in_any_policy_denies() {
    let everyone = grant("Deny", json!("*"), "s3:Put*");
    let base = || caller(SESSION, &[allow("*")]);
    let with = |change: &dyn Fn(&mut Caller, &mut Target)| {
        let (mut caller, mut target) = (base(), Target::new(OBJECT));
        change(&mut caller, &mut target);
        decide("s3:PutObject", &caller, &target, &Context::new())
    };
    let both = || statements(json!([allow("*"), deny("s3:Put*")]));
    let decisions = [
        with(&|caller, _| caller.boundary = Some(both())),
        with(&|caller, _| caller.session = vec![both()]),
        with(&|caller, _| caller.scps = vec![vec![both()]]),
        with(&|_, target| target.rcps = vec![vec![statements(everyone.clone())]]),
        with(&|_, target| target.policy = Some(statements(everyone.clone()))),
        with(&|_, target| target.endpoint = Some(statements(everyone.clone()))),
    ];
    for decision in decisions {
        assert_eq!((decision.answer, decision.explicit), (Deny, true), "{}", decision.reason);
    }
}

#[test]
fn an_empty_level_of_scps_allows_nothing_and_rcps_include_aws_own() {
    let mut node = caller(SESSION, &[allow("*")]);
    node.scps = vec![vec![statements(allow("*"))], vec![]];
    assert_eq!(decide("s3:PutObject", &node, &Target::new(OBJECT), &Context::new()).answer, Deny);
    node.scps.pop();
    let other = grant("Deny", json!("*"), "s3:Delete*");
    let target = Target { rcps: vec![vec![], vec![statements(other)]], ..Target::new(OBJECT) };
    assert_eq!(decide("s3:PutObject", &node, &target, &Context::new()).answer, Allow);
}

#[test]
fn service_linked_roles_are_not_bound_by_scps() {
    let arn = "arn:aws:iam::111122223333:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM";
    for who in [arn, "arn:aws:sts::111122223333:assumed-role/AWSServiceRoleForAmazonSSM/x"] {
        let mut role = caller(who, &[allow("*")]);
        role.scps = vec![vec![statements(deny("*"))]];
        assert_eq!(decide("s3:PutObject", &role, &Target::new(OBJECT), &Context::new()).answer, Allow);
    }
}

/// The table of "Policy evaluation for requests within a single account": resource policies and implicit denies of
/// identity policy, boundary and session policy.
#[test]
fn a_grant_to_the_principal_itself_is_not_limited_by_implicit_denies() {
    let none = allow("ec2:*");
    let rows = [
        // who, named, boundary allows, session allows, wanted
        (SESSION, json!({"AWS": ROLE}), true, true, Allow),
        (SESSION, json!({"AWS": ROLE}), false, true, Deny),
        (SESSION, json!({"AWS": ROLE}), true, false, Deny),
        (SESSION, json!({"AWS": SESSION}), false, false, Allow),
        (SESSION, json!("*"), false, false, Allow),
        (ROLE, json!({"AWS": ROLE}), false, true, Deny),
        (USER, json!({"AWS": USER}), false, true, Allow),
        (FEDERATED, json!({"AWS": "arn:aws:iam::111122223333:user/Ann"}), false, true, Deny),
        (FEDERATED, json!({"AWS": "arn:aws:iam::111122223333:user/Ann"}), true, true, Allow),
        (FEDERATED, json!({"AWS": FEDERATED}), false, false, Allow),
        (SESSION, json!({"AWS": ACCOUNT}), true, true, Deny),
    ];
    for (who, principal, boundary, session, wanted) in rows {
        let limit = |allows: bool| statements(if allows { allow("s3:*") } else { none.clone() });
        let mut caller = Caller::new(Principal::parse(who).unwrap());
        caller.boundary = Some(limit(boundary));
        caller.session = vec![limit(session)];
        let target =
            Target { policy: Some(statements(grant("Allow", principal.clone(), "s3:*"))), ..Target::new(OBJECT) };
        let decision = decide("s3:PutObject", &caller, &target, &Context::new());
        assert_eq!(decision.answer, wanted, "{who} named as {principal}: {}", decision.reason);
    }
}

#[test]
fn a_federated_user_without_session_policy_has_nothing_of_its_own() {
    let mut federated = caller(FEDERATED, &[allow("*")]);
    assert_eq!(decide("s3:PutObject", &federated, &Target::new(OBJECT), &Context::new()).answer, Deny);
    federated.session = vec![statements(allow("s3:*"))];
    assert_eq!(decide("s3:PutObject", &federated, &Target::new(OBJECT), &Context::new()).answer, Allow);
}

/// "Cross-account policy evaluation logic". R-W8
#[test]
fn between_accounts_both_sides_must_allow() {
    let own = [allow("s3:*")];
    let rows = [
        (true, Some(json!({"AWS": ROLE})), Allow),
        (true, Some(json!({"AWS": SESSION})), Allow),
        (true, Some(json!({"AWS": ACCOUNT})), Allow),
        (true, Some(json!("*")), Allow),
        (true, Some(json!({"AWS": OTHER})), Deny),
        (true, None, Deny),
        (false, Some(json!({"AWS": ROLE})), Deny),
        (false, Some(json!({"AWS": SESSION})), Deny),
        (false, Some(json!("*")), Deny),
    ];
    for (identity, principal, wanted) in rows {
        let caller = caller(SESSION, if identity { &own } else { &[] });
        let target = Target {
            account: Some(OTHER.parse().unwrap()),
            policy: principal.clone().map(|it| statements(grant("Allow", it, "s3:PutObject"))),
            ..Target::new(OBJECT)
        };
        let decision = decide("s3:PutObject", &caller, &target, &Context::new());
        assert_eq!(decision.answer, wanted, "{identity} {principal:?}: {}", decision.reason);
    }
}

#[test]
fn between_accounts_boundary_and_session_policy_always_limit() {
    let mut node = caller(SESSION, &[allow("s3:*")]);
    let target = Target {
        account: Some(OTHER.parse().unwrap()),
        policy: Some(statements(grant("Allow", json!({"AWS": SESSION}), "s3:*"))),
        ..Target::new(OBJECT)
    };
    node.boundary = Some(statements(allow("ec2:*")));
    assert_eq!(decide("s3:PutObject", &node, &target, &Context::new()).answer, Deny);
    node.boundary = None;
    node.session = vec![statements(allow("ec2:*"))];
    assert_eq!(decide("s3:PutObject", &node, &target, &Context::new()).answer, Deny);
}

/// "Key policies in AWS KMS": an identity policy alone opens no key. R-W8
#[test]
fn a_key_opens_only_through_its_key_policy() {
    let root = "arn:aws:iam::111122223333:root";
    for (identity, key_policy, wanted) in [
        (true, None, Deny),
        (true, Some(json!({"AWS": root})), Allow),
        (true, Some(json!({"AWS": ACCOUNT})), Allow),
        (false, Some(json!({"AWS": root})), Deny),
        (false, Some(json!({"AWS": ROLE})), Allow),
        (false, Some(json!({"AWS": SESSION})), Allow),
        (true, Some(json!({"AWS": "arn:aws:iam::111122223333:role/Other"})), Deny),
        (true, Some(json!({"AWS": OTHER})), Deny),
    ] {
        let own = [allow("kms:*")];
        let caller = caller(SESSION, if identity { &own } else { &[] });
        let target =
            Target { policy: key_policy.clone().map(|it| statements(grant("Allow", it, "kms:*"))), ..Target::new(KEY) };
        let decision = decide("kms:Decrypt", &caller, &target, &Context::new());
        assert_eq!(decision.answer, wanted, "{identity} {key_policy:?}: {}", decision.reason);
    }
    let node = caller(SESSION, &[allow("kms:*")]);
    let alias = "arn:aws:kms:eu-west-1:111122223333:alias/logs";
    for (action, resource, wanted) in [
        ("kms:ListKeys", "*", Allow),
        ("kms:GenerateRandom", "*", Allow),
        ("kms:CreateAlias", alias, Allow),
        ("kms:CreateAlias", KEY, Deny),
        ("kms:Decrypt", alias, Deny),
        ("kms:Decrypt", "*", Deny),
    ] {
        assert_eq!(
            decide(action, &node, &Target::new(resource), &Context::new()).answer,
            wanted,
            "{action} {resource}"
        );
    }
}

#[test]
fn a_key_of_another_account_needs_both_sides() {
    let key = "arn:aws:kms:eu-west-1:444455556666:key/1234";
    let asked = |identity: &[Value], principal: Value| {
        let target = Target { policy: Some(statements(grant("Allow", principal, "kms:*"))), ..Target::new(key) };
        decide("kms:GenerateDataKey", &caller(SESSION, identity), &target, &Context::new()).answer
    };
    assert_eq!(asked(&[allow("kms:*")], json!({"AWS": ACCOUNT})), Allow);
    assert_eq!(asked(&[], json!({"AWS": ROLE})), Deny);
    assert_eq!(asked(&[allow("kms:*")], json!({"AWS": OTHER})), Deny);
}

#[test]
fn a_role_opens_only_through_its_trust_policy() {
    let role = "arn:aws:iam::111122223333:role/Admin";
    let asked = |trust: Option<Value>| {
        let policy = trust
            .map(|it| policy(&json!({"Statement": {"Effect": "Allow", "Principal": it, "Action": "sts:AssumeRole"}})));
        let target = Target { policy, ..Target::new(role) };
        decide("sts:AssumeRole", &caller(SESSION, &[allow("sts:*")]), &target, &Context::new()).answer
    };
    assert_eq!(asked(None), Deny);
    assert_eq!(asked(Some(json!({"AWS": ACCOUNT}))), Allow);
    assert_eq!(asked(Some(json!({"AWS": USER}))), Deny);
}

#[test]
fn the_root_user_needs_no_identity_policy_but_obeys_scps() {
    let mut root = caller("arn:aws:iam::111122223333:root", &[]);
    let decision = decide("s3:PutObject", &root, &Target::new(OBJECT), &Context::new());
    assert_eq!(
        (decision.answer, decision.reason.as_str()),
        (Allow, "the root user may do s3:PutObject in its own account")
    );
    root.scps = vec![vec![statements(json!([allow("*"), deny("s3:*")]))]];
    assert!(decide("s3:PutObject", &root, &Target::new(OBJECT), &Context::new()).explicit);
}

#[test]
fn a_service_is_let_in_by_the_resource_alone() {
    let service = caller("logs.amazonaws.com", &[]);
    let by =
        |it| Target { policy: Some(statements(grant("Allow", json!({"Service": it}), "s3:*"))), ..Target::new(OBJECT) };
    assert_eq!(decide("s3:PutObject", &service, &by("logs.amazonaws.com"), &Context::new()).answer, Allow);
    assert_eq!(decide("s3:PutObject", &service, &by("ssm.amazonaws.com"), &Context::new()).answer, Deny);
}

#[test]
fn an_owner_that_contradicts_the_arn_makes_unknown() {
    let target = Target { account: Some(OTHER.parse().unwrap()), ..Target::new(KEY) };
    assert_eq!(decide("kms:Decrypt", &caller(SESSION, &[allow("*")]), &target, &Context::new()).answer, Unknown);
}
