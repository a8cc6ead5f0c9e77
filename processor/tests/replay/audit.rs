//! `sessionwarden audit verify`: what it says, and how it ends.

use std::fs;

use sessionwarden::audit::{AuditEntry, AuditFile, AuditKind};
use sessionwarden_machine::ids::Now;

use crate::Folder;

fn trail(folder: &Folder, name: &str, records: i64) {
    let mut file = AuditFile::open(&folder.path(name)).unwrap();
    for n in 0..records {
        let entry = AuditEntry::new(Now(n), AuditKind::Decision, format!("e{n}"), &n).unwrap();
        file.append(&[entry]).unwrap();
    }
    file.sync().unwrap();
}

#[test]
fn a_whole_trail_verifies() {
    let folder = Folder::new();
    trail(&folder, "audit.jsonl", 3);
    let answer = folder.run("audit verify audit.jsonl", b"");
    assert_eq!((answer.code, &*answer.err), (0, ""));
    assert!(answer.out.starts_with("audit.jsonl: 3 records, every one in its place\n"), "{}", answer.out);
    let answer = folder.run("audit verify --format json audit.jsonl", b"");
    let head = answer.json()["head_hash"].as_str().unwrap().to_owned();
    assert_eq!((answer.code, &answer.json()["records"]), (0, &3.into()));

    trail(&folder, "audit.jsonl", 2);
    let answer = folder.run(&format!("audit verify audit.jsonl --head {head}"), b"");
    assert_eq!(answer.code, 0, "the file may have grown: {}", answer.err);
}

#[test]
fn damage_is_told_with_its_line() {
    let folder = Folder::new();
    trail(&folder, "audit.jsonl", 3);
    let text = folder.read("audit.jsonl");
    for (damaged, line) in [
        (text.replace("\"e1\"", "\"e9\""), 2),
        (text.split_inclusive('\n').filter(|line| !line.contains("\"e1\"")).collect(), 2),
        (text[..text.len() - 5].to_owned(), 3),
    ] {
        fs::write(folder.path("damaged.jsonl"), damaged).unwrap();
        let answer = folder.run("audit verify damaged.jsonl", b"");
        assert_eq!((answer.code, &*answer.out), (1, ""));
        assert!(answer.err.starts_with(&format!("sessionwarden: damaged.jsonl: line {line}: ")), "{}", answer.err);
    }
}

#[test]
fn a_trail_that_was_cut_off_is_told_by_its_remembered_head() {
    let folder = Folder::new();
    trail(&folder, "audit.jsonl", 3);
    let head = folder.run("audit verify --format json audit.jsonl", b"").json()["head_hash"].clone();
    let kept: String = folder.read("audit.jsonl").split_inclusive('\n').take(2).collect();
    folder.write("cut.jsonl", kept);
    assert_eq!(folder.run("audit verify cut.jsonl", b"").code, 0, "a chain alone cannot show it");
    let answer = folder.run(&format!("audit verify cut.jsonl --head {}", head.as_str().unwrap()), b"");
    assert_eq!((answer.code, &*answer.out), (1, ""));
    assert!(answer.err.contains("cut.jsonl: none of its 2 records has the remembered head hash"), "{}", answer.err);
}

#[test]
fn a_missing_trail_is_a_usage_error() {
    let answer = Folder::new().run("audit verify missing.jsonl", b"");
    assert_eq!((answer.code, &*answer.out), (2, ""));
    assert!(answer.err.contains("missing.jsonl: No such file or directory"), "{}", answer.err);
}

#[test]
fn a_downloaded_trail_is_checked_in_its_folder() {
    let folder = Folder::new();
    trail(&folder, "whole.jsonl", 5);
    let whole = folder.read("whole.jsonl");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for (name, of) in [("2024/08/31/w-1/01.jsonl", 0..2), ("2024/09/01/w-1/03.jsonl", 2..5)] {
        let path = folder.path("trail").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, lines[of].concat()).unwrap();
    }
    let answer = folder.run("audit verify trail", b"");
    assert_eq!((answer.code, &*answer.err), (0, ""));
    assert!(answer.out.starts_with("trail: 5 records in 1 chain, every one in its place\n"), "{}", answer.out);
    assert!(answer.out.contains("\nw-1: 5 records in 2 objects\n"), "{}", answer.out);
    let json = folder.run("audit verify --format json trail", b"").json();
    assert_eq!((&json["records"], &json["chains"][0]["objects"]), (&5.into(), &2.into()));

    let answer = folder.run("audit verify trail/2024/09", b"");
    assert_eq!((answer.code, &*answer.out), (1, ""));
    assert!(
        answer.err.contains("03.jsonl: line 1: record 1 should stand here, but this is record 3"),
        "{}",
        answer.err
    );
    let answer = folder.run("audit verify trail/2024/09 --partial", b"");
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(answer.out.contains("\nw-1: 3 records in 1 object, from record 3 on\n"), "{}", answer.out);
    fs::create_dir(folder.path("empty")).unwrap();
    assert_eq!(folder.run("audit verify empty", b"").code, 2);
}
