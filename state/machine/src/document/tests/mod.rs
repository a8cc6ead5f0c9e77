use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    BadDocument, BadDocumentHash, CONTENT_BYTES_MAX, DocumentHash, Preferences, SessionDocument, WantedPreferences,
};
use crate::ids::AccountId;

mod differences;
mod places;
mod properties;

const REGION: &str = "eu-west-1";

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn parse(document: &Value) -> Result<SessionDocument, BadDocument> {
    SessionDocument::parse(&document.to_string())
}

/// A preferences document with these inputs.
fn with(inputs: &Value) -> Value {
    json!({"schemaVersion": "1.0", "description": "Regional settings", "sessionType": "Standard_Stream", "inputs": inputs})
}

fn full() -> Value {
    with(&json!({
        "s3BucketName": "central-logs",
        "s3KeyPrefix": "logs/111122223333/eu-west-1",
        "s3EncryptionEnabled": true,
        "cloudWatchLogGroupName": "/ssm-session-logs",
        "cloudWatchEncryptionEnabled": true,
        "cloudWatchStreamingEnabled": true,
        "kmsKeyId": "alias/session-manager/data",
        "runAsEnabled": true,
        "runAsDefaultUser": "nobody",
        "idleSessionTimeout": "10",
        "maxSessionDuration": "60",
        "shellProfile": {"linux": "exec bash", "windows": "cls"},
    }))
}

fn wanted() -> WantedPreferences {
    WantedPreferences {
        s3_bucket: Some("central-logs".into()),
        s3_prefix: Some("logs/{account}/{region}".into()),
        s3_encryption: Some(true),
        log_group: Some("/ssm-session-logs".into()),
        log_group_encryption: Some(true),
        streaming: Some(true),
        kms_key: Some("alias/session-manager/data".into()),
        run_as: Some(true),
        run_as_user: Some("nobody".into()),
        idle_minutes_max: Some(15),
        max_minutes_max: Some(60),
        shell_linux: Some("exec bash".into()),
        shell_windows: Some("cls".into()),
        hashes: BTreeSet::new(),
    }
}

/// One member changed, or taken away where the value is null.
fn changed(document: &Value, path: &str, value: Value) -> Value {
    let mut document = document.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let members = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    document
}

#[test]
fn every_input_is_read() {
    let document = parse(&full()).unwrap();
    assert_eq!(document.session_type.as_deref(), Some("Standard_Stream"));
    let expected = Preferences {
        s3_bucket: "central-logs".into(),
        s3_prefix: "logs/111122223333/eu-west-1".into(),
        s3_encryption: true,
        log_group: "/ssm-session-logs".into(),
        log_group_encryption: true,
        streaming: true,
        kms_key: "alias/session-manager/data".into(),
        run_as: true,
        run_as_user: "nobody".into(),
        idle_minutes: Some(10),
        max_minutes: Some(60),
        shell_linux: "exec bash".into(),
        shell_windows: "cls".into(),
        open: BTreeSet::new(),
    };
    assert_eq!(document.inputs, expected);
}

/// TH2: what kind of session a document starts is read from its content, whatever its name.
#[test]
fn the_session_type_is_read() {
    let port = json!({
        "schemaVersion": "1.0", "description": "Standard stream", "sessionType": "Port",
        "parameters": {"portNumber": {"type": "String", "allowedPattern": "^[0-9]{1,5}$"}},
        "properties": {"portNumber": "{{ portNumber }}", "type": "LocalPortForwarding"},
    });
    let document = parse(&port).unwrap();
    assert_eq!(document.session_type.as_deref(), Some("Port"));
    assert_eq!(document.inputs, Preferences::default());
    for kind in ["Standard_Stream", "InteractiveCommands", "NonInteractiveCommands", "Made_Up", ""] {
        let document = parse(&changed(&port, "/sessionType", json!(kind))).unwrap();
        assert_eq!(document.session_type.as_deref(), Some(kind));
    }
    assert_eq!(parse(&changed(&port, "/sessionType", Value::Null)).unwrap().session_type, None);
}

#[test]
fn booleans_are_read_as_the_agent_reads_them() {
    let read = |value: Value| parse(&with(&json!({"runAsEnabled": value}))).map(|document| document.inputs.run_as);
    for yes in [json!(true), json!("true"), json!("True"), json!("TRUE"), json!("t"), json!("T"), json!("1")] {
        assert_eq!(read(yes.clone()), Ok(true), "{yes}");
    }
    let no = [json!(false), json!("false"), json!("False"), json!("FALSE"), json!("f"), json!("F"), json!("0")];
    for no in no.into_iter().chain([json!(""), Value::Null]) {
        assert_eq!(read(no.clone()), Ok(false), "{no}");
    }
    for bad in [json!(1), json!(0), json!("yes"), json!("tRUE"), json!(" true"), json!([true]), json!({})] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn minutes_are_bounded() {
    let read = |name: &str, value: &Value| {
        parse(&with(&json!({name: value}))).map(|document| (document.inputs.idle_minutes, document.inputs.max_minutes))
    };
    for value in [json!("20"), json!(20), json!(20.0), json!("020")] {
        assert_eq!(read("idleSessionTimeout", &value), Ok((Some(20), None)), "{value}");
        assert_eq!(read("maxSessionDuration", &value), Ok((None, Some(20))), "{value}");
    }
    for value in [json!(""), Value::Null] {
        assert_eq!(read("idleSessionTimeout", &value), Ok((None, None)), "{value}");
    }
    assert_eq!(read("idleSessionTimeout", &json!("60")), Ok((Some(60), None)));
    assert_eq!(read("maxSessionDuration", &json!("1440")), Ok((None, Some(1_440))));
    let bad = [json!("0"), json!(0), json!("1441"), json!(-5), json!(1.5), json!("1.5"), json!("-5"), json!(" 5")];
    for bad in bad.into_iter().chain([json!("99999999999"), json!(1e300), json!(true), json!([5]), json!("soon")]) {
        assert!(read("idleSessionTimeout", &bad).is_err(), "{bad}");
        assert!(read("maxSessionDuration", &bad).is_err(), "{bad}");
    }
    assert!(read("idleSessionTimeout", &json!("61")).is_err());
}

#[test]
fn values_that_the_starter_chooses_are_open() {
    let document = parse(&with(&json!({
        "s3KeyPrefix": "{{ prefix }}", "s3EncryptionEnabled": "{{encrypted}}", "idleSessionTimeout": "{{ idle }}",
        "shellProfile": {"linux": "cd {{ssm:home}}"}, "kmsKeyId": "{{ half",
    })));
    let inputs = document.unwrap().inputs;
    let open = ["s3KeyPrefix", "s3EncryptionEnabled", "idleSessionTimeout", "shellProfile.linux"];
    assert_eq!(inputs.open, BTreeSet::from(open));
    assert_eq!((inputs.s3_encryption, inputs.idle_minutes, &*inputs.s3_prefix), (false, None, "{{ prefix }}"));
}

#[test]
fn bad_documents_are_refused_with_a_reason() {
    let nested = |lists| format!(r#"{{"schemaVersion":"1.0","a":{}{}}}"#, "[".repeat(lists), "]".repeat(lists));
    assert!(SessionDocument::parse(&nested(126)).is_ok());
    let deep = nested(127);
    let long = full().to_string() + &" ".repeat(CONTENT_BYTES_MAX);
    let version = |version: &str| format!(r#"{{"schemaVersion":{version},"sessionType":"Port"}}"#);
    let inputs = |inputs: &str| format!(r#"{{"schemaVersion":"1.0","inputs":{inputs}}}"#);
    let table = [
        (String::new(), "EOF"),
        ("schemaVersion: '1.0'".to_owned(), "expected value"),
        ("[]".to_owned(), "the document is no object"),
        ("{}".to_owned(), "schemaVersion is missing"),
        (deep, "recursion limit"),
        (long, "more than 65536"),
        (version("\"2.2\""), r#"schemaVersion is "2.2""#),
        (version("1.0"), "schemaVersion is 1.0"),
        (version("\"1.0\"} {"), "trailing"),
        (inputs("[]"), "inputs is a list, not an object"),
        (inputs(r#"{"s3BucketName":"a","s3BucketName":"b"}"#), r#""s3BucketName" stands twice"#),
        (inputs(r#"{"x":{"a":1,"\u0061":1}}"#), r#""a" stands twice"#),
        (inputs(r#"{"S3BucketName":"a"}"#), r#""S3BucketName" is spelled s3BucketName"#),
        (inputs(r#"{"\u017f3BucketName":"a"}"#), "is spelled s3BucketName"),
        (inputs(r#"{"\u212amsKeyId":"a"}"#), "is spelled kmsKeyId"),
        (inputs(r#"{"shellProfile":{"Linux":"a"}}"#), r#""Linux" is spelled linux"#),
        (inputs(r#"{"shellProfile":"secret"}"#), "shellProfile is a string, not an object"),
        (inputs(r#"{"shellProfile":{"linux":["secret"]}}"#), "shellProfile.linux is a list, not a string"),
        (inputs(r#"{"s3BucketName":7}"#), "s3BucketName is a number, not a string"),
        (inputs(r#"{"runAsEnabled":"yes"}"#), r#"runAsEnabled is "yes", not true or false"#),
        (inputs(r#"{"maxSessionDuration":"1441"}"#), "maxSessionDuration is not from 1 to 1440 minutes"),
        (r#"{"schemaVersion":"1.0","sessionType":1}"#.to_owned(), "sessionType is a number, not a string"),
        (r#"{"schemaVersion":"1.0","SessionType":"Port"}"#.to_owned(), "is spelled sessionType"),
    ];
    for (content, reason) in table {
        let error = SessionDocument::parse(&content).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}\nlacks {reason}");
        assert!(!error.contains("secret") && error.len() < 400, "{error}");
    }
}

/// TH26: the hash stays while the document means the same, and changes with anything that it could mean.
#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |document: &Value| parse(document).unwrap().hash;
    let plain = with(&json!({"s3BucketName": "logs"}));
    let same = [
        changed(&plain, "/description", json!("Other words")),
        changed(&plain, "/description", Value::Null),
        changed(&plain, "/parameters", json!({})),
        changed(&plain, "/inputs/s3KeyPrefix", json!("")),
        changed(&plain, "/inputs/s3EncryptionEnabled", json!("false")),
        changed(&plain, "/inputs/cloudWatchStreamingEnabled", json!(false)),
        changed(&plain, "/inputs/idleSessionTimeout", json!("20")),
        changed(&plain, "/inputs/maxSessionDuration", json!("")),
        changed(&plain, "/inputs/shellProfile", json!({"linux": "", "windows": ""})),
        serde_json::from_str(r#"{"inputs":{"s3KeyPrefix":null,"s3BucketName":"\u006cogs"},"sessionType":"Standard_Stream","schemaVersion":"1.0"}"#).unwrap(),
    ];
    for document in same {
        assert_eq!(hash(&document), hash(&plain), "{document}");
    }
    let spelled = |value: Value| hash(&changed(&full(), "/inputs/runAsEnabled", value));
    assert_eq!(spelled(json!("True")), spelled(json!(true)));
    let spelled = |value: Value| hash(&changed(&full(), "/inputs/idleSessionTimeout", value));
    assert_eq!(spelled(json!(10)), spelled(json!("10")));
    let nothing = json!({"schemaVersion": "1.0", "sessionType": "Port"});
    assert_eq!(hash(&nothing), hash(&changed(&nothing, "/inputs", json!({}))));
    assert_eq!(hash(&nothing), hash(&changed(&nothing, "/inputs", json!({"s3KeyPrefix": ""}))));

    let mut seen = BTreeSet::from([hash(&plain)]);
    for (path, value) in [
        ("/sessionType", json!("Port")),
        ("/sessionType", Value::Null),
        ("/inputs", Value::Null),
        ("/parameters", json!({"a": {"type": "String"}})),
        ("/parameters", json!({"a": {"type": "String", "description": "b"}})),
        ("/properties", json!({"portNumber": "22"})),
        ("/properties", json!({"portNumber": 22})),
        ("/properties", json!({"portNumber": 22.0})),
        ("/properties", json!(["a,b"])),
        ("/properties", json!(["a", "b"])),
        ("/unknown", json!(1)),
        ("/inputs/s3BucketName", json!("Logs")),
        ("/inputs/unknown", json!("")),
        ("/inputs/idleSessionTimeout", json!("19")),
        ("/inputs/maxSessionDuration", json!("20")),
        ("/inputs/runAsEnabled", json!("{{ user }}")),
        ("/inputs/shellProfile", json!({"linux": "a"})),
        ("/inputs/shellProfile", json!({"windows": "a"})),
        ("/inputs/shellProfile", json!({"macos": "a"})),
    ] {
        let document = changed(&plain, path, value);
        assert!(seen.insert(hash(&document)), "{document}");
    }
}

#[test]
fn a_hash_is_read_back() {
    let hash = parse(&full()).unwrap().hash;
    assert_eq!(hash.to_string().len(), 32);
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!("0000000000000000000000000000000a".parse::<DocumentHash>().unwrap().to_string().trim_matches('0'), "a");
    for bad in ["", "a", "+000000000000000000000000000000a", "0000000000000000000000000000000g"] {
        assert_eq!(bad.parse::<DocumentHash>(), Err(BadDocumentHash), "{bad}");
    }
}
