//! Rechecks in the pure core: timers that fire, find their session, work out when to look again, and are set again.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, ensure};
use foldhash::fast::FixedState;
use sessionwarden::replay::cpu_seconds;
use sessionwarden_machine::{
    ids::{AccountId, EventTime, Now, SessionKey},
    recheck::{Schedule, TICK_MS},
    session::{Described, Gathered, Input, Life, Session, Verdict},
    settings::Settings,
};

use super::report::{Line, Section, rate};

const SESSIONS: usize = 1_000_000;
const ROUNDS: u64 = 5;
const TARGET: f64 = 3e6;
/// Prime to any number of sessions that is used here: multiples of it visit every place once.
const PRIME: usize = 7_368_787;
const BEGIN: Now = Now(1_748_844_000_000);

/// A timer names its session by the place it has in memory, or by its key.
trait Live<T> {
    fn session(&mut self, timer: &T) -> Option<&mut Session>;
}

impl Live<u32> for Vec<Session> {
    fn session(&mut self, timer: &u32) -> Option<&mut Session> {
        self.get_mut(*timer as usize)
    }
}

impl Live<SessionKey> for HashMap<SessionKey, Session, FixedState> {
    fn session(&mut self, timer: &SessionKey) -> Option<&mut Session> {
        self.get_mut(timer)
    }
}

pub(super) fn measure() -> Result<Section> {
    let by_place = {
        let mut live: Vec<Session> = sessions(SESSIONS).collect();
        firings_per_second(&mut live, (0..SESSIONS as u32).collect(), ROUNDS)?
    };
    let by_key = {
        let mut live: HashMap<_, _, FixedState> =
            sessions(SESSIONS).map(|session| (session.key.clone(), session)).collect();
        let keys = live.keys().cloned().collect();
        firings_per_second(&mut live, keys, ROUNDS)?
    };
    Ok(Section {
        title: "Rechecks",
        method: format!(
            "Timer firings for each second of processor time in the pure core, one thread: {SESSIONS} live sessions \
             with the default recheck of 15 s, {ROUNDS} rounds. At each firing the session is found in memory, in \
             random order, its answer is noted, its next due time worked out from its facts, and its timer set again. Flink fires about \
             1.6 M/s (measured elsewhere)."
        ),
        lines: vec![
            Line::at_least("firings, timers by place in memory", by_place, TARGET, rate),
            Line::shown("firings, timers by session key through a hash map", rate(by_key)),
        ],
    })
}

/// Sessions that AWS has shown alive, their last answers spread over one recheck period, in an order that has nothing
/// to do with their places in memory.
fn sessions(count: usize) -> impl Iterator<Item = Session> {
    let (region, document): (Arc<str>, Arc<str>) = ("eu-central-1".into(), "SSM-SessionManagerRunShell".into());
    let owner: Arc<str> = "arn:aws:sts::111122223333:assumed-role/Operator/ann".into();
    let recheck_ms = Settings::default().recheck_ms;
    (0..count).map(move |number| {
        let account = AccountId::new(111_122_223_333 + number as u64 % 50).expect("twelve digits");
        let id = format!("ann-{number:017x}").into();
        let mut session = Session::new(SessionKey { account, region: Arc::clone(&region), id }, BEGIN);
        let described = Described {
            started_at: EventTime(BEGIN.0 - 60_000),
            owner: Arc::clone(&owner),
            target: "i-0123456789abcdef0".into(),
            document: Arc::clone(&document),
            reason: None,
            access_type: "Standard".into(),
        };
        let at = BEGIN.plus_ms((number * PRIME % count) as i64 * recheck_ms / count as i64);
        let gathered = Gathered::new(at, Life::Alive(described));
        session.absorb(Input::Gathered(Box::new(gathered)), BEGIN);
        session
    })
}

fn firings_per_second<T>(live: &mut impl Live<T>, timers: Vec<T>, rounds: u64) -> Result<f64> {
    let settings = Settings::default();
    let verdict = Verdict::default();
    let wanted = timers.len() as u64 * rounds;
    let mut schedule = Schedule::default();
    let next = |session: &Session| session.due_at(&verdict, &settings);
    for timer in timers {
        let due = live.session(&timer).and_then(|session| next(session));
        schedule.set(due.unwrap_or(BEGIN), timer);
    }
    let (mut fired, mut now) = (0, BEGIN);
    let before = cpu_seconds();
    while fired < wanted {
        now = now.plus_ms(TICK_MS);
        while let Some(due) = schedule.fire(now) {
            fired += due.len() as u64;
            for timer in due {
                let Some(session) = live.session(&timer) else { continue };
                if let Some(seen) = &mut session.seen {
                    seen.gathered_at = Some(now);
                    seen.alive_at = Some(now.as_event_time());
                }
                if let Some(at) = next(session) {
                    schedule.set(at, timer);
                }
            }
        }
    }
    let seconds = cpu_seconds() - before;
    let passed_ms = now.0 - BEGIN.0;
    let (shortest, longest) =
        (rounds as i64 * settings.recheck_ms, (rounds as i64 + 1) * (settings.recheck_ms + TICK_MS));
    ensure!((shortest..=longest).contains(&passed_ms), "{fired} firings took {passed_ms} ms of the core's time");
    Ok(fired as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_is_rechecked_once_in_every_period() {
        let mut live: Vec<Session> = sessions(500).collect();
        firings_per_second(&mut live, (0..500).collect(), 3).unwrap();
        let ahead = |session: &Session| session.seen.as_ref().and_then(|seen| seen.gathered_at);
        let oldest = live.iter().filter_map(ahead).min().unwrap();
        assert!(oldest.0 - BEGIN.0 >= 2 * Settings::default().recheck_ms, "{oldest}");
    }
}
