//! From facts to answers: merge what the threads gathered, judge each session once, look at each account's window.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    account::{Decision, by_account, decide, first_crossing, tier_for},
    compliance::Verdicts,
    effect::{Counted, Effect, Mode, Response},
    ids::{AccountId, Now},
    incident::Incident,
    session::{Rules, Session, Verdict},
    settings::Settings,
};

use super::{
    Options, ReplayError, Summary,
    fold::{PARTS, Part, merge_incident},
    past::Past,
    summary::Crossed,
};
use crate::feed::FeedSink;

/// How many sessions are told of a snapshot at one time.
const TOLD_AT_ONCE: usize = 4_096;

type Gathered = (Vec<Part>, BTreeMap<Arc<str>, Incident>);

/// What one part of the sessions comes to.
#[derive(Default)]
struct PartSummary {
    summary: Summary,
    counted: Vec<Counted>,
    accounts: BTreeSet<AccountId>,
    sessions: Vec<Box<Session>>,
    unproven: BTreeMap<Arc<str>, BTreeSet<&'static str>>,
}

/// What everything comes to.
pub(super) struct Concluded {
    pub(super) summary: Summary,
    /// The reportable sessions, where they were to be kept.
    pub(super) sessions: Vec<Box<Session>>,
    pub(super) incidents: BTreeMap<Arc<str>, Incident>,
}

pub(super) fn conclude(
    gathered: Vec<Gathered>,
    options: &Options,
    settings: &Settings,
    keep: bool,
) -> Result<Concluded, ReplayError> {
    let (judge, threads) = (&options.judge, options.threads.max(1));
    let mut incidents = BTreeMap::new();
    let mut parts: Vec<Vec<Part>> = std::iter::repeat_with(Vec::new).take(PARTS).collect();
    for (theirs, opened) in gathered {
        for (all, part) in parts.iter_mut().zip(theirs) {
            all.push(part);
        }
        for (cause, incident) in opened {
            merge_incident(&mut incidents, cause, incident);
        }
    }
    let desk = || Desk {
        verdicts: Verdicts::new(Arc::clone(judge)),
        past: options.snapshot.as_deref().map(Past::new),
        settings,
    };
    let concluded = spread(parts, threads, desk, |parts, desk| conclude_part(parts, desk, keep))?;

    let mut total = Summary { policy: judge.policy_hash().to_string(), ..Summary::default() };
    let (mut counted, mut accounts, mut sessions) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut unproven: BTreeMap<Arc<str>, BTreeSet<&'static str>> = BTreeMap::new();
    for part in concluded {
        add(&mut total, &part.summary);
        counted.extend(part.counted);
        accounts.extend(part.accounts);
        sessions.extend(part.sessions);
        for (control, needs) in part.unproven {
            unproven.entry(control).or_default().extend(needs);
        }
    }
    total.not_evaluated = unproven
        .into_iter()
        .map(|(control, needs)| (control.to_string(), needs.into_iter().map(str::to_owned).collect()))
        .collect();
    for incident in incidents.values().filter(|incident| incident.response != Response::Report) {
        total.incidents += 1;
        *total.incidents_by_cause.entry(incident.control.to_string()).or_default() += 1;
    }
    thresholds(counted, settings, &mut total);
    Ok(Concluded { summary: total, sessions, incidents })
}

/// What one thread judges with; it remembers its answers from one part to the next.
struct Desk<'a> {
    verdicts: Verdicts,
    past: Option<Past<'a>>,
    settings: &'a Settings,
}

/// Runs `work` on every part, on so many threads.
fn spread<'a>(
    parts: Vec<Vec<Part>>,
    threads: usize,
    desk: impl Fn() -> Desk<'a> + Sync,
    work: impl Fn(Vec<Part>, &mut Desk<'a>) -> Result<PartSummary, ReplayError> + Sync,
) -> Result<Vec<PartSummary>, ReplayError> {
    if threads == 1 {
        let mut desk = desk();
        return parts.into_iter().map(|parts| work(parts, &mut desk)).collect();
    }
    let queue = std::sync::Mutex::new(parts);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
                    let mut desk = desk();
                    std::iter::from_fn(next).map(|parts| work(parts, &mut desk)).collect::<Vec<_>>()
                })
            })
            .collect();
        let done: Result<Vec<_>, _> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.map_err(|_| ReplayError::Thread)?.into_iter().flatten().collect()
    })
}

fn conclude_part(parts: Vec<Part>, desk: &mut Desk<'_>, keep: bool) -> Result<PartSummary, ReplayError> {
    let Some(mut all) = parts.into_iter().reduce(|mut all, part| {
        all.merge(part);
        all
    }) else {
        return Ok(PartSummary::default());
    };
    let mut out = PartSummary::default();
    out.summary.events.relevant = all.events.len() as u64;
    out.summary.refused_calls = all.refused.len() as u64;
    all.events = std::collections::HashSet::default();
    let mut sessions = all.sessions.drain();
    if desk.past.is_none() {
        sessions.for_each(|session| out.take(session, desk, keep));
        return Ok(out);
    }
    loop {
        let mut some: Vec<Box<Session>> = sessions.by_ref().take(TOLD_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(out);
        }
        if let Some(past) = &mut desk.past {
            past.tell(&mut some, desk.settings, desk.verdicts.judge()).map_err(ReplayError::Runtime)?;
        }
        for session in some {
            out.take(session, desk, keep);
        }
    }
}

impl PartSummary {
    /// Judges one session and counts it.
    fn take(&mut self, mut session: Box<Session>, desk: &mut Desk<'_>, keep: bool) {
        let summary = &mut self.summary;
        let verdict = session.judge(&mut Rules { verdicts: &mut desk.verdicts, settings: desk.settings });
        summary.sessions.seen += 1;
        summary.sessions.open += u64::from(session.is_open());
        summary.sessions.waived += u64::from(!verdict.waived.is_empty());
        self.accounts.insert(session.key.account);
        for open in &verdict.unproven {
            let needs = open.needs.iter().map(|kind| kind.as_str());
            match self.unproven.get_mut(&open.control) {
                Some(known) => known.extend(needs),
                None => drop(self.unproven.insert(Arc::clone(&open.control), needs.collect())),
            }
        }
        summary.sessions.violating += u64::from(session.is_violating());
        if let Some(violations) = &session.violations {
            for (control, violation) in violations.iter() {
                *summary.sessions.by_control.entry(control.to_string()).or_default() += 1;
                if violation.response == Response::Incident {
                    summary.incidents += 1;
                    *summary.incidents_by_cause.entry(control.to_string()).or_default() += 1;
                }
            }
            self.counted.extend(session.counted());
        }
        if keep && (desk.settings.activity || session.violations.is_some()) {
            self.sessions.push(session);
        }
    }
}

fn add(total: &mut Summary, part: &Summary) {
    total.events.relevant += part.events.relevant;
    total.refused_calls += part.refused_calls;
    total.incidents += part.incidents;
    total.sessions.seen += part.sessions.seen;
    total.sessions.open += part.sessions.open;
    total.sessions.violating += part.sessions.violating;
    total.sessions.waived += part.sessions.waived;
    for (control, sessions) in &part.sessions.by_control {
        *total.sessions.by_control.entry(control.clone()).or_default() += sessions;
    }
    for (cause, incidents) in &part.incidents_by_cause {
        *total.incidents_by_cause.entry(cause.clone()).or_default() += incidents;
    }
}

/// A violating session counts as terminated at the time of the evidence: the threshold shows what would have happened.
fn thresholds(counted: Vec<Counted>, settings: &Settings, total: &mut Summary) {
    let mut enforced = Settings { mode: Mode::Enforce, organization: true, ..settings.clone() };
    enforced.quarantine.mode = Mode::Enforce;
    for (account, counted) in by_account(counted) {
        let counted: Vec<_> = counted.iter().collect();
        let Some(crossing) = first_crossing(&counted, &settings.quarantine) else {
            continue;
        };
        total.accounts.over_threshold += 1;
        let tier = tier_for(&crossing.principals, &enforced.quarantine).map_or("", |tier| tier.as_str());
        let decision = match decide(account, &crossing.principals, &enforced) {
            Decision::Lock => format!("would be locked ({tier})"),
            Decision::Observed => "observed".to_owned(),
            Decision::Refused(rule) => format!("would not be locked: {rule}"),
        };
        total.accounts.crossed.insert(
            account.to_string(),
            Crossed {
                at: crossing.at.to_string(),
                sessions: crossing.sessions.len(),
                principals: crossing.principals.len(),
                decision,
            },
        );
    }
}

/// Writes everything reportable, sessions in the order of their beginning.
pub(super) fn write_feed(
    mut feed: FeedSink,
    mut sessions: Vec<Box<Session>>,
    incidents: &BTreeMap<Arc<str>, Incident>,
    settings: &Settings,
) -> Result<(), ReplayError> {
    sessions.sort_unstable_by(|a, b| (a.born_at(), &a.key).cmp(&(b.born_at(), &b.key)));
    let reports = sessions.iter().flat_map(|session| session.wanted(&Verdict::default(), Now(0), settings));
    let others = incidents.values().flat_map(|incident| incident.wanted(Now(0), settings));
    for effect in reports.chain(others) {
        if let Effect::Report(report) = effect {
            feed.write(&report)?;
        }
    }
    feed.finish()?;
    Ok(())
}
