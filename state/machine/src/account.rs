//! One account: a sliding window over violating sessions, and what follows when it is full.
//!
//! The window slides in event time over distinct sessions (R-W27); metric data that others can write is never an input
//! (R-W28).

mod window;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

pub use window::{Crossing, by_account, first_crossing};

use crate::{
    effect::{Counted, Effect, IncidentNote, Mode, Remedy, RemedyKind, RemedyResult, Report, Severity, announce},
    ids::{AccountId, EffectId, EventTime, Now},
    settings::{QuarantineSettings, Settings},
};

/// How many counted sessions are kept: the latest; more where the threshold asks for more.
pub const COUNTED_MAX: usize = 64;
/// How long a lock or its end may stay unconfirmed before an incident says so, in milliseconds.
pub const UNCONFIRMED_MS_MAX: i64 = 60_000;
/// What is reported about an episode, by the beginnings of the ids.
const REPORTS: [&str; 5] =
    ["incident/threshold", "incident/lock-failed", "incident/release-failed", "quarantine", "release"];
/// The wait between two attempts to lock or unlock, in milliseconds.
pub const RETRY_MS: i64 = 2_000;

/// What the rest of the organisation looks like to an account that might be locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Accounts in the organisation.
    pub accounts: usize,
    /// Other accounts locked, or about to be.
    pub locked: usize,
    /// Locks of other accounts begun in the last hour.
    pub locked_last_hour: usize,
}

/// What is decided about an account whose window is full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Lock it.
    Lock,
    /// In enforce mode it would be locked.
    Observed,
    /// Do not, by this rule.
    Refused(Arc<str>),
}

/// Decides about an account whose window is full. Every refusal names its rule (I6).
pub fn decide(account: AccountId, settings: &Settings, fleet: Fleet) -> Decision {
    let rules = &settings.quarantine;
    let refused = |rule: &str| Decision::Refused(rule.into());
    let share = |locked: usize| locked * 100 > rules.share_percent_max * fleet.accounts;
    if !rules.enabled {
        refused("quarantine.enabled = false")
    } else if settings.management_account == Some(account) {
        refused("the management account is never locked")
    } else if rules.exempt.contains(&account) {
        refused("organization.exempt_accounts")
    } else if !settings.organization || settings.mode == Mode::Observe {
        Decision::Observed
    } else if fleet.locked >= rules.concurrent_max {
        refused("quarantine.concurrent_max")
    } else if fleet.locked_last_hour >= rules.hourly_max {
        refused("quarantine.hourly_max")
    } else if fleet.locked > 0 && share(fleet.locked + 1) {
        refused("quarantine.share_max_percent")
    } else {
        Decision::Lock
    }
}

/// One time that an account's window was full, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Its number within the account, from 1.
    pub number: u32,
    /// When the window was full, event time.
    pub crossed_at: EventTime,
    /// How many sessions were in it.
    pub sessions: usize,
    /// The principals among them.
    pub principals: BTreeSet<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
    /// When that was decided.
    pub decided_at: Now,
    /// When the lock was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_at: Option<Now>,
    /// When its end was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Now>,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Now>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<str>>,
}

/// Where an episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpisodePhase {
    /// Nothing will be called.
    Refused,
    /// The lock is being attached.
    Attaching,
    /// The lock holds.
    Enforced,
    /// The lock is being detached.
    Releasing,
    /// It is over.
    Released,
}

impl Episode {
    /// Where it stands.
    pub fn phase(&self, now: Now, settings: &QuarantineSettings) -> EpisodePhase {
        match (&self.decision, self.locked_at, self.released_at) {
            (Decision::Refused(_) | Decision::Observed, ..) => EpisodePhase::Refused,
            (Decision::Lock, _, Some(_)) => EpisodePhase::Released,
            (Decision::Lock, None, None) => EpisodePhase::Attaching,
            (Decision::Lock, Some(at), None) if now >= at.plus_ms(settings.duration_ms) => EpisodePhase::Releasing,
            (Decision::Lock, Some(_), None) => EpisodePhase::Enforced,
        }
    }

    /// Sessions up to this time belong to this episode: until the lock ended, or would have ended.
    fn quiet_until(&self, settings: &QuarantineSettings) -> EventTime {
        match self.released_at {
            Some(at) => at.as_event_time(),
            None => self.crossed_at.plus_ms(settings.duration_ms),
        }
    }

    /// The account is locked, or about to be.
    pub fn holds(&self) -> bool {
        self.decision == Decision::Lock && self.released_at.is_none()
    }
}

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Which.
    pub account: AccountId,
    /// The latest counted sessions, at most [`COUNTED_MAX`] or as many as the threshold needs.
    pub counted: BTreeSet<Counted>,
    /// The last time the window was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
    /// What has been done for the episode: effects that are durable.
    #[serde(default)]
    pub done: BTreeSet<EffectId>,
}

/// Something new about an account.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountInput {
    /// One more violating session.
    Counted(Counted),
    /// An attempt to lock it.
    LockTried(RemedyResult),
    /// An attempt to unlock it.
    ReleaseTried(RemedyResult),
    /// Effects that are durable now.
    Done(Vec<EffectId>),
    /// Nothing new: time has passed.
    Wake,
}

impl Account {
    /// An account without a violation.
    pub fn new(account: AccountId) -> Self {
        Self { account, counted: BTreeSet::new(), episode: None, done: BTreeSet::new() }
    }

    /// Takes one input in and returns the effects that are wanted and not yet done.
    pub fn step(&mut self, input: AccountInput, now: Now, settings: &Settings, fleet: Fleet) -> Vec<Effect> {
        self.step_all([input], now, settings, fleet)
    }

    /// Takes inputs in together, then decides: sessions that arrive at once fill the window in order of their time.
    ///
    /// Whether the window is ever full does not depend on the order in which sessions arrive. Which session filled it,
    /// and so where later episodes begin, does: an account is locked as soon as enough is known.
    pub fn step_all(
        &mut self,
        inputs: impl IntoIterator<Item = AccountInput>,
        now: Now,
        settings: &Settings,
        fleet: Fleet,
    ) -> Vec<Effect> {
        for input in inputs {
            match input {
                AccountInput::Counted(counted) => self.count(counted, &settings.quarantine),
                AccountInput::LockTried(result) => self.tried(result, now, |episode| &mut episode.locked_at),
                // What was never locked cannot be released: that is an answer about an earlier episode.
                AccountInput::ReleaseTried(result) => {
                    if self.episode.as_ref().is_some_and(|episode| episode.locked_at.is_some()) {
                        self.tried(result, now, |episode| &mut episode.released_at);
                    }
                }
                AccountInput::Done(effects) => self.absorb_done(effects),
                AccountInput::Wake => {}
            }
        }
        self.open_episode(now, settings, fleet);
        self.wanted(now, settings)
    }

    /// Each session counts once, at the earliest time that is said of it.
    fn count(&mut self, counted: Counted, rules: &QuarantineSettings) {
        if let Some(known) = self.counted.iter().find(|known| known.session == counted.session) {
            if *known <= counted {
                return;
            }
            let known = known.clone();
            self.counted.remove(&known);
        }
        self.counted.insert(counted);
        while self.counted.len() > COUNTED_MAX.max(rules.sessions_min) {
            self.counted.pop_first();
        }
    }

    /// Only reports about the episode are done for good; an attempt to lock or unlock is repeated until it is confirmed.
    fn absorb_done(&mut self, effects: Vec<EffectId>) {
        let Some(episode) = &self.episode else {
            return;
        };
        let ending = format!("/{}/{}", self.account, episode.number);
        let own = |id: &EffectId| {
            let kind = id.0.strip_suffix(&*ending);
            kind.is_some_and(|kind| REPORTS.contains(&kind.strip_prefix("notify/").unwrap_or(kind)))
        };
        self.done.extend(effects.into_iter().filter(own));
    }

    fn tried(&mut self, result: RemedyResult, now: Now, field: fn(&mut Episode) -> &mut Option<Now>) {
        let Some(episode) = &mut self.episode else {
            return;
        };
        episode.tried_at = Some(now);
        episode.failure = None;
        match result {
            RemedyResult::Done | RemedyResult::Unneeded => {
                field(episode).get_or_insert(now);
            }
            RemedyResult::Failed(why) | RemedyResult::Refused(why) => episode.failure = Some(why),
            RemedyResult::Planned => {}
        }
    }

    fn open_episode(&mut self, now: Now, settings: &Settings, fleet: Fleet) {
        if self.episode.as_ref().is_some_and(Episode::holds) {
            return;
        }
        // Sessions that filled an earlier window, or began while it was (or would have been) locked, fill no other.
        let after = self.episode.as_ref().map(|episode| episode.quiet_until(&settings.quarantine));
        let fresh: Vec<_> = self.counted.iter().filter(|one| after.is_none_or(|after| one.at > after)).collect();
        let Some(crossing) = first_crossing(&fresh, &settings.quarantine) else {
            return;
        };
        self.done.clear();
        self.episode = Some(Episode {
            number: self.episode.as_ref().map_or(1, |episode| episode.number + 1),
            crossed_at: crossing.at,
            sessions: crossing.sessions.len(),
            principals: crossing.principals,
            decision: decide(self.account, settings, fleet),
            decided_at: now,
            locked_at: None,
            released_at: None,
            tried_at: None,
            failure: None,
        });
    }

    /// When to look again.
    pub fn due_at(&self, settings: &Settings) -> Option<Now> {
        let episode = self.episode.as_ref().filter(|episode| episode.holds())?;
        let retry = episode.tried_at.map_or(episode.decided_at, |at| at.plus_ms(RETRY_MS));
        Some(match episode.locked_at {
            None => retry,
            Some(at) => at
                .plus_ms(settings.quarantine.duration_ms)
                .max(episode.tried_at.filter(|tried| *tried > at).map_or(at, |tried| tried.plus_ms(RETRY_MS))),
        })
    }

    fn wanted(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let Some(episode) = &self.episode else {
            return Vec::new();
        };
        let base = format!("{}/{}", self.account, episode.number);
        let title = format!("Account {}: {}", self.account, Self::reason(episode));
        let mut effects = vec![self.incident("threshold", title, episode.crossed_at, &base)];
        if let Some((cause, title, since)) = self.overdue(episode, now, &settings.quarantine) {
            effects.push(self.incident(cause, title, since.as_event_time(), &base));
        }
        let rested = episode.tried_at.is_none_or(|tried| now >= tried.plus_ms(RETRY_MS));
        match &episode.decision {
            Decision::Observed => {
                effects.push(self.remedy(RemedyKind::Quarantine, RemedyResult::Planned, episode, &base));
            }
            Decision::Refused(rule) => {
                let result = RemedyResult::Refused(Arc::clone(rule));
                effects.push(self.remedy(RemedyKind::Quarantine, result, episode, &base));
            }
            Decision::Lock => {
                let account = self.account;
                if episode.locked_at.is_some() {
                    effects.push(self.remedy(RemedyKind::Quarantine, RemedyResult::Done, episode, &base));
                }
                match episode.phase(now, &settings.quarantine) {
                    EpisodePhase::Attaching if rested => {
                        effects.push(Effect::Quarantine { id: EffectId(format!("lock/{base}").into()), account });
                    }
                    EpisodePhase::Releasing if rested => {
                        effects.push(Effect::Release { id: EffectId(format!("unlock/{base}").into()), account });
                    }
                    EpisodePhase::Released => {
                        effects.push(self.remedy(RemedyKind::Release, RemedyResult::Done, episode, &base));
                    }
                    EpisodePhase::Attaching
                    | EpisodePhase::Releasing
                    | EpisodePhase::Enforced
                    | EpisodePhase::Refused => {}
                }
            }
        }
        if settings.notify {
            announce(&mut effects);
        }
        effects.retain(|effect| !self.done.contains(effect.id()));
        effects
    }

    /// I7: a lock or its end that cannot be had for too long.
    fn overdue(
        &self,
        episode: &Episode,
        now: Now,
        settings: &QuarantineSettings,
    ) -> Option<(&'static str, String, Now)> {
        let (cause, what, since) = match (episode.phase(now, settings), episode.locked_at) {
            (EpisodePhase::Attaching, _) => ("lock-failed", "locked", episode.decided_at),
            (EpisodePhase::Releasing, Some(at)) => ("release-failed", "unlocked", at.plus_ms(settings.duration_ms)),
            (EpisodePhase::Releasing | EpisodePhase::Enforced | EpisodePhase::Released | EpisodePhase::Refused, _) => {
                return None;
            }
        };
        let why = episode.failure.as_deref().unwrap_or("no answer");
        let title = || format!("Account {} could not be {what}: {why}", self.account);
        (now >= since.plus_ms(UNCONFIRMED_MS_MAX)).then(|| (cause, title(), since))
    }

    fn reason(episode: &Episode) -> String {
        format!("{} violating sessions by {} principals inside the window", episode.sessions, episode.principals.len())
    }

    fn remedy(&self, kind: RemedyKind, result: RemedyResult, episode: &Episode, base: &str) -> Effect {
        let (verb, at) = match kind {
            RemedyKind::Release => ("release", episode.released_at.map_or(episode.crossed_at, Now::as_event_time)),
            RemedyKind::Quarantine | RemedyKind::Terminate | RemedyKind::Restore => ("quarantine", episode.crossed_at),
        };
        Effect::Report(Report::Remedy(Box::new(Remedy {
            id: EffectId(format!("{verb}/{base}").into()),
            kind,
            result,
            reason: Self::reason(episode).into(),
            account: self.account,
            region: Arc::from(""),
            session: None,
            target: self.account.to_string().into(),
            at,
            findings: Vec::new(),
        })))
    }

    fn incident(&self, cause: &str, title: String, opened: EventTime, base: &str) -> Effect {
        Effect::Report(Report::Incident(Box::new(IncidentNote {
            id: EffectId(format!("incident/{cause}/{base}").into()),
            title: title.into(),
            cause: cause.into(),
            severity: Severity::Critical,
            account: self.account,
            region: Arc::from(""),
            session: None,
            opened,
            resolved: None,
            evidence: Vec::new(),
            findings: Vec::new(),
        })))
    }
}

#[cfg(test)]
mod tests;
