//! The handlers of one process: many, so that accounts do not wait for one another, with one of everything they share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sessionwarden_machine::{
    compliance::Verdicts,
    mutation::{Mutation, made},
    settings::Settings,
};

use sessionwarden_store::Fence;

use super::SharedStore;
use crate::{
    effects::{Reports, SharedMemory},
    handle::{Calls, Handler, SharedStates},
    metrics::Metrics,
    outbound::Outlets,
    ports::Hands,
    run::SharedBoard,
};

/// What the handlers of one process share.
pub struct Crew<S, H> {
    /// The store, without a fence.
    pub store: S,
    /// The organisation.
    pub hands: Arc<H>,
    /// The core's settings.
    pub settings: Settings,
    /// The policy, with the memory of its answers that all handlers share.
    pub verdicts: Verdicts,
    /// Feed and audit trail.
    pub reports: Reports,
    /// The metrics.
    pub metrics: Metrics,
    /// The status.
    pub board: SharedBoard,
    /// Who else learns of effects.
    pub outlets: Outlets,
    /// The regions in which sessions can run, once the organisation has said so.
    pub regions: Regions,
    /// What was read and checked before.
    pub memory: SharedMemory,
    /// States that need not be decoded again.
    pub states: SharedStates,
}

/// The regions in which sessions can run, and the number of accounts, as the organisation last said.
#[derive(Clone, Default)]
pub struct Regions(Arc<Mutex<(Vec<Arc<str>>, usize)>>);

impl Regions {
    fn lock(&self) -> MutexGuard<'_, (Vec<Arc<str>>, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, regions: &[Arc<str>], accounts: usize) {
        if !regions.is_empty() {
            *self.lock() = (regions.to_vec(), accounts);
        }
    }

    /// How many accounts there are; 0 while that is not known.
    pub(super) fn accounts(&self) -> usize {
        self.lock().1
    }

    pub(super) fn get(&self) -> Vec<Arc<str>> {
        self.lock().0.clone()
    }
}

impl<S: SharedStore, H: Hands> Crew<S, H> {
    /// A handler of its own for one task.
    pub(super) fn handler(&self, fence: Option<Fence>, calls: Calls) -> Handler<S, Arc<H>> {
        let mut handler = Handler::new(
            self.store.with_fence(fence.filter(|_| !made(Mutation::NoFence))),
            Some(Arc::clone(&self.hands)),
            self.settings.clone(),
            self.verdicts.sharing(),
            self.reports.clone(),
            self.metrics.clone(),
            self.board.clone(),
        );
        handler.outlets = self.outlets.clone();
        handler.calls = calls;
        handler.early_ms = self.settings.recheck_ms / 3;
        handler.rests = true;
        handler.regions = self.regions.get();
        handler.posture = self.memory.clone();
        handler.states = self.states.clone();
        handler
    }
}
