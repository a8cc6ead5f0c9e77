//! Performs effects.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use sessionwarden_machine::{
    account::AccountInput,
    effect::{Effect, Report},
    ids::{EffectId, Now, Subject},
    incident::IncidentInput,
    mutation::{Mutation, made},
};
use sessionwarden_store::Store;
use tracing::Instrument;

use super::{Calls, HandleError, Handler, Inbox, News};
use crate::{
    effects::{Answer, Caller},
    ports::Hands,
};

impl<S: Store, H: Hands> Handler<S, H> {
    /// Performs effects, and returns their results as news.
    pub(super) async fn execute(
        &mut self,
        wanted: Vec<(Subject, Vec<Effect>)>,
        now: Now,
    ) -> Result<Inbox, HandleError> {
        if wanted.iter().all(|(_, effects)| effects.is_empty()) {
            return Ok(Inbox::new());
        }
        let mut all = self.deliver(wanted, now).await?;
        for (_, effects) in &mut all {
            effects.retain(|effect| self.is_for_now(effect, now));
        }
        let every: Vec<&Effect> = all.iter().flat_map(|(_, effects)| effects).collect();
        let writing = tracing::info_span!("report", effects = every.len());
        let written = match self.reports.write(&every, now).instrument(writing).await {
            Err(_) if made(Mutation::DoneBeforeWritten) => every.iter().map(|effect| effect.id().clone()).collect(),
            written => written?,
        };
        let written: BTreeSet<EffectId> = written.into_iter().collect();
        let (mut called, told) = tokio::join!(self.call_all(&every, now), self.tell_all(&every, now));
        let mut inbox = Inbox::new();
        for (subject, effects) in all {
            let mut news = Vec::new();
            let mut done = Vec::new();
            for effect in effects {
                self.board.lock().effect(&effect, now);
                let (kind, result) = match &effect {
                    Effect::Report(_) | Effect::Close { .. } | Effect::Act { .. } => {
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
                    Effect::Count { id, .. }
                    | Effect::ToRegister { id, .. }
                    | Effect::ToAccount { id, .. }
                    | Effect::Conclude { id, .. } => {
                        done.push(id.clone());
                        ("count", "done")
                    }
                    Effect::Terminate { .. }
                    | Effect::Quarantine { .. }
                    | Effect::Sweep { .. }
                    | Effect::Release { .. }
                    | Effect::Restore { .. }
                    | Effect::Compare { .. } => {
                        let Some(answer) = called.remove(effect.id()) else { continue };
                        let name = (answer.kind, answer.result);
                        if answer.kind == "terminate" {
                            self.metrics.termination(answer.result);
                        }
                        news.push(answer.news);
                        name
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

    /// Brings what subjects have to say to each other to where it belongs, until nothing is left to say: whoever is told
    /// has it before the one that tells counts it as done. Returns all effects, each once.
    async fn deliver(
        &mut self,
        wanted: Vec<(Subject, Vec<Effect>)>,
        now: Now,
    ) -> Result<Vec<(Subject, Vec<Effect>)>, HandleError> {
        let mut all: Vec<(Subject, Vec<Effect>)> = Vec::new();
        let (mut asked, mut fresh) = (BTreeSet::new(), wanted);
        loop {
            let mut inbox = Inbox::new();
            for (from, effects) in &mut fresh {
                // A subject that had news of its own, and is told something now, asks twice for the same.
                effects.retain(|effect| asked.insert(effect.id().clone()));
                for effect in effects.iter().filter(|effect| self.is_for_now(effect, now)) {
                    if let Some((to, news)) = message_of(from, effect) {
                        inbox.entry(to).or_default().push(news);
                    }
                }
            }
            all.append(&mut fresh);
            if inbox.is_empty() {
                return Ok(all);
            }
            fresh = self.step_all(inbox, now).await?;
        }
    }

    /// Whether an effect is to be performed by this handler at this time.
    fn is_for_now(&self, effect: &Effect, now: Now) -> bool {
        match effect {
            Effect::Notify { id, .. } => self.calls == Calls::Now && self.outlets.rests_until(id, now).is_none(),
            Effect::Terminate { .. } => self.calls != Calls::Later,
            Effect::Restore { .. } => self.calls == Calls::Now,
            Effect::Quarantine { .. }
            | Effect::Sweep { .. }
            | Effect::Release { .. }
            | Effect::Compare { .. }
            | Effect::ToRegister { .. }
            | Effect::ToAccount { .. } => self.calls == Calls::Now && self.organizes,
            Effect::Report(_)
            | Effect::Close { .. }
            | Effect::Count { .. }
            | Effect::Conclude { .. }
            | Effect::Act { .. } => true,
        }
    }

    /// Tells people side by side; returns what is done for good.
    async fn tell_all(&self, effects: &[&Effect], now: Now) -> BTreeSet<EffectId> {
        let told = effects.iter().filter_map(|effect| {
            let Effect::Notify { id, report } = effect else { return None };
            Some(async move {
                let span = tracing::info_span!("notify", effect = %id);
                self.outlets.tell(id, report, now).instrument(span).await.then(|| id.clone())
            })
        });
        join_all(told).await.into_iter().flatten().collect()
    }

    /// Makes the calls that effects ask for, side by side: one that is not answered keeps no other waiting (I13).
    async fn call_all(&self, effects: &[&Effect], now: Now) -> BTreeMap<EffectId, Answer> {
        let Some(hands) = &self.hands else {
            return BTreeMap::new();
        };
        let caller = Caller::new(hands, &self.settings, &self.regions, (now, self.read_at));
        let answers = effects.iter().map(async |effect| Some((effect.id().clone(), caller.call(effect).await?)));
        join_all(answers).await.into_iter().flatten().collect()
    }
}

/// What an effect says to another subject, if it does.
fn message_of(from: &Subject, effect: &Effect) -> Option<(Subject, News)> {
    let case = |id: &str| Subject::Incident(id.strip_prefix("incident/").unwrap_or(id).into());
    let (to, news) = if let Effect::Report(Report::Incident(note)) = effect {
        match (from, note.id.0.strip_suffix("/resolved")) {
            // What an incident says of itself it knows.
            (Subject::Incident(_), _) => return None,
            (_, Some(id)) => (case(id), News::Incident(IncidentInput::Over(note.clone()))),
            (_, None) => (case(&note.id.0), News::Incident(IncidentInput::Noted(note.clone()))),
        }
    } else if let Effect::Conclude { incident, .. } = effect {
        (case(&incident.0), News::Incident(IncidentInput::Gone))
    } else if let Effect::Count { counted, .. } = effect {
        (Subject::Account(counted.session.account), News::Account(AccountInput::Counted(counted.clone())))
    } else if let Effect::ToRegister { message, .. } = effect {
        (Subject::Register, News::Register(message.clone()))
    } else if let Effect::ToAccount { account, input, .. } = effect {
        (Subject::Account(*account), News::Account(input.clone()))
    } else {
        return None;
    };
    Some((to, news))
}
