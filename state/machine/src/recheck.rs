//! Timers: which subjects are due, and which questions one round of answers can serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::ids::{AccountId, Now, SessionKey};

/// The grain of the schedule, in milliseconds: a timer fires at most this much late.
pub const TICK_MS: i64 = 64;

/// Timers in memory, in slots of [`TICK_MS`]. The store's due index is the durable copy; a timer that was set and then
/// superseded fires all the same, and whoever is woken reads the state again.
#[derive(Debug)]
pub struct Schedule<T> {
    slots: BTreeMap<i64, Vec<T>>,
    len: usize,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), len: 0 }
    }
}

impl<T> Schedule<T> {
    /// Sets a timer. It fires at the first call of [`Self::fire`] at or after `at`, rounded up to the grain.
    pub fn set(&mut self, at: Now, what: T) {
        let slot = at.0.div_euclid(TICK_MS) + i64::from(at.0.rem_euclid(TICK_MS) > 0);
        self.slots.entry(slot).or_default().push(what);
        self.len += 1;
    }

    /// The next slot whose time has come, earliest first; `None` when nothing is due at `now`.
    pub fn fire(&mut self, now: Now) -> Option<Vec<T>> {
        let first = self.slots.first_entry()?;
        if *first.key() > now.0.div_euclid(TICK_MS) {
            return None;
        }
        let due = first.remove();
        self.len -= due.len();
        Some(due)
    }

    /// Takes all timers away, each with its time to the grain.
    pub fn drain(&mut self) -> impl Iterator<Item = (Now, T)> + use<T> {
        self.len = 0;
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().flat_map(|(slot, all)| all.into_iter().map(move |what| (Now(slot * TICK_MS), what)))
    }

    /// When the next timer fires.
    pub fn next_at(&self) -> Option<Now> {
        self.slots.first_key_value().map(|(slot, _)| Now(slot * TICK_MS))
    }

    /// Timers set and not fired.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Sessions that one round of questions serves: those of one account and region. Cost grows with accounts and regions,
/// not with sessions (R-W7).
pub fn rounds(due: impl IntoIterator<Item = SessionKey>) -> BTreeMap<(AccountId, Arc<str>), BTreeSet<SessionKey>> {
    let mut rounds: BTreeMap<_, BTreeSet<SessionKey>> = BTreeMap::new();
    for key in due {
        rounds.entry((key.account, Arc::clone(&key.region))).or_default().insert(key);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // R-W7
    #[test]
    fn one_round_serves_all_sessions_of_an_account_and_region() {
        let key = |account: u64, region: &str, id: usize| SessionKey {
            account: AccountId::new(account).unwrap(),
            region: region.into(),
            id: format!("ann-{id}").into(),
        };
        let due = (0..1000).map(|id| key(id as u64 % 2, ["eu-west-1", "us-east-1"][id / 500], id));
        let rounds = rounds(due);
        assert_eq!(rounds.len(), 4);
        assert_eq!(rounds.values().map(BTreeSet::len).sum::<usize>(), 1000);
    }

    proptest! {
        #[test]
        fn every_timer_fires_once_and_never_early(
            timers in prop::collection::vec(-1000..100_000_i64, 0..200), step in 1..5_000_i64,
        ) {
            let mut schedule = Schedule::default();
            for (id, at) in timers.iter().enumerate() {
                schedule.set(Now(*at), id);
            }
            let mut fired = vec![None; timers.len()];
            let mut now = -2_000;
            while now < 110_000 {
                while let Some(due) = schedule.fire(Now(now)) {
                    for id in due {
                        prop_assert_eq!(fired[id].replace(now), None);
                    }
                }
                now += step;
            }
            prop_assert!(schedule.is_empty());
            for (at, fired) in timers.iter().zip(fired) {
                let fired = fired.unwrap();
                prop_assert!(fired >= *at && fired < at + step + TICK_MS, "{} fired at {}", at, fired);
            }
        }
    }
}
