//! Quarantine policies: attached, detached, listed, and seen to bite.
//!
//! All but the probe go through the organisation's own account: a member that breaks the role there cannot keep itself
//! locked, or from being unlocked (I7).

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_organizations::{Client, types::PolicyType};
use serde_json::Value;
use sessionwarden_machine::{
    effect::Lock,
    ids::AccountId,
    scp::{PROBE_DOCUMENT, Scp, ScpName, ScpSettings, render},
    settings::Tier,
};

use super::{AwsOrganization, Means, Pages, errors::Failure, limits::Place, settings::Api};
use crate::ports::{CallError, LockError};

/// What the names of policies that deny principals begin with; the account follows.
const OF_PRINCIPALS: &str = "sessionwarden-principals-";
const DESCRIPTION: &str =
    "Denies Session Manager to principals that broke its rules. Made and deleted by Sessionwarden.";

/// The policies with which accounts are locked.
#[derive(Clone, Debug, Default)]
pub struct LockSettings {
    /// The id of the policy that denies access, `p-…`.
    pub access_policy: Option<Arc<str>>,
    /// The id of the policy that closes the channel too, `p-…`.
    pub channel_policy: Option<Arc<str>>,
    /// What they are rendered from.
    pub scp: ScpSettings,
}

impl LockSettings {
    /// The tier of a policy of Sessionwarden's; `None` for any other.
    fn tier(&self, id: &str, name: &str) -> Option<Tier> {
        let is = |policy: &Option<Arc<str>>| policy.as_deref() == Some(id);
        if is(&self.channel_policy) {
            Some(Tier::Channel)
        } else if is(&self.access_policy) {
            Some(Tier::Access)
        } else {
            name.starts_with(OF_PRINCIPALS).then_some(Tier::Principal)
        }
    }
}

fn hopeless(why: String) -> LockError {
    LockError::Hopeless(why.into())
}

impl From<Failure> for LockError {
    fn from(failure: Failure) -> Self {
        match failure.code.as_str() {
            "ConcurrentModificationException" | "PolicyChangesInProgressException" => Self::Conflict,
            // Full slots, a policy that is too long, and a type that is not enabled: no repetition helps.
            "ConstraintViolationException"
            | "PolicyTypeNotEnabledException"
            | "MalformedPolicyDocumentException"
            | "InvalidInputException" => hopeless(format!("{}: {}", failure.code, failure.message)),
            _ => Self::Call(failure.error),
        }
    }
}

impl AwsOrganization {
    pub(super) async fn attach(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
        let _alone = self.writing.lock().await;
        let wanted = self.policy_of(account, lock).await?;
        let target = account.to_string();
        if !self.own_policies(&target).await?.contains_key(&wanted) {
            let send =
                |means: &Means| Client::new(&means.config).attach_policy().policy_id(&wanted).target_id(&target).send();
            match self.call(&self.organization_place(), Api::Organizations, "AttachPolicy", send).await {
                Ok(_) => {}
                Err(failure) if failure.is("DuplicatePolicyAttachmentException") => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        for other in self.own_policies(&target).await?.keys().filter(|id| **id != wanted) {
            self.detach(other, &target).await?;
        }
        let attached = self.own_policies(&target).await?;
        if attached.len() == 1 && attached.contains_key(&wanted) { Ok(()) } else { Err(CallError::Unknown.into()) }
    }

    pub(super) async fn detach_all(&self, account: AccountId) -> Result<(), LockError> {
        let _alone = self.writing.lock().await;
        let target = account.to_string();
        let attached = self.own_policies(&target).await?;
        for id in attached.keys() {
            self.detach(id, &target).await?;
        }
        if !self.own_policies(&target).await?.is_empty() {
            return Err(CallError::Unknown.into());
        }
        for (id, _) in attached.iter().filter(|(_, tier)| **tier == Tier::Principal) {
            let send = |means: &Means| Client::new(&means.config).delete_policy().policy_id(id).send();
            let deleted = self.call(&self.organization_place(), Api::Organizations, "DeletePolicy", send).await;
            if let Err(failure) = deleted {
                // It binds nobody any more, and the next lock of the account takes it over.
                tracing::warn!(policy = id, error = %failure.told(), "a policy that is not used any more is left");
            }
        }
        Ok(())
    }

    /// Every account with a policy of Sessionwarden's, and its highest tier.
    pub(super) async fn attached(&self) -> Result<BTreeMap<AccountId, Tier>, Failure> {
        let locks = &self.settings.locks;
        let prepared = [(&locks.access_policy, Tier::Access), (&locks.channel_policy, Tier::Channel)];
        let mut policies: Vec<(String, Tier)> =
            prepared.into_iter().filter_map(|(id, tier)| Some((id.as_deref()?.to_owned(), tier))).collect();
        let own = self.all_policies().await?.into_iter().filter(|(_, name)| name.starts_with(OF_PRINCIPALS));
        policies.extend(own.map(|(id, _)| (id, Tier::Principal)));
        let mut found: BTreeMap<AccountId, Tier> = BTreeMap::new();
        for (policy, tier) in policies {
            for account in self.targets_of(&policy).await? {
                let known = found.entry(account).or_insert(tier);
                *known = tier.max(*known);
            }
        }
        Ok(found)
    }

    /// Each lock denies a document that nobody else is kept from, to all: Sessionwarden's own role in the member asks for
    /// it and is refused once the lock bites.
    pub(super) async fn probe(&self, account: AccountId) -> Result<bool, Failure> {
        let region = self.settings.regions.first().unwrap_or(&self.region);
        let place: Place = (account, Arc::clone(region));
        let send = |means: &Means| aws_sdk_ssm::Client::new(&means.config).get_document().name(PROBE_DOCUMENT).send();
        match self.call(&place, Api::Documents, "GetDocument", send).await {
            Ok(_) => Ok(false),
            Err(failure) if failure.error == CallError::Gone => Ok(false),
            Err(failure)
                if failure.error == CallError::Denied && failure.message.contains("service control policy") =>
            {
                Ok(true)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The policy that is to be attached: prepared ones have to say what they are to say, one for principals is made.
    async fn policy_of(&self, account: AccountId, lock: &Lock) -> Result<String, LockError> {
        let locks = &self.settings.locks;
        let (name, prepared, setting) = match lock.tier {
            Tier::Principal => return self.policy_for_principals(account, lock).await,
            Tier::Access => (ScpName::QuarantineAccess, &locks.access_policy, "quarantine.access_policy"),
            Tier::Channel => (ScpName::QuarantineChannel, &locks.channel_policy, "quarantine.channel_policy"),
        };
        let id = prepared.as_deref().ok_or_else(|| hopeless(format!("{setting} is not set")))?;
        let wanted = self.rendered(name, lock)?;
        let content = self.content(id).await?;
        if same(&content, &wanted.text) {
            return Ok(id.to_owned());
        }
        let name = name.as_str();
        Err(hopeless(format!("policy {id} is not what `sessionwarden scp render {name}` prints: bring it up to date")))
    }

    async fn policy_for_principals(&self, account: AccountId, lock: &Lock) -> Result<String, LockError> {
        let wanted = self.rendered(ScpName::QuarantinePrincipal, lock)?;
        let name = format!("{OF_PRINCIPALS}{account}");
        let send = |means: &Means| {
            let call = Client::new(&means.config).create_policy().name(&name).content(&*wanted.text);
            call.description(DESCRIPTION).r#type(PolicyType::ServiceControlPolicy).send()
        };
        match self.call(&self.organization_place(), Api::Organizations, "CreatePolicy", send).await {
            Ok(made) => {
                let id = made.policy().and_then(|policy| policy.policy_summary()).and_then(|summary| summary.id());
                return Ok(id.ok_or(CallError::Unknown)?.to_owned());
            }
            Err(failure) if failure.is("DuplicatePolicyException") => {}
            Err(failure) => return Err(failure.into()),
        }
        let known = self.all_policies().await?.into_iter().find(|(_, known)| *known == name);
        let (id, _) = known.ok_or(CallError::Unknown)?;
        if !same(&self.content(&id).await?, &wanted.text) {
            let send =
                |means: &Means| Client::new(&means.config).update_policy().policy_id(&id).content(&*wanted.text).send();
            self.call(&self.organization_place(), Api::Organizations, "UpdatePolicy", send).await?;
        }
        Ok(id)
    }

    fn rendered(&self, name: ScpName, lock: &Lock) -> Result<Scp, LockError> {
        render(name, &self.settings.locks.scp, &lock.principals).map_err(|error| hopeless(error.to_string()))
    }

    async fn detach(&self, policy: &str, target: &str) -> Result<(), LockError> {
        let send =
            |means: &Means| Client::new(&means.config).detach_policy().policy_id(policy).target_id(target).send();
        match self.call(&self.organization_place(), Api::Organizations, "DetachPolicy", send).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is("PolicyNotAttachedException") => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sessionwarden's policies at an account itself, by id.
    async fn own_policies(&self, target: &str) -> Result<BTreeMap<String, Tier>, Failure> {
        let attached = self.policies_of(target, &PolicyType::ServiceControlPolicy).await?;
        let own = |(id, name): (String, String)| Some((self.settings.locks.tier(&id, &name)?, id));
        Ok(attached.into_iter().filter_map(own).map(|(tier, id)| (id, tier)).collect())
    }

    /// Ids and names of all service control policies.
    async fn all_policies(&self) -> Result<Vec<(String, String)>, Failure> {
        let (mut found, mut pages) = (Vec::new(), Pages::new());
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_policies().filter(PolicyType::ServiceControlPolicy);
                call.set_next_token(pages.token.clone()).send()
            };
            let page = self.call(&self.organization_place(), Api::Organizations, "ListPolicies", send).await?;
            for policy in page.policies() {
                let id = policy.id().ok_or_else(|| Failure::unknown(false))?;
                found.push((id.to_owned(), policy.name().unwrap_or_default().to_owned()));
            }
            if !pages.go_on(page.next_token())? {
                return Ok(found);
            }
        }
    }

    /// The accounts that a policy is attached to themselves.
    async fn targets_of(&self, policy: &str) -> Result<Vec<AccountId>, Failure> {
        let (mut found, mut pages) = (Vec::new(), Pages::new());
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_targets_for_policy().policy_id(policy);
                call.set_next_token(pages.token.clone()).send()
            };
            let page = self.call(&self.organization_place(), Api::Organizations, "ListTargetsForPolicy", send).await?;
            let ids = page.targets().iter().filter_map(|target| target.target_id());
            found.extend(ids.filter_map(|id| id.parse::<AccountId>().ok()));
            if !pages.go_on(page.next_token())? {
                return Ok(found);
            }
        }
    }
}

/// Whether two policies say the same, however they are written.
fn same(a: &str, b: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    read(a).is_some_and(|a| Some(a) == read(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_known_by_id_or_name() {
        let locks = LockSettings {
            access_policy: Some("p-access00".into()),
            channel_policy: Some("p-channel0".into()),
            scp: ScpSettings::default(),
        };
        for (id, name, tier) in [
            ("p-access00", "anything", Some(Tier::Access)),
            ("p-channel0", "sessionwarden-principals-111122223333", Some(Tier::Channel)),
            ("p-other000", "sessionwarden-principals-111122223333", Some(Tier::Principal)),
            ("p-other000", "FullAWSAccess", None),
        ] {
            assert_eq!(locks.tier(id, name), tier, "{id} {name}");
        }
        assert_eq!(LockSettings::default().tier("", "x"), None);
    }

    #[test]
    fn texts_are_compared_by_what_they_say() {
        assert!(same(r#"{"a": 1, "b": [2]}"#, r#"{"b":[2],"a":1}"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(!same("no", "no"));
    }

    // I7: what a person has to put right is told apart from what passes.
    #[test]
    fn failures_are_sorted() {
        let failed = |code: &str| LockError::from(Failure::answered(code, 400));
        assert_eq!(failed("ConcurrentModificationException"), LockError::Conflict);
        assert_eq!(failed("TooManyRequestsException"), LockError::Call(CallError::Throttled));
        assert_eq!(failed("TargetNotFoundException"), LockError::Call(CallError::Gone));
        for code in ["ConstraintViolationException", "PolicyTypeNotEnabledException"] {
            let LockError::Hopeless(why) = failed(code) else { panic!("{code}") };
            assert!(why.starts_with(code), "{why}");
        }
    }
}
