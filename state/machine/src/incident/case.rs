//! What becomes of an incident: acknowledged, told again when nobody looks, resolved by the system or by a person.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Incident, Restored};
use crate::{
    account::Act,
    effect::{Effect, IncidentNote, Order, Principal, Report, Response, Severity, announce},
    ids::{EffectId, EventId, Now},
    session::Mark,
    settings::Settings,
};

/// Something new about an incident.
#[derive(Clone, Debug, PartialEq)]
pub enum IncidentInput {
    /// An event opens it, or adds to it.
    Seen(Box<Incident>),
    /// A session, an account or the register has opened it, and told of it.
    Noted(Box<IncidentNote>),
    /// Its cause is gone.
    Gone,
    /// Whoever opened it has told that it is over.
    Over(Box<IncidentNote>),
    /// Somebody looks at it.
    Acknowledged(Act),
    /// A person says that it is over.
    Resolved(Act),
    /// An attempt to put the change back.
    RestoreTried(Restored),
    /// Effects that are durable now.
    Done(Vec<EffectId>),
    /// Nothing new: time has passed.
    Wake,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// When.
    pub at: Now,
    /// Who said so; `None` where its cause is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Act>,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentPhase {
    /// Nobody has said that it is looked at.
    Open,
    /// Nobody has for so long that people were told again.
    Escalated,
    /// Somebody looks at it.
    Acknowledged,
    /// It is over.
    Resolved,
}

impl IncidentPhase {
    /// Its name, as tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

impl Incident {
    /// Takes inputs in together, and returns the effects that are wanted and not yet done. Nothing but an event or a note
    /// makes an incident.
    pub fn step_all(
        incident: &mut Option<Box<Self>>,
        inputs: impl IntoIterator<Item = IncidentInput>,
        now: Now,
        settings: &Settings,
    ) -> Vec<Effect> {
        for input in inputs {
            match (input, incident.as_mut()) {
                (IncidentInput::Seen(new), Some(known)) => {
                    known.reopen(Now(new.last_at.0));
                    known.merge(*new);
                }
                (IncidentInput::Seen(new), None) => *incident = Some(Box::new(Self { heard_at: now, ..*new })),
                (IncidentInput::Noted(note), None) => *incident = Some(Box::new(Self::of_note(*note, now))),
                (IncidentInput::Gone, Some(known)) => {
                    known.resolved.get_or_insert(Resolution { at: now, by: None });
                }
                (IncidentInput::Over(told), Some(known)) => {
                    let at = told.resolved.map_or(now, |at| Now(at.0));
                    known.resolved.get_or_insert(Resolution { at, by: None });
                    known.done.insert(told.id);
                }
                (IncidentInput::Acknowledged(act), Some(known)) => {
                    known.acknowledged.get_or_insert(act);
                }
                (IncidentInput::Resolved(act), Some(known)) => {
                    known.resolved.get_or_insert(Resolution { at: act.at, by: Some(act) });
                }
                (IncidentInput::RestoreTried(restored), Some(known)) => {
                    if known.restoring.tried(restored, now) {
                        known.resolved.get_or_insert(Resolution { at: now, by: None });
                    }
                }
                (IncidentInput::Done(effects), Some(known)) => known.done.extend(effects),
                (IncidentInput::Noted(_) | IncidentInput::Wake, _)
                | (
                    IncidentInput::Gone
                    | IncidentInput::Over(_)
                    | IncidentInput::Acknowledged(_)
                    | IncidentInput::Resolved(_)
                    | IncidentInput::RestoreTried(_)
                    | IncidentInput::Done(_),
                    None,
                ) => {}
            }
        }
        incident.as_ref().map(|incident| incident.wanted(now, settings)).unwrap_or_default()
    }

    /// An incident that another subject has told of already.
    fn of_note(note: IncidentNote, now: Now) -> Self {
        let id = &*note.id.0;
        let cause: Arc<str> = id.strip_prefix("incident/").unwrap_or(id).into();
        let nobody = Principal { arn: Arc::default(), kind: Arc::default() };
        let target = note.session.as_ref().map_or_else(|| note.account.to_string(), |session| session.id.to_string());
        Self {
            control: Arc::clone(&note.cause),
            title: Arc::clone(&note.title),
            severity: note.severity,
            response: Response::Incident,
            requirements: BTreeSet::new(),
            techniques: BTreeSet::new(),
            policy: Arc::default(),
            account: note.account,
            region: Arc::clone(&note.region),
            target: target.into(),
            first: Mark { at: note.opened, event: EventId::of_content(id.as_bytes()), principal: nobody },
            call: Arc::clone(&note.cause),
            last_at: note.opened,
            done: BTreeSet::new(),
            session: note.session.clone(),
            evidence: Vec::new(),
            cause,
            note: Some(note),
            heard_at: now,
            acknowledged: None,
            resolved: None,
            round: 0,
            calls: BTreeSet::new(),
            attempt: false,
            restoring: super::Restoring::default(),
        }
    }

    /// An event after its end opens an incident again.
    fn reopen(&mut self, at: Now) {
        if self.resolved.as_ref().is_some_and(|resolved| at > resolved.at) {
            (self.resolved, self.acknowledged, self.heard_at) = (None, None, at);
            self.restoring = super::Restoring::default();
            self.calls.clear();
            self.round += 1;
        }
    }

    /// Where it stands.
    pub fn phase(&self, now: Now, settings: &Settings) -> IncidentPhase {
        if self.resolved.is_some() {
            IncidentPhase::Resolved
        } else if self.acknowledged.is_some() {
            IncidentPhase::Acknowledged
        } else if self.escalates_at(settings).is_some_and(|at| now >= at) {
            IncidentPhase::Escalated
        } else {
            IncidentPhase::Open
        }
    }

    /// When to look again.
    pub fn due_at(&self, now: Now, settings: &Settings) -> Option<Now> {
        let escalates = self.escalates_at(settings).filter(|at| now < *at);
        escalates.into_iter().chain(self.restore_due(now, settings)).min()
    }

    /// When people are told again, unless somebody says before that it is looked at.
    fn escalates_at(&self, settings: &Settings) -> Option<Now> {
        let wait_ms = match self.severity {
            Severity::Critical => settings.escalate_critical_ms,
            Severity::High => settings.escalate_high_ms,
            Severity::Info | Severity::Low | Severity::Medium => return None,
        };
        let open = self.resolved.is_none() && self.acknowledged.is_none() && self.response != Response::Report;
        open.then(|| self.heard_at.plus_ms(wait_ms))
    }

    /// The incident as reports have it.
    pub fn note(&self) -> IncidentNote {
        let mut note = self.note.clone().unwrap_or_else(|| self.event_note());
        if self.round > 0 {
            note.id = EffectId(format!("{}/again-{}", note.id.0, self.round).into());
        }
        note
    }

    /// Everything that follows from how it went on.
    pub(super) fn afterwards(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let note = self.note();
        let mut effects = Vec::new();
        self.want_restore(now, settings, &mut effects);
        if self.phase(now, settings) == IncidentPhase::Escalated {
            let id = EffectId(format!("{}/escalated", note.id.0).into());
            let title = format!("Still open, and nobody has said that it is looked at: {}", note.title);
            let again = IncidentNote { id, title: title.into(), ..note.clone() };
            effects.push(Effect::Report(Report::Incident(Box::new(again))));
        }
        if let Some(resolved) = &self.resolved {
            let id = EffectId(format!("{}/resolved", note.id.0).into());
            let over = IncidentNote { id, resolved: Some(resolved.at.as_event_time()), ..note };
            effects.push(Effect::Report(Report::Incident(Box::new(over))));
        }
        if settings.notify {
            announce(&mut effects);
        }
        let acts = self.acknowledged.iter().map(|act| (Order::Acknowledge, act));
        let acts = acts.chain(self.resolved.iter().filter_map(|it| Some((Order::Resolve, it.by.as_ref()?))));
        effects.extend(acts.map(|(order, act)| Effect::Act {
            id: EffectId(format!("{}/{}-{}", order.as_str(), self.cause, self.round).into()),
            order,
            who: Arc::clone(&act.who),
            reason: Arc::clone(&act.reason),
            target: Arc::clone(&self.cause),
            at: act.at,
        }));
        effects
    }
}
