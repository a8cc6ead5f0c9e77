use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use sessionwarden_machine::ids::Now;

use crate::{DueItem, Item, Saved, Store, StoreError, Write};

/// A method of [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// [`Store::load`].
    Load,
    /// [`Store::save`].
    Save,
    /// [`Store::due`].
    Due,
    /// [`Store::dependents`].
    Dependents,
    /// [`Store::expired`].
    Expired,
    /// [`Store::collect`].
    Collect,
    /// [`Store::keys`].
    Keys,
    /// [`Store::checkpoint`].
    Checkpoint,
    /// [`Store::set_checkpoint`].
    SetCheckpoint,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the call goes through.
    Pass,
    /// An error, and nothing was done.
    ErrorBefore,
    /// An error, although it was done: the answer was lost.
    ErrorAfter,
    /// Of a save: every write loses its race, nothing is written.
    ConflictBefore,
    /// Of a save: every write is done and answered as lost, as when a retried request meets its own first attempt.
    ConflictAfter,
}

/// Any store, with faults injected by a script.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    faults_by_op: Arc<Mutex<BTreeMap<Op, VecDeque<Fault>>>>,
}

impl<S: Store> Faulty<S> {
    /// `inner` without any fault yet.
    pub fn new(inner: S) -> Self {
        Self { inner, faults_by_op: Arc::default() }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Appends to the script of one method: each of its next calls takes one fault; later calls go through.
    ///
    /// # Panics
    /// For a conflict of anything but a save.
    pub fn script(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        let faults: Vec<Fault> = faults.into_iter().collect();
        let conflicts = faults.iter().any(|fault| matches!(fault, Fault::ConflictBefore | Fault::ConflictAfter));
        assert!(op == Op::Save || !conflicts, "only a save can lose a race, not {op:?}");
        self.faults_by_op.lock().unwrap_or_else(PoisonError::into_inner).entry(op).or_default().extend(faults);
    }

    fn next(&self, op: Op) -> Fault {
        let mut faults = self.faults_by_op.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get_mut(&op).and_then(VecDeque::pop_front).unwrap_or(Fault::Pass)
    }

    async fn call<T>(&self, op: Op, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.next(op) {
            Fault::ErrorBefore => Err(injected(op)),
            Fault::ErrorAfter => call.await.and_then(|_| Err(injected(op))),
            Fault::Pass | Fault::ConflictBefore | Fault::ConflictAfter => call.await,
        }
    }
}

fn injected(op: Op) -> StoreError {
    StoreError::Unavailable { why: format!("injected fault in {op:?}") }
}

impl<S: Store> Store for Faulty<S> {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.call(Op::Load, self.inner.load(key)).await
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        let count = writes.len();
        match self.next(Op::Save) {
            Fault::Pass => self.inner.save(writes).await,
            Fault::ErrorBefore => Err(injected(Op::Save)),
            Fault::ErrorAfter => self.inner.save(writes).await.and_then(|_| Err(injected(Op::Save))),
            Fault::ConflictBefore => Ok(vec![Saved::Conflict; count]),
            Fault::ConflictAfter => self.inner.save(writes).await.map(|_| vec![Saved::Conflict; count]),
        }
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.call(Op::Due, self.inner.due(until, limit)).await
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.call(Op::Dependents, self.inner.dependents(thing, after, limit)).await
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.call(Op::Expired, self.inner.expired(now, limit)).await
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.call(Op::Collect, self.inner.collect(now, limit)).await
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.call(Op::Keys, self.inner.keys(prefix, after, limit)).await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(Op::Checkpoint, self.inner.checkpoint(name)).await
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.call(Op::SetCheckpoint, self.inner.set_checkpoint(name, value)).await
    }
}
