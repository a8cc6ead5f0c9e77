//! States as they were last read or written, so that a session that is looked at again is not decoded again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::FixedState;
use sessionwarden_store::Item;

use super::{Known, State};

/// Shared by the handlers of a process. It never replaces a read: what is kept is given only for an item that says the
/// same to the byte. At most [`SharedStates::MAX`] are kept, then all are forgotten.
#[derive(Clone, Debug, Default)]
pub struct SharedStates(Arc<Mutex<HashMap<Arc<str>, Known, FixedState>>>);

impl SharedStates {
    /// How many states are kept.
    pub const MAX: usize = 8_192;

    /// The state in an item that was just read, if it is kept; it is not any more.
    pub(super) fn take(&self, item: &Item) -> Option<State> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&item.key)?;
        let same = known.item.schema == item.schema && known.item.body == item.body;
        same.then_some(known.state)
    }

    /// Keeps what somebody will look at again.
    pub(super) fn keep(&self, all: impl Iterator<Item = Known>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for known in all.filter(|known| known.item.due.is_some()) {
            if states.len() >= Self::MAX {
                states.clear();
            }
            states.insert(Arc::clone(&known.item.key), known);
        }
    }
}
