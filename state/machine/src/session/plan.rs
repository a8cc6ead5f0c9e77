//! What follows from a session's facts: its phase, the effects it wants, and when to look again.

use std::sync::Arc;

use super::{Mark, Session, Verdict};
use crate::{
    compliance::{DocumentKind, EvidenceKind, TargetKind},
    decode::PREFERENCES,
    effect::{
        Activity, ActivityKind, Counted, Effect, EvidenceNote, Finding, IncidentNote, Mode, Principal, Remedy,
        RemedyKind, RemedyResult, Report, Response, Severity,
    },
    ids::{EffectId, EventTime, Now},
    settings::Settings,
};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Heard of, but neither its beginning nor AWS has shown it alive.
    Observed,
    /// Alive, as far as is known.
    Live,
    /// Alive, and to be ended.
    Terminating,
    /// Ended; its log is awaited.
    AwaitingLog,
    /// Ended, with nothing left to find out.
    Closed(Outcome),
}

/// How a closed session came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Every control holds, and the log is there.
    Compliant,
    /// At least one control was violated.
    Violated,
    /// No log came.
    LogMissing,
    /// Nothing was violated, but not everything could be checked.
    Unproven,
}

impl Outcome {
    /// The name reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Violated => "violated",
            Self::LogMissing => "log-missing",
            Self::Unproven => "unproven",
        }
    }
}

/// The account part of a document's ARN, and its name.
fn document_parts(document: &str) -> (&str, &str) {
    let Some(arn) = document.strip_prefix("arn:") else {
        return ("", document);
    };
    let account = arn.split(':').nth(3).unwrap_or_default();
    (account, document.rsplit('/').next().unwrap_or(document))
}

/// What the session's document does, as far as its name shows.
pub fn document_kind(session: &Session) -> DocumentKind {
    if session.start.as_ref().is_some_and(|start| start.container) || !session.document_known() {
        return DocumentKind::Unknown;
    }
    if document_shared(session) {
        return DocumentKind::Custom;
    }
    match document_parts(session.document()).1 {
        PREFERENCES => DocumentKind::DefaultShell,
        "AWS-StartSSHSession" => DocumentKind::Ssh,
        "AWS-StartInteractiveCommand" => DocumentKind::InteractiveCommand,
        "AWS-StartNonInteractiveCommand" => DocumentKind::NonInteractiveCommand,
        name if name.starts_with("AWS-StartPortForwardingSession") => DocumentKind::Port,
        _ => DocumentKind::Custom,
    }
}

/// Whether the document is named by an ARN of another account; documents of AWS itself have no account in theirs.
pub(super) fn document_shared(session: &Session) -> bool {
    let account = document_parts(session.document()).0;
    !account.is_empty() && account.parse() != Ok(session.key.account)
}

/// What kind of node the session runs on.
pub fn target_kind(session: &Session) -> TargetKind {
    if session.start.as_ref().is_some_and(|start| start.container) {
        return TargetKind::Container;
    }
    match session.target() {
        "" => TargetKind::Unknown,
        target if target.starts_with("i-") => TargetKind::Ec2,
        target if target.starts_with("mi-") => TargetKind::Hybrid,
        _ => TargetKind::Other,
    }
}

impl Session {
    fn document_known(&self) -> bool {
        self.start.is_some() || self.seen.as_ref().is_some_and(|seen| seen.described.is_some())
    }

    /// The document's name or ARN; the default's name where none was given, empty where nothing is known.
    pub fn document(&self) -> &str {
        let described = self.seen.as_ref().and_then(|seen| seen.described.as_ref()).map(|seen| &*seen.document);
        match &self.start {
            Some(start) if start.container => "",
            Some(start) => start.document.as_deref().unwrap_or(PREFERENCES),
            None => described.map_or("", |name| if name.is_empty() { PREFERENCES } else { name }),
        }
    }

    /// The node; empty where unknown.
    pub fn target(&self) -> &str {
        let described = self.seen.as_ref().and_then(|seen| seen.described.as_ref()).map(|seen| &*seen.target);
        self.start.as_ref().map(|start| &*start.target).or(described).unwrap_or_default()
    }

    /// Who opened it; empty where unknown.
    pub fn principal(&self) -> Principal {
        let described = self.seen.as_ref().and_then(|seen| seen.described.as_ref());
        match (&self.start, described) {
            (Some(start), _) => start.mark.principal.clone(),
            (None, Some(described)) => Principal { arn: Arc::clone(&described.owner), kind: Arc::from("") },
            (None, None) => Principal { arn: Arc::from(""), kind: Arc::from("") },
        }
    }

    /// Seen to start or resume, and not seen to end.
    pub fn is_open(&self) -> bool {
        self.born_at().is_some() && self.ended_at().is_none()
    }

    /// Whether any control was found violated.
    pub fn is_violating(&self) -> bool {
        self.violations.is_some()
    }

    fn asks_for(&self, response: Response) -> bool {
        self.violations.iter().flat_map(|found| found.values()).any(|violation| violation.response == response)
    }

    /// Port and SSH sessions leave no log, whatever happens; neither does what no organisation can be asked about.
    fn log_expected(&self, settings: &Settings) -> bool {
        settings.organization
            && match document_kind(self) {
                DocumentKind::DefaultShell | DocumentKind::Custom => true,
                DocumentKind::Port
                | DocumentKind::Ssh
                | DocumentKind::InteractiveCommand
                | DocumentKind::NonInteractiveCommand
                | DocumentKind::Unknown => false,
            }
    }

    fn log_deadline(&self, settings: &Settings) -> Option<Now> {
        let ended = self.ended_at()?;
        Some(Now(ended.0).plus_ms(settings.log_wait_ms_max))
    }

    /// No log, and the last look was after the deadline. An answer that is no answer does not count (I11).
    fn log_missing(&self, settings: &Settings) -> bool {
        let absent_at = self.seen.as_ref().and_then(|seen| seen.log_absent_at);
        match (absent_at, self.log_deadline(settings)) {
            (Some(absent_at), Some(deadline)) => absent_at >= deadline && !self.log_found(),
            _ => false,
        }
    }

    fn log_found(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.log.is_some())
    }

    /// Where the session stands.
    pub fn phase(&self, verdict: &Verdict, settings: &Settings) -> Phase {
        if self.ended_at().is_none() {
            return match self.born_at() {
                None => Phase::Observed,
                Some(_) if self.enforced(settings) => Phase::Terminating,
                Some(_) => Phase::Live,
            };
        }
        let log_expected = self.log_expected(settings);
        if log_expected && self.log_missing(settings) {
            return Phase::Closed(Outcome::LogMissing);
        }
        if log_expected && !self.log_found() {
            return Phase::AwaitingLog;
        }
        Phase::Closed(match (self.is_violating(), verdict.unproven.is_empty() && self.born_at().is_some()) {
            (true, _) => Outcome::Violated,
            (false, true) => Outcome::Compliant,
            (false, false) => Outcome::Unproven,
        })
    }

    /// The session is to be ended, and may be.
    fn enforced(&self, settings: &Settings) -> bool {
        settings.organization && settings.mode == Mode::Enforce && self.asks_for(Response::Terminate)
    }

    /// When to look again; `None` once closed. A live session always has a time (I8).
    pub fn due_at(&self, verdict: &Verdict, settings: &Settings) -> Option<Now> {
        if !settings.organization {
            return None;
        }
        let seen = self.seen.as_ref();
        let gathered = seen.and_then(|seen| seen.gathered_at);
        let Some(gathered) = gathered else {
            return Some(self.heard_at);
        };
        match self.phase(verdict, settings) {
            Phase::Observed | Phase::Live => {
                let usual = gathered.plus_ms(settings.recheck_ms);
                let disturbed = seen.and_then(|seen| seen.disturbed_at);
                let soon = disturbed.and_then(|at| match gathered {
                    gathered if gathered < at => Some(at),
                    // R-W17: what a change did can show only some seconds later.
                    gathered if gathered < at.plus_ms(settings.settle_ms) => Some(at.plus_ms(settings.settle_ms)),
                    _ => None,
                });
                let waiver_ends = verdict.waived.iter().map(|(_, _, until)| Now(until.0)).min();
                [Some(usual), soon, waiver_ends.filter(|ends| *ends > gathered)].into_iter().flatten().min()
            }
            Phase::Terminating => {
                let tried = seen.and_then(|seen| seen.terminate_tried_at).unwrap_or(gathered);
                Some(gathered.max(tried).plus_ms(settings.recheck_ms.min(settings.settle_ms)))
            }
            Phase::AwaitingLog => self.next_log_look(gathered, settings),
            Phase::Closed(_) => None,
        }
    }

    /// First after `log_first_look_ms`, then after twice as long each time, last at the deadline; from there on at the
    /// usual pace until there is an answer.
    fn next_log_look(&self, gathered: Now, settings: &Settings) -> Option<Now> {
        let ended = Now(self.ended_at()?.0);
        let deadline = self.log_deadline(settings)?;
        if gathered >= deadline {
            return Some(gathered.plus_ms(settings.recheck_ms));
        }
        let mut wait_ms = settings.log_first_look_ms.max(1);
        while ended.plus_ms(wait_ms) <= gathered && wait_ms < settings.log_wait_ms_max {
            wait_ms = wait_ms.saturating_mul(2);
        }
        Some(ended.plus_ms(wait_ms).min(deadline))
    }

    /// Everything the facts ask for that is not yet durable, in a stable order. Ids come from causes only (I4).
    pub fn wanted(&self, verdict: &Verdict, now: Now, settings: &Settings) -> Vec<Effect> {
        let mut effects = Vec::new();
        if settings.activity {
            self.want_activities(&mut effects);
        }
        self.want_findings(settings, &mut effects);
        self.want_termination(now, settings, &mut effects);
        self.want_incidents(verdict, now, settings, &mut effects);
        if settings.organization
            && let Phase::Closed(outcome) = self.phase(verdict, settings)
        {
            let id = EffectId(format!("verdict/{}", self.key).into());
            effects.push(Effect::Close {
                id,
                session: self.key.clone(),
                outcome: outcome.as_str(),
                evidence: self.evidence_notes(),
            });
        }
        if let Some(done) = &self.done {
            effects.retain(|effect| !done.contains(effect.id()));
        }
        effects
    }

    fn want_activities(&self, effects: &mut Vec<Effect>) {
        let start = self.start.as_ref().map(|start| (ActivityKind::Start, &start.mark));
        let resumes = self.resumes.iter().map(|mark| (ActivityKind::Resume, mark));
        let end = self.terminated.as_ref().map(|mark| (ActivityKind::End, mark));
        for (kind, mark) in start.into_iter().chain(resumes).chain(end) {
            effects.push(Effect::Report(Report::Activity(Box::new(self.activity(kind, mark)))));
        }
    }

    fn activity(&self, kind: ActivityKind, mark: &Mark) -> Activity {
        Activity {
            id: EffectId(format!("activity/{}", mark.event).into()),
            kind,
            session: self.key.clone(),
            principal: mark.principal.clone(),
            target: self.target().into(),
            document: self.document().into(),
            at: mark.at,
            event: Some(mark.event),
        }
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

    fn want_termination(&self, now: Now, settings: &Settings, effects: &mut Vec<Effect>) {
        let Some(violations) = &self.violations else {
            return;
        };
        let called = settings.organization && settings.mode == Mode::Enforce;
        let ended = self.ended_at().is_some();
        let ending: Vec<_> = violations.iter().filter(|(_, found)| found.response == Response::Terminate).collect();
        if let Some(since) = ending.iter().map(|(_, found)| found.since).min() {
            let titles: Vec<&str> = ending.iter().map(|(_, found)| &*found.title).collect();
            let reason: Arc<str> = titles.join("; ").into();
            let seen = self.seen.as_ref();
            let asked = seen.is_some_and(|seen| seen.terminate_asked_at.is_some());
            let result = match (called, ended) {
                (false, _) => Some(RemedyResult::Planned),
                (true, true) if asked => Some(RemedyResult::Done),
                (true, true) => Some(RemedyResult::Unneeded),
                (true, false) => None,
            };
            let id = EffectId(format!("terminate/{}{}", self.key, if called { "" } else { "/planned" }).into());
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
            } else {
                let tried = seen.and_then(|seen| seen.terminate_tried_at);
                if tried.is_none_or(|tried| now >= tried.plus_ms(settings.settle_ms)) {
                    effects.push(Effect::Terminate { id, session: self.key.clone(), reason });
                }
            }
        }
        self.want_count(called && !ended, effects);
    }

    /// I5: where calls are made, only a session whose end is confirmed counts.
    fn want_count(&self, unconfirmed: bool, effects: &mut Vec<Effect>) {
        let counting = || self.violations.iter().flat_map(|found| found.iter()).filter(|(_, found)| found.quarantine);
        let Some(at) = counting().map(|(_, found)| found.since).min().filter(|_| !unconfirmed) else {
            return;
        };
        let counted = Counted {
            at,
            session: self.key.clone(),
            principal: self.principal().arn,
            controls: counting().map(|(control, _)| Arc::clone(control)).collect(),
        };
        effects.push(Effect::Count { id: EffectId(format!("count/{}", self.key).into()), counted });
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
        if self.log_expected(settings)
            && self.log_missing(settings)
            && let Some(deadline) = self.log_deadline(settings)
        {
            let title = "The session ended, and its log has not arrived";
            effects.push(self.incident("log-missing", title, Severity::High, deadline.as_event_time(), Vec::new()));
        }
        let seen = self.seen.as_ref();
        if let Some(asked) = seen.and_then(|seen| seen.terminate_asked_at)
            && self.ended_at().is_none()
            && now >= asked.plus_ms(settings.terminate_confirm_ms_max)
        {
            let title = "The session was to be ended and is still alive";
            let opened = asked.as_event_time();
            effects.push(self.incident("termination-unconfirmed", title, Severity::Critical, opened, Vec::new()));
        }
        if let Some(since) = self.unknown_since(verdict)
            && now >= Now(since.0).plus_ms(settings.evidence_unknown_ms_max)
        {
            let title = "Evidence about the session could not be had for too long";
            effects.push(self.incident("evidence-unknown", title, Severity::Medium, since, Vec::new()));
        }
    }

    /// Since when evidence that some control needs has been missing, for a session that is not closed.
    fn unknown_since(&self, verdict: &Verdict) -> Option<EventTime> {
        if self.ended_at().is_some() || verdict.unproven.is_empty() {
            return None;
        }
        let answered = |kind: &EvidenceKind| {
            let known = self.seen.as_ref().and_then(|seen| seen.evidence.get(kind));
            known.and_then(|known| known.last).map_or(self.heard_at.as_event_time(), |(at, _)| at)
        };
        verdict.unproven.iter().flat_map(|open| &open.needs).map(answered).min()
    }

    fn incident(
        &self,
        cause: &str,
        title: &str,
        severity: Severity,
        opened: EventTime,
        findings: Vec<EffectId>,
    ) -> Effect {
        Effect::Report(Report::Incident(Box::new(IncidentNote {
            id: EffectId(format!("incident/{cause}/{}", self.key).into()),
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
        })))
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
            match (known.first_no, known.last) {
                (Some(at), _) | (None, Some((at, false))) => note(kind.as_str(), "no", "posture", at),
                (None, Some((at, true))) => note(kind.as_str(), "yes", "posture", at),
                (None, None) => {}
            }
        }
        if let Some(log) = self.seen.as_ref().and_then(|seen| seen.log) {
            note("log", &format!("{} bytes", log.size_bytes), "log", log.written_at);
        }
        notes
    }
}
