//! The model of an organisation behind the endpoints of Session Manager's calls, with faults.
//!
//! It answers for what no server known answers: sessions, their log streams, and what Systems Manager knows of nodes.
//! Where it is given another server, it sends on what it does not answer, so that one endpoint has the sessions of the
//! model and the documents of moto.

mod answer;
mod forward;
mod model;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use serde_json::Value;
use sessionwarden_machine::ids::AccountId;
use sessionwarden_world::World;

use self::{answer::Accounts, forward::Forward};
use crate::in_process::InProcess;

/// What one call answers instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error with this status and code.
    Code(u16, &'static str),
    /// Nothing, for longer than anybody waits.
    Silence,
    /// A success that says nothing.
    Nonsense,
    /// A success of so many bytes.
    Long(usize),
}

/// How a server is made.
#[derive(Clone, Debug)]
pub struct SessionManagerSettings {
    /// The account of a caller whose key tells none.
    pub own: AccountId,
    /// How many sessions a page has at the most.
    pub page: usize,
    /// How long the credentials live that it gives out for `AssumeRole` itself.
    pub lifetime: Duration,
    /// What `DescribeInstanceInformation` knows; `None` for the nodes of the model.
    pub agents: Option<Vec<Value>>,
    /// The role of Default Host Management, as `GetServiceSetting` tells it.
    pub host_management: Option<String>,
    /// A server, moto, for the calls that the model does not answer.
    pub forward: Option<String>,
    /// The server, ministack, whose STS gave out the callers' credentials; `None` where they come from here.
    pub sts: Option<String>,
}

impl SessionManagerSettings {
    /// Pages of 50 sessions, credentials for an hour, the nodes of the model, no other server.
    pub fn new(own: AccountId) -> Self {
        Self {
            own,
            page: 50,
            lifetime: Duration::from_hours(1),
            agents: None,
            host_management: None,
            forward: None,
            sts: None,
        }
    }
}

#[derive(Default)]
struct Told {
    calls: BTreeMap<String, u32>,
    /// When each session's termination was first asked for.
    terminations: BTreeMap<Arc<str>, Instant>,
    /// What each action answers next, by its name.
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
}

struct Inner {
    world: Arc<Mutex<World>>,
    told: Mutex<Told>,
    settings: SessionManagerSettings,
    accounts: Accounts,
    forward: Option<Forward>,
}

impl Inner {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server; it ends with this value.
pub struct SessionManager {
    inner: Arc<Inner>,
    serving: InProcess,
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager").field("url", &self.serving.url).finish_non_exhaustive()
    }
}

impl SessionManager {
    /// Serves this organisation. Its time is moved by whoever else has it.
    ///
    /// # Errors
    /// No port, or no thread.
    pub fn start(world: &Arc<Mutex<World>>, settings: SessionManagerSettings) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            world: Arc::clone(world),
            told: Mutex::default(),
            accounts: Accounts::new(settings.sts.as_deref()),
            forward: settings.forward.as_deref().map(Forward::new).transpose()?,
            settings,
        });
        let app = Router::new().fallback(answer::answer).with_state(Arc::clone(&inner));
        let serving = InProcess::start(|listener| async { axum::serve(listener, app).await })?;
        Ok(Self { inner, serving })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.serving.url
    }

    /// How often an action was called.
    pub fn calls(&self, action: &str) -> u32 {
        self.inner.told().calls.get(action).copied().unwrap_or(0)
    }

    /// When each session's termination first came in and was done.
    pub fn terminations(&self) -> BTreeMap<Arc<str>, Instant> {
        self.inner.told().terminations.clone()
    }

    /// The next calls of this action answer like that, one after the other.
    pub fn fail(&self, action: &'static str, faults: &[Fault]) {
        self.inner.told().faults.entry(action).or_default().extend(faults);
    }
}
