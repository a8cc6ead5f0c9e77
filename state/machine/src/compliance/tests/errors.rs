use super::*;

fn errors(sources: &[(PolicyRole, &str, &str)]) -> String {
    let sources: Vec<_> = sources.iter().map(|(role, file, text)| source(*role, file, text)).collect();
    match Judge::load(&sources) {
        Ok(judge) => panic!("loaded {} controls", judge.controls().len()),
        Err(errors) => errors.to_string(),
    }
}

fn control_errors(text: &str) -> String {
    errors(&[(PolicyRole::Controls, "c.cedar", text)])
}

#[test]
fn a_syntax_error_names_its_place() {
    let text = control("A", "context.resumed") + "// next\n" + &control("B", "context.resumed &&");
    insta::assert_snapshot!(control_errors(&text), @r#"
    c.cedar:5:85: unexpected token `}`
      hint: expected `!`, `(`, `-`, `[`, `{`, `false`, identifier, `if`, number, `?principal`, `?resource`, string literal, or `true`
    "#);
}

#[test]
fn a_type_error_names_its_place() {
    insta::assert_snapshot!(control_errors(&control("A", "context.resumed == \"yes\"")), @r#"
    c.cedar:2:66: the types Bool and String are not compatible
      hint: both operands to a `==` expression must have compatible types. Types must be exactly equal to be compatible
    "#);
    insta::assert_snapshot!(control_errors(&control("A", "context.region")), @r#"
    c.cedar:2:66: unexpected type: expected Bool but saw String
    "#);
}

#[test]
fn an_unknown_attribute_is_met_with_a_suggestion() {
    insta::assert_snapshot!(control_errors(&control("A", "context.evidence.logWriteable")), @r#"
    c.cedar:2:66: attribute `evidence.logWriteable` in context for Action::"session" not found
      hint: did you mean `logWritable`?
    "#);
    insta::assert_snapshot!(control_errors(&control("A", "context.documentKnd == DocumentKind::\"port\"")), @r#"
    c.cedar:2:66: attribute `documentKnd` in context for Action::"session" not found
      hint: did you mean `documentKind`?
    "#);
}

#[test]
fn an_unknown_value_is_met_with_the_known_ones() {
    insta::assert_snapshot!(control_errors(&control("A", "context.documentKind == DocumentKind::\"prot\"")), @r#"
    c.cedar:2:90: entity `DocumentKind::"prot"` is of an enumerated entity type, but `"prot"` is not declared as a valid eid
      hint: valid entity eids: "default-shell", "port", "ssh", "interactive-command", "non-interactive-command", "custom", "unknown"
    "#);
}

#[test]
fn annotations_are_checked_all_at_once() {
    let text = "@id(\"A\")\n@titel(\"x\")\n@severity(\"hihg\")\n@response(\"explode\")\n@attack(\"1021, T1021.007\")\n\
                @requirement(\"\")\n@quarantine(\"yes\")\nforbid (principal, action == Action::\"session\", resource);\n";
    insta::assert_snapshot!(control_errors(text), @r#"
    c.cedar:1:1: annotation `@title` is missing
      hint: add `@title("…")` to this policy
    c.cedar:2:1: unknown annotation `@titel`
      hint: did you mean `title`?
    c.cedar:3:1: `@severity` cannot be `hihg`
      hint: did you mean `high`?
    c.cedar:4:1: `@response` cannot be `explode`
      hint: one of report, incident, terminate
    c.cedar:5:1: `1021` is not a technique
      hint: write MITRE ATT&CK technique ids, like `T1021.007`
    c.cedar:6:1: annotation `@requirement` is empty
      hint: add `@requirement("…")` to this policy
    c.cedar:7:1: `@quarantine` cannot be `yes`
      hint: one of true, false
    "#);
}

#[test]
fn an_id_is_used_once() {
    let (one, two) = (control("A", "context.resumed"), "\n".to_owned() + &control("A", "context.management"));
    let sources = [(PolicyRole::Controls, "one.cedar", &*one), (PolicyRole::Controls, "two.cedar", &*two)];
    insta::assert_snapshot!(errors(&sources), @r#"
    two.cedar:2:1: control id `A` is used twice
      hint: it is first used at one.cedar:1; give each control its own id
    "#);
    let twice = waiver("W", "A", "2026-01-01T00:00:00Z", "principal, action, resource", "true").repeat(2);
    let sources = [(PolicyRole::Controls, "one.cedar", &*one), (PolicyRole::Waivers, "w.cedar", &*twice)];
    insta::assert_snapshot!(errors(&sources), @r#"
    w.cedar:3:1: waiver id `W` is used twice
      hint: it is first used at w.cedar:1; give each waiver its own id
    "#);
}

#[test]
fn controls_forbid_and_waivers_permit() {
    let permit = control("A", "context.resumed").replace("forbid", "permit");
    insta::assert_snapshot!(control_errors(&permit), @r#"
    c.cedar:1:1: `permit` among the controls
      hint: a control says what is forbidden: write `forbid`, or move a waiver to the waivers
    "#);
    let forbid =
        waiver("W", "A", "2026-01-01T00:00:00Z", "principal, action, resource", "true").replace("permit", "forbid");
    let sources = [
        (PolicyRole::Controls, "c.cedar", &*control("A", "context.resumed")),
        (PolicyRole::Waivers, "w.cedar", &*forbid),
    ];
    insta::assert_snapshot!(errors(&sources), @r#"
    w.cedar:1:1: `forbid` among the waivers
      hint: a waiver says what is excused: write `permit`, or move a control to the controls
    "#);
}

#[test]
fn a_waiver_names_what_exists() {
    let controls = control("SW-DOC-01", "context.resumed");
    let scope = "principal, action == Action::\"session\", resource";
    let waivers = waiver("W", "SW-DOC-01, SW-DOC-10, NONE", "soon", scope, "context.evidence.logWritable")
        + "@id(\"V\") @control(\"SW-DOC-01\")\npermit (principal, action, resource);\n";
    let sources = [(PolicyRole::Controls, "c.cedar", &*controls), (PolicyRole::Waivers, "w.cedar", &*waivers)];
    insta::assert_snapshot!(errors(&sources), @r#"
    w.cedar:1:1: a waiver cannot depend on `context.evidence`
      hint: say who, what and where is excused; unknown evidence must not excuse
    w.cedar:1:10: there is no control `NONE`
    w.cedar:1:10: there is no control `SW-DOC-10`
      hint: did you mean `SW-DOC-01`?
    w.cedar:1:74: `soon` is not a time
      hint: write it like `2026-12-31T00:00:00Z`
    w.cedar:3:1: annotation `@expires` is missing
      hint: add `@expires("…")` to this policy
    w.cedar:3:1: annotation `@owner` is missing
      hint: add `@owner("…")` to this policy
    w.cedar:3:1: annotation `@ticket` is missing
      hint: add `@ticket("…")` to this policy
    "#);
    let waivers = waiver("W", "SW-DOC-01, SW-DOC-10, NONE", "2026-01-01T00:00:00Z", scope, "true");
    let sources = [(PolicyRole::Controls, "c.cedar", &*controls), (PolicyRole::Waivers, "w.cedar", &*waivers)];
    insta::assert_snapshot!(errors(&sources), @r#"
    w.cedar:1:10: there is no control `NONE`
    w.cedar:1:10: there is no control `SW-DOC-10`
      hint: did you mean `SW-DOC-01`?
    "#);
}

#[test]
fn a_control_file_that_does_not_parse_does_not_blame_the_waivers() {
    let waivers = waiver("W", "LOST", "2026-01-01T00:00:00Z", "principal, action, resource", "true");
    let sources = [(PolicyRole::Controls, "c.cedar", "forbid ("), (PolicyRole::Waivers, "w.cedar", &*waivers)];
    let errors = errors(&sources);
    assert!(errors.starts_with("c.cedar:1:9:"), "{errors}");
    assert!(!errors.contains("LOST"), "{errors}");
}

#[test]
fn a_rule_that_can_never_match_is_a_mistake() {
    let text = control("A", "context.resumed").replace(", resource)", ", resource is Thing)");
    insta::assert_snapshot!(control_errors(&text), @r#"
    c.cedar:1:1: policy is impossible: the policy expression evaluates to false for all valid requests
    c.cedar:1:1: unable to find an applicable action given the policy scope constraints
    "#);
}

#[test]
fn a_policy_has_no_slots() {
    let text = control("A", "context.resumed").replace("(principal,", "(principal == ?principal,");
    insta::assert_snapshot!(control_errors(&text), @r#"
    c.cedar:1:1: a policy cannot have slots
      hint: write the principal or resource itself
    "#);
}

#[test]
fn a_control_on_events_cannot_end_a_session() {
    let text = control("A", "context.management").replace("report", "terminate").replace("\"session\"", "\"event\"");
    insta::assert_snapshot!(control_errors(&text), @r#"
    c.cedar:1:44: a control that judges events has no session to end
      hint: restrict it to `action == Action::"session"`, or respond with `incident`
    "#);
}

#[test]
fn every_mistake_of_every_file_is_reported_in_order() {
    let (one, two) =
        (control("A", "context.resumd"), control("B", "context.regionn == \"x\" || context.reson == \"y\""));
    let sources = [
        (PolicyRole::Controls, "two.cedar", &*two),
        (PolicyRole::Controls, "bad.cedar", "oops"),
        (PolicyRole::Controls, "one.cedar", &*one),
    ];
    insta::assert_snapshot!(errors(&sources), @r#"
    bad.cedar:1:5: unexpected end of input
      hint: expected `(`
    one.cedar:2:66: attribute `resumd` in context for Action::"session" not found
      hint: did you mean `resumed`?
    two.cedar:2:66: attribute `regionn` in context for Action::"session" not found
      hint: did you mean `region`?
    two.cedar:2:92: attribute `reson` in context for Action::"session" not found
      hint: did you mean `reason`?
    "#);
}

#[test]
fn a_column_counts_characters() {
    let text = control("Ä", "context.reason == \"größer\" && context.resumd").replace("A test", "Ö");
    let errors = control_errors(&text);
    let line = text.lines().nth(1).unwrap();
    let column = line.split("context.resumd").next().unwrap().chars().count() + 1;
    assert!(errors.starts_with(&format!("c.cedar:2:{column}: ")), "{errors}");
}
