//! What the organisation lays on its accounts: service and resource control policies.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_organizations::{
    Client,
    types::{AccountState, AccountStatus, ParentType, PolicyType, PolicyTypeStatus},
};
use sessionwarden_machine::{
    effect::Lock,
    ids::AccountId,
    posture::{Guards, PolicyText},
    settings::Tier,
};

use super::{
    AwsOrganization, Means, Pages,
    ec2::Regions,
    errors::Failure,
    settings::Api,
    signed::{self, EC2},
};
use crate::ports::{CallError, LockError, Organization};

/// How far up the root can be: units lie in at most five levels ("Quotas for AWS Organizations").
const LEVELS_MAX: usize = 8;

/// How long what the organisation lays on its accounts is remembered: Organizations answers few calls a second for all
/// accounts together. A change that an event tells of, or that is made here, is seen at once.
const REMEMBERED: Duration = Duration::from_mins(5);

/// When it was asked for, and the answer.
type Known<T> = (Instant, T);

/// An organisation's id, and its management account.
type Whole = (Option<Arc<str>>, AccountId);

/// What is remembered of the organisation's policies.
#[derive(Default)]
pub(super) struct GuardMemory {
    organization: Option<Known<Option<Whole>>>,
    /// The parent of each account and unit, and whether it is the root.
    parents: BTreeMap<String, Known<(String, bool)>>,
    /// The types of policies that are enabled, by root.
    enabled: BTreeMap<String, Known<Vec<PolicyType>>>,
    /// The policies at each root, unit and account itself, by type.
    levels: BTreeMap<(String, String), Known<Vec<PolicyText>>>,
    /// Texts of policies, by id.
    texts: BTreeMap<String, Known<Arc<str>>>,
}

impl GuardMemory {
    fn forget_old(&mut self, now: Instant) {
        let fresh = |at: &Instant| now.duration_since(*at) < REMEMBERED;
        self.organization = self.organization.take().filter(|(at, _)| fresh(at));
        self.parents.retain(|_, (at, _)| fresh(at));
        self.enabled.retain(|_, (at, _)| fresh(at));
        self.levels.retain(|_, (at, _)| fresh(at));
        self.texts.retain(|_, (at, _)| fresh(at));
    }
}

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

    async fn lock(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
        let locked = self.attach(account, lock).await;
        self.forget_guards().await;
        locked
    }

    async fn unlock(&self, account: AccountId) -> Result<(), LockError> {
        let unlocked = self.detach_all(account).await;
        self.forget_guards().await;
        unlocked
    }

    async fn locks(&self) -> Result<BTreeMap<AccountId, Tier>, CallError> {
        Ok(self.attached().await?)
    }

    async fn changed(&self) {
        self.forget_guards().await;
    }

    async fn bites(&self, account: AccountId) -> Result<bool, CallError> {
        Ok(self.probe(account).await?)
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

    pub(super) async fn organization_guards(&self, account: AccountId) -> Result<Guards, Failure> {
        // One at a time: the next account finds what it shares with this one.
        let mut memory = self.guards.lock().await;
        memory.forget_old(Instant::now());
        let Some((organization, management)) = self.organization(&mut memory).await? else {
            return Ok(Guards::default());
        };
        let mut guards = Guards { organization, ..Guards::default() };
        if management == account {
            return Ok(guards);
        }
        let targets = self.levels(account, &mut memory).await?;
        let root = targets.first().map(String::as_str).unwrap_or_default();
        let enabled = self.enabled_types(root, &mut memory).await?;
        for (wanted, levels) in [
            (PolicyType::ServiceControlPolicy, &mut guards.scps),
            (PolicyType::ResourceControlPolicy, &mut guards.rcps),
        ] {
            // A type that is not enabled binds nobody. Its levels have no policies, which would read as allowing nothing.
            if enabled.contains(&wanted) {
                for target in &targets {
                    levels.push(self.level(target, &wanted, &mut memory).await?);
                }
            }
        }
        Ok(guards)
    }

    /// Forgets what is remembered of the organisation's policies.
    pub(super) async fn forget_guards(&self) {
        *self.guards.lock().await = GuardMemory::default();
    }

    /// The organisation's id and its management account; `None` where there is no organisation.
    async fn organization(&self, memory: &mut GuardMemory) -> Result<Option<Whole>, Failure> {
        if let Some((_, known)) = &memory.organization {
            return Ok(known.clone());
        }
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).describe_organization().send();
        let known = match self.call(&place, Api::Organizations, "DescribeOrganization", send).await {
            Ok(found) => {
                let found = found.organization.ok_or_else(|| Failure::unknown(false))?;
                let management = found.master_account_id().and_then(|id| id.parse::<AccountId>().ok());
                Some((found.id().map(Arc::from), management.ok_or_else(|| Failure::unknown(false))?))
            }
            Err(failure) if failure.is("AWSOrganizationsNotInUseException") => None,
            Err(failure) => return Err(failure),
        };
        memory.organization = Some((Instant::now(), known.clone()));
        Ok(known)
    }

    /// The root, the units and the account, in this order.
    async fn levels(&self, account: AccountId, memory: &mut GuardMemory) -> Result<Vec<String>, Failure> {
        let place = self.organization_place();
        let mut targets = vec![account.to_string()];
        while targets.len() <= LEVELS_MAX {
            let child = targets.last().cloned().unwrap_or_default();
            let (parent, is_root) = if let Some((_, known)) = memory.parents.get(&child) {
                known.clone()
            } else {
                let send = |means: &Means| Client::new(&means.config).list_parents().child_id(&child).send();
                let found = self.call(&place, Api::Organizations, "ListParents", send).await;
                let found = found.map_err(|failure| if targets.len() > 1 { failure.of_part() } else { failure })?;
                let parent = found.parents().first().ok_or_else(|| Failure::unknown(false))?;
                let id = parent.id().ok_or_else(|| Failure::unknown(false))?.to_owned();
                let known = (id, parent.r#type() == Some(&ParentType::Root));
                memory.parents.insert(child, (Instant::now(), known.clone()));
                known
            };
            targets.push(parent);
            if is_root {
                targets.reverse();
                return Ok(targets);
            }
        }
        Err(Failure::unknown(false))
    }

    /// The types of policies that are enabled in a root.
    async fn enabled_types(&self, root: &str, memory: &mut GuardMemory) -> Result<Vec<PolicyType>, Failure> {
        if let Some((_, known)) = memory.enabled.get(root) {
            return Ok(known.clone());
        }
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).list_roots().send();
        let found = self.call(&place, Api::Organizations, "ListRoots", send).await?;
        let found = found.roots().iter().find(|it| it.id() == Some(root)).ok_or_else(|| Failure::unknown(false))?;
        let enabled = found.policy_types().iter().filter(|it| it.status() == Some(&PolicyTypeStatus::Enabled));
        let enabled: Vec<PolicyType> = enabled.filter_map(|it| it.r#type().cloned()).collect();
        memory.enabled.insert(root.to_owned(), (Instant::now(), enabled.clone()));
        Ok(enabled)
    }

    async fn level(
        &self,
        target: &str,
        wanted: &PolicyType,
        memory: &mut GuardMemory,
    ) -> Result<Vec<PolicyText>, Failure> {
        let key = (target.to_owned(), wanted.as_str().to_owned());
        if let Some((_, known)) = memory.levels.get(&key) {
            return Ok(known.clone());
        }
        let mut policies = Vec::new();
        for (id, name) in self.policies_of(target, wanted).await.map_err(Failure::of_part)? {
            let text = match memory.texts.get(&id) {
                Some((_, text)) => Arc::clone(text),
                None => {
                    let text = self.content(&id).await?;
                    memory.texts.insert(id.clone(), (Instant::now(), Arc::clone(&text)));
                    text
                }
            };
            policies.push(PolicyText { name: format!("{id} {name}").into(), text });
        }
        memory.levels.insert(key, (Instant::now(), policies.clone()));
        Ok(policies)
    }

    /// Ids and names of the policies attached to a root, unit or account itself.
    pub(super) async fn policies_of(
        &self,
        target: &str,
        wanted: &PolicyType,
    ) -> Result<Vec<(String, String)>, Failure> {
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

    pub(super) async fn content(&self, policy: &str) -> Result<Arc<str>, Failure> {
        let place = self.organization_place();
        let send = |means: &Means| Client::new(&means.config).describe_policy().policy_id(policy).send();
        let found = self.call(&place, Api::Organizations, "DescribePolicy", send).await.map_err(Failure::of_part)?;
        let content = found.policy().and_then(|policy| policy.content()).filter(|content| !content.is_empty());
        content.map(Arc::from).ok_or_else(|| Failure::unknown(false))
    }
}
