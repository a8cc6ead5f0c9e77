//! Tries cases, and says which controls have them on both sides.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    ids::EventTime,
};

use super::{Case, Expected};

/// What came of trying cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The hash of the policy.
    pub policy: Arc<str>,
    /// How many cases there are.
    pub cases: usize,
    /// Those that failed, in their order.
    pub failed: Vec<Failed>,
    /// How many controls there are.
    pub controls: usize,
    /// How many of them have a case that violates them and a case that names them as clear.
    pub both_sides: usize,
    /// The others, by id.
    pub one_sided: Vec<OneSided>,
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// What it shows.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// What it expects.
    pub expected: Expected,
    /// Controls that it names as clear.
    pub clear: Vec<String>,
    /// What the policies say.
    pub found: Expected,
}

/// A control that lacks a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OneSided {
    /// The control.
    pub control: Arc<str>,
    /// No case violates it.
    pub no_violation: bool,
    /// No case names it as clear.
    pub no_clear: bool,
}

/// Tries `cases` with the policy of `judge`; `now` is the time of cases that name none.
pub fn test(cases: &[Case], judge: &Arc<Judge>, now: EventTime) -> Tested {
    let mut verdicts = Verdicts::new(Arc::clone(judge));
    let (mut failed, mut violated, mut clear) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let (expected, found) = (case.facts.expected(), case.judge(&mut verdicts, now));
        violated.extend(expected.violated.iter().chain(&expected.waived).cloned());
        clear.extend(case.facts.clear().iter().cloned());
        let named = |id: &String| [&found.violated, &found.undecided, &found.waived].iter().any(|ids| ids.contains(id));
        if found != expected || case.facts.clear().iter().any(named) {
            failed.push(Failed {
                name: case.facts.name().to_owned(),
                file: case.file.clone(),
                line: case.line,
                clear: case.facts.clear().to_vec(),
                expected,
                found,
            });
        }
    }
    let one_sided: Vec<_> = judge
        .controls()
        .iter()
        .map(|control| OneSided {
            control: Arc::clone(&control.id),
            no_violation: !violated.contains(&*control.id),
            no_clear: !clear.contains(&*control.id),
        })
        .filter(|control| control.no_violation || control.no_clear)
        .collect();
    let controls = judge.controls().len();
    Tested {
        policy: Arc::clone(judge.policy_hash()),
        cases: cases.len(),
        failed,
        controls,
        both_sides: controls - one_sided.len(),
        one_sided,
    }
}
