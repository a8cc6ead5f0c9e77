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

/// An incident about a trail that was stopped, in this mode and with these things put back.
fn stopped(mode: crate::effect::Mode, restore: &[Restore]) -> (Option<Box<Incident>>, Settings) {
    let mut desk = Desk::observing();
    let settings = Settings { mode, restore: restore.iter().copied().collect(), ..Settings::default() };
    let found = opened(&mut desk, ("cloudtrail", "StopLogging"), &json!({"name": "sessionwarden-trail"}), None, 10);
    (found.into_iter().next().map(Box::new), settings)
}

fn restored(result: RemedyResult, changes: &[&str]) -> IncidentInput {
    let changes = changes.iter().map(|part| Arc::from(*part)).collect();
    IncidentInput::RestoreTried(Restored { changes, result })
}

/// What is said of putting it back, and whether a call is asked for that may.
fn about_restoring(effects: &[Effect]) -> (Option<(RemedyResult, String)>, Option<bool>) {
    let mut found = (None, None);
    for effect in effects {
        if let Effect::Report(Report::Remedy(remedy)) = effect {
            assert_eq!(remedy.kind, RemedyKind::Restore);
            found.0 = Some((remedy.result.clone(), remedy.reason.to_string()));
        } else if let Effect::Restore { act, restore, thing, parts, .. } = effect {
            assert_eq!(
                (*restore, &**thing, parts),
                (Restore::Trail, "sessionwarden-trail", &BTreeSet::from(["logging"]))
            );
            found.1 = Some(*act);
        }
    }
    found
}

// TH28: without an organisation it is planned; with one the thing is looked at, and not touched where that is not allowed.
#[test]
fn a_change_that_may_not_be_put_back_is_looked_at() {
    use crate::effect::Mode::{Enforce, Observe};
    for (mode, restore) in [(Observe, &Restore::ALL[..]), (Enforce, &[]), (Enforce, &[Restore::Key])] {
        let (mut incident, mut settings) = stopped(mode, restore);
        settings.organization = false;
        let effects = Incident::step_all(&mut incident, [IncidentInput::Wake], now(11), &settings);
        let planned = (RemedyResult::Planned, "the trail would be put back as it is to be".to_owned());
        assert_eq!(about_restoring(&effects), (Some(planned), None));
        settings.organization = true;
        let effects = Incident::step_all(&mut incident, [IncidentInput::Wake], now(11), &settings);
        assert_eq!(about_restoring(&effects), (None, Some(false)));
        let looked = restored(RemedyResult::Planned, &["logging"]);
        let effects = Incident::step_all(&mut incident, [looked], now(12), &settings);
        let planned = (RemedyResult::Planned, "the trail would be put back as it is to be: logging".to_owned());
        assert_eq!(about_restoring(&effects), (Some(planned), None));
        let incident = incident.unwrap();
        assert_eq!(incident.resolved, None);
        assert!(
            incident.due_at(now(12), &settings).is_none_or(|at| at > now(100)),
            "it is not looked at again and again"
        );
    }
}

// TH28: done where that is allowed, and the incident is over once it is seen to be done.
#[test]
fn a_change_is_put_back_where_that_is_allowed() {
    let (mut incident, settings) = stopped(crate::effect::Mode::Enforce, &[Restore::Trail]);
    let mut step = |input, seconds| Incident::step_all(&mut incident, [input], now(seconds), &settings);
    assert_eq!(about_restoring(&step(IncidentInput::Wake, 11)), (None, Some(true)));
    // A failed attempt is made again, not at once.
    assert_eq!(about_restoring(&step(restored(RemedyResult::Failed("denied".into()), &[]), 12)), (None, None));
    assert_eq!(about_restoring(&step(IncidentInput::Wake, 13)), (None, None));
    assert_eq!(about_restoring(&step(IncidentInput::Wake, 15)), (None, Some(true)));
    let effects = step(restored(RemedyResult::Done, &["logging"]), 17);
    let done = (RemedyResult::Done, "the trail is as it is to be again: logging".to_owned());
    assert_eq!(about_restoring(&effects), (Some(done), None));
    assert!(ids(&effects).iter().any(|id| id.ends_with("/resolved")));
}

// What is to be is written nowhere, or the thing is gone: a person has to look, and nothing is tried again.
#[test]
fn what_cannot_be_put_back_is_left_to_people() {
    let (mut incident, settings) = stopped(crate::effect::Mode::Enforce, &[Restore::Trail]);
    let refused = restored(RemedyResult::Refused("it does not exist any more".into()), &[]);
    let effects = Incident::step_all(&mut incident, [refused], now(12), &settings);
    let reason = "the trail is not put back: it does not exist any more".to_owned();
    assert_eq!(
        about_restoring(&effects),
        (Some((RemedyResult::Refused("it does not exist any more".into()), reason)), None)
    );
    let later = Incident::step_all(&mut incident, [IncidentInput::Wake], now(4_000), &settings);
    assert_eq!(about_restoring(&later).1, None);
    assert_eq!(incident.unwrap().resolved, None);
}

// All that was changed of one thing is put back together, and not what AWS refused to change.
#[test]
fn the_parts_of_all_calls_are_put_back() {
    let mut desk = Desk::observing();
    let key = "11111111-2222-3333-4444-555555555555";
    desk.settings.own_names.push(key.into());
    let mut seen = |name: &str, failure: Option<&str>, seconds| {
        let found = opened(&mut desk, ("kms", name), &json!({ "keyId": key }), failure, seconds);
        found.into_iter().find(|incident| &*incident.control == "SW-KEY-01")
    };
    let mut incident = seen("DisableKey", None, 10).unwrap();
    incident.merge(seen("PutKeyPolicy", None, 11).unwrap());
    assert_eq!(incident.restore(), Some((Restore::Key, BTreeSet::from(["enabled", "policy"]))));
    assert!(seen("RevokeGrant", Some("AccessDenied"), 12).is_none());
    incident.note = Some(incident.note());
    assert_eq!(incident.restore(), None, "what another subject has told of");
}

// TH10, TH13, TH20, TH22, TH23, TH26, TH27, TH28, TH29, TH30: each call that has R in the catalogue is put back, but for
// those whose effect nobody can take back. Each part that is named is one of the thing's.
#[test]
fn what_can_be_put_back() {
    let of_people = [
        "DeleteBucket",
        "DeleteStream",
        "DeleteTable",
        "PurgeQueue",
        "DeleteQueue",
        "DeleteAlarms",
        // It says of itself what is wrong as soon as the alarm is evaluated again.
        "SetAlarmState",
        "DeleteTopic",
        "LeaveOrganization",
        "RemoveAccountFromOrganization",
        "MoveAccount",
        "DisablePolicyType",
        // It is in the hands of whoever started the session.
        "SendSerialConsoleSSHPublicKey",
    ];
    let with_r = ["TH10", "TH13", "TH20", "TH22", "TH23", "TH26", "TH27", "TH28", "TH29", "TH30"];
    let mut kinds = BTreeSet::new();
    for (threat, _, call) in Decoder::catalogue() {
        let restore = Restore::of(call);
        if let Some((kind, parts)) = restore {
            let known: Vec<&str> = kind.parts().iter().map(|part| part.name).collect();
            assert!(
                !parts.is_empty() && parts.iter().all(|part| known.contains(part)),
                "{call}: {parts:?} of {known:?}"
            );
            kinds.insert(kind);
        }
        if with_r.contains(&threat) {
            assert_eq!(restore.is_none(), of_people.contains(&call), "{threat} {call}");
        }
    }
    assert_eq!(kinds, Restore::ALL.into_iter().collect());
}
