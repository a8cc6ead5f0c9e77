//! Makes a failure small: fewer faults, fewer people, a shorter time, and still the same promise broken.

use std::collections::BTreeSet;

use super::{
    Outcome,
    chance::Occurrence,
    plan::{Act, Plan},
    run,
};

/// What is left of a failure.
#[derive(Debug)]
pub struct Small {
    /// The plan.
    pub plan: Plan,
    /// What comes of it, with its trace.
    pub outcome: Outcome,
    /// How many runs it took.
    pub runs: u32,
}

/// Parts of a plan that can be left out.
struct Shrinker<'a> {
    plan: Plan,
    id: &'static str,
    runs: u32,
    runs_max: u32,
    tell: &'a mut dyn FnMut(&str),
}

impl Shrinker<'_> {
    /// Whether a smaller plan still breaks the same promise.
    fn fails(&mut self, plan: &Plan) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        run(plan, false).broken.is_some_and(|(_, broken)| broken.id == self.id)
    }

    fn faults(&mut self, happened: Vec<Occurrence>) {
        let kept = self.minimize(happened, |plan, kept| plan.only = Some(kept.iter().copied().collect()));
        self.plan.only = Some(kept.into_iter().collect());
    }

    fn acts(&mut self) {
        let kept = self.minimize(self.plan.acts.clone(), |plan, kept: &[Act]| plan.acts = kept.to_vec());
        self.plan.acts = kept;
    }

    /// Leaves out one part after the other, first large ones, then small ones.
    fn minimize<T: Clone>(&mut self, mut items: Vec<T>, set: impl Fn(&mut Plan, &[T])) -> Vec<T> {
        let mut parts = 1;
        while !items.is_empty() && parts <= 2 * items.len() {
            let size = items.len().div_ceil(parts);
            let mut smaller = None;
            for from in (0..items.len()).step_by(size) {
                let rest: Vec<T> =
                    items[..from].iter().chain(&items[(from + size).min(items.len())..]).cloned().collect();
                let mut plan = self.plan.clone();
                set(&mut plan, &rest);
                if self.fails(&plan) {
                    smaller = Some(rest);
                    break;
                }
            }
            match smaller {
                Some(rest) => {
                    items = rest;
                    (self.tell)(&format!("{} left, {} runs", items.len(), self.runs));
                    parts = parts.saturating_sub(1).max(1);
                }
                None if size == 1 || self.runs >= self.runs_max => break,
                None => parts *= 2,
            }
        }
        items
    }
}

/// The smallest plan that was found in `runs_max` runs to break the same promise as `outcome`.
///
/// # Panics
/// `outcome` broke none.
pub fn shrink(plan: &Plan, outcome: &Outcome, runs_max: u32, tell: &mut dyn FnMut(&str)) -> Small {
    let (at, broken) = outcome.broken.as_ref().unwrap_or_else(|| panic!("nothing is broken"));
    let mut shrinker = Shrinker { plan: plan.clone(), id: broken.id, runs: 0, runs_max, tell };
    let until_ms = (at.0 - super::sim::START.0 + 1_000).min(plan.faulty_ms);
    let short = Plan { faulty_ms: until_ms, ..plan.clone() };
    if shrinker.fails(&short) {
        shrinker.plan = short;
    }
    let cut: BTreeSet<Occurrence> = outcome.happened.iter().copied().collect();
    shrinker.faults(cut.into_iter().collect());
    shrinker.acts();
    let happened = shrinker.plan.only.clone().unwrap_or_default();
    shrinker.faults(happened.into_iter().collect());
    let (plan, runs) = (shrinker.plan, shrinker.runs);
    let outcome = run(&plan, true);
    Small { plan, outcome, runs }
}
