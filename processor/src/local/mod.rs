//! The organisation on this machine: the model answers the ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessionwarden_machine::{
    ids::{AccountId, Now, SessionKey},
    session::{Described, Life, LogLook, LogSeen},
    settings::Settings,
};
use sessionwarden_world::{Demonstration, OrganisationShape, SessionDescription, World};

use crate::ports::{CallError, Logs, NodePosture, Organization, Posture, Sessions};

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
    let world = Arc::new(Mutex::new(World::new(OrganisationShape::quick(), seed, start)));
    let source = DemonstrationSource { world: Arc::clone(&world), script: Demonstration::new(seed, start) };
    (LocalOrganization { world }, source)
}

/// Quick motion: what takes minutes in an organisation takes seconds in the demonstration.
pub fn quicken(settings: &mut Settings) {
    settings.recheck_ms = 2_000;
    settings.settle_ms = 500;
    settings.log_first_look_ms = 1_000;
    settings.log_wait_ms_max = 12_000;
    settings.terminate_confirm_ms_max = 10_000;
    settings.quarantine.duration_ms = 15_000;
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
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is known of the organisation: the unit of each account, and that the management account and the log
    /// archive are never locked.
    pub fn settle_in(&self, settings: &mut Settings) {
        for account in self.world().accounts() {
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
        access_type: Arc::from("Standard"),
    }
}

fn call_error(error: sessionwarden_world::CallError) -> CallError {
    match error {
        sessionwarden_world::CallError::Throttled => CallError::Throttled,
        sessionwarden_world::CallError::Denied => CallError::Denied,
        sessionwarden_world::CallError::Gone => CallError::Gone,
        sessionwarden_world::CallError::Unknown => CallError::Unknown,
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
        world.terminate_session(&*warden.ok_or(CallError::Gone)?, session).map_err(call_error)
    }
}

impl Posture for LocalOrganization {
    async fn node(&self, account: AccountId, region: &str, node: &str) -> Result<NodePosture, CallError> {
        let posture = self.world().node_posture(account, region, node);
        Ok(NodePosture { role: posture.role, log_writable: posture.log_writable })
    }

    async fn preferences_as_wanted(&self, account: AccountId, region: &str) -> Result<Option<bool>, CallError> {
        Ok(self.world().preferences_as_wanted(account, region))
    }
}

impl Logs for LocalOrganization {
    async fn look(&self, session: &SessionKey) -> Result<LogLook, CallError> {
        Ok(match self.world().session_log(session) {
            // An empty object is no log.
            Some(log) if log.size > 0 => LogLook::Found(LogSeen { written_at: log.written_at, size_bytes: log.size }),
            Some(_) | None => LogLook::Absent,
        })
    }
}

impl Organization for LocalOrganization {
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        let world = self.world();
        Ok((world.accounts().iter().map(|account| account.id).collect(), world.regions().to_vec()))
    }

    async fn lock(&self, account: AccountId) -> Result<(), CallError> {
        self.world().attach_quarantine(account).map_err(call_error)
    }

    async fn unlock(&self, account: AccountId) -> Result<(), CallError> {
        self.world().detach_quarantine(account).map_err(call_error)
    }
}
