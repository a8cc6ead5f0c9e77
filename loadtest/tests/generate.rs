//! What `generate` writes, counted again by a naive reader.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::Read,
    path::Path,
};

use clap::Parser;
use serde_json::Value;
use sessionwarden_loadtest::{generate, stream::PLACES_MAX};
use sessionwarden_machine::{
    decode::{Decoded, Decoder},
    ids::EventId,
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: generate::Args,
}

fn try_generate(out: &Path, more: &str) -> anyhow::Result<Value> {
    let out = out.to_str().unwrap();
    let words = ["generate", "--out", out].into_iter().chain(more.split_whitespace());
    let truth = generate::run(&Cli::try_parse_from(words)?.args)?;
    Ok(serde_json::to_value(truth)?)
}

/// The output and the truth of it.
fn generate(more: &str) -> (Vec<u8>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("stream");
    let truth = try_generate(&out, more).unwrap();
    (fs::read(&out).unwrap(), truth)
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let text = bytes.strip_suffix(b"\n").unwrap_or_default();
    if text.is_empty() { Vec::new() } else { text.split(|byte| *byte == b'\n').collect() }
}

fn records(bytes: &[u8]) -> Vec<Value> {
    lines(bytes).into_iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn threats() -> BTreeSet<(String, String)> {
    Decoder::catalogue().map(|(_, source, name)| (source.to_owned(), name.to_owned())).collect()
}

/// Counts as the truth counts, from nothing but the records.
fn recount(records: &[Value]) -> Value {
    let threats = threats();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut ids = HashSet::new();
    let (mut relevant, mut duplicate, mut relevant_duplicate) = (0, 0, 0);
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_document: BTreeMap<String, u64> = BTreeMap::new();
    let (mut seen, mut over, mut violating) = (HashSet::new(), HashSet::new(), HashSet::new());
    for record in records {
        let (source, name) = (text(&record["eventSource"]), text(&record["eventName"]));
        let matters = threats.contains(&(source.clone(), name.clone()));
        let again = !ids.insert(text(&record["eventID"]));
        duplicate += u64::from(again);
        if !matters {
            continue;
        }
        relevant += 1;
        relevant_duplicate += u64::from(again);
        *by_name.entry(name.clone()).or_default() += 1;
        let request = &record["requestParameters"];
        let place = |id: &Value| format!("{} {} {id}", record["recipientAccountId"], record["awsRegion"]);
        match (&*source, &*name) {
            ("ssm.amazonaws.com", "StartSession") => {
                let session = place(&record["responseElements"]["sessionId"]);
                let document = request["documentName"].as_str().unwrap_or("SSM-SessionManagerRunShell");
                let document = document.rsplit('/').next().unwrap();
                if !request["target"].as_str().unwrap().starts_with(['i', 'm'])
                    || document != "SSM-SessionManagerRunShell"
                {
                    violating.insert(session.clone());
                }
                if seen.insert(session) {
                    *by_document.entry(document.to_owned()).or_default() += 1;
                }
            }
            ("ssm.amazonaws.com", "TerminateSession") => drop(over.insert(place(&request["sessionId"]))),
            _ => {}
        }
    }
    serde_json::json!({
        "events": records.len(), "relevant": relevant, "duplicate": duplicate,
        "relevant_duplicate": relevant_duplicate, "relevant_by_name": by_name,
        "sessions": {
            "seen": seen.len(), "open": seen.difference(&over).count(), "violating": violating.len(),
            "by_document": by_document,
        },
    })
}

#[test]
fn the_truth_is_what_a_naive_reader_counts() {
    for more in [
        "--events 20000 --relevant 0.2 --sessions 1500 --accounts 7 --seed 3 --tampering 300",
        "--events 5000 --relevant 1 --sessions 5000 --accounts 20",
        "--events 5000 --relevant 1 --sessions 3000 --ended 1 --duplicates 0.3 --disorder 0.5",
        "--events 3000 --relevant 1 --sessions 1 --ended 1 --accounts 1",
        "--events 2000 --relevant 0 --sessions 0",
        "--events 500 --relevant 1 --sessions 0",
        "--events 0 --sessions 0",
    ] {
        let (bytes, truth) = generate(more);
        assert_eq!(recount(&records(&bytes)), truth, "{more}");
    }
}

#[test]
fn the_arguments_are_met() {
    let (_, truth) = generate("--events 20000 --relevant 0.2 --sessions 1500 --duplicates 0.05 --violating 0.3");
    assert_eq!((&truth["events"], &truth["relevant"]), (&20_000.into(), &4_000.into()));
    assert_eq!((&truth["duplicate"], &truth["relevant_duplicate"]), (&1_000.into(), &200.into()));
    let sessions = &truth["sessions"];
    assert_eq!(
        (&sessions["seen"], &sessions["open"], &sessions["violating"]),
        (&1_500.into(), &600.into(), &450.into())
    );
    let (_, truth) = generate("--events 4000 --relevant 1 --sessions 4000");
    assert_eq!(truth["sessions"]["open"], 4_000);
    assert_eq!(truth["relevant_by_name"], serde_json::json!({ "StartSession": 4_000 }));
}

#[test]
fn the_decoder_finds_the_same_events() {
    let (bytes, truth) = generate("--events 20000 --relevant 0.2 --sessions 1500 --tampering 500");
    let decoder = Decoder::default();
    let mut relevant = 0;
    for line in lines(&bytes) {
        decoder.decode(line, &mut |decoded| match decoded {
            Decoded::Relevant(_) => relevant += 1,
            Decoded::Ignored(_) => {}
            Decoded::Poison(why) => panic!("{why}: {}", String::from_utf8_lossy(line)),
        });
    }
    assert_eq!(truth["relevant"], relevant);
}

#[test]
fn events_have_their_real_size() {
    for seed in 0..6 {
        for more in [
            "--relevant 0 --sessions 0",
            "--relevant 0.01 --sessions 100",
            "--relevant 0.5 --sessions 3000 --accounts 500",
            "--relevant 1 --sessions 5000",
            "--relevant 1 --sessions 10000",
        ] {
            let (bytes, _) = generate(&format!("--events 10000 --seed {seed} {more}"));
            let mean = bytes.len() / 10_000;
            assert!((1_500..=1_700).contains(&mean), "{mean} bytes with seed {seed} and {more}");
        }
    }
}

#[test]
fn equal_arguments_give_equal_bytes() {
    let args = "--events 5000 --relevant 0.3 --sessions 500 --tampering 50 --seed 9";
    let first = generate(args);
    assert_eq!(first, generate(args));
    assert_ne!(first.0, generate(&args.replace("--seed 9", "--seed 10")).0);
    let zipped = generate(&format!("{args} --gzip"));
    assert_eq!(zipped, generate(&format!("{args} --gzip")));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&zipped.0[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(first.0, plain);
}

/// Measurements are comparable only as long as this holds: change the digest together with what the stream is made of.
#[test]
fn a_seed_means_the_same_stream_on_every_machine() {
    let (bytes, _) = generate("--events 3000 --relevant 0.5 --tampering 200 --seed 42");
    assert_eq!(EventId::of_content(&bytes).to_string(), "b89eea4a-5b77-581f-96b2-9bcfd6d6b40b");
}

#[test]
fn a_plain_call_needs_no_arguments_but_the_file() {
    let (bytes, truth) = generate("--events 600");
    assert_eq!((lines(&bytes).len(), &truth["sessions"]["seen"]), (600, &2.into()));
}

#[test]
fn every_format_holds_the_same_events() {
    let args = "--events 600 --relevant 0.3 --sessions 60";
    let count = |format: &str| generate(&format!("{args} --format {format}"));
    let (bytes, truth) = count("ndjson");
    let one = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let wrapped = one(&count("records").0);
    assert_eq!(wrapped["Records"], Value::from(records(&bytes)));
    assert_eq!(one(&count("array").0), Value::from(records(&bytes)));
    let (bytes, envelope_truth) = count("envelope");
    assert_eq!(envelope_truth, truth);
    let envelopes = records(&bytes);
    for envelope in &envelopes {
        let detail = &envelope["detail"];
        assert_eq!(envelope["account"], detail["recipientAccountId"]);
        assert_eq!((&envelope["region"], &envelope["time"]), (&detail["awsRegion"], &detail["eventTime"]));
        let source = envelope["source"].as_str().unwrap().strip_prefix("aws.").unwrap();
        assert_eq!(detail["eventSource"], format!("{source}.amazonaws.com"));
    }
    let details: Vec<Value> = envelopes.iter().map(|envelope| envelope["detail"].clone()).collect();
    assert_eq!(Value::from(details), wrapped["Records"]);
}

#[test]
fn records_look_like_cloudtrail() {
    let (bytes, _) = generate("--events 5000 --relevant 0.3 --sessions 500 --tampering 200");
    let mut nested = 0;
    for line in lines(&bytes) {
        let text = std::str::from_utf8(line).unwrap();
        let order = [
            "\"eventVersion\":",
            "\"userIdentity\":",
            "\"eventTime\":",
            "\"eventSource\":",
            "\"eventName\":",
            "\"awsRegion\":",
            "\"requestParameters\":",
            "\"responseElements\":",
        ];
        let places: Vec<_> =
            order.iter().map(|key| text.find(key).unwrap_or_else(|| panic!("{key} in {text}"))).collect();
        assert!(places.is_sorted(), "{text}");
        nested += usize::from(text.contains("{\\\"Version\\\""));
    }
    assert!(nested > 20, "policy documents as nested strings: {nested}");
    let athena = records(&bytes)
        .iter()
        .filter(|record| record["eventSource"] == "athena.amazonaws.com" && record["eventName"] == "StartSession")
        .count();
    assert!(athena > 20, "another service's StartSession: {athena}");
}

#[test]
fn disorder_moves_some_events_by_some_hundred_places() {
    let times = |disorder: &str| -> Vec<String> {
        let (bytes, _) = generate(&format!(
            "--events 20000 --relevant 0.1 --sessions 500 --duplicates 0 --events-per-second 1 --disorder {disorder}"
        ));
        records(&bytes).iter().map(|record| record["eventTime"].as_str().unwrap().to_owned()).collect()
    };
    let sorted = times("0");
    assert!(sorted.is_sorted());
    let moved = times("0.05");
    assert!(!moved.is_sorted());
    let mut places: Vec<&String> = moved.iter().collect();
    places.sort();
    assert!(places.into_iter().eq(&sorted), "nothing is lost or added");
    let distance = moved.iter().enumerate().map(|(at, time)| at.abs_diff(sorted.binary_search(time).unwrap())).max();
    let distance = distance.unwrap() as u64;
    assert!((100..=PLACES_MAX + 1).contains(&distance), "{distance}");
}

#[test]
fn sessions_live_in_a_sensible_order_without_disorder() {
    let (bytes, _) = generate("--events 5000 --relevant 1 --sessions 900 --ended 1 --disorder 0 --duplicates 0");
    let mut live: HashSet<Value> = HashSet::new();
    for record in records(&bytes) {
        let session = record["responseElements"]["sessionId"].clone();
        match record["eventName"].as_str().unwrap() {
            "StartSession" => assert!(live.insert(session)),
            "ResumeSession" => assert!(live.contains(&session), "{record}"),
            "TerminateSession" => assert!(live.remove(&session), "{record}"),
            other => panic!("{other}"),
        }
    }
    assert!(live.is_empty());
}

#[test]
fn trouble_gathers_in_some_accounts() {
    let (bytes, _) = generate("--events 20000 --relevant 0.1 --sessions 1000 --accounts 100 --duplicates 0");
    let mut by_account: BTreeMap<String, u32> = BTreeMap::new();
    for record in records(&bytes) {
        let document = record["requestParameters"]["documentName"].as_str().unwrap_or_default();
        if record["eventName"] == "StartSession" && document.contains("Port") {
            *by_account.entry(record["recipientAccountId"].to_string()).or_default() += 1;
        }
    }
    let most = by_account.values().max().copied().unwrap_or_default();
    assert!(most >= 5 && by_account.len() > 5, "{by_account:?}");
}

#[test]
fn the_truth_is_written_beside_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (out, file) = (folder.path().join("stream.ndjson.gz"), folder.path().join("truth.json"));
    let truth = try_generate(&out, &format!("--events 100 --sessions 1 --truth {}", file.display())).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap(), truth);
    assert!(fs::read(&out).unwrap().starts_with(&[0x1f, 0x8b]), "a name that ends in .gz is compressed");
}

#[test]
fn what_cannot_be_done_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let said = |out: &Path, more: &str| format!("{:#}", try_generate(out, more).unwrap_err());
    let nowhere = folder.path().join("no/such/folder");
    let text = said(&nowhere, "--events 10 --sessions 0");
    assert!(text.starts_with("cannot create ") && text.contains("no/such/folder"), "{text}");
    let text = said(&folder.path().join("x"), "--events 10 --relevant 0.5 --sessions 6");
    assert!(text.starts_with("6 sessions need as many relevant events"), "{text}");
    let text = said(&folder.path().join("x"), "--events 10 --relevant 1.5");
    assert!(text.contains("a share is a number from 0 to 1"), "{text}");
    let same = folder.path().join("x");
    let text = said(&same, &format!("--truth {}", same.display()));
    assert!(text.starts_with("--truth and --out name the same file"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    for more in ["--events 5000", "--events 100", "--events 5000 --gzip"] {
        let error = try_generate(Path::new("/dev/full"), &format!("{more} --sessions 1")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("/dev/full") && text.contains("No space left on device"), "{text}");
    }
}
