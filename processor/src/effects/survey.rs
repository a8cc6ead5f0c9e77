//! Asks an organisation what sessions rest on: each question once, however many sessions need its answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    posture::{
        Asked, Bucket, CallError, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who,
    },
    session::{Described, Life},
};
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::lanes::{Lane, Lanes};
use crate::ports::Hands;

/// Answers that are asked for once.
struct Once<K, T>(Mutex<BTreeMap<K, Arc<OnceCell<Asked<T>>>>>);

impl<K: Ord, T> Once<K, T> {
    fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Asks on the heap: what is handed on by value takes its room at each station.
    async fn get<'a>(&self, key: K, ask: impl FnOnce() -> BoxFuture<'a, Result<T, CallError>>) -> Asked<T> {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        cell.get_or_init(async || ask().await.map(Arc::new)).await.clone()
    }
}

type Place = (AccountId, Arc<str>, Arc<str>);

/// One survey: what was asked during it is not asked again.
pub(crate) struct Survey<'h, H> {
    hands: &'h H,
    lanes: Lanes,
    identities: Once<(AccountId, Who), Identity>,
    guards: Once<AccountId, Guards>,
    documents: Once<Place, Document>,
    buckets: Once<Arc<str>, Bucket>,
    keys: Once<Place, Key>,
    networks: Once<Place, Network>,
    clusters: Once<Place, Cluster>,
}

impl<'h, H: Hands> Survey<'h, H> {
    /// A survey in which no call lasts longer than `limit`.
    pub(crate) fn new(hands: &'h H, limit: Duration) -> Self {
        Self {
            hands,
            lanes: Lanes::new(limit),
            identities: Once::new(),
            guards: Once::new(),
            documents: Once::new(),
            buckets: Once::new(),
            keys: Once::new(),
            networks: Once::new(),
            clusters: Once::new(),
        }
    }

    /// A call on behalf of one account's sessions.
    async fn call<T>(
        &self,
        account: AccountId,
        what: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        self.lanes.call(Lane::Account(account), what, call).await
    }

    pub(crate) async fn lives(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        self.call(account, "the sessions' descriptions", self.hands.describe(account, region, sessions)).await
    }

    /// All sessions that are alive in these accounts and regions, asked side by side.
    pub(crate) async fn active(&self, accounts: &[AccountId], regions: &[Arc<str>]) -> Vec<(SessionKey, Described)> {
        let places = accounts.iter().flat_map(|account| regions.iter().map(move |region| (*account, region)));
        let asked = places.map(async |(account, region)| {
            let span = tracing::info_span!("reconcile", %account, %region);
            let active = self.hands.active(account, region);
            self.call(account, "active sessions", active).instrument(span).await.unwrap_or_default()
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    pub(crate) async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Arc<Node>>, CallError> {
        let found = self.call(account, "the nodes", self.hands.nodes(account, region, nodes)).await?;
        Ok(found.into_iter().map(|(id, node)| (id, Arc::new(node))).collect())
    }

    pub(crate) async fn identity(&self, account: AccountId, who: &Who) -> Asked<Identity> {
        let ask = || self.call(account, "a role's or user's policies", self.hands.identity(account, who)).boxed();
        self.identities.get((account, who.clone()), ask).await
    }

    pub(crate) async fn guards(&self, account: AccountId) -> Asked<Guards> {
        let ask = || self.call(account, "the organisation's policies", self.hands.guards(account)).boxed();
        self.guards.get(account, ask).await
    }

    pub(crate) async fn document(&self, account: AccountId, region: &Arc<str>, document: &Arc<str>) -> Asked<Document> {
        let ask = || self.call(account, "a document", self.hands.document(account, region, document)).boxed();
        self.documents.get((account, Arc::clone(region), Arc::clone(document)), ask).await
    }

    pub(crate) async fn bucket(&self, bucket: &Arc<str>) -> Asked<Bucket> {
        let ask = || self.lanes.call(Lane::Bucket, "the log bucket", self.hands.bucket(bucket)).boxed();
        self.buckets.get(Arc::clone(bucket), ask).await
    }

    pub(crate) async fn key(&self, account: AccountId, region: &Arc<str>, key: &Arc<str>) -> Asked<Key> {
        let ask = || self.call(account, "a key", self.hands.key(account, region, key)).boxed();
        self.keys.get((account, Arc::clone(region), Arc::clone(key)), ask).await
    }

    pub(crate) async fn network(&self, account: AccountId, region: &Arc<str>, network: &Arc<str>) -> Asked<Network> {
        let ask = || self.call(account, "a network's endpoints", self.hands.network(account, region, network)).boxed();
        self.networks.get((account, Arc::clone(region), Arc::clone(network)), ask).await
    }

    pub(crate) async fn cluster(&self, account: AccountId, region: &Arc<str>, cluster: &Arc<str>) -> Asked<Cluster> {
        let ask = || self.call(account, "a cluster", self.hands.cluster(account, region, cluster)).boxed();
        self.clusters.get((account, Arc::clone(region), Arc::clone(cluster)), ask).await
    }

    pub(crate) async fn object(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
    ) -> Result<Option<LogObject>, CallError> {
        self.lanes.call(Lane::Logs(account), "a log object", self.hands.object(bucket, key)).await
    }

    pub(crate) async fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        // The account keeps its streams itself.
        if self.lanes.is_silent(Lane::Account(account)) {
            return Err(CallError::Unknown);
        }
        let ask = self.hands.stream(account, region, group, stream);
        self.lanes.call(Lane::Logs(account), "a log stream", ask).await
    }
}
