//! How a run ends, and what keeps one from starting.

use std::{fs, net::TcpListener, path::Path, time::Instant};

use crate::child::{
    Running, command, events, expected_feed, feed, finish, json_run, keys, replayed, run, shared, summary, text,
    verify_audit, wait_for, write_lines,
};

#[test]
fn the_demonstration_ends_by_its_time_and_by_signals() {
    for ending in ["--for", "INT", "TERM"] {
        let data = tempfile::tempdir().unwrap();
        let args: &[&str] =
            if ending == "--for" { &["--format", "json", "--for", "2s"] } else { &["--format", "json"] };
        let begun = Instant::now();
        let running = Running::start(&mut command(data.path(), args));
        if ending == "--for" {
            let output = running.end();
            assert!((2.0..8.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
            assert_ended(data.path(), &output);
            continue;
        }
        running.address();
        let feed_file = data.path().join("feed.ocsf.jsonl");
        wait_for("the first report", || fs::metadata(&feed_file).is_ok_and(|found| found.len() > 0));
        running.signal(ending);
        assert_ended(data.path(), &running.end());
    }
}

fn assert_ended(data: &Path, output: &std::process::Output) {
    let (summary, code) = summary(output);
    assert_eq!(code, 0);
    let events = &summary["events"];
    assert!(events["read"].as_u64().unwrap() >= 1 && summary["bytes"].as_u64().unwrap() > 500, "{summary}");
    assert!(summary["sessions"]["seen"].as_u64().unwrap() >= 1, "{summary}");
    for key in ["accounts", "incidents", "cpu_seconds", "peak_rss_bytes"] {
        assert!(summary.get(key).is_some(), "{key}");
    }
    verify_audit(data);
}

#[test]
fn a_signal_stops_a_follower_with_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &events(300));
    for signal in ["INT", "TERM"] {
        let data = tempfile::tempdir().unwrap();
        let args = ["--source", source.to_str().unwrap(), "--follow", "--format", "json"];
        let running = Running::start(&mut command(data.path(), &args));
        let address = running.address();
        wait_for("the file", || crate::child::get(address, "/status").1.contains("\"records_read\":300"));
        running.signal(signal);
        let (found, code) = summary(&running.end());
        assert_eq!((shared(&found), code), (shared(&replayed(&[source.to_str().unwrap()])), 0));
    }
}

#[test]
fn the_demonstration_begins_anew_with_every_start() {
    let data = tempfile::tempdir().unwrap();
    let first = summary(&run(data.path(), &["--format", "json", "--for", "3s"])).0;
    let second = summary(&run(data.path(), &["--format", "json", "--for", "3s"])).0;
    for summary in [&first, &second] {
        let seen = summary["sessions"]["seen"].as_u64().unwrap();
        assert!((1..=3).contains(&seen), "{summary}");
        assert_eq!(summary["incidents"], 0, "{summary}");
    }
    // And real events in the same folder are not mixed with it.
    let source = data.path().join("e.jsonl");
    write_lines(&source, &events(200));
    let source = source.to_str().unwrap();
    assert_eq!(shared(&json_run(data.path(), source).0), shared(&replayed(&[source])));
    verify_audit(data.path());
}

#[test]
fn a_second_process_on_the_same_folder_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &events(50));
    let follow = ["--source", source.to_str().unwrap(), "--follow"];
    for args in [&follow[..], &[]] {
        let running = Running::start(&mut command(data.path(), args));
        running.address();
        let feed_file = data.path().join("feed.ocsf.jsonl");
        wait_for("the first report", || fs::metadata(&feed_file).is_ok_and(|found| found.len() > 0));
        let second = run(data.path(), args);
        assert_eq!(second.status.code(), Some(1));
        let error = text(&second.stderr);
        assert!(error.contains("in use by another process"), "{error}");
        assert!(error.contains(data.path().to_str().unwrap()), "{error}");
        // Nor may one kind disturb the files of the other.
        let other = run(data.path(), if args.is_empty() { &follow } else { &[] });
        assert_eq!(other.status.code(), Some(1));
        assert!(text(&other.stderr).contains("already being written by another process"), "{}", text(&other.stderr));
        running.signal("TERM");
        assert_eq!(running.end().status.code(), Some(0));
    }
}

#[test]
fn a_taken_port_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path(), &["--for", "1s"]);
    command.env("SESSIONWARDEN_CONSOLE__LISTEN", &address);
    let output = finish(command);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains(&address) && error.contains("`listen` under `[console]`"), "{error}");
}

#[test]
fn a_policy_that_does_not_parse_stops_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy/broken.cedar"), "@id(\"X-1\")\nforbid (principal, action, resource\n")
        .unwrap();
    let data = folder.path().join("data");
    let mut command = command(&data, &["--for", "1s"]);
    command.env("SESSIONWARDEN_POLICY__DIR", folder.path().join("policy"));
    let output = finish(command);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("broken.cedar:"), "{}", text(&output.stderr));
    assert!(!data.exists());
}

#[test]
fn an_expired_waiver_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let waivers = folder.path().join("waivers");
    fs::create_dir(&waivers).unwrap();
    let waiver = "@id(\"W-1\")\n@control(\"SW-DOC-02\")\n@owner(\"ann\")\n@ticket(\"T-1\")\n\
                  @expires(\"2020-01-01T00:00:00Z\")\n\
                  permit (principal, action == Action::\"session\", resource);\n";
    fs::write(waivers.join("old.cedar"), waiver).unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &events(50));
    let mut command = command(&folder.path().join("data"), &["--source", source.to_str().unwrap()]);
    command.env("SESSIONWARDEN_POLICY__WAIVERS_DIR", &waivers);
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(error.contains("old.cedar:") && error.contains("waiver W-1 expired"), "{error}");
}

// I2
#[test]
fn a_full_disk_under_the_feed_stops_and_loses_nothing() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("not run: this system has no /dev/full");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, data) = (folder.path().join("e.jsonl"), folder.path().join("data"));
    write_lines(&source, &events(900));
    let source = source.to_str().unwrap();
    for _ in 0..2 {
        let mut command = command(&data, &["--source", source, "--format", "json"]);
        command.env("SESSIONWARDEN_FEED__FILE", full);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("cannot write to /dev/full: No space left on device"), "{error}");
    }
    let (found, code) = json_run(&data, source);
    assert_eq!((shared(&found), code), (shared(&replayed(&[source])), 0));
    assert_eq!(keys(&feed(&data.join("feed.ocsf.jsonl"))), keys(&expected_feed(source)));
    verify_audit(&data);
}
