//! Logs: which sessions have one, what can be wrong with it, and what comes late.

use std::{collections::BTreeSet, sync::Arc};

use super::support::*;
use crate::{
    effect::{Effect, IncidentNote, RemedyResult, Report},
    ids::{Thing, ThingKind},
    session::{Described, Gathered, Input, LATE_MS_MAX, Life, LogFlaw, LogLook, LogSeen, Outcome, Phase, Session},
};

const NOTHING: [&str; 0] = [];

fn flawed(flaws: &[LogFlaw]) -> LogLook {
    let flaws: BTreeSet<LogFlaw> = flaws.iter().copied().collect();
    let place = "s3://central/111122223333/ann.log".into();
    LogLook::Found(LogSeen { written_at: at(40), size_bytes: 7, place, flaws })
}

/// A shell that ended at 20 s, seen at 25 s.
fn awaiting() -> (Desk, Session) {
    let mut desk = Desk::observing();
    let mut one = session();
    desk.play(&mut one, [(0, start(0)), (10, alive(10, &GOOD)), (25, ended(25, 20))]);
    (desk, one)
}

fn make_durable(desk: &mut Desk, one: &mut Session, effects: &[Effect], seconds: i64) {
    let done = effects.iter().map(|effect| effect.id().clone()).collect();
    assert_eq!(ids(&desk.step(one, Input::Done(done), seconds)), NOTHING);
}

fn incident<'a>(effects: &'a [Effect], id: &str) -> &'a IncidentNote {
    let Effect::Report(Report::Incident(incident)) = by_id(effects)[id] else { panic!("{effects:?}") };
    incident
}

// R-W22, R-W23, TH24: a log with which something is wrong is no proof.
#[test]
fn a_suspect_log_opens_one_incident_and_proves_nothing() {
    for (flaw, says) in [
        (LogFlaw::Small, "The session's log is smaller than a log can be"),
        (LogFlaw::WrittenTwice, "The session's log was written more than once"),
        (LogFlaw::WrittenEarly, "The session's log was written before the session ended"),
        (LogFlaw::ForeignWriter, "The session's log was written by another account"),
        (LogFlaw::ForeignPlace, "The session's log lies where it does not belong"),
        (LogFlaw::Gap, "The session's log stops long before the session's end"),
    ] {
        let (mut desk, mut one) = awaiting();
        let effects = desk.step(&mut one, look(50, flawed(&[flaw])), 50);
        assert_eq!(ids(&effects), ["incident/log-suspect/*", "verdict/*"], "{flaw:?}");
        assert_eq!(&*incident(&effects, "incident/log-suspect/*").title, says);
        assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Unproven), None));
        let note = one.evidence_notes().pop().unwrap();
        let expected = format!("7 bytes in s3://central/111122223333/ann.log, {}", flaw.as_str());
        assert_eq!((&*note.name, &*note.value), ("log", &*expected));
        make_durable(&mut desk, &mut one, &effects, 50);
    }
}

#[test]
fn all_that_is_wrong_with_a_log_stands_in_one_incident() {
    let (mut desk, mut one) = awaiting();
    desk.step(&mut one, look(50, flawed(&[LogFlaw::Gap])), 50);
    // A look that finds nothing wrong, or nothing at all, takes nothing back.
    desk.play(
        &mut one,
        [(51, look(51, flawed(&[LogFlaw::Small]))), (52, look(52, flawed(&[]))), (53, look(53, absent()))],
    );
    let effects = desk.step(&mut one, Input::Wake, 54);
    let title = "The session's log is smaller than a log can be, stops long before the session's end";
    assert_eq!(&*incident(&effects, "incident/log-suspect/*").title, title);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Unproven));
    // A violation remains a violation.
    let mut desk = Desk::observing();
    let mut one = session();
    desk.play(
        &mut one,
        [(0, start(0)), (10, alive(10, &BAD)), (25, ended(25, 20)), (50, look(50, flawed(&LogFlaw::ALL)))],
    );
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::Violated));
}

// R-W5: the log of a session that was ended is awaited, missed and looked at like any other.
#[test]
fn a_terminated_session_has_its_log_checked() {
    let ending = || {
        let mut desk = Desk::enforcing();
        let mut one = session();
        let inputs = [(0, start(0)), (10, alive(10, &BAD)), (11, tried(RemedyResult::Done)), (25, ended(25, 20))];
        let effects = desk.play(&mut one, inputs);
        assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::AwaitingLog, Some(50_000)));
        make_durable(&mut desk, &mut one, &effects, 25);
        (desk, one)
    };
    let (mut desk, mut one) = ending();
    assert_eq!(ids(&desk.step(&mut one, look(920, absent()), 920)), ["incident/log-missing/*", "verdict/*"]);
    assert_eq!(desk.phase(&one), Phase::Closed(Outcome::LogMissing));
    let (mut desk, mut one) = ending();
    let effects = desk.step(&mut one, look(50, flawed(&[LogFlaw::WrittenTwice])), 50);
    assert_eq!(ids(&effects), ["incident/log-suspect/*", "verdict/*"]);
}

/// A session with this document, whose content opens `opens`, that ended at 20 s.
fn of_document(document: &str, opens: &str) -> (Desk, Session) {
    let mut desk = Desk::observing();
    let mut one = session();
    let described = Described { document: document.into(), ..described() };
    let gathered = Gathered { session_type: opens.into(), ..Gathered::new(now(10), Life::Alive(described)) };
    desk.play(
        &mut one,
        [(0, opened(0, 1, NODE, Some(document))), (10, Input::Gathered(Box::new(gathered))), (25, ended(25, 20))],
    );
    (desk, one)
}

// TH2, TH3: what a document opens decides, not its name.
#[test]
fn a_log_is_expected_of_what_the_document_opens() {
    for (document, opens, expected) in [
        ("SSM-SessionManagerRunShell", "Standard_Stream", true),
        ("SSM-SessionManagerRunShell", "", true),
        ("SSM-SessionManagerRunShell", "Port", false),
        ("Mine", "Standard_Stream", true),
        ("Mine", "", true),
        ("Mine", "Unheard_Of", true),
        ("Mine", "Port", false),
        ("Mine", "InteractiveCommands", false),
        ("Mine", "NonInteractiveCommands", false),
        ("AWS-StartSSHSession", "Port", false),
        ("AWS-StartSSHSession", "", false),
        (PORT, "Standard_Stream", false),
        ("AWS-StartInteractiveCommand", "", false),
    ] {
        let (mut desk, mut one) = of_document(document, opens);
        let waits = desk.phase(&one) == Phase::AwaitingLog;
        assert_eq!(waits, expected, "{document} {opens}");
        assert_eq!(desk.due_ms(&one), expected.then_some(50_000), "{document} {opens}");
        let missed = ids(&desk.step(&mut one, look(920, absent()), 920)).contains(&"incident/log-missing/*".to_owned());
        assert_eq!(missed, expected, "{document} {opens}");
    }
}

/// Interactive commands can leave a log: it is noted, and judged.
#[test]
fn a_log_that_is_not_expected_is_welcome() {
    let (mut desk, mut one) = of_document("AWS-StartInteractiveCommand", "");
    desk.step(&mut one, look(30, flawed(&[])), 30);
    assert_eq!(&*one.evidence_notes().last().unwrap().value, "7 bytes in s3://central/111122223333/ann.log");
    let effects = desk.step(&mut one, look(31, flawed(&[LogFlaw::Small])), 31);
    assert!(ids(&effects).contains(&"incident/log-suspect/*".to_owned()));
}

// R-W20, I15: a missing log is still looked for, at growing distances and not for ever, and resolves its incident.
#[test]
fn a_log_that_comes_after_its_incident_resolves_it() {
    let (mut desk, mut one) = awaiting();
    let effects = desk.step(&mut one, look(920, absent()), 920);
    assert_eq!(ids(&effects), ["incident/log-missing/*", "verdict/*"]);
    make_durable(&mut desk, &mut one, &effects, 920);
    let mut never = one.clone();
    let mut looks = Vec::new();
    while let Some(due) = desk.due_ms(&never) {
        looks.push(due / 1_000);
        assert_eq!(ids(&desk.step(&mut never, look(due / 1_000, absent()), due / 1_000)), NOTHING);
        assert_eq!(desk.phase(&never), Phase::Closed(Outcome::LogMissing));
    }
    let last = 20 + LATE_MS_MAX / 1_000;
    assert_eq!(looks, [980, 1_940, 3_860, 7_700, 15_380, 30_740, 61_460, last]);
    let effects = desk.step(&mut one, look(3_860, found(3_000)), 3_860);
    assert_eq!(ids(&effects), ["incident/log-missing/*/resolved"]);
    let note = incident(&effects, "incident/log-missing/*/resolved");
    assert_eq!((&*note.title, &*note.cause), ("The session's log arrived late", "log-missing"));
    assert_eq!((note.opened, note.resolved), (at(920), Some(at(3_000))));
    let opened = format!("incident/log-missing/{}", one.key);
    assert_eq!(note.findings.iter().map(|id| &*id.0).collect::<Vec<_>>(), [opened]);
    make_durable(&mut desk, &mut one, &effects, 3_860);
    // The session was closed and stays closed.
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Compliant), None));
    assert_eq!(ids(&desk.step(&mut one, Input::Wake, 90_000)), NOTHING);
}

/// Without an incident nothing is resolved, and no answer does not count as a log.
#[test]
fn only_an_incident_is_resolved() {
    let (mut desk, mut one) = awaiting();
    assert_eq!(ids(&desk.step(&mut one, look(60, found(50)), 60)), ["verdict/*"]);
    let (mut desk, mut one) = awaiting();
    let effects = desk.step(&mut one, look(920, absent()), 920);
    make_durable(&mut desk, &mut one, &effects, 920);
    assert_eq!(ids(&desk.step(&mut one, look(980, LogLook::Unknown), 980)), NOTHING);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::LogMissing), Some(1_940_000)));
}

// TH24, I15: a change of the log of a closed session is looked at, and opens an incident without opening the session.
#[test]
fn a_second_version_of_a_log_is_noticed_after_the_end() {
    let (mut desk, mut one) = awaiting();
    let key: Arc<str> = "logs/111122223333/ann-0a1b2c3d4e5f60718.log".into();
    let written =
        || Input::Changed(Thing { kind: ThingKind::LogObject, account: account(ACCOUNT), id: Arc::clone(&key) });
    // The agent's own writing is heard of, and looked at before the usual time.
    desk.step(&mut one, written(), 42);
    assert_eq!(desk.due_ms(&one), Some(42_000));
    let effects = desk.step(&mut one, look(42, flawed(&[])), 42);
    make_durable(&mut desk, &mut one, &effects, 42);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Compliant), None));
    desk.step(&mut one, written(), 500);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Compliant), Some(500_000)));
    let effects = desk.step(&mut one, look(501, flawed(&[LogFlaw::WrittenTwice])), 501);
    assert_eq!(ids(&effects), ["incident/log-suspect/*"]);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (Phase::Closed(Outcome::Unproven), None));
    // A session without a log has none that could change.
    let (mut desk, mut one) = of_document(PORT, "Port");
    desk.step(&mut one, written(), 500);
    assert_eq!(desk.due_ms(&one), None);
}
