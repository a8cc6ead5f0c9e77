//! One time that an account's window was full: facts, from which the phase follows.

mod absorb;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Decision;
use crate::{
    effect::Severity,
    ids::{EventTime, Now, SessionKey},
    mutation::{Mutation, made},
    settings::{QuarantineSettings, Tier},
};

/// The wait after the first attempt that failed, in milliseconds; it doubles with each further one.
const RETRY_MS: i64 = 2_000;
/// The longest wait between two attempts, in milliseconds.
const RETRY_MS_MAX: i64 = 60_000;
/// When to try again what was tried at this time, and has failed so often. Up to a quarter of the wait is added by the
/// time of the attempt, so that what failed together is not tried again together.
pub(crate) fn next_attempt(at: Now, failures: u32) -> Now {
    let wait_ms = RETRY_MS.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(RETRY_MS_MAX);
    let spread = at.0.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    at.plus_ms(wait_ms + (spread % (wait_ms as u64 / 4)) as i64)
}

/// How many sweeps in a row have to find nothing.
pub const CLEAN_PASSES: u32 = 2;
/// How many swept sessions, and how many sessions of the window, are kept by name.
pub const NAMED_MAX: usize = 64;

/// Something that a person did, with the reason given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who: the ARN of the caller, or the name of the user of the machine.
    pub who: Arc<str>,
    /// Why; may be empty.
    pub reason: Arc<str>,
    /// When.
    pub at: Now,
}

/// A lock that was seen to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// What it denies.
    pub tier: Tier,
    /// When it was seen.
    pub at: Now,
    /// Since when, where it was attached before and put back: its time goes on from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Now>,
}

impl Attached {
    /// From when on its time counts.
    fn counts_from(self) -> Now {
        self.since.filter(|_| !made(Mutation::DriftRenewsLock)).unwrap_or(self.at)
    }
}

/// One time that an account's window was full, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Episode {
    /// Its number within the account, from 1.
    pub number: u32,
    /// When the window was full, event time.
    pub crossed_at: EventTime,
    /// Sessions up to this time have been answered, event time.
    pub counted_until: EventTime,
    /// How many sessions were in it.
    pub sessions: usize,
    /// The first of them, at most [`NAMED_MAX`].
    pub named: BTreeSet<SessionKey>,
    /// The principals among them.
    pub principals: BTreeSet<Arc<str>>,
    /// The controls that they violated.
    pub controls: BTreeSet<Arc<str>>,
    /// The worst of them.
    pub severity: Severity,
    /// What the lock is to deny.
    pub tier: Tier,
    /// A higher tier that waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raise: Option<Tier>,
    /// What was decided.
    pub decision: Decision,
    /// When that was decided.
    pub decided_at: Now,
    /// How many different people must approve.
    pub approvals_needed: u8,
    /// Who has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Act>,
    /// Who said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Act>,
    /// When the register was first asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Now>,
    /// Why the register has not granted the lock yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Arc<str>>,
    /// When the register granted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<Now>,
    /// When the lock was first seen to be attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_at: Option<Now>,
    /// What is attached now, as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached: Option<Attached>,
    /// When somebody else's change of it was seen, and not yet put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drifted_at: Option<Now>,
    /// How often that happened.
    pub drifts: u32,
    /// When it was first seen to bite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bites_at: Option<Now>,
    /// The last sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Now>,
    /// How many sweeps there were.
    pub sweeps: u32,
    /// How many in a row found nothing, since it bites.
    pub clean_passes: u32,
    /// Sessions that sweeps ended, at most [`NAMED_MAX`].
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub swept: BTreeSet<SessionKey>,
    /// Who asked for its end before the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Act>,
    /// When it was first seen to be detached, at its end. Until it is looked at once more it is not over: an attempt to
    /// attach it may still be under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detached_at: Option<Now>,
    /// When its end was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Now>,
    /// The last attempt to attach or detach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Now>,
    /// How many attempts in a row failed.
    pub failures: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<str>>,
    /// The last attempt failed for a reason that no repetition changes.
    pub hopeless: bool,
}

impl Default for Episode {
    /// One of which nothing is known.
    fn default() -> Self {
        Self {
            number: 0,
            crossed_at: EventTime(0),
            counted_until: EventTime(0),
            sessions: 0,
            named: BTreeSet::new(),
            principals: BTreeSet::new(),
            controls: BTreeSet::new(),
            severity: Severity::High,
            tier: Tier::Access,
            raise: None,
            decision: Decision::Observed,
            decided_at: Now(0),
            approvals_needed: 0,
            approvals: Vec::new(),
            denied: None,
            asked_at: None,
            waits_for: None,
            granted_at: None,
            locked_at: None,
            attached: None,
            drifted_at: None,
            drifts: 0,
            bites_at: None,
            swept_at: None,
            sweeps: 0,
            clean_passes: 0,
            swept: BTreeSet::new(),
            release: None,
            detached_at: None,
            released_at: None,
            tried_at: None,
            failures: 0,
            failure: None,
            hopeless: false,
        }
    }
}

/// Where an episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpisodePhase {
    /// Observe mode: it is said what would be done.
    Observed,
    /// A rule, or a person, refused it.
    Refused,
    /// People have to approve it.
    Proposed,
    /// It waits for the register, which keeps the caps of the organisation.
    Approved,
    /// The lock is being attached.
    Attaching,
    /// It is attached; sessions that run are ended, until it bites and two passes find none.
    Sweeping,
    /// It holds.
    Enforced,
    /// Somebody else changed it, and it is put back.
    Drifted,
    /// It is being detached.
    Releasing,
    /// It is over.
    Released,
    /// It cannot be had, or cannot be ended: a person has to help. It is tried again all the same.
    Escalated,
}

impl EpisodePhase {
    /// Its name, as reports and tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Refused => "refused",
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Attaching => "attaching",
            Self::Sweeping => "sweeping",
            Self::Enforced => "enforced",
            Self::Drifted => "drifted",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Escalated => "escalated",
        }
    }
}

impl Episode {
    /// Where it stands.
    pub fn phase(&self, now: Now, settings: &QuarantineSettings) -> EpisodePhase {
        let course = self.course(now, settings);
        let calls = matches!(course, EpisodePhase::Attaching | EpisodePhase::Releasing | EpisodePhase::Drifted);
        let stuck = calls && (self.hopeless || self.overdue_since(now, settings).is_some());
        let unproven = course == EpisodePhase::Sweeping && self.unbitten(now, settings);
        if stuck || unproven { EpisodePhase::Escalated } else { course }
    }

    /// Where it stands, whether or not it gets on.
    pub(super) fn course(&self, now: Now, settings: &QuarantineSettings) -> EpisodePhase {
        match &self.decision {
            Decision::Observed => return EpisodePhase::Observed,
            Decision::Refused(_) => return EpisodePhase::Refused,
            Decision::Lock => {}
        }
        if self.released_at.is_some() {
            return EpisodePhase::Released;
        }
        if self.ends_at(settings).is_some_and(|at| now >= at) {
            return EpisodePhase::Releasing;
        }
        if !self.approved() {
            return EpisodePhase::Proposed;
        }
        if self.granted_at.is_none() {
            return EpisodePhase::Approved;
        }
        match self.attached {
            _ if self.drifted_at.is_some() => EpisodePhase::Drifted,
            Some(attached) if attached.tier == self.tier => {
                if self.settled() {
                    EpisodePhase::Enforced
                } else {
                    EpisodePhase::Sweeping
                }
            }
            Some(_) | None => EpisodePhase::Attaching,
        }
    }

    /// Enough different people approved.
    pub fn approved(&self) -> bool {
        let people: BTreeSet<&Arc<str>> = self.approvals.iter().map(|act| &act.who).collect();
        people.len() >= usize::from(self.approvals_needed)
    }

    /// It bites, and no session runs that it would deny.
    pub(super) fn settled(&self) -> bool {
        self.bites_at.is_some() && self.clean_passes >= CLEAN_PASSES
    }

    /// When the lock ends: at its deadline or, where a person asked for it, before. `None` while it is not granted. What
    /// was granted may have been attached by an attempt whose answer was lost, and ends like any other. What somebody else
    /// detached and was put back ends when it would have ended (I7); a higher tier has a time of its own.
    pub fn ends_at(&self, settings: &QuarantineSettings) -> Option<Now> {
        let asked = self.release.as_ref().map(|act| act.at);
        let deadline = self.attached.map(Attached::counts_from).or(self.locked_at).or(self.granted_at);
        let deadline = deadline.map(|at| at.plus_ms(settings.duration_ms));
        match (asked, deadline) {
            (Some(asked), Some(deadline)) => Some(asked.min(deadline)),
            (asked, deadline) => asked.or(deadline),
        }
    }

    /// When to detach it: at its end, and once more when no attempt to attach it can be under way any more (I7).
    pub(super) fn release_at(&self, settings: &QuarantineSettings) -> Option<Now> {
        match self.detached_at {
            Some(at) => Some(at.plus_ms(settings.settle_ms)),
            None => self.ends_at(settings),
        }
    }

    /// Since when it could not be attached or detached, where that is too long (I7).
    pub(super) fn overdue_since(&self, now: Now, settings: &QuarantineSettings) -> Option<Now> {
        let since = match self.course(now, settings) {
            EpisodePhase::Attaching | EpisodePhase::Drifted => self.drifted_at.or(self.granted_at)?,
            EpisodePhase::Releasing => self.release_at(settings)?,
            EpisodePhase::Observed
            | EpisodePhase::Refused
            | EpisodePhase::Proposed
            | EpisodePhase::Approved
            | EpisodePhase::Sweeping
            | EpisodePhase::Enforced
            | EpisodePhase::Released
            | EpisodePhase::Escalated => return None,
        };
        (now >= since.plus_ms(super::UNCONFIRMED_MS_MAX)).then_some(since)
    }

    /// It is attached and was not seen to bite, or sessions go on under it, for too long.
    pub(super) fn unbitten(&self, now: Now, settings: &QuarantineSettings) -> bool {
        self.attached.is_some_and(|attached| now >= attached.at.plus_ms(settings.bite_ms_max)) && !self.settled()
    }

    /// When the next attempt to attach or detach may be made.
    pub(super) fn rests_until(&self) -> Option<Now> {
        let failures = if self.hopeless { u32::MAX } else { self.failures };
        self.tried_at.filter(|_| self.failures > 0).map(|at| next_attempt(at, failures))
    }

    /// Sessions up to this time belong to this episode: until the lock ended, or would have ended.
    pub(super) fn quiet_until(&self, settings: &QuarantineSettings) -> EventTime {
        match self.detached_at.or(self.released_at) {
            Some(at) => at.as_event_time(),
            None => self.crossed_at.plus_ms(settings.duration_ms),
        }
    }

    /// The account is locked, or about to be.
    pub fn holds(&self) -> bool {
        self.decision == Decision::Lock && self.released_at.is_none()
    }

    /// Why it came to be, in words.
    pub fn reason(&self) -> String {
        format!("{} violating sessions by {} principals inside the window", self.sessions, self.principals.len())
    }
}
