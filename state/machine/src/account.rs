//! One account: a sliding window over violating sessions, and what follows when it is full.
//!
//! The window slides in event time over distinct sessions (R-W27); metric data that others can write is never an input
//! (R-W28).

mod episode;
mod rules;
mod wanted;
mod window;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

pub(crate) use episode::next_attempt;
pub use episode::{Act, Attached, CLEAN_PASSES, Episode, EpisodePhase, NAMED_MAX};
pub use rules::{Decision, decide, identity_of, tier_for};
pub use window::{Crossing, by_account, first_crossing};

use crate::{
    effect::{Counted, Effect, Severity},
    ids::{AccountId, EffectId, Now, SessionKey},
    mutation::{Mutation, made},
    settings::{QuarantineSettings, Settings, Tier},
};

/// How many counted sessions are kept: the latest; more where the threshold asks for more.
pub const COUNTED_MAX: usize = 64;
/// How long a lock or its end may stay unconfirmed before an incident says so, in milliseconds.
pub const UNCONFIRMED_MS_MAX: i64 = 60_000;

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

/// How an attempt to attach or detach ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is as it should be: that was looked at afterwards.
    Done,
    /// It failed; to try again can help.
    Again(Arc<str>),
    /// It failed, and a person has to put right what it names.
    Hopeless(Arc<str>),
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Whether the lock bites, where that could be told.
    pub bites: Option<bool>,
    /// Sessions that were ended.
    pub ended: Vec<SessionKey>,
    /// Sessions that could not be ended.
    pub left: usize,
    /// Regions that did not answer.
    pub silent: usize,
}

/// Something new about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountInput {
    /// One more violating session.
    Counted(Counted),
    /// A person approves the lock, or the higher tier that waits.
    Approved(Act),
    /// A person refuses the lock.
    Denied(Act),
    /// A person wants the lock to end.
    ReleaseAsked(Act),
    /// The register grants the lock.
    Granted {
        /// Of which episode.
        episode: u32,
    },
    /// The register does not grant it yet.
    Waits {
        /// Of which episode.
        episode: u32,
        /// By which rule.
        rule: Arc<str>,
    },
    /// An attempt to lock it.
    LockTried(Tier, Tried),
    /// An attempt to unlock it.
    ReleaseTried(Tried),
    /// A sweep.
    Swept(Swept),
    /// What is attached to it, as it was at a time.
    Seen {
        /// `None` where nothing is.
        tier: Option<Tier>,
        /// When the look began.
        since: Now,
    },
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
    pub fn step(&mut self, input: AccountInput, now: Now, settings: &Settings) -> Vec<Effect> {
        self.step_all([input], now, settings)
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
    ) -> Vec<Effect> {
        for input in inputs {
            if let AccountInput::Counted(counted) = input {
                self.count(counted, &settings.quarantine);
            } else if let AccountInput::Done(effects) = input {
                self.absorb_done(effects);
            } else if let Some(episode) = self.episode.as_mut().filter(|episode| episode.holds()) {
                episode.absorb(input, now, &settings.quarantine);
            }
        }
        self.open_episode(now, settings);
        if let Some(episode) = self.episode.as_mut().filter(|episode| episode.holds()) {
            episode.give_up(now, &settings.quarantine);
            if episode.course(now, &settings.quarantine) == EpisodePhase::Approved {
                episode.asked_at.get_or_insert(now);
            }
        }
        self.wanted(now, settings)
    }

    /// Each session counts once, at the earliest time that is said of it.
    fn count(&mut self, counted: Counted, rules: &QuarantineSettings) {
        if made(Mutation::DoubleCount) {
            self.counted.insert(Counted { at: counted.at.plus_ms(1), ..counted.clone() });
        } else if let Some(known) = self.counted.iter().find(|known| known.session == counted.session) {
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

    /// Reports and messages are done for good; an attempt to lock, sweep or unlock is repeated until it is confirmed.
    fn absorb_done(&mut self, effects: Vec<EffectId>) {
        let Some(episode) = &self.episode else {
            return;
        };
        let own = format!("/{}/{}", self.account, episode.number);
        let is_own = |id: &EffectId| {
            let (kind, rest) = id.0.split_once(&*own).unwrap_or_default();
            let call = matches!(kind, "" | "lock" | "unlock" | "sweep");
            !call && (rest.is_empty() || rest.starts_with('/'))
        };
        self.done.extend(effects.into_iter().filter(is_own));
    }

    fn open_episode(&mut self, now: Now, settings: &Settings) {
        let rules = &settings.quarantine;
        if let Some(episode) = self.episode.as_mut().filter(|episode| episode.holds()) {
            if episode.detached_at.is_some() {
                // What began since then is looked at when this one is over.
                return;
            }
            let spared = |one: &&Counted| !episode.covers(one);
            let fresh: Vec<_> = self.counted.iter().filter(spared).collect();
            if let Some(crossing) = first_crossing(&fresh, rules) {
                episode.grow(&crossing, now, rules);
            }
            return;
        }
        // Sessions that filled an earlier window, or began while it was (or would have been) locked, fill no other.
        let after = self.episode.as_ref().map(|episode| episode.quiet_until(rules));
        let fresh: Vec<_> = self.counted.iter().filter(|one| after.is_none_or(|after| one.at > after)).collect();
        let Some(crossing) = first_crossing(&fresh, rules) else {
            return;
        };
        let inside = || fresh.iter().filter(|one| crossing.sessions.contains(&one.session));
        self.done.clear();
        self.episode = Some(Episode {
            number: self.episode.as_ref().map_or(1, |episode| episode.number + 1),
            crossed_at: crossing.at,
            counted_until: crossing.at,
            sessions: crossing.sessions.len(),
            named: crossing.sessions.iter().take(NAMED_MAX).cloned().collect(),
            controls: inside().flat_map(|one| one.controls.iter().cloned()).collect(),
            severity: inside().map(|one| one.severity).max().unwrap_or(Severity::High),
            tier: tier_for(&crossing.principals, rules).unwrap_or(Tier::Access),
            decision: decide(self.account, &crossing.principals, settings),
            principals: crossing.principals,
            approvals_needed: rules.approvals_needed(settings.unit(self.account), now),
            decided_at: now,
            ..Episode::default()
        });
    }
}

#[cfg(test)]
mod tests;
