//! One scenario for each way around the logs, with what Sessionwarden must make of it.

mod script;
mod sessions;
mod tampering;

use std::sync::Arc;

use sessionwarden_machine::{
    ids::{Now, SessionKey},
    session::Outcome,
};

use crate::{
    act::{Act, Cast},
    organisation::OrganisationShape,
    world::World,
};

/// The region of the scenarios' organisation in which no session may run.
pub const FORBIDDEN_REGION: &str = "ap-east-1";
/// From the start of a session to the time by which its stream must exist, in milliseconds: quick, as everything is in
/// the scenarios' organisation.
pub const STREAM_GRACE_MS: i64 = 3_000;

/// The organisation that the scenarios are written for: the quick one, with nodes in a region that is forbidden.
pub fn organisation() -> OrganisationShape {
    let quick = OrganisationShape::quick();
    let regions = ["eu-central-1", "us-east-1", "eu-west-1", FORBIDDEN_REGION];
    OrganisationShape { regions: regions.map(Arc::from).to_vec(), ..quick }
}

/// What must come of a scenario, under the shipped controls and with what the world says is wanted: this, and nothing
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Controls that must be found for the last session that is opened.
    pub session: &'static [&'static str],
    /// Controls that must be found for events that are no session's.
    pub events: &'static [&'static str],
    /// What that session's incidents must be about, beside controls and a log that is missing: `log-suspect` …
    pub incidents: &'static [&'static str],
    /// The last session must be ended by Sessionwarden.
    pub terminated: bool,
    /// How that session comes out once its log was waited for; `None` where there is no session.
    pub outcome: Option<Outcome>,
    /// The session's controls need an organisation that can be asked: history alone does not show them.
    pub evidence: bool,
}

impl Expected {
    const QUIET: Self = Self {
        session: &[],
        events: &[],
        incidents: &[],
        terminated: false,
        outcome: Some(Outcome::Compliant),
        evidence: true,
    };
    const NO_SESSION: Self = Self { outcome: None, ..Self::QUIET };

    const fn events(events: &'static [&'static str]) -> Self {
        Self { events, ..Self::NO_SESSION }
    }

    /// The session is ended.
    const fn ended(session: &'static [&'static str], events: &'static [&'static str], outcome: Outcome) -> Self {
        Self { session, events, terminated: true, outcome: Some(outcome), ..Self::QUIET }
    }

    /// The session is reported, and not ended.
    const fn found(session: &'static [&'static str], events: &'static [&'static str], outcome: Outcome) -> Self {
        Self { terminated: false, ..Self::ended(session, events, outcome) }
    }

    const fn by_event(self) -> Self {
        Self { evidence: false, ..self }
    }
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What happens, in few words; no two scenarios have the same.
    pub name: &'static str,
    /// The row of the threat catalogue, or the requirement; empty for a session that keeps the rules.
    pub threat: &'static str,
    /// What must come of it.
    pub expected: Expected,
    acts: fn(&World) -> Vec<(i64, Act)>,
}

impl Scenario {
    /// The scenario in this world, which should be an [`organisation`] of its kind, beginning at `start`.
    pub fn play(&self, world: &World, start: Now) -> Play {
        let mut acts = (self.acts)(world);
        acts.sort_by_key(|(offset_ms, _)| *offset_ms);
        Play { start, acts: acts.into_iter(), cast: Cast::default() }
    }
}

/// A scenario that is being played.
#[derive(Clone, Debug)]
pub struct Play {
    start: Now,
    acts: std::vec::IntoIter<(i64, Act)>,
    cast: Cast,
}

impl Play {
    /// When its last act is due.
    pub fn over_at(&self) -> Now {
        self.start.plus_ms(self.acts.as_slice().last().map_or(0, |(offset_ms, _)| *offset_ms))
    }

    /// Performs all that is due, each act at its own time, and lets the world's time pass up to `now`.
    pub fn step(&mut self, world: &mut World, now: Now) {
        while let Some((offset_ms, _)) = self.acts.as_slice().first() {
            let at = self.start.plus_ms(*offset_ms);
            if at > now {
                break;
            }
            if let Some((_, act)) = self.acts.next() {
                world.advance_to(at);
                self.cast.perform(world, act);
            }
        }
        world.advance_to(now);
    }

    /// The session that is judged; `None` before it is opened, and where there is none.
    pub fn session(&self) -> Option<&SessionKey> {
        self.cast.sessions().last()
    }
}

/// Every scenario.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    sessions::SESSIONS.iter().chain(&tampering::TAMPERING)
}

/// Something's name as it is shared.
fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}
