//! No input takes more than a bounded amount of work, counted in steps of matching and bytes compared.

use serde_json::{Value, json};

use super::{
    super::{Answer::Unknown, CONTEXT_BYTES_MAX, REASON_BYTES_MAX},
    Context, OBJECT, SESSION, Target, allow, caller, decide, one, statements, steps_of,
};

/// Decides with so many policies of this one statement, and checks the work against the sizes of what is given.
fn bounded(policies: usize, statement: &Value, resource: &str, context: &[(&str, Vec<String>)]) -> u64 {
    let caller = caller(SESSION, &vec![statement.clone(); policies]);
    let mut given = Context::new();
    for (key, values) in context {
        given.set(key, values);
    }
    let chars: usize = caller.identity.iter().map(|it| it.chars).sum();
    let values = context.iter().flat_map(|(_, values)| values);
    let bytes = "s3:PutObject".len() + resource.len() + values.map(|it| it.len() + 1).sum::<usize>();
    let (_, steps) = steps_of(|| decide("s3:PutObject", &caller, &Target::new(resource), &given));
    // Whole and part by part, in steps and in bytes.
    let most = 4 * (chars * bytes) as u64;
    assert!(steps <= most, "{steps} steps are more than {most}: {chars} characters of policy and {bytes} bytes");
    steps
}

fn on(resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": resource})
}

fn when(condition: &Value) -> Value {
    json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*", "Condition": condition})
}

#[test]
fn patterns_made_to_be_slow_are_not() {
    let long = format!("arn:aws:s3:::{}", "a".repeat(8_000));
    for pattern in [
        format!("arn:aws:s3:::{}b", "a*".repeat(4_000)),
        format!("arn:aws:s3:::{}b", "*a".repeat(4_000)),
        format!("arn:aws:s3:::{}b", "*a?".repeat(3_000)),
        format!("arn:aws:s3:::*{}b", "?".repeat(4_000)),
        format!("arn:aws:s3:::*{}b", "a?".repeat(2_000)),
        format!("arn:aws:s3:::*{}b*", "a".repeat(4_000)),
        "*:".repeat(4_000),
    ] {
        assert!(bounded(1, &on(&pattern), &long, &[]) > 0);
    }
    // As many short ones as fit.
    let many = json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": vec!["arn:aws:s3:::*a*a*b"; 450]});
    assert!(bounded(10, &many, &long, &[]) > 1_000_000);
}

#[test]
fn values_of_variables_cost_no_more_than_the_text_they_are_compared_with() {
    let huge = |key| (key, vec!["a".repeat(8_000)]);
    let long = format!("arn:aws:s3:::{}", "a".repeat(8_000));
    for resource in [OBJECT, &long] {
        bounded(10, &on(&format!("arn:aws:s3:::{}", "${test:A}".repeat(1_000))), resource, &[huge("test:A")]);
        bounded(10, &on(&format!("arn:aws:s3:::{}", "${test:A}*".repeat(900))), resource, &[huge("test:A")]);
        bounded(10, &on(&format!("arn:aws:s3:::{}", "${test:None}".repeat(800))), resource, &[huge("test:A")]);
    }
    for operator in ["StringLike", "ForAnyValue:StringEqualsIgnoreCase", "ForAllValues:StringNotEquals"] {
        let condition = json!({operator: {"test:B": vec!["${test:A}"; 700]}});
        bounded(2, &when(&condition), OBJECT, &[huge("test:A"), ("test:B", vec!["b".to_owned(); 1_000])]);
    }
}

#[test]
fn many_values_against_many_values_are_bounded() {
    let wanted: Vec<String> = (0..700).map(|at| format!("*{at}x")).collect();
    let given: Vec<String> = (0..2_000).map(|at| format!("value {at}")).collect();
    for (operator, least) in [
        ("ForAnyValue:StringLike", 1_000_000),
        ("ForAllValues:StringNotLike", 1_000_000),
        ("StringLike", 1_000_000),
        ("StringNotLike", 1),
    ] {
        let condition = json!({operator: {"test:A": wanted}});
        assert!(bounded(1, &when(&condition), OBJECT, &[("test:A", given.clone())]) >= least, "{operator}");
    }
}

#[test]
fn what_exceeds_a_bound_is_not_looked_at() {
    let text = |caller: &_, target: &Target, context: &Context| {
        let (decision, steps) = steps_of(|| decide("s3:PutObject", caller, target, context));
        assert_eq!((decision.answer, steps), (Unknown, 0), "{}", decision.reason);
        decision.reason
    };
    let open = caller(SESSION, &[allow("s3:*")]);
    let target = Target::new(OBJECT);
    let full = vec!["x".repeat(1024); CONTEXT_BYTES_MAX / 1024];
    assert_eq!(
        decide("s3:PutObject", &open, &target, &Context::new().with("a:b", full.clone())).answer,
        super::Answer::Allow
    );
    let more = Context::new().with("a:b", full).with("a:c", ["x"]);
    assert!(text(&open, &target, &more).contains("larger than is evaluated"));

    let names: Vec<String> = (0..1_000).map(|at| format!("s3:*Put{at:010}")).collect();
    let large = caller(SESSION, &[json!({"Effect": "Allow", "Action": names, "Resource": "*"})]);
    assert!(text(&large, &target, &Context::new()).contains("larger than AWS accepts"));
    let many = caller(SESSION, &vec![on("arn:aws:s3:::*a*b*"); 200]);
    assert!(text(&many, &target, &Context::new()).contains("more policies than AWS can attach"));
}

#[test]
fn a_prefix_is_compared_in_bounded_work_too() {
    let base = format!("arn:aws:s3:::{}/", "a".repeat(8_000));
    let patterns = ["*a".repeat(1_000), format!("*{}b", "a?".repeat(1_000)), format!("*{}b*", "a".repeat(2_000))];
    for pattern in patterns {
        let policy = statements(on(&format!("arn:aws:s3:::{pattern}")));
        let (apart, steps) = steps_of(|| policy.tells_apart(&base));
        assert!(apart && steps <= 4 * (policy.chars * base.len()) as u64, "{steps}");
    }
}

#[test]
fn a_reason_is_bounded_whatever_names_stand_in_it() {
    let mut statement = allow("s3:*");
    statement["Sid"] = json!("é\n".repeat(3_000));
    let reason = one(&statement, "s3:PutObject", OBJECT, &Context::new()).reason;
    assert!((REASON_BYTES_MAX - 3..=REASON_BYTES_MAX).contains(&reason.len()) && reason.ends_with('…'), "{reason}");
    for long in [
        on(&"é".repeat(4_000)),
        when(&json!({"Bool": {"a": "é".repeat(4_000)}})),
        when(&json!({"é".repeat(4_000): {"a": "b"}})),
        json!({"é".repeat(4_000): "x"}),
    ] {
        let decision = one(&long, "s3:PutObject", OBJECT, &Context::new());
        assert_eq!(decision.answer, Unknown);
        assert!(decision.reason.len() <= REASON_BYTES_MAX, "{}", decision.reason.len());
    }
    let action = format!("s3:{}", "x".repeat(8_000));
    assert!(one(&allow("s3:y"), &action, OBJECT, &Context::new()).reason.len() <= REASON_BYTES_MAX);
}
