//! A session stays small, whatever it is told.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::support::*;
use crate::{
    compliance::{EvidenceKind, Judge, PolicyRole, PolicySource, Tri, shipped_sources},
    decode::{Observation, Opened, What},
    effect::{Mode, RemedyResult},
    ids::{EffectId, EventId, Names, Thing, ThingKind},
    session::{
        Answered, DEPENDS_MAX, Described, Gathered, Input, Life, LogFlaw, LogLook, LogSeen, RESUMES_MAX, Session,
        SessionEvent, TEXT_CHARS_MAX, VIOLATIONS_MAX, clip, text::fit,
    },
};

const BYTES_MAX: usize = 16 * 1_024;

#[test]
fn texts_are_cut_between_characters() {
    for (c, len) in [('a', 512), ('ä', 1_024), ('語', 1_536), ('🦀', 2_048)] {
        let text: String = std::iter::repeat_n(c, 600).collect();
        assert_eq!((clip(&text).chars().count(), clip(&text).len()), (TEXT_CHARS_MAX, len));
        let exact: String = std::iter::repeat_n(c, TEXT_CHARS_MAX).collect();
        assert_eq!(clip(&exact), exact);
    }
    assert_eq!(clip(""), "");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn bounded_texts_fit_and_stay_different(a in ".{0,90}|[\\x00-\\x7f]{0,90}", b in ".{0,90}", max in 33..120_usize) {
        let fits = |text: &str| serde_json::to_string(text).unwrap().len() - 2 <= max;
        let short = fit(&a, max);
        prop_assert!(fits(&short));
        prop_assert!(!matches!(short, Cow::Owned(_)) || short.len() >= 33);
        if a.chars().all(|c| c >= ' ') {
            prop_assert_eq!(fits(&a), matches!(short, Cow::Borrowed(_)));
        }
        prop_assert_eq!(a == b, short == fit(&b, max));
    }
}

/// The shipped controls and forty more that every session violates.
fn strict() -> Arc<Judge> {
    let mut sources = shipped_sources();
    let text = (0..40).map(|n| {
        format!(
            "@id(\"XX-CONTROL-{n:02}\") @title(\"{}\") @severity(\"low\") @response(\"incident\") @requirement(\"R-G2\")\n\
             @attack(\"T1021.007, T1562.008\") forbid (principal, action == Action::\"session\", resource);\n",
            "A very long title ".repeat(20)
        )
    });
    sources.push(PolicySource { file: "x.cedar".into(), text: text.collect(), role: PolicyRole::Controls });
    Arc::new(Judge::load(&sources).unwrap_or_else(|errors| panic!("{errors}")))
}

/// An event as a hostile source could write it, every text far longer than allowed.
fn hostile(seconds: i64, event: u128, fill: char, what: fn(String) -> What<'static>) -> Input {
    let long = || std::iter::repeat_n(fill, 3_000).collect::<String>();
    let seen = Observation {
        event: EventId(u128::MAX - event),
        at: at(seconds),
        account: account(ACCOUNT),
        region: long().into(),
        name: "StartSession",
        threat: "",
        principal_arn: format!("{}{event}", long()).into(),
        principal_kind: long().into(),
        failure: None,
        what: what(long()),
    };
    Input::Event(SessionEvent::of(&seen, &mut Names::default()).unwrap())
}

fn session_id(fill: char) -> Arc<str> {
    std::iter::repeat_n(fill, 96).collect::<String>().into()
}

/// Everything at once, and again.
fn fullest(fill: char) -> Session {
    let opened = |long: String| {
        What::Start(Opened {
            session: "x".into(),
            target: long.clone().into(),
            document: Some(long.clone().into()),
            reason: Some(long.into()),
            container: false,
        })
    };
    let Input::Event(first) = hostile(1, 1, fill, opened) else { unreachable!() };
    let mut one = Session::new(crate::ids::SessionKey { id: session_id(fill), ..first.key.clone() }, now(0));
    let mut desk = Desk::new(strict(), Mode::Enforce);
    desk.settings.activity = true;
    desk.settings.management_account = Some(account(ACCOUNT));
    desk.settings.allowed_regions = BTreeSet::from(["nowhere".into()]);
    let long: Arc<str> = std::iter::repeat_n(fill, 3_000).collect::<String>().into();
    let mut inputs = vec![Input::Event(first)];
    for n in (1..30).rev() {
        inputs.push(hostile(n, 100 + n as u128, fill, |_| What::Resume { session: "x".into() }));
        inputs.push(hostile(100 + n, 200 + n as u128, fill, |_| What::Terminate { session: "x".into() }));
        let described = Described {
            started_at: at(n),
            owner: Arc::clone(&long),
            target: Arc::clone(&long),
            document: Arc::clone(&long),
            reason: Some(Arc::clone(&long)),
            access_type: Arc::clone(&long),
        };
        let thing = |m: i64| Thing {
            kind: [ThingKind::InstanceProfile, ThingKind::Policy][m as usize % 2],
            account: account(ACCOUNT),
            id: format!("{m}{n}{long}").into(),
        };
        inputs.push(Input::Gathered(Box::new(Gathered {
            at: now(200 + n),
            life: Life::Alive(described),
            evidence: EvidenceKind::ALL
                .map(|kind| (kind, Answered::new(Tri::No, Arc::clone(&long), Arc::clone(&long))))
                .into(),
            session_type: Arc::clone(&long),
            depends: (0..30).map(thing).collect(),
            log: LogLook::Absent(Arc::clone(&long)),
        })));
        inputs.push(tried(RemedyResult::Failed(Arc::clone(&long))));
        inputs.push(Input::Changed(thing(n)));
        let log =
            LogSeen { place: Arc::clone(&long), flaws: LogFlaw::ALL.into(), written_at: at(n), size_bytes: n as u64 };
        inputs.push(round(n, Life::Ended(at(n)), &[], LogLook::Found(log)));
    }
    for (n, input) in inputs.into_iter().enumerate() {
        let effects = desk.step(&mut one, input, 2_000 + n as i64 * 10);
        let mut done: Vec<EffectId> = effects.iter().map(|effect| effect.id().clone()).collect();
        done.push(EffectId(format!("finding/of/somebody/else/{n}").into()));
        desk.step(&mut one, Input::Done(done), 2_000 + n as i64 * 10);
    }
    one
}

// R-W1: nothing that happens to a session makes its state grow beyond one item.
#[test]
fn the_fullest_session_is_one_small_item() {
    for fill in ['x', '語', '🦀', '"', '\u{1}'] {
        let one = fullest(fill);
        let seen = one.seen.as_ref().unwrap();
        let counts = (one.resumes.len(), seen.depends.len(), one.violations.as_ref().unwrap().len());
        assert_eq!(counts, (RESUMES_MAX, DEPENDS_MAX, VIOLATIONS_MAX));
        assert!(
            one.start.is_some() && one.terminated.is_some() && seen.log.is_some() && seen.terminate_failure.is_some()
        );
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.len() < BYTES_MAX, "{} bytes of {fill:?}", text.len());
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), one);
    }
}

/// Of too many violated controls those that end the session are kept.
#[test]
fn the_worst_violations_are_kept() {
    let one = fullest('x');
    let kept = violated(&one);
    for ending in ["SW-ACC-01", "SW-DOC-01", "SW-LOG-01", "SW-REG-01", "SW-TGT-01"] {
        assert!(kept.contains(&ending), "{ending} of {kept:?}");
    }
}

/// Of too many things the policies go first: their changes show in the role's next check.
#[test]
fn policies_are_the_first_things_to_go() {
    let kinds = [ThingKind::Role, ThingKind::Policy, ThingKind::Node, ThingKind::Document, ThingKind::Key];
    let things = (0..40).map(|n| Thing {
        kind: kinds[if n < 4 { [0, 2, 3, 4][n] } else { 1 }],
        account: account(ACCOUNT),
        id: format!("thing-{n:02}").into(),
    });
    let mut one = session();
    let depends = things.collect();
    let gathered = Gathered { depends, ..Gathered::new(now(1), Life::Alive(described())) };
    one.absorb(Input::Gathered(Box::new(gathered)), now(1));
    let kept = one.seen.unwrap().depends;
    let others = kept.iter().filter(|thing| thing.kind != ThingKind::Policy).count();
    assert_eq!((kept.len(), others), (DEPENDS_MAX, 4));
}
