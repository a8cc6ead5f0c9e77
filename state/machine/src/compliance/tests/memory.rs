use proptest::prelude::*;

use super::*;
use crate::compliance::Verdicts;

/// Conditions that mention facets in every way there is.
const CONDITIONS: [&str; 30] = [
    "context.account == \"111122223333\"",
    "context.region like \"eu-*\"",
    "context.management",
    "!context.regionAllowed",
    "context.targetKind == TargetKind::\"hybrid\"",
    "context.documentName like \"SSM-*\"",
    "[DocumentKind::\"port\", DocumentKind::\"ssh\"].contains(context.documentKind)",
    "context.documentShared",
    "context.accessType == \"JustInTime\"",
    "context.reason == \"\"",
    "context.resumed",
    "context.startedAt < datetime(\"2024-01-01\")",
    "context.evidence.logWritable",
    "context.evidence.keyUsable || context.evidence.agentOnline",
    "context has reason && context has evidence.logWritable && context.resumed",
    "principal == Principal::\"arn:aws:iam::111122223333:user/bob\"",
    "[Principal::\"arn:aws:iam::111122223333:user/bob\"].contains(principal)",
    "principal in Account::\"111122223333\"",
    "principal in Unit::\"sandbox\"",
    "principal in [Unit::\"sandbox\", Unit::\"production\"]",
    "principal is Principal in Unit::\"sandbox\"",
    "principal.kind == \"AssumedRole\"",
    "principal.role == \"Admin\"",
    "principal.name == \"alice\"",
    "(if context.resumed then principal else principal).name == \"bob\"",
    "resource == Node::\"i-1\"",
    "resource in Unit::\"sandbox\"",
    "resource in Account::\"111122223333\"",
    "resource in [Account::\"999999999999\", Account::\"444455556666\"]",
    "{a: context.region, Var: principal.name} == {a: \"eu-central-1\", Var: \"bob\"}",
];
const SCOPES: [&str; 7] = [
    "principal, action, resource",
    "principal == Principal::\"arn:aws:iam::111122223333:user/bob\", action, resource",
    "principal in Unit::\"sandbox\", action, resource",
    "principal is Principal in Account::\"444455556666\", action, resource",
    "principal, action, resource in Unit::\"sandbox\"",
    "principal, action, resource in Account::\"111122223333\"",
    "principal, action == Action::\"session\", resource is Node in Unit::\"production\"",
];

fn session() -> impl Strategy<Value = Session> {
    let places = (
        prop::sample::select(vec![111_122_223_333, 444_455_556_666]),
        prop::sample::select(vec!["eu-central-1", "us-east-1"]),
        prop::sample::select(vec![None, Some("sandbox"), Some("production")]),
        prop::sample::select(vec![
            "arn:aws:iam::111122223333:user/bob",
            "arn:aws:sts::111122223333:assumed-role/Admin/alice",
            "arn:aws:sts::444455556666:assumed-role/Admin/bob",
            "",
        ]),
        prop::sample::select(vec![("i-1", TargetKind::Ec2), ("mi-1", TargetKind::Hybrid)]),
        prop::sample::select(vec!["SSM-SessionManagerRunShell", "x"]),
        prop::sample::select(vec![DocumentKind::Port, DocumentKind::Custom]),
    );
    let rest = (
        prop::array::uniform5(any::<bool>()),
        prop::sample::select(vec!["Standard", "JustInTime"]),
        prop::sample::select(vec![None, Some(""), Some("why")]),
        prop::sample::select(vec![EventTime(0), EventTime(1_800_000_000_000)]),
        prop::array::uniform14(prop_oneof![Just(Tri::Yes), Just(Tri::No), Just(Tri::Unknown)]),
        prop::sample::select(vec!["", "Port"]),
    );
    (places, rest).prop_map(
        |((account, region, unit, arn, node, name, kind), (flags, access, reason, at, evidence, opens))| {
            let evidence = EvidenceKind::ALL.into_iter().zip(evidence);
            Session {
                account,
                region,
                unit,
                management: flags[0],
                region_allowed: flags[1],
                principal: Principal { kind: if flags[4] { "AssumedRole" } else { "Root" }.into(), ..principal(arn) },
                target: node.0,
                target_kind: node.1,
                document_name: name,
                document_kind: kind,
                document_shared: flags[2],
                session_type: opens,
                access_type: access,
                reason,
                resumed: flags[3],
                started_at: at,
                evidence: evidence.fold(Evidence::default(), |all, (kind, value)| all.with(kind, value)),
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = vec![None, Some(ThingKind::Role), Some(ThingKind::Bucket)];
    let all = (
        prop::sample::select(shipped_events::ROWS.to_vec()),
        any::<(bool, bool, bool)>(),
        prop::sample::select(vec![None, Some("sandbox")]),
        prop::sample::select(kinds),
        prop::sample::select(vec!["", "a", "b"]),
        prop::sample::select(vec!["arn:aws:iam::111122223333:user/bob", "arn:aws:sts::1:assumed-role/Admin/alice"]),
    );
    all.prop_map(|((_, threat, name, ..), (own, failed, management), unit, thing_kind, thing, arn)| Event {
        own,
        failed,
        management,
        unit,
        thing_kind,
        thing,
        principal: principal(arn),
        ..Event::of(threat, name)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_remembered_answer_is_the_answer(
        conditions in prop::sample::subsequence(CONDITIONS.to_vec(), 1..4),
        scopes in prop::sample::subsequence(SCOPES.to_vec(), 0..3),
        sessions in prop::collection::vec(session(), 40),
    ) {
        let controls: String = conditions.iter().enumerate().map(|(at, of)| control(&format!("C{at}"), of)).collect();
        let waivers: String = scopes
            .iter()
            .enumerate()
            .map(|(at, scope)| waiver(&format!("W{at}"), "C0", "2026-01-01T00:00:00Z", scope, "true"))
            .collect();
        let judge = Arc::new(judge(&controls, &waivers));
        let mut verdicts = Verdicts::new(Arc::clone(&judge));
        for session in &sessions {
            let remembered = verdicts.session(&session.facts());
            prop_assert_eq!(&*remembered, &judge.session(&session.facts()), "{:?} {:?}", conditions, session);
        }
        let (hits, misses) = verdicts.asked();
        prop_assert_eq!(hits + misses, 40);
        prop_assert_eq!(misses as usize, verdicts.kept());
    }

    #[test]
    fn a_remembered_answer_on_an_event_is_the_answer(events in prop::collection::vec(event(), 60)) {
        let judge = shipped();
        let mut verdicts = Verdicts::new(Arc::clone(&judge));
        for event in &events {
            let remembered = verdicts.event(&event.facts());
            prop_assert_eq!(&*remembered, &judge.event(&event.facts()), "{:?}", event);
        }
    }
}

#[test]
fn each_condition_tells_sessions_apart_with_and_without_memory() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sessions: Vec<_> = (0..300).map(|_| session().new_tree(&mut runner).unwrap().current()).collect();
    let scopes = SCOPES.iter().map(|scope| waiver("W", "C", "2026-01-01T00:00:00Z", scope, "true"));
    let conditions = CONDITIONS.iter().map(|condition| (control("C", condition), String::new()));
    for (controls, waivers) in conditions.chain(scopes.map(|waiver| (control("C", "context.region != \"\""), waiver))) {
        let judge = Arc::new(judge(&controls, &waivers));
        let mut verdicts = Verdicts::new(Arc::clone(&judge));
        let mut distinct = Vec::new();
        for session in &sessions {
            let answer = verdicts.session(&session.facts());
            assert_eq!(*answer, judge.session(&session.facts()), "{controls}{waivers}{session:?}");
            if !distinct.contains(&answer) {
                distinct.push(answer);
            }
        }
        let constant = waivers.contains(SCOPES[0]);
        assert!(constant || distinct.len() > 1, "{controls}{waivers}");
    }
}

#[test]
fn facts_that_no_policy_mentions_are_not_asked_again() {
    let mut verdicts = Verdicts::new(shipped());
    let mut session = Session::good();
    let first = verdicts.session(&session.facts());
    (session.target, session.region, session.unit) = ("i-2", "us-east-1", None);
    session.principal = principal("arn:aws:iam::444455556666:user/carol");
    session.reason = Some("because");
    session.started_at = EventTime(5);
    session.account = 444_455_556_666;
    assert!(Arc::ptr_eq(&first, &verdicts.session(&session.facts())));
    assert_eq!(verdicts.asked(), (1, 1));
    session.evidence.set(EvidenceKind::LogWritable, Tri::Unknown);
    assert!(!Arc::ptr_eq(&first, &verdicts.session(&session.facts())));
    assert_eq!(verdicts.asked(), (1, 2));
}

#[test]
fn evidence_that_no_policy_mentions_is_not_asked_again() {
    let judge = Arc::new(judge(&control("C", "!context.evidence.logWritable"), ""));
    let mut verdicts = Verdicts::new(judge);
    let mut session = Session::good();
    let first = verdicts.session(&session.facts());
    session.evidence.set(EvidenceKind::AgentOnline, Tri::No);
    assert!(Arc::ptr_eq(&first, &verdicts.session(&session.facts())));
    session.evidence.set(EvidenceKind::LogWritable, Tri::No);
    assert!(!Arc::ptr_eq(&first, &verdicts.session(&session.facts())));
    assert_eq!(verdicts.asked(), (1, 2));
}

#[test]
fn a_session_and_an_event_are_different_questions() {
    let text = "@id(\"C\") @title(\"t\") @severity(\"low\") @response(\"report\") @requirement(\"X\") @attack(\"T1021\")\n\
                forbid (principal, action, resource) when { context.management && action == Action::\"event\" };\n";
    let judge = Arc::new(judge(text, ""));
    let mut verdicts = Verdicts::new(Arc::clone(&judge));
    let (mut session, mut event) = (Session::good(), Event::of("TH5", "SendCommand"));
    (session.management, event.management) = (true, true);
    assert_eq!(violated(&judge, &verdicts.session(&session.facts())), Vec::<&str>::new());
    assert_eq!(violated(&judge, &verdicts.event(&event.facts())), ["C"]);
}

#[test]
fn what_one_has_asked_another_one_knows() {
    let judge = Arc::new(judge(&control("C", "context.reason == \"never\""), ""));
    let (mut one, session) = (Verdicts::new(judge), Session::good());
    let mut other = one.sharing();
    assert_eq!(one.session(&session.facts()), other.session(&session.facts()));
    assert_eq!((one.asked(), other.asked()), ((0, 1), (1, 0)));
}

#[test]
fn the_memory_is_bounded() {
    let judge = Arc::new(judge(&control("C", "context.reason == \"never\""), ""));
    let mut verdicts = Verdicts::new(judge);
    let base = Session::good();
    for number in 0..=Verdicts::MAX {
        let reason = number.to_string();
        let answer = verdicts.session(&SessionFacts { reason: Some(&reason), ..base.facts() });
        assert!(answer.violated.is_empty());
    }
    assert_eq!(verdicts.kept(), 1);
    assert_eq!(verdicts.asked(), (0, Verdicts::MAX as u64 + 1));
    let long = "x".repeat(Verdicts::KEY_BYTES_MAX);
    let long = SessionFacts { reason: Some(&long), ..base.facts() };
    assert_eq!(verdicts.session(&long), verdicts.session(&long));
    assert_eq!(verdicts.kept(), 1);
}
