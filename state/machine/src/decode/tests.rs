use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decoded(text: &str) -> Vec<Decoded<'_>> {
    let mut all = Vec::new();
    Decoder::default().decode(text.as_bytes(), &mut |one| all.push(one));
    all
}

fn only(text: &str) -> Decoded<'_> {
    let mut all = decoded(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn record(source: &str, name: &str, request: Value, response: Value) -> Value {
    json!({
        "eventVersion": "1.08", "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann",
        "accountId": "111122223333"}, "eventTime": "2026-05-04T10:00:00Z", "eventSource": source, "eventName": name,
        "awsRegion": "eu-central-1", "requestParameters": request, "responseElements": response,
        "eventID": "f8f0460c-476b-42b7-9cfb-cd6345e2aad1", "recipientAccountId": "111122223333"
    })
}

fn observed(record: &Value) -> Observation<'static> {
    let text: &'static str = Box::leak(record.to_string().into_boxed_str());
    match only(text) {
        Decoded::Relevant(observation) => observation,
        other @ (Decoded::Ignored(_) | Decoded::Poison(_)) => panic!("{other:?}"),
    }
}

fn start(request: Value) -> Value {
    record("ssm.amazonaws.com", "StartSession", request, json!({"sessionId": "ann-0123", "tokenValue": "hidden"}))
}

// R-G1
#[test]
fn a_started_session_is_observed() {
    let seen = observed(&start(json!({"target": "i-1", "documentName": "AWS-StartSSHSession", "reason": "deploy"})));
    assert_eq!(seen.account.to_string(), "111122223333");
    assert_eq!((&*seen.region, seen.name, seen.failure), ("eu-central-1", "StartSession", None));
    let What::Start(opened) = seen.what else { panic!("not a start") };
    assert_eq!((&*opened.session, &*opened.target), ("ann-0123", "i-1"));
    assert_eq!((opened.document.as_deref(), opened.reason.as_deref()), (Some("AWS-StartSSHSession"), Some("deploy")));
}

// R-W16: a document may be named by ARN; absent means the default
#[test]
fn documents_are_names_or_arns_or_absent() {
    let arn = "arn:aws:ssm:eu-central-1:111122223333:document/SSM-SessionManagerRunShell";
    for (request, expected) in [(json!({"target": "i-1"}), None), (json!({"documentName": arn}), Some(arn))] {
        let What::Start(opened) = observed(&start(request)).what else { panic!("not a start") };
        assert_eq!(opened.document.as_deref(), expected);
    }
}

// R-W6, TH4
#[test]
fn resume_terminate_and_failed_starts_are_observed() {
    let id = json!({"sessionId": "ann-0123"});
    for (name, expected) in [
        ("ResumeSession", What::Resume { session: "ann-0123".into() }),
        ("TerminateSession", What::Terminate { session: "ann-0123".into() }),
    ] {
        assert_eq!(observed(&record("ssm.amazonaws.com", name, id.clone(), Value::Null)).what, expected);
    }
    for name in ["StartSession", "ResumeSession", "TerminateSession"] {
        let mut failed = record("ssm.amazonaws.com", name, Value::Null, Value::Null);
        failed["errorCode"] = "AccessDenied".into();
        let seen = observed(&failed);
        assert_eq!(seen.what, What::Refused { target: "".into() });
        assert_eq!(seen.failure.as_deref(), Some("AccessDenied"));
    }
}

// TH7
#[test]
fn a_command_in_a_container_is_a_session() {
    let request = json!({"cluster": "c", "task": "t", "container": "web", "interactive": true});
    let response = json!({"session": {"sessionId": "ecs-execute-command-0b1c", "streamUrl": "wss://x"}});
    let What::Start(opened) = observed(&record("ecs.amazonaws.com", "ExecuteCommand", request, response)).what else {
        panic!("not a start")
    };
    assert_eq!((&*opened.session, &*opened.target), ("ecs-execute-command-0b1c", "ecs:c_t_web"));
    assert!(opened.container);
}

#[test]
fn another_services_start_session_is_no_session() {
    let text = record("athena.amazonaws.com", "StartSession", json!({}), json!({"sessionId": "x"})).to_string();
    assert_eq!(only(&text), Decoded::Ignored(Ignored::OtherSource));
}

// TH20: a null response is no failure
#[test]
fn a_change_without_a_response_has_happened() {
    let seen = observed(&record("iam.amazonaws.com", "AttachRolePolicy", json!({"roleName": "node"}), Value::Null));
    assert_eq!((seen.threat, seen.failure), ("TH20", None));
    assert_eq!(seen.what, What::Change { kind: ThingKind::Role, id: "node".into() });
}

// TH22, TH25, TH21: identities in EC2's nested shapes
#[test]
fn things_are_named_wherever_the_service_puts_them() {
    let nested = json!({"DeleteVpcEndpointsRequest": {"VpcEndpointId": {"tag": 1, "content": "vpce-1"}}});
    for (source, name, request, id) in [
        ("ec2.amazonaws.com", "DeleteVpcEndpoints", nested, "vpce-1"),
        ("kms.amazonaws.com", "ScheduleKeyDeletion", json!({"keyId": "k", "pendingWindowInDays": 7}), "k"),
        (
            "ec2.amazonaws.com",
            "AssociateIamInstanceProfile",
            json!({"AssociateIamInstanceProfileRequest": {"InstanceId": "i-9", "IamInstanceProfile": {"Name": "p"}}}),
            "i-9",
        ),
        ("ec2.amazonaws.com", "EnableSerialConsoleAccess", json!({"EnableSerialConsoleAccessRequest": ""}), ""),
        ("events.amazonaws.com", "DisableRule", json!({"name": "watch"}), "watch"),
    ] {
        let What::Change { id: seen, .. } = observed(&record(source, name, request, Value::Null)).what else {
            panic!("{name} is a change")
        };
        assert_eq!(seen, id, "{name}");
    }
}

// TH24
#[test]
fn an_object_is_named_with_its_bucket() {
    let key = "111122223333/eu-central-1/ann-0a1b2c3d4e5f60718.log";
    let both = json!({"bucketName": "logs", "Host": "logs.s3.amazonaws.com", "key": key});
    for (name, request, id) in [
        ("DeleteObject", both.clone(), format!("logs/{key}")),
        ("PutObject", both.clone(), format!("logs/{key}")),
        ("DeleteObject", json!({"key": key}), format!("/{key}")),
        ("DeleteObjects", json!({"bucketName": "logs", "delete": ""}), "logs".to_owned()),
    ] {
        let seen = observed(&record("s3.amazonaws.com", name, request, Value::Null));
        assert_eq!(seen.threat, "TH24");
        assert_eq!(seen.what, What::Change { kind: ThingKind::LogObject, id: id.into() }, "{name}");
    }
}

// TH32, TH1, TH24, TH13, TH7
#[test]
fn harmless_parameters_are_set_aside() {
    let port =
        |from: i64, to: i64| json!({"groupId": "sg", "ipPermissions": {"items": [{"fromPort": from, "toPort": to}]}});
    let id26 = "abcdefghij0123456789klmnop";
    for (source, name, request, relevant) in [
        ("ec2.amazonaws.com", "AuthorizeSecurityGroupIngress", port(443, 443), false),
        ("ec2.amazonaws.com", "AuthorizeSecurityGroupIngress", port(0, 65_535), true),
        ("ec2.amazonaws.com", "AuthorizeSecurityGroupIngress", port(3389, 3389), true),
        (
            "ec2.amazonaws.com",
            "AuthorizeSecurityGroupIngress",
            json!({"ipPermissions": {"items": [{"ipProtocol": "-1"}]}}),
            true,
        ),
        ("ssm.amazonaws.com", "CreateDocument", json!({"name": "x", "documentType": "Command"}), false),
        ("ssm.amazonaws.com", "CreateDocument", json!({"name": "x", "documentType": "Session"}), true),
        ("s3.amazonaws.com", "PutObject", json!({"key": "images/cat.png"}), false),
        ("s3.amazonaws.com", "PutObject", json!({"key": format!("1/ann-{id26}.log")}), true),
        ("s3.amazonaws.com", "DeleteObject", json!({"key": "1/ann-00123456789abcdef.log"}), true),
        ("ssm.amazonaws.com", "UpdateServiceSetting", json!({"settingId": "/ssm/parameter-store/default"}), false),
        ("ecs.amazonaws.com", "RunTask", json!({"enableExecuteCommand": true}), true),
        ("ecs.amazonaws.com", "RunTask", json!({"enableExecuteCommand": false}), false),
    ] {
        let text = record(source, name, request, Value::Null).to_string();
        assert_eq!(matches!(only(&text), Decoded::Relevant(_)), relevant, "{text}");
    }
}

#[test]
fn records_are_found_in_every_wrapping() {
    let record = start(json!({"target": "i-1"}));
    let mut bare = record.clone();
    bare.as_object_mut().unwrap().remove("recipientAccountId");
    bare["userIdentity"] = Value::Null;
    let envelope = json!({"version": "0", "detail-type": "AWS API Call via CloudTrail", "source": "aws.ssm",
        "account": "444455556666", "detail": bare});
    for (wrapped, count, account) in [
        (record.clone(), 1, "111122223333"),
        (envelope.clone(), 1, "444455556666"),
        (json!({"Records": [record, record]}), 2, "111122223333"),
        (json!([envelope, envelope, envelope]), 3, "444455556666"),
        (json!({"aws": {"cloudtrail": record}}), 1, "111122223333"),
        (json!({"more": 1, "Records": [envelope]}), 1, "444455556666"),
    ] {
        let text = wrapped.to_string();
        let all = decoded(&text);
        assert_eq!(all.len(), count, "{text}");
        for one in all {
            let Decoded::Relevant(seen) = one else { panic!("{one:?}") };
            assert_eq!(seen.account.to_string(), account);
        }
    }
}

// I12: poison has a reason
#[test]
fn what_cannot_be_read_says_why() {
    let mut no_id = start(json!({"target": "i-1"}));
    no_id["responseElements"] = Value::Null;
    let mut no_time = start(json!({}));
    no_time["eventTime"] = "soon".into();
    let mut bad_account = start(json!({}));
    bad_account["recipientAccountId"] = "12345".into();
    bad_account["recipientAccountId"] = "700***".into();
    let long = record("ssm.amazonaws.com", "ResumeSession", json!({"sessionId": "x".repeat(97)}), Value::Null);
    for (text, reason) in [
        (no_id.to_string(), "StartSession without responseElements.sessionId"),
        (no_time.to_string(), "StartSession with eventTime that is not a time"),
        (bad_account.to_string(), "StartSession with recipientAccountId that is not twelve digits"),
        (long.to_string(), "ResumeSession with sessionId that is not a session id"),
        ("[1]".to_owned(), "not an object"),
        ("17".to_owned(), "not an object"),
        ("{\"eventName\":\"StartSession\"".to_owned(), "not a CloudTrail record"),
        ("nonsense".to_owned(), "not a CloudTrail record"),
    ] {
        let Decoded::Poison(poison) = only(&text) else { panic!("{text} is read") };
        assert!(poison.to_string().starts_with(reason), "{text}: {poison}");
    }
    let mut all = Vec::new();
    let decoder = Decoder::default();
    decoder.decode(b"{\"a\":\"\xff\"}", &mut |one| all.push(one));
    decoder.decode(b"\xF3\x89\x9A\xC2rest", &mut |one| all.push(one));
    assert_eq!(all, [Decoded::Poison(Poison::NotUtf8(6)), Decoded::Poison(Poison::Aggregated)]);
}

#[test]
fn a_record_without_an_id_gets_one_from_its_content() {
    let mut one = start(json!({"target": "i-1"}));
    one.as_object_mut().unwrap().remove("eventID");
    let mut other = one.clone();
    other["eventTime"] = "2026-05-04T10:00:01Z".into();
    assert_eq!(observed(&one).event, observed(&one).event);
    assert_ne!(observed(&one).event, observed(&other).event);
}

// TH1, TH5, TH6, TH9, TH10, TH11, TH12, TH13, TH14, TH17, TH18, TH21, TH23, TH26, TH27, TH28, TH29, TH30
#[test]
fn every_row_of_the_catalogue_is_observed() {
    let request = json!({
        "documentType": "Session", "name": "SSM-SessionManagerRunShell", "enableExecuteCommand": true,
        "key": "p/ann-abcdefghij0123456789klmnop.log", "fromPort": 22, "toPort": 22, "sessionId": "ann-1", "target": "i-1"
    });
    let response = json!({"sessionId": "ann-1", "session": {"sessionId": "ecs-execute-command-1"}});
    let mut threats = std::collections::BTreeSet::new();
    for (threat, source, name) in Decoder::catalogue() {
        let seen = observed(&record(source, name, request.clone(), response.clone()));
        assert_eq!((seen.threat, seen.name), (threat, name));
        threats.insert(threat);
    }
    assert_eq!(threats.len(), 24 + 1, "{threats:?}");
}

/// Writes JSON with random white space, key order and escapes.
fn write_json(value: &Value, dice: &mut impl FnMut() -> u8, out: &mut String) {
    fn space(dice: &mut impl FnMut() -> u8, out: &mut String) {
        match dice() % 12 {
            0 => out.push(' '),
            1 => out.push_str("\n\t"),
            2 => out.push_str(" \r\n "),
            _ => {}
        }
    }
    fn string(text: &str, dice: &mut impl FnMut() -> u8, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match (c, dice() % 16) {
                ('"' | '\\', _) => out.extend(['\\', c]),
                ('\n', _) => out.push_str("\\n"),
                (_, 0) if c.is_ascii() => out.push_str(&format!("\\u{:04x}", c as u32)),
                (_, 1) if c.is_ascii() => out.push_str(&format!("\\u{:04X}", c as u32)),
                ('/', 2..8) => out.push_str("\\/"),
                _ => out.push(c),
            }
        }
        out.push('"');
    }
    space(dice, out);
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            for at in (1..fields.len()).rev() {
                fields.swap(at, dice() as usize % (at + 1));
            }
            out.push('{');
            for (at, (key, inner)) in fields.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                space(dice, out);
                string(key, dice, out);
                space(dice, out);
                out.push(':');
                write_json(inner, dice, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, inner) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_json(inner, dice, out);
            }
            out.push(']');
        }
        Value::String(text) => string(text, dice, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    space(dice, out);
}

fn noise() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("eventName")),
        Just(json!({"eventName": "GetObject"})),
        Just(json!({"eventName": "StartSession", "eventSource": "ssm.amazonaws.com"})),
        Just(json!("{\"eventName\":\"DescribeInstances\"}")),
        Just(json!("\\\"eventName\\\":\\\"StartSession\\\"")),
        Just(json!("{\"Statement\":[{\"Action\":\"*\"}]}")),
        Just(json!(["ssm.amazonaws.com", "/", "é€"])),
        Just(Value::Null),
        "[ -~]{0,12}".prop_map(Value::String),
    ]
}

/// Requests and responses of session calls, of the documented shape and of others.
fn call_fields() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        4 => Just(json!("ann-0123456789abcdef0")),
        1 => prop::sample::select(vec![
            json!("a/b"), json!("\u{e9}\"\n"), json!("x".repeat(97)), json!("é".repeat(96)), Value::Null, json!(1),
            json!({"sessionId": "bob-1"}),
        ]),
    ];
    let keys = prop::sample::select(vec!["sessionId", "target", "documentName", "reason", "session", "tokenValue"]);
    let other = vec![
        Value::Null,
        json!("HIDDEN_DUE_TO_SECURITY_REASONS"),
        json!(["a", "b", "c", "d", "e", "f", "g"]),
        json!(["ann-1", null]),
        json!(true),
    ];
    prop_oneof![
        6 => prop::collection::btree_map(keys, field, 0..5).prop_map(|fields| json!(fields)),
        1 => prop::sample::select(other),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The byte filter is complete: it never sets aside what the full parser finds relevant, however it is written.
    #[test]
    fn the_filter_loses_nothing(
        name in prop::sample::select(vec!["StartSession", "StopLogging", "GetObject", "DetachRolePolicy", "Describe"]),
        source in prop::sample::select(vec!["ssm.amazonaws.com", "cloudtrail.amazonaws.com", "iam.amazonaws.com"]),
        extra in prop::collection::btree_map("[a-zA-Z]{1,9}", noise(), 0..4),
        wrap in 0..4,
        mut bytes in prop::collection::vec(any::<u8>(), 400),
    ) {
        let mut value = record(source, name, json!({"target": "i-1", "roleName": "r", "x": extra.clone()}),
            json!({"sessionId": "ann-1"}));
        for (key, noise) in extra {
            value.as_object_mut().unwrap().entry(key).or_insert(noise);
        }
        let value = match wrap {
            0 => json!({"detail": value, "account": "111122223333"}),
            1 => json!({"Records": [value]}),
            _ => value,
        };
        let (mut at, mut text) = (0, String::new());
        let mut dice = || { at = (at + 1) % bytes.len(); bytes[at] = bytes[at].wrapping_mul(31).wrapping_add(7); bytes[at] };
        write_json(&value, &mut dice, &mut text);
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);

        let decoder = Decoder::default();
        let (mut quick, mut full) = (Vec::new(), Vec::new());
        decoder.decode(text.as_bytes(), &mut |one| quick.push(one));
        decoder.decode_fully(text.as_bytes(), &mut |one| full.push(one));
        prop_assert_eq!(quick, full, "{}", text);
    }

    /// Session calls are parsed in one go where that is possible: whatever they hold, the answer is the full parser's.
    #[test]
    fn session_calls_are_read_alike_in_one_go(
        name in prop::sample::select(vec!["StartSession", "ResumeSession", "TerminateSession"]),
        request in call_fields(),
        response in call_fields(),
        fields in prop::collection::btree_map(
            prop::sample::select(vec!["eventID", "eventTime", "recipientAccountId", "awsRegion", "errorCode",
                "userIdentity", "detail", "eventSource", "Records", "account"]),
            prop_oneof![Just(json!("")), Just(json!("x")), Just(Value::Null), Just(json!(7)),
                Just(json!({"arn": "a", "accountId": "111122223333"})), Just(json!([]))],
            0..2,
        ),
    ) {
        let mut value = record("ssm.amazonaws.com", name, request, response);
        for (key, field) in fields {
            value[key] = field;
        }
        let text = value.to_string();
        let decoder = Decoder::default();
        let (mut quick, mut full) = (Vec::new(), Vec::new());
        decoder.decode(text.as_bytes(), &mut |one| quick.push(one));
        decoder.decode_fully(text.as_bytes(), &mut |one| full.push(one));
        prop_assert_eq!(quick, full, "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Decoder::default().decode(&bytes, &mut |_| {});
        Decoder::default().decode_fully(&bytes, &mut |_| {});
    }
}
