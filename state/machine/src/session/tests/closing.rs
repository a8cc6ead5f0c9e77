//! Termination, the log, and closing.

use super::support::*;
use crate::{
    effect::{Effect, Mode, RemedyResult, Report},
    session::{Input, Life, LogLook, Outcome, Phase, Session},
};

const NOTHING: [&str; 0] = [];

fn step(desk: &mut Desk, one: &mut Session, input: Input, seconds: i64) -> Vec<String> {
    ids(&desk.step(one, input, seconds))
}

/// A port session that is being ended; everything that was reported so far is durable.
fn ending() -> (Desk, Session) {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.step(&mut one, opened(0, 1, NODE, Some(PORT)), 0);
    done(&mut desk, &mut one, 0);
    (desk, one)
}

/// Makes every report durable.
fn done(desk: &mut Desk, one: &mut Session, seconds: i64) {
    let effects = desk.step(one, Input::Wake, seconds);
    let reports = effects.iter().filter(|effect| !matches!(effect, Effect::Terminate { .. }));
    let ids = reports.map(|effect| effect.id().clone()).collect();
    desk.step(one, Input::Done(ids), seconds);
}

fn remedy(effects: &[Effect]) -> RemedyResult {
    let Effect::Report(Report::Remedy(remedy)) = by_id(effects)["terminate/*"] else { panic!("{effects:?}") };
    assert_eq!(&*remedy.reason, "A session forwards a port or carries SSH, which leaves no log");
    assert_eq!(remedy.findings.len(), 1);
    remedy.result.clone()
}

// R-W3, R-W5, R-G5: asked for every settle_ms until the end is seen; then one remedy under the same id.
#[test]
fn a_termination_is_repeated_until_it_is_confirmed() {
    let (mut desk, mut one) = ending();
    assert_eq!(step(&mut desk, &mut one, Input::Wake, 0), ["terminate/*"]);
    let throttled = || tried(RemedyResult::Failed("throttled".into()));
    assert_eq!(step(&mut desk, &mut one, throttled(), 1), NOTHING);
    assert_eq!(step(&mut desk, &mut one, alive(5, &GOOD), 5), NOTHING);
    assert_eq!(step(&mut desk, &mut one, alive(6, &GOOD), 6), ["terminate/*"]);
    assert_eq!(step(&mut desk, &mut one, tried(RemedyResult::Done), 6), NOTHING);
    assert_eq!(desk.due_ms(&one), Some(11_000));
    // AWS said that it was done, and it was not.
    assert_eq!(step(&mut desk, &mut one, alive(11, &GOOD), 11), ["terminate/*"]);
    desk.step(&mut one, tried(RemedyResult::Done), 11);
    let effects = desk.step(&mut one, ended(16, 12), 16);
    assert_eq!(ids(&effects), ["count/*", "terminate/*", "verdict/*"]);
    assert_eq!(remedy(&effects), RemedyResult::Done);
    done(&mut desk, &mut one, 16);
    assert_eq!(step(&mut desk, &mut one, ended(31, 12), 31), NOTHING);
}

// R-W5: the id of a call stands for the confirmed end; calling it done before that does not end the attempts.
#[test]
fn an_attempt_is_not_an_end() {
    let (mut desk, mut one) = ending();
    let call = desk.step(&mut one, Input::Wake, 0);
    let id = vec![call[0].id().clone()];
    assert_eq!(step(&mut desk, &mut one, Input::Done(id), 0), ["terminate/*"]);
    assert_eq!(desk.step(&mut one, ended(16, 12), 16).len(), 3);
}

#[test]
fn a_session_that_ended_by_itself_needed_no_remedy() {
    let (mut desk, mut one) = ending();
    let effects = desk.step(&mut one, ended(16, 12), 16);
    assert_eq!(remedy(&effects), RemedyResult::Unneeded);
}

// R-W5: where AWS does not answer for too long, a session is closed by the end that an event reported, with its remedy: what
// was intended has a result.
#[test]
fn a_session_that_is_closed_by_an_event_has_a_remedy() {
    let (mut desk, mut one) = ending();
    let silent = |seconds| round(seconds, Life::Unknown, &[], LogLook::Unknown);
    desk.play(&mut one, [(3, terminate(3, 9)), (5, silent(5)), (902, silent(902))]);
    assert_eq!(desk.phase(&one), Phase::Terminating);
    let effects = desk.step(&mut one, silent(904), 904);
    assert_eq!(ids(&effects), ["terminate/*", "verdict/*"]);
    assert_eq!(remedy(&effects), RemedyResult::Unneeded);
    done(&mut desk, &mut one, 904);
    assert_eq!(step(&mut desk, &mut one, silent(905), 905), NOTHING);
    // AWS answers, and it is alive: that it was said to have ended keeps nobody from ending it.
    assert_eq!(step(&mut desk, &mut one, alive(910, &GOOD), 910), ["terminate/*"]);
}

// R-W3, I1: an end that cannot be confirmed opens one incident, at the configured time.
#[test]
fn an_unconfirmed_termination_opens_an_incident() {
    let (mut desk, mut one) = ending();
    desk.step(&mut one, tried(RemedyResult::Failed("denied".into())), 1);
    assert_eq!(step(&mut desk, &mut one, Input::Wake, 60), ["terminate/*"]);
    assert_eq!(step(&mut desk, &mut one, alive(61, &GOOD), 61), ["incident/termination-unconfirmed/*", "terminate/*"]);
    // The event alone does not confirm it.
    assert_eq!(step(&mut desk, &mut one, terminate(62, 9), 62), ["incident/termination-unconfirmed/*"]);
    done(&mut desk, &mut one, 62);
    assert_eq!(step(&mut desk, &mut one, alive(66, &GOOD), 66), ["terminate/*"]);
    let effects = step(&mut desk, &mut one, ended(70, 68), 70);
    assert_eq!(effects, ["conclude/termination-unconfirmed/*", "count/*", "terminate/*", "verdict/*"]);
}

// I5: in enforce mode a session counts when AWS confirms its end, not when an event reports it.
#[test]
fn a_session_counts_once_its_end_is_confirmed() {
    let (mut desk, mut one) = ending();
    desk.play(&mut one, [(1, tried(RemedyResult::Done)), (2, alive(2, &GOOD)), (3, terminate(3, 9))]);
    assert_eq!(step(&mut desk, &mut one, Input::Wake, 3), NOTHING);
    // I8: it is confirmed at once, not at the next usual look.
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Terminating, Some(3_000)));
    let effects = desk.step(&mut one, ended(4, 3), 4);
    assert_eq!(ids(&effects), ["count/*", "terminate/*", "verdict/*"]);
    let Effect::Count { counted, .. } = by_id(&effects)["count/*"] else { panic!("{effects:?}") };
    assert_eq!((counted.at, &*counted.principal), (at(0), &*principal("ann").arn));
    assert_eq!(counted.controls.iter().map(|id| &**id).collect::<Vec<_>>(), ["SW-DOC-02"]);
    // In observe mode nothing is ended, and it counts at once.
    let effects = Desk::observing().step(&mut session(), opened(0, 1, NODE, Some(PORT)), 0);
    assert_eq!(ids(&effects), ["count/*", "finding/*/SW-DOC-02", "terminate/*/planned"]);
}

// R-W5, I15: a reported end that AWS contradicts is no end.
#[test]
fn a_session_that_aws_shows_alive_is_alive() {
    let mut desk = Desk::observing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (20, terminate(20, 9)), (30, alive(30, &GOOD))]);
    assert_eq!((desk.phase(&one), one.is_open()), (Phase::Live, true));
    // An answer from before the report contradicts nothing.
    desk.step(&mut one, terminate(40, 10), 41);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Live, Some(45_000)));
    desk.step(&mut one, ended(45, 20), 45);
    assert_eq!((desk.phase(&one), one.is_open(), one.ended_at()), (Phase::AwaitingLog, false, Some(at(20))));
}

/// A shell that ended at 20 s, seen at 25 s.
fn awaiting() -> (Desk, Session) {
    let mut desk = Desk::observing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (10, alive(10, &GOOD)), (25, ended(25, 20))]);
    assert_eq!(desk.phase(&one), Phase::AwaitingLog);
    (desk, one)
}

// R-G7, R-W20: looked for after 30 s, then at growing distances, and missing only when it is not there at the deadline.
#[test]
fn a_log_is_missing_only_at_the_deadline() {
    let (mut desk, mut one) = awaiting();
    let mut looks = Vec::new();
    while desk.phase(&one) == Phase::AwaitingLog {
        let due = desk.due_ms(&one).unwrap();
        looks.push(due / 1_000);
        let effects = step(&mut desk, &mut one, look(due / 1_000, absent()), due / 1_000);
        let last = desk.phase(&one) == Phase::Closed(Outcome::LogMissing);
        let expected = if last { vec!["incident/log-missing/*", "verdict/*"] } else { vec![] };
        assert_eq!(effects, expected, "after {looks:?}");
    }
    assert_eq!(looks, [50, 80, 140, 260, 500, 920]);
}

// I11: no answer at the deadline is not an absence; it is asked again, and an incident says when that lasts.
#[test]
fn an_unknown_log_is_not_missing() {
    let (mut desk, mut one) = awaiting();
    for (seconds, next) in [(920, 935), (935, 950), (950, 980), (1_519, 1_639)] {
        assert_eq!(step(&mut desk, &mut one, look(seconds, LogLook::Unknown), seconds), NOTHING);
        assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::AwaitingLog, Some(next * 1_000)));
    }
    let effects = step(&mut desk, &mut one, look(1_520, LogLook::Unknown), 1_520);
    assert_eq!(effects, ["incident/evidence-unknown/*"]);
    // An absence before the deadline is none either.
    desk.step(&mut one, look(919, absent()), 1_521);
    assert_eq!(desk.phase(&one), Phase::AwaitingLog);
    desk.step(&mut one, look(920, absent()), 1_522);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::LogMissing));
}

// R-W20, R-W5
#[test]
fn a_late_log_is_waited_for() {
    let (mut desk, mut one) = awaiting();
    desk.step(&mut one, look(500, absent()), 500);
    let effects = desk.step(&mut one, look(910, found(905)), 910);
    assert_eq!((ids(&effects), desk.phase(&one)), (vec!["verdict/*".to_owned()], Phase::Closed(Outcome::Compliant)));
    let Effect::Close { outcome, evidence, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((*outcome, &*evidence.last().unwrap().value), ("compliant", "100 bytes in "));
    assert_eq!(desk.due_ms(&one), None);
    // R-W5: the log of a session that was ended is awaited like any other.
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (10, alive(10, &BAD)), (11, tried(RemedyResult::Done)), (25, ended(25, 12))]);
    assert_eq!(desk.phase(&one), Phase::AwaitingLog);
    desk.step(&mut one, look(60, found(50)), 60);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Violated));
}

// TH2: sessions without a log close when their end is confirmed.
#[test]
fn port_and_ssh_sessions_leave_no_log() {
    for document in [PORT, "AWS-StartPortForwardingSessionToRemoteHost", "AWS-StartSSHSession"] {
        let mut desk = Desk::observing();
        let mut one = session();
        desk.play(&mut one, [(0, opened(0, 1, NODE, Some(document))), (10, alive(10, &GOOD)), (25, ended(25, 20))]);
        assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Violated), None), "{document}");
    }
}

// I15: whatever arrives late or again at a closed session changes nothing.
#[test]
fn a_closed_session_stays_closed() {
    let (mut desk, mut one) = awaiting();
    desk.settings.activity = true;
    desk.step(&mut one, look(60, found(50)), 60);
    done(&mut desk, &mut one, 60);
    let closed = one.clone();
    for input in [start(0), ended(75, 20), look(90, absent()), Input::Wake] {
        assert_eq!(step(&mut desk, &mut one, input, 100), NOTHING);
        assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Compliant), None));
    }
    assert_eq!((&one.start, &one.violations, &one.done), (&closed.start, &closed.violations, &closed.done));
    // Only AWS opens it again.
    desk.step(&mut one, alive(120, &GOOD), 120);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Live, Some(135_000)));
}

// R-W6: the end of a session is heard of before its beginning, and it is not closed before that had time to come.
#[test]
fn an_end_without_a_beginning_waits_for_it() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    assert_eq!(step(&mut desk, &mut one, terminate(-30, 9), 0), NOTHING);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Observed, Some(0)));
    assert_eq!(step(&mut desk, &mut one, ended(1, -30), 1), NOTHING);
    assert_eq!(desk.phase(&one), Phase::AwaitingLog);
    let mut late = one.clone();
    // The beginning comes late: it is judged, and its log awaited.
    desk.step(&mut late, start(-90), 60);
    assert_eq!(desk.phase(&late), Phase::AwaitingLog);
    assert!(desk.unproven(&late).contains(&"SW-LOG-01".to_owned()));
    desk.step(&mut late, look(61, found(0)), 61);
    assert_eq!(desk.phase(&late), Phase::Closed(Outcome::Unproven));
    // It never comes.
    assert_eq!(step(&mut desk, &mut one, look(899, absent()), 899), NOTHING);
    assert_eq!(step(&mut desk, &mut one, look(900, absent()), 900), ["verdict/*"]);
    done(&mut desk, &mut one, 900);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Unproven), None));
    // I15: and when it comes after all, a violation is still reported.
    let effects = step(&mut desk, &mut one, opened(-90, 1, NODE, Some(PORT)), 2_000);
    assert_eq!(effects, ["count/*", "finding/*/SW-DOC-02", "terminate/*"]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Violated));
}

// R-G6: AWS never confirms an end that an event reported; the session is not watched for ever.
#[test]
fn an_end_that_is_never_confirmed_is_believed_in_the_end() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.play(&mut one, [(0, opened(0, 1, NODE, Some(PORT))), (20, terminate(20, 9))]);
    desk.step(&mut one, look(919, LogLook::Unknown), 919);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Terminating, Some(924_000)));
    let effects = step(&mut desk, &mut one, look(920, LogLook::Unknown), 920);
    // I5: without a confirmed end it does not count.
    assert_eq!(effects, ["finding/*/SW-DOC-02", "terminate/*", "verdict/*"]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Violated));
    done(&mut desk, &mut one, 920);
    // It is asked for as long as AWS may still tell, and counts once it has told.
    assert_eq!(desk.due_ms(&one), Some(1_040_000));
    let mut told = one.clone();
    assert_eq!(step(&mut desk, &mut told, ended(1_040, 20), 1_040), ["count/*"]);
    assert_eq!(desk.due_ms(&told), None);
    assert_eq!(step(&mut desk, &mut one, look(86_419, LogLook::Unknown), 86_419), NOTHING);
    assert_eq!(desk.due_ms(&one), Some(86_420_000));
    desk.step(&mut one, look(86_420, LogLook::Unknown), 86_420);
    assert_eq!(desk.due_ms(&one), None);
}

/// Neither a mode nor the absence of an organisation lets a call out.
#[test]
fn nothing_is_called_without_leave() {
    for (mode, organization) in [(Mode::Observe, true), (Mode::Observe, false), (Mode::Enforce, false)] {
        let mut desk = Desk::observing();
        (desk.settings.mode, desk.settings.organization) = (mode, organization);
        let effects = desk.step(&mut session(), opened(0, 1, NODE, Some(PORT)), 0);
        assert_eq!(ids(&effects), ["count/*", "finding/*/SW-DOC-02", "terminate/*/planned"]);
        assert!(effects.iter().all(|effect| !matches!(effect, Effect::Terminate { .. })));
    }
}
