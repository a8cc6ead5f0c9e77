use proptest::prelude::*;

use super::*;
use crate::{
    effect::Mode,
    session::tests::support::{ACCOUNT, account, at, ids, key, now},
};

mod episodes;
mod rules;

fn counted(seconds: i64, session: usize) -> Counted {
    by(seconds, session, "ann")
}

fn by(seconds: i64, session: usize, name: &str) -> Counted {
    let arn = if name.is_empty() { "".into() } else { user(name) };
    let controls = BTreeSet::from(["SW-DOC-02".into()]);
    Counted {
        at: at(seconds),
        session: key(&format!("ann-{session}")),
        principal: arn,
        controls,
        severity: Severity::High,
    }
}

fn user(name: &str) -> Arc<str> {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}").into()
}

fn enforcing() -> Settings {
    let quarantine = QuarantineSettings { mode: Mode::Enforce, ..QuarantineSettings::default() };
    Settings { mode: Mode::Enforce, quarantine, ..Settings::default() }
}

/// Counts sessions, each at its time.
fn fill(one: &mut Account, settings: &Settings, all: impl IntoIterator<Item = Counted>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for counted in all {
        let seconds = (counted.at.0 - at(0).0) / 1_000;
        effects = one.step(AccountInput::Counted(counted), now(seconds), settings);
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

/// What is called, said and told, by the beginnings of the ids.
fn calls(effects: &[Effect]) -> Vec<String> {
    let ending = format!("/{ACCOUNT}/");
    ids(effects).iter().map(|id| id.split(&ending).next().unwrap().to_owned()).collect()
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
