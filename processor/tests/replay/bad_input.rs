//! Bad content: it is parked with its place, reason and content, and costs nothing else (I12).

use std::io::Read;

use crate::{Answer, Folder, end, forwarding, gzip, lines, other, records, start};

/// Replays `name` with a file of parked records, and answers it with (record, reason, content in bytes) of each.
fn park(folder: &Folder, name: &str) -> (Answer, Vec<(u64, String, Vec<u8>)>) {
    let answer = folder.replay(&format!("{name} --parked parked.jsonl"));
    let parked = folder.lines("parked.jsonl").into_iter().map(|one| {
        assert_eq!(one["file"], name);
        let hex = one["content_hex"].as_str().unwrap_or_default().as_bytes();
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        let content = match one["content"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect(),
        };
        (one["record"].as_u64().unwrap(), one["reason"].as_str().unwrap().to_owned(), content)
    });
    let parked: Vec<_> = parked.collect();
    for (record, reason, _) in &parked {
        let place = if *record == 0 { format!("{name}: {reason}") } else { format!("{name}: record {record} (byte ") };
        assert!(answer.err.contains(&format!("parked: {place}")), "{place} in {}", answer.err);
    }
    assert_eq!(answer.json()["parked"].as_array().unwrap().len(), parked.len().min(100));
    (answer, parked)
}

#[test]
fn of_a_truncated_gzip_file_all_is_used_that_can_be_decompressed() {
    let folder = Folder::new();
    let text = lines(&(0..400).map(|n| start(n * 7919 % 100_003)).collect::<Vec<_>>());
    let mut whole = gzip(text.as_bytes());
    whole.truncate(whole.len() * 6 / 10);
    folder.write("cut.json.gz", &whole);
    let mut readable = Vec::new();
    flate2::read::GzDecoder::new(&whole[..]).read_to_end(&mut readable).unwrap_err();
    let (first, half) = readable.split_at(readable.iter().rposition(|byte| *byte == b'\n').unwrap() + 1);
    let expected = memchr::memchr_iter(b'\n', first).count() as u64;
    assert!((100..400).contains(&expected) && !half.is_empty());

    let (answer, parked) = park(&folder, "cut.json.gz");
    assert_eq!((answer.code, answer.events()), (3, [expected + 1, expected, 0, 0, 1]));
    assert_eq!(answer.sessions("seen"), expected);
    assert_eq!((parked[0].0, &parked[0].2[..]), (expected + 1, half));
    assert_eq!(parked.len(), 2);
    let reason = format!("cannot be read beyond byte {}: incomplete deflate stream", readable.len());
    assert_eq!((parked[1].0, &parked[1].1), (0, &reason));
}

#[test]
fn a_damaged_gzip_file_costs_nothing_before_the_damage() {
    let folder = Folder::new();
    folder.write("a.json.gz", [gzip(lines(&[start(1), start(2)]).as_bytes()), b"no gzip".to_vec()].concat());
    folder.write("b.json.gz", [0x1f, 0x8b]);
    let answer = folder.replay("a.json.gz b.json.gz");
    assert_eq!((answer.code, answer.events()), (3, [2, 2, 0, 0, 0]));
    assert!(answer.err.contains("parked: a.json.gz: cannot be read beyond byte"), "{}", answer.err);
    assert!(answer.err.contains("parked: b.json.gz: cannot be read: "), "{}", answer.err);
}

#[test]
fn half_a_record_at_the_end_is_parked_in_every_format() {
    let folder = Folder::new();
    let (a, b, c) = (start(1).to_string(), start(2).to_string(), start(3).to_string());
    for cut in [1, 9, 40, c.len() / 2, c.len() - 1] {
        let half = &c[..cut];
        for (name, text) in [
            ("lines.json", format!("{a}\n{b}\n{half}")),
            ("array.json", format!("[{a},{b},{half}")),
            ("records.json", format!("{{\"Records\":[{a},\n{b},\n{half}")),
        ] {
            folder.write(name, text);
            let (answer, parked) = park(&folder, name);
            assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]), "{name} cut at {cut}");
            assert_eq!(parked.len(), 1, "one cause is told once");
            assert_eq!((parked[0].0, &parked[0].2[..]), (3, half.as_bytes()), "{name} cut at {cut}");
        }
    }
}

#[test]
fn a_list_that_was_cut_between_two_records_is_noticed() {
    let folder = Folder::new();
    let (a, b) = (start(1), start(2));
    for text in [
        format!("[{a},{b}"),
        format!("[{a},{b},"),
        format!("{{\"Records\":[{a},{b}"),
        format!("{{\"Records\":[{a},{b}]"),
    ] {
        folder.write("cut.json", &text);
        let (answer, parked) = park(&folder, "cut.json");
        assert_eq!((answer.code, answer.events()), (3, [2, 2, 0, 0, 0]), "{text}");
        let reason = format!("cannot be read beyond byte {}: the list of records is not closed", text.len());
        assert_eq!(parked, [(0, reason, Vec::new())]);
    }
}

#[test]
fn invalid_utf8_is_parked_whether_it_would_matter_or_not() {
    let folder = Folder::new();
    for bad in [start(2), other(2)] {
        let mut line = bad.to_string().into_bytes();
        let at = line.iter().position(|byte| *byte == b'-').unwrap();
        line[at] = 0xff;
        for (name, frame) in [("lines.json", ["", "\n", "\n"]), ("records.json", ["{\"Records\":[", ",", "]}"])] {
            let (a, b) = (start(1).to_string(), start(3).to_string());
            let parts: [&[u8]; 7] = [
                frame[0].as_bytes(),
                a.as_bytes(),
                frame[1].as_bytes(),
                &line,
                frame[1].as_bytes(),
                b.as_bytes(),
                frame[2].as_bytes(),
            ];
            folder.write(name, parts.concat());
            let (answer, parked) = park(&folder, name);
            assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]));
            assert_eq!(parked, [(2, format!("not UTF-8 at byte {at} of the record"), line.clone())]);
        }
    }
}

#[test]
fn a_line_of_ten_megabytes_of_garbage_costs_no_other() {
    let folder = Folder::new();
    for garbage in ["x".repeat(10 << 20), "{".repeat(10 << 20), "{\"a\":\"".to_owned() + &"y ".repeat(5 << 20)] {
        folder.write("long.json", format!("{}\n{garbage}\n{}\n", start(1), start(2)));
        let (answer, parked) = park(&folder, "long.json");
        assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]));
        assert_eq!((parked.len(), parked[0].0), (1, 2));
        assert_eq!(parked[0].2, garbage.trim_end().as_bytes());
    }
}

#[test]
fn a_record_with_a_field_of_ten_megabytes_is_read() {
    let folder = Folder::new();
    let mut long = forwarding(2);
    long["additionalEventData"] = serde_json::json!({ "text": "z".repeat(10 << 20) });
    for (name, text) in [("lines.json", lines(&[start(1), long.clone(), end(3, 1)])), ("file.json", records(&[long]))] {
        folder.write(name, text);
        let answer = folder.replay(name);
        assert_eq!((answer.code, answer.sessions("violating")), (0, 1), "{}", answer.err);
    }
}

#[test]
fn a_file_of_ten_megabytes_in_one_line_is_read_record_by_record() {
    let folder = Folder::new();
    let padding = "p".repeat(1_500);
    let events: Vec<_> = (0..6_000)
        .map(|n| {
            let mut event = if n % 10 == 0 { start(n) } else { other(n) };
            event["padding"] = padding.as_str().into();
            event
        })
        .collect();
    let text = records(&events);
    assert!(text.len() > 10 << 20 && !text.contains('\n'));
    folder.write("one.json", &text);
    folder.write("one.json.gz", gzip(text.as_bytes()));
    for name in ["one.json", "one.json.gz"] {
        let answer = folder.replay(name);
        assert_eq!((answer.code, answer.events()), (0, [6_000, 600, 5_400, 0, 0]));
        assert_eq!(answer.sessions("open"), 600);
    }
}

#[test]
fn what_is_no_object_is_parked() {
    let folder = Folder::new();
    for (value, reason) in [
        ("42", "not an object"),
        ("\"StartSession\"", "not an object"),
        ("null", "not an object"),
        ("true", "not an object"),
        ("nonsense", "not a CloudTrail record: "),
    ] {
        folder.write("lines.json", format!("{}\n{value}\n{}\n", start(1), start(2)));
        let (answer, parked) = park(&folder, "lines.json");
        assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]), "{value}");
        assert_eq!((parked[0].0, &parked[0].2[..]), (2, value.as_bytes()));
        assert!(parked[0].1.starts_with(reason), "{value}: {}", parked[0].1);

        folder.write("array.json", format!("[{},{value},{}]", start(1), start(2)));
        let (answer, parked) = park(&folder, "array.json");
        assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]), "{value} in an array");
        assert_eq!((parked[0].0, &parked[0].2[..]), (2, value.as_bytes()));
    }
}

#[test]
fn several_records_in_one_line_are_all_read() {
    let folder = Folder::new();
    let pair = |n| format!("{}{} ", start(n), start(n + 1));
    folder.write("a.json", format!("{}\n{}\n{}\n", pair(1), pair(3), pair(5)));
    folder.write("b.json", format!("{}\n{}\n{}\n", start(7), pair(8), pair(10)));
    folder.write("c.json", format!("{}\n{}}}\n", start(12), start(13)));
    let answer = folder.replay("a.json b.json");
    assert_eq!((answer.code, answer.events()), (0, [11, 11, 0, 0, 0]));
    let (answer, parked) = park(&folder, "c.json");
    assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]));
    assert_eq!((parked[0].0, &parked[0].2[..]), (2, &b"}"[..]));
}

#[test]
fn harmless_oddities_change_nothing() {
    let folder = Folder::new();
    let events = [start(1), forwarding(2), other(3), end(4, 1)];
    let (plain, file) = (lines(&events), records(&events));
    let members: Vec<u8> = events.iter().flat_map(|event| gzip(format!("{event}\n").as_bytes())).collect();
    folder.write("empty/a.json", "");
    let cases: [(&str, Vec<u8>); 9] = [
        ("plain.json", plain.clone().into()),
        ("mark.json", format!("\u{feff}{plain}").into()),
        ("mark-file.json", format!("\u{feff}{file}").into()),
        ("mark.json.gz", gzip(format!("\u{feff}{file}").as_bytes())),
        ("crlf.json", plain.replace('\n', "\r\n").into()),
        ("blank.json", format!("\n\n  {}\t\n \r\n", plain.replace('\n', "\n\n")).into()),
        ("members.json.gz", members),
        ("no-feed.json", plain.trim_end().into()),
        ("pretty.json", format!("{:#}\r\n{:#}\r\n{:#}\r\n{:#}", events[0], events[1], events[2], events[3]).into()),
    ];
    for (name, bytes) in cases {
        folder.write(name, bytes);
        let answer = folder.replay(name);
        assert_eq!((answer.code, answer.events()), (0, [4, 3, 1, 0, 0]), "{name}: {}", answer.err);
        let sessions = ["seen", "open", "violating"].map(|key| answer.sessions(key));
        assert_eq!(sessions, [2, 1, 1], "{name}");
        assert_eq!(answer.err, "", "{name}");
    }
}

#[test]
fn an_empty_file_is_no_error_but_is_told() {
    let folder = Folder::new();
    folder.write("empty.json", "");
    folder.write("empty.json.gz", gzip(b""));
    for name in ["empty.json", "empty.json.gz"] {
        let answer = folder.replay(name);
        assert_eq!((answer.code, answer.events()), (0, [0; 5]));
        assert_eq!(answer.err, "warning: no CloudTrail events found\n");
    }
    let answer = folder.run("replay --format json -", b"");
    assert_eq!((answer.code, answer.events()), (0, [0; 5]));
}

#[test]
fn nul_bytes_are_parked() {
    let folder = Folder::new();
    folder.write("tail.json", [lines(&[start(1)]).as_bytes(), &[0; 4096]].concat());
    let (answer, parked) = park(&folder, "tail.json");
    assert_eq!((answer.code, answer.events()), (3, [2, 1, 0, 0, 1]));
    assert_eq!((parked[0].0, parked[0].2.len()), (2, 4096));

    folder.write("inside.json", format!("{}\n{}\0\n{}\n", start(1), start(2), start(3)));
    let (answer, parked) = park(&folder, "inside.json");
    assert_eq!((answer.code, answer.events()), (3, [4, 3, 0, 0, 1]));
    assert_eq!((parked[0].0, &parked[0].2[..]), (3, &b"\0"[..]));
}

#[test]
fn deep_nesting_is_parked_and_kills_nothing() {
    let folder = Folder::new();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let mut policy = start(3);
    policy["eventSource"] = "iam.amazonaws.com".into();
    policy["eventName"] = "UpdateAssumeRolePolicy".into();
    let deep = |event: &serde_json::Value, key: &str| {
        let mut event = event.clone();
        event[key]["deep"] = "@".into();
        event.to_string().replace("\"@\"", &format!("{open}{close}"))
    };
    for value in [
        open.clone(),
        format!("{open}{close}"),
        "{\"a\":".repeat(100_000),
        deep(&start(3), "requestParameters"),
        deep(&start(3), "userIdentity"),
        deep(&start(3), "tlsDetails"),
        deep(&policy, "requestParameters"),
    ] {
        folder.write("deep.json", format!("{}\n{value}\n{}\n", start(1), start(2)));
        let (answer, parked) = park(&folder, "deep.json");
        assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]), "{}", &value[..20]);
        assert_eq!(parked[0].1, "not a CloudTrail record: nested too deeply");
        assert!(parked[0].2.len() >= 99_999, "{}", parked[0].2.len());
    }
    // What does not matter is not parsed, however deep.
    folder.write("deep.json", deep(&other(3), "tlsDetails"));
    let answer = folder.replay("deep.json");
    assert_eq!((answer.code, answer.events()), (0, [1, 0, 1, 0, 0]));
}

#[test]
fn many_things_that_cannot_be_read_are_all_kept_and_some_are_shown() {
    let folder = Folder::new();
    let text: String = (0..300).flat_map(|n| [start(n).to_string(), format!("\n{{\"broken\":{n}\n")]).collect();
    folder.write("many.json", text);
    let answer = folder.replay("many.json --parked parked.jsonl");
    assert_eq!((answer.code, answer.events()), (3, [600, 300, 0, 0, 300]));
    assert_eq!(answer.err.lines().count(), 21, "{}", answer.err);
    assert!(answer.err.ends_with("parked: and 280 more\n"), "{}", answer.err);
    let parked = folder.lines("parked.jsonl");
    assert_eq!((parked.len(), answer.json()["parked"].as_array().unwrap().len()), (300, 100));
    for (n, one) in parked.iter().enumerate() {
        assert_eq!((&one["record"], &one["content"]), (&(2 * n + 2).into(), &format!("{{\"broken\":{n}").into()));
    }
}

#[test]
fn more_than_can_be_named_are_still_counted() {
    let folder = Folder::new();
    folder.write("many.json", "{x\n".repeat(100_050) + &lines(&[start(1)]));
    let answer = folder.replay("many.json --parked parked.jsonl");
    assert_eq!((answer.code, answer.events()), (3, [100_051, 1, 0, 0, 100_050]));
    let parked = folder.lines("parked.jsonl");
    assert_eq!(parked.len(), 100_001);
    assert_eq!(parked[100_000]["reason"], "50 more records could not be read; too many to name each");
}

#[test]
fn a_value_longer_than_is_read_costs_no_other() {
    let folder = Folder::new();
    let mut long = start(2);
    long["additionalEventData"] = "z".repeat(65 << 20).into();
    for (name, text) in [
        ("lines.json", lines(&[start(1), long.clone(), start(3)])),
        ("file.json", records(&[start(1), long.clone(), start(3)])),
    ] {
        folder.write(name, text);
        let (answer, parked) = park(&folder, name);
        assert_eq!((answer.code, answer.events()), (3, [3, 2, 0, 0, 1]), "{name}");
        assert_eq!((parked[0].0, &*parked[0].1), (2, "longer than 67108864 bytes"));
        assert!(long.to_string().as_bytes().starts_with(&parked[0].2) && parked[0].2.len() == 1 << 20);
    }
}
