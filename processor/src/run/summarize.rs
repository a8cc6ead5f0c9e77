//! What a run comes to, read from the store: the same answer after any number of restarts.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    account::Decision,
    ids::{EffectId, Subject},
    session::Rules,
};
use sessionwarden_store::Store;

use super::source::Position;
use crate::{
    handle::{HandleError, Handler, State},
    ports::Hands,
    replay::{Crossed, Summary, cpu_seconds, peak_rss_bytes},
};

const PAGE: usize = 1_000;

/// Sums up everything in the store, and what was read of the sources.
pub async fn summarize<S: Store, H: Hands>(
    handler: &mut Handler<S, H>,
    positions: &BTreeMap<Arc<str>, Position>,
) -> Result<Summary, HandleError> {
    let policy = handler.verdicts.judge().policy_hash().to_string();
    let mut summary = Summary { policy, ..Summary::default() };
    let mut after: Option<Arc<str>> = None;
    loop {
        let keys = handler.store.keys("", after.as_deref(), PAGE).await?;
        for key in &keys {
            let Ok(subject) = key.parse::<Subject>() else { continue };
            if let Some(state) = handler.load(&subject).await? {
                add(&mut summary, handler, &state);
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after = Some(Arc::clone(last)),
            Some(_) | None => break,
        }
    }
    for position in positions.values() {
        summary.bytes += position.bytes;
        summary.events.relevant += position.relevant;
        summary.events.ignored += position.ignored;
        summary.events.duplicate += position.duplicate;
        summary.events.poison += position.poison;
        summary.refused_calls += position.refused;
    }
    let events = &mut summary.events;
    events.read = events.relevant + events.ignored + events.duplicate + events.poison;
    summary.cpu_seconds = cpu_seconds();
    summary.peak_rss_bytes = peak_rss_bytes();
    Ok(summary)
}

fn add<S: Store, H: Hands>(summary: &mut Summary, handler: &mut Handler<S, H>, state: &State) {
    match state {
        State::Session(session) => {
            let mut rules = Rules { verdicts: &mut handler.verdicts, settings: &handler.settings };
            let verdict = session.verdict(&mut rules);
            let sessions = &mut summary.sessions;
            sessions.seen += 1;
            sessions.open += u64::from(session.is_open());
            sessions.waived += u64::from(!verdict.waived.is_empty());
            sessions.violating += u64::from(session.is_violating());
            if let Some(violations) = &session.violations {
                for control in violations.keys() {
                    *sessions.by_control.entry(control.to_string()).or_default() += 1;
                }
            }
            if !handler.settings.organization {
                for open in verdict.unproven {
                    let needs = summary.not_evaluated.entry(open.control.to_string()).or_default();
                    needs.extend(open.needs.iter().map(|kind| kind.as_str().to_owned()));
                    needs.sort_unstable();
                    needs.dedup();
                }
            }
            incidents(summary, session.done.iter().flat_map(|done| done.iter()));
        }
        State::Account(account) => {
            incidents(summary, account.done.iter());
            if let Some(episode) = &account.episode {
                summary.accounts.over_threshold += 1;
                summary.accounts.crossed.insert(
                    account.account.to_string(),
                    Crossed {
                        at: episode.crossed_at.to_string(),
                        sessions: episode.sessions,
                        principals: episode.principals.len(),
                        decision: match (&episode.decision, episode.locked_at, episode.released_at) {
                            (Decision::Lock, Some(_), Some(_)) => "locked and released".to_owned(),
                            (Decision::Lock, Some(_), None) => "locked".to_owned(),
                            (Decision::Lock, None, _) => "to be locked".to_owned(),
                            (Decision::Observed, ..) => "would be locked".to_owned(),
                            (Decision::Refused(rule), ..) => format!("would not be locked: {rule}"),
                        },
                    },
                );
            }
        }
        State::Incident(Some(incident)) => incidents(summary, incident.done.iter()),
        State::Incident(None) => {}
    }
}

/// Counts the incidents among effects that are done; the threshold's own incident is counted as an account.
fn incidents<'a>(summary: &mut Summary, done: impl Iterator<Item = &'a EffectId>) {
    for id in done {
        let Some(cause) = id.0.strip_prefix("incident/").and_then(|rest| rest.split('/').next()) else {
            continue;
        };
        if cause != "threshold" {
            summary.incidents += 1;
            *summary.incidents_by_cause.entry(cause.to_owned()).or_default() += 1;
        }
    }
}
