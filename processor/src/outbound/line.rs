//! One route at work: what goes its way is told once, held for a digest, tried again, or kept as a dead letter.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessionwarden_machine::ids::{AccountId, EffectId, Now};

use super::{
    DeadLetters, Deliver, Desk, Message, Outcome, Route, Undelivered,
    desk::Turn,
    patience::{Next, Patience},
};
use crate::metrics::Metrics;

/// The wait before it is tried again to keep a dead letter, in milliseconds.
const LETTER_MS: i64 = 5_000;
/// Under which the tries of digests are counted: a digest's own id changes with what is added to it.
const DIGEST: &str = "digest";

/// A route, with where it leads and what it has told.
pub struct Line {
    route: Route,
    units: Arc<BTreeMap<AccountId, Arc<str>>>,
    to: Box<dyn Deliver>,
    letters: DeadLetters,
    metrics: Metrics,
    state: Mutex<State>,
}

struct State {
    desk: Desk,
    patience: Patience,
}

/// What all routes have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The organisational unit of each account, where known.
    pub units: Arc<BTreeMap<AccountId, Arc<str>>>,
    /// What becomes of messages that are given up.
    pub letters: DeadLetters,
    /// Counts them.
    pub metrics: Metrics,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("route", &self.route.name).finish_non_exhaustive()
    }
}

impl Line {
    /// A route that leads `to`.
    pub fn new(route: Route, to: Box<dyn Deliver>, common: Common) -> Self {
        let state = State { desk: Desk::new(route.limits), patience: Patience::new(route.tries_max) };
        let Common { units, letters, metrics } = common;
        Self { route, units, to, letters, metrics, state: Mutex::new(state) }
    }

    /// Tells a message, where it goes this way, or keeps it for a digest or for another try.
    pub(super) async fn tell(&self, message: &Message, now: Now) -> Outcome {
        let unit = message.account.and_then(|account| self.units.get(&account));
        if !self.route.takes(message, unit.map(|unit| &**unit)) {
            return Outcome::Nobody;
        }
        if let Some(outcome) = self.state().turn(message, now) {
            return outcome;
        }
        match self.try_once(message, &message.id, now).await {
            Outcome::Told => self.state().over(&message.id, Outcome::Told),
            Outcome::GivenUp => self.state().over(&message.id, Outcome::GivenUp),
            other => other,
        }
    }

    /// Sends the digest, when it is time or `early`. Returns the ids of what has been told or given up by that.
    pub(super) async fn flush(&self, now: Now, early: bool) -> Vec<EffectId> {
        let counted = EffectId(DIGEST.into());
        let due = {
            let state = self.state();
            let rests = state.patience.rests_until(&counted, now).is_some();
            state.desk.digest(now, early).filter(|_| !rests)
        };
        let Some((digest, ids)) = due else { return Vec::new() };
        let outcome = self.try_once(&digest, &counted, now).await;
        if !matches!(outcome, Outcome::Told | Outcome::GivenUp) {
            return Vec::new();
        }
        let mut state = self.state();
        state.patience.forget(&counted);
        for id in &ids {
            state.over(id, outcome);
        }
        ids
    }

    /// The state; the lock is never held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to deliver, and keeps what is given up. `counted` is the id under which tries are counted.
    async fn try_once(&self, message: &Message, counted: &EffectId, now: Now) -> Outcome {
        let route = &self.route.name;
        let error = match self.to.deliver(message, now).await {
            Ok(()) => {
                self.state().patience.arrived();
                self.metrics.routed(route, "told");
                return Outcome::Told;
            }
            Err(error) => error,
        };
        let next = match &error {
            Undelivered::Refused(_) => Next::Over(1),
            Undelivered::Later(_) => self.state().patience.failed(counted, now),
        };
        let reason = match (next, &error) {
            (Next::At(until), _) => {
                self.metrics.routed(route, "later");
                tracing::warn!(%route, id = %message.id, %error, "a message could not be sent; it is tried again");
                return Outcome::Waits(until);
            }
            (Next::Over(_), Undelivered::Refused(_)) => error.to_string(),
            (Next::Over(1), Undelivered::Later(why)) => format!("tried once: {why}"),
            (Next::Over(times), Undelivered::Later(why)) => format!("tried {times} times, the last time: {why}"),
        };
        if let Err(error) = self.letters.put(route, &reason, message, now).await {
            tracing::error!(%route, id = %message.id, %error, "a dead letter cannot be kept; the message is tried again");
            return Outcome::Waits(now.plus_ms(LETTER_MS));
        }
        self.metrics.routed(route, "dead");
        tracing::error!(%route, id = %message.id, reason, "a message is given up, and kept as a dead letter");
        Outcome::GivenUp
    }
}

impl State {
    /// What becomes of a message without trying; `None` where it is to be tried now.
    fn turn(&mut self, message: &Message, now: Now) -> Option<Outcome> {
        let past = self.desk.past_turn(&message.id);
        // A destination that rests uses up no allowance.
        if past.is_none()
            && let Some(until) = self.patience.rests_until(&message.id, now)
        {
            return Some(Outcome::Waits(until));
        }
        match past.unwrap_or_else(|| self.desk.turn(message, now)) {
            Turn::Known => Some(Outcome::Known),
            Turn::Held => Some(Outcome::Held),
            Turn::Now => None,
        }
    }

    /// A message needs nothing more: it was told, or is kept as a dead letter.
    fn over(&mut self, id: &EffectId, outcome: Outcome) -> Outcome {
        self.desk.told(id);
        self.patience.forget(id);
        outcome
    }
}

#[cfg(test)]
mod tests;
