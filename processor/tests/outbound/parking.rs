//! Records that could not be read, in a queue.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use aws_smithy_types::base64;
use sessionwarden::{
    input::{Parked, ParkedError, Parking, StreamPlace},
    outbound::ParkedQueue,
    ports::CallError,
};

use super::{OWN, config, server};

const KEPT_MAX: usize = 200 * 1_024;

fn parked(sequence: &str, reason: &str, content: &[u8]) -> Parked {
    Parked {
        file: format!("events/shardId-000000000001/{sequence}"),
        record: 1,
        byte: 0,
        reason: reason.to_owned(),
        bytes: None,
        stream: Some(StreamPlace {
            stream: "events".into(),
            shard: "shardId-000000000001".into(),
            sequence: sequence.into(),
        }),
        content: Some(content.to_owned()),
    }
}

/// What is in the queue, by sequence number: text and attributes.
async fn all(client: &Client, url: &str, count: usize) -> BTreeMap<String, (String, BTreeMap<String, String>)> {
    let mut found = BTreeMap::new();
    for _ in 0..20 {
        let call = client.receive_message().queue_url(url).message_attribute_names("All").max_number_of_messages(10);
        for message in call.visibility_timeout(60).send().await.unwrap().messages() {
            let attributes = message.message_attributes().into_iter().flatten();
            let attributes: BTreeMap<String, String> =
                attributes.map(|(name, value)| (name.clone(), value.string_value().unwrap().to_owned())).collect();
            let key = attributes.get("sequence").or(attributes.get("file")).unwrap().clone();
            found.insert(key, (message.body().unwrap().to_owned(), attributes));
        }
        if found.len() >= count {
            break;
        }
    }
    found
}

/// I12
#[tokio::test]
async fn parked_records_come_back_byte_for_byte_with_their_place_and_reason() {
    let Some(server) = server() else { return };
    let config = config(&server.url, OWN).await;
    let client = Client::new(&config);
    let made = client.create_queue().queue_name("parked").send().await.unwrap();
    let url = made.queue_url().unwrap().to_owned();
    let queue = ParkedQueue::new(&config, &*url);
    let (long, binary) = ("ü<&>\"".repeat(60_000), (0..=255).cycle().take(700_000).collect::<Vec<u8>>());
    let records: [(&str, &[u8], &str); 8] = [
        ("1", b"{\"half\": ", "text"),
        ("2", "tab\t line\r\n ü \u{fffd} \u{10ffff} <&>\"".as_bytes(), "text"),
        ("3", b"\x1b[31m\x00", "base64"),
        ("4", b"\xf3\x89\x9a\xc2\xff", "base64"),
        ("5", "\u{fffe}".as_bytes(), "base64"),
        ("6", long.as_bytes(), "text"),
        ("7", &binary, "base64"),
        ("8", b"", "text"),
    ];
    for (sequence, content, _) in records {
        queue.park(&parked(sequence, "malformed:\u{1} \u{ffff}ü", content)).await.unwrap();
    }
    // Of an oversized record the caller has only the beginning.
    queue.park(&Parked { bytes: Some(10_485_760), ..parked("9", "", b"x") }).await.unwrap();
    let file = Parked { record: 7, stream: None, ..parked("", "cut off", b"x") };
    queue.park(&Parked { file: "a.json".to_owned(), ..file }).await.unwrap();

    let found = all(&client, &url, 10).await;
    assert_eq!(found.len(), 10);
    for (sequence, content, encoding) in records {
        let (body, attributes) = &found[sequence];
        let at = |name: &str| attributes[name].as_str();
        assert_eq!((at("source"), at("stream"), at("shard")), ("records", "events", "shardId-000000000001"));
        assert_eq!((at("sequence"), at("encoding")), (sequence, encoding));
        assert_eq!((at("reason"), at("bytes")), ("malformed:   ü", &*content.len().to_string()));
        let kept = if encoding == "text" { body.clone().into_bytes() } else { base64::decode(body).unwrap() };
        match content.len() {
            0 => assert_eq!(body, "(empty)"),
            1..KEPT_MAX => assert_eq!(kept, content, "{sequence}"),
            _ => {
                assert!(content.starts_with(&kept), "{sequence}");
                assert!((KEPT_MAX - 10..=KEPT_MAX).contains(&body.len()), "{sequence}: {}", body.len());
            }
        }
    }
    assert_eq!(found["9"].1["bytes"], "10485760");
    assert!(!found["9"].1.contains_key("reason"));
    let place = &found["a.json"].1;
    assert_eq!((place["record"].as_str(), place.contains_key("stream")), ("7", false));
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_an_error() {
    let Some(server) = server() else { return };
    let queue = ParkedQueue::new(&config(&server.url, OWN).await, format!("{}/{OWN}/missing", server.url));
    assert_eq!(queue.park(&parked("1", "why", b"x")).await, Err(CallError::Gone));
    let mut parking = Parking::from(queue);
    let error = parking.park(&parked("1", "why", b"x")).await.unwrap_err();
    assert!(matches!(error, ParkedError::Queue { why: CallError::Gone, .. }), "{error}");
    parking.sync().unwrap();
}
