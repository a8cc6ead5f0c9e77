//! Where events come from.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::Stdio,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::child::{
    Running, command, events, feed, finish, json_run, replayed, run, shared, summary, text, wait_for, write_lines,
};

fn gz(path: &Path, content: &str) {
    let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

fn parts(folder: &Path, events: &[String]) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::create_dir(folder.join("sub")).unwrap();
    let third = events.len() / 3;
    write_lines(&folder.join("a.jsonl"), &events[..third]);
    let records: Vec<Value> =
        events[third..2 * third].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    gz(&folder.join("sub/b.json.gz"), &json!({ "Records": records }).to_string());
    fs::write(folder.join("c.json"), format!("[{}]", events[2 * third..].join(",\n"))).unwrap();
    vec![path("a.jsonl"), path("sub/b.json.gz"), path("c.json")]
}

#[test]
fn a_run_comes_to_the_same_as_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(6_000);
    let file = folder.path().join("all.jsonl").display().to_string();
    write_lines(Path::new(&file), &events);
    fs::create_dir(folder.path().join("parts")).unwrap();
    let parts_folder = folder.path().join("parts");
    let parts = parts(&parts_folder, &events);
    let all = replayed(&[&file]);
    assert!(all["sessions"]["violating"].as_u64().unwrap() > 100 && all["incidents"].as_u64().unwrap() > 2, "{all}");
    assert!(all["events"]["duplicate"].as_u64().unwrap() > 20 && all["accounts"]["over_threshold"] != 0, "{all}");
    for source in [vec![&*file], vec![parts_folder.to_str().unwrap()], parts.iter().map(String::as_str).collect()] {
        let expected = replayed(&source);
        let data = tempfile::tempdir().unwrap();
        let mut args = vec!["--format", "json"];
        for path in &source {
            args.extend(["--source", path]);
        }
        let (found, code) = summary(&run(data.path(), &args));
        assert_eq!((shared(&found), code), (shared(&expected), 0), "{source:?}");
        assert_eq!(shared(&found)["sessions"], shared(&all)["sessions"]);
    }
}

#[test]
fn standard_input_is_read_plain_and_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(1_500);
    let plain = folder.path().join("e.jsonl");
    write_lines(&plain, &events);
    let compressed = folder.path().join("e.gz");
    gz(&compressed, &fs::read_to_string(&plain).unwrap());
    let data = tempfile::tempdir().unwrap();
    // The second time into the same folder: what was read before is nothing new, and the counts are of this run.
    for path in [&plain, &compressed, &plain] {
        let mut command = command(data.path(), &["--source", "-", "--format", "json"]);
        command.stdin(fs::File::open(path).unwrap());
        let (found, code) = summary(&finish(command));
        assert_eq!((shared(&found), code), (shared(&replayed(&[path.to_str().unwrap()])), 0));
    }
    let mut fed = command(data.path(), &["--source", "-", "--format", "json"]);
    let mut running = Running::start(fed.stdin(Stdio::piped()));
    drop(running.child.stdin.take());
    assert_eq!(summary(&running.end()).0["events"]["read"], 0);
}

#[test]
fn what_was_read_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, data) = (folder.path().join("e.jsonl"), folder.path().join("data"));
    let events = events(900);
    write_lines(&source, &events[..600]);
    let source = source.to_str().unwrap();
    let first = json_run(&data, source);
    let (feed_before, audit_before) = (fs::read(data.join("feed.ocsf.jsonl")).unwrap(), data.join("audit.jsonl"));
    let audit_before = fs::read(audit_before).unwrap();
    let second = json_run(&data, source);
    assert_eq!(shared(&second.0), shared(&first.0));
    assert_eq!(fs::read(data.join("feed.ocsf.jsonl")).unwrap(), feed_before);
    assert_eq!(fs::read(data.join("audit.jsonl")).unwrap(), audit_before);
    // What was added since is read, and repetitions of what was read before are known as such.
    write_lines(Path::new(source), &events);
    assert_eq!(shared(&json_run(&data, source).0), shared(&replayed(&[source])));
}

#[test]
fn another_file_under_the_same_name_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (source, data) = (folder.path().join("e.jsonl"), folder.path().join("data"));
    let events = events(900);
    write_lines(&source, &events[..500]);
    json_run(&data, source.to_str().unwrap());
    write_lines(&source, &events[500..]);
    let (found, _) = json_run(&data, source.to_str().unwrap());
    let all = folder.path().join("all.jsonl");
    write_lines(&all, &events);
    let expected = replayed(&[all.to_str().unwrap()]);
    assert_eq!(found["sessions"], expected["sessions"]);
    assert_eq!((&found["bytes"], &found["events"]["read"]), (&expected["bytes"], &expected["events"]["read"]));
}

#[test]
fn a_follower_picks_up_lines_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let events = events(900);
    let begun = folder.path().join("a.jsonl");
    write_lines(&begun, &events[..300]);
    let source = folder.path().to_str().unwrap();
    let running = Running::start(&mut command(data.path(), &["--source", source, "--follow", "--format", "json"]));
    let address = running.address();
    let read = || -> u64 {
        let status: Value = serde_json::from_str(&crate::child::get(address, "/status").1).unwrap();
        status["counts"]["records_read"].as_u64().unwrap()
    };
    wait_for("the first lines", || read() == 300);
    let mut file = OpenOptions::new().append(true).open(&begun).unwrap();
    // A line in two parts is taken in once it is whole.
    let (head, tail) = events[300].split_at(100);
    file.write_all(head.as_bytes()).unwrap();
    write_lines(&folder.path().join("b.json"), &events[301..600]);
    gz(&folder.path().join("c.json.gz"), &(events[600..].join("\n") + "\n"));
    wait_for("the new files", || read() == 899);
    file.write_all(format!("{tail}\n").as_bytes()).unwrap();
    wait_for("the rest of the line", || read() == 900);
    running.signal("TERM");
    let (found, code) = summary(&running.end());
    assert_eq!(code, 0);
    let expected = replayed(&[source]);
    assert_eq!(shared(&found)["sessions"], shared(&expected)["sessions"]);
    assert_eq!(shared(&found)["events"], shared(&expected)["events"]);
}

#[test]
fn to_enforce_without_an_organisation_only_plans() {
    let folder = tempfile::tempdir().unwrap();
    let (source, data) = (folder.path().join("e.jsonl"), folder.path().join("data"));
    write_lines(&source, &events(900));
    let source = source.to_str().unwrap();
    let output = run(&data, &["--source", source, "--mode", "enforce"]);
    assert_eq!(output.status.code(), Some(0));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(err.contains("recorded as planned"), "{err}");
    assert_eq!(err.matches("SW-LOG-01 is not evaluated").count(), 1, "{err}");
    assert!(out.contains("Not evaluated, because only an organisation could give the evidence"), "{out}");
    let feed = feed(&data.join("feed.ocsf.jsonl"));
    let remedies: Vec<_> = feed.values().filter(|record| record["class_uid"] == 7001).collect();
    assert!(remedies.len() > 10);
    assert!(remedies.iter().all(|remedy| remedy["status_code"] == "planned"), "{remedies:?}");
}
