//! What follows from a session's facts: what it is, its phase, and when to look again.

use std::{borrow::Cow, sync::Arc};

use super::{Described, LogSeen, Session, Verdict, text};
use crate::{
    compliance::{DocumentKind, TargetKind},
    decode::PREFERENCES,
    effect::{Mode, Principal, Response},
    ids::{EventTime, Now},
    mutation::{Mutation, made},
    settings::Settings,
};

/// How long after the end of a session its missing log, or the confirmation of its end, is still looked for, in milliseconds:
/// a day.
pub const LATE_MS_MAX: i64 = 86_400_000;

/// How ECS names the sessions of ECS Exec.
const EXEC_PREFIX: &str = "ecs-execute-command-";

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Heard of, but neither its opening nor AWS has shown what it is.
    Observed,
    /// Alive, as far as is known. With an organisation a reported end counts once AWS confirms it (R-W5).
    Live,
    /// Alive, and to be ended.
    Terminating,
    /// Ended; its log, or word of its opening, is awaited.
    AwaitingLog,
    /// Ended, with nothing left to find out.
    Closed(Outcome),
}

/// How a closed session came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Every control that asks for more than a report holds, and the log is there.
    Compliant,
    /// At least one of them was violated.
    Violated,
    /// No log came.
    LogMissing,
    /// None of them was violated, but not everything could be checked.
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
    if session.is_container() || !session.is_opened() {
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
    if session.is_container() {
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
    pub(super) fn described(&self) -> Option<&Described> {
        self.seen.as_ref().and_then(|seen| seen.described.as_ref())
    }

    /// Opened by ECS Exec: its call says so, or its id where the call is not known. Somebody can choose a name that makes
    /// such an id, but not the call.
    fn is_container(&self) -> bool {
        self.start.as_ref().map_or_else(|| self.key.id.starts_with(EXEC_PREFIX), |start| start.container)
    }

    /// The document's name or ARN; the default's name where none was given, empty where nothing is known.
    pub fn document(&self) -> &str {
        match (&self.start, self.described()) {
            _ if self.is_container() => "",
            (Some(start), _) => start.document.as_deref().unwrap_or(PREFERENCES),
            (None, Some(described)) if described.document.is_empty() => PREFERENCES,
            (None, Some(described)) => &described.document,
            (None, None) => "",
        }
    }

    /// The node; empty where unknown.
    pub fn target(&self) -> &str {
        let opened = self.start.as_ref().map(|start| &*start.target).filter(|target| !target.is_empty());
        opened.or(self.described().map(|described| &*described.target)).unwrap_or_default()
    }

    /// Who opened it; empty where unknown.
    pub fn principal(&self) -> Principal {
        self.known_principal().into_owned()
    }

    pub(super) fn known_principal(&self) -> Cow<'_, Principal> {
        let opened = self.start.as_ref().map(|start| &start.mark.principal);
        match (opened, self.described()) {
            (Some(principal), None) => Cow::Borrowed(principal),
            (Some(principal), Some(_)) if !principal.arn.is_empty() => Cow::Borrowed(principal),
            (_, Some(described)) => Cow::Owned(Principal {
                arn: Arc::clone(&described.owner),
                kind: text::kind_of_arn(&described.owner).into(),
            }),
            (None, None) => Cow::Owned(Principal { arn: Arc::default(), kind: Arc::default() }),
        }
    }

    /// Seen to start or resume, and not seen to end.
    pub fn is_open(&self) -> bool {
        self.born_at().is_some() && self.ended_at().is_none()
    }

    /// Whether any control was found violated that asks for more than a report.
    pub fn is_violating(&self) -> bool {
        self.violations.iter().flat_map(|found| found.values()).any(|violation| violation.response != Response::Report)
    }

    fn asks_for(&self, response: Response) -> bool {
        self.violations.iter().flat_map(|found| found.values()).any(|violation| violation.response == response)
    }

    /// Port and SSH sessions leave no log, by the document's name or content; neither does what no organisation can be
    /// asked about ("Enabling and disabling session logging"). Interactive and other commands can leave one, where
    /// their document says so; it is welcome, and not missed.
    pub(super) fn log_expected(&self, settings: &Settings) -> bool {
        let opens = self.seen.as_ref().map_or("", |seen| &*seen.session_type);
        settings.organization
            && match document_kind(self) {
                DocumentKind::DefaultShell | DocumentKind::Custom => {
                    !matches!(opens, "Port" | "InteractiveCommands" | "NonInteractiveCommands")
                }
                DocumentKind::Port
                | DocumentKind::Ssh
                | DocumentKind::InteractiveCommand
                | DocumentKind::NonInteractiveCommand
                | DocumentKind::Unknown => false,
            }
    }

    pub(super) fn log_deadline(&self, settings: &Settings) -> Option<Now> {
        let ended = self.ended_at()?;
        Some(Now(ended.0).plus_ms(settings.log_wait_ms_max))
    }

    /// No log, and the last look was after the deadline. An answer that is no answer does not count (I11).
    pub(super) fn log_missing(&self, settings: &Settings) -> bool {
        let absent_at = self.seen.as_ref().and_then(|seen| seen.log_absent_at);
        match (absent_at, self.log_deadline(settings)) {
            (Some(absent_at), Some(deadline)) => absent_at >= deadline && !self.log_found(),
            _ => false,
        }
    }

    pub(super) fn log(&self) -> Option<&LogSeen> {
        self.seen.as_ref().and_then(|seen| seen.log.as_ref())
    }

    fn log_found(&self) -> bool {
        self.log().is_some()
    }

    /// Its closing was reported: it does not open again, whatever arrives late, unless AWS shows it alive (I15).
    fn is_closed(&self) -> bool {
        self.done.as_ref().is_some_and(|done| done.iter().any(|id| &*id.0 == "verdict"))
    }

    /// It came to its end: its closing is in the audit trail, and AWS has not shown it alive since.
    pub(crate) fn was_closed(&self) -> bool {
        self.is_closed() && self.ended_at().is_some()
    }

    /// It was looked at again after everything that belongs to an ended session had time to come.
    fn waited(&self, settings: &Settings) -> bool {
        let gathered = self.seen.as_ref().and_then(|seen| seen.gathered_at);
        let patience = self.ended_at().map(|ended| self.heard_at.max(Now(ended.0)).plus_ms(settings.log_wait_ms_max));
        patience.is_some() && gathered >= patience
    }

    /// It ended, and where AWS can be asked, AWS has said so too, or has had long enough.
    fn is_over(&self, settings: &Settings) -> bool {
        let confirmed = || self.is_closed() || self.end_confirmed() || self.waited(settings);
        self.ended_at().is_some() && (!settings.organization || confirmed())
    }

    /// Something that belongs to an ended session has not come, and is still waited for.
    fn awaits_more(&self, settings: &Settings) -> bool {
        let log_open = self.log_expected(settings) && !self.log_found() && !self.log_missing(settings);
        log_open || (!self.is_opened() && !self.waited(settings))
    }

    /// Where the session stands.
    pub fn phase(&self, verdict: &Verdict, settings: &Settings) -> Phase {
        if !self.is_over(settings) {
            return match (self.is_opened(), self.enforced(settings)) {
                (false, _) => Phase::Observed,
                (true, true) => Phase::Terminating,
                (true, false) => Phase::Live,
            };
        }
        if settings.organization && !self.is_closed() && self.awaits_more(settings) {
            return Phase::AwaitingLog;
        }
        let log_expected = self.log_expected(settings);
        let logged = self.log().map_or(!log_expected, |log| log.flaws.is_empty());
        let proven = verdict.unproven.iter().all(|open| !open.pressing) && self.is_opened() && logged;
        Phase::Closed(match (log_expected && self.log_missing(settings), self.is_violating(), proven) {
            (true, ..) => Outcome::LogMissing,
            (false, true, _) => Outcome::Violated,
            (false, false, true) => Outcome::Compliant,
            (false, false, false) => Outcome::Unproven,
        })
    }

    /// The session is to be ended, and may be.
    fn enforced(&self, settings: &Settings) -> bool {
        settings.organization && settings.mode == Mode::Enforce && self.asks_for(Response::Terminate)
    }

    /// It was to be ended, and was closed by the end that an event reported: AWS has not confirmed it.
    pub fn awaits_confirmation(&self, settings: &Settings) -> bool {
        self.enforced(settings) && self.is_over(settings) && !self.end_confirmed()
    }

    /// When to look again. A live session always has a time (I8). A closed one has none, but for a missing log and an end
    /// that is not confirmed, which are looked for until [`LATE_MS_MAX`] after the end, and for a change of its log
    /// (TH24).
    pub fn due_at(&self, verdict: &Verdict, settings: &Settings) -> Option<Now> {
        if !settings.organization {
            return None;
        }
        let phase = self.phase(verdict, settings);
        let seen = self.seen.as_ref();
        let Some(gathered) = seen.and_then(|seen| seen.gathered_at) else {
            return (!matches!(phase, Phase::Closed(_))).then_some(self.heard_at);
        };
        // An end that was reported since is confirmed at once.
        let ended = self.terminated.as_ref().map(|mark| Now(mark.at.0)).filter(|at| *at > gathered);
        match phase {
            Phase::Live if made(Mutation::DueNotRenewed) => None,
            Phase::Observed | Phase::Live => {
                let usual = Self::next_usual_look(gathered, verdict.unanswered_since, settings);
                let disturbed = seen.and_then(|seen| seen.disturbed_at);
                let soon = disturbed.and_then(|at| match gathered {
                    gathered if gathered < at => Some(at),
                    // R-W17: what a change did can show only some seconds later.
                    gathered if gathered < at.plus_ms(settings.settle_ms) => Some(at.plus_ms(settings.settle_ms)),
                    _ => None,
                });
                let waiver_ends = verdict.waived.iter().map(|waived| Now(waived.until.0)).min();
                let waiver_ends = waiver_ends.filter(|ends| *ends > gathered);
                [Some(usual), soon, waiver_ends, ended].into_iter().flatten().min()
            }
            Phase::Terminating => {
                let tried = seen.and_then(|seen| seen.terminate_tried_at).unwrap_or(gathered);
                let again = gathered.max(tried).plus_ms(settings.recheck_ms.min(settings.settle_ms));
                [Some(again), ended].into_iter().flatten().min()
            }
            Phase::AwaitingLog | Phase::Closed(_) => {
                let open = phase == Phase::AwaitingLog;
                let missing = self.log_expected(settings) && self.log_missing(settings);
                let look = (open || missing).then(|| self.next_log_look(gathered, open, settings)).flatten();
                let disturbed = seen.and_then(|seen| seen.disturbed_at).filter(|at| gathered < *at);
                let disturbed = disturbed.filter(|_| open || self.log_expected(settings));
                let confirmed = (!open).then(|| self.next_confirmation(gathered, settings)).flatten();
                [look, disturbed, confirmed].into_iter().flatten().min()
            }
        }
    }

    /// How long it may rest: until then it need not be written as long as looks learn nothing new (R-W7). `None`: something
    /// about it is open, or its time to look again has a reason of its own.
    pub fn rests_until(&self, verdict: &Verdict, settings: &Settings) -> Option<Now> {
        let seen = self.seen.as_ref()?;
        let gathered = seen.gathered_at.filter(|at| seen.alive_at == Some(at.as_event_time()))?;
        let usual = gathered.plus_ms(settings.recheck_ms);
        let settled = settings.organization && self.phase(verdict, settings) == Phase::Live;
        if !settled || !verdict.unanswered.is_empty() {
            return None;
        }
        let waiver_ends = verdict.waived.iter().map(|waived| Now(waived.until.0)).filter(|ends| *ends > gathered);
        let until = waiver_ends.chain([gathered.plus_ms(settings.rest_ms_max)]).min()?;
        (until > usual && self.due_at(verdict, settings) == Some(usual)).then_some(until)
    }

    /// R-W13: what stays without an answer is asked for again after as long as it has had none so far, within bounds.
    fn next_usual_look(gathered: Now, unanswered_since: Option<EventTime>, settings: &Settings) -> Now {
        let unanswered_ms = unanswered_since.map_or(0, |since| gathered.0.saturating_sub(since.0));
        gathered.plus_ms(unanswered_ms.min(settings.recheck_ms_max).max(settings.recheck_ms))
    }

    /// R-W5: a session counts once its end is confirmed (I5), which AWS does as soon as it answers again.
    fn next_confirmation(&self, gathered: Now, settings: &Settings) -> Option<Now> {
        let ended = self.ended_at().filter(|_| self.awaits_confirmation(settings))?;
        let last = Now(ended.0).plus_ms(LATE_MS_MAX);
        (gathered < last).then(|| Self::next_usual_look(gathered, Some(ended), settings).min(last))
    }

    /// First after `log_first_look_ms`, then after twice as long each time. While the session is not closed: last at the
    /// deadline, from there on like anything without an answer. A missing log: last when it is too late for it.
    fn next_log_look(&self, gathered: Now, open: bool, settings: &Settings) -> Option<Now> {
        let ended = Now(self.ended_at()?.0);
        let deadline = self.log_deadline(settings)?;
        let last = if open { deadline } else { ended.plus_ms(LATE_MS_MAX) };
        if gathered >= last {
            return open.then(|| Self::next_usual_look(gathered, Some(deadline.as_event_time()), settings));
        }
        let mut wait_ms = settings.log_first_look_ms.max(1);
        while ended.plus_ms(wait_ms) <= gathered {
            wait_ms = wait_ms.saturating_mul(2);
        }
        Some(ended.plus_ms(wait_ms).min(last))
    }
}
