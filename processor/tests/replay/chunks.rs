//! Large files are read in parts, side by side: nothing is lost, doubled or torn at their borders (I4).

use std::fmt::Write;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;

use crate::{Folder, forwarding, gzip, other, start};

/// The length of a part in bytes.
const PART: usize = 8 << 20;

/// Lines of about `size` bytes until the text ends exactly at `until`.
fn fill(text: &mut String, n: &mut u64, size: usize, until: usize) {
    while text.len() < until {
        let event = match *n % 20 {
            0 => start(*n),
            1 => forwarding(*n),
            _ => other(*n),
        };
        *n += 1;
        let line = event.to_string();
        let left = until - text.len();
        // The last line takes what is left, so that it ends where it should.
        let wanted = if left < 2 * size + 2_000 { left } else { size.max(line.len() + 16) };
        let padding = wanted - line.len() - 1 - r#","pad":"""#.len();
        let _ = writeln!(text, "{},\"pad\":\"{}\"}}", &line[..line.len() - 1], "p".repeat(padding));
    }
    assert_eq!(text.len(), until);
}

/// A result without what depends on the way it was read.
fn comparable(mut result: Value) -> Value {
    for key in ["cpu_seconds", "peak_rss_bytes"] {
        result.as_object_mut().unwrap().remove(key).unwrap();
    }
    for parked in result["parked"].as_array_mut().unwrap() {
        parked["file"] = Value::Null;
    }
    result
}

/// Replays `text` as a file with several threads, as a stream, and gzipped; all must answer the same. Returns it.
fn replay_all_ways(text: &str) -> Value {
    assert!(text.len() > 2 * PART, "large enough for parts");
    let folder = Folder::new();
    folder.write("in.json", text);
    folder.write("in.json.gz", gzip(text.as_bytes()));
    let whole = folder.run("replay --format json --threads 1 --feed whole.jsonl -", text.as_bytes());
    let expected = comparable(whole.json());
    let mut feed: Vec<_> = folder.read("whole.jsonl").lines().map(str::to_owned).collect();
    feed.sort();
    for threads in [1, 2, 4] {
        let answer = folder.replay(&format!("in.json --threads {threads} --feed feed.jsonl"));
        assert_eq!(answer.code, whole.code);
        assert_eq!(comparable(answer.json()), expected, "{threads} threads");
        let mut found: Vec<_> = folder.read("feed.jsonl").lines().map(str::to_owned).collect();
        found.sort();
        assert!(found == feed, "the feed with {threads} threads");
    }
    let mut zipped = comparable(folder.replay("in.json.gz").json());
    zipped["bytes"] = expected["bytes"].clone();
    assert_eq!(zipped, expected);
    expected
}

fn events(result: &Value) -> [u64; 5] {
    ["read", "relevant", "ignored", "duplicate", "poison"].map(|key| result["events"][key].as_u64().unwrap())
}

/// How many of `n` events matter.
fn relevant(n: u64) -> u64 {
    n.div_ceil(20) + (n + 18) / 20
}

#[test]
fn lines_at_the_border_of_two_parts_are_read_once() {
    let case = (0..PART / 2, 1_000_usize..4_000, -2_i64..3);
    let run = |(more, size, shift): (usize, usize, i64)| {
        let (mut text, mut n) = (String::new(), 0);
        for border in [PART, 2 * PART] {
            fill(&mut text, &mut n, size, (border as i64 + shift) as usize);
        }
        fill(&mut text, &mut n, size, 2 * PART + 5_000 + more);
        if more % 2 == 0 {
            text.pop();
        }
        let result = replay_all_ways(&text);
        prop_assert_eq!(events(&result), [n, relevant(n), n - relevant(n), 0, 0]);
        prop_assert_eq!(result["bytes"].as_u64(), Some(text.len() as u64));
        Ok(())
    };
    // Each border exactly, and some in between.
    for shift in -2..3 {
        run((0, 1_600, shift)).unwrap();
    }
    TestRunner::new(Config { cases: 3, failure_persistence: None, ..Config::default() }).run(&case, run).unwrap();
}

#[test]
fn a_record_over_many_lines_in_the_middle_is_read_whole() {
    for at in [100_000, PART - 300, PART + 9_000, 2 * PART - 20] {
        let (mut text, mut n) = (String::new(), 0);
        fill(&mut text, &mut n, 1_600, at);
        let _ = writeln!(text, "{:#}", forwarding(1_000_000));
        let end = text.len();
        fill(&mut text, &mut n, 1_600, (2 * PART + 9_000).max(end + 9_000));
        let result = replay_all_ways(&text);
        assert_eq!(events(&result), [n + 1, relevant(n) + 1, n - relevant(n), 0, 0], "at byte {at}");
        assert_eq!(result["bytes"].as_u64(), Some(text.len() as u64), "what was read twice counts once");
    }
}

#[test]
fn a_line_longer_than_a_part_is_read_whole() {
    for at in [PART - 1_000_000, PART, 3_000_000] {
        let (mut text, mut n) = (String::new(), 0);
        fill(&mut text, &mut n, 1_600, at);
        let mut long = forwarding(1_000_000);
        long["pad"] = "l".repeat(20 << 20).into();
        let _ = writeln!(text, "{long}");
        let end = text.len();
        fill(&mut text, &mut n, 1_600, end + 2_000_000);
        let result = replay_all_ways(&text);
        assert_eq!(events(&result), [n + 1, relevant(n) + 1, n - relevant(n), 0, 0], "at byte {at}");
    }
}

#[test]
fn a_broken_line_in_the_middle_is_parked_with_its_number() {
    for broken in ["{\"eventName\":\"StartSession\",", "nonsense", "\0", "{\"a\":[}"] {
        let (mut text, mut n) = (String::new(), 0);
        fill(&mut text, &mut n, 1_600, PART + 1_000_000);
        let (record, byte) = (n + 1, text.len());
        let _ = writeln!(text, "{broken}");
        fill(&mut text, &mut n, 1_600, 2 * PART + 500_000);
        let result = replay_all_ways(&text);
        assert_eq!(events(&result), [n + 1, relevant(n), n - relevant(n), 0, 1], "{broken}");
        let parked = &result["parked"][0];
        assert_eq!((parked["record"].as_u64(), parked["byte"].as_u64()), (Some(record), Some(byte as u64)), "{broken}");
    }
}

#[test]
fn a_line_in_a_later_part_that_cannot_be_decoded_is_parked_with_its_number() {
    let (mut text, mut n) = (String::new(), 0);
    fill(&mut text, &mut n, 1_600, PART + 1_000_000);
    let (record, byte) = (n + 1, text.len());
    let mut bad = start(1_000_000);
    bad["responseElements"] = Value::Null;
    let _ = writeln!(text, "{bad}");
    fill(&mut text, &mut n, 1_600, 2 * PART + 500_000);
    let result = replay_all_ways(&text);
    assert_eq!(events(&result)[4], 1);
    let parked = &result["parked"][0];
    assert_eq!((parked["record"].as_u64(), parked["byte"].as_u64()), (Some(record), Some(byte as u64)));
    assert_eq!(parked["reason"], "StartSession without responseElements.sessionId");
}
