//! What a run comes to, read from the store: the same answer after any number of restarts.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    account::{Decision, Episode},
    effect::Response,
    ids::Subject,
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
        }
        State::Account(account) => {
            if let Some(episode) = &account.episode {
                summary.accounts.over_threshold += 1;
                summary.accounts.crossed.insert(
                    account.account.to_string(),
                    Crossed {
                        at: episode.crossed_at.to_string(),
                        sessions: episode.sessions,
                        principals: episode.principals.len(),
                        decision: decision_of(episode),
                    },
                );
            }
        }
        State::Incident(Some(incident)) if incident.response != Response::Report => {
            // That a window was full is counted as an account.
            if &*incident.control != "threshold" {
                summary.incidents += 1;
                *summary.incidents_by_cause.entry(incident.control.to_string()).or_default() += 1;
            }
        }
        State::Incident(_) | State::Register(_) | State::Place(_) => {}
    }
}

fn decision_of(episode: &Episode) -> String {
    match (&episode.decision, episode.locked_at, episode.detached_at.or(episode.released_at)) {
        (Decision::Lock, Some(_), Some(_)) => "locked and released".to_owned(),
        (Decision::Lock, Some(_), None) => "locked".to_owned(),
        (Decision::Lock, None, _) => "to be locked".to_owned(),
        (Decision::Observed, ..) => format!("would be locked ({})", episode.tier.as_str()),
        (Decision::Refused(rule), ..) => format!("not locked: {rule}"),
    }
}
