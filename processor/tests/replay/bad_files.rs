//! Files, folders and patterns that are not what they should be.

use std::fs;

use crate::{Folder, lines, records, start};

#[test]
fn a_missing_file_is_a_usage_error_that_names_it() {
    let folder = Folder::new();
    folder.write("good.json", lines(&[start(1)]));
    for missing in ["missing.json", "missing/too.json", "good.json/below"] {
        let answer = folder.replay(&format!("good.json {missing}"));
        assert_eq!((answer.code, &*answer.out), (2, ""));
        assert!(answer.err.starts_with(&format!("sessionwarden: {missing}: ")), "{}", answer.err);
    }
}

#[test]
fn a_folder_without_events_is_a_usage_error_that_names_it() {
    let folder = Folder::new();
    folder.write("docs/readme.md", "no events");
    fs::create_dir(folder.path("empty")).unwrap();
    for name in ["docs", "empty"] {
        let answer = folder.replay(name);
        assert_eq!((answer.code, &*answer.out), (2, ""));
        assert!(answer.err.contains(&format!("{name}: no event files in this folder")), "{}", answer.err);
        assert!(answer.err.contains(".json"), "says which names it looks for: {}", answer.err);
    }
    // In a pattern's folders, some may be empty.
    folder.write("full/a.json", lines(&[start(1)]));
    assert_eq!(folder.replay("[def]*").events(), [1, 1, 0, 0, 0]);
}

#[test]
fn a_pattern_that_fits_nothing_is_a_usage_error_that_names_it() {
    let folder = Folder::new();
    for (pattern, why) in [("*.json", "no file fits this pattern"), ("a[.json", "attern")] {
        let answer = folder.replay(pattern);
        assert_eq!((answer.code, &*answer.out), (2, ""));
        assert!(answer.err.starts_with(&format!("sessionwarden: {pattern}: ")), "{}", answer.err);
        assert!(answer.err.contains(why), "{}", answer.err);
    }
}

/// The tests may run as root, whom no permission stops; a file whose reading fails stands in for one.
#[cfg(target_os = "linux")]
#[test]
fn an_unreadable_file_does_not_cost_the_others() {
    let folder = Folder::new();
    folder.write("in/a.json", lines(&[start(1)]));
    folder.write("in/d.json", records(&[start(2)]));
    std::os::unix::fs::symlink("/proc/self/mem", folder.path("in/b.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path("in/c.json")).unwrap();
    std::os::unix::fs::symlink("loop.json", folder.path("loop.json")).unwrap();
    for line in ["in loop.json", "in/*.json loop.json", "in/a.json in/d.json in/b.json in/c.js[o]n loop.json"] {
        let answer = folder.replay(&format!("{line} --parked parked.jsonl"));
        assert_eq!((answer.code, answer.events()), (3, [2, 2, 0, 0, 0]), "{line}: {}", answer.err);
        for (name, why) in [("in/b.json", "Input/output error"), ("in/c.json", "No such file"), ("loop.json", "")] {
            assert!(answer.err.contains(&format!("parked: {name}: cannot be read: {why}")), "{}", answer.err);
        }
        let parked = folder.lines("parked.jsonl");
        assert_eq!(parked.len(), 3);
        assert!(parked.iter().all(|one| one["record"] == 0), "{parked:?}");
    }
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let folder = Folder::new();
    folder.write("in/a.json", lines(&[start(1)]));
    folder.write("in/sub/b.json", lines(&[start(2)]));
    for line in ["in in/a.json", "in/**", "./in in/sub/../a.json", "in/a.json in/a.json in/sub"] {
        assert_eq!(folder.replay(line).events(), [2, 2, 0, 0, 0], "{line}");
    }
}

#[test]
fn thousands_of_small_files_are_read() {
    let folder = Folder::new();
    for n in 0..3_000 {
        folder.write(&format!("in/{:02}/{n}.json", n % 50), records(&[start(n)]));
    }
    folder.write("in/07/bad.json", "{");
    let answer = folder.replay("in");
    assert_eq!((answer.code, answer.events()), (3, [3_001, 3_000, 0, 0, 1]));
    assert_eq!(answer.sessions("seen"), 3_000);
    assert!(answer.err.contains("in/07/bad.json: record 1 (byte 0)"), "{}", answer.err);
}
