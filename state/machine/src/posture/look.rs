//! One look at a session. Where nothing has changed since the last one, nothing is judged again.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::Hash,
    sync::Arc,
};

use foldhash::fast::FixedState;

use super::{
    Asked, Bucket, Cluster, Document, Facts, Guards, Identity, Key, Memory, Network, Node, assess, memory::keep,
    rests_on, session_type,
};
use crate::{
    compliance::EvidenceKind,
    ids::{EventTime, Thing},
    session::{Answered, Described},
};

/// What a look at a session that is alive came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// As [`assess`] has it.
    pub evidence: BTreeMap<EvidenceKind, Answered>,
    /// As [`session_type`] has it.
    pub session_type: Arc<str>,
    /// As [`rests_on`] has it.
    pub depends: BTreeSet<Thing>,
}

/// A look with all that it rests on, but for the time and the stream: what rests on these is looked at each time.
#[derive(Debug)]
pub(super) struct KeptLook {
    wanted: Vec<EvidenceKind>,
    described: Described,
    node: Option<Asked<Node>>,
    role: Option<Asked<Identity>>,
    guards: Asked<Guards>,
    preferences: Asked<Document>,
    document: Option<Asked<Document>>,
    bucket: Option<Asked<Bucket>>,
    bucket_guards: Option<Asked<Guards>>,
    keys: BTreeMap<Arc<str>, Asked<Key>>,
    network: Option<Asked<Network>>,
    caller: Option<Asked<Identity>>,
    cluster: Option<Asked<Cluster>>,
    stream_since: Option<EventTime>,
    look: Look,
    number: u64,
}

/// The one kind that rests on the time and the stream; on the time alone while there is no stream.
const OF_NOW: EvidenceKind = EvidenceKind::StreamPresent;

/// Since when its stream has existed.
fn stream_since(facts: &Facts<'_>) -> Option<EventTime> {
    facts.stream?.as_ref().ok()?.as_ref().map(|stream| stream.created_at)
}

impl KeptLook {
    fn rests_on(&self, facts: &Facts<'_>, wanted: &[EvidenceKind]) -> bool {
        let Facts { described, node, role, guards, preferences, document, bucket, bucket_guards, .. } = facts;
        self.wanted == wanted
            && self.described == **described
            && self.node.as_ref() == *node
            && self.role.as_ref() == *role
            && self.guards == **guards
            && self.preferences == **preferences
            && self.document.as_ref() == *document
            && self.bucket.as_ref() == *bucket
            && self.bucket_guards.as_ref() == *bucket_guards
            && self.keys == *facts.keys
            && self.network.as_ref() == facts.network
            && self.caller.as_ref() == facts.caller
            && self.cluster.as_ref() == facts.cluster
    }

    fn has_streamed(&self) -> bool {
        self.stream_since.is_some()
    }

    fn new(facts: &Facts<'_>, wanted: &[EvidenceKind], (look, number): (Look, u64), pools: &mut Pools) -> Self {
        Self {
            wanted: wanted.to_vec(),
            described: facts.described.clone(),
            node: facts.node.cloned(),
            role: facts.role.map(|role| one(pools, role)),
            guards: one(pools, facts.guards),
            preferences: one(pools, facts.preferences),
            document: facts.document.map(|document| one(pools, document)),
            bucket: facts.bucket.map(|bucket| one(pools, bucket)),
            bucket_guards: facts.bucket_guards.map(|guards| one(pools, guards)),
            keys: facts.keys.iter().map(|(name, key)| (Arc::clone(name), one(pools, key))).collect(),
            network: facts.network.map(|network| one(pools, network)),
            caller: facts.caller.map(|caller| one(pools, caller)),
            cluster: facts.cluster.cloned(),
            stream_since: stream_since(facts),
            look,
            number,
        }
    }
}

/// Answers of a kind, each once.
pub type Pool<T> = HashSet<Arc<T>, FixedState>;

/// What is told again and again, and is long: policies are.
pub trait Pooled: Eq + Hash + Sized {
    /// Where such answers are kept.
    fn pool(pools: &mut Pools) -> &mut Pool<Self>;
}

macro_rules! pooled {
    ($($kind:ty: $pool:ident),+) => {
        $(impl Pooled for $kind {
            fn pool(pools: &mut Pools) -> &mut Pool<Self> {
                &mut pools.$pool
            }
        })+
    };
}

pooled!(Identity: identities, Guards: guards, Document: documents, Bucket: buckets, Key: keys, Network: networks);

/// What many looks rest on, once.
#[derive(Debug, Default)]
pub struct Pools {
    identities: Pool<Identity>,
    guards: Pool<Guards>,
    documents: Pool<Document>,
    buckets: Pool<Bucket>,
    keys: Pool<Key>,
    networks: Pool<Network>,
}

/// The first that was equal to this one. At most [`Memory::MAX`] of a kind are kept, then all are forgotten.
fn one<T: Pooled>(pools: &mut Pools, asked: &Asked<T>) -> Asked<T> {
    let asked = asked.as_ref().map_err(|error| *error)?;
    let pool = T::pool(pools);
    if let Some(known) = pool.get(&**asked) {
        return Ok(Arc::clone(known));
    }
    if pool.len() >= Memory::MAX {
        pool.clear();
    }
    pool.insert(Arc::clone(asked));
    Ok(Arc::clone(asked))
}

impl Memory {
    /// An answer as it was first told, where an equal one was: it is compared once, and not for each session that rests on
    /// it.
    pub fn as_first_told<T: Pooled>(&mut self, asked: &Asked<T>) -> Asked<T> {
        one(&mut self.pools, asked)
    }

    /// Looks at a session that is alive: its evidence of the kinds in `wanted`, what its document opens, what it rests on.
    pub fn look(&mut self, facts: &Facts<'_>, wanted: &[EvidenceKind]) -> Look {
        self.numbered_look(facts, wanted, None).1.unwrap_or_else(|| self.fresh_look(facts, wanted))
    }

    /// Whether a session's last look was the one of this number, and had a stream, and all else is as it was then: its
    /// stream need not be asked for.
    pub fn is_as_last_seen(&self, facts: &Facts<'_>, wanted: &[EvidenceKind], number: u64) -> bool {
        let as_it_was = |kept: &KeptLook| kept.number == number && kept.has_streamed() && kept.rests_on(facts, wanted);
        self.looks.get(facts.key).is_some_and(as_it_was)
    }

    /// The look with its number, which is that of the session's last look by this memory where both came to the same from
    /// the same answers, and else a new one. Without the look where its number is `known`. A stream that was seen by the
    /// look that is `known`, and is not asked for, is taken to be there.
    pub fn numbered_look(
        &mut self,
        facts: &Facts<'_>,
        wanted: &[EvidenceKind],
        known: Option<u64>,
    ) -> (u64, Option<Look>) {
        let kept = self.looks.get(facts.key).filter(|kept| kept.rests_on(facts, wanted));
        let since = stream_since(facts);
        let streams = |kept: &&KeptLook| match since {
            None => facts.stream.is_none() && known == Some(kept.number) && kept.has_streamed(),
            since => kept.stream_since == since,
        };
        if let Some(kept) = kept.filter(streams) {
            return (kept.number, (known != Some(kept.number)).then(|| kept.look.clone()));
        }
        let same = kept.is_some();
        let of_now = if same && wanted.contains(&OF_NOW) { assess(facts, &[OF_NOW], self) } else { BTreeMap::new() };
        if let Some(kept) = self.looks.get_mut(facts.key).filter(|_| same) {
            kept.stream_since = since;
            if of_now.iter().any(|(kind, answer)| kept.look.evidence.get(kind) != Some(answer)) {
                kept.look.evidence.extend(of_now);
                self.looked += 1;
                kept.number = self.looked;
            }
            return (kept.number, (known != Some(kept.number)).then(|| kept.look.clone()));
        }
        let look = self.fresh_look(facts, wanted);
        self.looked += 1;
        if !self.looks_once {
            let kept = KeptLook::new(facts, wanted, (look.clone(), self.looked), &mut self.pools);
            keep(&mut self.looks, facts.key.clone(), kept);
        }
        (self.looked, Some(look))
    }

    fn fresh_look(&mut self, facts: &Facts<'_>, wanted: &[EvidenceKind]) -> Look {
        let evidence = assess(facts, wanted, self);
        Look { evidence, session_type: session_type(facts, self), depends: rests_on(facts, self) }
    }
}
