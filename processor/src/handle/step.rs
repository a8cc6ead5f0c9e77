//! One step of one subject: from what is stored and the news to what is to be stored and done.

use std::sync::Arc;

use sessionwarden_machine::{
    account::{Account, AccountInput},
    effect::Effect,
    ids::{Now, SessionKey, Subject, Thing},
    incident::{Incident, IncidentInput},
    mutation::{Mutation, made},
    place::{Place, PlaceInput},
    register::RegisterInput,
    session::{Input, Phase, Rules, Session, Verdict},
};
use sessionwarden_store::{Due, Item, Store};

use super::{
    HandleError, Handler, News, State, partition, place_read, resting_in,
    state::{fresh, kept_until, rests},
};
use crate::ports::Hands;

/// What one step of one subject came to.
pub(super) struct Stepped {
    pub(super) before: Option<State>,
    pub(super) state: State,
    /// What the policy says of a session.
    pub(super) verdict: Option<Verdict>,
    pub(super) effects: Vec<Effect>,
    pub(super) item: Item,
    pub(super) changed: bool,
}

/// What follows from a state.
#[derive(Default)]
struct Follows {
    verdict: Option<Verdict>,
    effects: Vec<Effect>,
    due: Option<Now>,
    depends: Vec<Arc<str>>,
    /// Until when it may rest.
    rests_until: Option<Now>,
}

impl<S: Store, H: Hands> Handler<S, H> {
    /// Takes news of one subject in, and says what follows. Nothing is written yet.
    pub(super) async fn step(&mut self, subject: &Subject, news: &[News], now: Now) -> Result<Stepped, HandleError> {
        let key: Arc<str> = subject.to_string().into();
        let known = match self.read.remove(&key) {
            Some(read) => read,
            None => self.store.load(&key).await?.map(|item| self.known(subject, item)).transpose()?,
        };
        let (stored, before) = known.map(|known| (known.item, known.state)).unzip();
        let mut state = before.clone().unwrap_or_else(|| fresh(subject, now));
        let (mut news, mut change) = (news, None);
        if let (State::Session(session), Some(_)) = (&mut state, stored.as_ref().filter(|item| rests(item))) {
            let place = self.place_of(&session.key).await?;
            change = session.changed_in(&place);
            if let Some(at) = place.looked_at.filter(|_| !made(Mutation::ConfirmForgotten)) {
                session.confirm(at);
            }
            let rested_on = |one: &News| changed_by(one).is_some_and(|thing| session.rests_on(thing));
            if self.rests && place.takes(now, &self.settings) && news.iter().all(rested_on) {
                // All that rest there are looked at together.
                for thing in news.iter().filter_map(changed_by).filter(|_| !made(Mutation::PlaceChangeForgotten)) {
                    let place = (session.key.account, Arc::clone(&session.key.region));
                    self.changed_places.insert((place, thing.clone()));
                }
                news = &[];
            }
        }
        let follows = self.follow(&mut state, news, now);
        // Nothing is made of what is kept no more by the passing of time.
        let gone = stored.is_none() && !news.iter().any(tells);
        let mut follows = if gone { Follows { verdict: follows.verdict, ..Follows::default() } } else { follows };
        let mut due = self.due(subject, &follows, now).await?;
        if let (Some(old), Some(before), Some(due)) = (&stored, &before, &due)
            && old.depends == follows.depends
            && self.goes_on_resting(old, due, now)
            && says_no_more(&state, before)
        {
            let (item, state) = (old.clone(), before.clone());
            let Follows { verdict, effects, .. } = follows;
            return Ok(Stepped { before: Some(state.clone()), state, verdict, effects, item, changed: false });
        }
        if let (State::Session(session), Some((at, thing))) = (&mut state, change) {
            // It may be why it is not as it was.
            session.absorb(Input::Changed(thing), at);
            follows = self.follow(&mut state, &[], now);
            due = self.due(subject, &follows, now).await?;
        }
        let Follows { verdict, effects, depends, .. } = follows;
        let changed = match &stored {
            // Not when it expires: that alone is not worth a write.
            Some(old) => before.as_ref() != Some(&state) || old.due != due || old.depends != depends,
            None => !gone && !matches!(state, State::Incident(None)),
        };
        let item = match stored {
            Some(old) if !changed => old,
            stored => {
                let mut item = match &state {
                    State::Session(session) => Item::encode(key, session)?,
                    State::Account(account) => Item::encode(key, account)?,
                    State::Incident(incident) => Item::encode(key, incident)?,
                    State::Register(register) => Item::encode(key, register)?,
                    State::Place(place) => Item::encode(key, place)?,
                };
                item.rev = stored.map_or(0, |old| old.rev);
                (item.due, item.depends) = (due, depends);
                item.expires = matches!(state, State::Session(_)).then(|| kept_until(now));
                item
            }
        };
        Ok(Stepped { before, state, verdict, effects, item, changed })
    }

    /// Takes news into a state, and says what follows.
    fn follow(&mut self, state: &mut State, news: &[News], now: Now) -> Follows {
        match state {
            State::Session(session) => self.step_session(session, news, now),
            State::Account(account) => self.step_account(account, news, now),
            State::Incident(incident) => {
                let inputs = news.iter().filter_map(incident_input);
                let effects = Incident::step_all(incident, inputs, now, &self.settings);
                let due = incident.as_ref().and_then(|incident| incident.due_at(now, &self.settings));
                Follows { effects, due, ..Follows::default() }
            }
            State::Register(register) => {
                let inputs = news.iter().filter_map(register_input);
                let effects = register.step_all(inputs, now, &self.settings, self.accounts_in_organization);
                Follows { effects, due: register.due_at(now, &self.settings), ..Follows::default() }
            }
            State::Place(place) => {
                for input in news.iter().filter_map(place_input) {
                    place.absorb(input, now);
                }
                Follows { due: place.due_at(&self.settings), ..Follows::default() }
            }
        }
    }

    /// When, and in whose round, a subject is looked at again.
    async fn due(&mut self, subject: &Subject, follows: &Follows, now: Now) -> Result<Option<Due>, HandleError> {
        // What is not yet done is due: whoever finds it after a crash does it.
        let undone = follows
            .effects
            .iter()
            .filter(|_| !made(Mutation::ForgottenOutbox))
            .map(|effect| self.outlets.rests_until(effect.id(), now).unwrap_or(now))
            .min();
        if let (Subject::Session(key), Some(until), true) = (subject, follows.rests_until, self.rests)
            && follows.effects.is_empty()
        {
            if self.place_of(key).await?.takes(now, &self.settings) {
                return Ok(Some(Due { partition: resting_in(key.account, &key.region), at: until }));
            }
            self.wanted_places.insert((key.account, Arc::clone(&key.region)));
        }
        let at = follows.due.into_iter().chain(undone).min();
        Ok(at.map(|at| Due { partition: partition(subject), at }))
    }

    /// What is known of the looks at a session's account and region.
    async fn place_of(&mut self, key: &SessionKey) -> Result<Place, HandleError> {
        let subject = Subject::Place(key.account, Arc::clone(&key.region));
        self.read_ahead(std::iter::once(&subject)).await?;
        Ok(place_read(&self.read, &subject).cloned().unwrap_or_default())
    }

    /// Whether an item rests, would rest again as this due time says, and need not be written for that yet.
    fn goes_on_resting(&self, old: &Item, due: &Due, now: Now) -> bool {
        let written = |old: &Due| old.partition == due.partition && old.at > now.plus_ms(self.early_ms);
        rests(old) && old.due.as_ref().is_some_and(written)
    }

    fn step_session(&mut self, session: &mut Session, news: &[News], now: Now) -> Follows {
        for one in news {
            match one {
                News::Session(input) => session.absorb(input.clone(), now),
                News::Done(effects) => session.absorb(Input::Done(effects.clone()), now),
                News::Wake | News::Account(_) | News::Incident(_) | News::Register(_) | News::Place(_) => {}
            }
        }
        let mut rules = Rules { verdicts: &mut self.verdicts, settings: &self.settings };
        let verdict = session.judge(&mut rules);
        let effects = session.wanted(&verdict, now, &self.settings);
        let due = session.due_at(&verdict, &self.settings);
        let closed = matches!(session.phase(&verdict, &self.settings), Phase::Closed(_));
        let depends = session.seen.iter().filter(|_| !closed).flat_map(|seen| &seen.depends);
        let depends = depends.map(|thing| Arc::from(thing.to_string())).collect();
        let rests_until = session.rests_until(&verdict, &self.settings);
        Follows { verdict: Some(verdict), effects, due, depends, rests_until }
    }

    fn step_account(&mut self, account: &mut Account, news: &[News], now: Now) -> Follows {
        let inputs = news.iter().filter_map(|one| match one {
            News::Account(input) => Some(input.clone()),
            News::Done(effects) => Some(AccountInput::Done(effects.clone())),
            News::Wake | News::Session(_) | News::Incident(_) | News::Register(_) | News::Place(_) => None,
        });
        let effects = account.step_all(inputs, now, &self.settings);
        Follows { effects, due: account.due_at(now, &self.settings), ..Follows::default() }
    }
}

/// Whether a session is as it was stored, and only known to be so for longer.
fn says_no_more(state: &State, before: &State) -> bool {
    matches!((state, before), (State::Session(state), State::Session(before)) if state.is_as(before))
}

/// What it rests on that changed.
fn changed_by(news: &News) -> Option<&Thing> {
    match news {
        News::Session(Input::Changed(thing)) => Some(thing),
        News::Session(Input::Event(_) | Input::Gathered(_) | Input::Tried { .. } | Input::Done(_) | Input::Wake)
        | News::Account(_)
        | News::Incident(_)
        | News::Register(_)
        | News::Place(_)
        | News::Done(_)
        | News::Wake => None,
    }
}

/// Whether this news alone makes a subject known.
fn tells(news: &News) -> bool {
    match news {
        News::Session(input) => matches!(input, Input::Event(_) | Input::Gathered(_)),
        News::Account(_) | News::Incident(_) | News::Register(_) | News::Place(_) => true,
        News::Done(_) | News::Wake => false,
    }
}

fn incident_input(news: &News) -> Option<IncidentInput> {
    match news {
        News::Incident(input) => Some(input.clone()),
        News::Done(effects) => Some(IncidentInput::Done(effects.clone())),
        News::Wake => Some(IncidentInput::Wake),
        News::Session(_) | News::Account(_) | News::Register(_) | News::Place(_) => None,
    }
}

fn register_input(news: &News) -> Option<RegisterInput> {
    match news {
        News::Register(input) => Some(input.clone()),
        News::Done(effects) => Some(RegisterInput::Done(effects.clone())),
        News::Wake | News::Session(_) | News::Account(_) | News::Incident(_) | News::Place(_) => None,
    }
}

fn place_input(news: &News) -> Option<PlaceInput> {
    match news {
        News::Place(input) => Some(input.clone()),
        News::Done(_) | News::Wake | News::Session(_) | News::Account(_) | News::Incident(_) | News::Register(_) => {
            None
        }
    }
}
