//! What an episode asks for.

use std::sync::Arc;

use super::{Account, Act, Decision, Episode, EpisodePhase};
use crate::{
    effect::{
        Effect, EvidenceNote, IncidentNote, Lock, Order, Remedy, RemedyKind, RemedyResult, Report, Severity, announce,
        conclude,
    },
    ids::{EffectId, EventTime, Now, SessionKey},
    register::RegisterInput,
    settings::Settings,
};

impl Account {
    /// When to look again.
    pub fn due_at(&self, now: Now, settings: &Settings) -> Option<Now> {
        let rules = &settings.quarantine;
        let episode = self.episode.as_ref().filter(|episode| episode.holds())?;
        Some(match episode.course(now, rules) {
            EpisodePhase::Proposed | EpisodePhase::Approved => episode.decided_at.plus_ms(rules.wait_ms_max),
            EpisodePhase::Attaching | EpisodePhase::Drifted => episode.rests_until().or(episode.granted_at)?,
            EpisodePhase::Releasing => episode.rests_until().or(episode.release_at(rules))?,
            EpisodePhase::Sweeping => {
                let next = episode.swept_at.map(|at| at.plus_ms(settings.recheck_ms));
                next.into_iter().chain(episode.ends_at(rules)).min()?
            }
            EpisodePhase::Enforced => episode.ends_at(rules)?,
            EpisodePhase::Observed | EpisodePhase::Refused | EpisodePhase::Released | EpisodePhase::Escalated => {
                return None;
            }
        })
    }

    pub(super) fn wanted(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let Some(episode) = &self.episode else {
            return Vec::new();
        };
        let desk = Desk { account: self, episode, base: format!("{}/{}", self.account, episode.number) };
        let mut effects = desk.reports(now, settings);
        effects.extend(desk.orders());
        effects.extend(desk.calls(now, settings));
        if settings.notify {
            announce(&mut effects);
        }
        conclude(&mut effects, self.done.iter());
        effects.retain(|effect| !self.done.contains(effect.id()));
        effects
    }
}

/// Writes what one episode asks for.
struct Desk<'a> {
    account: &'a Account,
    episode: &'a Episode,
    base: String,
}

impl Desk<'_> {
    fn id(&self, verb: &str) -> EffectId {
        EffectId(format!("{verb}/{}", self.base).into())
    }

    /// What is said of it.
    fn reports(&self, now: Now, settings: &Settings) -> Vec<Effect> {
        let (episode, rules) = (self.episode, &settings.quarantine);
        let account = self.account.account;
        let reason = episode.reason();
        let mut effects = Vec::new();
        if episode.released_at.is_none() {
            effects.push(self.incident("threshold", format!("Account {account}: {reason}"), episode.crossed_at));
        }
        let mut tell = |cause: &str, title: String, at: Now| {
            effects.push(self.incident(cause, title, at.as_event_time()));
        };
        let why = || episode.failure.as_deref().unwrap_or("no answer");
        let phase = episode.course(now, rules);
        let attaching = phase == EpisodePhase::Attaching || phase == EpisodePhase::Drifted;
        let stuck = episode.hopeless || episode.overdue_since(now, rules).is_some();
        if phase == EpisodePhase::Proposed {
            let needed = episode.approvals_needed;
            tell("approval", format!("Account {account} is locked once {needed} people approve"), episode.decided_at);
        }
        if let Some(rule) = episode.waits_for.as_ref().filter(|_| phase == EpisodePhase::Approved) {
            tell("lock-waits", format!("Account {account} is not locked yet: {rule}"), episode.decided_at);
        }
        if phase == EpisodePhase::Releasing && stuck {
            let since = episode.release_at(rules).unwrap_or(now);
            tell("release-failed", format!("Account {account} could not be unlocked: {}", why()), since);
        }
        if attaching && stuck {
            let since = episode.granted_at.unwrap_or(now);
            tell("lock-failed", format!("Account {account} could not be locked: {}", why()), since);
        }
        if phase == EpisodePhase::Sweeping && episode.unbitten(now, rules) {
            let what = if episode.bites_at.is_none() { "does not bite" } else { "has sessions that cannot be ended" };
            let since = episode.attached.map_or(now, |attached| attached.at);
            tell("lock-unproven", format!("Account {account} is locked, but the lock {what}"), since);
        }
        if let Some(at) = episode.drifted_at.filter(|_| episode.drifts > 0) {
            let cause = format!("lock-changed-{}", episode.drifts);
            tell(&cause, format!("Somebody else changed the lock of account {account}; it is put back"), at);
        }
        if let Some(tier) = episode.raise {
            let tier = tier.as_str();
            let title = format!("Account {account} goes on breaking the rules; a person may raise its lock to {tier}");
            effects.push(self.incident("lock-raise", title, episode.counted_until));
        }
        let planned = match &episode.decision {
            Decision::Observed => Some(RemedyResult::Planned),
            Decision::Refused(rule) => Some(RemedyResult::Refused(Arc::clone(rule))),
            Decision::Lock => episode.locked_at.map(|_| RemedyResult::Done),
        };
        if let Some(result) = planned {
            effects.push(self.remedy(RemedyKind::Quarantine, "quarantine", result, episode.crossed_at));
        }
        effects.extend(episode.swept.iter().map(|session| self.swept(session)));
        if let Some(at) = episode.released_at {
            effects.push(self.remedy(RemedyKind::Release, "release", RemedyResult::Done, at.as_event_time()));
        }
        effects
    }

    /// What people did, and what the register is told.
    fn orders(&self) -> Vec<Effect> {
        let (episode, account) = (self.episode, self.account.account);
        let acts = episode.approvals.iter().map(|act| (Order::Approve, act));
        let acts = acts.chain(episode.denied.iter().map(|act| (Order::Deny, act)));
        let acts = acts.chain(episode.release.iter().map(|act| (Order::Release, act)));
        let mut effects: Vec<Effect> = acts.map(|(order, act)| self.act(order, act)).collect();
        if episode.asked_at.is_none() {
            return effects;
        }
        if !episode.holds() {
            let message = RegisterInput::Left { account, episode: episode.number };
            effects.push(Effect::ToRegister { id: self.id("leave"), message });
        } else if episode.granted_at.is_none() {
            let approved = !episode.approvals.is_empty();
            let id = self.id("ask");
            let id = if approved { EffectId(format!("{}/approved", id.0).into()) } else { id };
            let message = RegisterInput::Asked {
                account,
                episode: episode.number,
                severity: episode.severity,
                sessions: episode.sessions,
                approved,
            };
            effects.push(Effect::ToRegister { id, message });
        }
        effects
    }

    /// What is called.
    fn calls(&self, now: Now, settings: &Settings) -> Option<Effect> {
        let (episode, account) = (self.episode, self.account.account);
        let rested = episode.rests_until().is_none_or(|until| now >= until);
        let lock = || Lock { tier: episode.tier, principals: episode.principals.clone() };
        let course = episode.course(now, &settings.quarantine);
        let detach = episode.release_at(&settings.quarantine).is_some_and(|at| now >= at);
        let swept = episode.swept_at.is_some_and(|at| now < at.plus_ms(settings.recheck_ms));
        if matches!(course, EpisodePhase::Attaching | EpisodePhase::Drifted) && rested {
            Some(Effect::Quarantine { id: self.id("lock"), account, lock: lock() })
        } else if course == EpisodePhase::Releasing && rested && detach {
            Some(Effect::Release { id: self.id("unlock"), account })
        } else if course == EpisodePhase::Sweeping && !swept {
            Some(Effect::Sweep { id: self.id("sweep"), account, lock: lock() })
        } else {
            None
        }
    }

    fn act(&self, order: Order, act: &Act) -> Effect {
        let id = EffectId(format!("{}/{}", self.id(order.as_str()).0, act.who).into());
        let target = self.account.account.to_string().into();
        Effect::Act { id, order, who: Arc::clone(&act.who), reason: Arc::clone(&act.reason), target, at: act.at }
    }

    fn remedy(&self, kind: RemedyKind, verb: &str, result: RemedyResult, at: EventTime) -> Effect {
        let episode = self.episode;
        Effect::Report(Report::Remedy(Box::new(Remedy {
            id: self.id(verb),
            kind,
            result,
            reason: episode.reason().into(),
            account: self.account.account,
            region: Arc::from(""),
            session: None,
            target: self.account.account.to_string().into(),
            at,
            findings: Vec::new(),
        })))
    }

    /// A session that runs when its account is locked is ended with it.
    fn swept(&self, session: &SessionKey) -> Effect {
        let at = self.episode.locked_at.map_or(self.episode.crossed_at, Now::as_event_time);
        Effect::Report(Report::Remedy(Box::new(Remedy {
            id: EffectId(format!("{}/{session}", self.id("swept").0).into()),
            kind: RemedyKind::Terminate,
            result: RemedyResult::Done,
            reason: "its account is locked".into(),
            account: session.account,
            region: Arc::clone(&session.region),
            session: Some(session.clone()),
            target: Arc::clone(&session.id),
            at,
            findings: Vec::new(),
        })))
    }

    fn incident(&self, cause: &str, title: String, opened: EventTime) -> Effect {
        let episode = self.episode;
        let note = |name: &str, value: String| EvidenceNote {
            name: name.into(),
            value: value.into(),
            source: "account".into(),
            at: episode.crossed_at,
        };
        let listed = |all: &mut dyn Iterator<Item = &Arc<str>>| all.map(|one| &**one).collect::<Vec<_>>().join(", ");
        Effect::Report(Report::Incident(Box::new(IncidentNote {
            id: self.id(&format!("incident/{cause}")),
            title: title.into(),
            cause: cause.trim_end_matches(|one: char| one == '-' || one.is_ascii_digit()).into(),
            severity: Severity::Critical,
            account: self.account.account,
            region: Arc::from(""),
            session: None,
            opened,
            resolved: None,
            evidence: vec![
                note("tier", episode.tier.as_str().to_owned()),
                note("principals", listed(&mut episode.principals.iter())),
                note("controls", listed(&mut episode.controls.iter())),
                note("sessions", listed(&mut episode.named.iter().map(|session| &session.id))),
            ],
            findings: Vec::new(),
        })))
    }
}
