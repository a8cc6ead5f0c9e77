use proptest::{prelude::*, sample::select};

use super::{super::log_object_key, *};

/// Any JSON, three levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// The full document with members that nobody knows.
fn any_document() -> impl Strategy<Value = Value> {
    (any_json(), any_json(), any_json()).prop_map(|(top, input, properties)| {
        let document = changed(&full(), "/inputs/zone", input);
        changed(&changed(&document, "/zone", top), "/properties", properties)
    })
}

/// The document as text, each object's members in an order and with white space that `choices` decides on.
fn write(value: &Value, choices: &mut impl Iterator<Item = u8>, text: &mut String) {
    let mut space =
        |text: &mut String| text.push_str(["", " ", "\n\t", "\r\n  "][usize::from(choices.next().unwrap() % 4)]);
    space(text);
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, usize::from(choices.next().unwrap()) % (at + 1));
            }
            text.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                text.extend([&json!(name).to_string(), " :"]);
                write(member, choices, text);
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for (at, element) in elements.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(element, choices, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
    text.push(' ');
}

/// A known input's path, and values of it that are not as wanted.
fn any_change() -> impl Strategy<Value = (&'static str, Value)> {
    let other = any::<String>().prop_map(|text| json!(format!("{text}!")));
    let texts = ["s3BucketName", "s3KeyPrefix", "cloudWatchLogGroupName", "kmsKeyId", "runAsDefaultUser"];
    let flags = ["s3EncryptionEnabled", "cloudWatchEncryptionEnabled", "cloudWatchStreamingEnabled", "runAsEnabled"];
    let no = vec![json!(false), json!("false"), json!("F"), json!(""), json!("{{ chosen }}"), Value::Null];
    prop_oneof![
        (select(texts.to_vec()), other.clone()),
        (select(texts.to_vec()), Just(Value::Null)),
        (select(flags.to_vec()), select(no)),
        (Just("idleSessionTimeout"), (16_u32..=60).prop_map(|minutes| json!(minutes.to_string()))),
        (Just("maxSessionDuration"), (61_u32..=1_440).prop_map(Value::from)),
        (select(vec!["shellProfile/linux", "shellProfile/windows"]), other),
    ]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String) {
        prop_assert!(SessionDocument::parse(&text).is_err());
    }

    #[test]
    fn arbitrary_inputs_never_panic(name in "[a-zA-Z3]{1,4}|idleSessionTimeout|shellProfile|runAsEnabled", value in any_json()) {
        let (one, two) = (parse(&with(&json!({name.as_str(): value}))), parse(&with(&json!({name.as_str(): value}))));
        prop_assert_eq!(&one, &two);
        if let Ok(document) = one {
            prop_assert!(wanted().differences(&document, account(), REGION).is_some_and(|found| found.len() >= 10));
        }
    }

    /// TH26: what is put back is as wanted, whatever stood there, and what nobody wants is kept.
    #[test]
    fn what_is_put_back_is_as_wanted(
        name in "[a-zA-Z3]{1,4}|idleSessionTimeout|maxSessionDuration|shellProfile|runAsEnabled|cloudWatchLogGroupName",
        value in any_json(),
        text: String,
    ) {
        let present = with(&json!({name.as_str(): value})).to_string();
        for present in [None, Some(&*present), Some(&*text)] {
            let put_back = wanted().restored(present, account(), REGION).unwrap();
            let document = SessionDocument::parse(&put_back.to_string()).unwrap();
            prop_assert_eq!(wanted().differences(&document, account(), REGION), Some(Vec::new()));
            let again = wanted().restored(Some(&put_back.to_string()), account(), REGION);
            prop_assert_eq!(again, Some(put_back));
        }
    }

    #[test]
    fn a_broken_document_never_panics(at in 0_usize..700, byte in 0_u8..128) {
        let mut content = full().to_string().into_bytes();
        let at = at % content.len();
        content[at] = byte;
        let broken = String::from_utf8(content).unwrap();
        if let Err(error) = SessionDocument::parse(&broken) {
            prop_assert!(!error.to_string().is_empty());
        }
        let cut = &full().to_string()[..at];
        prop_assert!(SessionDocument::parse(cut).is_err());
    }

    /// TH26: writing the same document in another way is no change.
    #[test]
    fn order_and_white_space_do_not_change_the_hash(document in any_document(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut text = String::new();
        write(&document, &mut choices.into_iter().cycle(), &mut text);
        prop_assert_eq!(SessionDocument::parse(&text), parse(&document));
    }

    /// TH26: no known input can change unnoticed, neither by the fields nor by the hash.
    #[test]
    fn a_changed_input_is_a_difference((name, value) in any_change()) {
        let document = parse(&changed(&full(), &format!("/inputs/{name}"), value)).unwrap();
        let found = wanted().differences(&document, account(), REGION).unwrap();
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert!(found[0].starts_with(&name.replace('/', ".")), "{:?}", found);
        prop_assert_ne!(document.hash, parse(&full()).unwrap().hash);
    }

    /// R-G7: a key is clean, and stays as it is when it is cleaned again.
    #[test]
    fn keys_are_clean(prefix in "[/.a:]{0,12}", session in "[a:]{1,6}") {
        let key = log_object_key(&prefix, &session);
        prop_assert!(!key.contains("//") && !key.contains("/./"), "{}", key);
        prop_assert_eq!(key.starts_with('/'), prefix.starts_with('/'));
        let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
        let again = if key.starts_with('/') && directory.is_empty() { "/" } else { directory };
        prop_assert_eq!(log_object_key(again, &session), key);
    }
}
