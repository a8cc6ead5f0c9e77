use proptest::prelude::*;

use super::*;

/// A condition over evidence and a few facts, in Cedar.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (0..EvidenceKind::IN_A_CONTROL_MAX).prop_map(|at| format!("context.evidence.{}", EvidenceKind::ALL[at].attribute())),
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
    EvidenceKind::ALL.into_iter().take(EvidenceKind::IN_A_CONTROL_MAX).fold(vec![evidence], |all, kind| {
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

/// A condition that mentions these kinds.
fn mentioning(kinds: &[EvidenceKind]) -> String {
    kinds.iter().map(|kind| format!("context.evidence.{}", kind.attribute())).collect::<Vec<_>>().join(" && ")
}

#[test]
fn a_control_mentions_a_bounded_number_of_kinds_of_evidence() {
    let (most, one_more) = (EvidenceKind::ALL.split_at(EvidenceKind::IN_A_CONTROL_MAX).0, EvidenceKind::ALL[6]);
    assert_eq!(most.len(), 6);
    let loaded = judge(&control("A", &mentioning(most)), "");
    assert_eq!(loaded.evidence().collect::<Vec<_>>(), most);
    assert_eq!(loaded.controls()[0].evidence, most);

    let too_many = control("A", &mentioning(&[most, &[one_more]].concat()));
    let errors = Judge::load(&[source(PolicyRole::Controls, "c.cedar", &too_many)]).unwrap_err();
    insta::assert_snapshot!(errors, @r#"
    c.cedar:1:1: the control asks for 7 kinds of evidence
      hint: mention at most 6 of it by name, or write two controls
    "#);

    // Two controls may mention more between them.
    let both = control("A", &mentioning(most)) + &control("B", &mentioning(&[one_more]));
    assert_eq!(judge(&both, "").evidence().count(), 7);
}

#[test]
fn evidence_used_as_a_whole_counts_as_all_of_it() {
    let all: Vec<_> = EvidenceKind::ALL.iter().map(|kind| format!("{}: true", kind.attribute())).collect();
    let text = control("A", &format!("context.evidence == {{{}}}", all.join(", ")));
    let errors = Judge::load(&[source(PolicyRole::Controls, "c.cedar", &text)]).unwrap_err();
    assert!(errors.to_string().contains("asks for 14 kinds of evidence"), "{errors}");
}

#[test]
fn to_ask_whether_there_is_evidence_mentions_none_of_it() {
    let judge = judge(&control("A", "context has evidence && context.evidence has keyUsable && context.resumed"), "");
    assert_eq!(judge.evidence().collect::<Vec<_>>(), [EvidenceKind::KeyUsable]);
}

#[test]
fn evidence_presses_where_a_control_does_more_than_report() {
    let report = control("A", "!context.evidence.keyUsable || !context.evidence.agentOnline");
    let incident = control("B", "!context.evidence.agentOnline").replace("report", "incident");
    let terminate = control("C", "!context.evidence.logWritable").replace("report", "terminate");
    let pressing = |text: &str| judge(text, "").pressing_evidence().collect::<Vec<_>>();
    assert_eq!(pressing(&report), []);
    assert_eq!(pressing(&(report.clone() + &incident)), [EvidenceKind::AgentOnline]);
    let all = report + &incident + &terminate;
    assert_eq!(pressing(&all), [EvidenceKind::LogWritable, EvidenceKind::AgentOnline]);
    let gathered: Vec<_> = judge(&all, "").evidence().collect();
    assert_eq!(gathered, [EvidenceKind::LogWritable, EvidenceKind::KeyUsable, EvidenceKind::AgentOnline]);
}
