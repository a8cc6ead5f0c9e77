use super::*;

fn differences(wanted: &WantedPreferences, document: &Value) -> Option<Vec<String>> {
    wanted.differences(&parse(document).unwrap(), account(), REGION)
}

/// The inputs that differ.
fn fields(wanted: &WantedPreferences, document: &Value) -> Vec<String> {
    let differences = differences(wanted, document).unwrap();
    differences.iter().map(|sentence| sentence.split([' ', ',']).next().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_said_where_nothing_is_wanted() {
    assert!(WantedPreferences::default().is_empty());
    assert_eq!(differences(&WantedPreferences::default(), &full()), None);
    assert!(!wanted().is_empty());
    assert_eq!(differences(&wanted(), &full()), Some(vec![]));
}

/// TH26, the comparison of R-L4: each changed input is a difference, and the sentence says what stands there and what should.
#[test]
fn each_difference_has_its_sentence() {
    let table = [
        ("/sessionType", json!("Port"), r#"sessionType is "Port", wanted "Standard_Stream""#),
        ("/sessionType", Value::Null, r#"sessionType is empty, wanted "Standard_Stream""#),
        ("/inputs/s3BucketName", json!("other"), r#"s3BucketName is "other", wanted "central-logs""#),
        ("/inputs/s3BucketName", Value::Null, r#"s3BucketName is empty, wanted "central-logs""#),
        ("/inputs/s3KeyPrefix", json!("x"), r#"s3KeyPrefix is "x", wanted "logs/111122223333/eu-west-1""#),
        ("/inputs/s3EncryptionEnabled", json!(false), "s3EncryptionEnabled is false, wanted true"),
        (
            "/inputs/s3EncryptionEnabled",
            json!("{{ on }}"),
            "s3EncryptionEnabled is what whoever starts the session chooses, wanted true",
        ),
        (
            "/inputs/cloudWatchLogGroupName",
            json!("/b"),
            r#"cloudWatchLogGroupName is "/b", wanted "/ssm-session-logs""#,
        ),
        ("/inputs/cloudWatchEncryptionEnabled", json!("0"), "cloudWatchEncryptionEnabled is false, wanted true"),
        ("/inputs/cloudWatchStreamingEnabled", Value::Null, "cloudWatchStreamingEnabled is false, wanted true"),
        ("/inputs/kmsKeyId", json!("k\n"), r#"kmsKeyId is "k\n", wanted "alias/session-manager/data""#),
        ("/inputs/runAsEnabled", json!(false), "runAsEnabled is false, wanted true"),
        ("/inputs/runAsDefaultUser", json!("root"), r#"runAsDefaultUser is "root", wanted "nobody""#),
        ("/inputs/idleSessionTimeout", json!("16"), "idleSessionTimeout is 16 minutes, wanted at most 15 minutes"),
        ("/inputs/idleSessionTimeout", Value::Null, "idleSessionTimeout is 20 minutes, wanted at most 15 minutes"),
        (
            "/inputs/idleSessionTimeout",
            json!("{{ idle }}"),
            "idleSessionTimeout is what whoever starts the session chooses, wanted at most 15 minutes",
        ),
        ("/inputs/maxSessionDuration", json!(61), "maxSessionDuration is 61 minutes, wanted at most 60 minutes"),
        ("/inputs/maxSessionDuration", Value::Null, "maxSessionDuration is not set, wanted at most 60 minutes"),
    ];
    for (path, value, sentence) in table {
        let document = changed(&full(), path, value);
        assert_eq!(differences(&wanted(), &document), Some(vec![sentence.to_owned()]), "{document}");
    }
    assert_eq!(differences(&wanted(), &with(&json!({}))).unwrap().len(), 13);
    let long = changed(&full(), "/inputs/s3BucketName", json!("b".repeat(5_000)));
    assert!(differences(&wanted(), &long).unwrap()[0].len() < 150);
}

/// A team's own, shorter times stay, and so does a prefix that makes the same keys.
#[test]
fn what_means_the_same_is_no_difference() {
    for (path, value) in [
        ("/inputs/idleSessionTimeout", json!("15")),
        ("/inputs/idleSessionTimeout", json!(1)),
        ("/inputs/maxSessionDuration", json!("5")),
        ("/inputs/s3KeyPrefix", json!("logs/111122223333/eu-west-1/")),
        ("/inputs/s3KeyPrefix", json!("logs//x/../111122223333/./eu-west-1")),
        ("/inputs/runAsEnabled", json!("true")),
        ("/unknown", json!("left to the account")),
    ] {
        let document = changed(&full(), path, value);
        assert_eq!(differences(&wanted(), &document), Some(vec![]), "{document}");
    }
    let only = |field: WantedPreferences| differences(&field, &with(&json!({"s3BucketName": "logs"})));
    let none: Option<Vec<String>> = Some(vec![]);
    assert_eq!(only(WantedPreferences { s3_bucket: Some("logs".into()), ..WantedPreferences::default() }), none);
    assert_eq!(only(WantedPreferences { s3_prefix: Some("".into()), ..WantedPreferences::default() }), none);
    assert_eq!(only(WantedPreferences { streaming: Some(false), ..WantedPreferences::default() }), none);
    assert_eq!(only(WantedPreferences { idle_minutes_max: Some(20), ..WantedPreferences::default() }), none);
    assert_eq!(only(WantedPreferences { shell_linux: Some("".into()), ..WantedPreferences::default() }), none);
}

/// TH26: a profile runs commands in every session, so that one that nobody wants is a difference; what it says is
/// never shown.
#[test]
fn an_unwanted_shell_profile_is_a_difference() {
    let only_bucket = WantedPreferences { s3_bucket: Some("central-logs".into()), ..WantedPreferences::default() };
    assert_eq!(fields(&only_bucket, &full()), ["shellProfile.linux", "shellProfile.windows"]);
    for (name, wanted) in [("linux", wanted()), ("windows", wanted()), ("linux", only_bucket)] {
        let document = with(&json!({"s3BucketName": "central-logs", "shellProfile": {name: "export TOKEN=hunter2"}}));
        let found = differences(&wanted, &document).unwrap();
        let sentence = found.iter().find(|sentence| sentence.starts_with(&format!("shellProfile.{name}"))).unwrap();
        assert!(sentence.contains("is 20 bytes with hash "), "{sentence}");
        assert!(found.iter().all(|sentence| !sentence.contains("hunter2") && !sentence.contains("exec")), "{found:?}");
    }
    let other = changed(&full(), "/inputs/shellProfile/linux", json!("exec zsh"));
    assert_eq!(fields(&wanted(), &other), ["shellProfile.linux"]);
}

#[test]
fn accepted_documents_stand_as_they_are() {
    let odd = changed(&full(), "/sessionType", json!("Port"));
    let accepted = BTreeSet::from([parse(&odd).unwrap().hash]);
    let only_hashes = WantedPreferences { hashes: accepted.clone(), ..WantedPreferences::default() };
    assert!(!only_hashes.is_empty());
    assert_eq!(differences(&only_hashes, &odd), Some(vec![]));
    let sentence = format!("the document's hash is {}, which is none of those accepted", parse(&full()).unwrap().hash);
    assert_eq!(differences(&only_hashes, &full()), Some(vec![sentence]));
    let both = WantedPreferences { hashes: accepted, ..wanted() };
    assert_eq!(differences(&both, &odd), Some(vec![]));
    assert_eq!(differences(&both, &full()), Some(vec![]));
    assert_eq!(fields(&both, &changed(&odd, "/inputs/runAsEnabled", json!(false))), ["sessionType", "runAsEnabled"]);
}

#[test]
fn a_key_is_its_arn() {
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let arn = |region: &str, account: &str, resource: &str| format!("arn:aws:kms:{region}:{account}:{resource}");
    let key = arn(REGION, "111122223333", &format!("key/{id}"));
    let alias = arn(REGION, "111122223333", "alias/data");
    let table = [
        (id, id, true),
        (id, &*key, true),
        ("alias/data", &*alias, true),
        (&*key, &*key, true),
        (&*key, &*alias, false),
        (id, "alias/data", false),
        ("alias/data", "alias/Data", false),
        ("data", &*alias, false),
        (&*format!("key/{id}"), &*key, false),
        ("alias/data", &*arn(REGION, "444455556666", "alias/data"), false),
        ("alias/data", &*arn("us-east-1", "111122223333", "alias/data"), false),
        ("alias/data", "arn:aws:s3:::alias/data", false),
        ("", &*key, false),
        ("", "", true),
    ];
    for (one, other, same) in table {
        for (wanted, have) in [(one, other), (other, one)] {
            let wanted = WantedPreferences { kms_key: Some(wanted.into()), ..WantedPreferences::default() };
            let found = fields(&wanted, &with(&json!({"kmsKeyId": have})));
            assert_eq!(found.is_empty(), same, "{one} {other}: {found:?}");
        }
    }
}
