//! The demonstration organisation behind ports that can be told to fail, and that remember what was called.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sessionwarden::{
    local::LocalOrganization,
    ports::{
        CallError, Documents, Identities, LockError, LogPlaces, Logs, Nodes, Organization, Repairs, RestoreError,
        Sessions,
    },
};
use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, SessionKey},
    incident::Restore,
    posture::{Bucket, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who},
    session::{Described, Life},
    settings::Tier,
};

/// Which port is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    Describe,
    Active,
    Terminate,
    Nodes,
    Network,
    Cluster,
    Identity,
    Guards,
    Document,
    Bucket,
    Key,
    Object,
    Stream,
    Places,
    Lock,
    Unlock,
    Locks,
    Bites,
    Restore,
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
    /// It is answered after so many milliseconds.
    Late(u64),
    /// It never answers.
    Hangs,
}

type Script = dyn Fn(Port, Option<AccountId>, i64) -> Fate + Send + Sync;

/// One question: which port, in whose account, about what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    /// Milliseconds since the start.
    pub(crate) at_ms: i64,
    pub(crate) port: Port,
    pub(crate) account: Option<AccountId>,
    pub(crate) about: String,
}

/// One call that changes something: when (ms since the start), which, on what, and its fate.
pub(crate) type Call = (i64, Port, String, Fate);

#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) inner: LocalOrganization,
    script: Arc<Script>,
    /// Milliseconds since the start.
    pub(crate) clock: Arc<AtomicI64>,
    calls: Arc<Mutex<Vec<Call>>>,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Hands {
    pub(crate) fn new(
        inner: LocalOrganization,
        script: impl Fn(Port, Option<AccountId>, i64) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self { inner, script: Arc::new(script), clock: Arc::default(), calls: Arc::default(), asked: Arc::default() }
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

    async fn ask(
        &self,
        port: Port,
        account: impl Into<Option<AccountId>>,
        about: impl Display + Send,
    ) -> Result<(), CallError> {
        let (account, at_ms) = (account.into(), self.clock.load(Ordering::Relaxed));
        self.asked.lock().unwrap().push(Question { at_ms, port, account, about: about.to_string() });
        match self.fate(port, account) {
            Fate::Answered => Ok(()),
            Fate::Fails(error) => Err(error),
            Fate::Late(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            Fate::Pretends => panic!("a question cannot be answered by pretending"),
            Fate::Hangs => std::future::pending().await,
        }
    }

    /// How many questions each port was asked since they were last taken.
    pub(crate) fn asked(&self) -> BTreeMap<Port, usize> {
        let mut counts = BTreeMap::new();
        for question in self.asked.lock().unwrap().iter() {
            *counts.entry(question.port).or_default() += 1;
        }
        counts
    }

    /// The questions since they were last taken, in order.
    pub(crate) fn take_asked(&self) -> Vec<Question> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Whether the call is to go through.
    async fn change(&self, port: Port, account: AccountId, what: String) -> Result<bool, CallError> {
        let fate = self.fate(port, Some(account));
        self.calls.lock().unwrap().push((self.clock.load(Ordering::Relaxed), port, what, fate));
        match fate {
            Fate::Answered => Ok(true),
            Fate::Late(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(true)
            }
            Fate::Pretends => Ok(false),
            Fate::Fails(error) => Err(error),
            Fate::Hangs => std::future::pending().await,
        }
    }
}

/// Several things, one after the other.
struct Listed<'a, T>(&'a BTreeSet<T>);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|one| write!(f, "{one} "))
    }
}

impl Sessions for Hands {
    async fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        self.ask(Port::Describe, account, Listed(sessions)).await?;
        self.inner.describe(account, region, sessions).await
    }

    async fn active(&self, account: AccountId, region: &str) -> Result<Vec<(SessionKey, Described)>, CallError> {
        self.ask(Port::Active, account, region).await?;
        self.inner.active(account, region).await
    }

    async fn terminate(&self, session: &SessionKey) -> Result<(), CallError> {
        if self.change(Port::Terminate, session.account, session.to_string()).await? {
            self.inner.terminate(session).await?;
        }
        Ok(())
    }
}

impl Nodes for Hands {
    async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Node>, CallError> {
        self.ask(Port::Nodes, account, Listed(nodes)).await?;
        self.inner.nodes(account, region, nodes).await
    }

    async fn network(&self, account: AccountId, region: &str, network: &str) -> Result<Network, CallError> {
        self.ask(Port::Network, account, network).await?;
        self.inner.network(account, region, network).await
    }

    async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Result<Cluster, CallError> {
        self.ask(Port::Cluster, account, cluster).await?;
        self.inner.cluster(account, region, cluster).await
    }
}

impl Identities for Hands {
    async fn identity(&self, account: AccountId, who: &Who) -> Result<Identity, CallError> {
        self.ask(Port::Identity, account, format!("{who:?}")).await?;
        self.inner.identity(account, who).await
    }

    async fn guards(&self, account: AccountId) -> Result<Guards, CallError> {
        self.ask(Port::Guards, account, account).await?;
        self.inner.guards(account).await
    }
}

impl Documents for Hands {
    async fn document(&self, account: AccountId, region: &str, document: &str) -> Result<Document, CallError> {
        self.ask(Port::Document, account, document).await?;
        self.inner.document(account, region, document).await
    }
}

impl LogPlaces for Hands {
    async fn bucket(&self, bucket: &str) -> Result<Bucket, CallError> {
        self.ask(Port::Bucket, None, bucket).await?;
        self.inner.bucket(bucket).await
    }

    async fn key(&self, account: AccountId, region: &str, key: &str) -> Result<Key, CallError> {
        self.ask(Port::Key, account, key).await?;
        self.inner.key(account, region, key).await
    }
}

impl Logs for Hands {
    async fn object(&self, bucket: &str, key: &str) -> Result<Option<LogObject>, CallError> {
        self.ask(Port::Object, None, key).await?;
        self.inner.object(bucket, key).await
    }

    async fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        self.ask(Port::Stream, account, stream).await?;
        self.inner.stream(account, region, group, stream).await
    }
}

impl Repairs for Hands {
    async fn restore(
        &self,
        account: AccountId,
        region: &str,
        restore: Restore,
        thing: &str,
        parts: &BTreeSet<&'static str>,
        act: bool,
    ) -> Result<Vec<Arc<str>>, RestoreError> {
        if !act {
            self.ask(Port::Restore, account, thing).await?;
            return self.inner.restore(account, region, restore, thing, parts, act).await;
        }
        if self.change(Port::Restore, account, format!("{} {thing}", restore.as_str())).await? {
            return self.inner.restore(account, region, restore, thing, parts, act).await;
        }
        Ok(Vec::new())
    }
}

impl Organization for Hands {
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        self.ask(Port::Places, None, "").await?;
        self.inner.places().await
    }

    async fn lock(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
        if self.change(Port::Lock, account, format!("{account} {}", lock.tier.as_str())).await? {
            self.inner.lock(account, lock).await?;
        }
        Ok(())
    }

    async fn locks(&self) -> Result<BTreeMap<AccountId, Tier>, CallError> {
        self.ask(Port::Locks, None, "").await?;
        self.inner.locks().await
    }

    async fn bites(&self, account: AccountId) -> Result<bool, CallError> {
        self.ask(Port::Bites, account, "").await?;
        self.inner.bites(account).await
    }

    async fn unlock(&self, account: AccountId) -> Result<(), LockError> {
        if self.change(Port::Unlock, account, account.to_string()).await? {
            self.inner.unlock(account).await?;
        }
        Ok(())
    }
}
