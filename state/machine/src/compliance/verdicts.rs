//! Answers, remembered by the facts they depend on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::FixedState;

use super::{
    facts::{EventFacts, SessionFacts},
    judge::{Answer, Judge},
    key,
};

/// A judge with a memory: Cedar is asked once for each distinct question.
///
/// Two questions are the same when they agree in every facet that some policy mentions. At most
/// [`Verdicts::MAX`] answers are kept; then all are forgotten.
#[derive(Debug)]
pub struct Verdicts {
    judge: Arc<Judge>,
    answers: Arc<Mutex<Answers>>,
    key: Vec<u8>,
    hits: u64,
    misses: u64,
}

type Answers = HashMap<Box<[u8]>, Arc<Answer>, FixedState>;

impl Verdicts {
    /// How many answers are kept at the most.
    pub const MAX: usize = 65_536;

    /// The longest question kept, in bytes; longer ones are asked each time.
    pub const KEY_BYTES_MAX: usize = 1_024;

    /// An empty memory before `judge`.
    pub fn new(judge: Arc<Judge>) -> Self {
        Self { judge, answers: Arc::default(), key: Vec::new(), hits: 0, misses: 0 }
    }

    /// Another one before the same judge, with the same memory.
    #[must_use]
    pub fn sharing(&self) -> Self {
        Self { answers: Arc::clone(&self.answers), ..Self::new(Arc::clone(&self.judge)) }
    }

    /// The judge that answers.
    pub fn judge(&self) -> &Arc<Judge> {
        &self.judge
    }

    /// Judges a session.
    pub fn session(&mut self, facts: &SessionFacts<'_>) -> Arc<Answer> {
        key::session(&mut self.key, self.judge.session_facets(), facts);
        self.remembered(|judge| judge.session(facts))
    }

    /// Judges an event outside a session.
    pub fn event(&mut self, facts: &EventFacts<'_>) -> Arc<Answer> {
        key::event(&mut self.key, self.judge.event_facets(), facts);
        self.remembered(|judge| judge.event(facts))
    }

    /// How many questions were answered from memory, and how many by Cedar.
    pub fn asked(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    fn remembered(&mut self, ask: impl FnOnce(&Judge) -> Answer) -> Arc<Answer> {
        let known = self.answers().get(self.key.as_slice()).cloned();
        if let Some(answer) = known {
            self.hits += 1;
            return answer;
        }
        self.misses += 1;
        // Nobody waits for an answer that others do not need.
        let answer = Arc::new(ask(&self.judge));
        if self.key.len() <= Self::KEY_BYTES_MAX {
            let mut answers = self.answers();
            if answers.len() >= Self::MAX {
                answers.clear();
            }
            answers.insert(self.key.as_slice().into(), Arc::clone(&answer));
        }
        answer
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.answers().len()
    }
}
