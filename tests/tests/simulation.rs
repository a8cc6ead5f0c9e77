//! The simulation in short: a few seeds, each fault, and the seeds of bugs that were found.

use std::collections::BTreeSet;

use sessionwarden_tests::simulation::{
    Outcome,
    chance::Fault,
    plan::{Plan, Wanted},
    run,
};

fn plan(seed: u64, hours: f64, faults: Option<&[Fault]>) -> Plan {
    let faults = faults.map(|faults| faults.iter().copied().collect::<BTreeSet<_>>());
    Plan::draw(seed, hours, &Wanted { faults, standard: false })
}

fn sound(plan: &Plan) -> Outcome {
    let outcome = run(plan, false);
    assert_eq!(outcome.broken, None, "seed {}", plan.seed);
    outcome
}

// I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I11 I12 I13 I14 I15 I16
#[test]
fn promises_hold_whatever_goes_wrong_and_equal_seeds_run_equally() {
    for seed in 0..6 {
        let plan = plan(seed, 0.2, None);
        let (first, second) = (sound(&plan), sound(&plan));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert!(first.digest.1 > 500, "something happens");
    }
}

#[test]
fn promises_are_checked_and_nothing_goes_wrong_without_faults() {
    let outcome = sound(&plan(3, 0.6, Some(&[])));
    assert_eq!(outcome.happened, []);
    for id in ["I2", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11", "I14"] {
        assert!(outcome.checks.get(id).is_some_and(|count| *count > 0), "{id}: {:?}", outcome.checks);
    }
}

/// A fault that never happens is a defect of the simulation.
#[test]
fn each_fault_happens() {
    for fault in Fault::ALL {
        let happens = (0..12).any(|seed| {
            let mut plan = plan(seed, 0.4, Some(&[*fault]));
            plan.rates.insert(*fault, fault.rates().1);
            let outcome = sound(&plan);
            outcome.faults().contains_key(fault)
        });
        assert!(happens, "{} never happens", fault.name());
    }
}
