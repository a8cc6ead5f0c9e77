//! Whether an account whose window is full may be locked.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    effect::Mode,
    ids::AccountId,
    mutation::{Mutation, made},
    settings::{QuarantineSettings, Settings, Tier},
};

/// What is decided about an account whose window is full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Lock it, once people have approved and the caps allow it.
    Lock,
    /// In enforce mode it would be locked.
    Observed,
    /// Do not, by this rule.
    Refused(Arc<str>),
}

/// Decides about an account whose window is full. Every refusal names its rule (I6). The caps of the organisation are
/// the register's to keep.
pub fn decide(account: AccountId, principals: &BTreeSet<Arc<str>>, settings: &Settings) -> Decision {
    let rules = &settings.quarantine;
    let unit = settings.unit(account);
    let refused = |rule: &str| Decision::Refused(rule.into());
    if !rules.enabled {
        refused("quarantine.enabled = false")
    } else if settings.management_account == Some(account) {
        refused("the management account is never locked")
    } else if rules.exempt.contains(&account) && !made(Mutation::ExemptLocked) {
        refused("organization.exempt_accounts")
    } else if unit.is_some_and(|unit| rules.exempt_units.contains(unit)) {
        refused("quarantine.exempt_units")
    } else if tier_for(principals, rules).is_none() {
        refused("quarantine.access_principals_min: no principal is known that could be denied alone")
    } else {
        let enforced = settings.organization && settings.mode == Mode::Enforce && rules.mode == Mode::Enforce;
        let here = rules.units.is_empty() || unit.is_some_and(|unit| rules.units.contains(unit));
        if enforced && here { Decision::Lock } else { Decision::Observed }
    }
}

/// The mildest tier that answers violations by these principals: an attacker who wants the account to be locked needs
/// several. `None` where there are too few, and none that could be denied alone.
pub fn tier_for(principals: &BTreeSet<Arc<str>>, rules: &QuarantineSettings) -> Option<Tier> {
    let identities: BTreeSet<&str> = principals.iter().map(|arn| identity_of(arn)).collect();
    if identities.len() >= rules.access_principals_min || made(Mutation::AccountForOne) {
        Some(Tier::Access)
    } else if !principals.is_empty() && principals.iter().all(|arn| can_be_denied_alone(arn)) {
        Some(Tier::Principal)
    } else {
        None
    }
}

/// Who is behind a principal. A role's sessions are one, since whoever may assume the role chooses their names; those of
/// IAM Identity Center are named after the person and are told apart.
pub fn identity_of(arn: &str) -> &str {
    let Some((head, rest)) = arn.split_once(":assumed-role/") else {
        return arn;
    };
    match rest.split_once('/') {
        Some((role, _)) if !role.starts_with("AWSReservedSSO_") => {
            &arn[..head.len() + ":assumed-role/".len() + role.len()]
        }
        Some(_) | None => arn,
    }
}

/// Users and sessions of roles can be told by `aws:PrincipalArn` and `aws:userid`; an account's root, a service, or
/// somebody from outside an account cannot.
fn can_be_denied_alone(arn: &str) -> bool {
    arn.contains(":user/") || arn.contains(":assumed-role/")
}
