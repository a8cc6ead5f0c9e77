//! The organisation's register of locks: which account is locked next, and that not too many are (I6).
//!
//! One item of the store, written under its revision: the caps hold however many workers there are. An account asks, the
//! register grants when there is room, in order of severity; an account that was unlocked leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    account::AccountInput,
    effect::{Effect, EvidenceNote, IncidentNote, Mode, Report, Severity, announce, conclude},
    ids::{AccountId, EffectId, Now},
    mutation::{Mutation, made},
    settings::{Settings, Tier},
};

/// How long a lock counts for the cap by the hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// What an account asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its episode.
    pub episode: u32,
    /// The worst that it did.
    pub severity: Severity,
    /// Violating sessions.
    pub sessions: usize,
    /// When it asked.
    pub asked_at: Now,
    /// A person has approved it: the circuit breaker does not keep it waiting.
    pub approved: bool,
    /// When it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<Now>,
    /// When it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Now>,
    /// The rule by which it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Arc<str>>,
    /// The answers it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<EffectId>,
}

impl Entry {
    /// One that asks now.
    pub fn new(episode: u32, severity: Severity, sessions: usize, now: Now) -> Self {
        Self {
            episode,
            severity,
            sessions,
            asked_at: now,
            approved: false,
            granted_at: None,
            left_at: None,
            waits_for: None,
            told: BTreeSet::new(),
        }
    }

    fn holds(&self) -> bool {
        self.granted_at.is_some() && self.left_at.is_none()
    }

    fn waits(&self) -> bool {
        self.granted_at.is_none() && self.left_at.is_none()
    }
}

/// The register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Register {
    /// The latest episode of each account that asked, until an hour after it left.
    pub entries: BTreeMap<AccountId, Entry>,
    /// When the circuit breaker last opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Now>,
    /// Locks that were granted within the last hour.
    pub grants: Vec<Now>,
    /// When it was last tried to compare what is attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<Now>,
    /// What was last found attached.
    pub seen: BTreeMap<AccountId, Tier>,
    /// When that look began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_since: Option<Now>,
    /// Locks that belong to no episode, and since when they are seen.
    pub foreign: BTreeMap<AccountId, Now>,
    /// Reports that are durable.
    pub done: BTreeSet<EffectId>,
}

/// Something new about the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterInput {
    /// An account wants to be locked.
    Asked {
        /// Which.
        account: AccountId,
        /// Its episode.
        episode: u32,
        /// The worst that it did.
        severity: Severity,
        /// Violating sessions.
        sessions: usize,
        /// A person has approved it.
        approved: bool,
    },
    /// An episode is over, or will never be a lock.
    Left {
        /// Which account.
        account: AccountId,
        /// Which episode.
        episode: u32,
    },
    /// What is attached in the organisation, by a look that began at `since`.
    Compared {
        /// The locks; `None` where they could not be listed.
        locks: Option<BTreeMap<AccountId, Tier>>,
        /// When the look began.
        since: Now,
    },
    /// Effects that are durable now.
    Done(Vec<EffectId>),
    /// Nothing new: time has passed.
    Wake,
}

impl Register {
    /// Takes inputs in together, and returns the effects that are wanted and not yet done. `accounts` is the number of
    /// accounts in the organisation, 0 where it is not known.
    pub fn step_all(
        &mut self,
        inputs: impl IntoIterator<Item = RegisterInput>,
        now: Now,
        settings: &Settings,
        accounts: usize,
    ) -> Vec<Effect> {
        for input in inputs {
            self.absorb(input, now);
        }
        self.entries.retain(|_, entry| entry.left_at.is_none_or(|at| now < at.plus_ms(HOUR_MS)));
        self.grants.retain(|at| now < at.plus_ms(HOUR_MS));
        self.trip(now, settings);
        self.grant(now, settings, accounts);
        let mut effects = self.answers();
        let mut reports = self.reports(now, settings);
        conclude(&mut reports, self.done.iter());
        // What is over, and was said to be, may be said anew.
        let said: BTreeSet<&EffectId> = reports.iter().map(Effect::id).collect();
        let over = |id: &EffectId| self.done.contains(&EffectId(id.0.replacen("incident/", "conclude/", 1).into()));
        let kept = self.done.iter().filter(|id| said.contains(id) && !over(id)).cloned().collect();
        reports.retain(|effect| !self.done.contains(effect.id()));
        self.done = kept;
        effects.extend(reports);
        let compare = self.compared_at.is_none_or(|at| now >= at.plus_ms(settings.quarantine.compare_ms));
        if compare && register_works(settings) {
            effects.push(Effect::Compare { id: EffectId("compare".into()) });
        }
        effects
    }

    fn absorb(&mut self, input: RegisterInput, now: Now) {
        match input {
            RegisterInput::Asked { account, episode, severity, sessions, approved } => {
                if let Some(entry) = self.entries.get_mut(&account).filter(|entry| entry.episode >= episode) {
                    entry.approved |= approved && entry.episode == episode;
                    return;
                }
                let entry = Entry { approved, ..Entry::new(episode, severity, sessions, now) };
                self.entries.insert(account, entry);
            }
            RegisterInput::Left { account, episode } => {
                if let Some(entry) = self.entries.get_mut(&account).filter(|entry| entry.episode == episode) {
                    entry.left_at.get_or_insert(now);
                }
            }
            RegisterInput::Compared { locks, since } => {
                self.compared_at = Some(now);
                let Some(locks) = locks else { return };
                let owned = |account: &AccountId| {
                    let entry = self.entries.get(account).filter(|entry| entry.granted_at.is_some());
                    // One that left while the look went on may still have been seen.
                    entry.is_some_and(|entry| entry.left_at.is_none_or(|at| at >= since))
                };
                let foreign: BTreeMap<AccountId, Now> = locks
                    .keys()
                    .filter(|account| !owned(account))
                    .map(|account| (*account, self.foreign.get(account).copied().unwrap_or(now)))
                    .collect();
                self.foreign = foreign;
                (self.seen, self.seen_since) = (locks, Some(since));
            }
            RegisterInput::Done(effects) => {
                for id in effects {
                    let mut entries = self.entries.iter_mut();
                    let own =
                        |account: &AccountId, entry: &Entry| id.0.contains(&format!("/{account}/{}", entry.episode));
                    match entries.find(|(account, entry)| own(account, entry)) {
                        Some((_, entry)) => {
                            if id.0.starts_with("seen/") {
                                entry.told.retain(|told| !told.0.starts_with("seen/"));
                            }
                            entry.told.insert(id);
                        }
                        None => drop(self.done.insert(id)),
                    }
                }
            }
            RegisterInput::Wake => {}
        }
    }

    /// Accounts that asked within the breaker's time.
    fn recent(&self, now: Now, settings: &Settings) -> usize {
        let breaker_ms = settings.quarantine.breaker_ms;
        self.entries.values().filter(|entry| now < entry.asked_at.plus_ms(breaker_ms)).count()
    }

    /// Opens the circuit breaker when so many accounts asked within its time: a fault, or an attack, that locks half a
    /// company looks like this. It closes by itself.
    fn trip(&mut self, now: Now, settings: &Settings) {
        let open = self.recent(now, settings) >= settings.quarantine.breaker_accounts;
        self.opened_at = open.then(|| self.opened_at.unwrap_or(now));
    }

    /// Grants what there is room for, the worst first.
    fn grant(&mut self, now: Now, settings: &Settings, accounts: usize) {
        let rules = &settings.quarantine;
        let mut waiting: Vec<AccountId> =
            self.entries.iter().filter(|(_, entry)| entry.waits()).map(|(account, _)| *account).collect();
        let rank = |account: &AccountId| {
            let entry = &self.entries[account];
            (std::cmp::Reverse((entry.severity, entry.sessions)), entry.asked_at, *account)
        };
        waiting.sort_by_key(rank);
        for account in waiting {
            let held = self.entries.values().filter(|entry| entry.holds()).count();
            let hourly = self.grants.len();
            let Some(entry) = self.entries.get_mut(&account) else { continue };
            let rule = if made(Mutation::NoCaps) {
                None
            } else if settings.mode == Mode::Observe || rules.mode == Mode::Observe {
                Some("quarantine.mode = \"observe\"")
            } else if self.opened_at.is_some() && !entry.approved {
                Some("quarantine.breaker_accounts")
            } else if held >= rules.concurrent_max {
                Some("quarantine.concurrent_max")
            } else if hourly >= rules.hourly_max {
                Some("quarantine.hourly_max")
            } else if held > 0 && (held + 1) * 100 > rules.share_percent_max * accounts {
                // The first lock of a small organisation is allowed.
                Some("quarantine.share_max_percent")
            } else {
                None
            };
            entry.waits_for = rule.map(Arc::from);
            if rule.is_none() {
                entry.granted_at = Some(now);
                self.grants.push(now);
            }
        }
    }

    /// When to look again. What was due until `now` was done by the step that read its time: a place that is not free yet
    /// is free when somebody leaves, who says so.
    pub fn due_at(&self, now: Now, settings: &Settings) -> Option<Now> {
        let rules = &settings.quarantine;
        if !register_works(settings) {
            return None;
        }
        let waiting = self.entries.values().any(Entry::waits);
        let hours = self.grants.iter().map(|at| at.plus_ms(HOUR_MS));
        let breaker = self.entries.values().map(|entry| entry.asked_at.plus_ms(rules.breaker_ms));
        let lies_ahead = |at: &Now| *at > now || made(Mutation::WaitingAlwaysDue);
        let free = hours.chain(breaker).filter(lies_ahead).min().filter(|_| waiting);
        let compare = self.compared_at.map_or(Now(0), |at| at.plus_ms(rules.compare_ms));
        free.into_iter().chain([compare]).min()
    }

    /// What accounts are told: that they may be locked, by which rule they wait, and what is attached to them.
    fn answers(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (account, entry) in self.entries.iter().filter(|(_, entry)| entry.left_at.is_none()) {
            let (episode, base) = (entry.episode, format!("{account}/{}", entry.episode));
            let mut tell = |id: String, input| {
                let id = EffectId(id.into());
                if !entry.told.contains(&id) {
                    effects.push(Effect::ToAccount { id, account: *account, input });
                }
            };
            match (&entry.waits_for, entry.granted_at) {
                (_, Some(granted)) => {
                    tell(format!("grant/{base}"), AccountInput::Granted { episode });
                    if let Some(since) = self.seen_since.filter(|since| granted < *since) {
                        let tier = self.seen.get(account).copied();
                        tell(format!("seen/{base}/{}", since.0), AccountInput::Seen { tier, since });
                    }
                }
                (Some(rule), None) => {
                    let id = format!("wait/{base}/{}", rule.split(' ').next().unwrap_or_default());
                    tell(id, AccountInput::Waits { episode, rule: Arc::clone(rule) });
                }
                (None, None) => {}
            }
        }
        effects
    }

    fn reports(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let mut reports = Vec::new();
        // An incident is about an account: this one is about all of them.
        let first = || self.entries.keys().next().copied();
        if let (Some(at), Some(account)) = (self.opened_at, settings.management_account.or_else(first)) {
            let title = "So many accounts broke the rules at once that each lock needs a person now";
            let evidence = format!("{} accounts", self.recent(now, settings));
            reports.push(incident(&format!("breaker/{}", at.0), title.to_owned(), evidence, account, at));
        }
        for (account, since) in &self.foreign {
            let title = format!("Account {account} carries a quarantine policy that no episode attached");
            let tier = self.seen.get(account).map_or("", |tier| tier.as_str()).to_owned();
            reports.push(incident(&format!("lock-foreign/{account}-{}", since.0), title, tier, *account, *since));
        }
        if settings.notify {
            announce(&mut reports);
        }
        reports
    }
}

/// Whether there is anything to do with the organisation at all.
pub fn register_works(settings: &Settings) -> bool {
    let enforced = settings.mode == Mode::Enforce && settings.quarantine.mode == Mode::Enforce;
    settings.organization && settings.quarantine.enabled && enforced
}

fn incident(id: &str, title: String, evidence: String, account: AccountId, at: Now) -> Effect {
    let note = EvidenceNote {
        name: "found".into(),
        value: evidence.into(),
        source: "register".into(),
        at: at.as_event_time(),
    };
    Effect::Report(Report::Incident(Box::new(IncidentNote {
        id: EffectId(format!("incident/{id}").into()),
        title: title.into(),
        cause: id.split('/').next().unwrap_or_default().into(),
        severity: Severity::Critical,
        account,
        region: Arc::from(""),
        session: None,
        opened: at.as_event_time(),
        resolved: None,
        evidence: vec![note],
        findings: Vec::new(),
    })))
}

#[cfg(test)]
mod tests;
