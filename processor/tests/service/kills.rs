//! A kill at any moment, and a start on the same data folder.

use std::fs;

use crate::child::{
    Running, command, events, expected_feed, feed, json_run, keys, replayed, shared, verify_audit, wait_for,
    write_lines,
};

// I2
#[test]
fn a_kill_loses_nothing_and_tells_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (source, data) = (folder.path().join("e.jsonl"), folder.path().join("data"));
    write_lines(&source, &events(6_000));
    let source = source.to_str().unwrap();
    let expected = expected_feed(source);
    assert!(expected.len() > 800, "{}", expected.len());
    let feed_file = data.join("feed.ocsf.jsonl");
    let size = || fs::metadata(&feed_file).map_or(0, |found| found.len());
    let whole: u64 = expected.values().map(|record| record.to_string().len() as u64 + 1).sum();
    let mut killed = 0;
    // Each start is killed once the feed has grown by a little more; the first before it has done anything.
    for share in 0..8 {
        let mut running = Running::start(&mut command(&data, &["--source", source, "--format", "json"]));
        let enough = whole * share / 8;
        wait_for("the feed to grow", || size() >= enough || running.has_ended());
        if !running.has_ended() {
            running.signal("KILL");
            killed += usize::from(!running.end().status.success());
        }
    }
    assert!(killed >= 4, "only {killed} were killed before their end");
    let (found, code) = json_run(&data, source);
    assert_eq!((shared(&found), code), (shared(&replayed(&[source])), 0));
    let found = feed(&feed_file);
    assert_eq!(keys(&found), keys(&expected));
    verify_audit(&data);
}
