use sessionwarden_machine::permission::Answer;

use crate::iam::Cases;

/// Any policies, whole or broken, and any request: the evaluator ends with an answer and a reason, the order of
/// statements and policies does not matter, and one more Deny of everything is never an Allow.
#[test]
fn iam() {
    bolero::check!().with_iterations(20_000).with_max_len(1_024).for_each(|bytes| {
        Cases::new(bytes).check();
    });
}

/// A target over cases that hardly ever have an answer would show nothing.
#[test]
fn iam_cases_have_every_answer() {
    let mut state: u64 = 1;
    let mut counts = [0; 3];
    for _ in 0..2_000 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            // The generator of PCG, of which the high bits are good.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(400)
        .collect();
        counts[match Cases::new(&bytes).check() {
            Answer::Allow => 0,
            Answer::Deny => 1,
            Answer::Unknown => 2,
        }] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 100), "{counts:?}");
}
