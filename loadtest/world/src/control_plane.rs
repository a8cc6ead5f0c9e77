//! What the control plane answers when it is asked. Nothing in here emits events.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    account::identity_of,
    document::WantedPreferences,
    effect::Lock,
    ids::{AccountId, SessionKey},
    posture::{
        Bucket, CallError, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, PolicyText,
        Who,
    },
    settings::Tier,
};

use crate::{
    estate::network_of,
    organisation::{Account, Node as Machine, NodeKind},
    session::SessionDescription,
    texts::{FULL_ACCESS, NO_ROOT_USER, QUARANTINE, RCP_FULL_ACCESS, aws_document},
    world::World,
};

impl World {
    /// Every account, the management account and the log archive first.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// One account; `None` for one of somebody else's.
    pub fn account(&self, account: AccountId) -> Option<&Account> {
        self.indexes_by_account.get(&account).and_then(|at| self.accounts.get(*at))
    }

    /// The account that keeps the logs.
    pub fn log_archive(&self) -> AccountId {
        self.estate.bucket.account
    }

    /// The regions in use.
    pub fn regions(&self) -> &[Arc<str>] {
        &self.shape.regions
    }

    /// What every preferences document is meant to say.
    pub fn wanted_preferences(&self) -> WantedPreferences {
        self.estate.texts.wanted()
    }

    /// An instance or hybrid node; `None` where that region has none of this id.
    pub fn node(&self, account: AccountId, region: &str, node: &str) -> Option<Node> {
        let laid_out = self.account(account)?.node(region, node)?;
        let state = self.estate.nodes.get(&laid_out.id)?;
        Some(Node {
            role: self.estate.role_of(account, &laid_out.region, state),
            association: state.association.as_ref().map(|(id, _)| Arc::clone(id)),
            tags: state.tags.clone(),
            agent: state.agent,
            network: state.network.clone(),
        })
    }

    /// A machine with this id and instance profile is there, and its agent answers. Nothing is emitted, as of those that
    /// were there from the beginning. An account or profile that is unknown changes nothing.
    pub fn add_machine(&mut self, account: AccountId, region: &str, id: &str, profile: &str) {
        let Some(at) = self.indexes_by_account.get(&account).copied() else { return };
        let known = self.estate.profiles.get_key_value(&(account, Arc::from(profile)));
        let Some(((_, profile), Some(role))) = known else { return };
        let node =
            Machine { id: Arc::from(id), kind: NodeKind::Instance, region: Arc::from(region), role: Arc::clone(role) };
        let profile = Arc::clone(profile);
        self.estate.add_machine(account, &node, profile, &mut self.dice);
        // The container target is the last.
        let nodes = &mut self.accounts[at].nodes;
        nodes.insert(nodes.len().saturating_sub(1), node);
    }

    /// What `DescribeSessions` lists as history, by session id.
    pub fn past_sessions(&self, account: AccountId, region: &str) -> Vec<SessionDescription> {
        let first = SessionKey { account, region: Arc::from(region), id: Arc::from("") };
        let here = self.sessions.range(first..);
        let here = here.take_while(|(key, _)| key.account == account && &*key.region == region);
        let all = here.map(|(_, session)| &session.description);
        all.filter(|description| description.ended.is_some()).cloned().collect()
    }

    /// A network with its endpoints.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown network.
    pub fn network(&self, network: &str) -> Result<Network, CallError> {
        self.estate.networks.get(network).cloned().ok_or(CallError::Gone)
    }

    /// How a cluster logs ECS Exec, by its name or ARN.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown cluster.
    pub fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Result<Cluster, CallError> {
        let name = cluster.rsplit('/').next().unwrap_or(cluster);
        let place = (account, Arc::from(region), Arc::from(name));
        self.estate.clusters.get(&place).cloned().ok_or(CallError::Gone)
    }

    /// A role or user with the policies that are in force now.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown role or user.
    pub fn identity(&self, account: AccountId, who: &Who) -> Result<Identity, CallError> {
        let holder = self.estate.holders.get(&(account, who.clone())).ok_or(CallError::Gone)?;
        let inline = holder.inline.iter().map(|(name, text)| {
            let name = format!("inline policy {name}").into();
            PolicyText { name, text: Arc::clone(text) }
        });
        let attached = holder.attached.iter().filter_map(|arn| self.estate.managed_text(arn));
        Ok(Identity {
            arn: Arc::clone(&holder.arn),
            policies: inline.chain(attached).collect(),
            attached: holder.attached.iter().cloned().collect(),
            boundary: holder.boundary.as_ref().and_then(|arn| self.estate.managed_text(arn)),
            tags: holder.tags.clone(),
        })
    }

    /// What the organisation lays on an account: one level for the root, each unit of its path, and the account.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an account of somebody else's.
    pub fn guards(&self, account: AccountId) -> Result<Guards, CallError> {
        let member = self.account(account).ok_or(CallError::Gone)?;
        let policy = |name: &str, text: &Arc<str>| PolicyText { name: Arc::from(name), text: Arc::clone(text) };
        let guards = &self.guard_texts;
        let units = if member.management { 0 } else { member.unit.split('/').count() };
        let full = || policy("FullAWSAccess", &guards.full);
        let mut scps = vec![vec![full()]; units + 2];
        scps[0].push(policy("NoRootUser", &guards.no_root_user));
        if let (true, Some(own)) = (self.quarantined.contains_key(&account), scps.last_mut()) {
            own.push(policy("sessionwarden-quarantine", &guards.quarantine));
        }
        let mut rcps = vec![vec![policy("RCPFullAWSAccess", &guards.rcp_full)]; units + 2];
        rcps[0].push(policy("OrganisationOnly", &self.estate.texts.rcp));
        if member.management {
            (scps, rcps) = (Vec::new(), Vec::new());
        }
        Ok(Guards { organization: Some(Arc::clone(&self.estate.texts.organization)), scps, rcps })
    }

    /// The default version of a document, by its name or ARN: an account's own, one that is shared with it, or one of
    /// AWS's.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown document, and for one that is not shared with `account`.
    pub fn document(&self, account: AccountId, region: &str, document: &str) -> Result<Document, CallError> {
        let name = document.rsplit('/').next().unwrap_or(document);
        if let Some(content) = aws_document(name) {
            return Ok(Document { version: Arc::from("1"), content: Arc::from(content) });
        }
        let owner = document.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(3)?.parse().ok());
        let owner = owner.unwrap_or(account);
        let found = self.estate.documents.get(&(owner, Arc::from(region), Arc::from(name))).ok_or(CallError::Gone)?;
        if owner != account && !found.shared_with.contains(&account) {
            return Err(CallError::Gone);
        }
        let content = found.current().map(Arc::clone).ok_or(CallError::Gone)?;
        Ok(Document { version: found.default.to_string().into(), content })
    }

    /// The log bucket; the model has no other.
    ///
    /// # Errors
    /// [`CallError::Gone`] for any other name.
    pub fn bucket(&self, bucket: &str) -> Result<Bucket, CallError> {
        let known = bucket == &*self.estate.texts.bucket_name;
        known.then(|| self.estate.bucket.clone()).ok_or(CallError::Gone)
    }

    /// The log bucket's name.
    pub fn bucket_name(&self) -> &Arc<str> {
        &self.estate.texts.bucket_name
    }

    /// A key by its ARN, or by an id or alias of this account and region.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown key.
    pub fn key(&self, account: AccountId, region: &str, key: &str) -> Result<Key, CallError> {
        let arn: Arc<str> = if key.starts_with("arn:") && !key.contains(":alias/") {
            Arc::from(key)
        } else if let Some(alias) = key.find("alias/").and_then(|at| key.get(at..)) {
            let place = (account, Arc::from(region), Arc::from(alias));
            Arc::clone(self.estate.aliases.get(&place).ok_or(CallError::Gone)?)
        } else {
            format!("arn:aws:kms:{region}:{account}:key/{key}").into()
        };
        self.estate.keys.get(&arn).cloned().ok_or(CallError::Gone)
    }

    /// The wanted preferences of an account and region, but for the stream, which is off.
    pub fn unstreamed_preferences(&self, account: AccountId, region: &str) -> Arc<str> {
        self.estate.texts.unstreamed(account, region)
    }

    /// A policy of the log bucket that lets the whole organisation write anywhere.
    pub fn open_bucket_policy(&self) -> Arc<str> {
        Arc::clone(&self.estate.texts.open_bucket)
    }

    /// A policy of the log bucket that keeps everybody from writing.
    pub fn closed_bucket_policy(&self) -> Arc<str> {
        Arc::clone(&self.estate.texts.closed_bucket)
    }

    /// The endpoint of a service in an account's network.
    pub fn endpoint(&self, account: AccountId, region: &str, service: &str) -> Option<Arc<str>> {
        let network = self.estate.networks.get(&network_of(account, region))?;
        network.endpoints.get(service).map(|endpoint| Arc::clone(&endpoint.id))
    }

    /// The ids of all keys in use, for those who protect them.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.estate.keys.keys().filter_map(|arn| arn.rsplit('/').next())
    }

    /// An object of the log bucket; `None` where there is none or its latest version is a deletion marker.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown bucket.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Option<LogObject>, CallError> {
        self.bucket(bucket)?;
        Ok(self.objects.get(key).filter(|stored| !stored.deleted).map(|stored| stored.object.clone()))
    }

    /// A log stream; `None` where there is none.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown log group.
    pub fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        let place = (account, Arc::from(region), Arc::from(group));
        if !self.estate.log_groups.contains(&place) {
            return Err(CallError::Gone);
        }
        Ok(self.stream_of(&place, stream))
    }

    /// Attaches a quarantine policy in the place of another. It bites after the shape's delay, ends no session that runs,
    /// and never binds the management account. Attaching the same again succeeds and keeps the first time.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown account.
    pub fn attach_quarantine(&mut self, account: AccountId, lock: &Lock) -> Result<(), CallError> {
        if self.account(account).is_none() {
            return Err(CallError::Gone);
        }
        self.settle_streams(Some(account));
        let now = self.now;
        if self.quarantined.get(&account).is_none_or(|(_, known)| known != lock) {
            self.quarantined.insert(account, (now, lock.clone()));
        }
        Ok(())
    }

    /// Detaches the quarantine policy at once. Detaching it again succeeds.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown account.
    pub fn detach_quarantine(&mut self, account: AccountId) -> Result<(), CallError> {
        if self.account(account).is_none() {
            return Err(CallError::Gone);
        }
        self.settle_streams(Some(account));
        self.quarantined.remove(&account);
        Ok(())
    }

    /// Accounts with a quarantine policy attached, whether it bites already or not, each with what it denies.
    pub fn quarantined(&self) -> BTreeMap<AccountId, Tier> {
        self.quarantined.iter().map(|(account, (_, lock))| (*account, lock.tier)).collect()
    }

    /// Whether an account's quarantine policy bites already.
    pub fn quarantine_bites(&self, account: AccountId) -> bool {
        let bound = self.account(account).is_some_and(|account| !account.management);
        let since = self.quarantined.get(&account).map(|(since, _)| since);
        bound && since.is_some_and(|since| since.plus_ms(self.shape.quarantine_delay_ms) <= self.now)
    }

    /// Whether it keeps this caller from what it denies.
    pub(crate) fn quarantine_denies(&self, account: AccountId, caller: &str) -> bool {
        let bound = self.quarantined.get(&account).is_some_and(|(_, lock)| {
            let same = |one: &Arc<str>| identity_of(one) == identity_of(caller);
            lock.tier != Tier::Principal || lock.principals.iter().any(same)
        });
        bound && self.quarantine_bites(account)
    }
}

/// The texts of the organisation's own policies.
#[derive(Clone, Debug)]
pub(crate) struct GuardTexts {
    full: Arc<str>,
    no_root_user: Arc<str>,
    quarantine: Arc<str>,
    rcp_full: Arc<str>,
}

impl GuardTexts {
    pub(crate) fn new() -> Self {
        Self {
            full: Arc::from(FULL_ACCESS),
            no_root_user: Arc::from(NO_ROOT_USER),
            quarantine: Arc::from(QUARANTINE),
            rcp_full: Arc::from(RCP_FULL_ACCESS),
        }
    }
}

/// An object of the log bucket with what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) object: LogObject,
    pub(crate) deleted: bool,
}
