//! What was read and checked before, so that ten thousand sessions of one role cost one check.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use foldhash::fast::FixedState;

use super::{
    Asked, Bucket, Guards, Identity, Key, Network, PolicyText,
    look::{KeptLook, Pools},
};
use crate::{
    compliance::EvidenceKind,
    document::SessionDocument,
    ids::{AccountId, SessionKey},
    permission::Policy,
    session::Answered,
};

/// What an answer rests on: whole contents, so that equal grounds have equal answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ground {
    pub(super) kind: EvidenceKind,
    pub(super) account: AccountId,
    pub(super) region: Arc<str>,
    pub(super) role: Arc<Identity>,
    pub(super) guards: Asked<Guards>,
    /// With its name.
    pub(super) bucket: Option<(Arc<str>, Asked<Bucket>)>,
    pub(super) bucket_guards: Option<Asked<Guards>>,
    /// The bucket's key, with its name; `None` inside: it was not asked for.
    pub(super) bucket_key: Option<NamedKey>,
    /// The keys of the session's traffic.
    pub(super) session_keys: Vec<NamedKey>,
    /// The node's network, with its id; `None` inside: it was not asked for.
    pub(super) network: Option<(Arc<str>, Option<Asked<Network>>)>,
    /// The ARNs that are asked about; in what is remembered for many sessions, the part they have in common.
    pub(super) resources: Vec<String>,
}

impl Ground {
    /// Every policy that has a say.
    fn policies(&self) -> Vec<&PolicyText> {
        let guards = self.guards.as_ref().ok().map(|guards| guards.scps.iter().chain(&guards.rcps));
        let bucket_guards = self.bucket_guards.as_ref().and_then(|guards| guards.as_ref().ok());
        let bucket = self.bucket.as_ref().and_then(|(_, bucket)| bucket.as_ref().ok());
        let keys = self.bucket_key.iter().chain(&self.session_keys).filter_map(|(_, key)| key.as_ref()?.as_ref().ok());
        let network = self.network.as_ref().and_then(|(_, network)| network.as_ref()?.as_ref().ok());
        let mut policies: Vec<&PolicyText> = self.role.policies.iter().chain(&self.role.boundary).collect();
        policies.extend(guards.into_iter().flatten().flatten());
        policies.extend(bucket_guards.into_iter().flat_map(|guards| &guards.rcps).flatten());
        policies.extend(bucket.and_then(|bucket| bucket.policy.as_ref()));
        policies.extend(keys.map(|key| &key.policy));
        policies.extend(network.into_iter().flat_map(|network| network.endpoints.values()).map(|it| &it.policy));
        policies
    }
}

/// A key as it is named, and what was told of it; `None`: it was not asked for.
pub(super) type NamedKey = (Arc<str>, Option<Asked<Key>>);

#[derive(Clone, Debug)]
enum Kept {
    Answer(Answered),
    /// Some policy tells the resources apart: each has its own answer.
    Apart,
}

/// Policies and documents as they were read, by their texts, answers by all that they rest on, and what the last look at
/// each session came to, with the same. Nothing in it can be out of date: another text is another entry. It is for one set
/// of settings. Each kind of entry is bounded by [`Memory::MAX`]; then all of its
/// kind are forgotten.
#[derive(Debug, Default)]
pub struct Memory {
    policies: HashMap<PolicyText, Arc<Policy>, FixedState>,
    documents: HashMap<Arc<str>, Result<Arc<SessionDocument>, Arc<str>>, FixedState>,
    answers: HashMap<Ground, Kept, FixedState>,
    pub(super) looks: HashMap<SessionKey, KeptLook, FixedState>,
    pub(super) pools: Pools,
    pub(super) looks_once: bool,
    /// The number of the last look that was not as the one before.
    pub(super) looked: u64,
    checks: u64,
    remembered: u64,
}

impl Memory {
    /// How many policies, documents and answers are kept, each.
    pub const MAX: usize = 16_384;

    /// For history, where each session is looked at once: looks are not kept.
    pub fn of_history() -> Self {
        Self { looks_once: true, ..Self::default() }
    }

    /// How many times permissions were checked.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// How many times the answer was there already.
    pub fn remembered(&self) -> u64 {
        self.remembered
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.policies.len(), self.documents.len(), self.answers.len(), self.looks.len()]
    }

    pub(super) fn policy(&mut self, text: &PolicyText) -> Arc<Policy> {
        if let Some(known) = self.policies.get(text) {
            return Arc::clone(known);
        }
        let policy = Arc::new(Policy::parse(&text.text).named(&*text.name));
        keep(&mut self.policies, text.clone(), Arc::clone(&policy));
        policy
    }

    pub(super) fn levels(&mut self, levels: &[Vec<PolicyText>]) -> Vec<Vec<Arc<Policy>>> {
        levels.iter().map(|level| level.iter().map(|text| self.policy(text)).collect()).collect()
    }

    pub(super) fn document(&mut self, content: &Arc<str>) -> Result<Arc<SessionDocument>, Arc<str>> {
        if let Some(known) = self.documents.get(content) {
            return known.clone();
        }
        let read = SessionDocument::parse(content).map(Arc::new).map_err(|bad| Arc::from(bad.to_string()));
        keep(&mut self.documents, Arc::clone(content), read.clone());
        read
    }

    /// Whether any policy of the ground tells resources apart that begin with one of `bases`, for callers of these
    /// accounts. The account is the one variable that belongs in a policy for logs; others stay as they are.
    pub(super) fn tells_apart(&mut self, ground: &Ground, accounts: &[AccountId], bases: &[String]) -> bool {
        const ACCOUNT: &str = "${aws:PrincipalAccount}";
        let mut bases = bases.iter().filter(|base| !base.is_empty());
        bases.any(|base| {
            ground.policies().into_iter().any(|policy| {
                if !policy.text.contains(ACCOUNT) {
                    return self.policy(policy).tells_apart(base);
                }
                accounts.iter().any(|account| {
                    let text = policy.text.replace(ACCOUNT, &account.to_string());
                    self.policy(&PolicyText { name: Arc::clone(&policy.name), text: text.into() }).tells_apart(base)
                })
            })
        })
    }

    /// The answer of `check` for `ground`, which also says whether the policies tell the ground's resources apart from
    /// others that begin with `bases`.
    pub(super) fn answer(
        &mut self,
        ground: Ground,
        bases: Vec<String>,
        check: impl FnOnce(&mut Self, &Ground, &[String]) -> (Answered, bool),
    ) -> Answered {
        let shared = Ground { resources: bases, ..ground.clone() };
        let known = match self.answers.get(&shared) {
            Some(Kept::Apart) => self.answers.get(&ground),
            known => known,
        };
        if let Some(Kept::Answer(answer)) = known {
            self.remembered += 1;
            return answer.clone();
        }
        self.checks += 1;
        let (answer, apart) = check(self, &ground, &shared.resources);
        if apart {
            keep(&mut self.answers, ground, Kept::Answer(answer.clone()));
            keep(&mut self.answers, shared, Kept::Apart);
        } else {
            keep(&mut self.answers, shared, Kept::Answer(answer.clone()));
        }
        answer
    }
}

pub(super) fn keep<K: Eq + Hash, V>(entries: &mut HashMap<K, V, FixedState>, key: K, value: V) {
    if entries.len() >= Memory::MAX {
        entries.clear();
    }
    entries.insert(key, value);
}
