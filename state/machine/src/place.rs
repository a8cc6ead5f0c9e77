//! One account and region: the looks that all its sessions have in common.
//!
//! A live session of which a look learns nothing new is not written again: it rests. What would have been written, that
//! it was looked at and is as it was, is noted here once for all of them. So the cost of a look grows with accounts and
//! regions, not with sessions (R-W7).

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Now, Thing},
    mutation::{Mutation, made},
    settings::Settings,
};

/// After how many periods without a live session a place is not looked at any more.
const IDLE_PERIODS: i64 = 8;
/// For how many periods after the last live session of a place sessions may begin to rest in it. Well below
/// [`IDLE_PERIODS`]: so nobody begins to rest where the looks are about to end.
const FRESH_PERIODS: i64 = 2;

/// What is known of the looks at one account and region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The last time when all its sessions were looked at, and what that came to was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Now>,
    /// The last time when one of them was alive, or could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive_at: Option<Now>,
    /// The last change of something that a session resting in it rests on, and when that was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<(Now, Thing)>,
}

/// Something new about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceInput {
    /// A session in it could rest.
    Wanted,
    /// All its sessions were looked at, the resting ones included, and what that came to is stored.
    Looked {
        /// When.
        at: Now,
        /// Some of them live, or may.
        alive: bool,
    },
    /// Something changed that a session resting in it rests on (R-W17).
    Changed(Thing),
}

impl Place {
    /// Takes one input in. The order of inputs does not matter.
    pub fn absorb(&mut self, input: PlaceInput, now: Now) {
        match input {
            PlaceInput::Wanted => self.alive_at = self.alive_at.max(Some(now)),
            PlaceInput::Looked { at, alive } => {
                self.looked_at = self.looked_at.max(Some(at));
                if alive {
                    self.alive_at = self.alive_at.max(Some(at));
                }
            }
            PlaceInput::Changed(thing) => {
                let changed = Some((now, thing));
                if changed > self.changed {
                    self.changed = changed;
                }
            }
        }
    }

    /// When to look again; never where nothing has lived in it for a while. After a change at once, and once more a little
    /// later: what it did can show only then (R-W17).
    pub fn due_at(&self, settings: &Settings) -> Option<Now> {
        let usual = self.looked_at.max(self.alive_at).zip(self.alive_at).and_then(|(last, alive)| {
            let idle_at = alive.plus_ms(settings.recheck_ms.saturating_mul(IDLE_PERIODS));
            (last < idle_at && !made(Mutation::PlaceNotRenewed)).then(|| last.plus_ms(settings.recheck_ms))
        });
        [usual, self.settles_at(settings)].into_iter().flatten().min()
    }

    /// When to look what the last change did, while that has not been seen for good.
    fn settles_at(&self, settings: &Settings) -> Option<Now> {
        let (at, _) = self.changed.as_ref()?;
        let settled = at.plus_ms(settings.settle_ms);
        match self.looked_at {
            Some(looked) if looked >= settled => None,
            Some(looked) if looked >= *at => Some(settled),
            Some(_) | None => Some(*at),
        }
    }

    /// Whether it is not known for good yet what the last change did.
    pub fn is_unsettled(&self, settings: &Settings) -> bool {
        self.settles_at(settings).is_some()
    }

    /// Whether sessions may begin to rest: somebody looks at this place, and will go on for a while.
    pub fn takes(&self, now: Now, settings: &Settings) -> bool {
        let fresh_ms = settings.recheck_ms.saturating_mul(FRESH_PERIODS);
        self.alive_at.is_some_and(|alive| now < alive.plus_ms(fresh_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{AccountId, ThingKind};

    fn place(inputs: &[(i64, PlaceInput)]) -> Place {
        let mut place = Place::default();
        for (seconds, input) in inputs {
            place.absorb(input.clone(), Now(seconds * 1_000));
        }
        place
    }

    fn thing(id: &str) -> Thing {
        Thing { kind: ThingKind::Role, account: AccountId::new(7).expect("a small number"), id: id.into() }
    }

    fn looked(seconds: i64, alive: bool) -> (i64, PlaceInput) {
        (seconds, PlaceInput::Looked { at: Now(seconds * 1_000), alive })
    }

    // R-W7, I8
    #[test]
    fn a_place_is_looked_at_as_long_as_something_lives_in_it() {
        let settings = Settings::default();
        let due = |inputs: &[_]| place(inputs).due_at(&settings).map(|at| at.0 / 1_000);
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[(7, PlaceInput::Wanted)]), Some(22));
        assert_eq!(due(&[(7, PlaceInput::Wanted), looked(20, true)]), Some(35));
        assert_eq!(due(&[looked(20, true), looked(139, false)]), Some(154));
        assert_eq!(due(&[looked(20, true), looked(140, false)]), None);
        assert_eq!(due(&[looked(20, true), looked(140, false), (150, PlaceInput::Wanted)]), Some(165));
    }

    // R-W17
    #[test]
    fn after_a_change_a_place_is_looked_at_at_once_and_once_more() {
        let settings = Settings { settle_ms: 6_000, ..Settings::default() };
        let changed = |seconds| (seconds, PlaceInput::Changed(thing("role/web")));
        let due = |inputs: &[_]| place(inputs).due_at(&settings).map(|at| at.0 / 1_000);
        assert_eq!(due(&[looked(20, true), changed(25)]), Some(25));
        assert_eq!(due(&[changed(25), looked(20, true)]), Some(25));
        assert_eq!(due(&[looked(20, true), changed(25), looked(25, true)]), Some(31));
        assert_eq!(due(&[looked(20, true), changed(25), looked(31, true)]), Some(46));
        // Somebody rests in it, whatever its note says.
        assert_eq!(due(&[looked(20, false), changed(25)]), Some(25));
    }

    #[test]
    fn nobody_begins_to_rest_where_looks_are_about_to_end() {
        let settings = Settings::default();
        let takes = |inputs: &[_], seconds: i64| place(inputs).takes(Now(seconds * 1_000), &settings);
        assert!(!takes(&[], 0));
        assert!(takes(&[(7, PlaceInput::Wanted)], 36));
        assert!(!takes(&[(7, PlaceInput::Wanted)], 37));
        assert!(!takes(&[looked(20, true), looked(51, false)], 51));
        assert!(takes(&[looked(20, true), looked(51, true)], 52));
    }

    proptest! {
        #[test]
        fn the_order_of_inputs_does_not_matter(
            mut inputs in prop::collection::vec((0..200_i64, 0..5), 0..8), turn in 0_usize..8,
        ) {
            let all = |inputs: &[(i64, i32)]| {
                let inputs = inputs.iter().map(|(seconds, kind)| match kind {
                    0 => (*seconds, PlaceInput::Wanted),
                    kind @ 3.. => (*seconds, PlaceInput::Changed(thing(&kind.to_string()))),
                    kind => looked(*seconds, *kind == 1),
                });
                place(&inputs.collect::<Vec<_>>())
            };
            let before = all(&inputs);
            let turn = turn % inputs.len().max(1);
            inputs.rotate_left(turn);
            prop_assert_eq!(all(&inputs), before);
        }
    }
}
