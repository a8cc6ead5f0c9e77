use proptest::prelude::*;

use super::*;

/// A condition over evidence and a few facts, in Cedar.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (0..EvidenceKind::ALL.len()).prop_map(|at| format!("context.evidence.{}", EvidenceKind::ALL[at].attribute())),
        1 => Just("context.management".to_owned()),
        1 => Just("context.targetKind == TargetKind::\"ec2\"".to_owned()),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| format!("!({of})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("(({left}) && ({right}))")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("(({left}) || ({right}))")),
            (inner.clone(), inner).prop_map(|(left, right)| format!("(({left}) == ({right}))")),
        ]
    })
}

fn tri() -> impl Strategy<Value = Tri> {
    prop_oneof![Just(Tri::Yes), Just(Tri::No), Just(Tri::Unknown)]
}

/// Every way to fill in what is unknown.
fn completions(evidence: Evidence) -> Vec<Evidence> {
    EvidenceKind::ALL.into_iter().fold(vec![evidence], |all, kind| {
        let known = |of: &Evidence| of.get(kind) != Tri::Unknown;
        all.into_iter()
            .flat_map(|of| if known(&of) { vec![of] } else { vec![of.with(kind, Tri::Yes), of.with(kind, Tri::No)] })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // I11
    #[test]
    fn unknown_evidence_decides_nothing_that_the_missing_answers_could_turn(
        conditions in prop::collection::vec(condition(), 1..4),
        evidence in prop::array::uniform6(tri()),
        management: bool,
    ) {
        let text: String = conditions.iter().enumerate().map(|(at, of)| control(&format!("C{at}"), of)).collect();
        let judge = judge(&text, "");
        let mut session = Session::good();
        session.management = management;
        session.evidence = EvidenceKind::ALL.into_iter().zip(evidence).fold(Evidence::default(), |all, (kind, value)| all.with(kind, value));
        let answer = judge.session(&session.facts());
        let complete: Vec<_> = completions(session.evidence)
            .into_iter()
            .map(|evidence| {
                let session = Session { evidence, ..session.clone() };
                let answer = judge.session(&session.facts());
                assert_eq!(answer.unknown, []);
                (evidence, answer.violated.iter().map(|hit| hit.control).collect::<Vec<_>>())
            })
            .collect();
        for control in 0..conditions.len() {
            let always = complete.iter().all(|(_, violated)| violated.contains(&control));
            let never = !complete.iter().any(|(_, violated)| violated.contains(&control));
            let hit = answer.violated.iter().any(|hit| hit.control == control);
            let open = answer.unknown.iter().find(|open| open.control == control);
            prop_assert_eq!(hit, always);
            prop_assert_eq!(open.is_some(), !always && !never);
            let Some(open) = open else { continue };
            // It needs exactly the evidence that can turn it, with everything else given.
            let turning = |kind: EvidenceKind| complete.iter().any(|(evidence, violated)| {
                let turned = match evidence.get(kind) {
                    Tri::Yes => evidence.with(kind, Tri::No),
                    Tri::No | Tri::Unknown => evidence.with(kind, Tri::Yes),
                };
                complete.iter().any(|(other, result)| *other == turned && result.contains(&control) != violated.contains(&control))
            });
            let expected: Vec<_> = EvidenceKind::ALL.into_iter().filter(|kind| turning(*kind)).collect();
            prop_assert_eq!(&open.needs, &expected);
        }
    }
}

#[test]
fn evidence_is_what_was_last_set() {
    let mut evidence = Evidence::default();
    for kind in EvidenceKind::ALL {
        assert_eq!(evidence.get(kind), Tri::Unknown);
        for value in [Tri::Yes, Tri::No, Tri::Unknown, Tri::No] {
            evidence.set(kind, value);
            assert_eq!(evidence.get(kind), value);
        }
    }
    assert_eq!(evidence, all_evidence(Tri::No));
}

// I11: an error is neither.
#[test]
fn an_evaluation_error_leaves_the_control_open_with_its_reason() {
    let overflow = "context.startedAt.offset(duration(\"9223372036854775807ms\")) > context.startedAt";
    let mixed = format!("context.evidence.keyUsable && {overflow}");
    let judge = judge(&(control("A", overflow) + &control("B", &mixed) + &control("C", "context.resumed")), "");
    let mut session = Session::good();
    session.resumed = true;
    let answer = judge.session(&session.facts());
    assert_eq!(violated(&judge, &answer), ["C"]);
    assert_eq!(open(&judge, &answer), ["A", "B"]);
    for open in &answer.unknown {
        assert_eq!(open.needs, []);
        assert!(open.error.as_ref().unwrap().contains("overflow"), "{open:?}");
    }
    session.evidence.set(EvidenceKind::KeyUsable, Tri::Unknown);
    let answer = judge.session(&session.facts());
    assert_eq!(answer.unknown[1].needs, [EvidenceKind::KeyUsable]);
    assert!(answer.unknown[1].error.is_some());
}

#[test]
fn evidence_used_as_a_whole_counts_as_all_of_it() {
    let of_context = "context.evidence == {logWritable: true, documentAsWanted: true, containerLogged: true, \
                      keyUsable: true, bucketAsWanted: true, agentOnline: true}";
    let judge = judge(&control("A", of_context), "");
    assert_eq!(judge.evidence().collect::<Vec<_>>(), EvidenceKind::ALL);
    let mut session = Session::good();
    assert_eq!(violated(&judge, &judge.session(&session.facts())), ["A"]);
    session.evidence.set(EvidenceKind::AgentOnline, Tri::Unknown);
    assert_eq!(judge.session(&session.facts()).unknown[0].needs, [EvidenceKind::AgentOnline]);
}
