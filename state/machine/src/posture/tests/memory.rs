use super::*;
use EvidenceKind::{BucketAsWanted, LogWritable, StreamPresent};

const KINDS: [EvidenceKind; 2] = [LogWritable, BucketAsWanted];

fn session(show: &mut Show, at: usize) {
    show.key.id = format!("ann-{at:04x}").into();
}

/// What a check costs does not grow with the number of sessions.
#[test]
fn ten_thousand_sessions_of_one_role_cost_one_check() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    for at in 0..10_000 {
        session(&mut show, at);
        let answer = assess(&show.facts(), &[LogWritable], &mut memory).remove(&LogWritable).unwrap();
        assert_eq!(answer.value, Tri::Yes);
    }
    assert_eq!((memory.checks(), memory.remembered()), (1, 9_999));
    // Equal contents count, not where they lie.
    let again = Show::new();
    assess(&again.facts(), &KINDS, &mut memory);
    assert_eq!((memory.checks(), memory.remembered()), (2, 10_000));
}

#[test]
fn a_policy_that_tells_objects_apart_is_asked_for_each() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    let one =
        json!({"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::central-logs/*/ann-0007.log"});
    show.role().policies.push(policy("one", one));
    for round in 1..=2 {
        for at in 0..10 {
            session(&mut show, at);
            let answer = assess(&show.facts(), &[LogWritable], &mut memory).remove(&LogWritable).unwrap();
            assert_eq!(answer.value, if at == 7 { Tri::No } else { Tri::Yes });
        }
        assert_eq!((memory.checks(), memory.remembered()), (10, 10 * (round - 1)));
    }
}

/// Another policy is another check, at once.
#[test]
fn a_change_of_anything_is_seen() {
    let mut memory = Memory::default();
    let mut shows = vec![Show::new(); 8];
    shows[1].role().policies.push(policy("extra", deny(json!("s3:*"))));
    shows[2].guards().scps[0].push(policy("p-extra", deny(json!("s3:*"))));
    shows[3].bucket().policy = None;
    shows[4].key_named(BUCKET_KEY).policy = policy("closed", deny(json!("kms:*")));
    shows[5].endpoint("s3").policy = policy("closed", deny(json!("*")));
    shows[6].role().boundary = Some(policy("closed", deny(json!("*"))));
    shows[7].guards = Err(CallError::Denied);
    let expected = [Tri::Yes, Tri::No, Tri::No, Tri::No, Tri::No, Tri::No, Tri::No, Tri::Unknown];
    for round in 0..2 {
        for (show, expected) in shows.iter().zip(expected) {
            let answer = assess(&show.facts(), &[LogWritable], &mut memory).remove(&LogWritable).unwrap();
            assert_eq!(answer.value, expected, "round {round}: {}", answer.reason);
        }
    }
    assert_eq!((memory.checks(), memory.remembered()), (8, 8));
}

// R-W7: a look at which nothing has changed checks nothing.
#[test]
fn what_has_not_changed_is_not_judged_again() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    let first = memory.look(&show.facts(), &EvidenceKind::ALL);
    let asked = |memory: &Memory| memory.checks() + memory.remembered();
    let once = asked(&memory);
    show.now = show.now.plus_ms(15_000);
    // Equal contents count, not where they lie.
    show.role = show.role.map(|role| role.map(|role| Arc::new((*role).clone())));
    assert_eq!((memory.look(&show.facts(), &EvidenceKind::ALL), asked(&memory)), (first.clone(), once));
    show.role().policies.clear();
    let changed = memory.look(&show.facts(), &EvidenceKind::ALL);
    assert_eq!(changed.evidence[&LogWritable].value, Tri::No);
    assert!(asked(&memory) > once && changed != first);
    // Another question is another look.
    assert_eq!(memory.look(&show.facts(), &KINDS).evidence.len(), KINDS.len());
}

// R-W7: a look has the number of the one before as long as it comes to the same from the same answers.
#[test]
fn a_look_that_learns_nothing_has_its_number_again() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    let (first, look) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, None);
    assert!(look.is_some());
    show.now = show.now.plus_ms(15_000);
    assert_eq!(memory.numbered_look(&show.facts(), &EvidenceKind::ALL, Some(first)), (first, None));
    // Who does not know that number gets the look.
    assert_eq!(memory.numbered_look(&show.facts(), &EvidenceKind::ALL, None), (first, look.clone()));
    assert_eq!(memory.numbered_look(&show.facts(), &EvidenceKind::ALL, Some(first + 1)), (first, look));
    show.stream = Some(Err(CallError::Denied));
    let (second, look) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, Some(first));
    assert!(second > first && look.is_some_and(|look| look.evidence[&StreamPresent].value == Tri::Unknown));
    show.role().policies.clear();
    let (third, look) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, Some(second));
    assert!(third > second && look.is_some());
    // What was forgotten is another look when it comes again.
    session(&mut show, 1);
    let (other, _) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, None);
    assert!(other > third);
}

// R-W7: a stream costs a question for each session; who has seen it need not ask each time.
#[test]
fn a_stream_that_was_seen_need_not_be_asked_for() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    let (first, _) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, None);
    show.stream = None;
    assert!(memory.is_as_last_seen(&show.facts(), &EvidenceKind::ALL, first));
    assert!(!memory.is_as_last_seen(&show.facts(), &EvidenceKind::ALL, first + 1));
    assert_eq!(memory.numbered_look(&show.facts(), &EvidenceKind::ALL, Some(first)), (first, None));
    let role = show.role().clone();
    show.role().policies.clear();
    assert!(!memory.is_as_last_seen(&show.facts(), &EvidenceKind::ALL, first));
    *show.role() = role;
    // Whoever has not seen it knows nothing of it.
    let (second, look) = memory.numbered_look(&show.facts(), &EvidenceKind::ALL, None);
    assert!(second > first && look.is_some_and(|look| look.evidence[&StreamPresent].value == Tri::Unknown));
    assert!(!memory.is_as_last_seen(&show.facts(), &EvidenceKind::ALL, second));
}

#[test]
fn history_keeps_no_looks() {
    let (show, mut memory) = (Show::new(), Memory::of_history());
    assert_eq!(memory.look(&show.facts(), &KINDS), Memory::default().look(&show.facts(), &KINDS));
    assert_eq!(memory.sizes()[3], 0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut show, mut memory) = (Show::new(), Memory::default());
    for at in 0..=Memory::MAX {
        show.role().policies = vec![policy(&at.to_string(), deny(json!("s3:*")))];
        session(&mut show, at);
        memory.look(&show.facts(), &[LogWritable]);
    }
    let sizes = memory.sizes();
    assert!(sizes.iter().all(|size| *size <= Memory::MAX), "{sizes:?}");
    assert!(sizes[0] < 16, "the first were forgotten: {sizes:?}");
}

#[test]
fn remembering_changes_no_answer() {
    let mut memory = Memory::default();
    let mut show = Show::new();
    for at in 0..50 {
        session(&mut show, at);
        let remembered = assess(&show.facts(), &EvidenceKind::ALL, &mut memory);
        assert_eq!(remembered, assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default()));
    }
}
