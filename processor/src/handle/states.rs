//! What a process remembers of stored items: states as they were last read or written, so that a session that is looked at
//! again is not decoded again, and what those that rest are known to rest on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::FixedState;
use sessionwarden_machine::{
    ids::{Now, SessionKey},
    posture::Memory,
};
use sessionwarden_store::Item;

use super::{Known, State};

/// Shared by the handlers of a process. It never replaces a read: what is kept is given only for an item that says the
/// same to the byte. At most [`SharedStates::MAX`] are kept, then all are forgotten.
#[derive(Clone, Debug, Default)]
pub struct SharedStates {
    known: Arc<Mutex<HashMap<Arc<str>, Known, FixedState>>>,
    resting: Arc<Mutex<HashMap<SessionKey, Resting, FixedState>>>,
}

/// A session that rests: the time in its item, which changes with each write, and the number of the look that is in it.
pub(super) type Resting = (Now, u64);

impl SharedStates {
    /// How many states are kept.
    pub const MAX: usize = 8_192;

    /// The state in an item that was just read, if it is kept; it is not any more.
    pub(super) fn take(&self, item: &Item) -> Option<State> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&item.key)?;
        let same = known.item.schema == item.schema && known.item.body == item.body;
        same.then_some(known.state)
    }

    /// Keeps what somebody will look at again.
    pub(super) fn keep(&self, all: impl Iterator<Item = Known>) {
        let mut states = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for known in all.filter(|known| known.item.due.is_some()) {
            if states.len() >= Self::MAX {
                states.clear();
            }
            states.insert(Arc::clone(&known.item.key), known);
        }
    }

    /// The number of the look that is in the item of a session that rests, if this is the item's time.
    pub(crate) fn look_in(&self, key: &SessionKey, due_at: Now) -> Option<u64> {
        let all = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|(at, _)| *at == due_at).map(|(_, look)| *look)
    }

    /// Remembers what a session that rests is stored with.
    pub(super) fn rests(&self, key: &SessionKey, resting: Resting) {
        let mut all = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as looks are remembered.
        if all.len() >= Memory::MAX {
            all.clear();
        }
        all.insert(key.clone(), resting);
    }
}
