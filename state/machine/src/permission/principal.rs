//! Who makes a request, and whom a policy names.

use super::{arn, context::Lookup};
use crate::ids::AccountId;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub(super) kind: Kind,
    pub(super) arn: Box<str>,
    /// Known unless the principal is a service.
    pub(super) account: Option<AccountId>,
    derived: Vec<(&'static str, Option<[String; 1]>)>,
}

/// The kinds of principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The root user of an account.
    Root,
    User {
        name: Box<str>,
    },
    /// Some session of a role: its name is not known.
    Role {
        name: Box<str>,
    },
    /// One session of a role.
    Session {
        role: Box<str>,
    },
    /// A session of `GetFederationToken`.
    Federated {
        user: Box<str>,
    },
    /// A service of AWS, such as `logs.amazonaws.com`.
    Service,
}

/// The text names no principal that could make a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the principal is no ARN of a user, role, session, federated user or root, and no service")]
pub struct BadPrincipal;

impl Principal {
    /// Reads the ARN of a user, a role, a session of a role, a federated user or an account's root; or the name of a
    /// service. The ARN of a role stands for some session of it.
    pub fn parse(text: &str) -> Result<Self, BadPrincipal> {
        if text.len() > 2048 || text.contains(['*', '?']) || text.chars().any(char::is_whitespace) {
            return Err(BadPrincipal);
        }
        if !text.starts_with("arn:") {
            return Self::service(text).ok_or(BadPrincipal);
        }
        let [partition, service, region, account, resource] = arn::split(text).ok_or(BadPrincipal)?;
        if !region.is_empty() || account.len() != 12 {
            return Err(BadPrincipal);
        }
        let account = account.parse::<AccountId>().map_err(|_| BadPrincipal)?;
        let kind = kind(service, resource).ok_or(BadPrincipal)?;
        let derived = derive(&kind, text, partition, account);
        Ok(Self { kind, arn: text.into(), account: Some(account), derived })
    }

    fn service(text: &str) -> Option<Self> {
        let named = text.strip_suffix(".cn").unwrap_or(text).ends_with(".amazonaws.com");
        let derived = vec![
            ("aws:principalisawsservice", Some(["true".to_owned()])),
            ("aws:principalservicename", Some([text.to_owned()])),
        ];
        named.then(|| Self { kind: Kind::Service, arn: text.into(), account: None, derived })
    }

    /// The account it belongs to; a service belongs to none.
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Its ARN as it was given.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Service-linked roles are bound neither by SCPs nor by RCPs ("Service control policies", "Resource control
    /// policies" in the Organizations guide).
    pub(super) fn is_service_linked_role(&self) -> bool {
        match &self.kind {
            Kind::Role { .. } => self.arn.contains(":role/aws-service-role/"),
            Kind::Session { role } => role.starts_with("AWSServiceRoleFor"),
            Kind::Root | Kind::User { .. } | Kind::Federated { .. } | Kind::Service => false,
        }
    }

    /// A context key, in lower case, that follows from the principal.
    pub(super) fn derived(&self, key: &str) -> Lookup<'_> {
        match self.derived.iter().find(|(name, _)| *name == key) {
            Some((_, Some(value))) => Lookup::Values(value),
            Some((_, None)) => Lookup::Absent,
            None => Lookup::Unknown,
        }
    }
}

fn kind(service: &str, resource: &str) -> Option<Kind> {
    let (form, rest) = resource.split_once('/').unwrap_or((resource, ""));
    let last = rest.rsplit('/').next().filter(|name| !name.is_empty());
    match (service, form) {
        ("iam", "root") if rest.is_empty() && form == resource => Some(Kind::Root),
        ("iam", "user") => last.map(|name| Kind::User { name: name.into() }),
        ("iam", "role") => last.map(|name| Kind::Role { name: name.into() }),
        ("sts", "assumed-role") => {
            let (role, session) = rest.split_once('/')?;
            (!role.is_empty() && !session.is_empty()).then(|| Kind::Session { role: role.into() })
        }
        ("sts", "federated-user") => (!rest.is_empty()).then(|| Kind::Federated { user: rest.into() }),
        _ => None,
    }
}

/// Source: "AWS global condition context keys", properties of the principal; the values of `aws:PrincipalType` and
/// `aws:username` from the table of "IAM policy elements: Variables and tags". The session of a role does not show the
/// role's path: a role whose path is known not to be `/` gets no `aws:PrincipalArn`.
fn derive(kind: &Kind, arn: &str, partition: &str, account: AccountId) -> Vec<(&'static str, Option<[String; 1]>)> {
    let known = |value: &str| Some([value.to_owned()]);
    let mut derived = vec![
        ("aws:principalaccount", Some([account.to_string()])),
        ("aws:principalisawsservice", known("false")),
        ("aws:principalservicename", None),
        ("aws:principalservicenameslist", None),
    ];
    let principal_type = match kind {
        Kind::Root => "Account",
        Kind::User { .. } => "User",
        Kind::Role { .. } | Kind::Session { .. } => "AssumedRole",
        Kind::Federated { .. } => "FederatedUser",
        Kind::Service => return derived,
    };
    derived.push(("aws:principaltype", known(principal_type)));
    derived.push(match kind {
        Kind::User { name } => ("aws:username", known(name)),
        Kind::Root | Kind::Role { .. } | Kind::Session { .. } | Kind::Federated { .. } | Kind::Service => {
            ("aws:username", None)
        }
    });
    match kind {
        Kind::Session { role } if role.starts_with("AWSReservedSSO_") || role.starts_with("AWSServiceRoleFor") => {}
        Kind::Session { role } => {
            derived.push(("aws:principalarn", Some([format!("arn:{partition}:iam::{account}:role/{role}")])));
        }
        Kind::Root | Kind::User { .. } | Kind::Role { .. } | Kind::Federated { .. } | Kind::Service => {
            derived.push(("aws:principalarn", known(arn)));
        }
    }
    derived
}
