use proptest::prelude::*;

use super::*;
use crate::session::tests::support::{ACCOUNT, account, at, ids, key, now, principal};

const ROOMY: Fleet = Fleet { accounts: 100, locked: 0, locked_last_hour: 0 };

fn counted(seconds: i64, session: usize) -> Counted {
    by(seconds, session, "ann")
}

fn by(seconds: i64, session: usize, name: &str) -> Counted {
    let arn = if name.is_empty() { "".into() } else { principal(name).arn };
    let controls = BTreeSet::from(["SW-DOC-02".into()]);
    Counted { at: at(seconds), session: key(&format!("ann-{session}")), principal: arn, controls }
}

fn enforcing() -> Settings {
    Settings { mode: Mode::Enforce, ..Settings::default() }
}

/// Counts sessions, each at its time.
fn fill(one: &mut Account, settings: &Settings, all: impl IntoIterator<Item = Counted>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for counted in all {
        let seconds = (counted.at.0 - at(0).0) / 1_000;
        effects = one.step(AccountInput::Counted(counted), now(seconds), settings, ROOMY);
    }
    effects
}

fn fresh() -> Account {
    Account::new(account(ACCOUNT))
}

fn crosses(all: &[Counted], settings: &Settings) -> bool {
    let mut one = fresh();
    fill(&mut one, settings, all.iter().cloned());
    one.episode.is_some()
}

/// An account that is to be locked, at 90 s; its first reports are durable.
fn locking() -> (Account, Settings) {
    let (mut one, settings) = (fresh(), enforcing());
    let effects = fill(&mut one, &settings, (0..10).map(|n| counted(n * 10, n as usize)));
    assert_eq!(ids(&effects), [format!("incident/threshold/{ACCOUNT}/1"), format!("lock/{ACCOUNT}/1")]);
    let done = effects.iter().map(|effect| effect.id().clone()).collect();
    assert_eq!(calls(&one.step(AccountInput::Done(done), now(90), &settings, ROOMY)), ["lock"]);
    (one, settings)
}

/// What is called and what is reported, by the beginnings of the ids.
fn calls(effects: &[Effect]) -> Vec<String> {
    let ending = format!("/{ACCOUNT}/");
    ids(effects).iter().map(|id| id.split(&ending).next().unwrap().to_owned()).collect()
}

// R-G11
#[test]
fn people_are_told_of_an_episode_once() {
    let (mut one, settings) = (fresh(), Settings { notify: true, ..enforcing() });
    let effects = fill(&mut one, &settings, (0..10).map(|n| counted(n * 10, n as usize)));
    assert_eq!(calls(&effects), ["incident/threshold", "lock", "notify/incident/threshold"]);
    let told = EffectId(format!("notify/incident/threshold/{ACCOUNT}/1").into());
    let left = one.step(AccountInput::Done(vec![told]), now(90), &settings, ROOMY);
    assert_eq!(calls(&left), ["incident/threshold", "lock"]);
}

// R-G12: ten sessions within 300 s; nine are not enough, and neither are ten in 300 s and more.
#[test]
fn ten_sessions_in_the_window_fill_it() {
    let settings = enforcing();
    let spread = |count: usize, last: i64| -> Vec<Counted> {
        (0..count).map(|n| counted(if n + 1 == count { last } else { 0 }, n)).collect()
    };
    assert!(!crosses(&spread(9, 10), &settings));
    assert!(crosses(&spread(10, 10), &settings));
    assert!(crosses(&spread(10, 299), &settings));
    assert!(!crosses(&spread(10, 300), &settings));
    assert!(!crosses(&[], &settings));
    // Both numbers can be configured.
    let mut other = settings.clone();
    (other.quarantine.sessions_min, other.quarantine.window_ms) = (3, 1_000);
    assert!(crosses(&[counted(0, 0), counted(0, 1), counted(0, 2)], &other));
    assert!(!crosses(&[counted(0, 0), counted(0, 1), counted(1, 2)], &other));
}

// R-W27: nine before the edge of a tumbling window and nine after it are eighteen in a sliding one.
#[test]
fn nine_and_nine_across_an_edge_fill_the_window() {
    let settings = enforcing();
    let nine = |seconds: i64, first: usize| (first..first + 9).map(move |n| counted(seconds, n));
    let across: Vec<Counted> = nine(295, 0).chain(nine(305, 9)).collect();
    assert!(crosses(&across, &settings));
    let apart: Vec<Counted> = nine(0, 0).chain(nine(300, 9)).collect();
    assert!(!crosses(&apart, &settings));
    // Each account by itself.
    let elsewhere = |mut counted: Counted| {
        counted.session.account = account(444_455_556_666);
        counted
    };
    let accounts = by_account(nine(0, 0).chain(nine(0, 9).map(elsewhere)));
    for counted in accounts.values() {
        assert_eq!(first_crossing(&counted.iter().collect::<Vec<_>>(), &settings.quarantine), None);
    }
    assert_eq!(accounts.len(), 2);
}

// R-W2, I5: a session counts once, whatever is said of it and how often.
#[test]
fn a_repeated_session_counts_once() {
    let settings = enforcing();
    let mut repeated: Vec<Counted> = (0..9).map(|n| counted(n, n as usize)).collect();
    repeated.extend((0..9).map(|n| counted(n, n as usize)));
    repeated.extend((0..9).map(|n| counted(n + 20, n as usize)));
    assert!(!crosses(&repeated, &settings));
    repeated.sort();
    let listed: Vec<&Counted> = repeated.iter().collect();
    assert_eq!(first_crossing(&listed, &settings.quarantine), None);
    // The earliest time counts, whichever comes first.
    for order in [[5, 3], [3, 5]] {
        let mut one = fresh();
        fill(&mut one, &settings, order.map(|seconds| counted(seconds, 0)));
        assert_eq!(one.counted, BTreeSet::from([counted(3, 0)]));
    }
}

#[test]
fn too_few_principals_do_not_fill_the_window() {
    let mut settings = enforcing();
    settings.quarantine.principals_min = 2;
    let with = |last: &str| -> Vec<Counted> {
        (0..20).map(|n| by(n, n as usize, if n == 19 { last } else { "ann" })).collect()
    };
    assert!(!crosses(&with("ann"), &settings));
    assert!(crosses(&with("bob"), &settings));
    // Somebody unknown may be the one that is known.
    assert!(!crosses(&with(""), &settings));
    settings.quarantine.principals_min = 0;
    let nobody: Vec<Counted> = (0..10).map(|n| by(n, n as usize, "")).collect();
    assert!(crosses(&nobody, &settings));
}

// I6, TH18: every refusal names its rule.
#[test]
fn refusals_name_their_rule() {
    type Change = fn(&mut Settings, &mut Fleet);
    let refused = |rule: &str| Decision::Refused(rule.into());
    let rows: [(Change, Decision); 12] = [
        (|_, _| {}, Decision::Lock),
        (|s, _| s.quarantine.enabled = false, refused("quarantine.enabled = false")),
        (|s, _| s.management_account = Some(account(ACCOUNT)), refused("the management account is never locked")),
        (|s, _| s.quarantine.exempt = [account(ACCOUNT)].into(), refused("organization.exempt_accounts")),
        (|s, _| s.quarantine.exempt = [account(1)].into(), Decision::Lock),
        (|s, _| s.mode = Mode::Observe, Decision::Observed),
        (|s, _| s.organization = false, Decision::Observed),
        (|_, f| f.locked = 3, refused("quarantine.concurrent_max")),
        (|_, f| f.locked_last_hour = 5, refused("quarantine.hourly_max")),
        (|_, f| (f.locked, f.accounts) = (2, 30), Decision::Lock),
        (|_, f| (f.locked, f.accounts) = (2, 29), refused("quarantine.share_max_percent")),
        // The first lock of a small organisation is allowed.
        (|_, f| f.accounts = 3, Decision::Lock),
    ];
    for (change, expected) in rows {
        let (mut settings, mut fleet) = (enforcing(), ROOMY);
        change(&mut settings, &mut fleet);
        assert_eq!(decide(account(ACCOUNT), &settings, fleet), expected);
    }
    // An exempt account is refused in observe mode too, and a refusal is reported with its rule.
    let mut settings = Settings::default();
    settings.quarantine.exempt = [account(ACCOUNT)].into();
    let effects = fill(&mut fresh(), &settings, (0..10).map(|n| counted(n, n as usize)));
    assert_eq!(calls(&effects), ["incident/threshold", "quarantine"]);
    let Effect::Report(Report::Remedy(remedy)) = &effects[1] else { panic!("{effects:?}") };
    assert_eq!(remedy.result, RemedyResult::Refused("organization.exempt_accounts".into()));
    assert_eq!(&*remedy.reason, "10 violating sessions by 1 principals inside the window");
}

// I6: without leave nothing is called, whatever happens.
#[test]
fn observing_never_locks() {
    for settings in [Settings::default(), enforcing().without_organization()] {
        let mut one = fresh();
        for n in 0..200 {
            let effects = fill(&mut one, &settings, [counted(n, n as usize)]);
            let called = effects.iter().any(|e| matches!(e, Effect::Quarantine { .. } | Effect::Release { .. }));
            assert!(!called, "{effects:?}");
        }
        assert_eq!(one.episode.as_ref().unwrap().decision, Decision::Observed);
        assert_eq!(one.due_at(&settings), None);
        let effects = one.step(AccountInput::Wake, now(201), &settings, ROOMY);
        let Effect::Report(Report::Remedy(remedy)) = &effects[1] else { panic!("{effects:?}") };
        assert_eq!((remedy.kind, &remedy.result), (RemedyKind::Quarantine, &RemedyResult::Planned));
    }
}

// I7: locked, retried until it is confirmed, held for its time, and released.
#[test]
fn an_account_is_locked_and_released_at_its_deadline() {
    let (mut one, settings) = locking();
    let step = |one: &mut Account, input, seconds| calls(&one.step(input, now(seconds), &settings, ROOMY));
    let nothing: [&str; 0] = [];
    assert_eq!(one.due_at(&settings), Some(now(90)));
    let failed = || RemedyResult::Failed("ConcurrentModificationException".into());
    assert_eq!(step(&mut one, AccountInput::LockTried(failed()), 90), nothing);
    assert_eq!((one.due_at(&settings), one.episode.as_ref().unwrap().failure.is_some()), (Some(now(92)), true));
    assert_eq!(step(&mut one, AccountInput::Wake, 91), nothing);
    assert_eq!(step(&mut one, AccountInput::Wake, 92), ["lock"]);
    assert_eq!(step(&mut one, AccountInput::LockTried(RemedyResult::Done), 92), ["quarantine"]);
    assert_eq!(one.episode.as_ref().unwrap().failure, None);
    assert_eq!(one.due_at(&settings), Some(now(92 + 3_600)));
    // More violations while it is locked open no second episode.
    for n in 0..30 {
        assert_eq!(step(&mut one, AccountInput::Counted(counted(100 + n, 100 + n as usize)), 130), ["quarantine"]);
    }
    let done = vec![EffectId(format!("quarantine/{ACCOUNT}/1").into())];
    assert_eq!(step(&mut one, AccountInput::Done(done), 130), nothing);
    assert_eq!(step(&mut one, AccountInput::Wake, 92 + 3_599), nothing);
    assert_eq!(step(&mut one, AccountInput::Wake, 92 + 3_600), ["unlock"]);
    assert_eq!(step(&mut one, AccountInput::ReleaseTried(failed()), 3_692), nothing);
    assert_eq!(
        (step(&mut one, AccountInput::Wake, 3_694), one.due_at(&settings)),
        (vec!["unlock".into()], Some(now(3_694)))
    );
    assert_eq!(step(&mut one, AccountInput::ReleaseTried(RemedyResult::Unneeded), 3_694), ["release"]);
    let done = vec![EffectId(format!("release/{ACCOUNT}/1").into())];
    assert_eq!(step(&mut one, AccountInput::Done(done), 3_694), nothing);
    assert_eq!((one.due_at(&settings), one.episode.as_ref().unwrap().holds()), (None, false));
    let phase = one.episode.as_ref().unwrap().phase(now(4_000), &settings.quarantine);
    assert_eq!(phase, EpisodePhase::Released);
}

// I7: a lock that cannot be had, and a lock that cannot be undone, are each escalated once.
#[test]
fn what_cannot_be_confirmed_is_escalated() {
    let (mut one, settings) = locking();
    let failed = || RemedyResult::Failed("access denied".into());
    one.step(AccountInput::LockTried(failed()), now(149), &settings, ROOMY);
    let effects = one.step(AccountInput::Wake, now(150), &settings, ROOMY);
    assert_eq!(calls(&effects), ["incident/lock-failed"]);
    let Effect::Report(Report::Incident(incident)) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(&*incident.title, "Account 111122223333 could not be locked: access denied");
    let done = effects.iter().map(|effect| effect.id().clone()).collect();
    assert_eq!(calls(&one.step(AccountInput::Done(done), now(151), &settings, ROOMY)), ["lock"]);
    one.step(AccountInput::LockTried(RemedyResult::Done), now(151), &settings, ROOMY);
    let deadline = 151 + 3_600;
    one.step(AccountInput::ReleaseTried(failed()), now(deadline + 58), &settings, ROOMY);
    let effects = one.step(AccountInput::Wake, now(deadline + 60), &settings, ROOMY);
    assert_eq!(calls(&effects), ["incident/release-failed", "quarantine", "unlock"]);
}

/// Calling an attempt done does not end the attempts.
#[test]
fn an_attempt_is_not_a_lock() {
    let (mut one, settings) = locking();
    let ids = ["lock", "unlock"].map(|kind| EffectId(format!("{kind}/{ACCOUNT}/1").into()));
    assert_eq!(calls(&one.step(AccountInput::Done(ids.into()), now(95), &settings, ROOMY)), ["lock"]);
    // What somebody else has done, or an earlier episode, is not taken for ours.
    let ids = [format!("incident/threshold/{ACCOUNT}/2"), "x".into()].map(|id| EffectId(id.into()));
    one.step(AccountInput::Done(ids.into()), now(95), &settings, ROOMY);
    assert_eq!(one.done.len(), 1);
}

// I7: a late answer about an earlier episode does not end this one.
#[test]
fn what_is_not_locked_is_not_released() {
    let (mut one, settings) = locking();
    let effects = one.step(AccountInput::ReleaseTried(RemedyResult::Done), now(95), &settings, ROOMY);
    assert_eq!((calls(&effects), one.episode.unwrap().holds()), (vec!["lock".to_owned()], true));
}

// I5, I7: a second episode needs sessions that began after the first was over.
#[test]
fn a_second_episode_needs_fresh_sessions() {
    let (mut one, settings) = locking();
    one.step(AccountInput::LockTried(RemedyResult::Done), now(92), &settings, ROOMY);
    fill(&mut one, &settings, (0..20).map(|n| counted(3_680, 100 + n)));
    one.step(AccountInput::ReleaseTried(RemedyResult::Done), now(3_700), &settings, ROOMY);
    assert_eq!(one.episode.as_ref().unwrap().number, 1);
    fill(&mut one, &settings, (0..9).map(|n| counted(3_701, 200 + n)));
    assert_eq!(one.episode.as_ref().unwrap().number, 1);
    let effects = fill(&mut one, &settings, [counted(3_702, 209)]);
    let episode = one.episode.as_ref().unwrap();
    assert_eq!((episode.number, episode.sessions, episode.crossed_at), (2, 10, at(3_702)));
    assert_eq!(ids(&effects), [format!("incident/threshold/{ACCOUNT}/2"), format!("lock/{ACCOUNT}/2")]);
}

// I5: only so many sessions are kept, and never fewer than the threshold needs.
#[test]
fn counted_sessions_are_bounded() {
    let mut settings = enforcing();
    settings.quarantine.principals_min = 2;
    let mut one = fresh();
    fill(&mut one, &settings, (0..500).map(|n| counted(n, n as usize)));
    assert_eq!((one.counted.len(), one.counted.first().unwrap().at), (COUNTED_MAX, at(500 - COUNTED_MAX as i64)));
    (settings.quarantine.principals_min, settings.quarantine.sessions_min) = (1, 200);
    let mut one = fresh();
    fill(&mut one, &settings, (0..199).map(|n| counted(n, n as usize)));
    assert!(one.episode.is_none());
    fill(&mut one, &settings, [counted(199, 199)]);
    assert_eq!(one.episode.unwrap().sessions, 200);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    // I4, I5: whether the window is ever full does not depend on the order of arrival, nor on repetition.
    #[test]
    fn order_of_arrival_does_not_fill_the_window(
        (all, other) in prop::collection::vec((0..12_i64, 0..3_usize), 0..14).prop_flat_map(|times| {
            let all: Vec<Counted> =
                times.iter().enumerate().map(|(n, (s, who))| by(*s, n, ["ann", "bob", ""][*who])).collect();
            let twice: Vec<Counted> = all.iter().chain(&all).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        }),
        principals_min in 0..3_usize,
    ) {
        let mut settings = enforcing();
        settings.quarantine =
            QuarantineSettings { sessions_min: 4, window_ms: 3_000, principals_min, ..settings.quarantine };
        prop_assert_eq!(crosses(&all, &settings), crosses(&other, &settings));
        let sorted: BTreeSet<Counted> = all.iter().cloned().collect();
        let counted: Vec<&Counted> = sorted.iter().collect();
        let crossing = first_crossing(&counted, &settings.quarantine);
        prop_assert_eq!(crossing.is_some(), crosses(&all, &settings));
        // I5: by the definition, over every window that ends at a session.
        let filled = counted.iter().any(|last| {
            let window = counted.iter().filter(|one| one.at <= last.at && one.at.plus_ms(3_000) > last.at);
            let names: BTreeSet<_> = window.clone().map(|one| &one.principal).filter(|arn| !arn.is_empty()).collect();
            window.count() >= 4 && names.len() >= principals_min
        });
        prop_assert_eq!(filled, crossing.is_some());
    }
}
