//! Each check holds for a sound state, and fails for an unsound one.

use super::*;
use crate::{
    account::{AccountInput, Episode},
    effect::{Counted, RemedyResult, Severity},
    ids::EffectId,
    register::Entry,
    session::{Input, Waived, tests::support::*},
    settings::QuarantineSettings,
};

/// The ids of what does not hold, with the due time that the session itself wants.
fn broken(desk: &mut Desk, session: &Session, seconds: i64) -> Vec<&'static str> {
    let verdict = desk.verdict(session);
    let due = session.due_at(&verdict, &desk.settings);
    ids_of(&check_session(session, &verdict, due, now(seconds), &desk.settings))
}

fn ids_of(broken: &[Broken]) -> Vec<&'static str> {
    broken.iter().map(|one| one.id).collect()
}

fn played(desk: &mut Desk, inputs: impl IntoIterator<Item = (i64, Input)>) -> Session {
    let mut one = session();
    desk.play(&mut one, inputs);
    one
}

fn port() -> (i64, Input) {
    (0, opened(0, 1, NODE, Some(PORT)))
}

#[test]
fn a_whole_life_breaks_nothing() {
    for mut desk in [Desk::observing(), Desk::enforcing()] {
        let mut one = session();
        let inputs = [
            (0, start(0)),
            (1, alive(1, &GOOD)),
            (16, alive(16, &BAD)),
            (17, tried(RemedyResult::Done)),
            (22, ended(22, 18)),
            (50, look(50, found(49))),
        ];
        for (seconds, input) in inputs {
            let effects = desk.step(&mut one, input, seconds);
            assert_eq!(broken(&mut desk, &one, seconds), [] as [&str; 0], "at {seconds} s");
            let done = effects.iter().map(|effect| effect.id().clone()).collect();
            desk.step(&mut one, Input::Done(done), seconds);
            assert_eq!(broken(&mut desk, &one, seconds), [] as [&str; 0], "at {seconds} s");
        }
    }
}

// I1
#[test]
fn i1_an_unconfirmed_termination_needs_its_incident() {
    let mut desk = Desk::enforcing();
    let mut one = played(&mut desk, [port(), (1, tried(RemedyResult::Done)), (1, alive(1, &GOOD))]);
    desk.step(&mut one, alive(121, &GOOD), 120);
    assert_eq!(broken(&mut desk, &one, 120), [] as [&str; 0]);
    assert_eq!(broken(&mut desk, &one, 121), ["I1"]);
    let effects = desk.step(&mut one, Input::Wake, 121);
    let done = effects.iter().map(|effect| effect.id().clone()).collect();
    desk.step(&mut one, Input::Done(done), 121);
    assert_eq!(broken(&mut desk, &one, 121), [] as [&str; 0]);
}

// I8
#[test]
fn i8_a_live_session_needs_a_time_that_is_not_long_past() {
    let mut desk = Desk::observing();
    let one = played(&mut desk, [(0, start(0)), (1, alive(1, &GOOD))]);
    let verdict = desk.verdict(&one);
    let check = |due, seconds| ids_of(&check_session(&one, &verdict, due, now(seconds), &desk.settings));
    assert_eq!(check(Some(now(16)), 76), [] as [&str; 0]);
    assert_eq!(check(Some(now(16)), 77), ["I8"]);
    assert_eq!(check(None, 2), ["I8"]);
    // History is not watched.
    let history = desk.settings.clone().without_organization();
    assert_eq!(check_session(&one, &verdict, None, now(900), &history), []);
}

// I10, I11
#[test]
fn i10_a_termination_needs_a_violated_control() {
    let mut desk = Desk::enforcing();
    let one = played(&mut desk, [(0, start(0)), (1, alive(1, &GOOD)), (2, tried(RemedyResult::Done))]);
    assert_eq!(broken(&mut desk, &one, 2), ["I10"]);
    // I11: nobody even knows what was ended.
    let one = played(&mut desk, [(0, resume(0, 1)), (2, tried(RemedyResult::Done))]);
    assert_eq!(broken(&mut desk, &one, 2), ["I10", "I11"]);
}

// I11, I15
#[test]
fn i11_and_i15_a_closing_needs_answers_and_lasts() {
    let mut desk = Desk::observing();
    let mut one = played(&mut desk, [(0, executed(0, 1)), (20, terminate(20, 9))]);
    one.done = Some(Box::new([EffectId("verdict".into())].into()));
    let verdict = Verdict::default();
    let due = None;
    // Called compliant, although AWS was never asked.
    assert_eq!(ids_of(&check_session(&one, &verdict, due, now(20), &desk.settings)), ["I11"]);
    // I15: closed, and now open although AWS did not show it alive.
    one.terminated = None;
    let due = Some(now(20));
    assert_eq!(ids_of(&check_session(&one, &verdict, due, now(20), &desk.settings)), ["I15"]);
    desk.step(&mut one, alive(21, &[]), 21);
    assert_eq!(broken(&mut desk, &one, 21), [] as [&str; 0]);
}

// I16
#[test]
fn i16_a_waiver_does_not_work_after_its_end() {
    let mut desk = Desk::observing();
    let one = played(&mut desk, [(0, start(0)), (50, alive(50, &GOOD))]);
    let check = |until| {
        let verdict = Verdict {
            waived: vec![Waived { control: 0, control_id: "C".into(), waiver: "W".into(), until: at(until) }],
            ..Verdict::default()
        };
        ids_of(&check_session(&one, &verdict, Some(now(50)), now(50), &desk.settings))
    };
    assert_eq!((check(51), check(50), check(49)), (vec![], vec!["I16"], vec!["I16"]));
}

fn locked() -> (Account, Settings) {
    let quarantine = QuarantineSettings { mode: Mode::Enforce, ..QuarantineSettings::default() };
    let settings = Settings { mode: Mode::Enforce, quarantine, ..Settings::default() };
    let mut one = Account::new(account(ACCOUNT));
    for n in 0..10 {
        let counted = Counted {
            at: at(n),
            session: key(&n.to_string()),
            principal: principal("ann").arn,
            controls: [].into(),
            severity: Severity::High,
        };
        one.step(AccountInput::Counted(counted), now(n), &settings);
    }
    one.step(AccountInput::Granted { episode: 1 }, now(10), &settings);
    assert_eq!(check_account(&one, &settings), []);
    (one, settings)
}

fn change(one: &Account, change: impl FnOnce(&mut Episode)) -> Account {
    let mut one = one.clone();
    change(one.episode.as_mut().unwrap());
    one
}

// I5, I6
#[test]
fn i5_and_i6_a_lock_needs_the_threshold_and_an_account_that_may_be_locked() {
    let (one, mut settings) = locked();
    assert_eq!(ids_of(&check_account(&change(&one, |episode| episode.sessions = 9), &settings)), ["I5"]);
    settings.quarantine.exempt = [account(ACCOUNT)].into();
    assert_eq!(ids_of(&check_account(&one, &settings)), ["I6"]);
    let refused = change(&one, |episode| episode.decision = Decision::Refused("x".into()));
    assert_eq!(check_account(&refused, &settings), []);
    settings.quarantine.exempt.clear();
    settings.management_account = Some(account(ACCOUNT));
    assert_eq!(ids_of(&check_account(&one, &settings)), ["I6"]);
    settings.management_account = None;
    assert_eq!(ids_of(&check_account(&change(&one, |episode| episode.approvals_needed = 1), &settings)), ["I6"]);
    let unasked = change(&one, |episode| episode.asked_at = None);
    assert_eq!(ids_of(&check_account(&unasked, &settings)), ["I6"]);
}

// I7
#[test]
fn i7_a_lock_needs_a_grant_and_an_end_after_it() {
    let (one, settings) = locked();
    assert!(one.due_at(now(11), &settings).is_some());
    let early = change(&one, |episode| episode.released_at = Some(now(1)));
    assert_eq!(ids_of(&check_account(&early, &settings)), ["I7"]);
    let ungranted = change(&one, |episode| (episode.locked_at, episode.granted_at) = (Some(now(9)), None));
    assert_eq!(ids_of(&check_account(&ungranted, &settings)), ["I7"]);
    let sound = change(&one, |episode| (episode.locked_at, episode.released_at) = (Some(now(11)), Some(now(12))));
    assert_eq!(check_account(&sound, &settings), []);
}

// I6
#[test]
fn i6_the_register_keeps_the_caps() {
    let settings = locked().1;
    let entry = Entry { granted_at: Some(now(1)), ..Entry::new(1, Severity::High, 10, now(0)) };
    let with = |count: u64| Register {
        entries: (1..=count).map(|number| (account(number), entry.clone())).collect(),
        ..Register::default()
    };
    assert_eq!(check_register(&with(3), &settings), []);
    assert_eq!(ids_of(&check_register(&with(4), &settings)), ["I6"]);
    let hourly = Register { grants: vec![now(1); 6], ..Register::default() };
    assert_eq!(ids_of(&check_register(&hourly, &settings)), ["I6"]);
}
