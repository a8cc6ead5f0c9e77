//! Asks the policy about a session, at every moment at which the answer could have changed.

use std::{borrow::Cow, cmp::Reverse, sync::Arc};

use super::{
    Session, VIOLATIONS_MAX, Violation, document_kind,
    plan::document_shared,
    target_kind,
    text::{TITLE_BYTES_MAX, fit},
};
use crate::{
    compliance::{Answer, Evidence, EvidenceKind, SessionFacts, Tri, Verdicts},
    effect::Response,
    ids::{EventId, EventTime, Now},
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
    /// It asks for more than a report.
    pub pressing: bool,
}

/// A control that would be violated, and that a waiver excuses for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waived {
    /// The control's index.
    pub control: usize,
    /// The control's id.
    pub control_id: Arc<str>,
    /// The waiver's id.
    pub waiver: Arc<str>,
    /// When the last waiver that excuses it ends.
    pub until: EventTime,
}

/// What the policy says of a session as it is known now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Violated controls with the moment each began, by index of the control.
    pub violated: Vec<(usize, EventTime, Option<EventId>)>,
    /// Controls excused for now.
    pub waived: Vec<Waived>,
    /// Controls that need evidence which is not there.
    pub unproven: Vec<Unproven>,
    /// The hash of the policy's text; none without an organisation, where no session is closed by a verdict.
    pub policy: Option<Arc<str>>,
    /// Since when there has been no answer to something that the policy asks about.
    pub unanswered_since: Option<EventTime>,
    /// Evidence that the policy asks about and that the last gathering gave no answer to.
    pub unanswered: Vec<EvidenceKind>,
}

/// A moment at which something about the session became so.
struct Moment {
    at: EventTime,
    event: Option<EventId>,
    evidence: Evidence,
    resumed: bool,
}

impl Session {
    /// Its opening is known: by its call, or by AWS's description.
    pub fn is_opened(&self) -> bool {
        self.start.is_some() || self.described().is_some()
    }

    /// When its first known fact was so; `None` where nothing but its end is known.
    pub fn born_at(&self) -> Option<EventTime> {
        let start = self.start.as_ref().map(|start| start.mark.at);
        let described = self.described().map(|described| described.started_at);
        let resume = self.resumes.first().map(|mark| mark.at);
        [start, described, resume].into_iter().flatten().min()
    }

    /// When it ended, where that is known. An end is believed until AWS shows the session alive at a later time than
    /// anybody reported its end (I15).
    pub fn ended_at(&self) -> Option<EventTime> {
        let terminated = self.terminated.as_ref().map(|mark| mark.at);
        let seen = self.seen.as_ref();
        let reported = terminated.max(seen.and_then(|seen| seen.ended_seen_at));
        if seen.and_then(|seen| seen.alive_at) > reported {
            return None;
        }
        [terminated, seen.and_then(|seen| seen.ended_at)].into_iter().flatten().min()
    }

    /// AWS itself has shown that it ended.
    pub fn end_confirmed(&self) -> bool {
        self.ended_at().is_some() && self.seen.as_ref().is_some_and(|seen| seen.ended_seen_at.is_some())
    }

    /// The last moment at which something showed it alive.
    fn alive_until(&self, born: EventTime) -> EventTime {
        let alive = self.seen.as_ref().and_then(|seen| seen.alive_at);
        let resume = self.resumes.last().map(|mark| mark.at);
        [alive, resume].into_iter().flatten().fold(born, EventTime::max)
    }

    /// What the policy says, without keeping it. With an organisation nothing is said of a session before its opening is
    /// known (TH4).
    pub fn verdict(&self, rules: &mut Rules<'_>) -> Verdict {
        let asking = rules.settings.organization;
        let heard_at = self.heard_at.as_event_time();
        let policy = asking.then(|| Arc::clone(rules.verdicts.judge().policy_hash()));
        let mut verdict = Verdict { policy, unanswered_since: asking.then_some(heard_at), ..Verdict::default() };
        let Some(born) = self.born_at().filter(|_| self.is_opened() || !asking) else {
            return verdict;
        };
        let alive_until = self.alive_until(born);
        let ended = self.ended_at();
        let mut last: Option<Arc<Answer>> = None;
        for moment in self.moments(born, ended.max(Some(alive_until)), rules.settings) {
            let answer = self.ask(&moment, rules);
            for hit in &answer.violated {
                let since = rules.verdicts.judge().first_unexcused(&hit.waivers, moment.at);
                // Where AWS can be asked, only AWS shows that a session outlived its waiver.
                let outlived = since <= alive_until || (!asking && ended.is_some_and(|ended| since < ended));
                if since == moment.at || outlived {
                    let event = moment.event.filter(|_| since == moment.at);
                    match verdict.violated.iter_mut().find(|(control, ..)| *control == hit.control) {
                        Some(known) if known.1 <= since => {}
                        Some(known) => (known.1, known.2) = (since, event),
                        None => verdict.violated.push((hit.control, since, event)),
                    }
                } else if let Some(waiver) = hit.waivers.first()
                    && !verdict.waived.iter().any(|waived| waived.control == hit.control)
                {
                    let judge = rules.verdicts.judge();
                    verdict.waived.push(Waived {
                        control: hit.control,
                        control_id: Arc::clone(&judge.control(hit.control).id),
                        waiver: Arc::clone(&judge.waiver(*waiver).id),
                        until: since,
                    });
                }
            }
            last = Some(answer);
        }
        verdict.waived.retain(|waived| !verdict.violated.iter().any(|(violated, ..)| *violated == waived.control));
        let judge = rules.verdicts.judge();
        for open in last.iter().flat_map(|answer| &answer.unknown) {
            // Whichever way it is decided, a waiver that still works excuses it.
            let excused = judge.first_unexcused(&open.waivers, alive_until) > alive_until;
            if !excused && !verdict.violated.iter().any(|(control, ..)| *control == open.control) {
                let control = judge.control(open.control);
                let pressing = control.response != Response::Report;
                verdict.unproven.push(Unproven {
                    control: Arc::clone(&control.id),
                    needs: open.needs.clone(),
                    pressing,
                });
            }
        }
        let answers = if asking { self.last_answers(judge.pressing_evidence(), &verdict.unproven) } else { Vec::new() };
        let gathered = self.seen.as_ref().and_then(|seen| seen.gathered_at).map(Now::as_event_time);
        verdict.unanswered_since = answers.iter().map(|(at, _)| *at).min();
        verdict.unanswered = answers.iter().filter(|(at, _)| Some(*at) < gathered).map(|(_, kind)| *kind).collect();
        verdict
    }

    /// When each of `kinds` was last answered; where it never was, and a control needs it, since when it could have been.
    fn last_answers(
        &self,
        kinds: impl Iterator<Item = EvidenceKind>,
        unproven: &[Unproven],
    ) -> Vec<(EventTime, EvidenceKind)> {
        let answered = |kind: EvidenceKind| self.seen.as_ref()?.evidence.get(&kind)?.last.map(|(at, _)| at);
        let needed = |kind: EvidenceKind| unproven.iter().any(|open| open.needs.contains(&kind));
        let heard_at = self.heard_at.as_event_time();
        let last = |kind| answered(kind).or_else(|| needed(kind).then_some(heard_at));
        kinds.filter_map(|kind| Some((last(kind)?, kind))).collect()
    }

    /// Judges, and keeps the violations that are new or found to have begun earlier under the same policy; at most
    /// [`VIOLATIONS_MAX`].
    pub fn judge(&mut self, rules: &mut Rules<'_>) -> Verdict {
        let verdict = self.verdict(rules);
        let judge = rules.verdicts.judge();
        for (control, since, event) in &verdict.violated {
            let (since, event) = (*since, *event);
            let control = judge.control(*control);
            let violations = self.violations.get_or_insert_default();
            let keep = |known: &Violation| {
                let same = (known.since, known.event) == (since, event);
                same || known.since < since || known.policy != *judge.policy_hash()
            };
            if violations.get(&control.id).is_some_and(keep) {
                continue;
            }
            violations.insert(
                Arc::clone(&control.id),
                Violation {
                    title: match fit(&control.title, TITLE_BYTES_MAX) {
                        Cow::Borrowed(_) => Arc::clone(&control.title),
                        Cow::Owned(shorter) => shorter.into(),
                    },
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
        self.drop_least_violations();
        verdict
    }

    fn drop_least_violations(&mut self) {
        let Some(violations) = &mut self.violations else {
            return;
        };
        while violations.len() > VIOLATIONS_MAX {
            let rank =
                |(id, one): &(&Arc<str>, &Violation)| (Reverse(one.response), Reverse(one.severity), Arc::clone(id));
            let Some((least, _)) = violations.iter().max_by_key(rank) else { break };
            let least = Arc::clone(least);
            violations.remove(&least);
        }
    }

    /// The moments at which the facts changed, in order: the beginning, the first resumption, each first «no». A «yes»
    /// lapses where the session is known to have gone on for longer than an answer may be missing.
    fn moments(
        &self,
        born: EventTime,
        until: Option<EventTime>,
        settings: &Settings,
    ) -> impl Iterator<Item = Moment> + use<'_> {
        let mut evidence = Evidence::default();
        let mut changes: Vec<(EventTime, Option<EvidenceKind>)> = Vec::new();
        for (kind, known) in self.seen.iter().flat_map(|seen| &seen.evidence) {
            match (known.first_no, known.last) {
                (Some(at), _) => changes.push((at.max(born), Some(*kind))),
                (None, Some((at, true))) => {
                    let lapses_at = at.plus_ms(settings.evidence_unknown_ms_max);
                    let lapsed = until.is_some_and(|until| lapses_at < until);
                    evidence.set(*kind, if lapsed { Tri::Unknown } else { Tri::Yes });
                }
                (None, Some((_, false)) | None) => {}
            }
        }
        for kind in settings.posture.not_asked_for() {
            if evidence.get(kind) == Tri::Unknown {
                evidence.set(kind, Tri::Yes);
            }
        }
        if let Some(resume) = self.resumes.first() {
            changes.push((resume.at.max(born), None));
        }
        changes.sort_unstable();
        let event = self.start.as_ref().map(|start| start.mark.event);
        let first = Moment { at: born, event, evidence, resumed: false };
        let mut resumed = false;
        std::iter::once(first).chain(changes.into_iter().map(move |(at, change)| {
            let event = if let Some(kind) = change {
                evidence.set(kind, Tri::No);
                None
            } else {
                resumed = true;
                self.resumes.first().map(|mark| mark.event)
            };
            Moment { at, event, evidence, resumed }
        }))
    }

    fn ask(&self, moment: &Moment, rules: &mut Rules<'_>) -> Arc<Answer> {
        let settings = rules.settings;
        let described = self.described();
        let principal = self.known_principal();
        let reason = self.start.as_ref().and_then(|start| start.reason.as_deref());
        rules.verdicts.session(&SessionFacts {
            account: self.key.account,
            region: &self.key.region,
            unit: settings.unit(self.key.account),
            management: settings.management_account == Some(self.key.account),
            region_allowed: settings.allows_region(&self.key.region),
            principal: &principal,
            target: self.target(),
            target_kind: target_kind(self),
            document_name: self.document(),
            document_kind: document_kind(self),
            document_shared: document_shared(self),
            session_type: self.seen.as_ref().map_or("", |seen| &*seen.session_type),
            access_type: described.map_or("", |described| &*described.access_type),
            reason: reason.or_else(|| described.and_then(|described| described.reason.as_deref())),
            resumed: moment.resumed,
            started_at: self.born_at().unwrap_or(moment.at),
            evidence: moment.evidence,
        })
    }
}
