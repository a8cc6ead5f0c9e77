//! Why the policies say of a session what they say.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use sessionwarden_machine::{
    compliance::{Control, EvidenceKind, Judge, Tri, Verdicts},
    effect::{Response, Severity},
    ids::EventTime,
    session::{Known, Outcome, Phase, Rules, Session, Verdict, document_kind, target_kind},
    settings::Settings,
};

use super::cases::{Case, Facts};

/// A subject, and what the policies say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The session as `account/region/id`, or the name of the case.
    pub subject: String,
    /// The hash of the policy that is asked now.
    pub policy: Arc<str>,
    /// What is known, by name, in the order in which people read it; in JSON an object, with underscores in its names.
    #[serde(serialize_with = "as_map")]
    pub known: Vec<(&'static str, String)>,
    /// Every control that judges it, the worst verdicts first.
    pub controls: Vec<ControlVerdict>,
    /// Evidence that some control asks for, or that is known; nothing for an event.
    pub evidence: Vec<EvidenceKnown>,
    /// Violations found under another policy, or that are no longer found; they stay.
    pub kept: Vec<Kept>,
}

/// What one control says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlVerdict {
    /// The control.
    pub id: Arc<str>,
    /// What it means to violate it.
    pub title: Arc<str>,
    /// How bad that is.
    pub severity: Severity,
    /// What it asks for.
    pub response: Response,
    /// What it says.
    #[serde(flatten)]
    pub verdict: Said,
}

/// A control's verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Said {
    /// It is violated.
    Violated {
        /// Since when.
        since: String,
        /// `CloudTrail`'s id of the event that began it, where one did.
        event: Option<String>,
    },
    /// It cannot be decided.
    Undecided {
        /// The evidence that is missing; nothing where the control cannot be evaluated at all.
        needs: Vec<&'static str>,
    },
    /// It would be violated, and is excused.
    Waived {
        /// By which waiver.
        waiver: Arc<str>,
        /// Until when.
        until: String,
    },
    /// It is not violated.
    Clear,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceKnown {
    /// Which.
    pub kind: EvidenceKind,
    /// What counts: the first no, else the latest yes as long as it holds.
    pub value: Tri,
    /// The latest answer that was yes or no.
    pub answered_at: Option<String>,
    /// Who gave the answer that `reason` is about.
    pub source: Option<Arc<str>>,
    /// When it was given.
    pub told_at: Option<String>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

/// A violation that was found before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The control.
    pub id: Arc<str>,
    /// What it meant to violate it.
    pub title: Arc<str>,
    /// Since when.
    pub since: String,
    /// The hash of the policy that it was found under.
    pub policy: Arc<str>,
}

fn as_map<S: serde::Serializer>(known: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(known.iter().map(|(name, value)| (name.replace(' ', "_"), value)))
}

/// Explains a session as it is known now.
pub fn session(session: &Session, judge: &Arc<Judge>, settings: &Settings) -> Explanation {
    let mut verdicts = Verdicts::new(Arc::clone(judge));
    let verdict = session.verdict(&mut Rules { verdicts: &mut verdicts, settings });
    Explanation {
        subject: session.key.to_string(),
        policy: Arc::clone(judge.policy_hash()),
        known: known(session, &verdict, settings),
        controls: controls(judge, |control| control.session, &said(&verdict, judge)),
        evidence: evidence(session, judge, settings),
        kept: kept(session, &verdict, judge),
    }
}

/// Explains a case; `now` is the time where it names none.
pub fn case(case: &Case, judge: &Arc<Judge>, now: EventTime) -> Explanation {
    let name = if case.facts.name().is_empty() {
        format!("{}:{}", case.file, case.line)
    } else {
        case.facts.name().to_owned()
    };
    match &case.facts {
        Facts::Session(facts) => {
            let (known, settings) = case.session(facts, now);
            Explanation { subject: name, ..session(&known, judge, &settings) }
        }
        Facts::Event(facts) => {
            let at = case.at.unwrap_or(now);
            let mut known = vec![
                ("account", case.account.to_string()),
                ("region", facts.region.clone()),
                ("threat", facts.threat.clone()),
                ("event", facts.event.clone()),
                ("kind of thing", facts.kind.map_or("unknown", |kind| kind.as_str()).to_owned()),
                ("thing", facts.thing.clone()),
                ("own", yes_no(facts.own)),
                ("refused", yes_no(facts.failed)),
                ("principal", facts.principal.clone()),
                ("at", at.to_string()),
            ];
            known.retain(|(_, value)| !value.is_empty());
            Explanation {
                subject: name,
                policy: Arc::clone(judge.policy_hash()),
                known,
                controls: controls(judge, |control| control.event, &case.event_said(facts, judge, at)),
                evidence: Vec::new(),
                kept: Vec::new(),
            }
        }
    }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn known(session: &Session, verdict: &Verdict, settings: &Settings) -> Vec<(&'static str, String)> {
    let (principal, start, seen) = (session.principal(), session.start.as_ref(), session.seen.as_ref());
    let described = seen.and_then(|seen| seen.described.as_ref());
    let text = |text: Option<&Arc<str>>| text.map(ToString::to_string).unwrap_or_default();
    let time = |at: Option<EventTime>| at.map(|at| at.to_string()).unwrap_or_default();
    let reason = start.and_then(|start| start.reason.as_ref());
    let unit = settings.units.get(&session.key.account);
    let log = seen.and_then(|seen| seen.log.as_ref());
    let flaws = log.iter().flat_map(|log| &log.flaws).map(|flaw| flaw.as_str()).collect::<Vec<_>>().join(", ");
    let missing = seen.and_then(|seen| seen.log_told.as_ref()).filter(|_| log.is_none());
    let mut known = vec![
        ("account", session.key.account.to_string()),
        ("unit", text(unit)),
        ("region", session.key.region.to_string()),
        ("phase", phase(session.phase(verdict, settings)).to_owned()),
        ("principal", principal.arn.to_string()),
        ("target", session.target().to_owned()),
        ("kind of target", target_kind(session).as_str().to_owned()),
        ("document", session.document().to_owned()),
        ("kind of document", document_kind(session).as_str().to_owned()),
        ("opens", text(seen.map(|seen| &seen.session_type))),
        ("access", text(described.map(|described| &described.access_type))),
        ("reason", text(reason.or_else(|| described.and_then(|described| described.reason.as_ref())))),
        ("started", time(session.born_at())),
        ("first resumed", time(session.resumes.first().map(|mark| mark.at))),
        ("last seen alive", time(seen.and_then(|seen| seen.alive_at))),
        ("ended", time(session.ended_at())),
        ("log", text(log.map(|log| &log.place))),
        ("wrong with the log", flaws),
        ("no log", missing.map(|(_, why)| why.to_string()).unwrap_or_default()),
    ];
    known.retain(|(_, value)| !value.is_empty());
    known
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Observed => "observed",
        Phase::Live => "live",
        Phase::Terminating => "terminating",
        Phase::AwaitingLog => "awaiting its log",
        Phase::Closed(Outcome::Compliant) => "closed: compliant",
        Phase::Closed(Outcome::Violated) => "closed: violated",
        Phase::Closed(Outcome::LogMissing) => "closed: log missing",
        Phase::Closed(Outcome::Unproven) => "closed: unproven",
    }
}

fn said(verdict: &Verdict, judge: &Judge) -> BTreeMap<Arc<str>, Said> {
    let violated = verdict.violated.iter().map(|(control, since, event)| {
        let event = event.map(|event| event.to_string());
        (Arc::clone(&judge.control(*control).id), Said::Violated { since: since.to_string(), event })
    });
    let waived = verdict.waived.iter().map(|waived| {
        let said = Said::Waived { waiver: Arc::clone(&waived.waiver), until: waived.until.to_string() };
        (Arc::clone(&waived.control_id), said)
    });
    let open = verdict.unproven.iter().map(|open| {
        let needs = open.needs.iter().map(|kind| kind.as_str()).collect();
        (Arc::clone(&open.control), Said::Undecided { needs })
    });
    open.chain(waived).chain(violated).collect()
}

fn controls(judge: &Judge, judges: impl Fn(&Control) -> bool, said: &BTreeMap<Arc<str>, Said>) -> Vec<ControlVerdict> {
    let mut all: Vec<_> = judge
        .controls()
        .iter()
        .filter(|control| judges(control))
        .map(|control| ControlVerdict {
            id: Arc::clone(&control.id),
            title: Arc::clone(&control.title),
            severity: control.severity,
            response: control.response,
            verdict: said.get(&control.id).cloned().unwrap_or(Said::Clear),
        })
        .collect();
    all.sort_by_key(|control| match control.verdict {
        Said::Violated { .. } => 0,
        Said::Undecided { .. } => 1,
        Said::Waived { .. } => 2,
        Said::Clear => 3,
    });
    all
}

fn evidence(session: &Session, judge: &Judge, settings: &Settings) -> Vec<EvidenceKnown> {
    let seen = session.seen.as_ref();
    let asked: Vec<_> = judge.evidence().collect();
    let of = |kind: EvidenceKind| seen.and_then(|seen| seen.evidence.get(&kind));
    let row = |kind: EvidenceKind| {
        let known = of(kind).cloned().unwrap_or_default();
        let told = known.told.as_ref();
        EvidenceKnown {
            kind,
            value: value(kind, &known, session, settings),
            answered_at: known.last.map(|(at, _)| at.to_string()),
            source: told.map(|told| Arc::clone(&told.source)).filter(|source| !source.is_empty()),
            told_at: told.map(|told| told.at.to_string()),
            reason: told.map(|told| Arc::clone(&told.reason)).filter(|reason| !reason.is_empty()),
        }
    };
    EvidenceKind::ALL.into_iter().filter(|kind| asked.contains(kind) || of(*kind).is_some()).map(row).collect()
}

/// What counts when the session is judged: what the settings ask nothing about is a yes, and a yes lapses where the
/// session is known to have gone on for too long.
fn value(kind: EvidenceKind, known: &Known, session: &Session, settings: &Settings) -> Tri {
    if known.first_no.is_some() {
        return Tri::No;
    }
    let alive_at = session.seen.as_ref().and_then(|seen| seen.alive_at);
    let resumed_at = session.resumes.last().map(|mark| mark.at);
    let until = session.ended_at().max(alive_at).max(resumed_at);
    match known.last {
        Some((at, true)) if until.is_none_or(|until| until <= at.plus_ms(settings.evidence_unknown_ms_max)) => Tri::Yes,
        Some(_) | None if settings.posture.not_asked_for().any(|it| it == kind) => Tri::Yes,
        Some(_) | None => Tri::Unknown,
    }
}

fn kept(session: &Session, verdict: &Verdict, judge: &Judge) -> Vec<Kept> {
    let now = |id: &Arc<str>| verdict.violated.iter().any(|(control, ..)| judge.control(*control).id == *id);
    let found = session.violations.iter().flat_map(|found| found.iter());
    let found = found.filter(|(id, violation)| !now(id) || violation.policy != *judge.policy_hash());
    found
        .map(|(id, violation)| Kept {
            id: Arc::clone(id),
            title: Arc::clone(&violation.title),
            since: violation.since.to_string(),
            policy: Arc::clone(&violation.policy),
        })
        .collect()
}
