//! Records through the pure core: decode, route, step, with the sessions in a map in memory.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use foldhash::fast::FixedState;
use sessionwarden::{policy, replay::cpu_seconds};
use sessionwarden_machine::{
    compliance::Verdicts,
    decode::{Decoded, Decoder},
    ids::{Names, Now, SessionKey},
    session::{Input, Rules, Session, SessionEvent},
    settings::Settings,
};

use super::{
    Bench,
    input::{self, Spec},
    lines::each_line,
    report::{Line, Section, rate},
};

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let mut lines = Vec::new();
    for (name, relevant, target) in [("1 % relevant", 0.01, None), ("all relevant", 1.0, Some(200_000.0))] {
        let input = bench.input(&Spec { events: bench.events, relevant, sessions: None })?;
        let mut least = f64::MAX;
        for _ in 0..bench.rounds {
            least = least.min(seconds(&input)?);
        }
        let reached = input.truth.events as f64 / least;
        lines.push(match target {
            Some(target) => Line::at_least(name, reached, target, rate),
            None => Line::shown(name, rate(reached)),
        });
    }
    Ok(Section {
        title: "Core",
        method: "Records for each second of processor time through decode, route and step as `run` does it, judging \
                 and working out effects after every single event, with the sessions in a hash map instead of a store: \
                 a worker's own work without its servers."
            .into(),
        lines,
    })
}

fn seconds(input: &input::Input) -> Result<f64> {
    let settings = Settings::default().without_organization();
    let mut verdicts = Verdicts::new(policy::load(None, None)?);
    let mut rules = Rules { verdicts: &mut verdicts, settings: &settings };
    let decoder = Decoder::default();
    let mut names = Names::default();
    let mut sessions: HashMap<SessionKey, Session, FixedState> = HashMap::default();
    let (mut relevant, mut effects) = (0, 0);
    let before = cpu_seconds();
    each_line(&input.path, |line| {
        decoder.decode(line, &mut |decoded| {
            let Decoded::Relevant(seen) = decoded else { return };
            relevant += 1;
            let Some(event) = SessionEvent::of(&seen, &mut names) else { return };
            let now = Now(event.mark.at.0);
            let session = sessions.entry(event.key.clone()).or_insert_with(|| Session::new(event.key.clone(), now));
            effects += session.step(Input::Event(event), now, &mut rules).len();
        });
    })?;
    let seconds = cpu_seconds() - before;
    let (found, truth) = (sessions.len() as u64, &input.truth);
    ensure!(
        (found, relevant) == (truth.sessions.seen, truth.relevant) && effects > 0,
        "the core found {found} sessions, {relevant} relevant events and {effects} effects, true is {truth:?}"
    );
    Ok(seconds)
}
