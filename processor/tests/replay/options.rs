//! Periods, standard input, and the result as people see it.

use crate::{Folder, end, forwarding, gzip, lines, other, records, start};

#[test]
fn only_events_of_the_period_count() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(0), forwarding(60), end(120, 0), start(180), other(60)]));
    for (options, relevant, seen) in [
        ("", 4, 3),
        ("--from 2026-05-04T10:01:00Z", 3, 3),
        ("--to 2026-05-04T10:01:00Z", 1, 1),
        ("--from 2026-05-04T10:01:00Z --to 2026-05-04T10:02:00Z", 1, 1),
        ("--from 2026-05-04T12:01:00+02:00 --to 2026-05-04T12:01:01+02:00", 1, 1),
        ("--from 2026-05-04", 4, 3),
        ("--to 2026-05-04", 0, 0),
        ("--from 2026-05-05", 0, 0),
    ] {
        let answer = folder.replay(&format!("in.json {options}"));
        assert_eq!((answer.code, answer.events()), (0, [5, relevant, 5 - relevant, 0, 0]), "{options}");
        assert_eq!(answer.sessions("seen"), seen, "{options}");
    }
}

#[test]
fn a_period_that_is_none_is_a_usage_error() {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(0)]));
    for (options, why) in [
        ("--from yesterday", "'yesterday' for '--from <TIME>': not a time; write it as 2026-05-04T10:00:00Z"),
        ("--to 2026-13-01", "'2026-13-01' for '--to <TIME>'"),
        ("--from 2026-05-05 --to 2026-05-04", "--from is not before --to"),
        ("--from 2026-05-04 --to 2026-05-04", "--from is not before --to"),
        ("--threads 0", "--threads"),
    ] {
        let answer = folder.replay(&format!("in.json {options}"));
        assert_eq!((answer.code, &*answer.out), (2, ""), "{options}");
        assert!(answer.err.contains(why), "{}", answer.err);
    }
    assert_eq!(folder.replay("").code, 2, "nothing to read");
}

#[test]
fn standard_input_takes_every_format() {
    let folder = Folder::new();
    let events = [start(1), forwarding(2), other(3)];
    for input in [lines(&events).into_bytes(), records(&events).into_bytes(), gzip(records(&events).as_bytes())] {
        let answer = folder.run("replay --format json -", &input);
        assert_eq!((answer.code, answer.events()), (0, [3, 2, 1, 0, 0]));
        assert_eq!(answer.json()["bytes"], input.len());
    }
    let answer = folder.run("replay --format json -", b"{\n");
    assert_eq!(answer.code, 3);
    assert!(answer.err.contains("parked: standard input: record 1 (byte 0): "), "{}", answer.err);
}

/// The lines of a report with what differs from run to run replaced.
fn steady(report: &str) -> String {
    let line = |line: &str| match line.strip_prefix("policy ") {
        Some(rest) => {
            let (hash, rest) = rest.split_once(", ").unwrap();
            assert!(hash.len() >= 16 && rest.contains(" CPU seconds, ") && rest.ends_with(" MiB"), "{rest}");
            "policy HASH, N CPU seconds, N MiB\n".to_owned()
        }
        None => format!("{}\n", line.trim_end()),
    };
    report.lines().map(line).collect()
}

#[test]
fn the_result_for_people_is_a_table() {
    let folder = Folder::new();
    let mut events: Vec<_> = (0..12).map(|n| forwarding(n * 10)).collect();
    events.extend([start(200), end(300, 200), other(400), start(200)]);
    let mut tampering = start(500);
    tampering["eventSource"] = "cloudtrail.amazonaws.com".into();
    tampering["eventName"] = "StopLogging".into();
    tampering["requestParameters"] = serde_json::json!({ "name": "organisation" });
    let mut refused = start(600);
    refused["errorCode"] = "AccessDenied".into();
    refused["requestParameters"] = serde_json::Value::Null;
    events.extend([tampering, refused]);
    folder.write("in.json", lines(&events) + "{\n");
    let answer = folder.run("replay in.json", b"");
    assert_eq!(answer.code, 3);
    insta::assert_snapshot!(steady(&answer.out));
    insta::assert_snapshot!(answer.err);
}
