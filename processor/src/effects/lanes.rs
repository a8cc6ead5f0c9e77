//! Calls side by side, none for longer than is allowed: what does not answer keeps nobody else waiting (I13).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sessionwarden_machine::{ids::AccountId, posture::CallError, settings::Settings};
use tokio::sync::Semaphore;

/// How many calls are under way in one lane at one time.
const CALLS_AT_ONCE_MAX: usize = 16;
/// After how many calls without an answer in time nothing more is called in a lane.
const TIMEOUTS_MAX: u32 = 2;

/// How long one call may take.
pub(crate) fn limit_of(settings: &Settings) -> Duration {
    Duration::from_millis(u64::try_from(settings.call_ms_max).unwrap_or_default())
}

/// A call, or [`CallError::Unknown`] once `limit` has passed.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(CallError::Unknown))
}

/// Which calls wait for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Those to an account.
    Account(AccountId),
    /// Those about the logs of an account's sessions: there is one for each session, and who keeps logs is somebody else.
    Logs(AccountId),
    /// Those about the log bucket.
    Bucket,
    /// Those that change the organisation: AWS Organizations takes one at a time.
    Organization,
}

impl Lane {
    fn calls_at_once_max(self) -> usize {
        match self {
            Self::Account(_) | Self::Logs(_) | Self::Bucket => CALLS_AT_ONCE_MAX,
            Self::Organization => 1,
        }
    }
}

struct State {
    permits: Semaphore,
    timeouts: AtomicU32,
}

impl State {
    fn is_silent(&self) -> bool {
        self.timeouts.load(Ordering::Relaxed) >= TIMEOUTS_MAX
    }
}

/// One round of calls: so many at once in each lane, and none any more in one that has kept us waiting.
pub(crate) struct Lanes {
    limit: Duration,
    states: Mutex<BTreeMap<Lane, Arc<State>>>,
}

impl Lanes {
    /// Lanes in which no call lasts longer than `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, states: Mutex::default() }
    }

    fn state(&self, lane: Lane) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || State { permits: Semaphore::new(lane.calls_at_once_max()), timeouts: AtomicU32::new(0) };
        Arc::clone(states.entry(lane).or_insert_with(|| Arc::new(fresh())))
    }

    /// Nothing more is called in this lane.
    pub(crate) fn is_silent(&self, lane: Lane) -> bool {
        self.state(lane).is_silent()
    }

    /// Makes a call when its lane has room for it; `what` it is about is for the log. [`CallError::Unknown`] where it has
    /// no answer in time, or is not made because others had none.
    pub(crate) async fn call<T>(
        &self,
        lane: Lane,
        what: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let state = self.state(lane);
        let Ok(_permit) = state.permits.acquire().await else {
            return Err(CallError::Unknown);
        };
        if state.is_silent() {
            return Err(CallError::Unknown);
        }
        let answer = match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer,
            Err(_) => {
                state.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(CallError::Unknown)
            }
        };
        if let Err(error) = &answer {
            tracing::warn!(?lane, "{what}: {error}");
        }
        answer
    }
}
