//! The effects that a session's facts ask for.

use std::sync::Arc;

use super::{Mark, Phase, Session, Verdict};
use crate::{
    compliance::Tri,
    effect::{
        Activity, ActivityKind, Counted, Effect, EvidenceNote, Finding, IncidentNote, Mode, Remedy, RemedyKind,
        RemedyResult, Report, Response, Severity, announce, conclude,
    },
    ids::{EffectId, EventTime, Now},
    mutation::{Mutation, made},
    settings::Settings,
};

/// What a session's incidents are about, beside controls.
pub(super) const CAUSES: [&str; 5] =
    ["log-missing", "log-missing/resolved", "log-suspect", "termination-unconfirmed", "evidence-unknown"];
/// Those of them whose causes can pass, so that they are over by themselves. A log that is late says so itself.
pub(super) const PASSING: [&str; 2] = ["termination-unconfirmed", "evidence-unknown"];
const UNKNOWN_LOG: &str = "Whether the session's log arrived could not be found out for too long";
/// How many kinds of evidence an incident names in its title.
const NAMED_MAX: usize = 3;

impl Session {
    /// Everything the facts ask for that is not yet durable, in a stable order. Ids come from causes only (I4).
    pub fn wanted(&self, verdict: &Verdict, now: Now, settings: &Settings) -> Vec<Effect> {
        let mut effects = Vec::new();
        if settings.activity {
            self.want_activities(&mut effects);
        }
        self.want_findings(settings, &mut effects);
        let phase = self.phase(verdict, settings);
        self.want_termination(phase, now, settings, &mut effects);
        self.want_incidents(verdict, now, settings, &mut effects);
        if settings.organization
            && let Phase::Closed(outcome) = phase
        {
            let id = EffectId(format!("verdict/{}", self.key).into());
            effects.push(Effect::Close {
                id,
                session: self.key.clone(),
                outcome: outcome.as_str(),
                controls: self.violations.iter().flat_map(|found| found.keys()).cloned().collect(),
                waivers: verdict.waived.iter().map(|waived| Arc::clone(&waived.waiver)).collect(),
                policy: verdict.policy.clone().unwrap_or_default(),
                evidence: self.evidence_notes(),
            });
        }
        if settings.notify {
            announce(&mut effects);
        }
        if let Some(done) = &self.done {
            let said = |cause: &str| done.iter().any(|id| id.0.strip_prefix("incident/") == Some(cause));
            let passing: Vec<EffectId> =
                PASSING.into_iter().filter(|cause| said(cause)).map(|cause| self.incident_id(cause)).collect();
            conclude(&mut effects, passing.iter());
            effects.retain(|effect| !self.is_done(effect.id()));
        }
        effects
    }

    fn want_activities(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.marks().map(|(kind, mark)| self.activity(kind, mark)));
    }

    pub(super) fn activity(&self, kind: ActivityKind, mark: &Mark) -> Effect {
        Effect::Report(Report::Activity(Box::new(Activity {
            id: EffectId(format!("activity/{}", mark.event).into()),
            kind,
            session: self.key.clone(),
            principal: mark.principal.clone(),
            target: self.target().into(),
            document: self.document().into(),
            at: mark.at,
            event: Some(mark.event),
        })))
    }

    fn finding_id(&self, control: &str) -> EffectId {
        EffectId(format!("finding/{}/{control}", self.key).into())
    }

    fn want_findings(&self, settings: &Settings, effects: &mut Vec<Effect>) {
        for (control, violation) in self.violations.iter().flat_map(|found| found.iter()) {
            effects.push(Effect::Report(Report::Finding(Box::new(Finding {
                id: self.finding_id(control),
                control: Arc::clone(control),
                title: Arc::clone(&violation.title),
                severity: violation.severity,
                requirements: violation.requirements.clone(),
                techniques: violation.techniques.clone(),
                policy: Arc::clone(&violation.policy),
                account: self.key.account,
                region: Arc::clone(&self.key.region),
                session: Some(self.key.clone()),
                target: self.target().into(),
                principal: self.principal(),
                since: violation.since,
                event: violation.event,
                evidence: self.evidence_notes(),
                mode: settings.mode,
            }))));
        }
    }

    fn want_termination(&self, phase: Phase, now: Now, settings: &Settings, effects: &mut Vec<Effect>) {
        let Some(violations) = &self.violations else {
            return;
        };
        let called = settings.organization && settings.mode == Mode::Enforce;
        let confirmed = self.end_confirmed();
        let ending: Vec<_> = violations.iter().filter(|(_, found)| found.response == Response::Terminate).collect();
        if let Some(since) = ending.iter().map(|(_, found)| found.since).min() {
            let titles: Vec<&str> = ending.iter().map(|(_, found)| &*found.title).collect();
            let reason: Arc<str> = titles.join("; ").into();
            let seen = self.seen.as_ref();
            let asked = seen.is_some_and(|seen| seen.terminate_asked_at.is_some());
            // Where AWS does not answer, a session is closed by the end that an event reported.
            let ended = confirmed || (!asked && matches!(phase, Phase::Closed(_)));
            let result = match (called, ended) {
                (false, _) => Some(RemedyResult::Planned),
                (true, true) if asked => Some(RemedyResult::Done),
                (true, true) => Some(RemedyResult::Unneeded),
                (true, false) => None,
            };
            let id = match seen.and_then(|seen| seen.terminate_tried_at) {
                Some(tried) if made(Mutation::RetryWithoutIdempotence) => format!("terminate/{}/{}", self.key, tried.0),
                Some(_) | None => format!("terminate/{}{}", self.key, if called { "" } else { "/planned" }),
            };
            let id = EffectId(id.into());
            if let Some(result) = result {
                effects.push(Effect::Report(Report::Remedy(Box::new(Remedy {
                    id,
                    kind: RemedyKind::Terminate,
                    result,
                    reason,
                    account: self.key.account,
                    region: Arc::clone(&self.key.region),
                    session: Some(self.key.clone()),
                    target: Arc::clone(&self.key.id),
                    at: since,
                    findings: ending.iter().map(|(control, _)| self.finding_id(control)).collect(),
                }))));
            } else if self.ended_at().is_none() {
                let tried = seen.and_then(|seen| seen.terminate_tried_at);
                if tried.is_none_or(|tried| now >= tried.plus_ms(settings.settle_ms)) {
                    effects.push(Effect::Terminate { id, session: self.key.clone(), reason });
                }
            }
        }
        self.want_count(called && !confirmed, effects);
    }

    /// I5: where calls are made, only a session whose end is confirmed counts.
    fn want_count(&self, unconfirmed: bool, effects: &mut Vec<Effect>) {
        if let Some(counted) = self.counted().filter(|_| !unconfirmed) {
            effects.push(Effect::Count { id: EffectId(format!("count/{}", self.key).into()), counted });
        }
    }

    /// The session as its account counts it, if it violates a control that counts towards quarantine.
    pub fn counted(&self) -> Option<Counted> {
        let counting = || self.violations.iter().flat_map(|found| found.iter()).filter(|(_, found)| found.quarantine);
        Some(Counted {
            at: counting().map(|(_, found)| found.since).min()?,
            session: self.key.clone(),
            principal: self.principal().arn,
            controls: counting().map(|(control, _)| Arc::clone(control)).collect(),
            severity: counting().map(|(_, found)| found.severity).max()?,
        })
    }

    fn want_incidents(&self, verdict: &Verdict, now: Now, settings: &Settings, effects: &mut Vec<Effect>) {
        for (control, violation) in self.violations.iter().flat_map(|found| found.iter()) {
            if violation.response == Response::Incident {
                let findings = vec![self.finding_id(control)];
                effects.push(self.incident(control, &violation.title, violation.severity, violation.since, findings));
            }
        }
        if !settings.organization {
            return;
        }
        self.want_log_incidents(settings, effects);
        let seen = self.seen.as_ref();
        if let Some(asked) = seen.and_then(|seen| seen.terminate_asked_at)
            && !self.end_confirmed()
            && now >= asked.plus_ms(settings.terminate_confirm_ms_max)
        {
            let title = "The session was to be ended, and its end is not confirmed";
            let opened = asked.as_event_time();
            effects.push(self.incident("termination-unconfirmed", title, Severity::Critical, opened, Vec::new()));
        }
        if let Some(since) = self.unknown_since(verdict, settings)
            && now >= Now(since.0).plus_ms(settings.evidence_unknown_ms_max)
        {
            let log_only = self.phase(verdict, settings) == Phase::AwaitingLog;
            let title = if log_only { UNKNOWN_LOG.to_owned() } else { self.unknown_title(verdict) };
            effects.push(self.incident("evidence-unknown", &title, Severity::Medium, since, Vec::new()));
        }
    }

    /// R-W20, R-W22: a log that is missing, one that came after all, and one with which something is wrong.
    fn want_log_incidents(&self, settings: &Settings, effects: &mut Vec<Effect>) {
        let deadline = self.log_deadline(settings).map(Now::as_event_time);
        if self.log_expected(settings)
            && self.log_missing(settings)
            && let Some(deadline) = deadline
        {
            let title = "The session ended, and its log has not arrived";
            effects.push(self.incident("log-missing", title, Severity::High, deadline, Vec::new()));
        }
        let Some(log) = self.log() else {
            return;
        };
        let missed = self.incident_id("log-missing");
        if let Some(deadline) = deadline.filter(|_| self.is_done(&missed)) {
            let title = "The session's log arrived late";
            let late = IncidentNote {
                id: EffectId(format!("{missed}/resolved").into()),
                resolved: Some(log.written_at.max(deadline)),
                ..self.incident_note("log-missing", title, Severity::High, deadline, vec![missed])
            };
            effects.push(Effect::Report(Report::Incident(Box::new(late))));
        }
        if !log.flaws.is_empty() {
            let flaws: Vec<&str> = log.flaws.iter().map(|flaw| flaw.says()).collect();
            let title = format!("The session's log {}", flaws.join(", "));
            effects.push(self.incident("log-suspect", &title, Severity::High, log.written_at, Vec::new()));
        }
    }

    /// R-W13: what could not be had, and why, as last told.
    fn unknown_title(&self, verdict: &Verdict) -> String {
        let told = |kind| self.seen.as_ref()?.evidence.get(&kind)?.told.as_ref();
        let named = verdict.unanswered.iter().take(NAMED_MAX).map(|kind| {
            let told = told(*kind).filter(|told| told.value == Tri::Unknown && !told.reason.is_empty());
            let why = told.map(|told| format!(" ({})", told.reason));
            format!("{}{}", kind.as_str(), why.unwrap_or_default())
        });
        let mut named: Vec<String> = named.collect();
        let more = verdict.unanswered.len() - named.len();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        let what = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        format!("Evidence about the session could not be had for too long{what}")
    }

    /// Since when a question about the session has been open, unless it is closed.
    fn unknown_since(&self, verdict: &Verdict, settings: &Settings) -> Option<EventTime> {
        match self.phase(verdict, settings) {
            Phase::Observed | Phase::Live | Phase::Terminating => verdict.unanswered_since,
            Phase::AwaitingLog if self.log_expected(settings) => self.log_deadline(settings).map(Now::as_event_time),
            Phase::AwaitingLog | Phase::Closed(_) => None,
        }
    }

    fn incident_id(&self, cause: &str) -> EffectId {
        EffectId(format!("incident/{cause}/{}", self.key).into())
    }

    fn incident(
        &self,
        cause: &str,
        title: &str,
        severity: Severity,
        opened: EventTime,
        findings: Vec<EffectId>,
    ) -> Effect {
        Effect::Report(Report::Incident(Box::new(self.incident_note(cause, title, severity, opened, findings))))
    }

    fn incident_note(
        &self,
        cause: &str,
        title: &str,
        severity: Severity,
        opened: EventTime,
        findings: Vec<EffectId>,
    ) -> IncidentNote {
        IncidentNote {
            id: self.incident_id(cause),
            title: title.into(),
            cause: cause.into(),
            severity,
            account: self.key.account,
            region: Arc::clone(&self.key.region),
            session: Some(self.key.clone()),
            opened,
            resolved: None,
            evidence: self.evidence_notes(),
            findings,
        }
    }

    /// What a verdict on this session rests on.
    pub fn evidence_notes(&self) -> Vec<EvidenceNote> {
        let mut notes = Vec::new();
        let mut note = |name: &str, value: &str, source: &str, at: EventTime| {
            notes.push(EvidenceNote { name: name.into(), value: value.into(), source: source.into(), at });
        };
        if let Some(born) = self.born_at() {
            let source = if self.start.is_some() { "cloudtrail" } else { "describe-sessions" };
            for (name, value) in [("document", self.document()), ("target", self.target())] {
                if !value.is_empty() {
                    note(name, value, source, born);
                }
            }
        }
        for mark in &self.resumes {
            note("resumed", &mark.principal.arn, "cloudtrail", mark.at);
        }
        for (kind, known) in self.seen.iter().flat_map(|seen| &seen.evidence) {
            if let Some(told) = &known.told {
                let source = if told.source.is_empty() { "posture" } else { &told.source };
                let (value, reason) = (told.value.as_str(), &told.reason);
                let text = if reason.is_empty() { value.to_owned() } else { format!("{value}: {reason}") };
                note(kind.as_str(), &text, source, told.at);
            }
        }
        if let Some((at, thing)) = self.seen.as_ref().and_then(|seen| seen.disturbed_by.as_ref()) {
            note("changed", &format!("{} {}", thing.kind.as_str(), thing.id), "cloudtrail", at.as_event_time());
        }
        if let Some(log) = self.log() {
            let flaws = log.flaw_names();
            note("log", &format!("{} bytes in {}{flaws}", log.size_bytes, log.place), "log", log.written_at);
        } else if let Some((at, why)) = self.seen.as_ref().and_then(|seen| seen.log_told.as_ref()) {
            note("log", &format!("absent: {why}"), "log", at.as_event_time());
        }
        notes
    }
}
