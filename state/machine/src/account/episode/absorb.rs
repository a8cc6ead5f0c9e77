//! What is new about an episode, taken in.

use super::{Act, Attached, Episode, NAMED_MAX};
use crate::{
    account::{AccountInput, Crossing, Decision, Swept, Tried, tier_for},
    effect::Counted,
    ids::Now,
    mutation::{Mutation, made},
    settings::{QuarantineSettings, Tier},
};

impl Episode {
    /// Takes in what is new about a lock that holds or is about to.
    pub(in crate::account) fn absorb(&mut self, input: AccountInput, now: Now, settings: &QuarantineSettings) {
        match input {
            AccountInput::Approved(act) => self.approve(act),
            AccountInput::Denied(act) | AccountInput::ReleaseAsked(act) => self.end(act),
            AccountInput::Granted { episode } if episode == self.number && self.asked_at.is_some() => {
                self.granted_at.get_or_insert(now);
                self.waits_for = None;
            }
            AccountInput::Waits { episode, rule } if episode == self.number && self.granted_at.is_none() => {
                self.waits_for = Some(rule);
            }
            AccountInput::LockTried(tier, tried) => {
                if self.tried(tried, now) {
                    self.locked_at.get_or_insert(now);
                    let again = self.attached.filter(|before| before.tier == tier).map(Attached::counts_from);
                    self.attached = Some(Attached { tier, at: now, since: again });
                    (self.drifted_at, self.bites_at, self.clean_passes) = (None, None, 0);
                    self.detached_at = None;
                }
            }
            // What is not to end yet was not released: that is an answer about an earlier episode.
            AccountInput::ReleaseTried(tried) => {
                if self.ends_at(settings).is_some_and(|at| now >= at) && self.tried(tried, now) {
                    let since = *self.detached_at.get_or_insert(now);
                    let settled = now >= since.plus_ms(settings.settle_ms) || made(Mutation::ReleaseWithoutVerify);
                    self.released_at = settled.then_some(now);
                    self.drifted_at = None;
                }
            }
            AccountInput::Swept(swept) => self.sweep(swept, now),
            AccountInput::Seen { tier, since } if self.detached_at.is_some() => {
                if tier.is_some() && self.detached_at.is_some_and(|at| at < since) {
                    // An attempt to attach it came through after all.
                    self.detached_at = None;
                }
            }
            AccountInput::Seen { tier, since } => {
                if let Some(attached) = self.attached
                    && attached.at < since
                    && tier != Some(attached.tier)
                    && self.drifted_at.is_none()
                    && self.ends_at(settings).is_none_or(|at| now < at)
                {
                    self.drifted_at = Some(now);
                    self.drifts += 1;
                }
            }
            AccountInput::Granted { .. }
            | AccountInput::Waits { .. }
            | AccountInput::Counted(_)
            | AccountInput::Done(_)
            | AccountInput::Wake => {}
        }
    }

    fn approve(&mut self, act: Act) {
        if let (true, Some(tier)) = (self.granted_at.is_some(), self.raise) {
            (self.tier, self.raise) = (tier, None);
        }
        if !self.approvals.iter().any(|known| known.who == act.who) {
            self.approvals.push(act);
        }
    }

    /// A person wants no lock: before it was granted that is a refusal, later a release.
    fn end(&mut self, act: Act) {
        if self.granted_at.is_none() {
            self.decision = Decision::Refused(format!("{} said no", act.who).into());
            self.denied = Some(act);
        } else if self.release.is_none() {
            self.release = Some(act);
        }
    }

    /// Notes an attempt; tells whether it succeeded.
    fn tried(&mut self, tried: Tried, now: Now) -> bool {
        self.tried_at = Some(now);
        (self.failure, self.hopeless) = match tried {
            Tried::Done => {
                self.failures = 0;
                (None, false)
            }
            Tried::Again(why) => {
                self.failures += 1;
                (Some(why), false)
            }
            Tried::Hopeless(why) => {
                self.failures += 1;
                (Some(why), true)
            }
        };
        self.failure.is_none()
    }

    fn sweep(&mut self, swept: Swept, now: Now) {
        self.swept_at = Some(now);
        self.sweeps += 1;
        if swept.bites == Some(true) {
            self.bites_at.get_or_insert(now);
        }
        let clean = swept.ended.is_empty() && swept.left == 0 && swept.silent == 0;
        self.clean_passes = if clean && self.bites_at.is_some() { self.clean_passes + 1 } else { 0 };
        for session in swept.ended {
            if self.swept.len() < NAMED_MAX {
                self.swept.insert(session);
            }
        }
    }

    /// Whether the lock answers a session already: it fills no further window.
    pub(in crate::account) fn covers(&self, one: &Counted) -> bool {
        if one.at <= self.counted_until {
            return true;
        }
        // Until it bites, sessions go on in spite of it.
        match self.tier {
            Tier::Principal => self.principals.contains(&one.principal),
            Tier::Access | Tier::Channel => self.bites_at.is_none_or(|at| one.at <= at.as_event_time()),
        }
    }

    /// The window is full again, with sessions that the lock does not answer: more principals, or the next tier. What
    /// needs people waits for them.
    pub(in crate::account) fn grow(&mut self, crossing: &Crossing, now: Now, rules: &QuarantineSettings) {
        self.counted_until = crossing.at;
        let mut principals = self.principals.clone();
        principals.extend(crossing.principals.iter().cloned());
        let wanted = match self.tier {
            Tier::Principal => tier_for(&principals, rules).unwrap_or(Tier::Access),
            Tier::Access | Tier::Channel => Tier::Channel,
        };
        if self.granted_at.is_none() {
            (self.tier, self.principals) = (wanted.min(rules.tier_max.max(self.tier)), principals);
        } else if wanted > self.tier && (self.approvals_needed > 0 || wanted > rules.tier_max) {
            self.raise = Some(wanted);
        } else {
            if wanted == self.tier && self.tier == Tier::Principal {
                // The same tier for more principals is attached anew.
                self.drifted_at = Some(now);
            }
            (self.tier, self.principals) = (wanted, principals);
        }
    }

    /// What has waited for too long is not locked any more.
    pub(in crate::account) fn give_up(&mut self, now: Now, settings: &QuarantineSettings) {
        if self.granted_at.is_some() || now < self.decided_at.plus_ms(settings.wait_ms_max) {
            return;
        }
        let rule = match (&self.waits_for, self.approved()) {
            (_, false) => "quarantine.approvals: nobody approved it in time".into(),
            (Some(rule), true) => format!("{rule}: it had to wait for too long"),
            (None, true) => "quarantine.wait_seconds_max: it had to wait for too long".into(),
        };
        self.decision = Decision::Refused(rule.into());
    }
}
