use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny, Unknown},
    ACCOUNT, Caller, Context, KEY, OBJECT, OTHER, Principal, ROLE, SESSION, Target, USER, allow, caller, condition,
    decide, grant, statements,
};

const ROOT: &str = "arn:aws:iam::111122223333:root";
const FEDERATED: &str = "arn:aws:sts::111122223333:federated-user/Ann";

fn bucket(statement: Value) -> Target {
    Target { policy: Some(statements(statement)), ..Target::new(OBJECT) }
}

/// Whether a bucket's policy alone, with this element Principal, lets `who` in.
fn named(principal: Value, who: &str) -> Answer {
    let caller = Caller::new(Principal::parse(who).unwrap());
    decide("s3:PutObject", &caller, &bucket(grant("Allow", principal, "s3:PutObject")), &Context::new()).answer
}

/// Whether a Deny with this element Principal hits `who`, who is allowed otherwise.
fn denied(element: &str, principal: Value, who: &str) -> Answer {
    let deny = json!({"Effect": "Deny", element: principal, "Action": "s3:*", "Resource": "*"});
    decide("s3:PutObject", &caller(who, &[allow("*")]), &bucket(deny), &Context::new()).answer
}

/// "AWS JSON policy elements: Principal".
#[test]
fn each_form_of_principal_names_whom_it_should() {
    for (principal, who, wanted) in [
        (json!("*"), SESSION, Allow),
        (json!({"AWS": "*"}), USER, Allow),
        (json!({"AWS": ROLE}), SESSION, Allow),
        (json!({"AWS": ROLE}), ROLE, Allow),
        (json!({"AWS": SESSION}), SESSION, Allow),
        (json!({"AWS": SESSION}), "arn:aws:sts::111122223333:assumed-role/Node/i-0def", Deny),
        (json!({"AWS": SESSION}), ROLE, Unknown),
        (json!({"AWS": USER}), USER, Allow),
        (json!({"AWS": "arn:aws:iam::111122223333:user/Ann"}), USER, Deny),
        (json!({"AWS": ["arn:aws:iam::111122223333:user/Bob", USER]}), USER, Allow),
        (json!({"AWS": "arn:aws-cn:iam::111122223333:role/Node"}), SESSION, Deny),
        (json!({"AWS": "arn:aws:iam::444455556666:role/Node"}), SESSION, Deny),
        (json!({"AWS": FEDERATED}), FEDERATED, Allow),
        (json!({"Service": "logs.amazonaws.com"}), "logs.amazonaws.com", Allow),
        (json!({"Service": "logs.amazonaws.com"}), "delivery.logs.amazonaws.com", Deny),
        (json!({"Service": "logs.amazonaws.com"}), SESSION, Deny),
        (json!({"Federated": "accounts.google.com"}), USER, Deny),
        (json!({"Federated": "accounts.google.com"}), SESSION, Unknown),
        (json!({"CanonicalUser": "79a59df900b949e55d96a1e698fbaced"}), USER, Unknown),
        (json!({"AWS": "AIDACKCEVSQ6C2EXAMPLE"}), USER, Unknown),
        // An account delegates to its own policies, and this caller has none.
        (json!({"AWS": ACCOUNT}), SESSION, Deny),
        (json!({"AWS": ROOT}), SESSION, Deny),
        (json!({"AWS": ROOT}), ROOT, Allow),
        // Not allowed by AWS.
        (json!({"AWS": "arn:aws:iam::111122223333:role/*"}), SESSION, Unknown),
        (json!({"AWS": []}), SESSION, Unknown),
        (json!(["*"]), SESSION, Unknown),
        (json!(ACCOUNT), SESSION, Unknown),
        (json!({"Everyone": "*"}), SESSION, Unknown),
        (json!({"AWS": 111_122_223_333_u64}), SESSION, Unknown),
    ] {
        assert_eq!(named(principal.clone(), who), wanted, "{principal} for {who}");
    }
}

#[test]
fn a_deny_for_an_account_or_role_hits_its_sessions() {
    for principal in
        [json!("*"), json!({"AWS": ACCOUNT}), json!({"AWS": ROOT}), json!({"AWS": ROLE}), json!({"AWS": SESSION})]
    {
        assert_eq!(denied("Principal", principal.clone(), SESSION), Deny, "{principal}");
    }
    assert_eq!(denied("Principal", json!({"AWS": OTHER}), SESSION), Allow);
    assert_eq!(denied("Principal", json!({"AWS": SESSION}), ROLE), Unknown);
}

/// "AWS JSON policy elements: `NotPrincipal`", with its examples.
#[test]
fn not_principal_spares_only_who_is_named_at_every_level() {
    for (principal, who, wanted) in [
        (json!({"AWS": [USER, ROOT]}), USER, Allow),
        (json!({"AWS": [USER, ACCOUNT]}), USER, Allow),
        (json!({"AWS": USER}), USER, Unknown),
        (json!({"AWS": ROOT}), USER, Unknown),
        (json!({"AWS": "arn:aws:iam::111122223333:user/Bob"}), USER, Deny),
        (json!({"AWS": [SESSION, ROLE, ROOT]}), SESSION, Allow),
        (json!({"AWS": [ROLE, ROOT]}), SESSION, Unknown),
        (json!({"AWS": OTHER}), SESSION, Deny),
        (json!("*"), SESSION, Allow),
    ] {
        assert_eq!(denied("NotPrincipal", principal.clone(), who), wanted, "{principal} for {who}");
    }
}

/// "Permissions boundaries for IAM entities": `NotPrincipal` with Deny always denies who has a boundary.
#[test]
fn not_principal_with_deny_hits_everyone_with_a_boundary() {
    let deny = json!({"Effect": "Deny", "NotPrincipal": {"AWS": [USER, ROOT]}, "Action": "s3:*", "Resource": "*"});
    let mut ann = caller(USER, &[allow("*")]);
    assert_eq!(decide("s3:PutObject", &ann, &bucket(deny.clone()), &Context::new()).answer, Allow);
    ann.boundary = Some(statements(allow("*")));
    assert_eq!(decide("s3:PutObject", &ann, &bucket(deny), &Context::new()).answer, Deny);
}

#[test]
fn keys_that_follow_from_the_request_are_known() {
    let none = Context::new();
    for (key, wanted) in [
        ("aws:PrincipalArn", ROLE),
        ("aws:PrincipalAccount", ACCOUNT),
        ("aws:ResourceAccount", ACCOUNT),
        ("aws:PrincipalType", "AssumedRole"),
        ("aws:PrincipalIsAWSService", "false"),
        ("s3:ResourceAccount", ACCOUNT),
    ] {
        assert_eq!(condition(&json!({"StringEquals": {key: wanted}}), &none), Allow, "{key}");
    }
    assert_eq!(condition(&json!({"Null": {"aws:username": "true"}}), &none), Allow);
    assert_eq!(condition(&json!({"StringEquals": {"kms:CallerAccount": ACCOUNT}}), &none), Unknown, "of KMS only");
    let given = Context::new().with("aws:PrincipalArn", ["arn:aws:iam::111122223333:role/path/Node"]);
    assert_eq!(
        condition(&json!({"StringEquals": {"aws:PrincipalArn": ROLE}}), &given),
        Deny,
        "what is given goes first"
    );
}

#[test]
fn keys_of_other_kinds_of_callers_are_known_too() {
    for (who, key, value) in [
        (USER, "aws:PrincipalType", "User"),
        (USER, "aws:username", "Ann"),
        (USER, "aws:PrincipalArn", USER),
        (ROLE, "aws:PrincipalArn", ROLE),
        (ROOT, "aws:PrincipalType", "Account"),
        (ROLE, "kms:CallerAccount", ACCOUNT),
    ] {
        let statement =
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {key: value}}});
        let decision = decide("kms:Decrypt", &caller(who, &[statement]), &Target::new(KEY), &Context::new());
        assert!(decision.explicit, "{who} {key}: {}", decision.reason);
    }
    let sso = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/ann";
    let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/AWS*"}}});
    let decision = decide("s3:PutObject", &caller(sso, &[statement]), &Target::new(OBJECT), &Context::new());
    assert_eq!(decision.answer, Unknown, "the path of the role is not in the session's ARN");
}

#[test]
fn what_is_no_principal_is_refused() {
    for text in [
        "",
        "Node",
        "arn:aws:iam::111122223333:group/Ops",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::111122223333:root/x",
        "arn:aws:iam::1:role/Node",
        "arn:aws:iam:eu-west-1:111122223333:role/Node",
        "arn:aws:sts::111122223333:assumed-role/Node",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:user/ Ann",
        "arn::iam::111122223333:root",
    ] {
        assert!(Principal::parse(text).is_err(), "{text}");
    }
}
