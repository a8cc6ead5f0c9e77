//! What cannot be read is parked with its place and reason, and the rest is read.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::child::{events, json_run, replayed, run, shared, text, write_lines};

struct Case {
    folder: tempfile::TempDir,
    source: PathBuf,
}

impl Case {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("e.jsonl");
        fs::write(&source, content).unwrap();
        Self { folder, source }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn parked(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.data().join("parked.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs twice: the second start knows what the first has told.
    fn run(&self) -> Value {
        let source = self.source.to_str().unwrap();
        let (found, code) = json_run(&self.data(), source);
        assert_eq!(code, 3, "{found}");
        assert_eq!(shared(&found), shared(&replayed(&[source])));
        let parked = self.parked();
        let (again, code) = json_run(&self.data(), source);
        assert_eq!((shared(&again), code), (shared(&found), 3));
        assert_eq!(self.parked(), parked, "nothing is parked twice");
        found
    }
}

// I12
#[test]
fn poison_lines_are_parked_and_the_rest_is_read() {
    let mut lines = events(300);
    lines.insert(10, "not json at all".to_owned());
    lines.insert(20, "42".to_owned());
    lines.insert(30, format!("{}{}", lines[31], lines[32]));
    lines.insert(40, lines[41].replace("\"eventTime\":\"2026", "\"eventTime\":\"never"));
    let mut bytes = (lines.join("\n") + "\n").into_bytes();
    bytes.extend_from_slice(b"{\"eventName\":\"StartSession\",\"x\":\"\xff\xfe\"}\n");
    let case = Case::new(&bytes);
    let found = case.run();
    assert!(found["events"]["poison"].as_u64().unwrap() >= 3, "{found}");
    let parked = case.parked();
    assert_eq!(parked.len() as u64, found["events"]["poison"].as_u64().unwrap());
    assert_eq!((&parked[0]["record"], &parked[0]["content"]), (&11.into(), &"not json at all".into()), "{parked:?}");
    for one in &parked {
        assert!(one["file"] == case.source.to_str().unwrap() && !one["reason"].as_str().unwrap().is_empty(), "{one}");
    }
    assert!(parked.iter().any(|one| one["content_hex"].is_string()), "bytes that are no text are kept");
}

#[test]
fn half_a_line_at_the_end_is_parked() {
    let content = events(100).join("\n");
    let case = Case::new(&content.as_bytes()[..content.len() - 40]);
    let found = case.run();
    assert_eq!((&found["events"]["read"], &found["events"]["poison"]), (&100.into(), &1.into()));
}

#[test]
fn a_list_that_is_not_closed_is_told() {
    let case = Case::new(format!("{{\"Records\":[{}", events(100).join(",")).as_bytes());
    let found = case.run();
    assert_eq!(found["events"]["read"], 100);
    assert!(case.parked()[0]["reason"].as_str().unwrap().contains("not closed"), "{:?}", case.parked());
}

#[test]
fn a_truncated_gzip_is_read_as_far_as_it_goes() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all((events(600).join("\n") + "\n").as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let case = Case::new(&whole[..whole.len() / 2]);
    let found = case.run();
    assert!((50..600).contains(&found["events"]["read"].as_u64().unwrap()), "{found}");
}

#[test]
fn a_line_of_ten_megabytes_is_no_trouble() {
    let mut lines = events(50);
    lines.insert(25, format!("{{\"eventName\":\"GetObject\",\"x\":\"{}\"}}", "y".repeat(10 << 20)));
    lines.insert(26, lines[1].replacen('{', &format!("{{\"pad\":\"{}\",", "z".repeat(10 << 20)), 1));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &lines);
    let (found, code) = json_run(&folder.path().join("data"), source.to_str().unwrap());
    assert_eq!((shared(&found), code), (shared(&replayed(&[source.to_str().unwrap()])), 0));
}

#[test]
fn what_is_not_there_is_a_mistake_and_what_cannot_be_read_is_parked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(folder.path().join("empty")).unwrap();
    for missing in ["none.json", "none*.json", "empty"] {
        let path = folder.path().join(missing);
        let output = run(&data, &["--source", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(missing), "{}", text(&output.stderr));
        assert!(!data.exists(), "nothing has started");
    }
    let closed = folder.path().join("closed.json");
    write_lines(&closed, &events(10));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&closed).is_ok() {
        eprintln!("not run: this user reads everything");
        return;
    }
    let (found, code) = json_run(&data, closed.to_str().unwrap());
    assert_eq!((code, &found["parked"][0]["file"]), (3, &closed.to_str().unwrap().into()));
}

#[test]
fn an_empty_file_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.json");
    fs::write(&source, "").unwrap();
    let (found, code) = json_run(&folder.path().join("data"), source.to_str().unwrap());
    assert_eq!((&found["events"]["read"], code), (&0.into(), 0));
    assert!(Path::new(&folder.path().join("data/feed.ocsf.jsonl")).exists());
}
