//! Sessions that rest: looks that learn nothing new are not written (R-W7).

use proptest::prelude::*;

use super::support::*;
use crate::{
    compliance::{EvidenceKind as E, Tri},
    effect::Mode,
    session::{Answered, Described, Gathered, Input, Life, LogLook, Phase, Session},
};

const ANSWERS: [Tri; 3] = [Tri::Yes, Tri::No, Tri::Unknown];

/// A round of answers at a time, by the numbers of life and answers.
fn asked(seconds: i64, life: usize, answers: [usize; 2]) -> Gathered {
    let life = [Life::Alive(described()), Life::Unknown, Life::Ended(at(seconds))][life].clone();
    let answered = |answer: usize| Answered::new(ANSWERS[answer], "iam", format!("statement {answer}"));
    let evidence =
        [(E::LogWritable, answered(answers[0])), (E::DocumentAsWanted, answered(answers[1]))].into_iter().collect();
    Gathered { evidence, session_type: "Standard_Stream".into(), ..Gathered::new(now(seconds), life) }
}

fn absorb(session: &mut Session, gathered: &Gathered) {
    session.absorb(Input::Gathered(Box::new(gathered.clone())), gathered.at);
}

proptest! {
    /// I4: what is confirmed is as if the same had been answered again, whatever was answered before.
    #[test]
    fn to_confirm_is_to_hear_the_same_again(
        before in prop::collection::vec((0..60_i64, 0..3_usize, 0..3_usize, 0..3_usize), 0..6),
        answers in [0..3_usize, 0..3_usize],
        (later, again) in (1..600_i64, 1..600_i64),
    ) {
        let mut heard = session();
        for (seconds, life, one, other) in before {
            absorb(&mut heard, &asked(seconds, life, [one, other]));
        }
        absorb(&mut heard, &asked(60, 0, answers));
        let mut confirmed = heard.clone();
        let stored = heard.clone();
        for seconds in [60 + later, 60 + later + again] {
            absorb(&mut heard, &asked(seconds, 0, answers));
        }
        confirmed.confirm(now(60 + later));
        confirmed.confirm(now(60 + later + again));
        prop_assert_eq!(&confirmed, &heard);
        prop_assert!(heard.is_as(&stored));
        // What is older says nothing.
        confirmed.confirm(now(61));
        prop_assert_eq!(&confirmed, &heard);
    }

    #[test]
    fn another_answer_is_news(answers in [0..3_usize, 0..3_usize], others in [0..3_usize, 0..3_usize]) {
        let mut one = session();
        absorb(&mut one, &asked(60, 0, answers));
        let stored = one.clone();
        absorb(&mut one, &asked(75, 0, others));
        // After a no, nothing but another no has anything to say.
        let same = answers == others;
        prop_assert_eq!(one.is_as(&stored), same);
    }
}

fn rests_until(desk: &mut Desk, one: &Session) -> Option<i64> {
    let verdict = desk.verdict(one);
    one.rests_until(&verdict, &desk.settings).map(|at| (at.0 - now(0).0) / 1_000)
}

// R-W7, I8
#[test]
fn a_session_rests_while_nothing_about_it_is_open() {
    let mut desk = Desk::enforcing();
    let mut one = session();
    desk.step(&mut one, start(0), 0);
    assert_eq!(rests_until(&mut desk, &one), None, "nobody has looked");
    desk.step(&mut one, alive(5, &[]), 5);
    assert_eq!(rests_until(&mut desk, &one), None, "there are questions without an answer");
    desk.step(&mut one, alive(20, &GOOD), 20);
    assert_eq!(rests_until(&mut desk, &one), Some(920));
    one.confirm(now(35));
    assert_eq!(rests_until(&mut desk, &one), Some(935));
    let mut other = one.clone();
    desk.step(&mut other, changed("web"), 40);
    assert_eq!(rests_until(&mut desk, &other), None, "something it rests on has changed");
    let mut other = one.clone();
    desk.step(&mut other, round(50, Life::Unknown, &[], LogLook::Unknown), 50);
    assert_eq!(rests_until(&mut desk, &other), None, "nobody knows whether it is alive");
    let mut other = one.clone();
    desk.step(&mut other, terminate(40, 7), 41);
    assert_eq!(rests_until(&mut desk, &other), None, "its end was reported");
    let mut other = one.clone();
    desk.step(&mut other, alive(50, &BAD), 50);
    assert_eq!((desk.phase(&other), rests_until(&mut desk, &other)), (Phase::Terminating, None));
    desk.settings.rest_ms_max = desk.settings.recheck_ms;
    assert_eq!(rests_until(&mut desk, &one), None, "each look is to be written");
}

/// I16: a waiver that ends is a time to look again, and nobody rests past it.
#[test]
fn nobody_rests_past_the_end_of_a_waiver() {
    let mut desk = Desk::new(with_waivers(&waiver("W1", "SW-DOC-01", 100, "true")), Mode::Enforce);
    let mut one = session();
    let described = Life::Alive(Described { document: "Mine".into(), ..described() });
    let looked = round(5, described, &GOOD, LogLook::Unknown);
    desk.play(&mut one, [(0, opened(0, 1, NODE, Some("Mine"))), (5, looked)]);
    assert_eq!(desk.phase(&one), Phase::Live);
    assert_eq!(rests_until(&mut desk, &one), Some(100));
    assert_eq!(desk.due_ms(&one), Some(20_000));
}
