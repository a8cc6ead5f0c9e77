//! What a node's role may do: the twelve actions of a logged session, decided anew and remembered.

mod policies;

use std::{collections::HashMap, hint::black_box, sync::Arc};

use anyhow::{Result, ensure};
use foldhash::fast::FixedState;
use sessionwarden::replay::cpu_seconds;
use sessionwarden_machine::permission::{ActionCheck, Answer, Caller, Context, LogTargets, check_actions};

use super::{
    Bench,
    report::{Line, Section},
};

const CHECKS: usize = 20_000;
const HITS: usize = 5_000_000;
/// Roles whose checks are remembered: as many as a large organisation has for its nodes.
const ROLES: usize = 1_000;
const TARGET_US: f64 = 50.0;

/// A role by its id, and the versions of all policies that decide.
type Key = (Box<str>, Box<[Box<str>]>);
type Memory = HashMap<Key, Arc<[ActionCheck]>, FixedState>;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let (caller, targets, context) = (policies::caller()?, policies::targets()?, policies::context());
    let least = |seconds: fn(&Caller, &LogTargets, &Context) -> Result<f64>| -> Result<f64> {
        let mut least = f64::MAX;
        for _ in 0..bench.rounds {
            least = least.min(seconds(&caller, &targets, &context)?);
        }
        Ok(least)
    };
    let anew = least(seconds_anew)? * 1e6;
    let remembered = least(seconds_remembered)? * 1e6;
    Ok(Section {
        title: "IAM",
        method: format!(
            "Processor time for deciding the twelve actions of a logged session, one thread, policies parsed before: a \
             role with ten policies of {} characters, a boundary, three levels of SCPs, a bucket and two keys in \
             another account with policies of their own; all twelve are allowed. Remembered: one of {ROLES} roles is \
             found in a hash map by its id and the versions of its policies.",
            policies::identity_chars(),
        ),
        lines: vec![
            Line::at_most("twelve actions, decided anew", anew, TARGET_US, microseconds),
            Line::shown("twelve actions, remembered", microseconds(remembered)),
        ],
    })
}

fn microseconds(us: f64) -> String {
    if us >= 1.0 { format!("{us:.1} µs") } else { format!("{us:.3} µs") }
}

/// Processor seconds for one check.
fn seconds_anew(caller: &Caller, targets: &LogTargets, context: &Context) -> Result<f64> {
    let mut allowed = 0;
    let before = cpu_seconds();
    for _ in 0..CHECKS {
        let checks = check_actions(black_box(caller), black_box(targets), black_box(context));
        allowed += checks.iter().filter(|it| it.decision.answer == Answer::Allow).count();
    }
    let seconds = cpu_seconds() - before;
    ensure!(allowed == 12 * CHECKS, "{allowed} actions were allowed, not {}", 12 * CHECKS);
    Ok(seconds / CHECKS as f64)
}

/// Processor seconds for finding one check.
fn seconds_remembered(caller: &Caller, targets: &LogTargets, context: &Context) -> Result<f64> {
    let keys: Vec<Key> = (0..ROLES).map(key).collect();
    let checks: Arc<[ActionCheck]> = check_actions(caller, targets, context).into();
    let memory: Memory = keys.iter().map(|key| (key.clone(), Arc::clone(&checks))).collect();
    let mut found = 0;
    let before = cpu_seconds();
    for at in 0..HITS {
        found += memory.get(black_box(&keys[at * 7 % ROLES])).map_or(0, |checks| checks.len());
    }
    let seconds = cpu_seconds() - before;
    ensure!(found == 12 * HITS, "{found} actions were found, not {}", 12 * HITS);
    Ok(seconds / HITS as f64)
}

/// Versions of ten policies, boundary, SCPs, bucket and keys.
fn key(role: usize) -> Key {
    let versions = (0..17).map(|policy| format!("v{}", (role + policy) % 9 + 1).into()).collect();
    (format!("AROA{role:017}").into(), versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_what_is_said() {
        let (mut caller, mut targets, context) =
            (policies::caller().unwrap(), policies::targets().unwrap(), policies::context());
        let allowed = |caller: &Caller, targets: &LogTargets| {
            let checks = check_actions(caller, targets, &context);
            let refused: Vec<_> = checks.iter().filter(|it| it.decision.answer != Answer::Allow).collect();
            (checks.len(), refused.len(), format!("{refused:?}"))
        };
        let (checks, refused, which) = allowed(&caller, &targets);
        assert_eq!((checks, refused, caller.identity.len(), caller.scps.len()), (12, 0, 10, 3), "{which}");
        // Every policy beside those of the role is needed, too.
        targets.keys[0].policy = None;
        assert_eq!(allowed(&caller, &targets).1, 2);
        targets.object.as_mut().unwrap().policy = None;
        assert_eq!(allowed(&caller, &targets).1, 3);
        caller.scps[2].clear();
        assert_eq!(allowed(&caller, &targets).1, 12);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!([microseconds(21.44), microseconds(0.0314)], ["21.4 µs", "0.031 µs"]);
    }
}
