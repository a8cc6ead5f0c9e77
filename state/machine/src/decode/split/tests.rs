use proptest::prelude::*;

use super::*;

/// All pieces of `input`, fed in chunks of `chunk` bytes: (whole, text).
fn pieces(input: &[u8], chunk: usize) -> Vec<(bool, String)> {
    let (mut splitter, mut buffer, mut out, mut fed) = (Splitter::default(), Vec::new(), Vec::new(), 0);
    for _ in 0..100_000 {
        let (piece, done) = splitter.next(&buffer, fed == input.len());
        match &piece {
            Piece::Whole(at) => out.push((true, String::from_utf8_lossy(&buffer[at.clone()]).into_owned())),
            Piece::Broken(at) | Piece::TooLong(at) => {
                out.push((false, String::from_utf8_lossy(&buffer[at.clone()]).into_owned()));
            }
            Piece::More => {}
            Piece::End => return out,
        }
        buffer.drain(..done);
        if piece == Piece::More {
            let next = (fed + chunk).min(input.len());
            buffer.extend_from_slice(&input[fed..next]);
            fed = next;
        }
    }
    panic!("the splitter does not come to an end");
}

fn whole(texts: &[&str]) -> Vec<(bool, String)> {
    texts.iter().map(|text| (true, (*text).to_owned())).collect()
}

#[test]
fn every_format_is_split() {
    let (a, b, c) = (r#"{"a":{"x":"}{\"["}}"#, r#"{"b":[1,{"y":2}]}"#, r#"{"c":"\\"}"#);
    for text in [
        format!("{a}\n{b}\r\n\n{c}\n"),
        format!("{a}\n{b}\n{c}"),
        format!("[{a},{b},\n {c}]"),
        format!("{{\"Records\":[{a},{b},{c}]}}"),
        format!(" {{ \"Records\" : [\n{a},\n{b},\n{c} ] , \"more\" : {{\"x\":[]}} }}\n"),
        format!("{a}{b} {c}"),
        format!("[{a}]\n{{\"Records\":[{b}]}}\n{c}\n"),
    ] {
        for chunk in [1, 2, 7, 4096] {
            assert_eq!(pieces(text.as_bytes(), chunk), whole(&[a, b, c]), "{text} in chunks of {chunk}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let (a, b) = (r#"{"a":1}"#, r#"{"b":2}"#);
    for text in [
        format!("\u{feff}{a}\n{b}\n"),
        format!("\u{feff}{{\"Records\":[{a},{b}]}}"),
        format!("\u{feff}[{a},{b}]\r\n"),
        format!("{a}\n\u{feff}{b}"),
    ] {
        for chunk in [1, 2, 3, 4096] {
            assert_eq!(pieces(text.as_bytes(), chunk), whole(&[a, b]), "{text:?} in chunks of {chunk}");
        }
    }
    assert_eq!(pieces(b"\xEF\xBB", 1).len(), 1);
}

/// Gives the splitter a value that it has already called too long, and what follows.
fn after_too_long(rest: &[u8], chunk: usize) -> Vec<(bool, String)> {
    let mut long = b"[{\"a\":\"".to_vec();
    long.resize(VALUE_BYTES_MAX + 16, b'x');
    let mut splitter = Splitter::default();
    let (piece, done) = splitter.next(&long, false);
    assert!(matches!(piece, Piece::TooLong(_)) && done == long.len());
    let (mut buffer, mut fed, mut out) = (Vec::new(), 0, Vec::new());
    loop {
        let (piece, done) = splitter.next(&buffer, fed == rest.len());
        match &piece {
            Piece::Whole(at) => out.push((true, String::from_utf8_lossy(&buffer[at.clone()]).into_owned())),
            Piece::Broken(at) | Piece::TooLong(at) => {
                out.push((false, String::from_utf8_lossy(&buffer[at.clone()]).into_owned()));
            }
            Piece::More => {}
            Piece::End => return out,
        }
        buffer.drain(..done);
        if piece == Piece::More {
            let next = (fed + chunk).min(rest.len());
            buffer.extend_from_slice(&rest[fed..next]);
            fed = next;
        }
    }
}

#[test]
fn what_follows_a_value_that_is_too_long_is_not_lost() {
    let (b, c) = (r#"{"b":2}"#, r#"{"c":3}"#);
    for chunk in [1, 3, 4096] {
        let same_line = format!("\\\"]}}\\\\\",\"y\":[{{}}]}},{b},{c}]");
        assert_eq!(after_too_long(same_line.as_bytes(), chunk), whole(&[b, c]));
        let next_line = format!("xxx\n{b},\n{c}]");
        assert_eq!(after_too_long(next_line.as_bytes(), chunk), whole(&[b, c]));
        assert_eq!(after_too_long(b"xxx", chunk), []);
    }
}

#[test]
fn how_much_is_in_the_buffer_does_not_change_what_is_too_long() {
    let (a, b) = (r#"{"a":1}"#, r#"{"b":2}"#);
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(VALUE_BYTES_MAX));
    for text in [format!("{a}\n{long}\n{b}\n"), format!("[{a},{long},{b}]")] {
        for chunk in [10 << 20, 512 << 20] {
            let found = pieces(text.as_bytes(), chunk);
            assert_eq!(found.len(), 3, "in chunks of {chunk}");
            assert_eq!((&found[0], found[1].0, &found[2]), (&whole(&[a])[0], false, &whole(&[b])[0]));
        }
    }
}

#[test]
fn an_open_list_is_known() {
    for (text, open) in [
        ("[{\"a\":1},", true),
        ("[{\"a\":1}]", false),
        ("{\"Records\":[{\"a\":1}]", true),
        ("{\"Records\":[{\"a\":1}]}", false),
        ("{\"a\":1}\n", false),
    ] {
        let (mut splitter, mut at) = (Splitter::default(), 0);
        loop {
            let (piece, done) = splitter.next(&text.as_bytes()[at..], true);
            at += done;
            if piece == Piece::End {
                break;
            }
        }
        assert_eq!(splitter.is_inside(), open, "{text}");
    }
}

#[test]
fn values_over_many_lines_are_kept_together() {
    let (a, b) = ("{\n  \"a\": {\n    \"x\": 1\n  }\n}", "{\n \"b\": [\n{\"y\": 2}\n]\n}");
    assert_eq!(pieces(format!("{a}\n{b}\n").as_bytes(), 5), whole(&[a, b]));
}

#[test]
fn a_broken_record_costs_no_other() {
    let cases = [
        ("{\"a\":1}\n{\"b\":\n{\"c\":3}\n", vec![(true, "{\"a\":1}"), (false, "{\"b\":"), (true, "{\"c\":3}")]),
        ("{\"a\":1}\n{\"b\":\"x\n{\"c\":3}\n", vec![(true, "{\"a\":1}"), (false, "{\"b\":\"x"), (true, "{\"c\":3}")]),
        ("{\"a\":1}\n{\"b\":2,\n{\"c\":3}\n", vec![(true, "{\"a\":1}"), (false, "{\"b\":2"), (true, "{\"c\":3}")]),
        ("{\"a\":1}\nnonsense\n{\"c\":3}", vec![(true, "{\"a\":1}"), (false, "nonsense"), (true, "{\"c\":3}")]),
        ("{\"a\":1}\n{\"b\":{\"x\":", vec![(true, "{\"a\":1}"), (false, "{\"b\":{\"x\":")]),
        ("[{\"a\":1}}},\n{\"b\":2}]", vec![(true, "{\"a\":1}"), (false, "}}"), (true, "{\"b\":2}")]),
        ("[{\"a\":1},{\"b\":]},{\"c\":3}]", vec![(true, "{\"a\":1}"), (false, "{\"b\":]}"), (true, "{\"c\":3}")]),
        ("{\"Records\":[{\"a\":1},{\"b\":", vec![(true, "{\"a\":1}"), (false, "{\"b\":")]),
        ("[1,\"x\",{\"a\":1}]", vec![(false, "1,\"x\""), (true, "{\"a\":1}")]),
        ("[1,2]\n{\"a\":1}", vec![(false, "1,2"), (true, "{\"a\":1}")]),
        (
            "[{\"a\":\n{\"x\":1}\n{\n\"b\":[2]\n},\n {\"c\":3}]",
            vec![(false, "{\"a\":"), (true, "{\"x\":1}"), (true, "{\n\"b\":[2]\n}"), (true, "{\"c\":3}")],
        ),
    ];
    for (text, expected) in cases {
        let expected: Vec<_> = expected.into_iter().map(|(whole, text)| (whole, text.to_owned())).collect();
        assert_eq!(pieces(text.as_bytes(), 4096), expected, "{text}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Into::into),
        "[a-z{}\\[\\]\",:\\\\ \n]{0,8}".prop_map(Into::into),
        Just(serde_json::Value::Null)
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,3}", value, 0..4)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

proptest! {
    #[test]
    fn any_values_in_any_frame_come_out_as_they_went_in(
        values in prop::collection::vec((json(), any::<bool>()), 1..6),
        frame in 0..4,
        chunk in 1..64_usize,
    ) {
        let texts: Vec<String> = values.iter().map(|(value, pretty)| {
            if *pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
        }).collect();
        let input = match frame {
            0 => texts.join("\n"),
            1 => format!("[{}]", texts.join(" ,\n")),
            2 => format!("{{\"Records\": [{}]}}", texts.join(",")),
            _ => texts.concat(),
        };
        let expected: Vec<_> = texts.into_iter().map(|text| (true, text)).collect();
        prop_assert_eq!(pieces(input.as_bytes(), chunk), expected);
    }

    #[test]
    fn no_bytes_make_it_panic_or_lose_its_way(input in prop::collection::vec(
        prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b','),
                    Just(b':'), Just(b'\n'), Just(b' '), any::<u8>()], 0..64), chunk in 1..9_usize) {
        pieces(&input, chunk);
    }
}
