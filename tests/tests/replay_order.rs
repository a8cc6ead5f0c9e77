//! I4: the same events in any order, with any repetition, split over files of any format and read by any number of
//! threads, give the same answer and the same finding ids; and the answer is the truth that the generator knows.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sessionwarden::{
    input::expand,
    policy,
    replay::{Options, Period, replay},
};
use sessionwarden_loadtest::{
    generate::{self, Args},
    sink::Format,
    stream::Truth,
};
use sessionwarden_machine::settings::Settings;

fn stream(out: &Path, events: u64, seed: u64, format: Format) -> Truth {
    let args = Args {
        events,
        relevant: 0.25,
        sessions: Some(events / 15),
        accounts: 9,
        seed,
        out: out.to_owned(),
        duplicates: 0.05,
        disorder: 0.3,
        violating: 0.2,
        ended: 0.6,
        tampering: events / 60,
        events_per_second: 20,
        format,
        gzip: false,
        truth: None,
        snapshot: None,
    };
    generate::run(&args).unwrap()
}

/// What a replay says, apart from what it cost, and every record of its feed.
#[derive(Debug, PartialEq)]
struct Answer {
    result: Value,
    findings: BTreeSet<String>,
}

impl Answer {
    /// Takes the counts of events out: those of input that was repeated differ.
    fn take_events(&mut self) -> [u64; 5] {
        let events = self.result.as_object_mut().unwrap().remove("events").unwrap();
        ["read", "relevant", "ignored", "duplicate", "poison"].map(|key| events[key].as_u64().unwrap())
    }

    fn ids(&self) -> BTreeSet<String> {
        let id = |line: &String| {
            serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
        };
        self.findings.iter().map(id).collect()
    }
}

fn ask(paths: &[&Path], threads: usize) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let feed = folder.path().join("feed.jsonl");
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let options = Options {
        judge: policy::load(None, None).unwrap(),
        settings: Settings { activity: true, ..Settings::default() },
        snapshot: None,
        period: Period::default(),
        threads,
        feed: Some(feed.clone()),
        parked: None,
    };
    let summary = replay(&expand(&paths).unwrap(), &options, &|_| {}).unwrap();
    let mut result = serde_json::to_value(summary).unwrap();
    for key in ["bytes", "cpu_seconds", "peak_rss_bytes"] {
        result.as_object_mut().unwrap().remove(key).unwrap();
    }
    let text = fs::read_to_string(feed).unwrap();
    let findings: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(findings.len(), text.lines().count(), "nothing is reported twice");
    Answer { result, findings }
}

fn write_lines(path: &Path, lines: &[&str]) {
    let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut out = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap();
    } else {
        fs::write(path, text).unwrap();
    }
}

/// Deals the lines out to `count` files at random; every third is gzipped.
fn split(folder: &Path, lines: &[&str], count: usize, rng: &mut ChaCha8Rng) -> PathBuf {
    let mut piles = vec![Vec::new(); count];
    for line in lines {
        piles[rng.random_range(0..count)].push(*line);
    }
    let folder = folder.join(format!("split-{count}-{}", rng.random::<u32>()));
    fs::create_dir(&folder).unwrap();
    for (n, pile) in piles.iter().enumerate() {
        write_lines(&folder.join(format!("{n}.json{}", if n % 3 == 0 { ".gz" } else { "" })), pile);
    }
    folder
}

#[test]
fn order_repetition_split_format_and_threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let truth = stream(&file("lines.json"), 20_000, 3, Format::Ndjson);
    stream(&file("records.json"), 20_000, 3, Format::Records);
    stream(&file("array.json"), 20_000, 3, Format::Array);
    stream(&file("envelopes.json"), 20_000, 3, Format::Envelope);
    let text = fs::read_to_string(file("lines.json")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut shuffled = lines.clone();
    shuffled.shuffle(&mut rng);
    write_lines(&file("shuffled.json"), &shuffled);
    let pretty: Vec<_> =
        shuffled.iter().map(|line| format!("{:#}", serde_json::from_str::<Value>(line).unwrap())).collect();
    fs::write(file("pretty.json"), pretty.join("\n")).unwrap();
    let parts = split(folder.path(), &shuffled, 7, &mut rng);

    let expected = ask(&[&file("lines.json")], 1);
    let counts = ["seen", "open", "violating"].map(|key| expected.result["sessions"][key].as_u64().unwrap());
    assert_eq!(counts, [truth.sessions.seen, truth.sessions.open, truth.sessions.violating]);
    let distinct = truth.relevant - truth.relevant_duplicate;
    let events = [truth.events, distinct, truth.events - truth.relevant, truth.relevant_duplicate, 0];
    assert_eq!(ask(&[&file("lines.json")], 1).take_events(), events);
    assert!(counts[2] > 100 && expected.result["incidents"].as_u64().unwrap() > 10, "{}", expected.result);
    assert!(expected.result["accounts"]["over_threshold"].as_u64().unwrap() > 0, "{}", expected.result);
    assert_eq!(expected.ids().len(), expected.findings.len(), "every record has an id of its own");

    for name in ["lines.json", "shuffled.json", "pretty.json", "records.json", "array.json", "envelopes.json"] {
        for threads in [1, 2, 4] {
            assert!(ask(&[&file(name)], threads) == expected, "{name} with {threads} threads");
        }
    }
    for threads in [1, 2, 4] {
        assert!(ask(&[&parts], threads) == expected, "seven files with {threads} threads");
    }
}

#[test]
fn every_line_twice_gives_the_same_verdicts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let truth = stream(&file("lines.json"), 20_000, 4, Format::Ndjson);
    let text = fs::read_to_string(file("lines.json")).unwrap();
    let twice: Vec<_> = text.lines().flat_map(|line| [line, line]).collect();
    write_lines(&file("twice.json"), &twice);
    fs::copy(file("lines.json"), file("copy.json")).unwrap();
    let mut once = ask(&[&file("lines.json")], 2);
    once.take_events();
    let distinct = truth.relevant - truth.relevant_duplicate;
    for paths in [vec![file("twice.json")], vec![file("lines.json"), file("copy.json")]] {
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        let mut answer = ask(&paths, 2);
        let ignored = 2 * (truth.events - truth.relevant);
        let duplicate = 2 * truth.relevant - distinct;
        assert_eq!(answer.take_events(), [2 * truth.events, distinct, ignored, duplicate, 0]);
        assert!(answer == once, "{paths:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_small_history_can_be_shuffled_repeated_and_split(
        seed in 0_u64..1_000, shuffle: u64, files in 1_usize..9, again in 0.0..0.5, threads in 1_usize..5,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.json");
        stream(&whole, 600, seed, Format::Ndjson);
        let mut rng = ChaCha8Rng::seed_from_u64(shuffle);
        let text = fs::read_to_string(&whole).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        let repeated: Vec<_> = lines.iter().copied().filter(|_| rng.random_bool(again)).collect();
        lines.extend(&repeated);
        lines.shuffle(&mut rng);
        let parts = split(folder.path(), &lines, files, &mut rng);
        let (mut expected, mut answer) = (ask(&[&whole], 1), ask(&[&parts], threads));
        let (once, all) = (expected.take_events(), answer.take_events());
        prop_assert_eq!((all[0], all[1]), (once[0] + repeated.len() as u64, once[1]));
        prop_assert_eq!(answer.result, expected.result);
        prop_assert!(answer.findings == expected.findings);
    }
}
