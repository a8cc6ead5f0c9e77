use proptest::{prelude::*, sample::select};

use super::*;

/// One fact less: an error in its place.
fn lose(show: &mut Show, fact: usize, error: CallError) {
    let names: Vec<Arc<str>> = show.keys.keys().cloned().collect();
    match fact {
        0 => show.node = show.node.take().map(|_| Err(error)),
        1 => show.role = show.role.take().map(|_| Err(error)),
        2 => show.guards = Err(error),
        3 => show.preferences = Err(error),
        4 => show.document = show.document.take().map(|_| Err(error)),
        5 => show.bucket = show.bucket.take().map(|_| Err(error)),
        6 => show.bucket_guards = show.bucket_guards.take().map(|_| Err(error)),
        7 => show.network = show.network.take().map(|_| Err(error)),
        8 => show.caller = show.caller.take().map(|_| Err(error)),
        9 => show.cluster = show.cluster.take().map(|_| Err(error)),
        10 => show.stream = show.stream.take().map(|_| Err(error)),
        at => {
            if let Some(name) = names.get(at - 11) {
                show.keys.insert(Arc::clone(name), Err(error));
            }
        }
    }
}

const FACTS: usize = 13;

/// Something that is not as it should be.
fn spoil(show: &mut Show, flaw: usize) {
    match flaw {
        0 => show.role().policies.clear(),
        1 => show.role().policies.push(policy("extra", deny(json!("s3:PutObject")))),
        2 => show.role().boundary = Some(policy("boundary", allow(json!("s3:*")))),
        3 => show.guards().scps[1] = vec![policy("p-only", allow(json!(["s3:*", "ssm:*"])))],
        4 => show.bucket().policy = None,
        5 => show.bucket().versioned = false,
        6 => show.key_named(BUCKET_KEY).enabled = false,
        7 => show.key_named("alias/session").policy = policy("closed", deny(json!("kms:*"))),
        8 => show.endpoint("ssmmessages").policy = policy("closed", deny(json!("*"))),
        9 => show.node().agent = Agent::Stopped,
        10 => show.node().tags.clear(),
        11 => show.caller().tags.clear(),
        12 => show.caller().policies = vec![policy("all", allow(json!("ssm:*")))],
        13 => show.prefer("cloudWatchStreamingEnabled", json!(false)),
        14 => show.prefer("runAsEnabled", json!(false)),
        15 => show.stream = Some(Ok(None)),
        16 => show.document = Some(document(&json!({}))),
        17 => show.node().role = None,
        18 => {
            show.node = None;
            show.described.target = "ecs:web_0_0-1".into();
            let cluster = Cluster { logging: "NONE".into(), bucket: "".into(), log_group: "".into() };
            show.cluster = Some(Ok(Arc::new(cluster)));
        }
        19 => {
            let open = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"});
            show.bucket().policy = Some(policy("open", open));
        }
        20 => show.settings.posture.preferences.s3_prefix = None,
        21 => show.settings.posture.preferences.s3_bucket = None,
        22 => {
            let same = show.key.account;
            show.bucket().account = same;
            show.settings.posture.log_archive_account = None;
        }
        _ => show.described.reason = None,
    }
}

const FLAWS: usize = 24;

fn strict() -> Show {
    let mut show = Show::new();
    let posture = &mut show.settings.posture;
    posture.third_party_roles = vec!["Vendor".into()];
    posture.run_as_roles = vec!["Vendor".into()];
    posture.reason_units.insert("*".into());
    posture.node_tags.insert("ExternalAccessGrantedTo".into(), ["acme".into()].into());
    show
}

fn spoilt(flaws: &[usize]) -> Show {
    let mut show = strict();
    for flaw in flaws.iter().copied().filter(|flaw| *flaw != 17 && *flaw != 18) {
        spoil(&mut show, flaw);
    }
    for flaw in [17, 18].into_iter().filter(|flaw| flaws.contains(flaw)) {
        spoil(&mut show, flaw);
    }
    show
}

fn errors() -> impl Strategy<Value = CallError> {
    select(vec![CallError::Throttled, CallError::Denied, CallError::Unknown])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// I11, R-W13: an answer that is lost can leave another unknown, and never turns a yes into a no or a no into a yes.
    #[test]
    fn an_error_turns_no_answer_into_another(
        flaws in prop::collection::vec(0..FLAWS, 0..4),
        lost in prop::collection::vec((0..FACTS, errors()), 1..4),
    ) {
        let mut show = spoilt(&flaws);
        let before = assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default());
        for (fact, error) in lost {
            lose(&mut show, fact, error);
        }
        let after = assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default());
        for (kind, was) in before {
            let is = &after[&kind];
            prop_assert!(
                is.value == Tri::Unknown || is.value == was.value,
                "{}: {:?} ({}) became {:?} ({})", kind.as_str(), was.value, was.reason, is.value, is.reason
            );
        }
    }

    /// What was found at the last look changes nothing that is found at the next one, whatever has changed meanwhile.
    #[test]
    fn a_look_finds_what_it_would_find_alone(
        steps in prop::collection::vec((0..FLAWS, 0..4_usize, 0..FACTS, errors(), 0..200_000_i64), 1..8),
    ) {
        let mut memory = Memory::default();
        let mut show = strict();
        let mut known: Option<(u64, super::super::Look)> = None;
        for (flaw, what, fact, error, wait_ms) in steps {
            show.now = show.now.plus_ms(wait_ms);
            match what {
                0 => show = Show { now: show.now, ..strict() },
                // One memory is for one set of settings.
                1 if !(20..23).contains(&flaw) => show = Show { now: show.now, ..spoilt(&[flaw]) },
                2 => lose(&mut show, fact, error),
                _ => {}
            }
            let alone = Memory::default().look(&show.facts(), &EvidenceKind::ALL);
            let (number, look) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, known.as_ref().map(|(it, _)| *it));
            match (look, &known) {
                (Some(look), _) => prop_assert_eq!(&look, &alone),
                // Nothing is new.
                (None, Some((before, look))) => prop_assert_eq!((before, look), (&number, &alone)),
                (None, None) => prop_assert!(false, "no look, and none is known"),
            }
            prop_assert_eq!(memory.look(&show.facts(), &EvidenceKind::ALL), alone.clone());
            known = Some((number, alone));
        }
    }

    /// I11: with no answer at all, only what needs none is decided.
    #[test]
    fn without_any_answer_nothing_is_decided(error in errors()) {
        let mut show = strict();
        for fact in 0..FACTS {
            lose(&mut show, fact, error);
        }
        for (kind, answer) in assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default()) {
            let needs_none = matches!(kind, EvidenceKind::ReasonGiven | EvidenceKind::ContainerLogged);
            prop_assert_eq!(answer.value, if needs_none { Tri::Yes } else { Tri::Unknown }, "{}", kind.as_str());
        }
    }

    /// I11: whatever policies and documents say, there is an answer.
    #[test]
    fn no_text_does_harm(text in ".{0,60}", at in 0_usize..5) {
        let mut show = strict();
        let odd = PolicyText { name: "odd".into(), text: text.as_str().into() };
        match at {
            0 => show.role().policies.push(odd),
            1 => show.bucket().policy = Some(odd),
            2 => show.caller().policies.push(odd),
            3 => show.preferences = Ok(Arc::new(Document { version: "1".into(), content: text.as_str().into() })),
            _ => show.role().arn = text.as_str().into(),
        }
        let answers = assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default());
        prop_assert_eq!(answers.len(), EvidenceKind::ALL.len());
        if at == 0 {
            prop_assert_eq!(answers[&EvidenceKind::LogWritable].value, Tri::Unknown);
        }
        rests_on(&show.facts(), &mut Memory::default());
        session_type(&show.facts(), &mut Memory::default());
    }
}
