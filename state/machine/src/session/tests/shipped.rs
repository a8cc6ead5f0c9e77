//! Whole sessions before the shipped controls.

use super::support::*;
use crate::{
    compliance::{EvidenceKind as E, Tri},
    effect::{Effect, Mode, RemedyResult, Report},
    session::{Described, Input, Life, LogLook, Session},
};

const THEIRS: &str = "arn:aws:ssm:eu-central-1:444455556666:document/SSM-SessionManagerRunShell";
const DEFAULT_ARN: &str = "arn:aws:ssm:eu-central-1:111122223333:document/SSM-SessionManagerRunShell";
/// The controls that this table asks about where they can stay open.
const ASKED: [&str; 3] = ["SW-DOC-04", "SW-ECS-01", "SW-LOG-01"];
const OPEN: [&str; 2] = ["SW-DOC-04", "SW-LOG-01"];
const LOG: [&str; 1] = ["SW-LOG-01"];

fn exec(answer: Tri) -> Input {
    let described = Described { target: "ecs:c_t_n".into(), ..described() };
    round(1, Life::Alive(described), &[(E::ContainerLogged, answer)], LogLook::Unknown)
}

fn jit() -> Input {
    round(1, Life::Alive(Described { access_type: "JustInTime".into(), ..described() }), &GOOD, LogLook::Unknown)
}

/// What is known, what is violated, what stays open.
#[test]
fn each_session_violates_its_control_or_leaves_it_open() {
    let row = |inputs: Vec<Input>, violated_controls: &[&str], open: &[&str]| {
        let mut desk = Desk::observing();
        let mut one = session();
        for input in inputs.clone() {
            desk.step(&mut one, input, 1);
        }
        let mut left = desk.unproven(&one);
        left.retain(|id| ASKED.contains(&&**id));
        assert_eq!(
            (violated(&one), left),
            (violated_controls.to_vec(), open.iter().map(ToString::to_string).collect()),
            "{inputs:?}"
        );
    };
    let with = |document: &str| vec![opened(0, 1, NODE, Some(document))];
    // R-G2
    row(vec![start(0)], &[], &OPEN);
    row(vec![start(0), alive(1, &GOOD)], &[], &[]);
    // R-W16
    row(with(DEFAULT_ARN), &[], &OPEN);
    // TH1
    row(with("Mine"), &["SW-DOC-01"], &LOG);
    row(with(THEIRS), &["SW-DOC-01"], &LOG);
    // TH2
    row(with(PORT), &["SW-DOC-02"], &LOG);
    row(with("AWS-StartPortForwardingSessionToRemoteHost"), &["SW-DOC-02"], &LOG);
    row(with("AWS-StartSSHSession"), &["SW-DOC-02"], &LOG);
    // TH3
    row(with("AWS-StartInteractiveCommand"), &["SW-DOC-03"], &LOG);
    row(with("AWS-StartNonInteractiveCommand"), &["SW-DOC-03"], &LOG);
    // TH4
    row(vec![resume(0, 1)], &[], &[]);
    row(vec![resume(5, 1), alive(6, &BAD)], &["SW-LOG-01", "SW-RES-01"], &[]);
    // TH7
    row(vec![executed(0, 1)], &[], &["SW-ECS-01"]);
    row(vec![executed(0, 1), exec(Tri::No)], &["SW-ECS-01"], &[]);
    row(vec![executed(0, 1), exec(Tri::Yes)], &[], &[]);
    // TH8
    row(vec![opened(0, 1, "ecs:c_t_n", None)], &["SW-TGT-01"], &OPEN);
    row(vec![opened(0, 1, "sagemaker-cluster:c_g-i", None)], &["SW-TGT-01"], &OPEN);
    // TH11
    row(vec![start(0), jit()], &["SW-JIT-01"], &[]);
    row(vec![jit()], &["SW-JIT-01"], &[]);
    // TH20, R-G3
    row(vec![start(0), alive(1, &BAD)], &["SW-LOG-01"], &[]);
    // TH26
    row(vec![start(0), alive(1, &[GOOD[0], (E::DocumentAsWanted, Tri::No)])], &["SW-DOC-04"], &[]);
}

// TH17
#[test]
fn a_session_in_a_region_that_is_not_allowed_is_violating() {
    let mut desk = Desk::observing();
    for (regions, expected) in
        [(vec![], vec![]), (vec!["eu-central-1"], vec![]), (vec!["eu-west-1"], vec!["SW-REG-01"])]
    {
        desk.settings.allowed_regions = regions.into_iter().map(Into::into).collect();
        let mut one = session();
        desk.step(&mut one, start(0), 1);
        assert_eq!(violated(&one), expected);
    }
}

// TH18: ended and reported, but not counted.
#[test]
fn a_session_in_the_management_account_is_ended_and_not_counted() {
    let mut desk = Desk::enforcing();
    desk.settings.management_account = Some(account(ACCOUNT));
    let mut one = session();
    assert_eq!(ids(&desk.step(&mut one, start(0), 1)), ["finding/*/SW-ACC-01", "terminate/*"]);
    let effects = desk.play(&mut one, [(2, alive(2, &GOOD)), (9, ended(9, 8))]);
    assert_eq!(ids(&effects), ["finding/*/SW-ACC-01", "terminate/*"]);
}

// TH2: the finding's content tells everything that a reader needs.
#[test]
fn a_finding_carries_its_reason() {
    let mut desk = Desk::observing();
    let mut one = session();
    let effects = desk.step(&mut one, opened(3, 7, NODE, Some(PORT)), 5);
    let reports: Vec<_> = effects.into_iter().filter_map(report).collect();
    insta::assert_json_snapshot!(reports);
}

/// A report without the policy's hash, which changes with every word of the policies.
fn report(effect: Effect) -> Option<Report> {
    let Effect::Report(mut report) = effect else { return None };
    if let Report::Finding(finding) = &mut report {
        assert_eq!(finding.policy.len(), 32);
        finding.policy = "hash".into();
    }
    Some(report)
}

// I10: what ended a session stays visible with the policy that was in force.
#[test]
fn another_policy_does_not_rewrite_a_kept_violation() {
    let waived = with_waivers(&waiver("W", "SW-DOC-02", 30, "true"));
    let mut old = Desk::new(waived, Mode::Observe);
    let mut one = session();
    old.play(&mut one, [(0, opened(0, 1, NODE, Some(PORT))), (40, alive(40, &GOOD))]);
    let kept = one.violations.clone().unwrap();
    assert_eq!(kept["SW-DOC-02"].since, at(30));
    // Without the waiver it would have begun at the start: earlier, but under another policy.
    let mut new = Desk::observing();
    new.step(&mut one, Input::Wake, 50);
    assert_eq!(one.violations.as_deref(), Some(&*kept));
    // A control that only the new policy violates is added under the new policy.
    new.step(&mut one, alive(60, &BAD), 60);
    let found = one.violations.unwrap();
    assert_eq!(found["SW-DOC-02"], kept["SW-DOC-02"]);
    assert_eq!(&found["SW-LOG-01"].policy, new.verdicts.judge().policy_hash());
    assert_ne!(found["SW-LOG-01"].policy, found["SW-DOC-02"].policy);
}

/// Under one policy a violation that turns out to have begun earlier is corrected.
#[test]
fn an_earlier_beginning_is_taken_in() {
    let mut desk = Desk::observing();
    let mut one = Session::new(session().key, now(0));
    desk.step(&mut one, alive(20, &BAD), 20);
    assert_eq!(one.violations.as_ref().unwrap()["SW-LOG-01"].since, at(20));
    desk.step(&mut one, alive(10, &BAD), 21);
    assert_eq!(one.violations.as_ref().unwrap()["SW-LOG-01"].since, at(10));
}

// R-G10, R-G11: one notification for each finding and remedy, done apart from the report itself.
#[test]
fn people_are_told_of_findings_and_remedies_once() {
    let mut desk = Desk::enforcing();
    (desk.settings.notify, desk.settings.activity) = (true, true);
    let mut one = session();
    let first = desk.step(&mut one, opened(0, 7, NODE, Some(PORT)), 1);
    let told = |effects: &[Effect]| -> Vec<String> {
        ids(effects).into_iter().filter(|id| id.starts_with("notify/")).collect()
    };
    assert_eq!(told(&first), ["notify/finding/*/SW-DOC-02"]);
    let id = |effects: &[Effect], kind: &str| {
        effects.iter().map(Effect::id).find(|id| id.0.starts_with(kind)).unwrap().clone()
    };
    // The report is written, and nobody has been told yet.
    let left = desk.step(&mut one, Input::Done(vec![id(&first, "finding/")]), 2);
    assert_eq!(told(&left), ["notify/finding/*/SW-DOC-02"]);
    let left = desk.step(&mut one, Input::Done(vec![id(&left, "notify/finding/")]), 3);
    assert_eq!(told(&left), [] as [&str; 0]);
    let over = desk.play(&mut one, [(4, alive(4, &GOOD)), (5, tried(RemedyResult::Done)), (9, ended(9, 8))]);
    assert_eq!(told(&over), ["notify/terminate/*"]);
    let over = desk.step(&mut one, Input::Done(vec![id(&over, "notify/terminate/")]), 10);
    assert_eq!(told(&over), [] as [&str; 0]);
    assert!(ids(&over).contains(&"terminate/*".to_owned()), "the remedy itself is still to be reported");
}
