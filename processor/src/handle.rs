//! The heart of the service: load, step, save, execute; results come back as inputs.

mod perform;
mod show;
mod state;
mod states;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use sessionwarden_machine::{
    account::AccountInput,
    compliance::Verdicts,
    effect::Effect,
    ids::{AccountId, EffectId, Now, SessionKey, Subject, Thing},
    incident::IncidentInput,
    mutation::{Mutation, made},
    place::{Place, PlaceInput},
    recheck::Schedule,
    register::RegisterInput,
    session::{Input, Session},
    settings::Settings,
};
use sessionwarden_store::{Item, ItemError, Saved, Store, StoreError, Write};
use tokio::time::Instant;
use tracing::Instrument;

pub(crate) use state::{ORGANIZATION, partition, resting_in};
pub use state::{State, read};
pub use states::SharedStates;

use crate::{
    effects::{Reports, SharedMemory, WriteError},
    metrics::Metrics,
    outbound::Outlets,
    ports::Hands,
    run::SharedBoard,
};

/// How often a lost race is tried again before it counts as a failure.
const RACES_MAX: usize = 16;
/// How many times results may cause further effects before the rest waits for its next due time.
const ROUNDS_MAX: usize = 16;
/// How many items are read side by side.
const READS_AT_ONCE_MAX: usize = 32;

/// Why the service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An item cannot be written or read.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The feed or the audit trail cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A race was lost again and again.
    #[error("{0}: lost the race to write it {RACES_MAX} times; is another process writing?")]
    Race(Subject),
}

/// Something new about a subject.
#[derive(Clone, Debug)]
pub enum News {
    /// About a session.
    Session(Input),
    /// About an account.
    Account(AccountInput),
    /// About the register of locks.
    Register(RegisterInput),
    /// About an incident.
    Incident(IncidentInput),
    /// About the looks at an account and region.
    Place(PlaceInput),
    /// Effects that are durable now.
    Done(Vec<EffectId>),
    /// Time has passed.
    Wake,
}

/// News by subject, in the order in which they came.
pub type Inbox = BTreeMap<Subject, Vec<News>>;

/// An item with the state that it holds.
#[derive(Debug)]
pub(crate) struct Known {
    item: Item,
    state: State,
}

/// When effects that call somebody are performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// With the step that asks for them.
    Now,
    /// By whoever looks at the subject next: it is stored as due at once. So a shard never waits for an account (I13).
    Later,
    /// Terminations now, all else by whoever looks at the subject next.
    Terminations,
}

/// The service's hands and memory. One task owns it.
pub struct Handler<S, H> {
    pub(crate) store: S,
    pub(crate) hands: Option<H>,
    pub(crate) settings: Settings,
    pub(crate) verdicts: Verdicts,
    /// Parsed policies, and checks that were made of them.
    pub(crate) posture: SharedMemory,
    pub(crate) reports: Reports,
    pub(crate) metrics: Metrics,
    pub(crate) board: SharedBoard,
    pub(crate) schedule: Schedule<Subject>,
    /// Who else learns of effects.
    pub(crate) outlets: Outlets,
    /// When effects that call somebody are performed.
    pub(crate) calls: Calls,
    /// Whether it performs what changes the organisation: one writer does.
    pub(crate) organizes: bool,
    pub(crate) accounts_in_organization: usize,
    /// The regions in which sessions can run, as the organisation last said.
    pub(crate) regions: Vec<Arc<str>>,
    /// What was read or written last, until what is being handled is over: a lost race drops its item.
    pub(crate) read: Read,
    /// When what is being handled began to be read.
    read_at: Instant,
    /// States that need not be decoded again.
    pub(crate) states: SharedStates,
    /// Live sessions due within this time are looked at with those that are due now, in milliseconds.
    pub(crate) early_ms: i64,
    /// Sessions may rest: there is somebody who looks at them with their place.
    pub(crate) rests: bool,
    /// The looks that are being handled, by their numbers.
    pub(crate) looks: BTreeMap<SessionKey, u64>,
    /// Places in which sessions could rest, and that nobody looks at yet.
    pub(crate) wanted_places: BTreeSet<(AccountId, Arc<str>)>,
    /// Places in which sessions rest that rest on something that changed.
    pub(crate) changed_places: BTreeSet<((AccountId, Arc<str>), Thing)>,
    /// When to look again at what is being handled; timers are set when that is over.
    dues: BTreeMap<Subject, Option<Now>>,
    /// Controls that were said not to be evaluated.
    not_evaluated: BTreeSet<Arc<str>>,
    /// How often verdicts came from memory and from the policy, as last told to the metrics.
    judged: (u64, u64),
}

impl<S: Store, H: Hands> Handler<S, H> {
    /// A handler over `store`; without `hands` remedies are planned, not called.
    pub fn new(
        store: S,
        hands: Option<H>,
        mut settings: Settings,
        verdicts: Verdicts,
        reports: Reports,
        metrics: Metrics,
        board: SharedBoard,
    ) -> Self {
        settings.organization = hands.is_some();
        Self {
            store,
            hands,
            settings,
            verdicts,
            posture: SharedMemory::default(),
            reports,
            metrics,
            board,
            schedule: Schedule::default(),
            outlets: Outlets::default(),
            calls: Calls::Now,
            organizes: true,
            accounts_in_organization: 0,
            regions: Vec::new(),
            read: BTreeMap::new(),
            read_at: Instant::now(),
            states: SharedStates::default(),
            early_ms: 0,
            rests: false,
            looks: BTreeMap::new(),
            wanted_places: BTreeSet::new(),
            changed_places: BTreeSet::new(),
            dues: BTreeMap::new(),
            not_evaluated: BTreeSet::new(),
            judged: (0, 0),
        }
    }

    /// Takes news in, and does everything that follows from them. On return all of it is durable.
    pub async fn handle(&mut self, inbox: Inbox, now: Now) -> Result<(), HandleError> {
        if inbox.is_empty() {
            return Ok(());
        }
        if self.read.is_empty() {
            self.read_at = Instant::now();
        }
        let span = tracing::info_span!("handle", subjects = inbox.len());
        // On the heap: whoever waits for this waits for a large future.
        let handled = Box::pin(self.handle_all(inbox, now)).instrument(span).await;
        self.forget_read();
        handled
    }

    async fn handle_all(&mut self, mut inbox: Inbox, now: Now) -> Result<(), HandleError> {
        self.changed_places.clear();
        for _ in 0..ROUNDS_MAX {
            if inbox.is_empty() {
                break;
            }
            let wanted = self.step_all(inbox, now).await?;
            inbox = self.execute(wanted, now).await?;
            for ((account, region), thing) in std::mem::take(&mut self.changed_places) {
                let news = News::Place(PlaceInput::Changed(thing));
                inbox.entry(Subject::Place(account, region)).or_default().push(news);
            }
        }
        // What this still asks for is due at once, and done by the next look.
        if !inbox.is_empty() {
            self.step_all(inbox, now).await?;
        }
        for (subject, due) in std::mem::take(&mut self.dues) {
            if let Some(at) = due {
                self.schedule.set(at, subject);
            }
        }
        let (hits, misses) = self.verdicts.asked();
        self.metrics.judged(hits - self.judged.0, misses - self.judged.1);
        self.judged = (hits, misses);
        Ok(())
    }

    /// Loads, steps and saves every subject; subjects whose race was lost are read again and stepped again.
    async fn step_all(&mut self, mut inbox: Inbox, now: Now) -> Result<Vec<(Subject, Vec<Effect>)>, HandleError> {
        let mut wanted = Vec::new();
        for _ in 0..RACES_MAX {
            self.read_ahead(inbox.keys()).await?;
            let (mut writes, mut stepped) = (Vec::new(), Vec::new());
            for (subject, news) in &inbox {
                let step = self.step(subject, news, now).await?;
                if step.changed {
                    writes.push(Write { expected: step.item.rev, item: step.item.clone() });
                }
                stepped.push((subject.clone(), step));
            }
            let mut saved = if writes.is_empty() {
                Vec::new()
            } else {
                let span = tracing::info_span!("save", writes = writes.len());
                self.store.save(writes).instrument(span).await?
            }
            .into_iter();
            let mut lost = Vec::new();
            for (subject, step) in stepped {
                let mut saved_as = None;
                match step.changed.then(|| saved.next()).flatten() {
                    Some(Saved::Conflict) if made(Mutation::LostRaceForgotten) => continue,
                    Some(Saved::Conflict) => {
                        lost.push(subject);
                        continue;
                    }
                    Some(Saved::Saved { rev }) => saved_as = Some(rev),
                    None => {}
                }
                // What is kept no more, and stays so, is not shown.
                if step.changed || step.before.is_some() {
                    self.settle(&subject, &step, now);
                }
                // What was not changed is as it was read; what never was stored still is not.
                let stored = step.before.is_some().then_some(step.item.rev);
                if let Some(rev) = saved_as.or(stored) {
                    let item = Item { rev, ..step.item };
                    self.read.insert(Arc::clone(&item.key), Some(Known { item, state: step.state }));
                }
                wanted.push((subject, step.effects));
            }
            if lost.is_empty() {
                return Ok(wanted);
            }
            self.metrics.store_conflicts(lost.len() as u64);
            inbox.retain(|subject, _| lost.contains(subject));
        }
        Err(HandleError::Race(inbox.into_keys().next().unwrap_or_else(|| Subject::Incident("".into()))))
    }

    /// A subject's state as it is stored.
    pub async fn load(&self, subject: &Subject) -> Result<Option<State>, HandleError> {
        let key = subject.to_string();
        Ok(match self.read.get(&*key) {
            Some(read) => read.as_ref().map(|known| known.state.clone()),
            None => self.store.load(&key).await?.map(|item| read(subject, &item)).transpose()?,
        })
    }

    /// Reads side by side what is about to be stepped.
    pub(crate) async fn read_ahead(&mut self, subjects: impl Iterator<Item = &Subject>) -> Result<(), HandleError> {
        let keys = subjects.map(|subject| (Arc::<str>::from(subject.to_string()), subject));
        let (missing, subjects): (Vec<Arc<str>>, Vec<&Subject>) =
            keys.filter(|(key, _)| !self.read.contains_key(key)).unzip();
        let store = &self.store;
        let items = stream::iter(missing).map(async |key| Ok((Arc::clone(&key), store.load(&key).await?)));
        let items: Vec<_> =
            items.buffered(READS_AT_ONCE_MAX).try_collect::<Vec<_>>().await.map_err(HandleError::Store)?;
        let known = |((key, item), subject): ((Arc<str>, Option<Item>), &Subject)| {
            Ok((key, item.map(|item| self.known(subject, item)).transpose()?))
        };
        let read = items.into_iter().zip(subjects).map(known).collect::<Result<Vec<_>, HandleError>>()?;
        self.read.extend(read);
        Ok(())
    }

    /// An item that was just read, with its state.
    fn known(&self, subject: &Subject, item: Item) -> Result<Known, HandleError> {
        let state = match self.states.take(&item) {
            Some(state) => {
                debug_assert!(
                    read(subject, &item).is_ok_and(|read| read == state),
                    "{} is not what was written",
                    item.key
                );
                state
            }
            None => read(subject, &item)?,
        };
        Ok(Known { item, state })
    }

    /// Forgets what was read: the next look reads anew.
    pub(crate) fn forget_read(&mut self) {
        self.states.keep(std::mem::take(&mut self.read).into_values().flatten());
        self.read_at = Instant::now();
    }
}

/// What was read or written last, by key; `None` for what the store does not hold.
pub(crate) type Read = BTreeMap<Arc<str>, Option<Known>>;

/// A session among what was read.
pub(crate) fn session_read<'a>(read: &'a Read, subject: &Subject) -> Option<&'a Session> {
    match &read.get(&*subject.to_string())?.as_ref()?.state {
        State::Session(session) => Some(session),
        State::Account(_) | State::Incident(_) | State::Register(_) | State::Place(_) => None,
    }
}

/// A place among what was read.
pub(crate) fn place_read<'a>(read: &'a Read, subject: &Subject) -> Option<&'a Place> {
    match &read.get(&*subject.to_string())?.as_ref()?.state {
        State::Place(place) => Some(place),
        State::Session(_) | State::Account(_) | State::Incident(_) | State::Register(_) => None,
    }
}
