//! Gathers evidence: one survey for all due sessions. What many sessions rest on is asked once; what is concluded from
//! the answers is the core's business.

mod log;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{join, join_all, join3, join4};
use sessionwarden_machine::{
    compliance::EvidenceKind,
    decode::PREFERENCES,
    document::log_stream_name,
    ids::{AccountId, EventTime, Now, SessionKey},
    mutation::{Mutation, made},
    posture::{
        Asked, Bucket, CallError, Cluster, Document, Facts, Guards, Identity, Key, LogStream, Memory, Network, Node,
        Places, Pooled, Who, places,
    },
    recheck::rounds,
    session::{Described, Gathered, Life, LogLook},
    settings::Settings,
};
use tracing::Instrument;

use super::{Survey, limit_of};
use crate::ports::Hands;

/// What was read and checked before, shared by the handlers of a process.
#[derive(Clone, Debug, Default)]
pub struct SharedMemory(Arc<Mutex<Memory>>);

impl SharedMemory {
    /// For history, where each session is looked at once.
    pub fn of_history() -> Self {
        Self(Arc::new(Mutex::new(Memory::of_history())))
    }

    /// For a moment: never across an await.
    pub fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is alive, and what it rests on.
    Life,
    /// Whether the log of a session that ended then has come.
    Log(Option<EventTime>),
    /// Both: it is believed to have ended then, and nobody has seen it.
    LifeAndLog(Option<EventTime>),
    /// Whether anything is new since the look of this number, which showed it alive. Its stream is asked for only if
    /// something is, or if it may have gone.
    News {
        /// The number of the look.
        look: u64,
        /// Something that it rests on changed: its stream may have gone.
        unsettled: bool,
    },
}

impl Question {
    fn is_about_life(self) -> bool {
        matches!(self, Self::Life | Self::LifeAndLog(_) | Self::News { .. })
    }
}

/// What was gathered about one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which.
    pub key: SessionKey,
    /// What.
    pub gathered: Gathered,
    /// The number of the look, where it is alive.
    pub look: Option<u64>,
}

/// What was told about one session.
struct Told {
    key: SessionKey,
    life: Life,
    /// What it rests on, where it is alive.
    posture: Option<(Arc<Common>, Own)>,
    log: LogLook,
}

/// What all sessions of one account and region rest on.
struct Common {
    preferences: Asked<Document>,
    guards: Asked<Guards>,
    bucket: Option<Asked<Bucket>>,
    bucket_guards: Option<Asked<Guards>>,
    keys: BTreeMap<Arc<str>, Asked<Key>>,
}

/// What one session rests on besides.
struct Own {
    node: Option<Asked<Node>>,
    role: Option<Asked<Identity>>,
    document: Option<Asked<Document>>,
    network: Option<Asked<Network>>,
    caller: Option<Asked<Identity>>,
    cluster: Option<Asked<Cluster>>,
    stream: Option<Result<Option<LogStream>, CallError>>,
}

/// What some sessions of one account and region rest on, each thing once.
struct Things {
    nodes: Result<BTreeMap<Arc<str>, Arc<Node>>, CallError>,
    identities: BTreeMap<Who, Asked<Identity>>,
    documents: BTreeMap<Arc<str>, Asked<Document>>,
    networks: BTreeMap<Arc<str>, Asked<Network>>,
    clusters: BTreeMap<Arc<str>, Asked<Cluster>>,
}

/// Asks everything that the due sessions need, side by side: one description for all sessions of an account and region,
/// one look at each distinct node, role, document, bucket, key and network. An answer that is none leaves the evidence
/// unknown (I11), and keeps nobody else waiting (I13). Of a session of which only news are asked for nothing is returned
/// where there are none.
pub async fn gather<H: Hands>(
    hands: &H,
    settings: &Settings,
    wanted: &[EvidenceKind],
    memory: &SharedMemory,
    questions: &BTreeMap<SessionKey, Question>,
    now: Now,
) -> Vec<Found> {
    let round = Round { survey: Survey::new(hands, limit_of(settings)), settings, wanted, memory, now };
    let asked = rounds(questions.keys().cloned()).into_iter().map(|(place, keys)| {
        let span = tracing::info_span!("gather", account = %place.0, region = %place.1);
        round.of_place(place, keys, questions).instrument(span)
    });
    let told = join_all(asked).await.into_iter().flatten();
    told.filter_map(|told| {
        let known = match questions.get(&told.key) {
            Some(Question::News { look, .. }) => Some(*look),
            Some(Question::Life | Question::Log(_) | Question::LifeAndLog(_)) | None => None,
        };
        conclude(told, (settings, wanted), known, &mut memory.lock(), now)
    })
    .collect()
}

/// The core's judgement of what was told about one session; none where the look is the one that is `known`.
fn conclude(
    told: Told,
    (settings, wanted): (&Settings, &[EvidenceKind]),
    known: Option<u64>,
    memory: &mut Memory,
    now: Now,
) -> Option<Found> {
    let mut gathered = Gathered { log: told.log, ..Gathered::new(now, told.life) };
    let mut number = None;
    if let (Life::Alive(described), Some((common, own))) = (&gathered.life, told.posture) {
        if known.is_some() && made(Mutation::NewsIgnored) {
            return None;
        }
        let facts = facts_of(&told.key, described, &common, &own, (settings, now));
        let (looked, look) = memory.numbered_look(&facts, wanted, known);
        let look = look?;
        number = Some(looked);
        (gathered.evidence, gathered.session_type, gathered.depends) = (look.evidence, look.session_type, look.depends);
    }
    Some(Found { key: told.key, gathered, look: number })
}

fn facts_of<'a>(
    key: &'a SessionKey,
    described: &'a Described,
    common: &'a Common,
    own: &'a Own,
    (settings, now): (&'a Settings, Now),
) -> Facts<'a> {
    Facts {
        key,
        described,
        now,
        settings,
        node: own.node.as_ref(),
        role: own.role.as_ref(),
        guards: &common.guards,
        preferences: &common.preferences,
        document: own.document.as_ref(),
        bucket: common.bucket.as_ref(),
        bucket_guards: common.bucket_guards.as_ref(),
        keys: &common.keys,
        network: own.network.as_ref(),
        caller: own.caller.as_ref(),
        cluster: own.cluster.as_ref(),
        stream: own.stream.as_ref(),
    }
}

struct Round<'a, H> {
    now: Now,
    survey: Survey<'a, H>,
    settings: &'a Settings,
    wanted: &'a [EvidenceKind],
    memory: &'a SharedMemory,
}

/// Puts in the place of an answer the equal one that was told before.
fn settle<T: Pooled>(asked: &mut Asked<T>, memory: &mut Memory) {
    *asked = memory.as_first_told(asked);
}

impl Common {
    fn settle(&mut self, memory: &mut Memory) {
        settle(&mut self.preferences, memory);
        settle(&mut self.guards, memory);
        if let Some(bucket) = &mut self.bucket {
            settle(bucket, memory);
        }
        if let Some(guards) = &mut self.bucket_guards {
            settle(guards, memory);
        }
        for key in self.keys.values_mut() {
            settle(key, memory);
        }
    }
}

impl Things {
    fn settle(&mut self, memory: &mut Memory) {
        for identity in self.identities.values_mut() {
            settle(identity, memory);
        }
        for document in self.documents.values_mut() {
            settle(document, memory);
        }
        for network in self.networks.values_mut() {
            settle(network, memory);
        }
    }

    fn node(&self, id: &str) -> Asked<Node> {
        self.nodes.as_ref().map_err(|error| *error)?.get(id).cloned().ok_or(CallError::Gone)
    }
}

impl<H: Hands> Round<'_, H> {
    async fn of_place(
        &self,
        (account, region): (AccountId, Arc<str>),
        keys: BTreeSet<SessionKey>,
        questions: &BTreeMap<SessionKey, Question>,
    ) -> Vec<Told> {
        let living: BTreeSet<SessionKey> = keys.iter().filter(|key| questions[*key].is_about_life()).cloned().collect();
        let ended = keys.into_iter().filter_map(|key| match questions[&key] {
            Question::Life | Question::News { .. } => None,
            Question::Log(ended_at) | Question::LifeAndLog(ended_at) => Some(self.of_ended(key, ended_at)),
        });
        // On the heap: it is large.
        let living = Box::pin(self.of_living(account, &region, living, questions));
        let (mut told, logs) = join(living, join_all(ended)).await;
        for log in logs {
            match told.iter_mut().find(|told| told.key == log.key) {
                // What is alive has no log yet, whatever lies there.
                Some(told) if matches!(told.life, Life::Alive(_)) => {}
                Some(told) => told.log = log.log,
                None => told.push(log),
            }
        }
        told
    }

    /// One description for all; then each thing that some of them rest on, once.
    async fn of_living(
        &self,
        account: AccountId,
        region: &Arc<str>,
        living: BTreeSet<SessionKey>,
        questions: &BTreeMap<SessionKey, Question>,
    ) -> Vec<Told> {
        if living.is_empty() {
            return Vec::new();
        }
        let mut lives = self.survey.lives(account, region, &living).await.unwrap_or_default();
        let mut told: Vec<Told> = living
            .into_iter()
            .map(|key| {
                let life = lives.remove(&key).unwrap_or(Life::Unknown);
                Told { key, life, posture: None, log: LogLook::Unknown }
            })
            .collect();
        let alive = || {
            told.iter().filter_map(|told| match &told.life {
                Life::Alive(described) => Some((&told.key, described)),
                Life::Ended(_) | Life::Unknown => None,
            })
        };
        let Some((first, _)) = alive().next() else { return told };
        let described: Vec<&Described> = alive().map(|(_, described)| described).collect();
        // One after the other: an account that answers neither is asked nothing more.
        let targets: BTreeSet<Arc<str>> =
            described.iter().map(|one| &one.target).filter(|target| is_node(target)).cloned().collect();
        let nodes =
            if targets.is_empty() { Ok(BTreeMap::new()) } else { self.survey.nodes(account, region, &targets).await };
        let preferences = self.survey.document(account, region, &PREFERENCES.into()).await;
        let places = places(self.settings, &preferences, first, &mut self.memory.lock());
        // A stream costs a question for each session (R-W7).
        let later = |key: &SessionKey| match questions[key] {
            Question::News { look, unsettled: false } => Some(look),
            Question::News { .. } | Question::Life | Question::Log(_) | Question::LifeAndLog(_) => None,
        };
        let group = places.log_group.as_ref();
        let streams = join_all(alive().map(async |(key, _)| match later(key) {
            Some(_) => None,
            None => self.stream(key, group).await,
        }));
        let common = self.common((account, region), &places, preferences);
        let things = self.things((account, region), &described, nodes);
        let (mut common, mut things, streams) = join3(common, things, streams).await;
        {
            let mut memory = self.memory.lock();
            common.settle(&mut memory);
            things.settle(&mut memory);
        }
        let common = Arc::new(common);
        let mut own: Vec<Own> =
            streams.into_iter().zip(&described).map(|(stream, one)| own(one, &things, stream)).collect();
        let put_off = alive().zip(&mut own).filter(|((key, described), own)| {
            let facts = facts_of(key, described, &common, own, (self.settings, self.now));
            later(key).is_some_and(|look| !self.memory.lock().is_as_last_seen(&facts, self.wanted, look))
        });
        let put_off = put_off.map(async |((key, _), own)| own.stream = self.stream(key, group).await);
        join_all(put_off).await;
        let alive = told.iter_mut().filter(|told| matches!(told.life, Life::Alive(_)));
        for (told, own) in alive.zip(own) {
            told.posture = Some((Arc::clone(&common), own));
        }
        told
    }

    /// What all sessions of an account and region rest on.
    async fn common(
        &self,
        (account, region): (AccountId, &Arc<str>),
        places: &Places,
        preferences: Asked<Document>,
    ) -> Common {
        let survey = &self.survey;
        let bucket = async {
            let bucket = survey.bucket(places.bucket.as_ref()?).await;
            let guards = async {
                match &bucket {
                    Ok(bucket) => survey.guards(bucket.account).await,
                    Err(error) => Err(*error),
                }
            };
            let key = async {
                let name = bucket.as_ref().ok()?.key.clone()?;
                Some((Arc::clone(&name), survey.key(account, region, &name).await))
            };
            let (guards, key) = join(guards, key).await;
            Some((bucket, guards, key))
        };
        let keys = places.keys.iter().map(async |name| (Arc::clone(name), survey.key(account, region, name).await));
        let (bucket, keys, guards) = join3(bucket, join_all(keys), survey.guards(account)).await;
        let mut keys: BTreeMap<_, _> = keys.into_iter().collect();
        let (bucket, bucket_guards, bucket_key) = match bucket {
            Some((bucket, guards, key)) => (Some(bucket), Some(guards), key),
            None => (None, None, None),
        };
        keys.extend(bucket_key);
        Common { preferences, guards, bucket, bucket_guards, keys }
    }

    /// The things that these sessions rest on besides.
    async fn things(
        &self,
        (account, region): (AccountId, &Arc<str>),
        all: &[&Described],
        nodes: Result<BTreeMap<Arc<str>, Arc<Node>>, CallError>,
    ) -> Things {
        let survey = &self.survey;
        let known = || nodes.iter().flat_map(BTreeMap::values);
        let roles = known().filter_map(|node| node.role.as_ref()).map(|(role, _)| Who::Role(Arc::clone(role)));
        let callers = all.iter().filter_map(|one| who(&one.owner)).filter(|_| self.asks_for_callers());
        let identities = roles.chain(callers).collect::<BTreeSet<_>>().into_iter().map(async |who| {
            let identity = survey.identity(account, &who).await;
            (who, identity)
        });
        let networks: BTreeSet<Arc<str>> = known().filter_map(|node| node.network.clone()).collect();
        let networks = networks.into_iter().map(async |id| {
            let network = survey.network(account, region, &id).await;
            (id, network)
        });
        let own = all.iter().map(|one| &one.document).filter(|document| !is_known_document(document));
        let documents = own.cloned().collect::<BTreeSet<_>>().into_iter().map(async |name| {
            let document = survey.document(account, region, &name).await;
            (name, document)
        });
        let clusters: BTreeSet<Arc<str>> = all.iter().filter_map(|one| cluster_of(&one.target)).collect();
        let clusters = clusters.into_iter().map(async |name| {
            let cluster = survey.cluster(account, region, &name).await;
            (name, cluster)
        });
        let (identities, networks, documents, clusters) =
            join4(join_all(identities), join_all(networks), join_all(documents), join_all(clusters)).await;
        Things {
            identities: identities.into_iter().collect(),
            documents: documents.into_iter().collect(),
            networks: networks.into_iter().collect(),
            clusters: clusters.into_iter().collect(),
            nodes,
        }
    }

    /// Policies of callers cost calls: they are asked for where some control or setting is about them.
    fn asks_for_callers(&self) -> bool {
        let posture = &self.settings.posture;
        let named = |kind, roles: &[Arc<str>]| self.wanted.contains(&kind) && !roles.is_empty();
        self.wanted.contains(&EvidenceKind::DocumentsChecked)
            || self.wanted.contains(&EvidenceKind::DocumentsExplicit)
            || named(EvidenceKind::TagMatches, &posture.third_party_roles)
            || named(EvidenceKind::RunAsAsPrescribed, &posture.run_as_roles)
    }

    async fn stream(
        &self,
        key: &SessionKey,
        log_group: Option<&Arc<str>>,
    ) -> Option<Result<Option<LogStream>, CallError>> {
        Some(self.survey.stream(key.account, &key.region, log_group?, &log_stream_name(&key.id)).await)
    }
}

/// What a session that is alive rests on, as it was told about each thing.
fn own(described: &Described, things: &Things, stream: Option<Result<Option<LogStream>, CallError>>) -> Own {
    let node = is_node(&described.target).then(|| things.node(&described.target));
    let known = node.as_ref().and_then(|node| node.as_ref().ok());
    let role = known.and_then(|node| node.role.as_ref()).map(|(role, _)| Who::Role(Arc::clone(role)));
    let network = known.and_then(|node| node.network.as_ref());
    Own {
        role: role.and_then(|role| things.identities.get(&role).cloned()),
        network: network.and_then(|network| things.networks.get(network).cloned()),
        document: things.documents.get(&described.document).cloned(),
        caller: who(&described.owner).and_then(|who| things.identities.get(&who).cloned()),
        cluster: cluster_of(&described.target).and_then(|cluster| things.clusters.get(&cluster).cloned()),
        node,
        stream,
    }
}

/// The preferences document, or one of AWS itself, whose names nobody else can use.
fn is_known_document(document: &str) -> bool {
    let name = document.rsplit('/').next().unwrap_or(document);
    name.is_empty() || name == PREFERENCES || name.starts_with("AWS-") || name.starts_with("Amazon")
}

/// An instance or a hybrid node.
fn is_node(target: &str) -> bool {
    target.starts_with("i-") || target.starts_with("mi-")
}

/// The cluster in `ecs:<cluster>_<task>_<runtime>`, which may hold underscores itself.
fn cluster_of(target: &str) -> Option<Arc<str>> {
    let parts = target.strip_prefix("ecs:")?;
    let (rest, _runtime) = parts.rsplit_once('_')?;
    let (cluster, _task) = rest.rsplit_once('_')?;
    (!cluster.is_empty()).then(|| cluster.into())
}

/// The role or user behind an ARN.
fn who(arn: &str) -> Option<Who> {
    let resource = arn.splitn(6, ':').nth(5)?;
    let (form, rest) = resource.split_once('/')?;
    match form {
        "assumed-role" => rest.split('/').next().map(|role| Who::Role(role.into())),
        "role" => rest.rsplit('/').next().map(|role| Who::Role(role.into())),
        "user" => rest.rsplit('/').next().map(|user| Who::User(user.into())),
        _ => None,
    }
}
