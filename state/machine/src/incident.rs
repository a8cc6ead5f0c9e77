//! What happens outside sessions: other ways in, and changes of the things that sessions and the guardrail rest on.
//! One incident for each cause, however many events it has.

mod case;
mod forgotten;
mod restore;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    account::Act,
    compliance::EventFacts,
    decode::{Observation, What},
    effect::{Effect, EvidenceNote, Finding, IncidentNote, Report, Response, Severity, announce},
    ids::{AccountId, EffectId, EventTime, Names, Now, SessionKey, Thing},
    session::{Mark, Rules, clip, principal, thing, thing_id},
    settings::Settings,
};

pub use case::{IncidentInput, IncidentPhase, Resolution};
pub use forgotten::FORGOTTEN;
pub use restore::{Restore, Restored, Restoring};

/// One cause that somebody has to look at: a control violated by events of one kind on one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// What makes it one cause: control, account, and the thing or the caller.
    pub cause: Arc<str>,
    /// The control's id.
    pub control: Arc<str>,
    /// The control's sentence.
    pub title: Arc<str>,
    /// How bad.
    pub severity: Severity,
    /// What the control asks for.
    pub response: Response,
    /// Requirement ids.
    pub requirements: BTreeSet<Arc<str>>,
    /// MITRE ATT&CK technique ids.
    pub techniques: BTreeSet<Arc<str>>,
    /// The hash of the policy text.
    pub policy: Arc<str>,
    /// Where.
    pub account: AccountId,
    /// Where.
    pub region: Arc<str>,
    /// What it was done to.
    pub target: Arc<str>,
    /// The first event.
    pub first: Mark,
    /// The first event's call.
    pub call: Arc<str>,
    /// The last event.
    pub last_at: EventTime,
    /// What has been done: effects that are durable.
    #[serde(default)]
    pub done: BTreeSet<EffectId>,
    /// The session, where it is about one that is kept no more; then no control was violated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionKey>,
    /// What it rests on, where that is not the first event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceNote>,
    /// What another subject has told of it, where that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<IncidentNote>,
    /// When it was first heard of.
    #[serde(default)]
    pub heard_at: Now,
    /// Who looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Act>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolution>,
    /// How often it was opened again.
    #[serde(default)]
    pub round: u32,
    /// All its calls since it was opened last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub calls: BTreeSet<Arc<str>>,
    /// AWS has refused each of its calls: nothing was changed.
    #[serde(default)]
    pub attempt: bool,
    /// Attempts to put the change back.
    #[serde(default)]
    pub restoring: Restoring,
}

/// The incidents that one event opens or adds to, by cause. Empty for session calls and for what no control forbids.
pub fn incidents_of(seen: &Observation<'_>, names: &mut Names, rules: &mut Rules<'_>) -> BTreeMap<Arc<str>, Incident> {
    let mut found = BTreeMap::new();
    let (kind, target) = match &seen.what {
        What::Access { target } => (None, target),
        What::Change { kind, id } => (Some(*kind), id),
        What::Start(_) | What::Resume { .. } | What::Terminate { .. } | What::Refused { .. } => return found,
    };
    let target = clip(target);
    let settings = rules.settings;
    let principal = principal(&seen.principal_arn, &seen.principal_kind, names);
    let answer = rules.verdicts.event(&EventFacts {
        account: seen.account,
        region: &seen.region,
        unit: settings.unit(seen.account),
        management: settings.management_account == Some(seen.account),
        principal: &principal,
        threat: seen.threat,
        event: seen.name,
        thing_kind: kind,
        thing: target,
        own: kind.is_some_and(|kind| settings.owns(kind, target)),
        failed: seen.failure.is_some(),
    });
    for hit in &answer.violated {
        let judge = rules.verdicts.judge();
        if judge.first_unexcused(&hit.waivers, seen.at) != seen.at {
            continue;
        }
        let control = judge.control(hit.control);
        // A change is about the thing; another way in is about who takes it.
        let about = kind.map_or(Cow::Borrowed(&*principal.arn), |kind| thing_id(kind, target));
        let cause: Arc<str> = format!("{}/{}/{about}", control.id, seen.account).into();
        found.insert(
            Arc::clone(&cause),
            Incident {
                cause,
                control: Arc::clone(&control.id),
                title: Arc::clone(&control.title),
                severity: control.severity,
                response: control.response,
                requirements: control.requirements.clone(),
                techniques: control.techniques.clone(),
                policy: Arc::clone(judge.policy_hash()),
                account: seen.account,
                region: names.get(clip(&seen.region)),
                target: names.get(target),
                first: Mark { at: seen.at, event: seen.event, principal: principal.clone() },
                call: Arc::from(seen.name),
                last_at: seen.at,
                done: BTreeSet::new(),
                session: None,
                evidence: Vec::new(),
                note: None,
                heard_at: Now(0),
                acknowledged: None,
                resolved: None,
                round: 0,
                calls: if seen.failure.is_none() { BTreeSet::from([Arc::from(seen.name)]) } else { BTreeSet::new() },
                attempt: seen.failure.is_some(),
                restoring: Restoring::default(),
            },
        );
    }
    found
}

/// The thing that an event changed, if it changed one: whatever rests on it is due now. Its id has the form that sessions
/// keep: the name of a document or key that was given by ARN, and long ids shortened.
pub fn changed_thing(seen: &Observation<'_>, names: &mut Names) -> Option<Thing> {
    match &seen.what {
        What::Change { kind, id } if seen.failure.is_none() && !id.is_empty() => {
            Some(thing(*kind, seen.account, id, names))
        }
        What::Change { .. }
        | What::Access { .. }
        | What::Start(_)
        | What::Resume { .. }
        | What::Terminate { .. }
        | What::Refused { .. } => None,
    }
}

impl Incident {
    /// Adds another event of the same cause. Order and repetition do not matter, as long as the policy is the same; what
    /// was decided under another policy stays.
    pub fn merge(&mut self, other: Self) {
        self.last_at = self.last_at.max(other.last_at);
        self.done.extend(other.done);
        self.calls.extend(other.calls);
        self.attempt &= other.attempt;
        let known = (&self.first, &self.call, &self.region, &self.target);
        if (&other.first, &other.call, &other.region, &other.target) < known {
            (self.first, self.call) = (other.first, other.call);
            (self.region, self.target) = (other.region, other.target);
            self.evidence = other.evidence;
        }
    }

    /// Everything the facts ask for that is not yet durable.
    pub fn wanted(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.note.is_none() {
            if self.session.is_none() {
                effects.push(Effect::Report(Report::Finding(Box::new(self.finding(settings)))));
            }
            if self.response != Response::Report {
                effects.push(Effect::Report(Report::Incident(Box::new(self.note()))));
            }
            if settings.notify {
                announce(&mut effects);
            }
        }
        effects.extend(self.afterwards(now, settings));
        effects.retain(|effect| !self.done.contains(effect.id()));
        effects
    }

    fn finding_id(&self) -> EffectId {
        EffectId(format!("finding/{}", self.cause).into())
    }

    fn finding(&self, settings: &Settings) -> Finding {
        Finding {
            id: self.finding_id(),
            control: Arc::clone(&self.control),
            title: Arc::clone(&self.title),
            severity: self.severity,
            requirements: self.requirements.clone(),
            techniques: self.techniques.clone(),
            policy: Arc::clone(&self.policy),
            account: self.account,
            region: Arc::clone(&self.region),
            session: None,
            target: Arc::clone(&self.target),
            principal: self.first.principal.clone(),
            since: self.first.at,
            event: Some(self.first.event),
            evidence: self.evidence_notes(),
            mode: settings.mode,
        }
    }

    /// What an event's incident says.
    fn event_note(&self) -> IncidentNote {
        IncidentNote {
            id: EffectId(format!("incident/{}", self.cause).into()),
            title: Arc::clone(&self.title),
            cause: Arc::clone(&self.control),
            severity: self.severity,
            account: self.account,
            region: Arc::clone(&self.region),
            session: self.session.clone(),
            opened: self.first.at,
            resolved: None,
            evidence: self.evidence_notes(),
            findings: if self.session.is_none() { vec![self.finding_id()] } else { Vec::new() },
        }
    }

    fn evidence_notes(&self) -> Vec<EvidenceNote> {
        if self.evidence.is_empty() { vec![self.first_event()] } else { self.evidence.clone() }
    }

    fn first_event(&self) -> EvidenceNote {
        EvidenceNote {
            name: Arc::clone(&self.call),
            value: Arc::clone(&self.target),
            source: "cloudtrail".into(),
            at: self.first.at,
        }
    }
}

#[cfg(test)]
mod tests;
