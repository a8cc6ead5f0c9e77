//! Asks the policy about a session, at every moment at which the answer could have changed.

use std::sync::Arc;

use super::{Session, Violation, document_kind, plan::document_shared, target_kind};
use crate::{
    compliance::{Answer, Evidence, EvidenceKind, SessionFacts, Tri, Verdicts},
    effect::Principal,
    ids::{EventId, EventTime},
    settings::Settings,
};

/// What a decision is made with.
#[derive(Debug)]
pub struct Rules<'a> {
    /// The policy, with its memory of verdicts.
    pub verdicts: &'a mut Verdicts,
    /// The configuration.
    pub settings: &'a Settings,
}

/// A control of which nothing can be said yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// The control's id.
    pub control: Arc<str>,
    /// The evidence it needs.
    pub needs: Vec<EvidenceKind>,
}

/// What the policy says of a session as it is known now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Violated controls with the moment each began, by index of the control.
    pub violated: Vec<(usize, EventTime, Option<EventId>)>,
    /// Controls excused for now: control, waiver, and when the last waiver ends.
    pub waived: Vec<(usize, usize, EventTime)>,
    /// Controls that need evidence which is not there.
    pub unproven: Vec<Unproven>,
}

/// A moment at which something about the session became so.
struct Moment {
    at: EventTime,
    event: Option<EventId>,
    evidence: Evidence,
    resumed: bool,
}

impl Session {
    /// When its first known fact was so; `None` where nothing but its end is known.
    pub fn born_at(&self) -> Option<EventTime> {
        let start = self.start.as_ref().map(|start| start.mark.at);
        let described = self.seen.as_ref().and_then(|seen| seen.described.as_ref()).map(|seen| seen.started_at);
        let resume = self.resumes.first().map(|mark| mark.at);
        start.or(described).or(resume)
    }

    /// When it ended, where that is known.
    pub fn ended_at(&self) -> Option<EventTime> {
        let terminated = self.terminated.as_ref().map(|mark| mark.at);
        let seen = self.seen.as_ref().and_then(|seen| seen.ended_at);
        [terminated, seen].into_iter().flatten().min()
    }

    /// The last moment at which it is known to have lived.
    fn last_alive_at(&self) -> Option<EventTime> {
        let alive = self.seen.as_ref().and_then(|seen| seen.alive_at);
        let resume = self.resumes.last().map(|mark| mark.at);
        [self.born_at(), alive, resume, self.ended_at()].into_iter().flatten().max()
    }

    /// What the policy says, without keeping it.
    pub fn verdict(&self, rules: &mut Rules<'_>) -> Verdict {
        let (Some(born), Some(last_alive)) = (self.born_at(), self.last_alive_at()) else {
            return Verdict::default();
        };
        let mut verdict = Verdict::default();
        let mut last: Option<Arc<Answer>> = None;
        for moment in self.moments(born) {
            let answer = self.ask(&moment, rules);
            for hit in &answer.violated {
                if verdict.violated.iter().any(|(control, ..)| *control == hit.control) {
                    continue;
                }
                let since = rules.verdicts.judge().first_unexcused(&hit.waivers, moment.at);
                if since == moment.at {
                    verdict.violated.push((hit.control, since, moment.event));
                } else if since < last_alive {
                    verdict.violated.push((hit.control, since, None));
                } else if let Some(waiver) = hit.waivers.first()
                    && !verdict.waived.iter().any(|(control, ..)| *control == hit.control)
                {
                    verdict.waived.push((hit.control, *waiver, since));
                }
            }
            last = Some(answer);
        }
        verdict.waived.retain(|(control, ..)| !verdict.violated.iter().any(|(violated, ..)| violated == control));
        for open in last.iter().flat_map(|answer| &answer.unknown) {
            let judge = rules.verdicts.judge();
            // Whichever way it is decided, a waiver that still works excuses it.
            let excused = judge.first_unexcused(&open.waivers, last_alive) > last_alive;
            if !excused && !verdict.violated.iter().any(|(control, ..)| *control == open.control) {
                let control = Arc::clone(&judge.control(open.control).id);
                verdict.unproven.push(Unproven { control, needs: open.needs.clone() });
            }
        }
        verdict
    }

    /// Judges, and keeps the violations that are new or found to have begun earlier.
    pub fn judge(&mut self, rules: &mut Rules<'_>) -> Verdict {
        let verdict = self.verdict(rules);
        for (control, since, event) in &verdict.violated {
            let (since, event) = (*since, *event);
            let judge = rules.verdicts.judge();
            let control = judge.control(*control);
            let violations = self.violations.get_or_insert_default();
            if violations.get(&control.id).is_some_and(|known| known.since <= since) {
                continue;
            }
            violations.insert(
                Arc::clone(&control.id),
                Violation {
                    title: Arc::clone(&control.title),
                    severity: control.severity,
                    response: control.response,
                    quarantine: control.quarantine,
                    requirements: control.requirements.clone(),
                    techniques: control.techniques.clone(),
                    policy: Arc::clone(judge.policy_hash()),
                    since,
                    event,
                },
            );
        }
        verdict
    }

    /// The moments at which the facts changed, in order: the beginning, the first resumption, each first «no».
    fn moments(&self, born: EventTime) -> Vec<Moment> {
        let mut evidence = Evidence::default();
        let mut changes: Vec<(EventTime, Option<EvidenceKind>)> = Vec::new();
        for (kind, known) in self.seen.iter().flat_map(|seen| &seen.evidence) {
            match (known.first_no, known.last) {
                (Some(at), _) => changes.push((at.max(born), Some(*kind))),
                (None, Some((_, true))) => evidence.set(*kind, Tri::Yes),
                (None, Some((_, false)) | None) => {}
            }
        }
        if let Some(resume) = self.resumes.first() {
            changes.push((resume.at.max(born), None));
        }
        changes.sort_unstable();
        let event = self.start.as_ref().map(|start| start.mark.event);
        let mut moments = vec![Moment { at: born, event, evidence, resumed: false }];
        let mut resumed = false;
        for (at, change) in changes {
            let event = if let Some(kind) = change {
                evidence.set(kind, Tri::No);
                None
            } else {
                resumed = true;
                self.resumes.first().map(|mark| mark.event)
            };
            moments.push(Moment { at, event, evidence, resumed });
        }
        moments
    }

    fn ask(&self, moment: &Moment, rules: &mut Rules<'_>) -> Arc<Answer> {
        let settings = rules.settings;
        let described = self.seen.as_ref().and_then(|seen| seen.described.as_ref());
        let nobody;
        let principal = match (&self.start, described) {
            (Some(start), _) => &start.mark.principal,
            (None, Some(described)) => {
                nobody = Principal { arn: Arc::clone(&described.owner), kind: Arc::from("") };
                &nobody
            }
            (None, None) => {
                nobody = Principal { arn: Arc::from(""), kind: Arc::from("") };
                &nobody
            }
        };
        let reason = self.start.as_ref().and_then(|start| start.reason.as_deref());
        rules.verdicts.session(&SessionFacts {
            account: self.key.account,
            region: &self.key.region,
            unit: settings.unit(self.key.account),
            management: settings.management_account == Some(self.key.account),
            region_allowed: settings.allows_region(&self.key.region),
            principal,
            target: self.target(),
            target_kind: target_kind(self),
            document_name: self.document(),
            document_kind: document_kind(self),
            document_shared: document_shared(self),
            access_type: described.map_or("", |described| &*described.access_type),
            reason: reason.or_else(|| described.and_then(|described| described.reason.as_deref())),
            resumed: moment.resumed,
            started_at: self.born_at().unwrap_or(moment.at),
            evidence: moment.evidence,
        })
    }
}
