//! `generate --scenarios`: each way around the logs as events of its own, with the verdict it must get.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;
use sessionwarden_machine::{ids::Now, session::Outcome};
use sessionwarden_world::{
    Scenario, World,
    scenario::{FORBIDDEN_REGION, organisation},
    scenarios,
};

use crate::stream::START;

/// How long events are listened for after the last act of a scenario, in milliseconds.
const AFTER_MS: i64 = 30_000;

/// What must come of a scenario, as it is written beside its events.
#[derive(Serialize)]
struct Verdict<'a> {
    name: &'a str,
    /// The row of the threat catalogue, or the requirement; empty for a session that keeps the rules.
    threat: &'a str,
    /// The session that is judged, as `account/region/id`.
    session: Option<String>,
    /// Controls that are found for it.
    controls: &'a [&'a str],
    /// Controls that are found for events that are no session's.
    event_controls: &'a [&'a str],
    /// What its incidents are about, beside controls and a missing log.
    incidents: &'a [&'a str],
    /// It is ended.
    terminated: bool,
    /// How it comes out.
    outcome: Option<&'a str>,
    /// `controls` need an organisation that can be asked: a replay finds none of them.
    evidence: bool,
}

/// Writes `sessionwarden.toml`, under which a replay comes to those verdicts that need no evidence, and `<name>.jsonl`, EventBridge envelopes in the order of their delivery, and `<name>.expected.json` for each
/// scenario into `folder`, which is made where it does not exist. Returns how many there are. Equal seeds give equal
/// bytes.
///
/// # Errors
/// A file that cannot be created or written, named in the message.
pub fn write(folder: &Path, seed: u64) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let config = folder.join("sessionwarden.toml");
    fs::write(&config, configuration(seed)).with_context(|| format!("cannot write {}", config.display()))?;
    let mut written = 0;
    for scenario in scenarios() {
        let name = scenario.name.to_lowercase().replace(' ', "-");
        let (events, verdict) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}.expected.json")));
        let session =
            write_events(scenario, seed, &events).with_context(|| format!("cannot write {}", events.display()))?;
        let expected = &scenario.expected;
        let text = serde_json::to_string_pretty(&Verdict {
            name: scenario.name,
            threat: scenario.threat,
            session,
            controls: expected.session,
            event_controls: expected.events,
            incidents: expected.incidents,
            terminated: expected.terminated,
            outcome: expected.outcome.map(Outcome::as_str),
            evidence: expected.evidence,
        })?;
        fs::write(&verdict, text + "\n").with_context(|| format!("cannot write {}", verdict.display()))?;
        written += 1;
    }
    Ok(written)
}

/// What a replay has to know of the scenarios' organisation.
fn configuration(seed: u64) -> String {
    let world = World::new(organisation(), seed, Now(START.0));
    let list = |names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
        names.join(", ")
    };
    let regions =
        list(&mut world.regions().iter().map(|region| &**region).filter(|region| *region != FORBIDDEN_REGION));
    let own_names = list(&mut std::iter::once("sessionwarden*").chain(world.key_ids()));
    let management = world.accounts().iter().find(|account| account.management);
    let management = management.map(|account| format!("management_account = \"{}\"\n", account.id)).unwrap_or_default();
    format!(
        "[organization]\n{management}log_archive_account = \"{}\"\nallowed_regions = [{regions}]\n\
         own_names = [{own_names}]\n",
        world.log_archive(),
    )
}

fn write_events(scenario: &Scenario, seed: u64, path: &Path) -> Result<Option<String>> {
    let start = Now(START.0);
    let mut world = World::new(organisation(), seed, start);
    let mut play = scenario.play(&world, start);
    let over = play.over_at().plus_ms(AFTER_MS);
    play.step(&mut world, over);
    let mut out = BufWriter::new(fs::File::create(path)?);
    for event in world.drain_events() {
        out.write_all(&event)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(play.session().map(ToString::to_string))
}
