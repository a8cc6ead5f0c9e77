//! The organisation on this machine: the model answers the ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, Now, SessionKey},
    incident::Restore,
    posture::{Bucket, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who},
    session::{Described, Life},
    settings::{Settings, Tier},
};
use sessionwarden_world::{
    Change, Demonstration, OrganisationShape, SessionDescription, World,
    texts::{NODE_TAG, REASON_UNIT, THIRD_PARTY_ROLE, THIRD_PARTY_TAG},
};

use crate::ports::{
    CallError, Documents, Identities, LockError, LogPlaces, Logs, Nodes, Organization, Repairs, RestoreError, Sessions,
};

/// A model of an organisation behind the ports, with the demonstration that moves it.
#[derive(Clone)]
pub struct LocalOrganization {
    world: Arc<Mutex<World>>,
}

/// Moves the model, and delivers the events that this causes.
pub struct DemonstrationSource {
    world: Arc<Mutex<World>>,
    script: Demonstration,
}

/// The demonstration organisation: equal seeds give equal organisations.
pub fn demonstration(seed: u64, start: Now) -> (LocalOrganization, DemonstrationSource) {
    let organization = LocalOrganization::new(World::new(OrganisationShape::quick(), seed, start));
    let source =
        DemonstrationSource { world: Arc::clone(&organization.world), script: Demonstration::new(seed, start) };
    (organization, source)
}

/// Quick motion: what takes minutes in an organisation takes seconds in the demonstration.
pub fn quicken(settings: &mut Settings) {
    settings.recheck_ms = 2_000;
    settings.settle_ms = 500;
    settings.log_first_look_ms = 1_000;
    settings.log_wait_ms_max = 12_000;
    settings.terminate_confirm_ms_max = 10_000;
    settings.quarantine.duration_ms = 15_000;
    settings.quarantine.compare_ms = 3_000;
    settings.quarantine.settle_ms = 2_000;
    settings.quarantine.bite_ms_max = 10_000;
}

impl DemonstrationSource {
    /// Lets time pass up to `now`, and returns the events in the order of their delivery.
    pub fn step(&mut self, now: Now) -> Vec<Vec<u8>> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        self.script.step(&mut world, now);
        world.drain_events()
    }
}

impl LocalOrganization {
    /// The organisation that this model is.
    pub fn new(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Looks at the model, or moves it. Ports that are asked meanwhile wait.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is known of the organisation: the unit of each account, that the management account and the log
    /// archive are never locked, and what sessions must rest on.
    pub fn settle_in(&self, settings: &mut Settings) {
        let world = self.world();
        settings.own_names.extend(world.key_ids().map(Arc::from));
        let posture = &mut settings.posture;
        posture.preferences = world.wanted_preferences();
        posture.log_archive_account = Some(world.log_archive());
        posture.node_tags = BTreeMap::from([(Arc::from(NODE_TAG.0), BTreeSet::from([Arc::from(NODE_TAG.1)]))]);
        posture.third_party_roles = vec![Arc::from(THIRD_PARTY_ROLE)];
        posture.third_party_tag = Arc::from(THIRD_PARTY_TAG.0);
        posture.run_as_roles = vec![Arc::from(THIRD_PARTY_ROLE)];
        posture.reason_units = BTreeSet::from([Arc::from(REASON_UNIT)]);
        settings.management_account = world.accounts().iter().find(|account| account.management).map(|it| it.id);
        for account in world.accounts() {
            settings.units.insert(account.id, Arc::clone(&account.unit));
            if account.management || account.log_archive {
                settings.quarantine.exempt.insert(account.id);
            }
        }
    }
}

fn described(session: &SessionDescription) -> Described {
    Described {
        started_at: session.started,
        owner: Arc::clone(&session.owner),
        target: Arc::clone(&session.target),
        document: Arc::clone(&session.document),
        reason: session.reason.clone(),
        access_type: Arc::from(if session.just_in_time { "JustInTime" } else { "Standard" }),
    }
}

impl Sessions for LocalOrganization {
    async fn describe(
        &self,
        _account: AccountId,
        _region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        let world = self.world();
        let life = |key: &SessionKey| match world.describe_session(key) {
            None => Life::Unknown,
            Some(session) => session.ended.map_or_else(|| Life::Alive(described(&session)), Life::Ended),
        };
        Ok(sessions.iter().map(|key| (key.clone(), life(key))).collect())
    }

    async fn active(&self, account: AccountId, region: &str) -> Result<Vec<(SessionKey, Described)>, CallError> {
        let active = self.world().active_sessions(account, region);
        Ok(active.iter().map(|session| (session.key.clone(), described(session))).collect())
    }

    async fn terminate(&self, session: &SessionKey) -> Result<(), CallError> {
        let mut world = self.world();
        let warden = world.account(session.account).map(|account| Arc::clone(&account.warden));
        world.terminate_session(&*warden.ok_or(CallError::Gone)?, session)
    }
}

impl Nodes for LocalOrganization {
    async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Node>, CallError> {
        let world = self.world();
        let known = |node: &Arc<str>| world.node(account, region, node).map(|found| (Arc::clone(node), found));
        Ok(nodes.iter().filter_map(known).collect())
    }

    async fn network(&self, _account: AccountId, _region: &str, network: &str) -> Result<Network, CallError> {
        self.world().network(network)
    }

    async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Result<Cluster, CallError> {
        self.world().cluster(account, region, cluster)
    }
}

impl Identities for LocalOrganization {
    async fn identity(&self, account: AccountId, who: &Who) -> Result<Identity, CallError> {
        self.world().identity(account, who)
    }

    async fn guards(&self, account: AccountId) -> Result<Guards, CallError> {
        self.world().guards(account)
    }
}

impl Documents for LocalOrganization {
    async fn document(&self, account: AccountId, region: &str, document: &str) -> Result<Document, CallError> {
        self.world().document(account, region, document)
    }
}

impl LogPlaces for LocalOrganization {
    async fn bucket(&self, bucket: &str) -> Result<Bucket, CallError> {
        self.world().bucket(bucket)
    }

    async fn key(&self, account: AccountId, region: &str, key: &str) -> Result<Key, CallError> {
        self.world().key(account, region, key)
    }
}

impl Logs for LocalOrganization {
    async fn object(&self, bucket: &str, key: &str) -> Result<Option<LogObject>, CallError> {
        self.world().object(bucket, key)
    }

    async fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        self.world().stream(account, region, group, stream)
    }
}

impl Repairs for LocalOrganization {
    /// The model has keys, which can be disabled; of anything else it knows nothing.
    async fn restore(
        &self,
        account: AccountId,
        region: &str,
        restore: Restore,
        thing: &str,
        parts: &BTreeSet<&'static str>,
        act: bool,
    ) -> Result<Vec<Arc<str>>, RestoreError> {
        if restore != Restore::Key || parts.iter().any(|part| *part != "enabled") {
            return Err(RestoreError::Hopeless("the model organisation has no such thing".into()));
        }
        let mut world = self.world();
        if world.key(account, region, thing)?.enabled {
            return Ok(Vec::new());
        }
        if act {
            let warden = world.account(account).map(|account| Arc::clone(&account.warden)).ok_or(CallError::Gone)?;
            world.change(&warden, region, &Change::EnableKey { key: thing.into() })?;
        }
        Ok(vec!["enabled".into()])
    }
}

impl Organization for LocalOrganization {
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        let world = self.world();
        Ok((world.accounts().iter().map(|account| account.id).collect(), world.regions().to_vec()))
    }

    async fn lock(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
        Ok(self.world().attach_quarantine(account, lock)?)
    }

    async fn unlock(&self, account: AccountId) -> Result<(), LockError> {
        Ok(self.world().detach_quarantine(account)?)
    }

    async fn locks(&self) -> Result<BTreeMap<AccountId, Tier>, CallError> {
        Ok(self.world().quarantined())
    }

    async fn bites(&self, account: AccountId) -> Result<bool, CallError> {
        Ok(self.world().quarantine_bites(account))
    }
}
