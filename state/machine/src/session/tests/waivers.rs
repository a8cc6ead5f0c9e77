//! Waivers and their ends.

use super::support::*;
use crate::{
    effect::{Effect, Mode},
    session::{Phase, Session},
};

fn desk(mode: Mode) -> Desk {
    Desk::new(with_waivers(&waiver("W", "SW-DOC-02", 100, "principal.name == \"ann\"")), mode)
}

fn port(desk: &mut Desk, begun: i64) -> Session {
    let mut one = session();
    desk.step(&mut one, opened(begun, 1, NODE, Some(PORT)), begun);
    one
}

// I16, R-G22
#[test]
fn a_waiver_works_strictly_before_its_end() {
    let mut desk = desk(Mode::Enforce);
    for (begun, expected) in [(0, vec![]), (99, vec![]), (100, vec!["SW-DOC-02"]), (101, vec!["SW-DOC-02"])] {
        assert_eq!(violated(&port(&mut desk, begun)), expected, "begun at {begun}");
    }
    let one = port(&mut desk, 0);
    assert_eq!(desk.verdict(&one).waived.iter().map(|waived| waived.until).collect::<Vec<_>>(), [at(100)]);
}

// I16: the violation begins when the waiver ends, as soon as the session is seen to have lived so long.
#[test]
fn a_session_that_outlives_its_waiver_violates_from_then_on() {
    let mut desk = desk(Mode::Enforce);
    let mut one = port(&mut desk, 0);
    desk.step(&mut one, alive(95, &GOOD), 95);
    assert_eq!(violated(&one), [] as [&str; 0]);
    // I8, I16: the next look is at the waiver's end, not a whole period later.
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Live, Some(100_000)));
    let effects = desk.step(&mut one, alive(100, &GOOD), 100);
    assert_eq!(ids(&effects), ["finding/*/SW-DOC-02", "terminate/*"]);
    assert_eq!((one.violations.as_ref().unwrap()["SW-DOC-02"].since, desk.phase(&one)), (at(100), Phase::Terminating));
    assert_eq!(desk.verdict(&one).waived, []);
}

#[test]
fn a_waived_session_that_ends_in_time_violates_nothing() {
    let mut desk = desk(Mode::Enforce);
    let mut one = port(&mut desk, 0);
    let effects = desk.play(&mut one, [(95, alive(95, &GOOD)), (111, ended(111, 99))]);
    assert_eq!(ids(&effects), ["verdict/*"]);
    let Effect::Close { controls, waivers, policy, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((controls.len(), waivers.len(), policy.len()), (0, 1, 32), "the verdict names what it rests on");
    assert_eq!(desk.due_ms(&one), None);
}

/// History has no organisation to ask: there the end itself shows how long the session lived.
#[test]
fn in_history_the_end_shows_that_a_session_outlived_its_waiver() {
    for (end, expected) in [(99, vec![]), (100, vec![]), (101, vec!["SW-DOC-02"])] {
        let mut desk = desk(Mode::Observe);
        desk.settings.organization = false;
        let mut one = port(&mut desk, 0);
        desk.step(&mut one, terminate(end, 2), end);
        assert_eq!(violated(&one), expected, "ended at {end}");
    }
}

/// Of two ways to have violated a control, the earlier one counts.
#[test]
fn the_earliest_reason_counts() {
    let judge = with_waivers(&waiver("W", "SW-DOC-02", 100, "!context.resumed"));
    let mut desk = Desk::new(judge, Mode::Observe);
    let mut one = port(&mut desk, 0);
    desk.play(&mut one, [(110, alive(110, &GOOD)), (111, resume(50, 2))]);
    let found = &one.violations.unwrap()["SW-DOC-02"];
    assert_eq!((found.since, found.event), (at(50), Some(crate::ids::EventId(2))));
}

/// A waiver that still works excuses also what cannot be decided.
#[test]
fn a_waived_question_is_not_open() {
    let judge = with_waivers(&waiver("W", "SW-LOG-01", 100, "true"));
    let mut desk = Desk::new(judge, Mode::Observe);
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    let open = |desk: &mut Desk, one: &_| {
        ["SW-DOC-04", "SW-LOG-01"].map(|id| desk.unproven(one).iter().any(|open| open == id))
    };
    assert_eq!(open(&mut desk, &one), [true, false]);
    desk.step(&mut one, resume(100, 2), 100);
    assert_eq!(open(&mut desk, &one), [true, true]);
}
