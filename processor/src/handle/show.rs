//! What a step's outcome is shown by: timers, the board, the invariants.

use std::sync::Arc;

use sessionwarden_machine::{
    ids::{Now, Subject},
    invariants::{check_account, check_register, check_session},
    session::{Rules, Verdict},
};
use sessionwarden_store::Store;

use super::{Handler, State, state::rests, step::Stepped};
use crate::{console::HappeningKind, host, ports::Hands};

impl<S: Store, H: Hands> Handler<S, H> {
    /// After a save: timers, the board, the invariants.
    pub(super) fn settle(&mut self, subject: &Subject, step: &Stepped, now: Now) {
        // What rests is looked at with its place.
        let due = step.item.due.as_ref().filter(|_| !rests(&step.item));
        self.dues.insert(subject.clone(), due.map(|due| due.at));
        if let (Subject::Session(key), Some(due), None) = (subject, &step.item.due, due)
            && let Some(look) = self.looks.get(key)
        {
            self.states.rests(key, (due.at, *look));
        }
        self.show(step.before.as_ref(), &step.state, step.verdict.as_ref(), now);
        if let (None, State::Session(session)) = (&step.before, &step.state)
            && session.born_at().is_some()
            && session.seen.is_none()
        {
            self.metrics.sessions_announced(1);
        }
        let broken = match (&step.state, &step.verdict) {
            (State::Session(session), Some(verdict)) => {
                let due = step.item.due.as_ref().map(|due| due.at);
                check_session(session, verdict, due, now, &self.settings)
            }
            (State::Account(account), _) => check_account(account, &self.settings),
            (State::Register(register), _) => check_register(register, &self.settings),
            (State::Session(_) | State::Incident(_) | State::Place(_), _) => Vec::new(),
        };
        for one in broken {
            tracing::error!(invariant = one.id, subject = one.subject, "{}", one.what);
            self.metrics.invariant_violation(one.id);
            host::broken(&one);
        }
    }

    /// Takes a state that is found in the store into the board.
    pub(crate) fn remember(&mut self, state: &State, now: Now) {
        self.board.lock().found(state);
        let verdict = match state {
            State::Session(session) => {
                Some(session.verdict(&mut Rules { verdicts: &mut self.verdicts, settings: &self.settings }))
            }
            State::Account(_) | State::Incident(_) | State::Register(_) | State::Place(_) => None,
        };
        self.show(None, state, verdict.as_ref(), now);
    }

    /// Takes the change of a state into the board.
    fn show(&mut self, before: Option<&State>, state: &State, verdict: Option<&Verdict>, now: Now) {
        match state {
            State::Session(session) => {
                let Some(verdict) = verdict else { return };
                let before = match before {
                    Some(State::Session(before)) => Some(&**before),
                    Some(State::Account(_) | State::Incident(_) | State::Register(_) | State::Place(_)) | None => None,
                };
                self.board.lock().session(before, session, verdict, &self.settings);
                if !self.settings.organization {
                    self.tell_not_evaluated(verdict, now);
                }
            }
            State::Account(account) => {
                if let Some(episode) = &account.episode {
                    let locked = episode.locked_at.is_some() && episode.holds() && episode.detached_at.is_none();
                    self.board.lock().account(account.account, locked);
                    let known = match before {
                        Some(State::Account(before)) => before.episode.as_ref(),
                        Some(State::Session(_) | State::Incident(_) | State::Register(_) | State::Place(_)) | None => {
                            None
                        }
                    };
                    let rules = &self.settings.quarantine;
                    let phase = episode.phase(now, rules);
                    if known.map(|known| (known.number, known.phase(now, rules))) != Some((episode.number, phase)) {
                        self.board.lock().episode(account.account, episode, phase, now);
                    }
                }
            }
            State::Incident(_) | State::Register(_) | State::Place(_) => {}
        }
    }

    /// Says once of each control that it needs evidence which nobody here can give.
    fn tell_not_evaluated(&mut self, verdict: &Verdict, now: Now) {
        for open in &verdict.unproven {
            if self.not_evaluated.insert(Arc::clone(&open.control)) {
                let needs: Vec<&str> = open.needs.iter().map(|kind| kind.as_str()).collect();
                let text =
                    format!("{} is not evaluated: only an organisation could tell {}", open.control, needs.join(", "));
                tracing::info!("{text}");
                self.board.lock().notice(now, HappeningKind::Notice, text);
            }
        }
    }
}
