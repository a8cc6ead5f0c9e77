//! The end of a run: everything has come to rest, and is as it must be.

use std::{collections::BTreeSet, sync::Arc};

use sessionwarden_machine::{
    account::Account,
    compliance::{Judge, Verdicts},
    ids::{AccountId, Subject},
    session::{Phase, Rules, Session},
};

use super::{
    chance::Fault,
    reference::{Must, SessionRight},
    sim::{Sim, lock},
    watch::{self, right, session},
};

/// What is late by so much is not at rest, in milliseconds.
const LATE_MS: i64 = 30_000;

/// What still has to happen, if something does.
pub fn unrest(sim: &Sim) -> Option<String> {
    let waiting = lock(&sim.shards).waiting();
    if waiting > 0 {
        return Some(format!("{waiting} records are not handled"));
    }
    let now = sim.now();
    // The last look for a log is at its deadline.
    let patience_ms = sim.settings.log_wait_ms_max + 2 * sim.settings.recheck_ms_max + 120_000;
    if lock(&sim.reference).last_ended().is_some_and(|ended| now < ended.plus_ms(patience_ms)) {
        return Some("logs are waited for".to_owned());
    }
    let (late, untold) = {
        let mut tables = lock(&sim.tables);
        tables.catch_up(now);
        (tables.due(now.plus_ms(-LATE_MS), 1).first().map(|item| Arc::clone(&item.key)), tables.untold())
    };
    if let Some(key) = late {
        return Some(format!("{key} is due and not looked at"));
    }
    if untold > 0 {
        return Some(format!("{untold} deletions are not dealt with"));
    }
    let locked = sim.organization.with(|world| world.quarantined());
    if let Some(account) = locked.keys().next() {
        return Some(format!("account {account} is locked"));
    }
    let right = right(sim);
    if let Some((key, _)) = right.sessions.iter().find(|(_, it)| it.violates == Must::Be && it.ended.is_none()) {
        return Some(format!("session {key} violates the rules and lives"));
    }
    let open = accounts(sim).into_iter().find(|account| {
        account.episode.as_ref().is_some_and(|episode| episode.holds() && episode.granted_at.is_some())
    });
    if let Some(account) = open {
        return Some(format!("the episode of account {} is not over", account.account));
    }
    unconfirmed(sim).map(|key| format!("the end of {key} is not confirmed"))
}

/// A session that was closed, and of which AWS has still to say that it ended.
fn unconfirmed(sim: &Sim) -> Option<Arc<str>> {
    let tables = lock(&sim.tables);
    let mut due = tables.of("session#").filter(|item| item.due.is_some());
    let waits = |session: Session| session.awaits_confirmation(&sim.settings);
    due.find(|item| item.decode().is_ok_and(waits)).map(|item| Arc::clone(&item.key))
}

/// The accounts, as they are stored.
fn accounts(sim: &Sim) -> Vec<Account> {
    let tables = lock(&sim.tables);
    tables.of("account#").filter_map(|item| item.decode().ok()).collect()
}

/// Compares what is stored and was reported with what is right (I4).
pub fn compare(sim: &Sim, judge: &Arc<Judge>) {
    let right = right(sim);
    let mut verdicts = Verdicts::new(Arc::clone(judge));
    for (key, wanted) in &right.sessions {
        *lock(&sim.watch).checks.entry("I4").or_default() += 1;
        let stored = session(sim, key).map(|(session, _)| session);
        if let Some(wrong) = wrong_with(sim, wanted, stored.as_ref(), &mut verdicts) {
            sim.broken("I4", key.to_string(), wrong);
        }
    }
    let stored = accounts(sim);
    for (account, must) in &right.accounts {
        *lock(&sim.watch).checks.entry("I5").or_default() += 1;
        let known = stored.iter().find(|one| one.account == *account);
        let episode = known.is_some_and(|account| account.episode.is_some());
        let wrong = match must {
            Must::Be => !episode,
            Must::NotBe => episode,
            Must::MayBe => false,
        };
        if wrong {
            sim.broken("I5", account.to_string(), format!("its window: {must:?}; an episode: {episode}"));
        }
    }
    reported(sim, &right.sessions.keys().map(ToString::to_string).collect());
    quiet(sim);
}

/// How long before its beginning and after its end an answer may have been given that a session's verdict rests on, in
/// milliseconds.
const KNOWN_MS: i64 = 30_000;

/// What is wrong with one session.
fn wrong_with(sim: &Sim, wanted: &SessionRight, stored: Option<&Session>, verdicts: &mut Verdicts) -> Option<String> {
    if wanted.forgotten {
        // What was deleted before its time may come back as anything, or not at all.
        return None;
    }
    let Some(session) = stored else {
        let lost = wanted.heard.is_none();
        return (!lost).then(|| "it was heard of, and is not stored".to_owned());
    };
    let Some(ended) = wanted.ended else {
        return Some("it lives after all have left".to_owned());
    };
    let verdict = session.verdict(&mut Rules { verdicts, settings: &sim.settings });
    let Phase::Closed(outcome) = session.phase(&verdict, &sim.settings) else {
        return Some(format!("it ended at {ended}, and is {:?}", session.phase(&verdict, &sim.settings)));
    };
    let outcome = outcome.as_str();
    let blind = sim.plan.rates.keys().any(|fault| BLINDING.contains(fault));
    // One that was over before anybody looked proves nothing.
    let shown = lock(&sim.watch).shown_alive.contains_key(&session.key);
    let missed = wanted.heard.is_none() || blind || !shown;
    let right = wanted.outcomes.contains(outcome) || missed && outcome == "unproven";
    if !right {
        return Some(format!("a {:?} came out as {outcome}, not {:?}", wanted.kind, wanted.outcomes));
    }
    let lived = [wanted.started.plus_ms(-KNOWN_MS), ended.plus_ms(KNOWN_MS)];
    let told = shown && watch::is_role_shown(sim, session.key.account, &wanted.role, lived);
    if outcome == "compliant" && !told {
        return Some("it is compliant, and no answer ever showed what it rests on (I11)".to_owned());
    }
    let found: BTreeSet<&str> = session.violations.iter().flat_map(|it| it.keys()).map(|control| &**control).collect();
    let own = wanted.kind.control();
    let written = lock(&sim.written);
    match (wanted.violates, own) {
        (Must::Be, Some(control)) if wanted.heard.is_some() => {
            let finding = format!("finding/{}/{control}", session.key);
            if !found.contains(control) {
                return Some(format!("{control} was not found"));
            }
            for id in [finding, format!("terminate/{}", session.key)] {
                if !written.entries.contains_key(&*id) {
                    return Some(format!("{id} was never reported"));
                }
            }
        }
        (Must::NotBe, _) => {
            let ending = session.violations.iter().flat_map(|it| it.iter());
            let ending: Vec<&str> = ending
                .filter(|(_, it)| it.response != sessionwarden_machine::effect::Response::Report)
                .map(|(control, _)| &**control)
                .collect();
            if !ending.is_empty() {
                return Some(format!("{ending:?} were found, and nothing was wrong"));
            }
        }
        (Must::Be | Must::MayBe, _) => {}
    }
    let closing = format!("verdict/{}", session.key);
    (!written.entries.contains_key(&*closing)).then(|| format!("{closing} was never reported"))
}

/// Faults that keep evidence from being seen.
const BLINDING: &[Fault] = &[
    Fault::AccountDenied,
    Fault::IamDenied,
    Fault::AccountSlow,
    Fault::CallFails,
    Fault::CallHangs,
    Fault::CallSlow,
    Fault::CallThrottled,
    Fault::Crash,
    Fault::EventLate,
    Fault::FeedDown,
    Fault::Pause,
    Fault::ReadHangs,
    Fault::RegionGone,
    Fault::StartLate,
    Fault::StoreFails,
    Fault::StoreSlow,
    Fault::StsExpired,
    Fault::TtlEarly,
];

/// I4: effects have ids that come from what causes them, so that each id is one of a few for each session.
fn reported(sim: &Sim, sessions: &BTreeSet<String>) {
    let written = lock(&sim.written);
    let odd = written.entries.keys().find(|id| {
        let Some(rest) = id.strip_prefix("terminate/").or_else(|| id.strip_prefix("verdict/")) else { return false };
        !sessions.contains(rest)
    });
    let odd = odd.cloned();
    drop(written);
    if let Some(id) = odd {
        sim.broken("I4", id.to_string(), "an effect that no cause has");
    }
}

/// I7: no lock is left, in the organisation or in the register.
fn quiet(sim: &Sim) {
    let left: Vec<AccountId> = sim.organization.with(|world| world.quarantined().into_keys().collect());
    for account in left {
        sim.broken("I7", Subject::Account(account).to_string(), "locked after all is over");
    }
}
