//! The organisation, as one worker reaches it: slow, throttled, denied, out of date, or silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use sessionwarden::ports::{
    CallError, Documents, Identities, LockError, LogPlaces, Logs, Nodes, Organization, Repairs, RestoreError, Sessions,
};
use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, Now, SessionKey},
    incident::Restore,
    posture::{Bucket, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who},
    session::{Described, Life},
    settings::Tier,
};

use super::{
    chance::Fault,
    host::SimHost,
    reference::Happened,
    sim::{Sim, lock},
    watch,
};

/// How old a stale answer is at the most, in milliseconds.
const STALE_MS_MAX: i64 = 10_000;
/// How long an answer that was not what it should be may show in verdicts, in milliseconds.
const TOUCHED_MS: i64 = 60_000;

/// What a role was before its last change, as far as somebody looked at it, and what it is.
type Change = (Option<Identity>, Identity);

/// The organisation.
pub struct SimHands {
    host: Arc<SimHost>,
    /// Credentials that do not work any more.
    expired: Mutex<BTreeMap<AccountId, Now>>,
    roles: Mutex<BTreeMap<(AccountId, Who), Change>>,
}

type Answer<T> = Result<T, CallError>;

impl SimHands {
    /// The hands of one life of a worker.
    pub fn new(host: Arc<SimHost>) -> Self {
        Self { host, expired: Mutex::default(), roles: Mutex::default() }
    }

    fn sim(&self) -> &Sim {
        &self.host.sim
    }

    /// The way into an account, with all that can go wrong on it.
    async fn reach(&self, account: Option<AccountId>, region: Option<&str>) -> Answer<()> {
        self.host.way().await;
        let sim = self.sim();
        let (denied, silent) = {
            let (troubles, now) = (lock(&sim.troubles), sim.now());
            let holds = |until: Option<&Now>| until.is_some_and(|until| now < *until);
            let denied = account.is_some_and(|account| holds(troubles.denied.get(&account)));
            let slow = account.is_some_and(|account| holds(troubles.slow.get(&account)));
            (denied, slow || region.is_some_and(|region| holds(troubles.regions.get(region))))
        };
        let touch = || account.into_iter().for_each(|account| sim.touch(account, sim.now().plus_ms(TOUCHED_MS)));
        if denied || silent {
            touch();
        }
        if silent {
            std::future::pending::<()>().await;
        }
        if denied {
            return Err(CallError::Denied);
        }
        if let Some(account) = account {
            if let Some(drawn) = sim.happens(Fault::StsExpired) {
                let until = sim.now().plus_ms(1_000 + (drawn % 20_000) as i64);
                lock(&self.expired).insert(account, until);
            }
            if lock(&self.expired).get(&account).is_some_and(|until| sim.now() < *until) {
                touch();
                return Err(CallError::Denied);
            }
        }
        if let Some(drawn) = sim.happens(Fault::CallSlow) {
            touch();
            tokio::time::sleep(Duration::from_millis(500 + drawn % 8_000)).await;
        }
        if sim.happens(Fault::CallHangs).is_some() {
            touch();
            std::future::pending::<()>().await;
        }
        for (fault, error) in [(Fault::CallThrottled, CallError::Throttled), (Fault::CallFails, CallError::Unknown)] {
            if sim.happens(fault).is_some() {
                touch();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The way to AWS Organizations.
    async fn change(&self, account: AccountId) -> Result<(), LockError> {
        self.reach(None, None).await?;
        if self.sim().happens(Fault::OrgConflict).is_some() {
            return Err(LockError::Conflict);
        }
        let full = lock(&self.sim().troubles).full.get(&account).copied();
        if full.is_some_and(|until| self.sim().now() < until) {
            return Err(LockError::Hopeless("the account has as many policies as it may".into()));
        }
        self.host.may_die(Fault::CrashInQuarantine).await;
        Ok(())
    }

    async fn answer(&self) -> Result<(), LockError> {
        self.host.may_die(Fault::CrashInQuarantine).await;
        self.host.way().await;
        match self.sim().happens(Fault::OrgAnswerLost) {
            None => Ok(()),
            Some(_) => Err(CallError::Unknown.into()),
        }
    }

    /// A session as it was some seconds ago.
    fn stale(&self, life: Life, key: &SessionKey, stale_ms: i64) -> Life {
        let Life::Ended(at) = life else { return life };
        let before = self.sim().now().plus_ms(-stale_ms).as_event_time();
        let described = self.sim().organization.with(|world| world.describe_session(key));
        match described {
            Some(session) if at > before => Life::Alive(Described {
                started_at: session.started,
                owner: session.owner,
                target: session.target,
                document: session.document,
                reason: session.reason,
                access_type: "Standard".into(),
            }),
            Some(_) | None => Life::Ended(at),
        }
    }
}

impl Sessions for SimHands {
    async fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Answer<BTreeMap<SessionKey, Life>> {
        self.reach(Some(account), Some(region)).await?;
        let mut lives = self.sim().organization.describe(account, region, sessions).await?;
        if let Some(drawn) = self.sim().happens(Fault::StaleDescribe) {
            let stale_ms = 1 + (drawn % STALE_MS_MAX.unsigned_abs()) as i64;
            lives = lives.into_iter().map(|(key, life)| (key.clone(), self.stale(life, &key, stale_ms))).collect();
        }
        self.host.note(format_args!("is told of {} sessions of {account} {region}", lives.len()));
        watch::shown(self.sim(), &lives);
        Ok(lives)
    }

    async fn active(&self, account: AccountId, region: &str) -> Answer<Vec<(SessionKey, Described)>> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.active(account, region).await
    }

    async fn terminate(&self, session: &SessionKey) -> Answer<()> {
        self.reach(Some(session.account), Some(&session.region)).await?;
        let sim = self.sim();
        watch::terminates(sim, session);
        if sim.happens(Fault::TerminatePretends).is_some() {
            sim.touch(session.account, sim.now().plus_ms(TOUCHED_MS));
            return Ok(());
        }
        let alive = sim.organization.with(|world| world.describe_session(session)).is_some_and(|it| it.ended.is_none());
        sim.organization.with(|world| world.advance_to(sim.now()));
        let answer = sim.organization.terminate(session).await;
        self.host.note(format_args!("terminates {session}: {answer:?}"));
        if alive {
            sim.happened(&Happened::Ended { key: session.clone(), forced: true });
        }
        self.host.may_die(Fault::CrashAfterEffect).await;
        if sim.happens(Fault::TerminateTimesOut).is_some() {
            sim.touch(session.account, sim.now().plus_ms(TOUCHED_MS));
            std::future::pending::<()>().await;
        }
        answer
    }
}

impl Nodes for SimHands {
    async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Answer<BTreeMap<Arc<str>, Node>> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.nodes(account, region, nodes).await
    }

    async fn network(&self, account: AccountId, region: &str, network: &str) -> Answer<Network> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.network(account, region, network).await
    }

    async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Answer<Cluster> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.cluster(account, region, cluster).await
    }
}

impl Identities for SimHands {
    async fn identity(&self, account: AccountId, who: &Who) -> Answer<Identity> {
        self.reach(Some(account), None).await?;
        let now = self.sim().now();
        if lock(&self.sim().troubles).iam.get(&account).is_some_and(|until| now < *until) {
            self.sim().touch(account, now.plus_ms(TOUCHED_MS));
            return Err(CallError::Denied);
        }
        let identity = self.sim().organization.identity(account, who).await?;
        watch::shown_role(self.sim(), account, who);
        let mut roles = lock(&self.roles);
        let known = roles.entry((account, who.clone())).or_insert_with(|| (None, identity.clone()));
        if known.1 != identity {
            known.0 = Some(std::mem::replace(&mut known.1, identity.clone()));
        }
        let changed = match who {
            Who::Role(role) => lock(&self.sim().troubles).roles_changed.get(&(account, Arc::clone(role))).copied(),
            Who::User(_) => None,
        };
        // Only what has just changed can be told of as it was.
        let is_fresh = changed.is_some_and(|at| now < at.plus_ms(STALE_MS_MAX));
        let before = known.0.clone().filter(|_| is_fresh);
        drop(roles);
        match before {
            Some(before) if self.sim().happens(Fault::StaleIam).is_some() => Ok(before),
            Some(_) | None => Ok(identity),
        }
    }

    async fn guards(&self, account: AccountId) -> Answer<Guards> {
        self.reach(None, None).await?;
        self.sim().organization.guards(account).await
    }
}

impl Documents for SimHands {
    async fn document(&self, account: AccountId, region: &str, document: &str) -> Answer<Document> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.document(account, region, document).await
    }
}

impl LogPlaces for SimHands {
    async fn bucket(&self, bucket: &str) -> Answer<Bucket> {
        self.reach(None, None).await?;
        self.sim().organization.bucket(bucket).await
    }

    async fn key(&self, account: AccountId, region: &str, key: &str) -> Answer<Key> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.key(account, region, key).await
    }
}

impl Logs for SimHands {
    async fn object(&self, bucket: &str, key: &str) -> Answer<Option<LogObject>> {
        self.reach(None, None).await?;
        self.sim().organization.object(bucket, key).await
    }

    async fn stream(&self, account: AccountId, region: &str, group: &str, stream: &str) -> Answer<Option<LogStream>> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.stream(account, region, group, stream).await
    }
}

impl Repairs for SimHands {
    async fn restore(
        &self,
        account: AccountId,
        region: &str,
        restore: Restore,
        thing: &str,
        parts: &BTreeSet<&'static str>,
        act: bool,
    ) -> Result<Vec<Arc<str>>, RestoreError> {
        self.reach(Some(account), Some(region)).await?;
        self.sim().organization.restore(account, region, restore, thing, parts, act).await
    }
}

impl Organization for SimHands {
    async fn places(&self) -> Answer<(Vec<AccountId>, Vec<Arc<str>>)> {
        self.reach(None, None).await?;
        self.sim().organization.places().await
    }

    async fn lock(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
        self.change(account).await?;
        let sim = self.sim();
        watch::locks(sim, account, lock.tier);
        sim.organization.with(|world| world.advance_to(sim.now()));
        sim.organization.lock(account, lock).await?;
        self.host.note(format_args!("attaches tier {} to {account}", lock.tier.as_str()));
        sim.happened(&Happened::Locked { account });
        self.answer().await
    }

    async fn unlock(&self, account: AccountId) -> Result<(), LockError> {
        self.change(account).await?;
        self.sim().organization.unlock(account).await?;
        self.host.note(format_args!("detaches from {account}"));
        self.sim().happened(&Happened::Unlocked { account });
        self.answer().await
    }

    async fn locks(&self) -> Answer<BTreeMap<AccountId, Tier>> {
        self.reach(None, None).await?;
        self.sim().organization.locks().await
    }

    async fn bites(&self, account: AccountId) -> Answer<bool> {
        self.reach(Some(account), None).await?;
        self.sim().organization.bites(account).await
    }
}
