use proptest::prelude::*;

use super::*;
use crate::compliance::Verdicts;

const CONTROLS: [(&str, &str); 3] =
    [("C0", "context.management"), ("C1", "context.resumed"), ("C2", "!context.evidence.logWritable")];
const SCOPES: [&str; 6] = [
    "principal, action, resource",
    "principal, action == Action::\"session\", resource in Unit::\"sandbox\"",
    "principal, action, resource in Account::\"111122223333\"",
    "principal == Principal::\"arn:aws:iam::111122223333:user/bob\", action, resource",
    "principal in Account::\"444455556666\", action, resource",
    "principal, action == Action::\"session\", resource == Node::\"i-1\"",
];
const EXPIRIES: [&str; 3] = ["2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-12-31T00:00:00Z"];

fn controls() -> String {
    CONTROLS.iter().map(|(id, condition)| control(id, condition)).collect()
}

/// Controls that count at `at`.
fn counting(judge: &Judge, answer: &Answer, at: EventTime) -> Vec<usize> {
    let hits = answer.violated.iter().map(|hit| (hit.control, &hit.waivers));
    let all = hits.chain(answer.unknown.iter().map(|open| (open.control, &open.waivers)));
    all.filter(|(_, waivers)| judge.first_unexcused(waivers, at) == at).map(|(control, _)| control).collect()
}

fn waivers() -> impl Strategy<Value = Vec<String>> {
    let one = (0..SCOPES.len(), 0..EXPIRIES.len(), prop::sample::subsequence(vec!["C0", "C1", "C2"], 1..=3));
    prop::collection::vec(one, 1..5).prop_map(|all| {
        let text = |(at, (scope, expiry, names)): (usize, (usize, usize, Vec<&str>))| {
            waiver(&format!("W{at}"), &names.join(", "), EXPIRIES[expiry], SCOPES[scope], "context.region != \"x\"")
        };
        all.into_iter().enumerate().map(text).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_more_waiver_never_adds_a_violation(
        waivers in waivers(),
        sandbox: bool,
        bob: bool,
        target in prop::sample::select(vec!["i-1", "i-2"]),
        unknown: bool,
        at in prop::sample::select(vec!["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2026-12-30T00:00:00Z", "2027-01-01T00:00:00Z"]),
    ) {
        let mut session = Session::good();
        (session.management, session.resumed, session.target) = (true, true, target);
        session.unit = sandbox.then_some("sandbox");
        if bob {
            session.principal = principal("arn:aws:iam::111122223333:user/bob");
        }
        session.evidence.set(EvidenceKind::LogWritable, if unknown { Tri::Unknown } else { Tri::No });
        let at = EventTime::parse(at).unwrap();
        let (some, all) = (judge(&controls(), &waivers[1..].concat()), judge(&controls(), &waivers.concat()));
        let (before, after) = (some.session(&session.facts()), all.session(&session.facts()));
        prop_assert_eq!(violated(&some, &before), violated(&all, &after));
        prop_assert_eq!(open(&some, &before), open(&all, &after));
        let (before, after) = (counting(&some, &before, at), counting(&all, &after, at));
        prop_assert!(after.iter().all(|control| before.contains(control)), "{before:?} {after:?}");
        if at >= EventTime::parse(EXPIRIES[2]).unwrap() {
            prop_assert_eq!(after, [0, 1, 2]); // I16
        }
    }
}

// I16
#[test]
fn a_waiver_works_strictly_before_its_expiry() {
    let at = |text: &str| EventTime::parse(text).unwrap();
    let waivers = waiver("W0", "C0", "2025-01-01T00:00:00Z", SCOPES[0], "true")
        + &waiver("W1", "C0, C1", "2026-06-01T00:00:00Z", SCOPES[0], "true");
    let judge = judge(&controls(), &waivers);
    let mut session = Session::good();
    (session.management, session.resumed) = (true, true);
    let answer = judge.session(&session.facts());
    assert_eq!(answer.violated[0].waivers, [0, 1]);
    assert_eq!(answer.violated[1].waivers, [1]);
    let first = |waivers: &[usize], since: &str| judge.first_unexcused(waivers, at(since));
    assert_eq!(first(&[], "2024-05-05T00:00:00Z"), at("2024-05-05T00:00:00Z"));
    assert_eq!(first(&[0], "2024-12-31T23:59:59.999Z"), at("2025-01-01T00:00:00Z"));
    assert_eq!(first(&[0], "2025-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z"));
    assert_eq!(first(&[0, 1], "2024-05-05T00:00:00Z"), at("2026-06-01T00:00:00Z"));
    assert_eq!(first(&[0, 1], "2027-05-05T00:00:00Z"), at("2027-05-05T00:00:00Z"));
    let expired = |now: &str| judge.expired_waivers(at(now)).map(|waiver| waiver.id.to_string()).collect::<Vec<_>>();
    assert_eq!(expired("2024-12-31T23:59:59.999Z"), Vec::<String>::new());
    assert_eq!(expired("2025-01-01T00:00:00Z"), ["W0"]);
    assert_eq!(expired("2027-01-01T00:00:00Z"), ["W0", "W1"]);
}

#[test]
fn a_waiver_excuses_only_what_it_names_where_it_matches() {
    let mut session = Session::good();
    (session.management, session.resumed, session.target) = (true, true, "i-1");
    let matching = |scope: &str, session: &Session| {
        let judge = judge(&controls(), &waiver("W", "C1", EXPIRIES[2], scope, "true"));
        let answer = judge.session(&session.facts());
        assert_eq!(violated(&judge, &answer), ["C0", "C1"]);
        assert!(answer.violated[0].waivers.is_empty());
        answer.violated[1].waivers == [0]
    };
    let found: Vec<_> = SCOPES.iter().map(|scope| matching(scope, &session)).collect();
    assert_eq!(found, [true, true, true, false, false, true]);
    session.unit = Some("production");
    session.account = 999;
    session.target = "i-2";
    session.principal = principal("arn:aws:sts::444455556666:assumed-role/Admin/alice");
    let found: Vec<_> = SCOPES.iter().map(|scope| matching(scope, &session)).collect();
    assert_eq!(found, [true, false, false, false, true, false]);
}

#[test]
fn a_waiver_that_cannot_be_evaluated_excuses_nothing_and_says_so() {
    let overflow = "context.startedAt.offset(duration(\"9223372036854775807ms\")) > context.startedAt";
    let judge = judge(
        &controls(),
        &waiver("W", "C1", EXPIRIES[2], "principal, action == Action::\"session\", resource", overflow),
    );
    let mut session = Session::good();
    session.resumed = true;
    let answer = judge.session(&session.facts());
    assert!(answer.violated[0].waivers.is_empty());
    assert_eq!(answer.faulty_waivers.len(), 1);
    assert!(answer.faulty_waivers[0].1.contains("overflow"));
}

// R-G22: forwarding for a development environment is a documented, expiring waiver.
#[test]
fn the_example_waiver_loads_and_excuses_port_forwarding_in_its_unit() {
    let text = include_str!("../../../../../infra/policies/waivers/example.cedar.example");
    let mut sources = crate::compliance::shipped_sources();
    sources.push(source(PolicyRole::Waivers, "example.cedar", text));
    let judge = Arc::new(Judge::load(&sources).unwrap());
    let mut verdicts = Verdicts::new(Arc::clone(&judge));
    let mut session = Session::good();
    session.document_kind = DocumentKind::Port;
    let waivers = |answer: &Answer| answer.violated[0].waivers.clone();
    assert_eq!(waivers(&verdicts.session(&session.facts())), [0]);
    session.unit = Some("production");
    assert_eq!(waivers(&verdicts.session(&session.facts())), Vec::<usize>::new());
    session.unit = Some("sandbox");
    session.document_kind = DocumentKind::Ssh;
    assert_eq!(waivers(&verdicts.session(&session.facts())), Vec::<usize>::new());
}
