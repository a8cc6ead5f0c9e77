//! When a destination that failed is tried again, and when a message is given up.

use std::collections::BTreeMap;

use sessionwarden_machine::ids::{EffectId, Now};

/// The wait after the first failure, in milliseconds; it doubles with each further one.
const WAIT_MS_MIN: i64 = 5_000;
/// The longest wait, in milliseconds.
const WAIT_MS_MAX: i64 = 300_000;
/// How many messages' tries are remembered. When there are more, all are forgotten, and counted from one again.
const TRIED_MAX: usize = 16_384;

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It may be tried again, not before this time.
    At(Now),
    /// It was tried as often as it may be: so many times.
    Over(u32),
}

/// The failures of one destination. Each message has its own growing waits; a destination that fails for several in
/// succession rests as a whole, so that one which does not answer costs one time limit for each rest and not for each
/// message (I13).
#[derive(Debug)]
pub(super) struct Patience {
    tries_max: u32,
    tried: BTreeMap<EffectId, Tried>,
    /// Failures in succession, those at the same time counted once.
    fails: u32,
    rests_until: Now,
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    times: u32,
    again_at: Now,
}

fn wait_ms(fails: u32) -> i64 {
    (WAIT_MS_MIN << fails.saturating_sub(1).min(16)).min(WAIT_MS_MAX)
}

impl Patience {
    pub(super) fn new(tries_max: u32) -> Self {
        Self { tries_max: tries_max.max(1), tried: BTreeMap::new(), fails: 0, rests_until: Now(i64::MIN) }
    }

    /// Until when a message is not to be tried.
    pub(super) fn rests_until(&self, id: &EffectId, now: Now) -> Option<Now> {
        let own = self.tried.get(id).map_or(self.rests_until, |tried| tried.again_at);
        Some(own.max(self.rests_until)).filter(|until| *until > now)
    }

    /// A message that was tried at `now` did not arrive.
    pub(super) fn failed(&mut self, id: &EffectId, now: Now) -> Next {
        if self.rests_until <= now {
            self.fails = self.fails.saturating_add(1);
            self.rests_until = now.plus_ms(wait_ms(self.fails));
        }
        if self.tried.len() >= TRIED_MAX && !self.tried.contains_key(id) {
            self.tried.clear();
        }
        let tried = self.tried.entry(id.clone()).or_insert(Tried { times: 0, again_at: now });
        tried.times += 1;
        if tried.times >= self.tries_max {
            return Next::Over(tried.times);
        }
        tried.again_at = now.plus_ms(wait_ms(tried.times)).max(self.rests_until);
        Next::At(tried.again_at)
    }

    /// A message arrived: whoever takes one can take others.
    pub(super) fn arrived(&mut self) {
        (self.fails, self.rests_until) = (0, Now(i64::MIN));
    }

    /// A message is not tried any more, for whatever reason.
    pub(super) fn forget(&mut self, id: &EffectId) {
        self.tried.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(1_795_000_000_000);

    fn id(number: usize) -> EffectId {
        EffectId(format!("finding/{number}").into())
    }

    // R-W3
    #[test]
    fn waits_grow_up_to_a_bound_and_then_it_is_over() {
        let mut patience = Patience::new(10);
        let (mut now, mut waits) = (NOW, Vec::new());
        let over = loop {
            assert_eq!(patience.rests_until(&id(1), now), None);
            match patience.failed(&id(1), now) {
                Next::At(at) => {
                    assert_eq!(patience.rests_until(&id(1), Now(at.0 - 1)), Some(at));
                    waits.push((at.0 - now.0) / 1_000);
                    now = at;
                }
                Next::Over(times) => break times,
            }
        };
        assert_eq!((waits, over), (vec![5, 10, 20, 40, 80, 160, 300, 300, 300], 10));
        assert_eq!(Patience::new(0).failed(&id(1), NOW), Next::Over(1));
        assert_eq!((wait_ms(1), wait_ms(7), wait_ms(63), wait_ms(u32::MAX)), (5_000, 300_000, 300_000, 300_000));
    }

    // I13
    #[test]
    fn a_destination_that_fails_rests_for_all() {
        let mut patience = Patience::new(10);
        // Three at the same time count once.
        for number in 0..3 {
            assert_eq!(patience.failed(&id(number), NOW), Next::At(NOW.plus_ms(5_000)));
        }
        assert_eq!(patience.rests_until(&id(9), NOW.plus_ms(4_999)), Some(NOW.plus_ms(5_000)));
        let later = NOW.plus_ms(5_000);
        assert_eq!(patience.rests_until(&id(9), later), None);
        patience.failed(&id(9), later);
        assert_eq!(patience.rests_until(&id(0), later), Some(later.plus_ms(10_000)));
        // Whoever takes one message is tried with the others, but not sooner with the one that failed.
        patience.arrived();
        assert_eq!(patience.rests_until(&id(10), later), None);
        assert_eq!(patience.rests_until(&id(9), later), Some(later.plus_ms(10_000)));
        patience.forget(&id(9));
        assert_eq!(patience.rests_until(&id(9), later), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut patience = Patience::new(2);
        for number in 0..=TRIED_MAX {
            patience.failed(&id(number), NOW);
        }
        assert_eq!(patience.tried.len(), 1);
    }
}
