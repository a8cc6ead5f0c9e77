//! Performs effects.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use sessionwarden_machine::{
    account::AccountInput,
    effect::{Effect, RemedyResult},
    ids::{EffectId, Now, Subject},
    session::Input,
};
use sessionwarden_store::Store;
use tracing::Instrument;

use super::{Calls, HandleError, Handler, Inbox, News};
use crate::{
    effects::{Lane, Lanes, limit_of, result_of},
    ports::Hands,
};

impl<S: Store, H: Hands> Handler<S, H> {
    /// Performs effects, and returns their results as news.
    pub(super) async fn execute(
        &mut self,
        wanted: Vec<(Subject, Vec<Effect>)>,
        now: Now,
    ) -> Result<Inbox, HandleError> {
        // Accounts count first: a session's count is done once its account has it.
        let mut counts = Inbox::new();
        for (_, effects) in &wanted {
            for effect in effects {
                if let Effect::Count { counted, .. } = effect {
                    let news = News::Account(AccountInput::Counted(counted.clone()));
                    counts.entry(Subject::Account(counted.session.account)).or_default().push(news);
                }
            }
        }
        let mut all = self.step_all(counts, now).await?;
        all.extend(wanted);
        // An account that had news of its own, and now a count, asks twice for the same.
        let mut asked = BTreeSet::new();
        for (_, effects) in &mut all {
            effects.retain(|effect| asked.insert(effect.id().clone()));
        }
        for (_, effects) in &mut all {
            effects.retain(|effect| self.is_for_now(effect, now));
        }
        let every: Vec<&Effect> = all.iter().flat_map(|(_, effects)| effects).collect();
        let writing = tracing::info_span!("report", effects = every.len());
        let written = self.reports.write(&every, now).instrument(writing).await?;
        let written: BTreeSet<EffectId> = written.into_iter().collect();
        let (mut called, told) = tokio::join!(self.call_all(&every), self.tell_all(&every, now));
        let mut inbox = Inbox::new();
        for (subject, effects) in all {
            let mut news = Vec::new();
            let mut done = Vec::new();
            for effect in effects {
                self.board.lock().effect(&effect, now);
                let (kind, result) = match &effect {
                    Effect::Report(_) | Effect::Close { .. } => {
                        if written.contains(effect.id()) {
                            self.outlets.tally.note(&effect);
                            done.push(effect.id().clone());
                        }
                        ("report", "done")
                    }
                    Effect::Notify { id, .. } => {
                        let well = told.contains(id);
                        done.extend(well.then(|| id.clone()));
                        self.outlets.belongs(id, &subject);
                        ("notify", if well { "done" } else { "waits" })
                    }
                    Effect::Count { id, .. } => {
                        done.push(id.clone());
                        ("count", "done")
                    }
                    Effect::Terminate { id, .. } => {
                        let Some(result) = called.remove(id) else { continue };
                        let name = name_of(&result);
                        self.metrics.termination(name);
                        news.push(News::Session(Input::Tried { result }));
                        ("terminate", name)
                    }
                    Effect::Quarantine { id, .. } => {
                        let Some(result) = called.remove(id) else { continue };
                        let name = name_of(&result);
                        news.push(News::Account(AccountInput::LockTried(result)));
                        ("quarantine", name)
                    }
                    Effect::Release { id, .. } => {
                        let Some(result) = called.remove(id) else { continue };
                        let name = name_of(&result);
                        news.push(News::Account(AccountInput::ReleaseTried(result)));
                        ("release", name)
                    }
                };
                self.metrics.effect(kind, result);
            }
            if !done.is_empty() {
                news.push(News::Done(done));
            }
            if !news.is_empty() {
                inbox.entry(subject).or_default().extend(news);
            }
        }
        Ok(inbox)
    }

    /// Whether an effect is to be performed by this handler at this time.
    fn is_for_now(&self, effect: &Effect, now: Now) -> bool {
        match effect {
            Effect::Notify { id, .. } => self.calls == Calls::Now && self.outlets.rests_until(id, now).is_none(),
            Effect::Terminate { .. } | Effect::Quarantine { .. } | Effect::Release { .. } => self.calls == Calls::Now,
            Effect::Report(_) | Effect::Close { .. } | Effect::Count { .. } => true,
        }
    }

    /// Tells people side by side; returns what is done for good.
    async fn tell_all(&self, effects: &[&Effect], now: Now) -> BTreeSet<EffectId> {
        let told = effects.iter().filter_map(|effect| match effect {
            Effect::Notify { id, report } => Some(async move {
                let span = tracing::info_span!("notify", effect = %id);
                self.outlets.tell(id, report, now).instrument(span).await.then(|| id.clone())
            }),
            Effect::Report(_)
            | Effect::Terminate { .. }
            | Effect::Count { .. }
            | Effect::Close { .. }
            | Effect::Quarantine { .. }
            | Effect::Release { .. } => None,
        });
        join_all(told).await.into_iter().flatten().collect()
    }

    /// Makes the calls that effects ask for, side by side: one that is not answered keeps no other waiting (I13).
    async fn call_all(&self, effects: &[&Effect]) -> BTreeMap<EffectId, RemedyResult> {
        let Some(hands) = &self.hands else {
            return BTreeMap::new();
        };
        let lanes = Lanes::new(limit_of(&self.settings));
        join_all(effects.iter().map(|effect| call(hands, &lanes, effect))).await.into_iter().flatten().collect()
    }
}

/// The call that an effect asks for, if it asks for one.
async fn call<H: Hands>(hands: &H, lanes: &Lanes, effect: &Effect) -> Option<(EffectId, RemedyResult)> {
    let (id, answer) = match effect {
        Effect::Terminate { id, session, .. } => {
            let span = tracing::info_span!("terminate", effect = %id, %session);
            let lane = Lane::Account(session.account);
            (id, lanes.call(lane, "a termination", hands.terminate(session)).instrument(span).await)
        }
        Effect::Quarantine { id, account } => {
            let span = tracing::info_span!("quarantine", effect = %id, %account);
            (id, lanes.call(Lane::Organization, "a lock", hands.lock(*account)).instrument(span).await)
        }
        Effect::Release { id, account } => {
            let span = tracing::info_span!("release", effect = %id, %account);
            (id, lanes.call(Lane::Organization, "a release", hands.unlock(*account)).instrument(span).await)
        }
        Effect::Report(_) | Effect::Notify { .. } | Effect::Close { .. } | Effect::Count { .. } => return None,
    };
    Some((id.clone(), result_of(answer)))
}

fn name_of(result: &RemedyResult) -> &'static str {
    match result {
        RemedyResult::Planned => "planned",
        RemedyResult::Done => "done",
        RemedyResult::Unneeded => "unneeded",
        RemedyResult::Failed(_) => "failed",
        RemedyResult::Refused(_) => "refused",
    }
}
