//! The sliding window over violating sessions.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use crate::{
    effect::Counted,
    ids::{AccountId, EventTime, SessionKey},
    mutation::{Mutation, made},
    settings::QuarantineSettings,
};

/// A moment at which the window was full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The time of the session that filled it.
    pub at: EventTime,
    /// The sessions in the window.
    pub sessions: Vec<SessionKey>,
    /// The distinct principals among them.
    pub principals: BTreeSet<Arc<str>>,
}

/// The first moment at which `counted` (in order of time) fills the window. A session counts once, however often it is
/// listed; a session without a known principal counts as a session and not as a principal.
pub fn first_crossing(counted: &[&Counted], settings: &QuarantineSettings) -> Option<Crossing> {
    let mut begin = 0;
    let mut sessions: BTreeMap<&SessionKey, usize> = BTreeMap::new();
    let mut principals: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for last in counted {
        *sessions.entry(&last.session).or_default() += 1;
        if !last.principal.is_empty() {
            *principals.entry(&last.principal).or_default() += 1;
        }
        let tumbles =
            |first: &Counted| first.at.0.div_euclid(settings.window_ms) < last.at.0.div_euclid(settings.window_ms);
        while counted[begin].at.plus_ms(settings.window_ms) <= last.at && counted[begin].at < last.at
            || made(Mutation::TumblingWindow) && tumbles(counted[begin])
        {
            forget(&mut sessions, &counted[begin].session);
            forget(&mut principals, &counted[begin].principal);
            begin += 1;
        }
        let count = if made(Mutation::DoubleCount) { sessions.values().sum() } else { sessions.len() };
        if count >= settings.sessions_min && principals.len() >= settings.principals_min {
            return Some(Crossing {
                at: last.at,
                sessions: sessions.into_keys().cloned().collect(),
                principals: principals.into_keys().cloned().collect(),
            });
        }
    }
    None
}

/// Takes one occurrence away.
fn forget<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// Groups counted sessions by account, each list in order of time: for history.
pub fn by_account(counted: impl IntoIterator<Item = Counted>) -> BTreeMap<AccountId, BTreeSet<Counted>> {
    let mut accounts: BTreeMap<AccountId, BTreeSet<Counted>> = BTreeMap::new();
    for one in counted {
        accounts.entry(one.session.account).or_default().insert(one);
    }
    accounts
}
