//! `sessionwarden iam simulate`.

#[path = "iam/cases.rs"]
mod cases;
#[path = "iam/differential.rs"]
mod differential;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Node/i-0abc";

/// Runs the command on what is written to its standard input.
fn simulate(input: &[u8], arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sessionwarden"))
        .args(["iam", "simulate", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    })
}

fn rows(output: &Output) -> Vec<Value> {
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn line(id: &Value, policies: &Value) -> Value {
    json!({"id": id, "action": "s3:PutObject", "resource": "arn:aws:s3:::logs/x",
        "principal": {"arn": SESSION, "policies": policies}})
}

fn document(effect: &str, action: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": {"Sid": "It", "Effect": effect, "Action": action, "Resource": "*"}})
}

fn joined(lines: &[Value]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

#[test]
fn each_line_is_answered_in_order() {
    let lines = [
        line(&json!("a"), &json!([document("Allow", "s3:*")])),
        line(&json!(7), &json!([document("Allow", "s3:*"), document("Deny", "s3:Put*")])),
        line(&json!(null), &json!([])),
        line(&json!("d"), &json!([document("Maybe", "s3:*")])),
    ];
    let output = simulate(&joined(&lines), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let wanted = [
        json!({"id": "a", "decision": "allow", "explicit": false,
            "reason": "identity policy 1, statement 1 \"It\", allows s3:PutObject"}),
        json!({"id": 7, "decision": "deny", "explicit": true,
            "reason": "identity policy 2, statement 1 \"It\", denies s3:PutObject"}),
        json!({"id": null, "decision": "deny", "explicit": false,
            "reason": "no statement of the identity policies allows s3:PutObject"}),
        json!({"id": "d", "decision": "unknown", "explicit": false,
            "reason": "it is not known whether identity policy 1, statement 1 \"It\", allows s3:PutObject: its element \
                       \"Effect\" is not understood"}),
    ];
    assert_eq!(rows(&output), wanted);
}

#[test]
fn every_field_is_read() {
    let everyone =
        |effect: &str| json!({"Statement": [{"Effect": effect, "Principal": "*", "Action": "s3:*", "Resource": "*"}]});
    let (open, closed) = (document("Allow", "*"), document("Allow", "ec2:*"));
    let base = line(&json!("x"), &json!([open]));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut line = base.clone();
        change(&mut line);
        line
    };
    let lines = [
        with(&|line| line["principal"]["boundary"] = closed.clone()),
        with(&|line| line["principal"]["session_policies"] = json!([closed])),
        with(&|line| line["scps"] = json!([[open], [closed]])),
        with(&|line| line["rcps"] = json!([[everyone("Deny")]])),
        with(&|line| line["resource_policy"] = everyone("Deny")),
        with(&|line| line["endpoint_policy"] = everyone("Deny")),
        with(&|line| line["resource_account"] = json!("444455556666")),
    ];
    assert_eq!(decisions(&lines), ["deny"; 7]);
    let lines = [
        with(&|line| line["principal"]["boundary"] = Value::Null),
        with(&|line| line["scps"] = json!([[open], [closed, open]])),
        with(&|line| line["rcps"] = Value::Null),
        with(&|line| line["resource_policy"] = Value::Null),
        with(&|line| line["endpoint_policy"] = everyone("Allow")),
        with(&|line| {
            line["resource_account"] = json!("444455556666");
            line["resource_policy"] = everyone("Allow");
        }),
        with(&|line| line["principal"]["policies"] = json!([open.to_string()])),
    ];
    assert_eq!(decisions(&lines), ["allow"; 7]);
}

fn decisions(lines: &[Value]) -> Vec<String> {
    let output = simulate(&joined(lines), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    rows(&output).iter().map(|row| row["decision"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_is_known_absent_or_unknown() {
    let condition = json!({"StringNotEquals": {"aws:SourceVpce": "vpce-1"}});
    let policy = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}});
    let with = |context: Value| {
        let mut line = line(&json!("x"), &json!([policy]));
        line["context"] = context;
        line
    };
    let lines = [
        with(json!({"AWS:sourcevpce": ["vpce-2"]})),
        with(json!({"aws:SourceVpce": ["vpce-1"]})),
        with(json!({"aws:SourceVpce": "vpce-1"})),
        with(json!({"aws:SourceVpce": null})),
        with(json!({})),
        with(Value::Null),
    ];
    assert_eq!(decisions(&lines), ["allow", "deny", "deny", "allow", "unknown", "unknown"]);
}

#[test]
fn names_that_stand_twice_in_a_policy_are_seen() {
    let text = r#"{"id": 1, "action": "s3:PutObject", "resource": "*", "principal": {"arn": "ARN", "policies": [
        {"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}]}}"#;
    let text = text.replace("ARN", SESSION).replace('\n', " ");
    let output = simulate(text.as_bytes(), &[]);
    assert_eq!(rows(&output)[0]["decision"], "unknown");
    assert!(rows(&output)[0]["reason"].as_str().unwrap().contains("Effect twice"), "{output:?}");
}

#[test]
fn a_bad_line_is_named_and_the_others_go_on() {
    let good = line(&json!("good"), &json!([document("Allow", "*")])).to_string();
    let bad = [
        ("{", "EOF"),
        ("[]", "expected an object"),
        ("{}", "action is missing"),
        (r#"{"action": "s3:PutObject", "resource": "*"}"#, "principal is missing"),
        (r#"{"action": "s3:PutObject", "principal": {"arn": "x"}}"#, "resource is missing"),
        (r#"{"action": "s3:PutObject", "resource": "*", "principal": {}}"#, "principal.arn is missing"),
        (r#"{"action": 1, "resource": "*", "principal": {"arn": "x"}}"#, "action: invalid type"),
        (r#"{"action": "a:b", "action": "a:b"}"#, "\"action\" stands there twice"),
        (r#"{"action": "a:b", "scps": [{}]}"#, "scps: invalid type"),
        (r#"{"action": "a:b", "resource_account": "12x"}"#, "resource_account: account id is not twelve digits"),
        (r#"{"action": "a:b", "context": {"aws:x": [[]]}}"#, "context: the value of \"aws:x\""),
        (r#"{"action": "a:b", "context": {"aws:x": null, "AWS:X": null}}"#, "names of keys ignore case"),
    ];
    let mut input = String::new();
    for (text, _) in bad {
        input.extend([text, "\n\n", &good, "\n"]);
    }
    let output = simulate(&[input.as_bytes(), b"\xff\xfe\n"].concat(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(rows(&output).len(), bad.len());
    assert!(rows(&output).iter().all(|row| row["id"] == "good" && row["decision"] == "allow"));
    let errors: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(errors.len(), bad.len() + 1, "{errors:?}");
    for (number, ((_, problem), error)) in bad.iter().zip(&errors).enumerate() {
        assert!(error.starts_with(&format!("sessionwarden: standard input:{}: ", number * 3 + 1)), "{error}");
        assert!(error.contains(problem), "{error} does not tell {problem}");
    }
    assert!(errors.last().unwrap().ends_with("it is not UTF-8"), "{errors:?}");
}

#[test]
fn a_file_is_read_and_its_name_stands_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let good = line(&json!("good"), &json!([document("Allow", "*")]));
    std::fs::write(&path, format!("\u{feff}{good}\r\nnothing\n{good}")).unwrap();
    let run = |path: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_sessionwarden")).args(["iam", "simulate"]).arg(path).output().unwrap()
    };
    let output = run(&path);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(rows(&output).len(), 2);
    assert!(stderr(&output).contains(&format!("{}:2: ", path.display())), "{}", stderr(&output));
    for unreadable in [folder.path(), &folder.path().join("missing")] {
        let output = run(unreadable);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("cannot read"), "{}", stderr(&output));
    }
}

#[test]
fn a_field_that_is_not_known_is_named() {
    let mut odd = line(&json!("x"), &json!([document("Allow", "*")]));
    odd["resource_polcy"] = json!({});
    odd["principal"]["boundry"] = json!({});
    let output = simulate(&joined(&[odd]), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("\"resource_polcy\" is not known"), "{}", stderr(&output));
    assert!(stderr(&output).contains("\"principal.boundry\" is not known"), "{}", stderr(&output));
}

#[test]
fn a_principal_that_cannot_ask_is_unknown() {
    let mut group = line(&json!("x"), &json!([document("Allow", "*")]));
    group["principal"]["arn"] = json!("arn:aws:iam::111122223333:group/Ops");
    assert_eq!(decisions(&[group]), ["unknown"]);
}

#[test]
fn people_may_read_it_too() {
    let output = simulate(&joined(&[line(&json!("a"), &json!([document("Allow", "*")]))]), &["--format", "human"]);
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text, "allow    a: identity policy 1, statement 1 \"It\", allows s3:PutObject\n");
}

#[test]
fn deep_and_large_input_is_survived() {
    let deep = format!(
        r#"{{"id": 1, "action": "s3:PutObject", "resource": "*", "principal": {{"arn": "{SESSION}", "policies": [{}]}}}}"#,
        "[".repeat(20_000) + &"]".repeat(20_000)
    );
    let many = line(&json!(2), &json!(vec![document("Allow", "*"); 200]));
    let long = line(&json!(3), &json!([document("Allow", &format!("s3:{}", "*a".repeat(10_000)))]));
    let output = simulate(&[deep.as_bytes(), b"\n", &joined(&[many, long])].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(rows(&output).iter().map(|row| &row["decision"]).collect::<Vec<_>>(), ["unknown"; 3]);
}

#[test]
fn a_line_beyond_the_limit_is_passed_over() {
    let good = joined(&[line(&json!("good"), &json!([]))]);
    let long = vec![b'x'; (16 << 20) + 10];
    let output = simulate(&[&long[..], b"\n", &good].concat(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("standard input:1: it has more than"), "{}", stderr(&output));
    assert_eq!(rows(&output).len(), 1);
}
