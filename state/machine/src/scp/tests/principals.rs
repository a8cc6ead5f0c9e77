use std::collections::BTreeSet;

use super::{
    super::{QUOTA_CHARS, ScpError, ScpName, render},
    ADMIN, Bound, INSTANCE, names, settings,
};
use crate::permission::Context;

// R-G13
#[test]
fn a_session_stands_for_its_role_whatever_the_path() {
    let sso = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/ann@example.com";
    let bound = Bound::by(ScpName::QuarantinePrincipal, &settings(), &[sso, ADMIN]);
    let with = |arn: &str| Context::new().with("aws:PrincipalArn", [format!("arn:aws:iam::111122223333:{arn}")]);
    let denies = |arn: &str| bound.denies_with(sso, "ssm:StartSession", INSTANCE, &with(arn));
    assert!(denies("role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0123456789abcdef"));
    assert!(denies("role/AWSReservedSSO_Admin_0123456789abcdef"));
    assert!(denies("role/ops/Admin") && denies("role/Admin"));
    for other in ["role/xAdmin", "role/x/Administrator", "role/Admin/x", "role/Admin-2", "user/Admin", "user/x/Admin"] {
        assert!(!denies(other), "{other}");
    }
}

// R-G13
#[test]
fn a_role_given_with_its_path_is_meant_with_it() {
    let bound = Bound::by(ScpName::QuarantinePrincipal, &settings(), &["arn:aws:iam::111122223333:role/ops/Admin"]);
    assert!(bound.denies("arn:aws:iam::111122223333:role/ops/Admin", "ssm:StartSession", INSTANCE));
    assert!(!bound.denies("arn:aws:iam::111122223333:role/Admin", "ssm:StartSession", INSTANCE));
}

#[test]
fn who_cannot_be_named_is_refused() {
    for (given, says) in [
        ("arn:aws:iam::111122223333:root", "is the root user of an account"),
        ("arn:aws:sts::111122223333:federated-user/ann", "is a federated user"),
        ("arn:aws:iam::111122223333:role/aws-service-role/x.amazonaws.com/AWSServiceRoleForX", "is a service-linked"),
        ("arn:aws:sts::111122223333:assumed-role/AWSServiceRoleForX/x", "is a service-linked"),
        ("arn:aws-cn:iam::111122223333:user/ann", "is of another partition"),
        ("arn:aws:iam::111122223333:group/ops", "is no ARN of a user"),
        ("arn:aws:iam::111122223333:user/", "is no ARN of a user"),
        ("arn:aws:iam::*:role/Admin", "is no ARN of a user"),
        ("arn:aws:iam::111122223333:role/${aws:username}", "is no ARN of a user"),
        ("arn:aws:iam::1111:role/Admin", "is of no account"),
        ("arn:aws:sts::111122223333:assumed-role/Admin", "is no session of a role"),
        ("arn:aws:s3:::logs", "is of no account"),
        ("ec2.amazonaws.com", "is no ARN of a user"),
        ("", "is no ARN of a user"),
    ] {
        let error = render(ScpName::QuarantinePrincipal, &settings(), &names(&[ADMIN, given])).unwrap_err();
        assert!(matches!(&error, ScpError::BadPrincipal { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let nobody = render(ScpName::QuarantinePrincipal, &settings(), &BTreeSet::new());
    assert_eq!(nobody, Err(ScpError::NoPrincipal));
}

#[test]
fn too_many_principals_are_an_error_that_says_so() {
    let many: Vec<String> =
        (0..60).map(|at| format!("arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin{at:02}/x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = render(ScpName::QuarantinePrincipal, &settings(), &names(&many)).unwrap_err();
    let ScpError::TooLong { name: ScpName::QuarantinePrincipal, chars, list } = &error else { panic!("{error:?}") };
    assert!(*chars > QUOTA_CHARS && list == "principals", "{error}");
    // An ordinary handful has room.
    assert!(render(ScpName::QuarantinePrincipal, &settings(), &names(&many[..5])).is_ok());
}
