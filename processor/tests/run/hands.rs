//! The demonstration organisation behind ports that can be told to fail, and that remember what was called.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use sessionwarden::{
    local::LocalOrganization,
    ports::{CallError, Logs, NodePosture, Organization, Posture, Sessions},
};
use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    session::{Described, Life, LogLook},
};

/// Which port is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    Describe,
    Active,
    Terminate,
    Node,
    Preferences,
    Look,
    Places,
    Lock,
    Unlock,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// It fails.
    Fails(CallError),
    /// It answers success and does nothing.
    Pretends,
}

type Script = dyn Fn(Port, Option<AccountId>, i64) -> Fate + Send + Sync;

/// One call that changes something: when (ms since the start), which, on what, and its fate.
pub(crate) type Call = (i64, Port, String, Fate);

#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) inner: LocalOrganization,
    script: Arc<Script>,
    /// Milliseconds since the start.
    pub(crate) clock: Arc<AtomicI64>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Hands {
    pub(crate) fn new(
        inner: LocalOrganization,
        script: impl Fn(Port, Option<AccountId>, i64) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self { inner, script: Arc::new(script), clock: Arc::default(), calls: Arc::default() }
    }

    /// Calls that would change something, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Those of one port.
    pub(crate) fn calls_of(&self, port: Port) -> Vec<Call> {
        self.calls().into_iter().filter(|(_, called, ..)| *called == port).collect()
    }

    fn fate(&self, port: Port, account: Option<AccountId>) -> Fate {
        (self.script)(port, account, self.clock.load(Ordering::Relaxed))
    }

    fn ask(&self, port: Port, account: AccountId) -> Result<(), CallError> {
        match self.fate(port, Some(account)) {
            Fate::Answered => Ok(()),
            Fate::Fails(error) => Err(error),
            Fate::Pretends => panic!("a question cannot be answered by pretending"),
        }
    }

    /// Whether the call is to go through.
    fn change(&self, port: Port, account: AccountId, what: String) -> Result<bool, CallError> {
        let fate = self.fate(port, Some(account));
        self.calls.lock().unwrap().push((self.clock.load(Ordering::Relaxed), port, what, fate));
        match fate {
            Fate::Answered => Ok(true),
            Fate::Pretends => Ok(false),
            Fate::Fails(error) => Err(error),
        }
    }
}

impl Sessions for Hands {
    async fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        self.ask(Port::Describe, account)?;
        self.inner.describe(account, region, sessions).await
    }

    async fn active(&self, account: AccountId, region: &str) -> Result<Vec<(SessionKey, Described)>, CallError> {
        self.ask(Port::Active, account)?;
        self.inner.active(account, region).await
    }

    async fn terminate(&self, session: &SessionKey) -> Result<(), CallError> {
        if self.change(Port::Terminate, session.account, session.to_string())? {
            self.inner.terminate(session).await?;
        }
        Ok(())
    }
}

impl Posture for Hands {
    async fn node(&self, account: AccountId, region: &str, node: &str) -> Result<NodePosture, CallError> {
        self.ask(Port::Node, account)?;
        self.inner.node(account, region, node).await
    }

    async fn preferences_as_wanted(&self, account: AccountId, region: &str) -> Result<Option<bool>, CallError> {
        self.ask(Port::Preferences, account)?;
        self.inner.preferences_as_wanted(account, region).await
    }
}

impl Logs for Hands {
    async fn look(&self, session: &SessionKey) -> Result<LogLook, CallError> {
        self.ask(Port::Look, session.account)?;
        self.inner.look(session).await
    }
}

impl Organization for Hands {
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        match self.fate(Port::Places, None) {
            Fate::Fails(error) => Err(error),
            Fate::Answered | Fate::Pretends => self.inner.places().await,
        }
    }

    async fn lock(&self, account: AccountId) -> Result<(), CallError> {
        if self.change(Port::Lock, account, account.to_string())? {
            self.inner.lock(account).await?;
        }
        Ok(())
    }

    async fn unlock(&self, account: AccountId) -> Result<(), CallError> {
        if self.change(Port::Unlock, account, account.to_string())? {
            self.inner.unlock(account).await?;
        }
        Ok(())
    }
}
