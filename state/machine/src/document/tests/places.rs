use super::{
    super::{log_object_key, log_object_keys, log_stream_name},
    *,
};

const SESSION: &str = "ann-0a1b2c3d4e5f67890";

/// R-G7: the key is what Go's `path.Join` makes of prefix and name.
#[test]
fn the_object_key_is_the_agents() {
    for (prefix, session, key) in [
        ("", "ann-0a", "ann-0a.log"),
        ("logs", "ann-0a", "logs/ann-0a.log"),
        ("logs/", "ann-0a", "logs/ann-0a.log"),
        ("logs//a///b/", "ann-0a", "logs/a/b/ann-0a.log"),
        ("/logs", "ann-0a", "/logs/ann-0a.log"),
        ("//logs", "ann-0a", "/logs/ann-0a.log"),
        ("/", "ann-0a", "/ann-0a.log"),
        (".", "ann-0a", "ann-0a.log"),
        ("./logs/.", "ann-0a", "logs/ann-0a.log"),
        ("logs/../other", "ann-0a", "other/ann-0a.log"),
        ("logs/..", "ann-0a", "ann-0a.log"),
        ("..", "ann-0a", "../ann-0a.log"),
        ("a/../../b", "ann-0a", "../b/ann-0a.log"),
        ("../../b", "ann-0a", "../../b/ann-0a.log"),
        ("/..", "ann-0a", "/ann-0a.log"),
        ("/../../b/..", "ann-0a", "/ann-0a.log"),
        ("a/...", "ann-0a", "a/.../ann-0a.log"),
        ("a:b", "ann:0a:", "a:b/ann0a.log"),
        ("logs", "../ann-0a", "ann-0a.log"),
        ("logs", "..", "logs/...log"),
        (" ", "ann-0a", " /ann-0a.log"),
    ] {
        assert_eq!(log_object_key(prefix, session), key, "{prefix:?} {session:?}");
    }
}

#[test]
fn the_stream_is_named_by_the_session() {
    assert_eq!(log_stream_name(SESSION), SESSION);
}

fn wanted_prefix(prefix: Option<&str>) -> WantedPreferences {
    WantedPreferences { s3_prefix: prefix.map(Into::into), ..WantedPreferences::default() }
}

#[test]
fn the_wanted_prefix_is_filled_in() {
    let filled = |prefix| wanted_prefix(prefix).prefix(account(), REGION);
    assert_eq!(filled(None), None);
    assert_eq!(filled(Some("logs")), Some("logs".to_owned()));
    assert_eq!(filled(Some("a/{account}/{region}")), Some("a/111122223333/eu-west-1".to_owned()));
    assert_eq!(filled(Some("{region}-{account}{account}")), Some("eu-west-1-111122223333111122223333".to_owned()));
}

/// R-W19: a log is looked for under what the document says as well as under what is wanted. R-G17: `<account>` is among
/// the places. R-L4: `<prefix>/<account>/<region>` is.
#[test]
fn both_layouts_are_looked_at() {
    let table: [(Option<&str>, Option<&str>, &[&str]); 10] = [
        (None, None, &["111122223333", "111122223333/eu-west-1"]),
        (None, Some(""), &["", "111122223333", "111122223333/eu-west-1"]),
        (None, Some("own"), &["own", "111122223333", "111122223333/eu-west-1"]),
        (Some("logs"), None, &["logs", "111122223333", "logs/111122223333/eu-west-1"]),
        (Some("logs"), Some("own"), &["logs", "own", "111122223333", "logs/111122223333/eu-west-1"]),
        (Some("{account}"), Some("111122223333/"), &["111122223333", "111122223333/eu-west-1"]),
        (
            Some("logs/{account}/{region}"),
            Some("logs/111122223333/eu-west-1"),
            &["logs/111122223333/eu-west-1", "111122223333"],
        ),
        (Some("a/b/{account}/c"), None, &["a/b/111122223333/c", "111122223333", "a/b/111122223333/eu-west-1"]),
        (Some("/logs"), None, &["/logs", "111122223333", "/logs/111122223333/eu-west-1"]),
        (Some("logs"), Some("{{ prefix }}"), &["logs", "111122223333", "logs/111122223333/eu-west-1"]),
    ];
    for (wanted, own, prefixes) in table {
        let document = own.map(|own| parse(&with(&json!({"s3KeyPrefix": own}))).unwrap());
        let keys = log_object_keys(&wanted_prefix(wanted), document.as_ref(), account(), REGION, SESSION);
        let expected: Vec<String> = prefixes.iter().map(|prefix| log_object_key(prefix, SESSION)).collect();
        assert_eq!(keys, expected, "{wanted:?} {own:?}");
    }
}
