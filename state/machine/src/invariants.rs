//! Promises that must hold in every state. Called by tests, by simulation, and by the running service as metrics.

use crate::{
    account::{Account, Decision},
    effect::{Mode, Response},
    ids::Now,
    register::Register,
    session::{Outcome, Phase, Session, Verdict, Waived},
    settings::Settings,
};

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} is broken by {subject}: {what}")]
pub struct Broken {
    /// The invariant, `I1` to `I16`.
    pub id: &'static str,
    /// Which subject.
    pub subject: String,
    /// What is wrong.
    pub what: String,
}

/// How late a due session may be before I8 counts as broken, in milliseconds.
pub const OVERDUE_MS_MAX: i64 = 60_000;

/// Checks one session at `now`, with `due_at` as it is stored.
pub fn check_session(
    session: &Session,
    verdict: &Verdict,
    due_at: Option<Now>,
    now: Now,
    settings: &Settings,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut expect = |id: &'static str, holds: bool, what: &str| {
        if !holds {
            broken.push(Broken { id, subject: session.key.to_string(), what: what.to_owned() });
        }
    };
    let phase = session.phase(verdict, settings);
    let asked = session.seen.as_ref().and_then(|seen| seen.terminate_asked_at);
    if settings.organization {
        let live = matches!(phase, Phase::Live | Phase::Terminating | Phase::Observed);
        expect("I8", !live || due_at.is_some(), "a live session without a time to look again");
        let overdue = due_at.is_some_and(|due| now > due.plus_ms(OVERDUE_MS_MAX));
        expect("I8", !overdue, "a session that is long overdue");
    }
    if phase == Phase::Terminating && settings.mode == Mode::Enforce {
        let unconfirmed = asked.is_some_and(|asked| now >= asked.plus_ms(settings.terminate_confirm_ms_max));
        let said = session.done.iter().flat_map(|done| done.iter()).any(|id| id.0.contains("termination-unconfirmed"));
        let grace = asked.is_none_or(|asked| now < asked.plus_ms(settings.terminate_confirm_ms_max + OVERDUE_MS_MAX));
        expect("I1", !unconfirmed || said || grace, "alive long after its termination, and no incident says so");
    }
    let ending = session.violations.iter().flat_map(|found| found.values()).any(|v| v.response == Response::Terminate);
    expect("I10", asked.is_none() || ending, "a termination without a violated control");
    expect("I11", asked.is_none() || session.is_opened(), "a termination, and nobody knows of what");
    let silent = !settings.organization || session.seen.as_ref().is_some_and(|seen| seen.gathered_at.is_some());
    expect("I11", phase != Phase::Closed(Outcome::Compliant) || silent, "compliant, and AWS was never asked");
    let alive = session.seen.as_ref().and_then(|seen| seen.alive_at);
    let closed = session.done.iter().flat_map(|done| done.iter()).any(|id| &*id.0 == "verdict");
    let reopened = session.ended_at().is_none() && alive.is_some();
    expect("I15", !closed || reopened || matches!(phase, Phase::Closed(_)), "closed, and open again by itself");
    for Waived { waiver, until, .. } in &verdict.waived {
        let expired = alive.is_some_and(|alive| alive >= *until);
        expect("I16", !expired, &format!("waiver {waiver} works after its end"));
    }
    broken
}

/// Checks one account.
pub fn check_account(account: &Account, settings: &Settings) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut expect = |id: &'static str, holds: bool, what: &str| {
        if !holds {
            broken.push(Broken { id, subject: account.account.to_string(), what: what.to_owned() });
        }
    };
    if let Some(episode) = &account.episode {
        let rules = &settings.quarantine;
        expect("I5", episode.sessions >= rules.sessions_min, "locked below the threshold");
        let exempt = rules.exempt.contains(&account.account)
            || settings.unit(account.account).is_some_and(|unit| rules.exempt_units.contains(unit));
        let never = exempt || settings.management_account == Some(account.account);
        expect("I6", !(never && episode.decision == Decision::Lock), "an account is locked that never may be");
        let granted = episode.granted_at.is_none_or(|_| episode.approved() && episode.asked_at.is_some());
        expect("I6", granted, "a lock was granted that nobody approved or asked for");
        expect("I7", episode.locked_at.is_none() || episode.granted_at.is_some(), "a lock that was never granted");
        let paired = episode.released_at.is_none() || episode.granted_at <= episode.released_at;
        expect("I7", paired, "the end of a lock that did not begin before it");
        // Episodes of earlier versions know no such time.
        let seen = episode.released_at.is_none() || episode.detached_at <= episode.released_at;
        expect("I7", seen, "a lock that is over before it was detached");
    }
    broken
}

/// Checks the register.
pub fn check_register(register: &Register, settings: &Settings) -> Vec<Broken> {
    let held = register.entries.values().filter(|entry| entry.granted_at.is_some() && entry.left_at.is_none()).count();
    let rules = &settings.quarantine;
    let caps = [
        (held <= rules.concurrent_max, "more locks at one time than quarantine.concurrent_max"),
        (register.grants.len() <= rules.hourly_max, "more locks within an hour than quarantine.hourly_max"),
    ];
    let broken =
        |(_, what): &(bool, &str)| Broken { id: "I6", subject: "register".to_owned(), what: (*what).to_owned() };
    caps.iter().filter(|(holds, _)| !holds).map(broken).collect()
}

#[cfg(test)]
mod tests;
