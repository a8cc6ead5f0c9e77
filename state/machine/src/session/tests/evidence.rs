//! Evidence: yes, no and unknown, and the times at which it is asked for again.

use std::collections::BTreeMap;

use super::support::*;
use crate::{
    compliance::{EvidenceKind as E, Tri},
    effect::{Effect, Report},
    ids::{Thing, ThingKind},
    session::{Answered, Gathered, Input, Life, LogLook, Outcome, Phase},
};

/// Shipped controls that need evidence about each shell.
const LEFT_OPEN: [&str; 2] = ["SW-DOC-04", "SW-LOG-01"];

/// No answer at all.
fn silence(seconds: i64) -> Input {
    look(seconds, LogLook::Unknown)
}

// R-G3, R-G5, TH20
#[test]
fn a_role_that_loses_its_permission_ends_the_session() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    assert_eq!(ids(&desk.play(&mut one, [(0, start(0)), (5, alive(5, &GOOD))])), [] as [&str; 0]);
    assert_eq!(desk.phase(&one), Phase::Live);
    let effects = desk.step(&mut one, alive(20, &BAD), 20);
    assert_eq!(ids(&effects), ["finding/*/SW-LOG-01", "terminate/*"]);
    let Effect::Terminate { reason, .. } = by_id(&effects)["terminate/*"] else { panic!("{effects:?}") };
    assert_eq!(&**reason, "The role behind the node cannot write the session's log");
    assert_eq!((desk.phase(&one), one.violations.as_ref().unwrap()["SW-LOG-01"].since), (Phase::Terminating, at(20)));
    // Giving the permission back does not undo it.
    desk.step(&mut one, alive(25, &GOOD), 25);
    assert_eq!(desk.phase(&one), Phase::Terminating);
}

// R-G2, R-G5: no evidence is needed where the opening call itself is forbidden.
#[test]
fn a_forbidden_document_ends_the_session_at_once() {
    let mut desk = Desk::enforcing();
    let effects = desk.step(&mut session(), opened(0, 1, NODE, Some("Mine")), 1);
    assert_eq!(ids(&effects), ["finding/*/SW-DOC-01", "terminate/*"]);
    let Effect::Terminate { reason, .. } = by_id(&effects)["terminate/*"] else { panic!("{effects:?}") };
    assert_eq!(&**reason, "A session was started with a custom document or one shared by another account");
}

// I11, R-W13: an answer about a session that was not shown alive says nothing about it.
#[test]
fn evidence_counts_only_with_the_session_alive() {
    let mut desk = Desk::enforcing();
    for life in [Life::Unknown, Life::Ended(at(4))] {
        let mut one = session();
        desk.play(&mut one, [(0, start(0)), (5, round(5, life, &BAD, LogLook::Unknown))]);
        assert_eq!(violated(&one), [] as [&str; 0]);
        assert!(LEFT_OPEN.iter().all(|id| desk.unproven(&one).iter().any(|open| open == id)));
    }
}

// I11, R-W13: unknown is neither; denied and throttled questions arrive as unknown.
#[test]
fn unknown_evidence_is_neither_compliance_nor_violation() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    let unknown = E::ALL.map(|kind| (kind, Tri::Unknown));
    let effects = desk.play(&mut one, [(0, start(0)), (5, alive(5, &unknown)), (20, alive(20, &unknown))]);
    assert_eq!((ids(&effects), violated(&one)), (vec![], vec![]));
    assert!(LEFT_OPEN.iter().all(|id| desk.unproven(&one).iter().any(|open| open == id)));
    desk.play(&mut one, [(36, ended(36, 30)), (70, look(70, found(60)))]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Unproven));
    // What was answered before stays answered for a while.
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (5, alive(5, &GOOD)), (20, alive(20, &unknown))]);
    desk.play(&mut one, [(36, ended(36, 30)), (70, look(70, found(60)))]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Compliant));
}

// I11: when it lasts, one incident says so, for a session that was never answered for …
#[test]
fn evidence_that_stays_unknown_opens_one_incident() {
    let mut desk = Desk::observing();
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    for seconds in [15, 300, 599] {
        assert_eq!(ids(&desk.step(&mut one, alive(seconds, &[]), seconds)), [] as [&str; 0], "after {seconds} s");
    }
    for seconds in [600, 615, 700] {
        let effects = desk.step(&mut one, alive(seconds, &[]), seconds);
        assert_eq!(ids(&effects), ["incident/evidence-unknown/*"], "after {seconds} s");
        let done = effects.iter().map(|effect| effect.id().clone()).collect();
        assert_eq!(ids(&desk.step(&mut one, Input::Done(done), seconds)), [] as [&str; 0]);
        one.done = None;
    }
}

// I11 … for one whose answers stop, whether AWS shows it alive or says nothing at all …
#[test]
fn answers_that_stop_open_an_incident() {
    for rounds in [alive as fn(i64, &[(E, Tri)]) -> Input, |seconds, _| silence(seconds)] {
        let mut desk = Desk::observing();
        let mut one = session();
        desk.play(&mut one, [(0, start(0)), (100, alive(100, &GOOD))]);
        assert_eq!(ids(&desk.step(&mut one, rounds(699, &[]), 699)), [] as [&str; 0]);
        assert_eq!(ids(&desk.step(&mut one, rounds(700, &[]), 700)), ["incident/evidence-unknown/*"]);
        // An answer ends the silence, and what it says is judged.
        assert_eq!(ids(&desk.step(&mut one, alive(715, &GOOD), 715)), [] as [&str; 0]);
    }
}

// I11 … and for one that AWS never described.
#[test]
fn a_session_that_nobody_can_describe_opens_an_incident() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    assert_eq!(ids(&desk.play(&mut one, [(0, resume(0, 1)), (599, silence(599))])), [] as [&str; 0]);
    assert_eq!(ids(&desk.step(&mut one, silence(600), 600)), ["incident/evidence-unknown/*"]);
}

// I11: a session whose answers stopped for too long before it ended is not called compliant.
#[test]
fn an_old_yes_lapses() {
    let mut desk = Desk::observing();
    let end = |last: i64| {
        let mut one = session();
        desk.play(&mut one, [(0, start(0)), (100, alive(100, &GOOD)), (last, alive(last, &[]))]);
        desk.play(&mut one, [(last + 15, ended(last + 15, last)), (last + 60, look(last + 60, found(last + 40)))]);
        desk.phase(&one)
    };
    assert_eq!([700, 701].map(end), [Outcome::Compliant, Outcome::Unproven].map(Phase::Closed));
}

// I8, R-G3: a live session is looked at again every 15 s, however long it lives (R-W1).
#[test]
fn a_live_session_always_has_a_next_look() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    assert_eq!(desk.due_ms(&one), Some(0));
    desk.step(&mut one, start(0), 1);
    assert_eq!(desk.due_ms(&one), Some(0));
    for day in 0..40 {
        let seconds = day * 86_400 + 5;
        desk.step(&mut one, alive(seconds, &GOOD), seconds);
        assert_eq!(desk.due_ms(&one), Some(seconds * 1_000 + 15_000));
    }
    desk.step(&mut one, silence(40 * 86_400), 40 * 86_400);
    assert_eq!(desk.due_ms(&one), Some(40 * 86_400_000 + 120_000));
    let seconds = 41 * 86_400;
    desk.step(&mut one, alive(seconds, &BAD), seconds);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Terminating, Some(seconds * 1_000 + 5_000)));
    desk.settings.organization = false;
    assert_eq!(desk.due_ms(&one), None);
}

// R-W17, TH20, TH21: a change makes the session due at once, and again when it has had time to bite.
#[test]
fn a_disturbed_session_is_due_now_and_again_a_little_later() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (5, alive(5, &GOOD))]);
    assert_eq!(desk.due_ms(&one), Some(20_000));
    desk.step(&mut one, changed("web"), 8);
    assert_eq!(desk.due_ms(&one), Some(8_000));
    desk.step(&mut one, alive(8, &GOOD), 8);
    assert_eq!(desk.due_ms(&one), Some(13_000));
    desk.step(&mut one, alive(10, &GOOD), 10);
    assert_eq!(desk.due_ms(&one), Some(13_000));
    desk.step(&mut one, alive(13, &GOOD), 13);
    assert_eq!(desk.due_ms(&one), Some(28_000));
    // Detach, use, attach again: the answer between the two counts, although the last one is yes.
    desk.play(&mut one, [(14, changed("web")), (14, alive(14, &BAD)), (15, changed("web")), (19, alive(19, &GOOD))]);
    assert_eq!(violated(&one), ["SW-LOG-01"]);
}

/// A round that shows the session alive, and has no answer about these.
fn told(seconds: i64, unknown: &[(E, &str)]) -> Input {
    let mut evidence: BTreeMap<E, Answered> = GOOD.map(|(kind, value)| (kind, value.into())).into();
    evidence.extend(unknown.iter().map(|(kind, why)| (*kind, Answered::new(Tri::Unknown, "iam", *why))));
    Input::Gathered(Box::new(Gathered { evidence, ..Gathered::new(now(seconds), Life::Alive(described())) }))
}

// R-W13: what has no answer is asked for again after as long as it has had none, between 15 s and 120 s.
#[test]
fn questions_without_an_answer_are_asked_less_often() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (5, alive(5, &GOOD))]);
    let half = [(E::DocumentAsWanted, "denied")];
    let mut looks = Vec::new();
    for _ in 0..7 {
        let due = desk.due_ms(&one).unwrap() / 1_000;
        looks.push(due);
        desk.step(&mut one, told(due, &half), due);
    }
    assert_eq!(looks, [20, 35, 65, 125, 245, 365, 485]);
    // R-W17: a change does not wait for that …
    desk.step(&mut one, changed("web"), 490);
    assert_eq!(desk.due_ms(&one), Some(490_000));
    desk.step(&mut one, told(490, &half), 490);
    assert_eq!(desk.due_ms(&one), Some(495_000));
    // … nor does anything once there are answers again.
    desk.step(&mut one, alive(495, &GOOD), 495);
    assert_eq!(desk.due_ms(&one), Some(510_000));
    // The bounds are configured, whatever they are.
    (desk.settings.recheck_ms, desk.settings.recheck_ms_max) = (60_000, 20_000);
    desk.step(&mut one, told(500, &half), 500);
    assert_eq!(desk.due_ms(&one), Some(560_000));
}

// R-W13, I11: which evidence it is and why it cannot be had stands in the incident.
#[test]
fn an_incident_names_the_evidence_that_is_missing() {
    let mut desk = Desk::observing();
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    let title = |effects: &[Effect]| {
        let Effect::Report(Report::Incident(incident)) = by_id(effects)["incident/evidence-unknown/*"] else {
            panic!("{effects:?}")
        };
        incident.title.to_string()
    };
    let denied = [(E::LogWritable, "GetRole was denied")];
    let too_long = "Evidence about the session could not be had for too long";
    let effects = desk.step(&mut one, told(600, &denied), 600);
    assert_eq!(title(&effects), format!("{too_long}: log-writable (GetRole was denied)"));
    assert!(
        one.evidence_notes().iter().any(|note| &*note.value == "unknown: GetRole was denied" && &*note.source == "iam")
    );
    // Where AWS says nothing at all there is no reason to give.
    let effects = desk.step(&mut one, silence(1_200), 1_200);
    let title_now = title(&effects);
    assert!(title_now.starts_with(&format!("{too_long}: log-writable (GetRole was denied), document-as-wanted")));
    assert!(title_now.len() < 400, "{title_now}");
    let mut never = session();
    let effects = desk.play(&mut never, [(0, resume(0, 1)), (600, silence(600))]);
    assert_eq!(title(&effects), too_long);
    let effects =
        desk.play(&mut session(), [(0, start(0)), (5, alive(5, &GOOD)), (25, ended(25, 20)), (1_520, silence(1_520))]);
    assert_eq!(title(&effects), "Whether the session's log arrived could not be found out for too long");
}

// R-W13, I11: however long the evidence stays unknown, for whatever reason, nobody is cut off for it.
#[test]
fn a_session_with_unknown_evidence_is_never_terminated() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    let unknown: Vec<_> = E::ALL.into_iter().map(|kind| (kind, "denied")).collect();
    let mut seconds = 0;
    while seconds < 3 * 86_400 {
        let input = if seconds % 7 == 0 { silence(seconds) } else { told(seconds, &unknown) };
        let effects = desk.step(&mut one, input, seconds);
        let known = ["incident/evidence-unknown/*"];
        assert!(ids(&effects).iter().all(|id| known.contains(&&**id)), "{:?} after {seconds} s", ids(&effects));
        assert_eq!((violated(&one).len(), desk.phase(&one)), (0, Phase::Live));
        seconds = desk.due_ms(&one).unwrap() / 1_000;
    }
    desk.play(&mut one, [(seconds, ended(seconds, seconds - 1)), (seconds + 60, look(seconds + 60, found(seconds)))]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Unproven));
}

// R-W17, R-W16: a role taken off and put back between two looks: both calls make the session due, now and a little
// later, and that it changed is noted even where every answer is yes.
#[test]
fn a_role_that_is_taken_off_and_put_back_between_two_looks_is_noticed() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    let role = |id: &str| Thing { kind: ThingKind::Role, account: account(ACCOUNT), id: id.into() };
    desk.play(&mut one, [(0, start(0)), (5, alive(5, &GOOD))]);
    desk.play(&mut one, [(8, Input::Changed(role("node-role"))), (9, Input::Changed(role("node-role")))]);
    assert_eq!(desk.due_ms(&one), Some(9_000));
    desk.step(&mut one, alive(9, &GOOD), 9);
    assert_eq!(desk.due_ms(&one), Some(14_000));
    desk.step(&mut one, alive(14, &GOOD), 14);
    assert_eq!((desk.due_ms(&one), violated(&one)), (Some(29_000), vec![]));
    let notes = one.evidence_notes();
    let note = notes.iter().find(|note| &*note.name == "changed").unwrap();
    assert_eq!((&*note.value, &*note.source, note.at), ("role node-role", "cloudtrail", at(9)));
    // The look in between found it off: that stays.
    desk.play(&mut one, [(30, Input::Changed(role("node-role"))), (30, alive(30, &BAD)), (35, alive(35, &GOOD))]);
    assert_eq!(violated(&one), ["SW-LOG-01"]);
}

/// What the settings ask nothing about needs no answer; what they ask about does (I11).
#[test]
fn only_what_the_settings_ask_about_is_open() {
    let optional = ["SW-NODE-03", "SW-RSN-01", "SW-RUN-01", "SW-STR-01", "SW-STR-02", "SW-TP-01"];
    let mut desk = Desk::observing();
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    let open = desk.unproven(&one);
    assert!(open.contains(&"SW-LOG-01".to_owned()), "{open:?}");
    assert!(!optional.iter().any(|control| open.contains(&(*control).to_owned())), "{open:?}");

    let posture = &mut desk.settings.posture;
    posture.node_tags.insert("Stage".into(), ["prod".into()].into());
    posture.reason_units.insert("*".into());
    posture.run_as_roles.push("*".into());
    posture.third_party_roles.push("*".into());
    posture.preferences.streaming = Some(true);
    let mut one = session();
    let alive = round(1, Life::Alive(described()), &GOOD[..2], LogLook::Unknown);
    desk.play(&mut one, [(0, start(0)), (1, alive)]);
    let open = desk.unproven(&one);
    assert!(optional.iter().all(|control| open.contains(&(*control).to_owned())), "{open:?}");
}
