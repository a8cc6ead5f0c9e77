//! Keeps the status that people watch: what is live, what happened, how much of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessionwarden_machine::{
    account::{Episode, EpisodePhase},
    effect::{ActivityKind, Effect, Principal, Remedy, RemedyKind, RemedyResult, Report, Response},
    ids::{AccountId, EventTime, Now, SessionKey},
    session::{Phase, Session, Verdict as Judged},
    settings::Settings,
};

use crate::{
    console::{Happening, HappeningKind, LiveSession, Status, Verdict},
    handle::State,
    metrics::Metrics,
};

/// What the board remembers of a session that is not closed.
struct Row {
    begun: Option<EventTime>,
    principal: Arc<str>,
    target: Arc<str>,
    document: Arc<str>,
    verdict: Verdict,
    controls: Vec<Arc<str>>,
    phase: Phase,
    /// When it was looked at last.
    seen: Now,
}

/// The status in the making.
pub struct Board {
    status: Status,
    started: Now,
    metrics: Metrics,
    open: BTreeMap<SessionKey, Row>,
    locked: BTreeSet<AccountId>,
    second: (i64, u64),
    /// How long a session stays that is not looked at, in milliseconds; `None` for ever.
    kept_ms: Option<i64>,
}

/// A board that several handlers share.
#[derive(Clone)]
pub struct SharedBoard(Arc<Mutex<Board>>);

impl SharedBoard {
    /// Shares a board.
    pub fn new(board: Board) -> Self {
        Self(Arc::new(Mutex::new(board)))
    }

    /// The board, for a moment: the lock is never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// An empty board.
    pub fn new(started: Now, settings: &Settings, source: &str, metrics: Metrics) -> Self {
        let status = Status { now: started, mode: settings.mode, source: source.into(), ..Status::default() };
        Self {
            status,
            started,
            metrics,
            open: BTreeMap::new(),
            locked: BTreeSet::new(),
            second: (started.0 / 1_000, 0),
            kept_ms: None,
        }
    }

    /// The same board where others look at sessions as well: one that was not looked at here for `ms` is left to them.
    #[must_use]
    pub fn among_others(self, ms: i64) -> Self {
        Self { kept_ms: Some(ms), ..self }
    }

    /// Takes in a session's new state; `before` is its state until now.
    pub fn session(&mut self, before: Option<&Session>, session: &Session, verdict: &Judged, settings: &Settings) {
        let phase = session.phase(verdict, settings);
        let counts = &mut self.status.counts;
        counts.sessions_seen += u64::from(before.is_none());
        let violating_before = before.is_some_and(Session::is_violating);
        counts.sessions_violating += u64::from(session.is_violating() && !violating_before);
        if let Phase::Closed(_) = phase {
            self.open.remove(&session.key);
            return;
        }
        let gathered = session.seen.as_ref().is_some_and(|seen| seen.gathered_at.is_some());
        let held = match phase {
            Phase::Terminating => Verdict::Terminating,
            _ if session.is_violating() => Verdict::Violating,
            Phase::Observed | Phase::Live | Phase::AwaitingLog | Phase::Closed(_) => {
                match (gathered || !settings.organization, verdict.unproven.iter().all(|open| !open.pressing)) {
                    (false, _) => Verdict::Pending,
                    (true, true) => Verdict::Compliant,
                    (true, false) => Verdict::Unknown,
                }
            }
        };
        let controls = session.violations.iter().flat_map(|found| found.keys()).cloned().collect();
        self.open.insert(
            session.key.clone(),
            Row {
                begun: session.born_at(),
                principal: short(&session.principal()),
                target: session.target().into(),
                document: session.document().into(),
                verdict: held,
                controls,
                phase,
                seen: self.status.now,
            },
        );
    }

    /// Takes in what an earlier run left: its incidents are still open.
    pub fn found(&mut self, state: &State) {
        if let State::Incident(Some(incident)) = state {
            let open = incident.resolved.is_none() && incident.response != Response::Report;
            self.status.counts.incidents_open += u64::from(open);
        }
    }

    /// Takes in whether an account is locked.
    pub fn account(&mut self, account: AccountId, locked: bool) {
        if locked {
            self.locked.insert(account);
        } else {
            self.locked.remove(&account);
        }
    }

    /// Takes in where an account's episode stands now. That it was refused, attached or is over is told by its reports.
    pub fn episode(&mut self, account: AccountId, episode: &Episode, phase: EpisodePhase, now: Now) {
        let text = match phase {
            EpisodePhase::Observed | EpisodePhase::Refused | EpisodePhase::Released => return,
            EpisodePhase::Proposed => format!("to be locked once {} people approve", episode.approvals_needed),
            EpisodePhase::Approved => format!("to be locked when there is room: {}", episode.reason()),
            EpisodePhase::Attaching => format!("the policy of tier {} is being attached", episode.tier.as_str()),
            EpisodePhase::Sweeping => "attached; sessions that run are ended until it bites".to_owned(),
            EpisodePhase::Enforced => "the lock bites, and no session runs under it".to_owned(),
            EpisodePhase::Drifted => "somebody else changed the lock; it is put back".to_owned(),
            EpisodePhase::Releasing => "the policy is being detached".to_owned(),
            EpisodePhase::Escalated => {
                format!("a person has to help: {}", episode.failure.as_deref().unwrap_or("no answer"))
            }
        };
        self.note(now, HappeningKind::Notice, account, None, text);
    }

    /// Takes in an effect that is being performed.
    pub fn effect(&mut self, effect: &Effect, now: Now) {
        match effect {
            Effect::Report(report) => self.report(report, now),
            Effect::Close { session, outcome, .. } => {
                let (kind, text) = match *outcome {
                    "compliant" => {
                        self.status.counts.sessions_verified += 1;
                        (HappeningKind::Verified, "ended, its log is there, every control holds")
                    }
                    // What was violated, and how it ended, is told by then.
                    "violated" => return,
                    "log-missing" => (HappeningKind::Ended, "closed without a log"),
                    _ => (HappeningKind::Ended, "ended; not everything could be checked"),
                };
                self.note(now, kind, session.account, Some(session), text.to_owned());
            }
            Effect::Act { order, who, reason, target, .. } => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                self.notice(now, HappeningKind::Notice, format!("{target}: {who} says {}{why}", order.as_str()));
            }
            Effect::Notify { .. }
            | Effect::Terminate { .. }
            | Effect::Count { .. }
            | Effect::Quarantine { .. }
            | Effect::Sweep { .. }
            | Effect::Release { .. }
            | Effect::Restore { .. }
            | Effect::Compare { .. }
            | Effect::ToRegister { .. }
            | Effect::ToAccount { .. }
            | Effect::Conclude { .. } => {}
        }
    }

    fn report(&mut self, report: &Report, now: Now) {
        match report {
            Report::Activity(activity) => {
                let kind = match activity.kind {
                    ActivityKind::Start | ActivityKind::Resume => HappeningKind::Started,
                    ActivityKind::End => HappeningKind::Ended,
                };
                let who = short(&activity.principal);
                let text = match activity.kind {
                    ActivityKind::Start => format!("{who} opened {} on {}", activity.document, activity.target),
                    ActivityKind::Resume => format!("{who} resumed the session"),
                    ActivityKind::End => format!("ended by {who}"),
                };
                self.note(now, kind, activity.session.account, Some(&activity.session), text);
            }
            Report::Finding(finding) => {
                self.metrics.verdict(&finding.control, "violated");
                let kind = if finding.session.is_some() { HappeningKind::Violated } else { HappeningKind::Changed };
                let text = format!("{}: {}", finding.control, finding.title);
                self.note(now, kind, finding.account, finding.session.as_ref(), text);
            }
            Report::Incident(incident) => {
                let open = &mut self.status.counts.incidents_open;
                *open = match (incident.resolved, incident.id.0.ends_with("/escalated")) {
                    (Some(_), _) => open.saturating_sub(1),
                    (None, true) => *open,
                    (None, false) => *open + 1,
                };
                let text = incident.title.to_string();
                self.note(now, HappeningKind::Incident, incident.account, incident.session.as_ref(), text);
            }
            Report::Remedy(remedy) => self.remedy(remedy, now),
        }
    }

    fn remedy(&mut self, remedy: &Remedy, now: Now) {
        let done = matches!(remedy.result, RemedyResult::Done | RemedyResult::Unneeded);
        let (kind, text) = match (remedy.kind, &remedy.result) {
            (RemedyKind::Terminate, RemedyResult::Planned) => {
                (HappeningKind::Notice, format!("would be ended: {}", remedy.reason))
            }
            (RemedyKind::Terminate, RemedyResult::Unneeded) => {
                (HappeningKind::Notice, format!("was to be ended, and had ended already: {}", remedy.reason))
            }
            (RemedyKind::Terminate, _) => (HappeningKind::Terminated, format!("ended: {}", remedy.reason)),
            (RemedyKind::Quarantine, _) if done => (HappeningKind::Quarantined, format!("locked: {}", remedy.reason)),
            (RemedyKind::Quarantine, RemedyResult::Refused(rule)) => {
                (HappeningKind::Notice, format!("not locked ({rule}): {}", remedy.reason))
            }
            (RemedyKind::Quarantine, _) => (HappeningKind::Notice, format!("would be locked: {}", remedy.reason)),
            (RemedyKind::Release, _) => (HappeningKind::Released, "unlocked: its time is over".to_owned()),
            (RemedyKind::Restore, _) if done => (HappeningKind::Changed, format!("put back: {}", remedy.reason)),
            (RemedyKind::Restore, _) => (HappeningKind::Notice, remedy.reason.to_string()),
        };
        if remedy.kind == RemedyKind::Terminate && remedy.result != RemedyResult::Unneeded {
            self.status.counts.terminations += 1;
        }
        self.note(now, kind, remedy.account, remedy.session.as_ref(), text);
    }

    fn note(&mut self, now: Now, kind: HappeningKind, account: AccountId, session: Option<&SessionKey>, text: String) {
        let mut happening = Happening::new(now, kind, text);
        happening.account = Some(account);
        happening.session = session.map(|key| Arc::clone(&key.id));
        self.status.note(happening);
    }

    /// Says something about the service itself.
    pub fn notice(&mut self, now: Now, kind: HappeningKind, text: impl Into<Arc<str>>) {
        self.status.note(Happening::new(now, kind, text));
    }

    /// Takes in how many records were read, and the time of the newest of them.
    pub fn records(&mut self, read: u64, now: Now, newest: Option<EventTime>) {
        self.pass_seconds(now);
        self.second.1 += read;
        if let Some(newest) = newest {
            let lag_ms = (now.0 - newest.0).max(0);
            self.status.lag_ms = lag_ms as u64;
            self.metrics.source_lag_ms(lag_ms);
        }
    }

    fn pass_seconds(&mut self, now: Now) {
        let second = now.0 / 1_000;
        let passed = second - self.second.0;
        if passed > 0 {
            self.status.note_rate(self.second.1);
            (1..passed.min(Status::RATE_MAX as i64)).for_each(|_| self.status.note_rate(0));
            self.second = (second, 0);
        }
    }

    /// Takes in how long the oldest overdue recheck has been due.
    pub fn overdue(&mut self, ms: i64) {
        self.status.oldest_overdue_ms = ms.max(0) as u64;
    }

    /// The totals of what was read, as they stand.
    pub fn counts(&mut self) -> &mut crate::console::Counts {
        &mut self.status.counts
    }

    /// The status now.
    pub fn snapshot(&mut self, now: Now) -> Status {
        self.pass_seconds(now);
        if let Some(kept_ms) = self.kept_ms {
            self.open.retain(|_, row| now.0 - row.seen.0 <= kept_ms);
        }
        let status = &mut self.status;
        status.now = now;
        status.uptime_ms = (now.0 - self.started.0).max(0) as u64;
        let live = |row: &&Row| !matches!(row.phase, Phase::AwaitingLog);
        status.counts.sessions_live = self.open.values().filter(live).count() as u64;
        status.counts.sessions_open = status.counts.sessions_live;
        status.counts.sessions_awaiting_log = self.open.len() as u64 - status.counts.sessions_live;
        status.quarantined = self.locked.iter().copied().collect();
        let mut rows: Vec<_> = self.open.iter().filter(|(_, row)| live(row)).collect();
        rows.sort_by_key(|(key, row)| (std::cmp::Reverse(row.verdict as u8), row.begun, *key));
        status.sessions = rows
            .into_iter()
            .take(Status::SESSIONS_MAX)
            .map(|(key, row)| LiveSession {
                key: key.clone(),
                principal: Arc::clone(&row.principal),
                target: Arc::clone(&row.target),
                document: Arc::clone(&row.document),
                age_ms: row.begun.map_or(0, |begun| (now.0 - begun.0).max(0) as u64),
                verdict: row.verdict,
                controls: row.controls.clone(),
            })
            .collect();
        self.metrics.sessions_live(status.counts.sessions_live);
        self.metrics.incidents_open(status.counts.incidents_open);
        self.metrics.quarantined_accounts(self.locked.len() as u64);
        status.clone()
    }
}

/// The last part of an ARN: the user, or the session of a role.
fn short(principal: &Principal) -> Arc<str> {
    match principal.arn.rsplit(['/', ':']).next() {
        Some("") | None => Arc::from("somebody"),
        Some(name) => Arc::from(name),
    }
}
