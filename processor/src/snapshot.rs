//! An organisation's posture as it was written down once: history is judged as if it had always been so.
//!
//! A snapshot is a file of JSON lines, each a [`Line`]. It answers the ports; it is never called to change anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, EventTime, SessionKey},
    incident::Restore,
    posture::{
        Bucket, CallError, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who,
        snapshot::{Answer, Line, Named},
    },
    session::{Described, Life},
    settings::Tier,
};

use crate::ports::{
    Documents, Identities, LockError, LogPlaces, Logs, Nodes, Organization, Repairs, RestoreError, Sessions,
};

/// How long one line may be, in bytes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no fact.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// An organisation's posture as it was written down.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    taken: Option<EventTime>,
    nodes: BTreeMap<Named, Answer<Node>>,
    identities: BTreeMap<(AccountId, Who), Answer<Identity>>,
    guards: BTreeMap<AccountId, Answer<Guards>>,
    documents: BTreeMap<Named, Answer<Document>>,
    buckets: BTreeMap<Arc<str>, Answer<Bucket>>,
    keys: BTreeMap<Named, Answer<Key>>,
    networks: BTreeMap<Named, Answer<Network>>,
    clusters: BTreeMap<Named, Answer<Cluster>>,
}

impl Snapshot {
    /// Reads a snapshot. Of two lines about the same thing the later counts.
    ///
    /// # Errors
    /// A file that cannot be read, and the first line that is no fact.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
        let (mut snapshot, mut text, mut line) = (Self::default(), Vec::new(), 0);
        loop {
            text.clear();
            line += 1;
            let read = std::io::Read::take(&mut file, LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text);
            if read.map_err(failed)? == 0 {
                return Ok(snapshot);
            }
            let bad = |problem| SnapshotError::Line { path: path.to_owned(), line, problem };
            if text.len() > LINE_BYTES_MAX {
                return Err(bad(format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            if !text.trim_ascii().is_empty() {
                snapshot.add(fact(text.trim_ascii_end()).map_err(bad)?);
            }
        }
    }

    /// Adds one fact.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Taken(at) => self.taken = self.taken.max(Some(at)),
            Line::Node(named, answer) => drop(self.nodes.insert(named, answer)),
            Line::Identity(account, who, answer) => drop(self.identities.insert((account, who), answer)),
            Line::Guards(account, answer) => drop(self.guards.insert(account, answer)),
            Line::Document(named, answer) => drop(self.documents.insert(plain(named), answer)),
            Line::Bucket(name, answer) => drop(self.buckets.insert(name, answer)),
            Line::Key(named, answer) => drop(self.keys.insert(plain(named), answer)),
            Line::Network(named, answer) => drop(self.networks.insert(named, answer)),
            Line::Cluster(named, answer) => drop(self.clusters.insert(named, answer)),
        }
    }

    /// When it was taken, where it says so.
    pub fn taken(&self) -> Option<EventTime> {
        self.taken
    }

    /// The ports over this snapshot, for sessions of which `lives` tells.
    pub fn with(&self, lives: BTreeMap<SessionKey, Life>) -> Past<'_> {
        Past { snapshot: self, lives }
    }
}

/// Reads one line. A field that is unknown or missing is refused: with a boundary overlooked, a role would seem to be
/// allowed more than it is.
fn fact(text: &[u8]) -> Result<Line, String> {
    let problem = |error: serde_json::Error| error.to_string().replace(" at line 1 column ", " at column ");
    let line: Line = serde_json::from_slice(text).map_err(problem)?;
    let written = serde_json::from_slice(text).map_err(problem)?;
    let understood = serde_json::to_value(&line).map_err(problem)?;
    match difference(&written, &understood) {
        Some(problem) => Err(problem),
        None => Ok(line),
    }
}

/// The first field that only one of the two has.
fn difference(written: &Value, understood: &Value) -> Option<String> {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            let unknown = written.keys().find(|name| !understood.contains_key(*name));
            let missing = understood.keys().find(|name| !written.contains_key(*name));
            let within = || written.iter().find_map(|(name, value)| difference(value, understood.get(name)?));
            let unknown = unknown.map(|name| format!("unknown field `{name}`"));
            unknown.or_else(|| missing.map(|name| format!("missing field `{name}`"))).or_else(within)
        }
        (Value::Array(written), Value::Array(understood)) => {
            written.iter().zip(understood).find_map(|(written, understood)| difference(written, understood))
        }
        _ => None,
    }
}

/// A document or key by what is left of its ARN, in the account and region that the ARN names; whatever else stands
/// for itself.
fn plain(named: Named) -> Named {
    let mut parts = named.id.splitn(6, ':');
    let (arn, _, _, region) = (parts.next(), parts.next(), parts.next(), parts.next());
    let account = parts.next().and_then(|account| account.parse().ok());
    let (Some("arn"), Some(region), Some(account), Some(resource)) = (arn, region, account, parts.next()) else {
        return named;
    };
    let id = resource.strip_prefix("key/").or_else(|| resource.strip_prefix("document/")).unwrap_or(resource);
    Named { account, region: region.into(), id: id.into() }
}

/// Sessions of the past on the ground of a snapshot.
#[derive(Clone, Debug)]
pub struct Past<'s> {
    snapshot: &'s Snapshot,
    lives: BTreeMap<SessionKey, Life>,
}

/// What was not written down was not asked.
fn told<T: Clone>(answer: Option<&Answer<T>>) -> Result<T, CallError> {
    answer.map_or(Err(CallError::Unknown), Answer::asked)
}

fn named(account: AccountId, region: &str, id: &str) -> Named {
    Named { account, region: region.into(), id: id.into() }
}

impl Sessions for Past<'_> {
    async fn describe(
        &self,
        _account: AccountId,
        _region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        let known = sessions.iter().filter_map(|key| self.lives.get(key).map(|life| (key.clone(), life.clone())));
        Ok(known.collect())
    }

    async fn active(&self, _account: AccountId, _region: &str) -> Result<Vec<(SessionKey, Described)>, CallError> {
        Err(CallError::Unknown)
    }

    async fn terminate(&self, _session: &SessionKey) -> Result<(), CallError> {
        Err(CallError::Denied)
    }
}

impl Nodes for Past<'_> {
    async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Node>, CallError> {
        let found = nodes.iter().filter_map(|id| {
            let answer = self.snapshot.nodes.get(&named(account, region, id))?;
            Some((Arc::clone(id), answer.asked().ok()?))
        });
        Ok(found.collect())
    }

    async fn network(&self, account: AccountId, region: &str, network: &str) -> Result<Network, CallError> {
        told(self.snapshot.networks.get(&named(account, region, network)))
    }

    async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Result<Cluster, CallError> {
        told(self.snapshot.clusters.get(&named(account, region, cluster)))
    }
}

impl Identities for Past<'_> {
    async fn identity(&self, account: AccountId, who: &Who) -> Result<Identity, CallError> {
        told(self.snapshot.identities.get(&(account, who.clone())))
    }

    async fn guards(&self, account: AccountId) -> Result<Guards, CallError> {
        told(self.snapshot.guards.get(&account))
    }
}

impl Documents for Past<'_> {
    async fn document(&self, account: AccountId, region: &str, document: &str) -> Result<Document, CallError> {
        told(self.snapshot.documents.get(&plain(named(account, region, document))))
    }
}

impl LogPlaces for Past<'_> {
    async fn bucket(&self, bucket: &str) -> Result<Bucket, CallError> {
        told(self.snapshot.buckets.get(bucket))
    }

    async fn key(&self, account: AccountId, region: &str, key: &str) -> Result<Key, CallError> {
        told(self.snapshot.keys.get(&plain(named(account, region, key))))
    }
}

impl Logs for Past<'_> {
    async fn object(&self, _bucket: &str, _key: &str) -> Result<Option<LogObject>, CallError> {
        Err(CallError::Unknown)
    }

    async fn stream(
        &self,
        _account: AccountId,
        _region: &str,
        _group: &str,
        _stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        Err(CallError::Unknown)
    }
}

impl Repairs for Past<'_> {
    async fn restore(
        &self,
        _: AccountId,
        _: &str,
        _: Restore,
        _: &str,
        _: &BTreeSet<&'static str>,
        _: bool,
    ) -> Result<Vec<Arc<str>>, RestoreError> {
        Err(CallError::Denied.into())
    }
}

impl Organization for Past<'_> {
    async fn places(&self) -> Result<(Vec<AccountId>, Vec<Arc<str>>), CallError> {
        Err(CallError::Unknown)
    }

    async fn lock(&self, _account: AccountId, _lock: &Lock) -> Result<(), LockError> {
        Err(CallError::Denied.into())
    }

    async fn unlock(&self, _account: AccountId) -> Result<(), LockError> {
        Err(CallError::Denied.into())
    }

    async fn locks(&self) -> Result<BTreeMap<AccountId, Tier>, CallError> {
        Err(CallError::Unknown)
    }

    async fn bites(&self, _account: AccountId) -> Result<bool, CallError> {
        Err(CallError::Unknown)
    }
}
