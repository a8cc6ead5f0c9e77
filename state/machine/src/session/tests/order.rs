//! The same inputs in any order, any number of times, split and merged.

use std::{collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;

use super::support::*;
use crate::{
    compliance::{EvidenceKind, Judge, Tri},
    effect::{Effect, Mode, RemedyResult},
    ids::EffectId,
    session::{Answered, Call, Gathered, Input, Life, LogFlaw, LogLook, LogSeen, Session},
};

static JUDGE: LazyLock<std::sync::Arc<Judge>> = LazyLock::new(|| {
    with_waivers(
        &(waiver("W1", "SW-DOC-02, SW-LOG-01", 20, "context.region != \"x\"")
            + &waiver("W2", "SW-DOC-01", 13, "!context.resumed")),
    )
});

/// The history of one session, its inputs in no particular order. Without an organisation it ends once: that two ends
/// contradict each other then is where the promise stops.
#[derive(Clone, Debug)]
struct History {
    inputs: Vec<Input>,
    enforce: bool,
    organization: bool,
}

fn tri() -> impl Strategy<Value = Tri> {
    prop_oneof![Just(Tri::Yes), Just(Tri::No), Just(Tri::Unknown)]
}

fn log() -> impl Strategy<Value = LogLook> {
    let flaws = prop::collection::btree_set(prop::sample::select(&LogFlaw::ALL[..]), 0..3);
    let seen = (0..60_i64, 0..3_u64, flaws, prop::sample::select(&["a", "b"][..])).prop_map(
        |(s, size_bytes, flaws, place)| LogSeen { written_at: at(s), size_bytes, place: place.into(), flaws },
    );
    let absent = prop::sample::select(&["no object", "it is empty"][..]).prop_map(|why| LogLook::Absent(why.into()));
    prop_oneof![Just(LogLook::Unknown), absent, seen.prop_map(LogLook::Found)]
}

/// An answer with one of two reasons from one of two sources.
fn answered() -> impl Strategy<Value = Answered> {
    let sources = prop::sample::select(&["iam", "ssm"][..]);
    let reasons = prop::sample::select(&["statement A", "statement B"][..]);
    (tri(), sources, reasons).prop_map(|(value, source, reason)| Answered::new(value, source, reason))
}

/// One event; those with equal numbers are duplicates, those with different ones are different records.
fn event(target: &'static str, document: Option<&'static str>) -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => (0..12_i64, 0..2_u128).prop_map(move |(s, id)| opened(s, 100 + id, target, document)),
        3 => (0..50_i64).prop_map(|s| resume(s, 200 + s as u128)),
        1 => (10..50_i64).prop_map(|s| terminate(s, 300 + s as u128)),
    ]
}

/// One round of answers or another input that is no event. Each life is what AWS says at that time of a session that
/// ends at `end`; where there is no `end`, anything goes.
fn answer(shape: Shape, end: Option<i64>) -> impl Strategy<Value = Input> {
    let (target, document, opens) = shape;
    let document = document.unwrap_or("SSM-SessionManagerRunShell");
    let life = prop_oneof![Just(0), Just(1), Just(2)];
    let evidence = (answered(), answered());
    (0..60_i64, life, evidence, any::<bool>(), log(), 0..60_i64).prop_map(
        move |(s, life, evidence, read, log, ended)| {
            let described =
                crate::session::Described { target: target.into(), document: document.into(), ..described() };
            let life = match (life, end) {
                (0, _) => Life::Unknown,
                (1, None) => Life::Alive(described),
                (_, None) => Life::Ended(at(ended)),
                (_, Some(end)) if s < end => Life::Alive(described),
                (_, Some(end)) => Life::Ended(at(end)),
            };
            let evidence =
                [(EvidenceKind::LogWritable, evidence.0), (EvidenceKind::DocumentAsWanted, evidence.1)].into();
            let session_type = if read { opens } else { "" }.into();
            Input::Gathered(Box::new(Gathered { evidence, session_type, log, ..Gathered::new(now(s), life) }))
        },
    )
}

/// A target, a document, and what that opens.
type Shape = (&'static str, Option<&'static str>, &'static str);

const SHAPES: [Shape; 6] = [
    (NODE, None, "Standard_Stream"),
    (NODE, Some(PORT), "Port"),
    (NODE, Some("arn:aws:ssm:eu-central-1:444455556666:document/Theirs"), "Port"),
    (NODE, Some("Ours"), "Standard_Stream"),
    ("ecs:c_t_n", None, ""),
    ("", Some("Mine"), "InteractiveCommands"),
];

/// Word of something that changed.
fn change() -> impl Strategy<Value = Input> {
    prop_oneof![Just(changed("a")), Just(changed("b"))]
}

/// Any inputs at all, the answers contradicting each other.
fn anything() -> impl Strategy<Value = History> {
    (prop::sample::select(&SHAPES[..]), any::<bool>(), any::<bool>()).prop_flat_map(|(shape, enforce, organization)| {
        let events = prop::collection::vec(event(shape.0, shape.1), 0..10);
        let answers = prop::collection::vec(answer(shape, None), 0..6);
        (events, answers, prop::collection::vec(change(), 0..3)).prop_map(move |(mut inputs, answers, changes)| {
            inputs.extend(answers.into_iter().filter(|_| organization));
            inputs.extend(changes);
            History::new(inputs, enforce, organization)
        })
    })
}

/// What can happen to one session: AWS's answers agree with its end, and AWS confirms each reported end.
fn consistent() -> impl Strategy<Value = History> {
    (prop::sample::select(&SHAPES[..]), any::<bool>(), any::<bool>(), 15..55_i64).prop_flat_map(
        |(shape, enforce, organization, end)| {
            let events = prop::collection::vec(event(shape.0, shape.1), 0..10);
            let answers = prop::collection::vec(answer(shape, Some(end)), 0..6);
            (events, answers).prop_map(move |(mut inputs, answers)| {
                inputs.extend(answers.into_iter().chain([ended(58, end)]).filter(|_| organization));
                History::new(inputs, enforce, organization)
            })
        },
    )
}

impl History {
    fn new(mut inputs: Vec<Input>, enforce: bool, organization: bool) -> Self {
        let mut ends = 0;
        inputs.retain(|input| {
            let ending = matches!(input, Input::Event(event) if event.call == Call::Terminate);
            ends += usize::from(ending);
            organization || !ending || ends == 1
        });
        Self { inputs, enforce, organization }
    }
}

/// A history, and the same inputs in another order with some of them repeated.
fn shuffled(history: impl Strategy<Value = History>) -> impl Strategy<Value = (History, Vec<Input>)> {
    history.prop_flat_map(|history| {
        let some = prop::sample::subsequence(history.inputs.clone(), 0..=history.inputs.len());
        let all = some.prop_map({
            let inputs = history.inputs.clone();
            move |again| inputs.iter().cloned().chain(again).collect::<Vec<_>>()
        });
        (Just(history), all.prop_shuffle())
    })
}

fn desk(history: &History) -> Desk {
    let mode = if history.enforce { Mode::Enforce } else { Mode::Observe };
    let mut desk = Desk::new(std::sync::Arc::clone(&JUDGE), mode);
    (desk.settings.organization, desk.settings.activity) = (history.organization, true);
    desk
}

/// Everything that is decided in the end.
fn outcome(desk: &mut Desk, mut session: Session, inputs: &[Input]) -> (Session, String, Vec<String>) {
    for input in inputs {
        desk.step(&mut session, input.clone(), 60);
    }
    let verdict = desk.verdict(&session);
    let phase = session.phase(&verdict, &desk.settings);
    let due = session.due_at(&verdict, &desk.settings);
    let wanted = ids(&session.wanted(&verdict, now(60), &desk.settings));
    (session, format!("{phase:?} {due:?} {verdict:?}"), wanted)
}

/// The ids of everything that is wanted on the way, where every `nth` report becomes durable at once and each call is
/// tried at once.
fn union(desk: &mut Desk, inputs: &[Input], nth: usize) -> BTreeSet<EffectId> {
    let (mut session, mut ids, mut count) = (session(), BTreeSet::new(), 0);
    for input in inputs {
        let mut effects = desk.step(&mut session, input.clone(), 60);
        ids.extend(effects.iter().map(|effect| effect.id().clone()));
        if effects.iter().any(|effect| matches!(effect, Effect::Terminate { .. })) {
            effects.extend(desk.step(&mut session, tried(RemedyResult::Done), 60));
        }
        count += 1;
        let done = effects.iter().enumerate().filter(|(n, _)| (n + count) % nth == 0);
        let done = done.map(|(_, effect)| effect.id().clone()).collect();
        ids.extend(desk.step(&mut session, Input::Done(done), 60).iter().map(|effect| effect.id().clone()));
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    // I4
    #[test]
    fn order_and_repetition_change_no_fact_and_no_verdict((history, other) in shuffled(anything())) {
        let mut desk = desk(&history);
        desk.settings.log_wait_ms_max = 20_000;
        let one = outcome(&mut desk, session(), &history.inputs);
        let two = outcome(&mut desk, session(), &other);
        prop_assert_eq!(one, two);
    }

    // I4, I10: judging the stored facts again, in another memory, finds the same violations.
    #[test]
    fn stored_facts_give_the_same_verdict_again(history in anything()) {
        let mut first = desk(&history);
        let (session, decided, wanted) = outcome(&mut first, session(), &history.inputs);
        let text = serde_json::to_string(&session).unwrap();
        let mut read: Session = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &session);
        read.violations = None;
        prop_assert_eq!(outcome(&mut desk(&history), read, &[Input::Wake]), (session, decided, wanted));
    }

    // I4, R-W2
    #[test]
    fn order_and_repetition_change_no_effect_id((history, other) in shuffled(consistent()), nth in 1..4_usize) {
        let mut desk = desk(&history);
        let one = union(&mut desk, &history.inputs, usize::MAX);
        let two = union(&mut desk, &other, nth);
        prop_assert_eq!(one, two);
    }

    // I4
    #[test]
    fn events_can_be_split_and_merged(
        (history, other) in shuffled(anything()), cuts in prop::collection::vec(0..4_usize, 24), from in 0..4_usize,
    ) {
        let events = |inputs: &[Input]| -> Vec<Input> {
            inputs.iter().filter(|input| matches!(input, Input::Event(_))).cloned().collect()
        };
        let mut desk = desk(&history);
        let whole = outcome(&mut desk, session(), &events(&history.inputs));
        let mut parts = [session(), session(), session(), session()];
        for (n, input) in events(&other).into_iter().enumerate() {
            parts[cuts[n % cuts.len()]].absorb(input, now(60));
        }
        let mut all = parts[from].clone();
        for part in parts {
            all.merge(part);
        }
        prop_assert_eq!(outcome(&mut desk, all, &[Input::Wake]), whole);
    }

    /// Whatever is wanted can be done: nothing is asked for for ever.
    #[test]
    fn what_is_durable_is_not_wanted_again(history in anything()) {
        let mut desk = desk(&history);
        let (mut session, ..) = outcome(&mut desk, session(), &history.inputs);
        let wanted = desk.step(&mut session, Input::Wake, 60);
        let done = wanted.iter().map(|effect| effect.id().clone()).collect();
        let left = desk.step(&mut session, Input::Done(done), 60);
        prop_assert!(left.iter().all(|effect| matches!(effect, Effect::Terminate { .. })), "{left:?}");
    }
}

// I4: beyond those that are kept, each call is still reported, by the step that takes it in.
#[test]
fn every_call_is_reported_in_whatever_order_it_comes() {
    let mut inputs: Vec<Input> = (1..9).map(|n| resume(n, n as u128)).collect();
    inputs.extend([opened(0, 20, NODE, None), opened(1, 21, NODE, None), terminate(9, 30), terminate(10, 31)]);
    let mut desk = Desk::observing();
    desk.settings.activity = true;
    let forward = union(&mut desk, &inputs, 1);
    inputs.reverse();
    assert_eq!(forward, union(&mut desk, &inputs, 1));
    let activities = forward.iter().filter(|id| id.0.starts_with("activity/")).count();
    assert_eq!(activities, inputs.len());
}

/// The first three resumptions and the last are kept.
#[test]
fn the_last_resumption_is_kept() {
    let mut one = session();
    for n in [5, 9, 1, 7, 3, 8, 2] {
        one.absorb(resume(n, n as u128), now(60));
    }
    let kept: Vec<_> = one.resumes.iter().map(|mark| mark.at).collect();
    assert_eq!(kept, [at(1), at(2), at(3), at(9)]);
}

// TH4: nothing is decided about a session of which only a resumption is known, until AWS says what it is.
#[test]
fn a_resumption_alone_is_verified_before_it_is_judged() {
    let mut desk = Desk::enforcing();
    desk.settings.management_account = Some(session().key.account);
    let mut one = session();
    assert_eq!(ids(&desk.step(&mut one, resume(3, 1), 5)), [] as [&str; 0]);
    assert_eq!((desk.phase(&one), desk.due_ms(&one)), (crate::session::Phase::Observed, Some(0)));
    let effects = desk.step(&mut one, alive(5, &GOOD), 5);
    assert_eq!(ids(&effects), ["finding/*/SW-ACC-01", "finding/*/SW-RES-01", "terminate/*"]);
    assert!(one.violations.unwrap()["SW-ACC-01"].since == at(0));
}

/// Two attempts at the same instant: which is remembered does not depend on which came first.
#[test]
fn attempts_are_remembered_by_time() {
    let failed = || tried(RemedyResult::Failed("throttled".into()));
    let play = |inputs: [(i64, Input); 2]| {
        let mut one = session();
        for (seconds, input) in inputs {
            one.absorb(input, now(seconds));
        }
        one
    };
    let done = || tried(RemedyResult::Done);
    assert_eq!(play([(7, failed()), (7, done())]), play([(7, done()), (7, failed())]));
    let later = play([(8, done()), (7, failed())]);
    assert_eq!(later, play([(7, failed()), (8, done())]));
    let seen = later.seen.unwrap();
    assert_eq!(
        (seen.terminate_asked_at, seen.terminate_tried_at, seen.terminate_failure),
        (Some(now(7)), Some(now(8)), None)
    );
    assert_eq!(play([(7, tried(RemedyResult::Planned)), (7, Input::Wake)]).seen.unwrap().terminate_asked_at, None);
}
