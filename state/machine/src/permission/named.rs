//! The elements Principal and `NotPrincipal`: whom a policy names.

use super::{
    arn,
    json::Json,
    principal::{Kind, Principal},
    truth::{Truth, Why},
};
use crate::ids::AccountId;

/// One that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Everyone,
    /// An account, by its id or its root's ARN: both delegate to the account's own policies.
    Account(AccountId),
    /// A user, role or session, by its ARN.
    Arn {
        arn: Box<str>,
        parsed: Principal,
    },
    Service(Box<str>),
    Federated(Box<str>),
    /// A canonical user, a unique id: something that no ARN shows.
    Hidden(Box<str>),
}

/// Who is reached, by how strong the statement names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach<'a> {
    /// Themselves: no implicit deny elsewhere in the account matters.
    pub(super) directly: Truth<'a>,
    /// As role behind a session, or user behind a federated one: boundary and session policy still limit.
    pub(super) as_role: Truth<'a>,
    /// As member of the account: its own policies decide.
    pub(super) as_account: Truth<'a>,
}

impl<'a> Reach<'a> {
    pub(super) const NOBODY: Self = Self { directly: Truth::No, as_role: Truth::No, as_account: Truth::No };

    pub(super) fn directly(truth: Truth<'a>) -> Self {
        Self { directly: truth, ..Self::NOBODY }
    }

    pub(super) fn at_all(self) -> Truth<'a> {
        self.directly.or(self.as_role).or(self.as_account)
    }

    fn or(self, other: Self) -> Self {
        Self {
            directly: self.directly.or(other.directly),
            as_role: self.as_role.or(other.as_role),
            as_account: self.as_account.or(other.as_account),
        }
    }
}

/// Reads the value of Principal or `NotPrincipal`.
///
/// Source: "AWS JSON policy elements: Principal". A wildcard that is only a part of a name is not allowed there.
pub(super) fn parse(value: &Json) -> Result<Vec<Named>, String> {
    let map = match value {
        Json::Text(text) if text == "*" => return Ok(vec![Named::Everyone]),
        Json::Map(map) => map,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            return Err("the principal is neither \"*\" nor an object".to_owned());
        }
    };
    if let Some(name) = &map.duplicate {
        return Err(format!("the principal has {name} twice"));
    }
    let mut named = Vec::new();
    for (form, names) in &map.members {
        for name in names.as_list() {
            let Json::Text(name) = name else { return Err(format!("a principal is {}", name.kind())) };
            named.push(match form.as_str() {
                "AWS" => aws(name)?,
                "Service" if !name.is_empty() && !name.contains('*') => Named::Service(name.as_str().into()),
                "Federated" if !name.is_empty() => Named::Federated(name.as_str().into()),
                "CanonicalUser" => Named::Hidden(format!("the canonical user {name}").into()),
                _ => return Err(format!("the principal {form} {name:?} is not understood")),
            });
        }
    }
    if named.is_empty() { Err("the principal names nobody".to_owned()) } else { Ok(named) }
}

fn aws(name: &str) -> Result<Named, String> {
    if name == "*" {
        return Ok(Named::Everyone);
    }
    if name.len() == 12
        && let Ok(account) = name.parse()
    {
        return Ok(Named::Account(account));
    }
    if name.len() > 16 && name.starts_with('A') && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(Named::Hidden(format!("the one with the unique id {name}").into()));
    }
    let parsed = Principal::parse(name).map_err(|_| format!("the principal {name:?} is not understood"))?;
    match (&parsed.kind, parsed.account) {
        (Kind::Root, Some(account)) => Ok(Named::Account(account)),
        (Kind::Service, _) | (_, None) => Err(format!("the principal {name:?} is not understood")),
        _ => Ok(Named::Arn { arn: name.into(), parsed }),
    }
}

/// How these names reach `principal`, as the element Principal.
///
/// Source: "AWS JSON policy elements: Principal"; "Policy evaluation for requests within a single account", which
/// tells grants to a role from those to its session.
pub(super) fn reach<'a>(names: &'a [Named], principal: &Principal) -> Reach<'a> {
    names.iter().fold(Reach::NOBODY, |sum, named| sum.or(one(named, principal)))
}

fn one<'a>(named: &'a Named, principal: &Principal) -> Reach<'a> {
    match named {
        Named::Everyone => Reach::directly(Truth::Yes),
        Named::Account(account) if Some(*account) == principal.account => {
            if principal.kind == Kind::Root {
                Reach::directly(Truth::Yes)
            } else {
                Reach { as_account: Truth::Yes, ..Reach::NOBODY }
            }
        }
        Named::Account(_) => Reach::NOBODY,
        Named::Arn { arn, parsed } => by_arn(arn, parsed, principal),
        Named::Service(name) => {
            Reach::directly((principal.kind == Kind::Service && principal.arn.eq_ignore_ascii_case(name)).into())
        }
        Named::Federated(name) => match principal.kind {
            Kind::Role { .. } | Kind::Session { .. } => Reach::directly(Truth::Maybe(Why::Principal(name))),
            Kind::Root | Kind::User { .. } | Kind::Federated { .. } | Kind::Service => Reach::NOBODY,
        },
        Named::Hidden(_) if principal.kind == Kind::Service => Reach::NOBODY,
        Named::Hidden(who) => Reach::directly(Truth::Maybe(Why::Principal(who))),
    }
}

fn by_arn<'a>(named_arn: &'a str, named: &Principal, principal: &Principal) -> Reach<'a> {
    let partition = |arn| arn::split(arn).map(|parts| parts[0]);
    if named.account != principal.account || partition(named_arn) != partition(&principal.arn) {
        return Reach::NOBODY;
    }
    let as_role = |holds: bool| Reach { as_role: holds.into(), ..Reach::NOBODY };
    match (&named.kind, &principal.kind) {
        (Kind::Role { .. }, Kind::Role { .. }) => as_role(*named_arn == *principal.arn),
        // The ARN of a session shows the role's name without its path; names are unique within an account.
        (Kind::Role { name }, Kind::Session { role }) => as_role(name == role),
        (Kind::User { name }, Kind::Federated { user }) => as_role(name == user),
        (Kind::Session { role }, Kind::Role { name }) if role == name => {
            Reach::directly(Truth::Maybe(Why::Principal(named_arn)))
        }
        _ => Reach::directly((*named_arn == *principal.arn).into()),
    }
}

/// Whether `NotPrincipal` with these names applies to `principal`.
///
/// Only one who is listed at every level, account, role and session, is surely exempt, because AWS might check each
/// level for itself: who is listed at some of them may be denied ("AWS JSON policy elements: `NotPrincipal`").
pub(super) fn not_reached<'a>(names: &'a [Named], principal: &Principal) -> Truth<'a> {
    if names.contains(&Named::Everyone) {
        return Truth::No;
    }
    let reach = reach(names, principal);
    let exempt = match principal.kind {
        Kind::Root | Kind::Service => reach.directly,
        Kind::User { .. } | Kind::Federated { .. } => reach.directly.and(reach.as_account),
        Kind::Role { .. } | Kind::Session { .. } => reach.directly.and(reach.as_role).and(reach.as_account),
    };
    match (exempt, reach.at_all()) {
        (Truth::Yes, _) => Truth::No,
        (_, Truth::No) => Truth::Yes,
        _ => Truth::Maybe(Why::Unclear(
            "NotPrincipal names the caller at some of its levels, account, role and session, only",
        )),
    }
}
