//! From the full window to the end of the lock.

use std::{collections::BTreeSet, fmt::Write as _};

use super::*;

fn act(who: &str, seconds: i64) -> Act {
    Act { who: who.into(), reason: "because".into(), at: now(seconds) }
}

/// Ten sessions of two principals within 90 s.
fn two_principals() -> impl Iterator<Item = Counted> {
    (0..10).map(|n| by(n * 10, n as usize, ["ann", "bob"][n as usize % 2]))
}

/// An account with what is durable: reports, messages and what people did are done as soon as they are wanted.
struct Played {
    one: Account,
    settings: Settings,
    story: String,
}

impl Played {
    fn new(settings: Settings) -> Self {
        Self { one: fresh(), settings, story: String::new() }
    }

    fn phase(&self, seconds: i64) -> Option<EpisodePhase> {
        Some(self.one.episode.as_ref()?.phase(now(seconds), &self.settings.quarantine))
    }

    /// One input; everything but calls is done at once. Returns what is called.
    fn step(&mut self, seconds: i64, what: &str, input: AccountInput) -> Vec<String> {
        self.step_all(seconds, what, [input])
    }

    fn step_all(&mut self, seconds: i64, what: &str, inputs: impl IntoIterator<Item = AccountInput>) -> Vec<String> {
        let effects = self.one.step_all(inputs, now(seconds), &self.settings);
        let done: Vec<EffectId> = effects.iter().map(|effect| effect.id().clone()).collect();
        let left = self.one.step(AccountInput::Done(done), now(seconds), &self.settings);
        let due = self.one.due_at(now(seconds), &self.settings);
        let due = due.map_or_else(|| "never".to_owned(), |due| format!("{} s", (due.0 - now(0).0) / 1_000));
        let phase = self.phase(seconds).map_or("clear", EpisodePhase::as_str);
        let _ =
            writeln!(self.story, "{seconds:>5} s  {what:<34} {phase:<10} due {due:<8} {}", calls(&effects).join(" "));
        calls(&left)
    }

    fn fill(&mut self, all: impl IntoIterator<Item = Counted>) {
        for counted in all {
            let seconds = (counted.at.0 - at(0).0) / 1_000;
            self.one.step(AccountInput::Counted(counted), now(seconds), &self.settings);
        }
    }

    /// The lock is detached at this time, and seen to be so once more 40 s later.
    fn released(&mut self, seconds: i64) {
        let done = || AccountInput::ReleaseTried(Tried::Done);
        assert_eq!(self.step(seconds, "detached", done()), Vec::<String>::new());
        assert_eq!(self.phase(seconds), Some(EpisodePhase::Releasing));
        assert_eq!(self.step(seconds + 39, "too early to look again", AccountInput::Wake), Vec::<String>::new());
        assert_eq!(self.step(seconds + 40, "looked at once more", AccountInput::Wake), ["unlock"]);
        self.step(seconds + 40, "still detached", done());
        assert_eq!(self.phase(seconds + 40), Some(EpisodePhase::Released));
    }

    /// Up to a lock that is attached at 92 s.
    fn locked(settings: Settings) -> Self {
        let mut played = Self::new(settings);
        played.fill(two_principals());
        played.step(90, "the window is full", AccountInput::Wake);
        played.step(91, "granted", AccountInput::Granted { episode: 1 });
        assert_eq!(played.step(92, "attached", lock(Tried::Done)), ["sweep"]);
        played
    }
}

fn lock(tried: Tried) -> AccountInput {
    AccountInput::LockTried(Tier::Access, tried)
}

fn failed() -> Tried {
    Tried::Again("ConcurrentModificationException".into())
}

fn swept(bites: Option<bool>, ended: &[&str], left: usize) -> AccountInput {
    let ended = ended.iter().map(|id| key(id)).collect();
    AccountInput::Swept(Swept { bites, ended, left, silent: 0 })
}

// R-G13, I7: the whole life of a lock, with people, a sweep, a change by somebody else, and the deadline.
#[test]
fn a_lock_lives_as_it_should() {
    let mut settings = enforcing();
    settings.quarantine.approvals = 2;
    let mut played = Played::new(settings);
    played.fill(two_principals().take(9));
    played.step(89, "nine sessions", AccountInput::Wake);
    played.step(90, "the tenth", AccountInput::Counted(two_principals().last().unwrap()));
    played.step(95, "ann approves", AccountInput::Approved(act("ann", 95)));
    played.step(96, "ann approves again", AccountInput::Approved(act("ann", 96)));
    played.step(97, "bob approves", AccountInput::Approved(act("bob", 97)));
    played.step(98, "the cap is reached", AccountInput::Waits { episode: 1, rule: "quarantine.concurrent_max".into() });
    played.step(120, "granted", AccountInput::Granted { episode: 1 });
    played.step(120, "a conflict", lock(failed()));
    played.step(121, "too early to try again", AccountInput::Wake);
    played.step(123, "tried again", AccountInput::Wake);
    played.step(123, "attached", lock(Tried::Done));
    played.step(124, "a session is ended, no bite yet", swept(Some(false), &["x"], 0));
    played.step(139, "none left, no bite yet", swept(Some(false), &[], 0));
    played.step(154, "it bites, one is left", swept(Some(true), &[], 1));
    played.step(169, "clean", swept(Some(true), &[], 0));
    played.step(184, "clean again", swept(None, &[], 0));
    let seen = |tier, since| AccountInput::Seen { tier, since: now(since) };
    played.step(200, "as it should be", seen(Some(Tier::Access), 199));
    played.step(260, "somebody detached it", seen(None, 259));
    played.step(261, "put back", lock(Tried::Done));
    played.step(262, "clean", swept(Some(true), &[], 0));
    played.step(277, "clean again", swept(Some(true), &[], 0));
    played.step(123 + 3_599, "before the deadline", AccountInput::Wake);
    played.step(123 + 3_600, "the deadline", AccountInput::Wake);
    played.step(123 + 3_600, "a conflict", AccountInput::ReleaseTried(failed()));
    played.step(123 + 3_603, "tried again", AccountInput::Wake);
    played.step(123 + 3_603, "detached", AccountInput::ReleaseTried(Tried::Done));
    played.step(123 + 3_620, "nothing is attached", seen(None, 3_735));
    played.step(123 + 3_643, "looked at once more", AccountInput::Wake);
    played.step(123 + 3_643, "still detached", AccountInput::ReleaseTried(Tried::Done));
    insta::assert_snapshot!(played.story);
}

// I6: without leave nothing is called, whatever happens.
#[test]
fn observing_never_locks() {
    let mut other = enforcing();
    other.quarantine.mode = Mode::Observe;
    for settings in [Settings::default(), enforcing().without_organization(), other] {
        let mut played = Played::new(settings);
        for n in 0..200 {
            let called = played.step(n, "", AccountInput::Counted(by(n, n as usize, ["ann", "bob"][n as usize % 2])));
            assert_eq!(called, Vec::<String>::new());
        }
        for input in [AccountInput::Granted { episode: 1 }, AccountInput::Approved(act("ann", 201)), lock(Tried::Done)]
        {
            assert_eq!(played.step(201, "", input), Vec::<String>::new());
        }
        assert_eq!(played.one.episode.as_ref().unwrap().decision, Decision::Observed);
        assert_eq!(
            (played.one.due_at(now(201), &played.settings), played.phase(201)),
            (None, Some(EpisodePhase::Observed))
        );
        assert!(!played.story.contains("ask"), "{}", played.story);
    }
}

// I6: nothing is attached before the register has granted it, and not for another episode's sake.
#[test]
fn nothing_is_attached_without_a_grant() {
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    let effects = played.one.step(AccountInput::Wake, now(90), &played.settings);
    assert_eq!(calls(&effects), ["ask", "incident/threshold"]);
    for input in [AccountInput::Wake, AccountInput::Granted { episode: 2 }] {
        assert_eq!(played.step(91, "", input), Vec::<String>::new());
    }
    assert_eq!(played.step(92, "", AccountInput::Granted { episode: 1 }), ["lock"]);
}

// I7: a lock that cannot be had, one that cannot be undone and one that does not bite are each escalated once.
#[test]
fn what_cannot_be_confirmed_is_escalated() {
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    played.step(90, "full", AccountInput::Wake);
    played.step(91, "granted", AccountInput::Granted { episode: 1 });
    played.step(92, "no room for one more policy", lock(Tried::Hopeless("five policies are attached already".into())));
    assert_eq!(played.phase(92), Some(EpisodePhase::Escalated));
    assert_eq!(played.step(151, "rests for a minute", AccountInput::Wake), Vec::<String>::new());
    assert_eq!(played.step(168, "tried again", AccountInput::Wake), ["lock"]);
    played.step(168, "attached", lock(Tried::Done));
    played.step(169, "does not bite", swept(Some(false), &[], 0));
    played.step(168 + 600, "still does not", swept(None, &[], 0));
    assert_eq!(played.phase(768), Some(EpisodePhase::Escalated));
    let deadline = 168 + 3_600;
    played.step(deadline, "the deadline", AccountInput::Wake);
    played.step(deadline + 59, "no answer", AccountInput::ReleaseTried(failed()));
    played.step(deadline + 62, "no answer for a minute", AccountInput::Wake);
    assert_eq!(played.phase(deadline + 62), Some(EpisodePhase::Escalated));
    played.step(deadline + 70, "detached at last", AccountInput::ReleaseTried(Tried::Done));
    assert_eq!(played.phase(deadline + 70), Some(EpisodePhase::Releasing));
    played.step(deadline + 110, "looked at once more", AccountInput::ReleaseTried(failed()));
    played.step(deadline + 113, "still detached", AccountInput::ReleaseTried(Tried::Done));
    insta::assert_snapshot!(played.story);
}

// They grow, and what failed together is not tried again together.
#[test]
fn waits_between_attempts_grow() {
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    played.step(90, "", AccountInput::Wake);
    played.step(90, "", AccountInput::Granted { episode: 1 });
    let mut seconds = 90;
    let mut spreads = BTreeSet::new();
    for wait in [2, 4, 8, 16, 32, 60, 60, 60] {
        assert_eq!(played.step(seconds, "", AccountInput::Wake), ["lock"]);
        played.step(seconds, "", lock(failed()));
        let due_ms = played.one.due_at(now(seconds), &played.settings).unwrap().0 - now(seconds).0;
        let spread_ms = due_ms - wait * 1_000;
        assert!((0..wait * 250).contains(&spread_ms), "{due_ms} for {wait}");
        spreads.insert(spread_ms);
        seconds += (due_ms + 999) / 1_000;
    }
    assert!(spreads.len() > 4, "{spreads:?}");
}

// Two different people, and one who says no.
#[test]
fn people_decide() {
    let mut settings = enforcing();
    settings.quarantine.approvals = 1;
    let mut played = Played::new(settings.clone());
    played.fill(two_principals());
    assert_eq!(played.step(90, "", AccountInput::Wake), Vec::<String>::new());
    assert_eq!(played.phase(90), Some(EpisodePhase::Proposed));
    played.step(91, "", AccountInput::Denied(act("eve", 91)));
    assert_eq!(played.phase(91), Some(EpisodePhase::Refused));
    assert_eq!(played.step(92, "", AccountInput::Approved(act("ann", 92))), Vec::<String>::new());
    let episode = played.one.episode.clone().unwrap();
    assert_eq!(episode.decision, Decision::Refused("eve said no".into()));
    // Nobody answers: after the time that a lock lasts it is refused.
    let mut played = Played::new(settings);
    played.fill(two_principals());
    played.step(90, "", AccountInput::Wake);
    assert_eq!(played.one.due_at(now(91), &played.settings), Some(now(90 + 3_600)));
    played.step(90 + 3_600, "", AccountInput::Wake);
    let Decision::Refused(rule) = played.one.episode.unwrap().decision else { panic!() };
    assert_eq!(&*rule, "quarantine.approvals: nobody approved it in time");
}

// I7: a person ends a lock before its time, at every point of its life.
#[test]
fn a_person_ends_a_lock() {
    let mut played = Played::locked(enforcing());
    assert_eq!(played.step(100, "", AccountInput::ReleaseAsked(act("ann", 100))), ["unlock"]);
    played.released(101);
    // Granted, and perhaps attached by an attempt that was not answered.
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    played.step(90, "", AccountInput::Wake);
    assert_eq!(played.step(91, "", AccountInput::Granted { episode: 1 }), ["lock"]);
    assert_eq!(played.step(92, "", AccountInput::ReleaseAsked(act("ann", 92))), ["unlock"]);
    // Asked for, and not granted: there is nothing to detach, and the register is told.
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    played.step(90, "", AccountInput::Wake);
    let effects = played.one.step(AccountInput::ReleaseAsked(act("ann", 91)), now(91), &played.settings);
    assert_eq!(calls(&effects), ["deny", "leave", "quarantine"]);
}

// I7: whoever detaches a lock does not make it longer.
#[test]
fn what_was_put_back_ends_when_it_would_have_ended() {
    let mut played = Played::locked(enforcing());
    let ends = played.one.episode.as_ref().unwrap().ends_at(&played.settings.quarantine);
    for seconds in [200, 400, 600] {
        played.step(seconds, "", AccountInput::Seen { tier: None, since: now(seconds - 1) });
        assert_eq!(played.phase(seconds), Some(EpisodePhase::Drifted));
        played.step(seconds + 5, "", lock(Tried::Done));
        let episode = played.one.episode.as_ref().unwrap();
        assert_eq!(episode.ends_at(&played.settings.quarantine), ends, "put back at {seconds}");
    }
}

// I7: a worker that knows nothing of the end puts the lock back. Whether it lives to say so, or dies and somebody sees what
// it left, or nobody sees anything: the account is not left locked, and nobody is told of a change by somebody else.
#[test]
fn what_is_attached_late_is_detached_again() {
    let late = [
        ("its answer", lock(Tried::Done)),
        ("a comparison", AccountInput::Seen { tier: Some(Tier::Access), since: now(119) }),
    ];
    for (what, input) in late {
        let mut played = Played::locked(enforcing());
        played.step(100, "", AccountInput::Seen { tier: None, since: now(99) });
        played.step(101, "a person ends it", AccountInput::ReleaseAsked(act("ann", 101)));
        played.step(102, "detached", AccountInput::ReleaseTried(Tried::Done));
        assert_eq!(played.step(120, what, input), ["unlock"], "{what}");
        played.released(121);
        assert_eq!(played.one.episode.as_ref().unwrap().drifted_at, None);
    }
    // A look that began before it was detached proves nothing.
    let mut played = Played::locked(enforcing());
    played.step(101, "", AccountInput::ReleaseAsked(act("ann", 101)));
    played.step(103, "", AccountInput::ReleaseTried(Tried::Done));
    let early = AccountInput::Seen { tier: Some(Tier::Access), since: now(102) };
    assert_eq!(played.step(104, "", early), Vec::<String>::new());
    played.step(105, "", AccountInput::Seen { tier: None, since: now(104) });
    assert_eq!(played.phase(105), Some(EpisodePhase::Releasing));
}

// I7: a late answer about an earlier episode does not end this one.
#[test]
fn what_is_not_to_end_is_not_released() {
    let mut played = Played::locked(enforcing());
    played.step(95, "", AccountInput::ReleaseTried(Tried::Done));
    assert_eq!(played.phase(95), Some(EpisodePhase::Sweeping));
}

/// A call that is said to be done does not end the attempts.
#[test]
fn an_attempt_is_not_a_lock() {
    let mut played = Played::new(enforcing());
    played.fill(two_principals());
    played.step(90, "", AccountInput::Wake);
    played.step(91, "", AccountInput::Granted { episode: 1 });
    let ids = ["lock", "unlock", "sweep"].map(|kind| EffectId(format!("{kind}/{ACCOUNT}/1").into()));
    assert_eq!(played.step(92, "", AccountInput::Done(ids.into())), ["lock"]);
    // What somebody else has done, or an earlier episode, is not taken for ours.
    let before = played.one.done.len();
    let ids = [format!("incident/threshold/{ACCOUNT}/2"), format!("quarantine/{ACCOUNT}/12"), "x".into()];
    played.one.step(AccountInput::Done(ids.map(|id| EffectId(id.into())).into()), now(95), &played.settings);
    assert_eq!(played.one.done.len(), before);
}

// I5, I7: a second episode needs sessions that began after the first was over.
#[test]
fn a_second_episode_needs_fresh_sessions() {
    let mut played = Played::locked(enforcing());
    played.fill((0..20).map(|n| counted(3_680, 100 + n)));
    played.step(3_692, "", AccountInput::Wake);
    played.step(3_700, "", AccountInput::ReleaseTried(Tried::Done));
    assert_eq!(played.one.episode.as_ref().unwrap().number, 1);
    played.fill((0..9).map(|n| counted(3_701, 200 + n)));
    played.fill([counted(3_702, 209)]);
    assert_eq!(played.one.episode.as_ref().unwrap().number, 1, "it is not over");
    played.step(3_740, "", AccountInput::ReleaseTried(Tried::Done));
    let episode = played.one.episode.as_ref().unwrap();
    assert_eq!((episode.number, episode.sessions, episode.crossed_at), (2, 10, at(3_702)));
    assert_eq!((episode.tier, episode.granted_at), (Tier::Principal, None));
}

// R-G13: first one principal, then the account, then the channel; the last one never without a person.
#[test]
fn the_tiers_follow_each_other() {
    let mut played = Played::new(enforcing());
    let fill = |played: &mut Played, seconds: i64, first: usize, name: &str| {
        played.fill((0..10).map(|n| by(seconds + n, first + n as usize, name)));
    };
    fill(&mut played, 0, 0, "ann");
    let tier = |played: &Played| played.one.episode.as_ref().map(|episode| (episode.tier, episode.raise)).unwrap();
    assert_eq!(tier(&played), (Tier::Principal, None));
    played.step(10, "", AccountInput::Wake);
    played.step(11, "", AccountInput::Granted { episode: 1 });
    played.step(12, "", AccountInput::LockTried(Tier::Principal, Tried::Done));
    // Who is denied already fills nothing, even before it bites.
    fill(&mut played, 100, 100, "ann");
    assert_eq!(tier(&played), (Tier::Principal, None));
    fill(&mut played, 200, 200, "bob");
    assert_eq!(tier(&played), (Tier::Access, None));
    assert_eq!(played.step(210, "", AccountInput::Wake), ["lock"]);
    played.step(211, "", lock(Tried::Done));
    fill(&mut played, 300, 300, "eve");
    assert_eq!(tier(&played), (Tier::Access, None));
    played.step(320, "", swept(Some(true), &[], 0));
    fill(&mut played, 400, 400, "eve");
    assert_eq!(tier(&played), (Tier::Access, Some(Tier::Channel)));
    assert!(
        calls(&played.one.step(AccountInput::Wake, now(410), &played.settings)).contains(&"incident/lock-raise".into())
    );
    played.step(411, "", AccountInput::Approved(act("ann", 411)));
    assert_eq!(tier(&played), (Tier::Channel, None));
    assert_eq!(played.step(412, "", AccountInput::Wake), ["lock"]);
}

// R-G11
#[test]
fn people_are_told_of_an_episode_once() {
    let (mut one, settings) = (fresh(), Settings { notify: true, ..enforcing() });
    let effects = fill(&mut one, &settings, two_principals());
    assert_eq!(calls(&effects), ["ask", "incident/threshold", "notify/incident/threshold"]);
    let told = EffectId(format!("notify/incident/threshold/{ACCOUNT}/1").into());
    let left = one.step(AccountInput::Done(vec![told]), now(90), &settings);
    assert_eq!(calls(&left), ["ask", "incident/threshold"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    // I6, I7: whatever comes in whatever order, a lock is called for only once it is granted, and every lock that was
    // called for is unlocked in the end.
    #[test]
    fn every_lock_ends(moves in prop::collection::vec((0..12_usize, 1..600_i64), 0..60)) {
        let mut settings = enforcing();
        settings.quarantine.approvals = 1;
        let mut one = fresh();
        fill(&mut one, &settings, two_principals());
        let (mut seconds, mut called) = (90, false);
        let check = |one: &Account, effects: &[Effect], called: &mut bool| {
            let locks = effects.iter().any(|effect| matches!(effect, Effect::Quarantine { .. }));
            let episode = one.episode.as_ref().unwrap();
            *called |= locks;
            assert!(!locks || episode.granted_at.is_some() && episode.approved());
            assert!(!*called || episode.holds() || episode.released_at.is_some());
        };
        for (what, wait) in moves {
            seconds += wait;
            let input = match what {
                0 => AccountInput::Approved(act("ann", seconds)),
                1 => AccountInput::Denied(act("bob", seconds)),
                2 => AccountInput::ReleaseAsked(act("eve", seconds)),
                3 => AccountInput::Granted { episode: 1 },
                4 => AccountInput::Waits { episode: 1, rule: "x".into() },
                5 => lock(Tried::Done),
                6 => lock(failed()),
                7 => AccountInput::ReleaseTried(Tried::Done),
                8 => AccountInput::ReleaseTried(failed()),
                9 => swept(Some(true), &[], 0),
                10 => AccountInput::Seen { tier: None, since: now(seconds - 1) },
                _ => AccountInput::Wake,
            };
            // An answer comes only where something was called.
            if (5..=6).contains(&what) && !called {
                continue;
            }
            let effects = one.step(input, now(seconds), &settings);
            check(&one, &effects, &mut called);
            prop_assert_eq!(crate::invariants::check_account(&one, &settings), []);
        }
        for _ in 0..6 {
            seconds += 7_200;
            let effects = one.step(AccountInput::Wake, now(seconds), &settings);
            check(&one, &effects, &mut called);
            for effect in effects {
                let answer = if let Effect::Quarantine { lock, .. } = effect {
                    AccountInput::LockTried(lock.tier, Tried::Done)
                } else if let Effect::Release { .. } = effect {
                    AccountInput::ReleaseTried(Tried::Done)
                } else {
                    continue;
                };
                let effects = one.step(answer, now(seconds), &settings);
                check(&one, &effects, &mut called);
            }
        }
        prop_assert!(!one.episode.as_ref().unwrap().holds());
    }
}
