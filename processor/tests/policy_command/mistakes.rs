//! What is wrong is told with its place.

use serde_json::json;

use super::{CASES, CONTROLS, Folder, own_policies};

/// What is said of a case file with this text beside sound controls.
fn said(text: &str) -> String {
    let folder = own_policies();
    folder.write("policies/cases/mine.cases.toml", text);
    let check = folder.policy(&["check", "policies"]);
    let test = folder.policy(&["test", "policies"]);
    assert_eq!((check.code, test.code), (2, 2), "{}{}", check.out, test.out);
    assert_eq!((&*check.out, &check.err), ("", &test.err));
    check.err.replace("policies/cases/mine.cases.toml", "FILE")
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_a_suggestion() {
    insta::assert_snapshot!(said("[[session]]\nname = \"x\"\n\nregon = \"us-east-1\"\n"), @r"
    sessionwarden: FILE:4:1: unknown field `regon`
      hint: did you mean `region`?
    ");
    insta::assert_snapshot!(said("[[session]]\nname = \"x\"\nevidence = { log-writeable = \"no\" }\n"), @r"
    sessionwarden: FILE:3:14: unknown variant `log-writeable`
      hint: did you mean `log-writable`?
    ");
    insta::assert_snapshot!(said("[[session]]\nname = \"x\"\nevidence = { log-writable = \"perhaps\" }\n"), @r"
    sessionwarden: FILE:3:29: unknown variant `perhaps`
      hint: expected one of `yes`, `no`, `unknown`
    ");
    insta::assert_snapshot!(said("[[sesion]]\nname = \"x\"\n"), @r"
    sessionwarden: FILE:1:3: unknown field `sesion`
      hint: did you mean `session`?
    ");
    insta::assert_snapshot!(said("[[event]]\nname = \"x\"\nkind = \"bukket\"\n"), @r"
    sessionwarden: FILE:3:8: unknown variant `bukket`
      hint: did you mean `bucket`?
    ");
    insta::assert_snapshot!(said("[[session]]\nname = 5\n"), @r"
    sessionwarden: FILE:2:8: invalid type: integer `5`
      hint: expected a string
    ");
    insta::assert_snapshot!(said("[[session]]\nname = \"x\n"), @r#"
    sessionwarden: FILE:2:10: invalid basic string
      hint: expected `"`
    "#);
}

#[test]
fn what_cannot_be_is_told_all_at_once() {
    let text = r#"
[[session]]
name = "one"
account = "12x"
expect = ["MY-PROT", "MY-TRAIL"]

[[event]]
name = "one"
threat = "TH16"
at = "tomorrow"
clear = ["MY-LOG"]

[[session]]
started_at = "2026-02-02T00:00:00Z"
at = "2026-02-01T00:00:00Z"
"#;
    insta::assert_snapshot!(said(text), @r#"
    sessionwarden: FILE:2:1: `12x` is no account
      hint: write its twelve digits
    FILE:2:1: `MY-TRAIL` does not judge sessions
    FILE:2:1: there is no control `MY-PROT`
      hint: did you mean `MY-PORT`?
    FILE:7:1: `MY-LOG` does not judge events
    FILE:7:1: `threat` cannot be `TH16`
      hint: it is a row of the threat catalogue, `TH1` to `TH32`
    FILE:7:1: `tomorrow` is not a time
      hint: write it like `2026-12-31T00:00:00Z`
    FILE:7:1: the name "one" is used twice
      hint: it is first used at FILE:2; give each case its own name
    FILE:13:1: `at` is before `started_at`
    FILE:13:1: the case has no name
      hint: add `name = "…"`: what it shows
    "#);
}

#[test]
fn mistakes_in_policies_are_told_for_people_and_for_programs() {
    let folder = own_policies();
    folder.write("policies/controls/mine.cedar", CONTROLS.replace("documentKind ==", "documentKnd =="));
    for command in ["check", "test"] {
        let answer = folder.policy(&[command, "policies"]);
        assert_eq!((answer.code, &*answer.out), (2, ""));
        let wanted = "sessionwarden: policies/controls/mine.cedar:5:8: attribute `documentKnd`";
        assert!(answer.err.starts_with(wanted), "{}", answer.err);
        assert!(answer.err.ends_with("\n  hint: did you mean `documentKind`?\n"), "{}", answer.err);
        let answer = folder.policy(&[command, "policies", "--format", "json"]);
        let mistakes = &answer.json()["mistakes"];
        assert_eq!((answer.code, mistakes.as_array().unwrap().len()), (2, 1));
        assert_eq!((&mistakes[0]["line"], &mistakes[0]["column"]), (&json!(5), &json!(8)));
        assert_eq!(mistakes[0]["hint"], "did you mean `documentKind`?");
    }
}

#[test]
fn a_folder_without_what_is_needed_is_refused() {
    let folder = Folder::new();
    folder.write("bare/mine.cedar", CONTROLS);
    folder.write("cases-only/mine.cases.toml", CASES);
    folder.write("not-text/mine.cedar", CONTROLS);
    folder.write("not-text/mine.cases.toml", b"\xff\xfe");
    for (dir, why) in [
        ("bare", "no case (*.cases.toml) in bare; nothing was tried"),
        ("cases-only", "no policy file (*.cedar) in cases-only"),
        ("missing", "cannot read policy missing: No such file or directory"),
        ("not-text", "cannot read policy not-text/mine.cases.toml"),
    ] {
        let answer = folder.policy(&["test", dir]);
        assert_eq!((answer.code, &*answer.out), (2, ""), "{dir}");
        assert!(answer.err.contains(why), "{}", answer.err);
    }
    assert_eq!(folder.policy(&["check", "bare"]).code, 0);
}
