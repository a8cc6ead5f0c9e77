//! Looks at what is due: each account and region by itself, many side by side, one look at a time in each.
//!
//! A session that is to be ended at once does not wait for the look at its account that may be under way: each account and
//! region has a lane beside, in which sessions are ended and nothing else is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sessionwarden_machine::{
    ids::{Now, Subject},
    mutation::{Mutation, made},
    register::register_works,
};
use sessionwarden_store::DueItem;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Crew, SharedStore};
use crate::{
    handle::{Calls, HandleError, Handler, News, ORGANIZATION, partition, resting_in},
    host,
    outbound::{Lane, Planned, Trace, Wake, WakeUps, follow},
    ports::Hands,
    run::now,
};

/// How many accounts and regions are looked at side by side on the service's own account.
const LANES_AT_ONCE_MAX: usize = 64;
/// How many subjects may wait for a look; those beyond it stay due in the store, where the sweep finds them.
const WAITING_MAX: usize = 100_000;
/// How many sessions one look takes at the most.
const DUE_MAX: usize = 20_000;
/// What is due within this time is looked at now: a queue's delays are whole seconds.
const SOON_MS: i64 = 250;

/// What the names of lanes end with in which sessions are ended and nothing else is done.
const ENDING: &str = "!";

type Partition = Arc<str>;
type OfCrew<S, H> = Handler<S, Arc<H>>;

/// Everything that is looked at because it is due, and everything that calls an account.
pub struct Rechecks<S, H, Q> {
    crew: Arc<Crew<S, H>>,
    queue: Q,
    planned: Mutex<Planned>,
    waiting: Mutex<Waiting>,
    woken: Notify,
    /// Something of the organisation is due.
    pub(super) organization: Notify,
    idle: Mutex<Vec<OfCrew<S, H>>>,
    locks: Mutex<BTreeMap<Partition, Arc<tokio::sync::Mutex<()>>>>,
}

/// What waits for a look at its partition.
struct Batch {
    subjects: BTreeSet<Subject>,
    trace: Trace,
    /// Not before the last of them is due: whoever looks a moment too early looks again and again until then.
    at: Now,
}

#[derive(Default)]
struct Waiting {
    batches: BTreeMap<Partition, Batch>,
    running: BTreeSet<Partition>,
    len: usize,
}

impl Waiting {
    /// Adds a subject that is due then; the trace of the first one that waits for a look goes on in it.
    fn add(&mut self, partition: Partition, subject: Subject, at: Now, trace: &Trace) -> bool {
        let room = self.len < WAITING_MAX;
        if room {
            let fresh = || Batch { subjects: BTreeSet::new(), trace: trace.clone(), at };
            let batch = self.batches.entry(partition).or_insert_with(fresh);
            batch.at = batch.at.max(at);
            self.len += usize::from(batch.subjects.insert(subject));
        }
        room
    }

    /// A partition that nobody is at.
    fn take(&mut self) -> Option<(Partition, Batch)> {
        let free = self.batches.keys().find(|partition| !self.running.contains(*partition))?.clone();
        let batch = self.batches.remove(&free)?;
        self.len -= batch.subjects.len();
        self.running.insert(Arc::clone(&free));
        Some((free, batch))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static> Rechecks<S, H, Q> {
    /// Sends wake-ups into `queue`, at most one for each account and region within `grain_ms`.
    pub fn new(crew: Arc<Crew<S, H>>, queue: Q, grain_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            crew,
            queue,
            planned: Mutex::new(Planned::new(grain_ms)),
            waiting: Mutex::default(),
            woken: Notify::new(),
            organization: Notify::new(),
            idle: Mutex::default(),
            locks: Mutex::default(),
        })
    }

    pub(super) fn queue(&self) -> &Q {
        &self.queue
    }

    pub(super) fn crew(&self) -> &Arc<Crew<S, H>> {
        &self.crew
    }

    /// Sees to what a handler has left for later: what is due is looked at soon, for the rest wake-ups are sent. Where the
    /// handler has `heard` of sessions, those that are due may have to be ended.
    pub(super) async fn follow(&self, handler: &mut OfCrew<S, H>, heard: bool, now: Now) {
        let (mut later, mut due) = (Vec::new(), Vec::new());
        let organized = handler.organizes && handler.calls == Calls::Now && !made(Mutation::WaitingAlwaysDue);
        for (at, subject) in handler.schedule.drain() {
            if *partition(&subject) == *ORGANIZATION {
                // Whoever looks after the organisation finds it; if that is this worker, at once. What a look at it leaves
                // behind has its turn at the next tick: nothing is looked at without a pause.
                if at <= now.plus_ms(SOON_MS) && !organized {
                    self.organization.notify_one();
                }
            } else if at <= now.plus_ms(SOON_MS) {
                due.push((subject, at));
            } else if let Some(lane) = lane_of(&subject) {
                later.push((lane, at));
            }
        }
        if heard {
            let (sessions, others): (Vec<_>, Vec<_>) =
                due.into_iter().partition(|(subject, _)| matches!(subject, Subject::Session(_)));
            // Nobody who is to be ended waits for a neighbour.
            self.put(sessions.into_iter().map(|(subject, _)| (subject, now)), ENDING);
            self.put(others, "");
        } else {
            self.put(due, "");
        }
        self.send(later, now).await;
    }

    /// Has subjects looked at soon.
    pub(super) fn look_at(&self, subjects: impl IntoIterator<Item = Subject>) {
        let now = now();
        self.put(subjects.into_iter().map(|subject| (subject, now)), "");
    }

    fn put(&self, subjects: impl IntoIterator<Item = (Subject, Now)>, lane: &str) {
        let (trace, mut any) = (Trace::current(), false);
        let mut waiting = lock(&self.waiting);
        for (subject, at) in subjects {
            any = true;
            let partition = partition(&subject);
            let partition = if lane.is_empty() { partition } else { format!("{partition}{lane}").into() };
            if !waiting.add(partition, subject, at, &trace) {
                tracing::warn!(max = WAITING_MAX, "too much is due at once; the sweep will find the rest");
                break;
            }
        }
        drop(waiting);
        if any {
            self.woken.notify_one();
        }
    }

    async fn send(&self, later: Vec<(Lane, Now)>, now: Now) {
        let wakes = lock(&self.planned).plan(later, now);
        if wakes.is_empty() {
            return;
        }
        let trace = Trace::current();
        let wakes: Vec<(Wake, Trace)> = wakes.into_iter().map(|wake| (wake, trace.clone())).collect();
        for (wake, error) in self.queue.send(&wakes, now).await {
            tracing::warn!(account = %wake.account, region = %wake.region, %error, "a wake-up cannot be sent");
            lock(&self.planned).lost(&wake);
        }
    }

    /// Looks at what is due in the account and region of a wake-up. All of it is durable on return (I2).
    pub(super) async fn woken(self: &Arc<Self>, wake: Wake) -> Result<(), HandleError> {
        let partition: Partition = format!("{}#{}", wake.account, wake.region).into();
        loop {
            let until = now().plus_ms(self.crew.settings.recheck_ms / 3);
            let due = self.crew.store.due_in(&partition, until, DUE_MAX).await?;
            let subjects: BTreeSet<Subject> = due.iter().filter_map(|item| item.key.parse().ok()).collect();
            if subjects.is_empty() {
                return Ok(());
            }
            self.round(&partition, subjects).await?;
            if due.len() < DUE_MAX {
                return Ok(());
            }
        }
    }

    /// Works until `stop`, and then for at most `drain_max` on what is waiting.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken, drain_max: Duration) {
        let mut tasks: JoinSet<Partition> = JoinSet::new();
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(drain_max).await;
        };
        tokio::pin!(too_late);
        loop {
            while tasks.len() < LANES_AT_ONCE_MAX {
                let Some((partition, Batch { subjects, trace, at })) = lock(&self.waiting).take() else { break };
                let this = Arc::clone(&self);
                tasks.spawn(host::task(async move {
                    let span = tracing::info_span!("due", partition = &*partition);
                    follow(&span, &trace);
                    let early_ms = (at.0 - now().0).clamp(0, SOON_MS);
                    if early_ms > 0 {
                        tokio::time::sleep(Duration::from_millis(early_ms.unsigned_abs())).await;
                    }
                    if let Err(error) = this.round(&partition, subjects).instrument(span).await {
                        tracing::error!(%partition, %error, "what is due could not be looked at; the sweep will find it");
                    }
                    partition
                }));
            }
            if tasks.is_empty() && stop.is_cancelled() {
                return;
            }
            let stopping =
                async { if stop.is_cancelled() { std::future::pending().await } else { stop.cancelled().await } };
            tokio::select! {
                biased;
                () = &mut too_late => return,
                () = stopping => {}
                Some(ended) = tasks.join_next() => match ended {
                    Ok(partition) => drop(lock(&self.waiting).running.remove(&partition)),
                    // Which one it was is not told: none is kept from being looked at.
                    Err(error) => {
                        tracing::error!(%error, "a look failed");
                        lock(&self.waiting).running.clear();
                    }
                },
                () = self.woken.notified() => {}
            }
        }
    }

    /// Looks at what is due of the organisation. `first` is for the beginning: the register is made where there is none.
    pub(super) async fn organize(&self, first: bool) -> Result<(), HandleError> {
        let partition: Partition = ORGANIZATION.into();
        let due = self.crew.store.due_in(&partition, now(), DUE_MAX).await?;
        let mut subjects: BTreeSet<Subject> = due.iter().filter_map(|item| item.key.parse().ok()).collect();
        if first && register_works(&self.crew.settings) {
            subjects.insert(Subject::Register);
        }
        if subjects.is_empty() { Ok(()) } else { self.round(&partition, subjects).await }
    }

    /// The sessions that rest in the places among these subjects.
    async fn resting(&self, subjects: &BTreeSet<Subject>) -> Result<Vec<DueItem>, HandleError> {
        let mut resting = Vec::new();
        for subject in subjects {
            if let Subject::Place(account, region) = subject {
                let partition = resting_in(*account, region);
                // All of them: the place counts as looked at.
                resting.extend(self.crew.store.due_in(&partition, Now(i64::MAX), usize::MAX).await?);
            }
        }
        Ok(resting)
    }

    /// One look at some subjects of one partition.
    async fn round(&self, partition: &Partition, subjects: BTreeSet<Subject>) -> Result<(), HandleError> {
        let alone = Arc::clone(lock(&self.locks).entry(Arc::clone(partition)).or_default());
        let held = alone.lock().await;
        let idle = lock(&self.idle).pop();
        let mut handler = idle.unwrap_or_else(|| self.crew.handler(None, Calls::Now));
        handler.organizes = **partition == *ORGANIZATION;
        let ends = partition.ends_with(ENDING);
        handler.calls = if ends { Calls::Terminations } else { Calls::Now };
        (handler.regions, handler.accounts_in_organization) = (self.crew.regions.get(), self.crew.regions.accounts());
        let span = tracing::info_span!("look", partition = &**partition, subjects = subjects.len());
        let looked = async {
            // On the heap, as all that gathers and calls is in it.
            if ends {
                let inbox = subjects.iter().map(|subject| (subject.clone(), vec![News::Wake])).collect();
                Box::pin(handler.handle(inbox, now())).await?;
                // Whatever else there is to do with them has its turn.
                self.look_at(subjects);
            } else {
                let resting = self.resting(&subjects).await?;
                Box::pin(handler.wake(subjects, resting, now())).await?;
            }
            self.follow(&mut handler, false, now()).await;
            Ok(())
        };
        let looked = looked.instrument(span).await;
        if looked.is_ok() {
            lock(&self.idle).push(handler);
        }
        drop(held);
        let mut locks = lock(&self.locks);
        // This one, and the one in the map.
        if Arc::strong_count(&alone) == 2 {
            locks.remove(partition);
        }
        looked
    }
}

/// Where a subject's wake-up goes. An incident has none, and is looked at by the sweep; nor has what changes the
/// organisation, which one worker looks after.
fn lane_of(subject: &Subject) -> Option<Lane> {
    match subject {
        Subject::Session(key) => Some((key.account, Arc::clone(&key.region))),
        Subject::Place(account, region) => Some((*account, Arc::clone(region))),
        Subject::Account(_) | Subject::Register | Subject::Incident(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_waits_until_all_in_it_are_due() {
        let mut waiting = Waiting::default();
        let (one, other): (Partition, Partition) = ("one".into(), "other".into());
        let subject = |id: &str| Subject::Incident(id.into());
        for (partition, id, at) in [(&one, "a", 5), (&one, "b", 9), (&one, "c", 7), (&other, "d", 1)] {
            assert!(waiting.add(Arc::clone(partition), subject(id), Now(at), &Trace::default()));
        }
        let (partition, first) = waiting.take().unwrap();
        assert_eq!((&partition, first.at, first.subjects.len()), (&one, Now(9), 3));
        // Who comes meanwhile is a batch of its own, which waits for its turn.
        assert!(waiting.add(Arc::clone(&one), subject("e"), Now(3), &Trace::default()));
        let (partition, second) = waiting.take().unwrap();
        assert_eq!((&partition, second.at), (&other, Now(1)));
        assert!(waiting.take().is_none());
        waiting.running.remove(&one);
        assert_eq!(waiting.take().map(|(_, batch)| batch.at), Some(Now(3)));
        assert_eq!(waiting.len, 0);
    }
}
