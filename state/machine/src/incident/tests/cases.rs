//! What becomes of an incident once it is open.

use super::*;
use crate::{
    account::Act,
    effect::{RemedyKind, RemedyResult},
};

/// What is told of an incident that a session, an account or the register has opened.
fn note(severity: Severity) -> IncidentNote {
    IncidentNote {
        id: EffectId(format!("incident/lock-failed/{ACCOUNT}/1").into()),
        title: "Account could not be locked".into(),
        cause: "lock-failed".into(),
        severity,
        account: ACCOUNT.to_string().parse().unwrap(),
        region: "".into(),
        session: None,
        opened: at(0),
        resolved: None,
        evidence: Vec::new(),
        findings: Vec::new(),
    }
}

fn act(who: &str, seconds: i64) -> Act {
    Act { who: who.into(), reason: "known".into(), at: now(seconds) }
}

struct Case {
    incident: Option<Box<Incident>>,
    settings: Settings,
}

impl Case {
    fn new(severity: Severity) -> Self {
        let mut case = Self { incident: None, settings: Settings { notify: true, ..Settings::default() } };
        assert_eq!(case.step(0, IncidentInput::Noted(Box::new(note(severity)))), [""; 0], "it was told of already");
        case
    }

    /// Takes an input in; what is wanted is done then.
    fn step(&mut self, seconds: i64, input: IncidentInput) -> Vec<String> {
        let effects = Incident::step_all(&mut self.incident, [input], now(seconds), &self.settings);
        let done = effects.iter().map(|effect| effect.id().clone()).collect();
        Incident::step_all(&mut self.incident, [IncidentInput::Done(done)], now(seconds), &self.settings);
        ids(&effects)
    }

    fn phase(&self, seconds: i64) -> IncidentPhase {
        self.incident.as_ref().unwrap().phase(now(seconds), &self.settings)
    }
}

fn said(rest: &str) -> [String; 2] {
    ["", "notify/"].map(|head| format!("{head}incident/lock-failed/{ACCOUNT}/1/{rest}"))
}

// People are told once, and once more when nobody looks.
#[test]
fn nobody_looks() {
    for (severity, minutes) in [(Severity::Critical, 15), (Severity::High, 60)] {
        let mut case = Case::new(severity);
        let seconds = minutes * 60;
        assert_eq!(case.incident.as_ref().unwrap().due_at(now(1), &case.settings), Some(now(seconds)));
        assert_eq!(
            (case.step(seconds - 1, IncidentInput::Wake), case.phase(seconds - 1)),
            (vec![], IncidentPhase::Open)
        );
        assert_eq!(case.step(seconds, IncidentInput::Wake), said("escalated"));
        assert_eq!((case.step(seconds, IncidentInput::Wake), case.phase(seconds)), (vec![], IncidentPhase::Escalated));
        assert_eq!(case.incident.as_ref().unwrap().due_at(now(seconds), &case.settings), None);
    }
    let mut mild = Case::new(Severity::Medium);
    assert_eq!(mild.step(1_000_000, IncidentInput::Wake), [""; 0]);
}

#[test]
fn somebody_looks() {
    let mut case = Case::new(Severity::Critical);
    assert_eq!(
        case.step(60, IncidentInput::Acknowledged(act("ann", 60))),
        [format!("acknowledge/lock-failed/{ACCOUNT}/1-0")]
    );
    assert_eq!((case.step(10_000, IncidentInput::Wake), case.phase(10_000)), (vec![], IncidentPhase::Acknowledged));
    // The first one who says so is who looks.
    case.step(70, IncidentInput::Acknowledged(act("bob", 70)));
    assert_eq!(&*case.incident.as_ref().unwrap().acknowledged.as_ref().unwrap().who, "ann");
    let told = case.step(80, IncidentInput::Resolved(act("bob", 80)));
    let [said, notified] = said("resolved");
    assert_eq!(told, [said, notified, format!("resolve/lock-failed/{ACCOUNT}/1-0")]);
    assert_eq!((case.step(90, IncidentInput::Gone), case.phase(90)), (vec![], IncidentPhase::Resolved));
}

#[test]
fn a_cause_that_is_gone_resolves_it() {
    let mut case = Case::new(Severity::Critical);
    let effects = Incident::step_all(&mut case.incident, [IncidentInput::Gone], now(60), &case.settings);
    let Effect::Report(Report::Incident(over)) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((over.resolved, &over.title), (Some(at(60)), &note(Severity::Critical).title));
    assert_eq!(case.step(10_000, IncidentInput::Wake), said("resolved"));
}

// An event after the end opens it again, under another id; one from before does not.
#[test]
fn what_happens_again_is_open_again() {
    let mut desk = Desk::observing();
    let settings = Settings::default();
    let stop = |desk: &mut Desk, id| {
        let mut found = opened(desk, ("cloudtrail", "StopLogging"), &json!({"name": "sessionwarden-trail"}), None, id);
        IncidentInput::Seen(Box::new(found.remove(0)))
    };
    let mut incident = None;
    let mut step = |input, seconds| ids(&Incident::step_all(&mut incident, [input], now(seconds), &settings));
    let first = step(stop(&mut desk, 10), 11);
    let open = first.iter().find(|id| id.starts_with("incident/")).unwrap().clone();
    step(IncidentInput::Done(first.iter().map(|id| EffectId(id.as_str().into())).collect()), 11);
    assert_eq!(step(IncidentInput::Resolved(act("ann", 20)), 20)[0], format!("{open}/resolved"));
    assert_eq!(step(stop(&mut desk, 15), 25)[0], format!("{open}/resolved"), "it was late");
    assert!(step(stop(&mut desk, 30), 31).contains(&format!("{open}/again-1")));
}

/// What nobody has told of is not made by an answer.
#[test]
fn nothing_comes_of_nothing() {
    for input in [IncidentInput::Gone, IncidentInput::Wake, IncidentInput::Resolved(act("ann", 1))] {
        let mut incident = None;
        assert_eq!(Incident::step_all(&mut incident, [input], now(1), &Settings::default()), []);
        assert_eq!(incident, None);
    }
}

/// An incident about a trail that was stopped, in this mode and with these changes put back.
fn stopped(mode: crate::effect::Mode, restore: &[Restore]) -> (Option<Box<Incident>>, Settings) {
    let mut desk = Desk::observing();
    let settings = Settings { mode, restore: restore.iter().copied().collect(), ..Settings::default() };
    let found = opened(&mut desk, ("cloudtrail", "StopLogging"), &json!({"name": "sessionwarden-trail"}), None, 10);
    (found.into_iter().next().map(Box::new), settings)
}

// TH28: shown in observe mode, and where it is not allowed; done and seen to be done where it is.
#[test]
fn a_change_is_put_back_where_that_is_allowed() {
    use crate::effect::Mode::{Enforce, Observe};
    for (mode, restore) in [(Observe, &Restore::ALL[..]), (Enforce, &[]), (Enforce, &[Restore::Key])] {
        let (mut incident, settings) = stopped(mode, restore);
        let effects = Incident::step_all(&mut incident, [IncidentInput::Wake], now(11), &settings);
        let planned = effects.iter().find_map(|effect| {
            let Effect::Report(Report::Remedy(remedy)) = effect else { return None };
            Some((remedy.kind, remedy.result.clone()))
        });
        assert_eq!(planned, Some((RemedyKind::Restore, RemedyResult::Planned)));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Restore { .. })));
    }
    let (mut incident, settings) = stopped(Enforce, &[Restore::Trail]);
    let mut step = |input, seconds| Incident::step_all(&mut incident, [input], now(seconds), &settings);
    let asked = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Restore { .. }));
    let effects = step(IncidentInput::Wake, 11);
    let Some(Effect::Restore { restore, thing, .. }) = effects.iter().find(|it| matches!(it, Effect::Restore { .. }))
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*restore, &**thing), (Restore::Trail, "sessionwarden-trail"));
    // A failed attempt is made again, not at once.
    let failed = IncidentInput::RestoreTried(RemedyResult::Failed("denied".into()));
    assert!(
        !asked(&step(failed, 12)) && !asked(&step(IncidentInput::Wake, 15)) && asked(&step(IncidentInput::Wake, 16))
    );
    let effects = step(IncidentInput::RestoreTried(RemedyResult::Done), 17);
    let all = ids(&effects);
    assert!(!asked(&effects) && all.iter().any(|id| id.starts_with("restored/")), "{all:?}");
    assert!(all.iter().any(|id| id.ends_with("/resolved")), "{all:?}");
}

// TH10, TH22, TH27, TH28
#[test]
fn what_can_be_put_back() {
    let rows = [
        ("DisableKey", Some(Restore::Key)),
        ("ScheduleKeyDeletion", Some(Restore::Key)),
        ("DisableRule", Some(Restore::Rule)),
        ("StopLogging", Some(Restore::Trail)),
        ("EnableSerialConsoleAccess", Some(Restore::SerialConsole)),
        ("DeleteRule", None),
        ("PutKeyPolicy", None),
    ];
    for (call, restore) in rows {
        assert_eq!(Restore::of(call), restore, "{call}");
    }
}
