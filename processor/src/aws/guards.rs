//! What the organisation lays on its accounts: service and resource control policies, the quarantine among them.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_organizations::{
    Client,
    types::{AccountState, AccountStatus, ParentType, PolicyType, PolicyTypeStatus},
};
use sessionwarden_machine::{
    ids::AccountId,
    posture::{Guards, PolicyText},
};

use super::{
    AwsOrganization, Means, Pages,
    ec2::Regions,
    errors::Failure,
    settings::Api,
    signed::{self, EC2},
};
use crate::ports::{CallError, Organization};

/// How far up the root can be: units lie in at most five levels ("Quotas for AWS Organizations").
const LEVELS_MAX: usize = 8;

/// Texts of policies, by id.
type Texts = BTreeMap<String, Arc<str>>;

impl Organization for AwsOrganization {
    /// Active accounts, and the regions of the settings, or else those that are enabled in the own account.
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        let place = self.organization_place();
        let mut accounts = Vec::new();
        let mut pages = Pages::new();
        loop {
            let send =
                |means: &Means| Client::new(&means.config).list_accounts().set_next_token(pages.token.clone()).send();
            let page = self.call(&place, Api::Organizations, "ListAccounts", send).await?;
            for account in page.accounts() {
                // Servers that do not know the state give the status, which AWS gives up.
                let active = match (account.state(), account.status()) {
                    (Some(state), _) => *state == AccountState::Active,
                    (None, status) => status == Some(&AccountStatus::Active),
                };
                if active {
                    let id = account.id().and_then(|id| id.parse().ok());
                    accounts.push(id.ok_or(CallError::Unknown)?);
                }
            }
            if !pages.go_on(page.next_token())? {
                break;
            }
        }
        Ok((accounts, self.regions().await?))
    }

    /// The quarantine policy is seen to be attached before this succeeds. That it is attached does not mean that it is
    /// enforced yet: that can take minutes.
    async fn lock(&self, account: AccountId) -> Result<(), CallError> {
        self.attach(account, true).await
    }

    async fn unlock(&self, account: AccountId) -> Result<(), CallError> {
        self.attach(account, false).await
    }
}

impl AwsOrganization {
    async fn regions(&self) -> Result<Vec<Arc<str>>, Failure> {
        if !self.settings.regions.is_empty() {
            return Ok(self.settings.regions.clone());
        }
        let place = (self.own, Arc::clone(&self.region));
        let send = |means: &Means| signed::query::<Regions>(&EC2, means.clone(), "DescribeRegions", Vec::new());
        let found = self.call(&place, Api::Ec2, "DescribeRegions", send).await?;
        Ok(found.region_info.item.into_iter().map(|region| region.region_name.into()).collect())
    }

    /// Attaches or detaches the quarantine policy, and looks whether that came to be.
    async fn attach(&self, account: AccountId, wanted: bool) -> Result<(), CallError> {
        let place = self.organization_place();
        let Some(policy) = &self.settings.quarantine_policy else {
            tracing::error!(%account, "no quarantine policy is set: the account can be neither locked nor unlocked");
            return Err(CallError::Gone);
        };
        let _alone = self.writing.lock().await;
        let target = account.to_string();
        let done = if wanted {
            let send = |means: &Means| {
                Client::new(&means.config).attach_policy().policy_id(&**policy).target_id(&target).send()
            };
            self.call(&place, Api::Organizations, "AttachPolicy", send).await.map(drop)
        } else {
            let send = |means: &Means| {
                Client::new(&means.config).detach_policy().policy_id(&**policy).target_id(&target).send()
            };
            self.call(&place, Api::Organizations, "DetachPolicy", send).await.map(drop)
        };
        match done {
            Ok(()) => {}
            Err(failure) if wanted && failure.is("DuplicatePolicyAttachmentException") => {}
            Err(failure) if !wanted && failure.is("PolicyNotAttachedException") => {}
            Err(failure) => return Err(failure.into()),
        }
        let attached = self.policies_of(&target, &PolicyType::ServiceControlPolicy).await?;
        let found = attached.iter().any(|(id, _)| **id == **policy);
        if found == wanted { Ok(()) } else { Err(CallError::Unknown) }
    }

    pub(super) async fn organization_guards(&self, account: AccountId) -> Result<Guards, Failure> {
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).describe_organization().send();
        let found = match self.call(&place, Api::Organizations, "DescribeOrganization", send).await {
            Ok(found) => found,
            Err(failure) if failure.is("AWSOrganizationsNotInUseException") => return Ok(Guards::default()),
            Err(failure) => return Err(failure),
        };
        let organization = found.organization.ok_or_else(|| Failure::unknown(false))?;
        let mut guards = Guards { organization: organization.id().map(Arc::from), ..Guards::default() };
        let management = organization.master_account_id().and_then(|id| id.parse::<AccountId>().ok());
        if management.ok_or_else(|| Failure::unknown(false))? == account {
            return Ok(guards);
        }
        let targets = self.levels(account).await?;
        let root = targets.first().map(String::as_str).unwrap_or_default();
        let enabled = self.enabled_types(root).await?;
        let mut texts = Texts::new();
        for (wanted, levels) in [
            (PolicyType::ServiceControlPolicy, &mut guards.scps),
            (PolicyType::ResourceControlPolicy, &mut guards.rcps),
        ] {
            // A type that is not enabled binds nobody. Its levels have no policies, which would read as allowing nothing.
            if enabled.contains(&wanted) {
                for target in &targets {
                    levels.push(self.level(target, &wanted, &mut texts).await?);
                }
            }
        }
        Ok(guards)
    }

    /// The root, the units and the account, in this order.
    async fn levels(&self, account: AccountId) -> Result<Vec<String>, Failure> {
        let place = self.organization_place();
        let mut targets = vec![account.to_string()];
        while targets.len() <= LEVELS_MAX {
            let child = targets.last().cloned().unwrap_or_default();
            let send = |means: &Means| Client::new(&means.config).list_parents().child_id(&child).send();
            let found = self.call(&place, Api::Organizations, "ListParents", send).await;
            let found = found.map_err(|failure| if targets.len() > 1 { failure.of_part() } else { failure })?;
            let parent = found.parents().first().ok_or_else(|| Failure::unknown(false))?;
            targets.push(parent.id().ok_or_else(|| Failure::unknown(false))?.to_owned());
            if parent.r#type() == Some(&ParentType::Root) {
                targets.reverse();
                return Ok(targets);
            }
        }
        Err(Failure::unknown(false))
    }

    /// The types of policies that are enabled in a root.
    async fn enabled_types(&self, root: &str) -> Result<Vec<PolicyType>, Failure> {
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).list_roots().send();
        let found = self.call(&place, Api::Organizations, "ListRoots", send).await?;
        let root = found.roots().iter().find(|it| it.id() == Some(root)).ok_or_else(|| Failure::unknown(false))?;
        let enabled = root.policy_types().iter().filter(|it| it.status() == Some(&PolicyTypeStatus::Enabled));
        Ok(enabled.filter_map(|it| it.r#type().cloned()).collect())
    }

    async fn level(&self, target: &str, wanted: &PolicyType, texts: &mut Texts) -> Result<Vec<PolicyText>, Failure> {
        let mut policies = Vec::new();
        for (id, name) in self.policies_of(target, wanted).await.map_err(Failure::of_part)? {
            let text = match texts.get(&id) {
                Some(text) => Arc::clone(text),
                None => {
                    let text = self.content(&id).await?;
                    texts.insert(id.clone(), Arc::clone(&text));
                    text
                }
            };
            policies.push(PolicyText { name: format!("{id} {name}").into(), text });
        }
        Ok(policies)
    }

    /// Ids and names of the policies attached to a root, unit or account itself.
    async fn policies_of(&self, target: &str, wanted: &PolicyType) -> Result<Vec<(String, String)>, Failure> {
        let place = self.organization_place();
        let mut found = Vec::new();
        let mut pages = Pages::new();
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_policies_for_target().target_id(target);
                call.filter(wanted.clone()).set_next_token(pages.token.clone()).send()
            };
            let page = self.call(&place, Api::Organizations, "ListPoliciesForTarget", send).await?;
            for policy in page.policies() {
                let id = policy.id().ok_or_else(|| Failure::unknown(false))?;
                found.push((id.to_owned(), policy.name().unwrap_or_default().to_owned()));
            }
            if !pages.go_on(page.next_token())? {
                return Ok(found);
            }
        }
    }

    async fn content(&self, policy: &str) -> Result<Arc<str>, Failure> {
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).describe_policy().policy_id(policy).send();
        let found = self.call(&place, Api::Organizations, "DescribePolicy", send).await.map_err(Failure::of_part)?;
        let content = found.policy().and_then(|policy| policy.content()).filter(|content| !content.is_empty());
        content.map(Arc::from).ok_or_else(|| Failure::unknown(false))
    }
}
