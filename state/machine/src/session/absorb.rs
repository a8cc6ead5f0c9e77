//! Facts come in: each by a rule that does not care for order or repetition.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Answered, Call, DEPENDS_MAX, Described, Gathered, Input, Known, Life, LogFlaw, LogLook, LogSeen, Mark, RESUMES_MAX,
    Rules, Seen, Session, SessionEvent, Start, Told,
    text::{self, fit_shared},
    want,
};
use crate::{
    compliance::Tri,
    effect::{ActivityKind, Effect, RemedyResult},
    ids::{EffectId, EventId, EventTime, Now, SessionKey, Thing, ThingKind},
    mutation::{Mutation, made},
    place::Place,
};

fn earliest<T: Ord>(kept: &mut Option<T>, new: T) {
    match kept {
        Some(old) if *old <= new => {}
        Some(_) | None => *kept = Some(new),
    }
}

fn latest<T: Ord>(kept: &mut Option<T>, new: T) {
    match kept {
        Some(old) if *old >= new => {}
        Some(_) | None => *kept = Some(new),
    }
}

/// The smaller of two texts that are not empty.
fn merge_text(kept: &mut Arc<str>, new: Arc<str>) {
    if kept.is_empty() || (!new.is_empty() && new < *kept) {
        *kept = new;
    }
}

/// The earliest, with everything that was ever wrong with it.
fn merge_log(kept: &mut Option<LogSeen>, new: LogSeen) {
    let place = fit_shared(Arc::clone(&new.place), text::PLACE_BYTES_MAX);
    let new = LogSeen { place, ..new };
    let mut flaws: BTreeSet<LogFlaw> = kept.iter().flat_map(|known| &known.flaws).copied().collect();
    flaws.extend(&new.flaws);
    earliest(kept, LogSeen { flaws: BTreeSet::new(), ..new });
    if let Some(log) = kept {
        log.flaws = flaws;
    }
}

impl Known {
    /// Takes an answer in. A no stays, however often a yes comes after it.
    fn hear(&mut self, at: EventTime, answer: Answered) {
        match answer.value {
            Tri::Unknown => {}
            Tri::Yes => latest(&mut self.last, (at, true)),
            Tri::No => {
                latest(&mut self.last, (at, false));
                earliest(&mut self.first_no, at);
            }
        }
        let told = Told {
            at,
            value: answer.value,
            source: text::cut(answer.source, text::SOURCE_BYTES_MAX),
            reason: fit_shared(answer.reason, text::TOLD_BYTES_MAX),
        };
        match (self.told.as_ref().map(|known| known.value == Tri::No), told.value == Tri::No) {
            (Some(true), true) => earliest(&mut self.told, told),
            (Some(true), false) => {}
            (Some(false), true) => self.told = Some(told),
            (Some(false) | None, _) => latest(&mut self.told, told),
        }
    }
}

impl Described {
    fn bounded(self) -> Self {
        Self {
            started_at: self.started_at,
            owner: fit_shared(self.owner, text::ARN_BYTES_MAX),
            target: fit_shared(self.target, text::TARGET_BYTES_MAX),
            document: fit_shared(self.document, text::DOCUMENT_BYTES_MAX),
            reason: self.reason.map(|reason| fit_shared(reason, text::REASON_BYTES_MAX)),
            access_type: fit_shared(self.access_type, text::KIND_BYTES_MAX),
        }
    }

    fn merge(&mut self, other: Self) {
        self.started_at = self.started_at.min(other.started_at);
        merge_text(&mut self.owner, other.owner);
        merge_text(&mut self.target, other.target);
        merge_text(&mut self.document, other.document);
        merge_text(&mut self.access_type, other.access_type);
        if let Some(reason) = other.reason {
            earliest(&mut self.reason, reason);
        }
    }
}

impl Session {
    /// A session of which nothing is known yet, first heard of at `now`.
    pub fn new(key: SessionKey, now: Now) -> Self {
        Self {
            key,
            start: None,
            resumes: Vec::new(),
            terminated: None,
            seen: None,
            violations: None,
            done: None,
            heard_at: now,
        }
    }

    /// Takes one input in, judges, and returns the effects that are wanted and not yet done, in a stable order.
    /// Total: no input is an error. Deterministic: nothing but the arguments decides.
    ///
    /// The activity of an event that does not count for the session's facts (a fifth resumption, a second opening) is
    /// wanted only by the step that takes it in.
    pub fn step(&mut self, input: Input, now: Now, rules: &mut Rules<'_>) -> Vec<Effect> {
        let call = match &input {
            Input::Event(event) if rules.settings.activity => Some((event.call.kind(), event.mark.clone())),
            Input::Event(_)
            | Input::Gathered(_)
            | Input::Tried { .. }
            | Input::Done(_)
            | Input::Changed(_)
            | Input::Wake => None,
        };
        self.absorb(input, now);
        let verdict = self.judge(rules);
        let mut effects = self.wanted(&verdict, now, rules.settings);
        if let Some((kind, mark)) = call
            && self.marks().all(|(_, kept)| kept.event != mark.event)
        {
            effects.push(self.activity(kind, &mark));
        }
        effects
    }

    /// Adds facts without judging.
    pub fn absorb(&mut self, input: Input, now: Now) {
        match input {
            Input::Event(event) => self.absorb_event(event),
            Input::Gathered(gathered) => self.absorb_gathered(*gathered),
            Input::Tried { result } => self.absorb_tried(result, now),
            Input::Done(effects) => self.absorb_done(&effects),
            Input::Changed(thing) => {
                let seen = self.seen_mut();
                latest(&mut seen.disturbed_at, now);
                latest(&mut seen.disturbed_by, (now, text::settled(thing)));
            }
            Input::Wake => {}
        }
    }

    /// Adds a CloudTrail event.
    pub fn absorb_event(&mut self, event: SessionEvent) {
        let SessionEvent { mark, call, .. } = event;
        match call {
            Call::Start { target, document, reason, container } => {
                self.add_start(Start { mark, target, document, reason, container });
            }
            Call::Resume => self.add_resume(mark),
            Call::Terminate => earliest(&mut self.terminated, mark),
        }
    }

    /// The earliest; it is a container's session if any record says so.
    fn add_start(&mut self, start: Start) {
        let container = start.container || self.start.as_ref().is_some_and(|known| known.container);
        earliest(&mut self.start, start);
        if let Some(start) = &mut self.start {
            start.container = container;
        }
    }

    fn add_resume(&mut self, mark: Mark) {
        if let Err(at) = self.resumes.binary_search(&mark) {
            self.resumes.insert(at, mark);
            if self.resumes.len() > RESUMES_MAX {
                self.resumes.remove(RESUMES_MAX - 1);
            }
        }
    }

    fn absorb_tried(&mut self, result: RemedyResult, now: Now) {
        let (called, failure) = match result {
            RemedyResult::Failed(why) | RemedyResult::Refused(why) => {
                (true, Some(fit_shared(why, text::FAILURE_BYTES_MAX)))
            }
            RemedyResult::Done | RemedyResult::Unneeded => (true, None),
            RemedyResult::Planned => (false, None),
        };
        let seen = self.seen_mut();
        if made(Mutation::EndUnconfirmed) && called && failure.is_none() {
            earliest(&mut seen.ended_at, now.as_event_time());
            latest(&mut seen.ended_seen_at, now.as_event_time());
        }
        if called {
            earliest(&mut seen.terminate_asked_at, now);
        }
        if (Some(now), &failure) > (seen.terminate_tried_at, &seen.terminate_failure) {
            (seen.terminate_tried_at, seen.terminate_failure) = (Some(now), failure);
        }
    }

    /// Remembers what is durable. An attempt to end the session is not what its id stands for in the end: that is done
    /// when the end is confirmed and reported.
    fn absorb_done(&mut self, effects: &[EffectId]) {
        let mut done = self.done.take().unwrap_or_default();
        done.extend(effects.iter().map(|id| self.short(id)));
        done.retain(|id| self.keeps(&id.0));
        self.done = (!done.is_empty()).then_some(done);
    }

    /// Whether the facts can ask again for what has this short id.
    fn keeps(&self, id: &str) -> bool {
        match id.split_once('/') {
            Some(("notify", told)) => self.keeps(told),
            Some(("activity", event)) => self.marks().any(|(_, mark)| EventId::parse(event) == Some(mark.event)),
            Some(("finding", control)) => self.violates(control),
            Some(("conclude", cause)) => want::PASSING.contains(&cause),
            Some(("incident", cause)) => want::CAUSES.contains(&cause) || self.violates(cause),
            Some((kind, rest)) => kind == "terminate" && rest == "planned",
            None => matches!(id, "count" | "verdict") || (id == "terminate" && self.ended_at().is_some()),
        }
    }

    fn violates(&self, control: &str) -> bool {
        self.violations.as_ref().is_some_and(|found| found.contains_key(control))
    }

    /// An effect's id without the session's key, as it is remembered.
    fn short(&self, id: &EffectId) -> EffectId {
        EffectId(id.0.replacen(&format!("/{}", self.key), "", 1).into())
    }

    pub(super) fn is_done(&self, id: &EffectId) -> bool {
        let short = self.short(id);
        // Whoever is alive after all is ended again.
        let stands = &*short.0 != "terminate" || self.ended_at().is_some();
        stands && self.done.as_ref().is_some_and(|done| done.contains(&short))
    }

    /// The calls that are kept, with their kinds.
    pub(super) fn marks(&self) -> impl Iterator<Item = (ActivityKind, &Mark)> {
        let start = self.start.as_ref().map(|start| (ActivityKind::Start, &start.mark));
        let resumes = self.resumes.iter().map(|mark| (ActivityKind::Resume, mark));
        let end = self.terminated.as_ref().map(|mark| (ActivityKind::End, mark));
        start.into_iter().chain(resumes).chain(end)
    }

    fn absorb_gathered(&mut self, gathered: Gathered) {
        let seen = self.seen_mut();
        let at = gathered.at.as_event_time();
        latest(&mut seen.gathered_at, gathered.at);
        match gathered.life {
            Life::Unknown => {}
            Life::Alive(described) => {
                latest(&mut seen.alive_at, at);
                match &mut seen.described {
                    Some(known) => known.merge(described.bounded()),
                    None => seen.described = Some(described.bounded()),
                }
                merge_text(&mut seen.session_type, fit_shared(gathered.session_type, text::KIND_BYTES_MAX));
                for (kind, mut answer) in gathered.evidence {
                    if answer.value == Tri::Unknown {
                        if made(Mutation::UnknownIsNo) {
                            answer.value = Tri::No;
                        } else if made(Mutation::UnknownIsYes) {
                            answer.value = Tri::Yes;
                        }
                    }
                    seen.evidence.entry(kind).or_default().hear(at, answer);
                }
                seen.depends.extend(gathered.depends.into_iter().map(text::settled));
                while seen.depends.len() > DEPENDS_MAX {
                    let rank = |thing: &&Thing| (thing.kind == ThingKind::Policy, (*thing).clone());
                    let Some(last) = seen.depends.iter().max_by_key(rank).cloned() else { break };
                    seen.depends.remove(&last);
                }
            }
            Life::Ended(ended_at) => {
                earliest(&mut seen.ended_at, ended_at);
                latest(&mut seen.ended_seen_at, at);
            }
        }
        match gathered.log {
            LogLook::Found(log) => merge_log(&mut seen.log, log),
            LogLook::Absent(why) => {
                latest(&mut seen.log_absent_at, gathered.at);
                latest(&mut seen.log_told, (gathered.at, fit_shared(why, text::TOLD_BYTES_MAX)));
            }
            LogLook::Unknown => {}
        }
    }

    /// It was looked at, alive, and gave the same answers as the last time: what is known is as new as that.
    pub fn confirm(&mut self, at: Now) {
        let Some(seen) = self.seen.as_mut().filter(|seen| seen.gathered_at.is_some_and(|last| last < at)) else {
            return;
        };
        let last = seen.gathered_at.replace(at).map(Now::as_event_time);
        let now = at.as_event_time();
        seen.alive_at = Some(now);
        for known in seen.evidence.values_mut() {
            match &mut known.last {
                Some((answered_at, _)) if Some(*answered_at) == last => *answered_at = now,
                Some(_) | None => {}
            }
            match &mut known.told {
                Some(told) if Some(told.at) == last && told.value != Tri::No => told.at = now,
                Some(_) | None => {}
            }
        }
    }

    /// Whether it rests on this.
    pub fn rests_on(&self, thing: &Thing) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.depends.contains(thing))
    }

    /// A change of what it rests on that was told to the place in which it rests, since it was last stored.
    pub fn changed_in(&self, place: &Place) -> Option<(Now, Thing)> {
        let gathered = self.seen.as_ref()?.gathered_at?;
        place.changed.clone().filter(|(at, thing)| gathered < *at && self.rests_on(thing))
    }

    /// Whether this says no more than `before` and that it is still so.
    pub fn is_as(&self, before: &Self) -> bool {
        let Some(at) = self.seen.as_ref().and_then(|seen| seen.gathered_at) else { return self == before };
        let mut confirmed = before.clone();
        confirmed.confirm(at);
        confirmed == *self
    }

    /// Adds the facts of the same session, gathered elsewhere. The order of merging does not matter.
    pub fn merge(&mut self, other: Self) {
        if let Some(start) = other.start {
            self.add_start(start);
        }
        for mark in other.resumes {
            self.add_resume(mark);
        }
        if let Some(mark) = other.terminated {
            earliest(&mut self.terminated, mark);
        }
        self.heard_at = self.heard_at.min(other.heard_at);
        let judged = other.seen.is_some() || other.done.is_some() || other.violations.is_some();
        debug_assert!(!judged, "only what events say is gathered in two places");
    }

    fn seen_mut(&mut self) -> &mut Seen {
        self.seen.get_or_insert_default()
    }
}
