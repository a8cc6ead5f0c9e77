//! Rechecks: a verdict has a time to live. Due subjects are looked at again, one round of questions for all sessions
//! of an account and region; what no event announced is found by comparing with what AWS shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    compliance::EvidenceKind,
    ids::{Now, SessionKey, Subject, Thing},
    incident::IncidentInput,
    mutation::{Mutation, made},
    place::PlaceInput,
    register::{RegisterInput, register_works},
    session::{Gathered, Input, Life, Phase, Rules},
};
use sessionwarden_store::{DueItem, Store};

use crate::{
    effects::{Found, Question, Survey, gather, limit_of, within},
    forgotten::forgotten,
    handle::{HandleError, Handler, Inbox, News, place_read, session_read},
    ports::Hands,
};

/// How many items one query of an index returns at the most.
const PAGE: usize = 1_000;

impl<S: Store, H: Hands> Handler<S, H> {
    /// Sets the timers of everything that was due or undone when the service last stopped.
    pub async fn recover(&mut self, now: Now) -> Result<usize, HandleError> {
        let mut found = 0;
        for prefix in ["session#", "account#", "incident#", "register#"] {
            let mut after: Option<Arc<str>> = None;
            loop {
                let keys = self.store.keys(prefix, after.as_deref(), PAGE).await?;
                for key in &keys {
                    let Some(item) = self.store.load(key).await? else { continue };
                    let Ok(subject) = key.parse::<Subject>() else { continue };
                    let state = crate::handle::read(&subject, &item)?;
                    self.remember(&state, now);
                    if let Some(due) = &item.due {
                        self.schedule.set(due.at, subject);
                        found += 1;
                    }
                }
                match keys.last() {
                    Some(last) if keys.len() == PAGE => after = Some(last.clone()),
                    Some(_) | None => break,
                }
            }
        }
        if register_works(&self.settings) {
            // It is made where there is none.
            self.schedule.set(now, Subject::Register);
        }
        Ok(found)
    }

    /// Looks at everything that is due.
    pub async fn recheck(&mut self, now: Now) -> Result<(), HandleError> {
        let mut due = BTreeSet::new();
        while let Some(subjects) = self.schedule.fire(now) {
            due.extend(subjects);
        }
        self.wake(due, Vec::new(), now).await
    }

    /// Finds what is overdue although its timer should have fired, and deletes what should long be gone.
    pub async fn sweep(&mut self, now: Now) -> Result<(), HandleError> {
        let overdue = self.store.due(Now(now.0 - self.settings.recheck_ms), PAGE).await?;
        let oldest = overdue.first().map_or(0, |item| now.0 - item.due.at.0);
        self.metrics.recheck_overdue_ms(oldest);
        self.board.lock().overdue(oldest);
        let subjects = overdue.iter().filter_map(|item| item.key.parse().ok()).collect();
        self.wake(subjects, Vec::new(), now).await?;
        // After a long pause all is overdue, and some of it has expired: it is looked at, and so kept, first.
        if overdue.len() < PAGE { self.collect(now).await } else { Ok(()) }
    }

    /// Deletes what should long be gone. A session that was never closed leaves an incident, which is durable before
    /// the session goes.
    async fn collect(&mut self, now: Now) -> Result<(), HandleError> {
        if self.settings.organization {
            let mut inbox = Inbox::new();
            for item in self.store.expired(now, PAGE).await? {
                if let Some((cause, incident)) = forgotten(&item)? {
                    inbox.insert(
                        Subject::Incident(cause),
                        vec![News::Incident(IncidentInput::Seen(Box::new(incident)))],
                    );
                }
            }
            self.handle(inbox, now).await?;
        }
        for item in self.store.collect(now, PAGE).await? {
            tracing::debug!(key = %item.key, "collected");
        }
        Ok(())
    }

    /// Looks at subjects whose time has come, once they are gathered for. With a place come all sessions that rest in it:
    /// those that give no news are not touched.
    pub(crate) async fn wake(
        &mut self,
        mut subjects: BTreeSet<Subject>,
        resting: Vec<DueItem>,
        now: Now,
    ) -> Result<(), HandleError> {
        self.forget_read();
        self.wanted_places.clear();
        let soon = now.plus_ms(self.early_ms);
        let mut questions: BTreeMap<SessionKey, Question> = BTreeMap::new();
        let (mut seen, mut unseen) = (Vec::new(), BTreeSet::new());
        for item in resting {
            let Ok(subject) = item.key.parse::<Subject>() else { continue };
            match &subject {
                Subject::Session(key) if item.due.at > soon && !subjects.contains(&subject) => {
                    match self.states.look_in(key, item.due.at) {
                        Some(look) => seen.push((key.clone(), look)),
                        None => drop((unseen.insert(key.clone()), subjects.insert(subject))),
                    }
                }
                Subject::Session(_)
                | Subject::Account(_)
                | Subject::Incident(_)
                | Subject::Register
                | Subject::Place(..) => drop(subjects.insert(subject)),
            }
        }
        self.read_ahead(subjects.iter()).await?;
        let settled =
            |subject: &Subject| place_read(&self.read, subject).is_some_and(|it| !it.is_unsettled(&self.settings));
        let settled: BTreeSet<Subject> = subjects.iter().filter(|subject| settled(subject)).cloned().collect();
        for (key, look) in seen {
            let unsettled = !settled.contains(&Subject::Place(key.account, Arc::clone(&key.region)));
            questions.insert(key, Question::News { look, unsettled });
        }
        let (mut inbox, mut places) = (Inbox::new(), BTreeSet::new());
        for subject in subjects {
            match (&subject, &self.hands) {
                (Subject::Session(key), Some(_)) => {
                    let key = key.clone();
                    match self.question(&subject, unseen.contains(&key), now) {
                        Some(question) => drop(questions.insert(key, question)),
                        None => drop(inbox.insert(subject, vec![News::Wake])),
                    }
                }
                (Subject::Place(account, region), _) => drop(places.insert((*account, Arc::clone(region)))),
                (Subject::Register, _) => drop(inbox.insert(subject, vec![News::Register(RegisterInput::Wake)])),
                (Subject::Session(_) | Subject::Account(_) | Subject::Incident(_), _) => {
                    inbox.insert(subject, vec![News::Wake]);
                }
            }
        }
        let mut alive: BTreeSet<SessionKey> = questions.keys().cloned().collect();
        for Found { key, gathered, look } in self.ask(&questions, now).await {
            if matches!(gathered.life, Life::Ended(_)) || matches!(questions.get(&key), Some(Question::Log(_))) {
                alive.remove(&key);
            }
            self.looks.extend(look.map(|look| (key.clone(), look)));
            let news = News::Session(Input::Gathered(Box::new(gathered)));
            inbox.entry(Subject::Session(key)).or_default().push(news);
        }
        self.handle(inbox, now).await?;
        self.looks.clear();
        // Only now: what was not stored was not looked at.
        let wanted = std::mem::take(&mut self.wanted_places).into_iter().filter(|place| !places.contains(place));
        let wanted: Vec<_> = wanted.map(|place| (place, PlaceInput::Wanted)).collect();
        let looked = places.into_iter().map(|(account, region)| {
            let alive = alive.iter().any(|key| key.account == account && key.region == region);
            ((account, region), PlaceInput::Looked { at: now, alive })
        });
        let news = looked.chain(wanted);
        let inbox = news.map(|((account, region), input)| (Subject::Place(account, region), vec![News::Place(input)]));
        let inbox: Inbox = inbox.collect();
        self.handle(inbox, now).await
    }

    /// Asks the organisation what the policy wants to know.
    async fn ask(&mut self, questions: &BTreeMap<SessionKey, Question>, now: Now) -> Vec<Found> {
        let Some(hands) = &self.hands else {
            return Vec::new();
        };
        let wanted: Vec<EvidenceKind> = self.verdicts.judge().evidence().collect();
        gather(hands, &self.settings, &wanted, &self.posture, questions, now).await
    }

    /// What a due session needs to know; nothing where its time has not come after all. Where its place's has come, that is
    /// the time of a session that lives: the place will count it.
    fn question(&mut self, subject: &Subject, with_place: bool, now: Now) -> Option<Question> {
        let mut rules = Rules { verdicts: &mut self.verdicts, settings: &self.settings };
        let session = session_read(&self.read, subject)?;
        let verdict = session.verdict(&mut rules);
        let (question, until) = match session.phase(&verdict, &self.settings) {
            Phase::Observed | Phase::Live | Phase::Terminating if with_place && !made(Mutation::UnseenNotAsked) => {
                (Question::Life, Now(i64::MAX))
            }
            Phase::Observed | Phase::Live | Phase::Terminating => (Question::Life, now.plus_ms(self.early_ms)),
            Phase::Closed(_) if session.awaits_confirmation(&self.settings) => {
                (Question::LifeAndLog(session.ended_at()), now)
            }
            Phase::AwaitingLog | Phase::Closed(_) => (Question::Log(session.ended_at()), now),
        };
        session.due_at(&verdict, &self.settings).filter(|due| *due <= until).map(|_| question)
    }

    /// The sessions that rest on `thing`: all of them are due now (R-W17).
    pub async fn disturbed_by(&self, thing: &Thing) -> Result<Vec<Subject>, HandleError> {
        let name = thing.to_string();
        let (mut subjects, mut after) = (Vec::new(), None::<Arc<str>>);
        loop {
            let keys = self.store.dependents(&name, after.as_deref(), PAGE).await?;
            subjects.extend(keys.iter().filter_map(|key| key.parse().ok()));
            match keys.last() {
                Some(last) if keys.len() == PAGE => after = Some(last.clone()),
                Some(_) | None => return Ok(subjects),
            }
        }
    }

    /// Adopts sessions that are alive and that no event announced (R-W4), and looks again at those that are alive and
    /// were believed to have ended. Returns how many there were.
    pub async fn reconcile(&mut self, now: Now) -> Result<usize, HandleError> {
        let Some(hands) = &self.hands else {
            return Ok(0);
        };
        let limit = limit_of(&self.settings);
        let (accounts, regions) = match within(limit, hands.places()).await {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(%error, "the organisation's accounts cannot be listed");
                return Ok(0);
            }
        };
        let alive = Survey::new(hands, limit).active(&accounts, &regions).await;
        self.accounts_in_organization = accounts.len();
        self.regions = regions;
        self.forget_read();
        let subjects: Vec<Subject> = alive.iter().map(|(key, _)| Subject::Session(key.clone())).collect();
        self.read_ahead(subjects.iter()).await?;
        let mut inbox = Inbox::new();
        let mut questions = BTreeMap::new();
        for (key, described) in alive {
            // Events take seconds to arrive: a session younger than that is not missed yet.
            if now.0 - described.started_at.0 < self.settings.recheck_ms {
                continue;
            }
            let subject = Subject::Session(key.clone());
            match session_read(&self.read, &subject) {
                Some(session) if session.ended_at().is_some() => {}
                Some(_) => continue,
                None => {
                    let gathered = Gathered::new(now, Life::Alive(described));
                    inbox.insert(subject, vec![News::Session(Input::Gathered(Box::new(gathered)))]);
                }
            }
            questions.insert(key, Question::Life);
        }
        for Found { key, gathered, .. } in self.ask(&questions, now).await {
            let news = News::Session(Input::Gathered(Box::new(gathered)));
            inbox.entry(Subject::Session(key)).or_default().push(news);
        }
        self.handle(inbox, now).await?;
        Ok(questions.len())
    }
}
