//! Policies, waivers and configuration: what holds, and what is said when they are wrong.

use crate::{Folder, PORT_FORWARDING, end, forwarding, lines, start};

const CONTROL: &str = r#"
@id("MY-PORT")
@title("A port is forwarded")
@severity("high")
@response("terminate")
@quarantine("true")
@requirement("TH2")
@attack("T1572")
forbid (principal, action == Action::"session", resource)
when { context.documentKind == DocumentKind::"port" };
"#;

fn waiver(expires: &str) -> String {
    format!(
        r#"
@id("WV-PORTS")
@control("MY-PORT")
@owner("alice@example.com")
@ticket("SEC-1")
@expires("{expires}")
permit (principal, action == Action::"session", resource)
when {{ context.documentKind == DocumentKind::"port" }};
"#
    )
}

#[test]
fn a_policy_that_does_not_parse_is_told_with_file_line_column_and_hint() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(1)]));
    for (text, place) in [
        (CONTROL.replace("when {", "when "), "policy/mine.cedar:10:"),
        (CONTROL.replace("documentKind", "documentKid"), "policy/mine.cedar:"),
        (CONTROL.replace("\"high\"", "\"hihg\""), "policy/mine.cedar:4:"),
    ] {
        folder.write("policy/mine.cedar", &text);
        let answer = folder.replay("in.json --policy policy");
        assert_eq!((answer.code, &*answer.out), (2, ""), "{}", answer.err);
        let rest = answer.err.strip_prefix(&format!("sessionwarden: {place}")).unwrap_or_else(|| panic!("{answer:?}"));
        let numbers = rest.split_once(' ').unwrap().0.trim_end_matches(':');
        assert!(numbers.split(':').all(|number| number.parse::<u32>().is_ok_and(|number| number > 0)), "{rest}");
        assert!(answer.err.contains("\n  hint: "), "{}", answer.err);
    }
}

#[test]
fn a_policy_folder_without_a_control_is_refused() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(1)]));
    folder.write("none/readme.md", "");
    folder.write("waivers-only/waivers/a.cedar", waiver("2020-01-01T00:00:00Z").replace("MY-PORT", "*"));
    folder.write("blank/a.cedar", "// nothing\n");
    for (name, why) in [
        ("none", "no policy file (*.cedar) in none"),
        ("blank", "no control in the policy files of blank"),
        ("missing", "cannot read policy missing: No such file or directory"),
        ("in.json", "cannot read policy in.json: Not a directory"),
    ] {
        let answer = folder.replay(&format!("in.json --policy {name}"));
        assert_eq!((answer.code, &*answer.out), (2, ""), "{name}");
        assert!(answer.err.contains(why), "{}", answer.err);
    }
    let answer = folder.replay("in.json --policy waivers-only");
    assert_eq!((answer.code, &*answer.out), (2, ""), "{}", answer.err);
}

#[test]
fn own_controls_and_waivers_replace_the_shipped_ones() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(1), forwarding(2), forwarding(3)]));
    folder.write("policy/controls/mine.cedar", CONTROL);
    let answer = folder.replay("in.json --policy policy");
    assert_eq!(answer.json()["sessions"]["by_control"], serde_json::json!({ "MY-PORT": 2 }));
    assert_ne!(answer.json()["policy"], folder.replay("in.json").json()["policy"]);

    folder.write("policy/waivers/ports.cedar", waiver("2999-01-01T00:00:00Z"));
    let answer = folder.replay("in.json --policy policy");
    assert_eq!(["violating", "waived"].map(|key| answer.sessions(key)), [0, 2]);
    assert_eq!((answer.code, &*answer.err), (0, ""));

    folder.write("other/ports.cedar", waiver("2999-01-01T00:00:00Z").replace("MY-PORT", "SW-DOC-02"));
    folder.write("sw.toml", "[policy]\nwaivers_dir = \"other\"\n");
    let answer = folder.replay("in.json --config sw.toml");
    assert_eq!(["violating", "waived"].map(|key| answer.sessions(key)), [0, 2], "the shipped control, waived");
}

/// I16: a waiver never works after its expiry.
#[test]
fn an_expired_waiver_is_told_and_excuses_nothing_after_its_end() {
    let folder = Folder::new();
    // 10:01:40 lies between the two sessions.
    folder.write("in.json", lines(&[forwarding(10), end(50, 10), forwarding(200), end(250, 200)]));
    folder.write("policy/mine.cedar", CONTROL);
    folder.write("policy/waivers/ports.cedar", waiver("2026-05-04T10:01:40Z"));
    let answer = folder.replay("in.json --policy policy --feed feed.jsonl");
    assert_eq!((answer.code, answer.sessions("violating"), answer.sessions("waived")), (0, 1, 1));
    let warning = "warning: policy/waivers/ports.cedar:2: waiver WV-PORTS expired at 2026-05-04T10:01:40Z; it excuses \
                   nothing since then (owner alice@example.com, ticket SEC-1)\n";
    assert_eq!(answer.err, warning);
    let feed = folder.read("feed.jsonl");
    let findings: Vec<_> = feed.lines().filter(|line| line.contains("\"class_uid\":2004")).collect();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains(&crate::session(200)) && !findings[0].contains(&crate::session(10)));
}

#[test]
fn an_unknown_configuration_key_is_told_with_its_place_and_a_suggestion() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(1)]));
    folder.write("sw.toml", "[organization]\nallowed_region = [\"eu-central-1\"]\n");
    let answer = folder.replay("in.json --config sw.toml");
    assert_eq!((answer.code, &*answer.out), (2, ""));
    assert!(answer.err.contains("sw.toml:2:1: "), "{}", answer.err);
    assert!(answer.err.contains("did you mean `allowed_regions`?"), "{}", answer.err);
    let answer = folder.replay("in.json --config missing.toml");
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("missing.toml: cannot be read: No such file"), "{}", answer.err);
}

/// W34, TH17: sessions run in allowed regions only.
#[test]
fn sessions_outside_the_allowed_regions_violate() {
    let folder = Folder::new();
    let mut away = start(2);
    away["awsRegion"] = "ap-southeast-1".into();
    folder.write("in.json", lines(&[start(1), away]));
    assert_eq!(folder.replay("in.json").sessions("violating"), 0, "all regions are allowed by default");
    folder.write("sw.toml", "[organization]\nallowed_regions = [\"eu-central-1\"]\n");
    let answer = folder.replay("in.json --config sw.toml");
    assert_eq!(answer.json()["sessions"]["by_control"], serde_json::json!({ "SW-REG-01": 1 }));
}

/// R-G12: ten distinct violating sessions in 300 s; W27: distinct sessions count, not their events.
#[test]
fn the_threshold_shows_which_accounts_would_have_been_locked() {
    let folder = Folder::new();
    let over = |seconds: &[u64], config: &str| {
        let mut events: Vec<_> = seconds.iter().map(|second| forwarding(*second)).collect();
        let mut again = events[0].clone();
        again["eventName"] = "ResumeSession".into();
        again["requestParameters"] = serde_json::json!({ "sessionId": crate::session(seconds[0]) });
        for n in 0..20 {
            again["eventID"] = format!("00000000-0000-4000-9000-{n:012x}").into();
            events.push(again.clone());
        }
        folder.write("in.json", lines(&events));
        folder.write("sw.toml", config);
        folder.replay("in.json --config sw.toml").json()["accounts"].clone()
    };
    let spaced = |count: u64, gap: u64| (0..count).map(|n| n * gap).collect::<Vec<_>>();
    assert_eq!(over(&spaced(9, 1), "")["over_threshold"], 0);
    let accounts = over(&spaced(10, 33), "");
    assert_eq!(accounts["over_threshold"], 1);
    assert_eq!(accounts["crossed"]["111122223333"]["at"], "2026-05-04T10:04:57Z");
    assert_eq!(accounts["crossed"]["111122223333"]["sessions"], 10);
    assert_eq!(over(&spaced(10, 34), "")["over_threshold"], 0, "306 s are more than 300");
    assert_eq!(over(&spaced(3, 1), "[threshold]\nsessions = 3\n")["over_threshold"], 1);
    assert_eq!(over(&spaced(3, 10), "[threshold]\nsessions = 3\nwindow_seconds = 19\n")["over_threshold"], 0);
    let exempt = "[organization]\nexempt_accounts = [\"111122223333\"]\n";
    let accounts = over(&spaced(10, 1), exempt);
    assert!(accounts["crossed"]["111122223333"]["decision"].as_str().unwrap().contains("not be locked"), "{accounts}");
}

#[test]
fn a_document_given_by_its_arn_is_judged_by_its_name() {
    let folder = Folder::new();
    let mut event = start(1);
    let arn = format!("arn:aws:ssm:eu-central-1::document/{PORT_FORWARDING}");
    event["requestParameters"]["documentName"] = arn.into();
    folder.write("in.json", lines(&[event]));
    let answer = folder.replay("in.json");
    assert_eq!(answer.json()["sessions"]["by_control"], serde_json::json!({ "SW-DOC-02": 1 }));
}
