use proptest::prelude::*;

use super::*;
use crate::{
    invariants::check_register,
    session::tests::support::{account, now},
    settings::QuarantineSettings,
};

const ACCOUNTS: usize = 1_000;

fn enforcing() -> Settings {
    let quarantine = QuarantineSettings { mode: Mode::Enforce, ..QuarantineSettings::default() };
    Settings { mode: Mode::Enforce, quarantine, ..Settings::default() }
}

fn asked(number: u64, severity: Severity) -> RegisterInput {
    RegisterInput::Asked { account: account(number), episode: 1, severity, sessions: 10, approved: false }
}

fn left(number: u64) -> RegisterInput {
    RegisterInput::Left { account: account(number), episode: 1 }
}

/// Steps, and says what accounts were told; that is done then.
fn step(
    register: &mut Register,
    inputs: impl IntoIterator<Item = RegisterInput>,
    seconds: i64,
    settings: &Settings,
) -> Vec<String> {
    let effects = register.step_all(inputs, now(seconds), settings, ACCOUNTS);
    assert_eq!(check_register(register, settings), []);
    let done = effects.iter().map(|effect| effect.id().clone()).filter(|id| &*id.0 != "compare").collect();
    register.step_all([RegisterInput::Done(done)], now(seconds), settings, ACCOUNTS);
    let told = effects.iter().filter(|effect| !matches!(effect, Effect::Compare { .. }));
    told.map(|effect| effect.id().0.replace("000000000", "")).collect()
}

// I6: the caps, each with its rule, and the queue in order of severity.
#[test]
fn there_is_room_for_so_many() {
    let (mut register, settings) = (Register::default(), enforcing());
    let mut all = vec![asked(1, Severity::Low), asked(2, Severity::Medium), asked(3, Severity::Critical)];
    all.extend([asked(4, Severity::High), asked(5, Severity::Critical)]);
    let told = step(&mut register, all, 0, &settings);
    let waits = |number: u64, rule: &str| format!("wait/00{number}/1/quarantine.{rule}");
    let full = |number| waits(number, "concurrent_max");
    assert_eq!(told, [full(1), full(2), "grant/003/1".into(), "grant/004/1".into(), "grant/005/1".into()]);
    // Again and again the same answers, each told once.
    assert_eq!(step(&mut register, [asked(1, Severity::Low)], 1, &settings), [""; 0]);
    assert_eq!(step(&mut register, [left(4)], 10, &settings), ["grant/002/1"]);
    assert_eq!(step(&mut register, [left(3)], 20, &settings), ["grant/001/1"]);
    assert_eq!(step(&mut register, [asked(6, Severity::Critical), left(5)], 30, &settings), [waits(6, "hourly_max")]);
    assert!(register.due_at(now(30), &settings).unwrap() <= now(3_600));
    assert_eq!(step(&mut register, [RegisterInput::Wake], 3_599, &settings), [""; 0]);
    assert_eq!(step(&mut register, [RegisterInput::Wake], 3_600, &settings), ["grant/006/1"]);
}

// Who waits for a place longer than the breaker's time, or than an hour, is no reason to look again and again.
#[test]
fn waiting_for_a_place_is_not_always_due() {
    let (mut register, mut settings) = (Register::default(), enforcing());
    settings.quarantine.concurrent_max = 1;
    step(&mut register, [asked(1, Severity::High), asked(2, Severity::High)], 0, &settings);
    for at in [1, 600, 601, 3_600, 3_601, 10_000] {
        let compared = RegisterInput::Compared { locks: None, since: now(at) };
        step(&mut register, [compared], at, &settings);
        assert!(register.entries[&account(2)].granted_at.is_none());
        let due = register.due_at(now(at), &settings).unwrap();
        assert!(due > now(at), "at {at}: {due}");
    }
    assert_eq!(step(&mut register, [left(1)], 10_001, &settings), ["grant/002/1"]);
}

#[test]
fn a_small_organisation_has_one_lock() {
    let (mut register, settings) = (Register::default(), enforcing());
    register.step_all([asked(1, Severity::High), asked(2, Severity::High)], now(0), &settings, 19);
    let rules: Vec<_> = register.entries.values().map(|entry| entry.waits_for.as_deref()).collect();
    assert_eq!(rules, [None, Some("quarantine.share_max_percent")]);
    register.step_all([RegisterInput::Wake], now(1), &settings, 20);
    assert!(register.entries.values().all(|entry| entry.granted_at.is_some()));
}

// I6: so many at once are a fault or an attack: each needs a person, until it is quiet again.
#[test]
fn the_breaker_opens_and_closes() {
    let (mut register, settings) = (Register::default(), enforcing());
    let told = step(&mut register, (1..=8).map(|n| asked(n, Severity::High)), 0, &settings);
    assert_eq!(told[0], "wait/001/1/quarantine.breaker_accounts");
    assert_eq!((told.len(), told[8].starts_with("incident/breaker/")), (9, true));
    let RegisterInput::Asked { account, episode, severity, sessions, .. } = asked(4, Severity::High) else { panic!() };
    let approved = RegisterInput::Asked { account, episode, severity, sessions, approved: true };
    assert_eq!(step(&mut register, [approved], 5, &settings), ["grant/004/1"]);
    assert_eq!(step(&mut register, [RegisterInput::Wake], 599, &settings), [""; 0]);
    let told = step(&mut register, [RegisterInput::Wake], 600, &settings);
    assert_eq!((told.len(), told[7].starts_with("conclude/breaker/")), (8, true), "{told:?}");
    assert_eq!(register.opened_at, None);
}

// I6: nothing is granted any more once somebody turns back to observe.
#[test]
fn observing_grants_nothing() {
    let (mut register, mut settings) = (Register::default(), enforcing());
    settings.quarantine.mode = Mode::Observe;
    let told = step(&mut register, [asked(1, Severity::High)], 0, &settings);
    assert_eq!(told, ["wait/001/1/quarantine.mode"]);
    assert_eq!(register.due_at(now(0), &settings), None);
}

// An older episode, or one that left, is not asked for again.
#[test]
fn what_is_over_is_not_granted() {
    let (mut register, settings) = (Register::default(), enforcing());
    assert_eq!(step(&mut register, [asked(1, Severity::High)], 0, &settings), ["grant/001/1"]);
    step(&mut register, [left(1)], 0, &settings);
    assert_eq!(step(&mut register, [asked(1, Severity::High)], 1, &settings), [""; 0]);
    let second = |approved| RegisterInput::Asked {
        account: account(1),
        episode: 2,
        severity: Severity::High,
        sessions: 10,
        approved,
    };
    assert_eq!(step(&mut register, [second(false)], 2, &settings), ["grant/001/2"]);
    assert_eq!(step(&mut register, [left(1), asked(1, Severity::High)], 3, &settings), [""; 0]);
    assert_eq!(register.entries[&account(1)].episode, 2);
    assert_eq!(register.grants.len(), 2, "both count for the hour");
}

// I7: every attachment belongs to an episode; whoever has one is told whether it is there.
#[test]
fn what_is_attached_is_compared() {
    let (mut register, settings) = (Register::default(), enforcing());
    step(&mut register, [asked(1, Severity::High)], 0, &settings);
    let compared = |locks: &[(u64, Tier)], since| RegisterInput::Compared {
        locks: Some(locks.iter().map(|(number, tier)| (account(*number), *tier)).collect()),
        since: now(since),
    };
    // A look that began with the grant says nothing.
    assert_eq!(step(&mut register, [compared(&[], 0)], 1, &settings), [""; 0]);
    let told = step(&mut register, [compared(&[(1, Tier::Access), (9, Tier::Access)], 60)], 61, &settings);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("seen/001/1/") && told[1].starts_with("incident/lock-foreign/009-"), "{told:?}");
    let effects = register.step_all([compared(&[], 120)], now(121), &settings, ACCOUNTS);
    let [Effect::ToAccount { input, .. }, Effect::Conclude { .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*input, AccountInput::Seen { tier: None, since: now(120) });
    // What could not be listed says nothing of anybody.
    let none = RegisterInput::Compared { locks: None, since: now(180) };
    step(&mut register, [], 122, &settings);
    assert_eq!(step(&mut register, [none], 181, &settings), [""; 0]);
    assert_eq!(register.due_at(now(181), &settings), Some(now(181 + 60)));
    assert_eq!(register.entries[&account(1)].told.len(), 2, "one comparison is kept");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    // I6: the caps hold whatever comes, and who waits is worse than none that was granted at the same time.
    #[test]
    fn the_caps_hold(moves in prop::collection::vec((0..3_u8, 1..40_u64, 0..5_usize, 1..400_i64), 1..120)) {
        let (mut register, settings) = (Register::default(), enforcing());
        let severities = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        let mut seconds = 0;
        for (what, number, severity, wait) in moves {
            seconds += wait;
            let input = match what {
                0 => left(number),
                1 => RegisterInput::Wake,
                _ => asked(number, severities[severity]),
            };
            register.step_all([input], now(seconds), &settings, ACCOUNTS);
            prop_assert_eq!(check_register(&register, &settings), []);
            let granted_now = register.entries.values().filter(|entry| entry.granted_at == Some(now(seconds)));
            let mildest = granted_now.map(|entry| entry.severity).min();
            let waiting = register.entries.values().filter(|entry| entry.waits()).map(|entry| entry.severity).max();
            prop_assert!(mildest.is_none() || waiting.is_none() || mildest >= waiting);
        }
    }
}
