//! ARNs and patterns of them.

use std::{collections::BTreeSet, sync::Arc};

use super::ScpError;

/// The condition key that names the caller: of a session its role's ARN with the path, of a user the user's ("AWS global
/// condition context keys").
pub(super) const PRINCIPAL_ARN: &str = "aws:PrincipalArn";

/// A role in any account.
pub(super) fn role(partition: &str, name: &str) -> String {
    format!("arn:{partition}:iam::*:role/{name}")
}

/// A document in any account and region. AWS's own belong to no account, and only AWS can make documents of their names
/// ("`CreateDocument`", `Name`).
pub(super) fn document(partition: &str, name: &str) -> String {
    let account = if is_aws_document(name) { "" } else { "*" };
    format!("arn:{partition}:ssm:*:{account}:document/{name}")
}

/// Whether a document is one of AWS's own, by its name.
pub(super) fn is_aws_document(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["aws", "amazon", "amzn"].iter().any(|prefix| name.starts_with(prefix))
}

/// What `aws:PrincipalArn` is for these principals.
pub(super) fn principals(partition: &str, principals: &BTreeSet<Arc<str>>) -> Result<BTreeSet<String>, ScpError> {
    let mut patterns = BTreeSet::new();
    for given in principals {
        let found = principal(partition, given)
            .map_err(|problem| ScpError::BadPrincipal { given: given.chars().take(200).collect(), problem })?;
        patterns.extend(found);
    }
    Ok(patterns)
}

/// A session's ARN does not show its role's path. The role has no path, or some: no other role of the account has its
/// name, whatever the path ("IAM identifiers").
fn principal(partition: &str, arn: &str) -> Result<Vec<String>, &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/:".contains(&byte);
    if arn.len() > 2_048 || !arn.bytes().all(fits) {
        return Err("is no ARN of a user, a role or a session of a role");
    }
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", in_partition, service, "", account, resource] = parts[..] else {
        return Err("is no ARN of a user, a role or a session of a role");
    };
    if in_partition != partition {
        return Err("is of another partition");
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is of no account");
    }
    let role_named = |name: &str| {
        let role = |path: &str| format!("arn:{partition}:iam::{account}:role/{path}{name}");
        vec![role(""), role("*/")]
    };
    let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
    let full = !rest.is_empty() && !rest.ends_with('/');
    match (service, kind) {
        ("iam", "root") => Err("is the root user of an account, who is not locked out alone: lock the account"),
        ("sts", "federated-user") => {
            Err("is a federated user, who has no name of its own: name the user who federates, or lock the account")
        }
        ("iam", "role") if rest.starts_with("aws-service-role/") => {
            Err("is a service-linked role, which no service control policy binds")
        }
        ("sts", "assumed-role") if rest.starts_with("AWSServiceRoleFor") => {
            Err("is a service-linked role, which no service control policy binds")
        }
        ("iam", "user") if full => Ok(vec![arn.to_owned()]),
        ("iam", "role") if full && rest.contains('/') => Ok(vec![arn.to_owned()]),
        ("iam", "role") if full => Ok(role_named(rest)),
        ("sts", "assumed-role") => match rest.split_once('/') {
            Some((role, session)) if !role.is_empty() && !session.is_empty() && !session.contains('/') => {
                Ok(role_named(role))
            }
            Some(_) | None => Err("is no session of a role"),
        },
        _ => Err("is no ARN of a user, a role or a session of a role"),
    }
}
