//! Changes that can be put back because the wanted state is known: a key, a rule or a trail of the guardrail that somebody
//! switched off, and the serial console that somebody switched on (the rows of the threat catalogue with R whose former
//! state the event tells). What else was changed is for people.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Incident;
use crate::{
    account::{RETRY_MS, RETRY_MS_MAX},
    effect::{Effect, Mode, Remedy, RemedyKind, RemedyResult, Report},
    ids::{EffectId, Now},
    settings::Settings,
};

/// How a change is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    /// A KMS key is enabled, and its deletion cancelled (TH22).
    Key,
    /// An EventBridge rule is enabled (TH27).
    Rule,
    /// A trail is started (TH28).
    Trail,
    /// Access to the EC2 serial console is disabled (TH10).
    SerialConsole,
}

impl Restore {
    /// All.
    pub const ALL: [Self; 4] = [Self::Key, Self::Rule, Self::Trail, Self::SerialConsole];

    /// Its name, as configuration and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Rule => "rule",
            Self::Trail => "trail",
            Self::SerialConsole => "serial-console",
        }
    }

    /// What puts back a change that was made by this call.
    pub fn of(call: &str) -> Option<Self> {
        Some(match call {
            "DisableKey" | "ScheduleKeyDeletion" => Self::Key,
            "DisableRule" => Self::Rule,
            "StopLogging" => Self::Trail,
            "EnableSerialConsoleAccess" => Self::SerialConsole,
            _ => return None,
        })
    }

    fn says(self) -> &'static str {
        match self {
            Self::Key => "the key is enabled again",
            Self::Rule => "the rule is enabled again",
            Self::Trail => "the trail is started again",
            Self::SerialConsole => "the serial console is closed again",
        }
    }
}

/// Attempts to put a change back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restoring {
    /// The last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Now>,
    /// How many failed.
    pub failures: u32,
    /// Why the last one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<str>>,
    /// When it was seen to be as wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Now>,
}

impl Restoring {
    /// Notes an attempt; tells whether it succeeded.
    pub(super) fn tried(&mut self, result: RemedyResult, now: Now) -> bool {
        self.tried_at = Some(now);
        match result {
            RemedyResult::Done | RemedyResult::Unneeded => {
                (self.done_at, self.failure) = (Some(now), None);
                true
            }
            RemedyResult::Failed(why) | RemedyResult::Refused(why) => {
                (self.failures, self.failure) = (self.failures + 1, Some(why));
                false
            }
            RemedyResult::Planned => false,
        }
    }

    fn rests_until(&self) -> Option<Now> {
        let wait_ms = RETRY_MS.saturating_mul(1 << self.failures.min(5)).min(RETRY_MS_MAX);
        self.tried_at.filter(|_| self.failures > 0).map(|at| at.plus_ms(wait_ms))
    }
}

impl Incident {
    /// How the change behind it is put back; `None` where that is for people.
    pub fn restore(&self) -> Option<Restore> {
        if self.note.is_some() { None } else { Restore::of(&self.call) }
    }

    /// Whether a change may be put back without a person.
    fn may_restore(restore: Restore, settings: &Settings) -> bool {
        settings.organization && settings.mode == Mode::Enforce && settings.restore.contains(&restore)
    }

    /// When the next attempt may be made.
    pub(super) fn restore_due(&self, settings: &Settings) -> Option<Now> {
        let wanted = self.restore().filter(|restore| Self::may_restore(*restore, settings));
        wanted.filter(|_| self.resolved.is_none()).and_then(|_| self.restoring.rests_until())
    }

    /// The change is put back, or it is said how it would be.
    pub(super) fn want_restore(&self, now: Now, settings: &Settings, effects: &mut Vec<Effect>) {
        let Some(restore) = self.restore() else { return };
        if self.restoring.done_at.is_some() {
            effects.push(self.restore_remedy(restore, RemedyResult::Done, "restored"));
        } else if !Self::may_restore(restore, settings) {
            effects.push(self.restore_remedy(restore, RemedyResult::Planned, "restore"));
        } else if self.resolved.is_none() && self.restoring.rests_until().is_none_or(|until| now >= until) {
            effects.push(Effect::Restore {
                id: EffectId(format!("restoring/{}-{}", self.cause, self.round).into()),
                account: self.account,
                region: Arc::clone(&self.region),
                restore,
                thing: Arc::clone(&self.target),
            });
        }
    }

    fn restore_remedy(&self, restore: Restore, result: RemedyResult, verb: &str) -> Effect {
        Effect::Report(Report::Remedy(Box::new(Remedy {
            id: EffectId(format!("{verb}/{}-{}", self.cause, self.round).into()),
            kind: RemedyKind::Restore,
            result,
            reason: restore.says().into(),
            account: self.account,
            region: Arc::clone(&self.region),
            session: None,
            target: Arc::clone(&self.target),
            at: self.first.at,
            findings: Vec::new(),
        })))
    }
}
