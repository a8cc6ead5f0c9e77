//! The promises, checked at every step of the models.
//!
//! What follows from one subject's state alone (parts of I1, I5 to I8, I10, I11, I15, I16) the product checks itself after
//! each save; what it finds comes here through [`super::host::SimHost`]. What needs to know more than one subject, or the
//! truth, is checked here, at the call that would break it: checkpoints and deletions of wake-ups (I2), writes (I3),
//! terminations (I10, I11), locks (I5, I6, I7), looks at places (I11); and every five simulated seconds, what lives every
//! fifteen, for what time must bring (I1, I7, I8, I9, I13). I4, I12 and I14 are about the end, see [`super::converge`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::fast::FixedState;
use sessionwarden::outbound::Wake;
use sessionwarden_machine::{
    account::Account,
    effect::Response,
    ids::{AccountId, Now, SessionKey, Subject},
    invariants::Broken,
    lease::ShardId,
    place::Place,
    posture::Who,
    session::{Life, Rules, Session},
    settings::Tier,
};
use sessionwarden_store::{Fence, Item};

use super::{
    host::SimHost,
    reference::{Happened, Kind, Must, Right},
    sim::{START, Sim, lock},
    store::Row,
    stream::Meaning,
};

/// How long after the last trouble things must have caught up, in milliseconds.
const CALM_MS: i64 = 180_000;
/// How long after its evidence a violating session may live in calm times, in milliseconds (I1).
const ENDED_MS_MAX: i64 = 150_000;
/// The same where nothing ever goes wrong.
const ENDED_SOON_MS_MAX: i64 = 60_000;
/// How much longer than its time a lock may last in calm times, in milliseconds (I7).
const LOCKED_MS_MAX: i64 = 60_000;
/// How long something may be overdue in calm times, in milliseconds (I8, I13).
const OVERDUE_MS_MAX: i64 = 120_000;
/// For how long it is looked whether a session that lives became known, in milliseconds.
const KNOWN_MS: i64 = 60_000;
/// How often it is looked what lives.
const ALIVE_EVERY_MS: i64 = 15_000;
/// How often one item may be read and written between two looks around. A worker that looks at something again and again, as
/// if it were always due, does so thousands of times.
const TOUCHES_MAX: u32 = 250;
/// How much older than the look at its place the answer about a session may be, in milliseconds: it takes a while to be
/// written.
const COUNTED_MS_MAX: i64 = 2_000;
/// At which revisions of a place that is looked into.
const COUNTED_EVERY: u64 = 3;
/// How far the clocks of workers and world may be apart, and how long an index may lag, in milliseconds.
const SLACK_MS: i64 = 5_500;

/// What was found.
#[derive(Debug, Default)]
pub struct Watch {
    /// Promises that did not hold, and when that was seen.
    pub broken: Vec<(Now, Broken)>,
    /// Sessions that some answer showed alive, and when one last did.
    pub shown_alive: HashMap<SessionKey, Now, FixedState>,
    /// When some answer told of a role, in order.
    pub shown_roles: BTreeMap<(AccountId, Arc<str>), Vec<Now>>,
    /// How often each promise was checked here.
    pub checks: BTreeMap<&'static str, u64>,
    /// Since when each account is locked, for which episode and how strictly.
    attached: BTreeMap<AccountId, (u32, Tier, Now)>,
    /// When it was last looked what lives.
    looked: Now,
    /// How often each item was read and written since the last look around.
    touches: HashMap<Arc<str>, u32, FixedState>,
}

fn count(sim: &Sim, id: &'static str) {
    *lock(&sim.watch).checks.entry(id).or_default() += 1;
}

fn expect(sim: &Sim, id: &'static str, holds: bool, subject: &str, what: &str) {
    count(sim, id);
    if !holds {
        sim.broken(id, subject, what);
    }
}

/// A session as it is stored.
pub fn session(sim: &Sim, key: &SessionKey) -> Option<(Session, Item)> {
    let name = Subject::Session(key.clone()).to_string();
    let item = lock(&sim.tables).rows.get(&*name).map(|row| row.item.clone())?;
    Some((item.decode().ok()?, item))
}

fn account(sim: &Sim, account: AccountId) -> Option<Account> {
    let name = Subject::Account(account).to_string();
    let item = lock(&sim.tables).rows.get(&*name).map(|row| row.item.clone())?;
    item.decode().ok()
}

/// What is right by now.
pub fn right(sim: &Sim) -> Right {
    lock(&sim.reference).right(sim.now())
}

/// I2, I12: a record is checkpointed, so what follows from it must be stored.
pub fn is_durable(sim: &Sim, place: &str, meaning: &Meaning) {
    let key = match meaning {
        Meaning::Nothing => return,
        Meaning::Unreadable => {
            let parked = lock(&sim.written).parked.contains(place);
            return expect(sim, "I12", parked, place, "checkpointed, and neither read nor parked");
        }
        Meaning::Start(key) | Meaning::Resume(key) | Meaning::Terminate(key) => key,
    };
    if lock(&sim.troubles).forgotten.contains(key) {
        return;
    }
    let stored = session(sim, key);
    let holds = stored.is_some_and(|(session, _)| match meaning {
        Meaning::Start(_) => session.start.is_some(),
        Meaning::Resume(_) => !session.resumes.is_empty(),
        Meaning::Terminate(_) => session.terminated.is_some(),
        Meaning::Nothing | Meaning::Unreadable => true,
    });
    expect(sim, "I2", holds, place, &format!("checkpointed before {meaning:?} was stored"));
}

/// Liveness: nobody goes round in circles. Time does not pass for who asks without waiting, so nothing else would show it.
pub fn touched(sim: &Sim, key: &str) {
    let mut watch = lock(&sim.watch);
    let Some(touches) = watch.touches.get_mut(key) else {
        watch.touches.insert(key.into(), 1);
        return;
    };
    *touches += 1;
    let touches = *touches;
    drop(watch);
    if touches == TOUCHES_MAX {
        let what = format!("read and written {TOUCHES_MAX} times within 5 s: somebody goes round in circles");
        sim.broken("liveness", key, what);
    }
}

/// I3: what events tell is written under the fence of the shard they came from, and under none that is lower than the last.
pub fn saved(host: &SimHost, before: Option<&Row>, key: &str, fence: Option<&Fence>) {
    let sim = &host.sim;
    if sim.plan.rates.is_empty()
        && let Ok(Subject::Place(account, region)) = key.parse()
    {
        return counted(sim, key, account, &region);
    }
    if !key.starts_with("session#") {
        return;
    }
    let tells = |body: &[u8]| body.windows(9).any(|window| window == br#""start":{"#);
    match fence {
        None => {
            // The body is looked through only where it could have grown by an event.
            let knows = || lock(&sim.tables).rows.get(key).is_some_and(|row| tells(&row.item.body));
            let knew = before.is_some_and(|row| tells(&row.item.body));
            // Whoever had read what was deleted before its time may write it once more: revisions begin anew.
            let forgotten = || {
                let session = key.parse::<Subject>();
                matches!(session, Ok(Subject::Session(key)) if lock(&sim.troubles).forgotten.contains(&key))
            };
            let holds = knew || !knows() || forgotten();
            expect(sim, "I3", holds, key, "what an event told was written without a fence");
        }
        Some(fence) => {
            let behind = before.and_then(|row| row.fence.as_ref()).is_some_and(|held| fence.is_behind(held));
            expect(sim, "I3", !behind, key, "written under a fence that is behind");
        }
    }
}

/// I11: a place that was looked at stands for all sessions that rest in it, so they must have been asked about. Where
/// nothing goes wrong: else answers may take as long to be written as to grow old.
fn counted(sim: &Sim, place: &str, account: AccountId, region: &str) {
    let resting = {
        let tables = lock(&sim.tables);
        let place = tables.rows.get(place).map(|row| &row.item).filter(|item| item.rev % COUNTED_EVERY == 0);
        let looked_at = place.and_then(|item| item.decode::<Place>().ok()).and_then(|place| place.looked_at);
        looked_at.map(|at| (at, tables.due_in(&format!("{account}#{region}~"), Now(i64::MAX))))
    };
    let Some((looked_at, resting)) = resting else { return };
    for key in resting {
        let Ok(Subject::Session(session)) = key.parse() else { continue };
        let asked = lock(&sim.watch).shown_alive.get(&session).copied();
        let holds = asked.is_some_and(|asked| asked >= looked_at.plus_ms(-COUNTED_MS_MAX));
        expect(sim, "I11", holds, &key, "its place counts it as looked at, and nobody had asked about it");
    }
}

/// I3: a write is refused for its fence, so its shard must have been taken over since.
pub fn refused(host: &SimHost, key: &str, fence: Option<&Fence>) {
    let Some(fence) = fence else { return };
    let shards = lock(&host.sim.shards);
    let latest = shards.rows.get(&ShardId::from(&*fence.shard)).map(|row| row.fence);
    drop(shards);
    let what = format!("refused under fence {}, with which {} is held", fence.number, fence.shard);
    expect(&host.sim, "I3", latest.is_none_or(|latest| latest > fence.number), key, &what);
}

/// What is due in the lane of a wake-up that is received, and its revision.
pub fn due_at_receipt(sim: &Sim, wake: &Wake) -> Vec<(Arc<str>, u64)> {
    let partition = format!("{}#{}", wake.account, wake.region);
    let until = sim.now().plus_ms(-SLACK_MS);
    let mut tables = lock(&sim.tables);
    tables.catch_up(sim.now());
    let due = tables.due_in(&partition, until);
    due.into_iter().filter_map(|key| Some((Arc::clone(&key), tables.rows.get(&key)?.item.rev))).collect()
}

/// I2: a wake-up is deleted, so what was due when it was received must have been looked at.
pub fn wake_done(host: &SimHost, wake: &Wake, due: &[(Arc<str>, u64)]) {
    for (key, rev) in due {
        let untouched = lock(&host.sim.tables).rows.get(key).is_some_and(|row| row.item.rev == *rev);
        let what = format!("the wake-up of {} {} was deleted, and nobody had looked", wake.account, wake.region);
        expect(&host.sim, "I2", !untouched, key, &what);
    }
}

/// What an answer showed.
pub fn shown(sim: &Sim, lives: &BTreeMap<SessionKey, Life>) {
    let alive = lives.iter().filter(|(_, life)| matches!(life, Life::Alive(_))).map(|(key, _)| key);
    let (now, mut watch) = (sim.now(), lock(&sim.watch));
    for key in alive {
        match watch.shown_alive.get_mut(key) {
            Some(at) => *at = now,
            None => drop(watch.shown_alive.insert(key.clone(), now)),
        }
    }
}

/// A role is told of.
pub fn shown_role(sim: &Sim, account: AccountId, who: &Who) {
    if let Who::Role(role) = who {
        lock(&sim.watch).shown_roles.entry((account, Arc::clone(role))).or_default().push(sim.now());
    }
}

/// Whether some answer told of a role within this time.
pub fn is_role_shown(sim: &Sim, account: AccountId, role: &Arc<str>, [since, until]: [Now; 2]) -> bool {
    let watch = lock(&sim.watch);
    let times = watch.shown_roles.get(&(account, Arc::clone(role))).map(Vec::as_slice).unwrap_or_default();
    times.get(times.partition_point(|at| *at < since)).is_some_and(|at| *at <= until)
}

/// Whether an account's sessions are ended because it is locked, or was a moment ago.
fn is_swept(sim: &Sim, id: AccountId) -> bool {
    let episode = account(sim, id).and_then(|account| account.episode);
    episode.is_some_and(|episode| {
        let since = episode.released_at.is_none_or(|at| sim.now() < at.plus_ms(60_000));
        episode.granted_at.is_some() && since
    })
}

/// I10, I11: a session is about to be ended.
pub fn terminates(sim: &Sim, key: &SessionKey) {
    let name = key.to_string();
    let locked = is_swept(sim, key.account);
    let stored = session(sim, key);
    let guilty = lock(&sim.reference).session(key, sim.now()).is_some_and(|session| session.may_be_ended);
    let found: Vec<Arc<str>> =
        stored.iter().flat_map(|(session, _)| &session.violations).flat_map(|found| found.keys().cloned()).collect();
    let what = format!("it is ended for {found:?}, and nothing was ever wrong with it");
    expect(sim, "I11", guilty || locked, &name, &what);
    let violates = stored.as_ref().is_some_and(|(session, _)| {
        session.violations.iter().flat_map(|found| found.values()).any(|found| found.response == Response::Terminate)
    });
    let forgotten = lock(&sim.troubles).forgotten.contains(key);
    expect(sim, "I10", violates || locked || forgotten, &name, "it is ended, and no evidence for that is stored");
    let again = stored.as_ref().is_some_and(|(session, _)| violates_again(sim, session));
    expect(sim, "I10", again || locked || forgotten, &name, "it is ended, and what is stored of it violates nothing");
    let intended = lock(&sim.written).intents.contains_key(&*format!("terminate/{key}"));
    expect(sim, "I10", intended || locked, &name, "it is ended, and the intent is not in the audit trail");
}

/// Whether a session's stored evidence, judged anew, violates a control that ends sessions.
fn violates_again(sim: &Sim, session: &Session) -> bool {
    let mut verdicts = lock(&sim.verdicts);
    let verdict = session.verdict(&mut Rules { verdicts: &mut verdicts, settings: &sim.settings });
    let judge = verdicts.judge();
    verdict.violated.iter().any(|(control, ..)| judge.control(*control).response == Response::Terminate)
}

/// I5, I6, I7: a quarantine policy is about to be attached.
pub fn locks(sim: &Sim, id: AccountId, tier: Tier) {
    let name = id.to_string();
    let rules = &sim.settings.quarantine;
    expect(sim, "I6", !rules.exempt.contains(&id), &name, "an exempt account is locked");
    let others = sim.organization.with(|world| world.quarantined().keys().filter(|other| **other != id).count());
    expect(sim, "I6", others < rules.concurrent_max, &name, "more locks than may be at one time");
    let approvers = lock(&sim.approvers).get(&id).map_or(0, BTreeSet::len);
    expect(sim, "I6", approvers >= rules.approvals.into(), &name, "locked, and too few people were for it");
    let stored = account(sim, id);
    let episode = stored.as_ref().and_then(|account| account.episode.as_ref());
    let recorded = episode.is_some_and(|episode| episode.granted_at.is_some() && episode.holds());
    expect(sim, "I7", recorded, &name, "a lock that belongs to no episode");
    if let Some(episode) = episode.filter(|episode| episode.locked_at.is_none()) {
        // Its time begins when it is known to hold: an attempt whose answer was lost is made again.
        lock(&sim.watch).attached.insert(id, (episode.number, episode.tier, sim.now()));
    }
    let reference = lock(&sim.reference);
    let named = episode.map(|episode| episode.named.clone()).unwrap_or_default();
    let confirmed = named.iter().filter(|key| {
        let session = reference.session(key, sim.now());
        session.is_some_and(|session| session.violates != Must::NotBe && session.ended.is_some())
    });
    let enough = confirmed.count() >= rules.sessions_min;
    let counted = reference.account(id, sim.now()) != Must::NotBe;
    let (people, violators) = (reference.people(named.iter()), reference.violators(id, sim.now()));
    drop(reference);
    let strict = match tier {
        Tier::Principal => people < rules.access_principals_min,
        // Sessions that a lock does not answer raise its tier.
        Tier::Access if episode.is_some_and(|episode| episode.counted_until > episode.crossed_at) => {
            violators >= rules.access_principals_min
        }
        Tier::Access => people >= rules.access_principals_min,
        Tier::Channel => approvers > 0,
    };
    expect(
        sim,
        "I5",
        strict,
        &name,
        &format!("locked by tier {tier:?}, with {people} of {violators} people behind it"),
    );
    expect(sim, "I5", enough, &name, "locked without so many violating sessions that were ended");
    expect(sim, "I5", counted, &name, "locked although its window was never full");
}

/// Whether nothing has held everything up for a while, in any account.
pub fn is_calm(sim: &Sim) -> bool {
    let (troubles, now) = (lock(&sim.troubles), sim.now());
    let long_ago = |until: &Now| now > until.plus_ms(CALM_MS);
    long_ago(&troubles.calm_since) && troubles.touched.values().all(long_ago)
}

/// What time must have brought.
pub fn tick(sim: &Sim) {
    let now = sim.now();
    let (calm, touched): (bool, BTreeMap<AccountId, Now>) = {
        let troubles = lock(&sim.troubles);
        (now > troubles.calm_since.plus_ms(CALM_MS), troubles.touched.clone())
    };
    let fine = |account: AccountId| touched.get(&account).is_none_or(|until| now > until.plus_ms(CALM_MS));
    lock(&sim.watch).touches.clear();
    attachments(sim, now, calm);
    if !calm {
        return;
    }
    overdue(sim, now, &fine, !touched.values().all(|until| now > *until));
    if now >= lock(&sim.watch).looked.plus_ms(ALIVE_EVERY_MS) {
        lock(&sim.watch).looked = now;
        alive(sim, now, &fine);
    }
}

/// I7: every quarantine ends in its time, whoever detached it meanwhile, or a person is asked for help.
fn attachments(sim: &Sim, now: Now, calm: bool) {
    let rules = &sim.settings.quarantine;
    for id in sim.organization.with(|world| world.quarantined()).into_keys() {
        let episode = account(sim, id).and_then(|account| account.episode);
        let since = {
            let fresh = episode.as_ref().map_or((0, Tier::Access, now), |episode| (episode.number, episode.tier, now));
            let mut watch = lock(&sim.watch);
            let known = watch.attached.entry(id).or_insert(fresh);
            if (known.0, known.1) != (fresh.0, fresh.1) {
                *known = fresh;
            }
            known.2
        };
        let over = since.plus_ms(rules.duration_ms + LOCKED_MS_MAX);
        let ends_at = episode.as_ref().filter(|episode| episode.holds()).and_then(|episode| episode.ends_at(rules));
        let in_time = ends_at.is_none_or(|at| at <= over);
        expect(sim, "I7", in_time, &id.to_string(), "its lock is to last longer than a lock lasts");
        let told = || {
            let stuck = format!("incident/lock-stuck/{id}");
            episode.as_ref().is_some_and(|episode| episode.hopeless || episode.failures > 0)
                || lock(&sim.written).entries.keys().any(|entry| entry.starts_with(&stuck))
        };
        let ends = now <= over || !calm || told();
        expect(sim, "I7", ends, &id.to_string(), "locked for longer than a lock lasts, and nobody was told");
    }
}

/// I8, I13: what is due is looked at, whatever other accounts do.
fn overdue(sim: &Sim, now: Now, fine: &dyn Fn(AccountId) -> bool, others: bool) {
    let late = lock(&sim.tables).due(now.plus_ms(-OVERDUE_MS_MAX), usize::MAX);
    count(sim, if others { "I13" } else { "I8" });
    for item in late {
        let account = match item.key.parse::<Subject>() {
            Ok(Subject::Session(key)) => key.account,
            Ok(Subject::Place(account, _)) => account,
            Ok(Subject::Account(_) | Subject::Incident(_) | Subject::Register) | Err(_) => continue,
        };
        if fine(account) {
            let late_ms = now.0 - item.due.at.0;
            let id = if others { "I13" } else { "I8" };
            sim.broken(id, &*item.key, format!("{late_ms} ms overdue, and nothing stands in its way"));
        }
    }
}

/// I1, I8, I9: what lives is known and asked about, and what may not live ends.
fn alive(sim: &Sim, now: Now, fine: &dyn Fn(AccountId) -> bool) {
    let ended_ms_max = if sim.plan.rates.is_empty() { ENDED_SOON_MS_MAX } else { ENDED_MS_MAX };
    let patience_ms = sim.plan.reconcile_ms as i64 + CALM_MS;
    let waived = sim.plan.waiver_ends_ms.is_some_and(|ms| now < START.plus_ms(ms + ENDED_MS_MAX));
    let alive: Vec<SessionKey> = sim.organization.with(|world| world.live().cloned().collect());
    let (reference, troubles) = (lock(&sim.reference), lock(&sim.troubles));
    let (mut checks, mut broken) = ([0; 3], Vec::new());
    for key in alive.iter().filter(|key| fine(key.account)) {
        let Some(session) = reference.known(key).filter(|session| !session.forgotten) else { continue };
        let missed_at = session.started.max(troubles.calm_since).plus_ms(patience_ms);
        // What is known stays known, but for what Time to Live deletes.
        if now > missed_at && now <= missed_at.plus_ms(KNOWN_MS) {
            checks[0] += 1;
            let name = Subject::Session(key.clone()).to_string();
            if !lock(&sim.tables).rows.contains_key(&*name) {
                broken.push(("I9", name, "alive for longer than a comparison takes, and not known"));
            }
        }
        let Some(heard) = session.heard else { continue };
        if now > troubles.calm_since.plus_ms(patience_ms) {
            checks[1] += 1;
            let asked = lock(&sim.watch).shown_alive.get(key).copied().unwrap_or(session.started);
            if now > asked.plus_ms(sim.settings.recheck_ms_max + OVERDUE_MS_MAX) {
                broken.push(("I8", key.to_string(), "alive, and nobody has asked about it for long"));
            }
        }
        if now <= heard.plus_ms(ended_ms_max) || waived && session.kind == Kind::Ssh {
            continue;
        }
        let spoiled = || {
            let changed = troubles.roles_changed.get(&(key.account, Arc::clone(&session.role)));
            changed.is_some_and(|at| now > at.plus_ms(ended_ms_max)) && reference.is_spoiled(key)
        };
        if reference.must_end(session, now) || session.kind == Kind::Shell && spoiled() {
            checks[2] += 1;
            let told = format!("incident/termination-unconfirmed/{key}");
            if !lock(&sim.written).entries.contains_key(&*told) {
                broken.push(("I1", key.to_string(), "it violates the rules, lives, and no incident says why"));
            }
        }
    }
    drop((reference, troubles));
    for (id, times) in ["I9", "I8", "I1"].into_iter().zip(checks) {
        *lock(&sim.watch).checks.entry(id).or_default() += times;
    }
    for (id, subject, what) in broken {
        sim.broken(id, subject, what);
    }
}

/// What really happened to a session that was deleted.
pub fn forget(sim: &Sim, key: &SessionKey) {
    lock(&sim.troubles).forgotten.insert(key.clone());
    sim.happened(&Happened::Forgotten { key: key.clone() });
}
