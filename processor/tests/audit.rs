//! The audit trail: its chain shows every change, and a crash costs nothing that was synced.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index};
use serde_json::json;
use sessionwarden::audit::{
    AuditEntry, AuditError, AuditFile, AuditKind, Damage, LINE_BYTES_MAX, NO_HASH, verify, verify_folder,
};
use sessionwarden::feed::FileError;
use sessionwarden_machine::ids::Now;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const KINDS: [AuditKind; 5] =
    [AuditKind::Decision, AuditKind::Intent, AuditKind::Effect, AuditKind::Admin, AuditKind::Service];

fn entry(n: usize, text: &str) -> AuditEntry {
    let at = Now(1_722_514_758_000 + n as i64 * 1000);
    AuditEntry::new(at, KINDS[n % KINDS.len()], format!("effect-{n}"), &json!({ "n": n, "text": text })).unwrap()
}

fn write(path: &Path, texts: &[String]) -> Vec<Vec<u8>> {
    let mut file = AuditFile::open(path).unwrap();
    let entries: Vec<_> = texts.iter().enumerate().map(|(n, text)| entry(n, text)).collect();
    file.append(&entries).unwrap();
    file.sync().unwrap();
    lines(path)
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    lines_of(&fs::read(path).unwrap())
}

fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn line_feeds(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn broken(path: &Path) -> (u64, Damage) {
    match verify(path, None) {
        Err(AuditError::Broken { line, damage, .. }) => (line, damage),
        other => panic!("the damage was not seen: {other:?}"),
    }
}

fn scratch() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

#[test]
fn a_line_is_what_the_format_says() {
    let (_folder, path) = scratch();
    let lines = write(&path, &["first".into(), "second\nline".into()]);
    let first = String::from_utf8(lines[0].clone()).unwrap();
    let unsealed = format!(
        r#"{{"seq":1,"at":"2024-08-01T12:19:18Z","prev":"{NO_HASH}","kind":"decision","id":"effect-0","body":{{"n":0,"text":"first"}}}}"#
    );
    let hash = sha256(&unsealed);
    assert_eq!(first, format!("{},\"hash\":\"{hash}\"}}\n", unsealed.strip_suffix('}').unwrap()));

    let second: serde_json::Value = serde_json::from_slice(&lines[1]).unwrap();
    assert_eq!(second["prev"], hash.as_str());
    assert_eq!(second["body"]["text"], "second\nline");

    let summary = verify(&path, None).unwrap();
    assert_eq!(summary.records, 2);
    assert_eq!(summary.first.as_deref(), Some("2024-08-01T12:19:18Z"));
    assert_eq!(summary.last.as_deref(), Some("2024-08-01T12:19:19Z"));
    assert_eq!(summary.head_hash, second["hash"].as_str().unwrap());
}

#[test]
fn an_empty_file_verifies_and_a_missing_one_is_named() {
    let (folder, path) = scratch();
    let file = AuditFile::open(&path).unwrap();
    assert_eq!((file.records(), file.head_hash()), (0, NO_HASH));
    assert_eq!(verify(&path, Some(NO_HASH)).unwrap().records, 0);
    let missing = folder.path().join("missing.jsonl");
    assert!(verify(&missing, None).unwrap_err().to_string().contains("missing.jsonl"));
}

#[test]
fn a_body_that_carries_line_feeds_stays_on_one_line() {
    let (_folder, path) = scratch();
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str("{\n  \"pretty\": [1,\r\n 2]\n}").unwrap();
    let mut file = AuditFile::open(&path).unwrap();
    file.append(&[AuditEntry::new(Now(0), AuditKind::Admin, "raw", &raw).unwrap()]).unwrap();
    assert_eq!(lines(&path).len(), 1);
    assert_eq!(verify(&path, None).unwrap().records, 1);
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_leaves_no_trace() {
    let (_folder, path) = scratch();
    let mut file = AuditFile::open(&path).unwrap();
    let long = AuditEntry::new(Now(0), AuditKind::Effect, "long", &"x".repeat(LINE_BYTES_MAX)).unwrap();
    assert!(matches!(file.append(&[entry(0, "short"), long]), Err(AuditError::TooLong { .. })));
    file.append(&[entry(0, "short")]).unwrap();
    assert_eq!(verify(&path, None).unwrap().records, 1);
}

#[test]
fn the_longest_line_is_read_back() {
    let (_folder, path) = scratch();
    let overhead = {
        let mut file = AuditFile::open(&path).unwrap();
        file.append(&[AuditEntry::new(Now(0), AuditKind::Effect, "long", &"").unwrap()]).unwrap();
        fs::metadata(&path).unwrap().len() as usize
    };
    let longest = "x".repeat(LINE_BYTES_MAX - overhead);
    let mut file = AuditFile::open(&path).unwrap();
    for _ in 0..2 {
        file.append(&[AuditEntry::new(Now(0), AuditKind::Effect, "long", &longest).unwrap()]).unwrap();
    }
    drop(file);
    assert_eq!(lines(&path)[1].len(), LINE_BYTES_MAX);
    assert_eq!(AuditFile::open(&path).unwrap().records(), 3);
    assert_eq!(verify(&path, None).unwrap().records, 3);

    let mut bytes = fs::read(&path).unwrap();
    bytes.splice(overhead..overhead, std::iter::once(b' '));
    fs::write(&path, bytes).unwrap();
    assert_eq!(broken(&path), (2, Damage::TooLong));
}

#[test]
fn one_writer_at_a_time() {
    let (_folder, path) = scratch();
    let first = AuditFile::open(&path).unwrap();
    assert!(matches!(AuditFile::open(&path), Err(AuditError::File(FileError::InUse(_)))));
    drop(first);
    AuditFile::open(&path).unwrap();
}

#[test]
fn a_file_whose_end_does_not_verify_is_not_continued() {
    let (_folder, path) = scratch();
    write(&path, &["a".into(), "b".into(), "c".into()]);
    let good = fs::read(&path).unwrap();
    let edit = |from: &str, to: &str| {
        let text = String::from_utf8(good.clone()).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        match AuditFile::open(&path) {
            Err(AuditError::Broken { line, .. }) => line,
            other => panic!("a broken file was continued: {other:?}"),
        }
    };
    assert_eq!(edit("\"text\":\"c\"", "\"text\":\"C\""), 3);
    assert_eq!(edit("\"text\":\"b\"", "\"text\":\"B\""), 2);
    fs::write(&path, b"not an audit file\n").unwrap();
    let refused = AuditFile::open(&path).unwrap_err().to_string();
    assert!(refused.contains("audit.jsonl: line 1: "), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"not an audit file\n", "a refused file is left as it was");

    let only_last = lines_of(&good).pop().unwrap();
    fs::write(&path, &only_last).unwrap();
    assert!(matches!(
        AuditFile::open(&path),
        Err(AuditError::Broken { line: 1, damage: Damage::Sequence { expected: 1, found: 3 }, .. })
    ));
}

#[test]
fn a_right_hash_does_not_make_a_record() {
    let (_folder, path) = scratch();
    let unsealed = r#"{"seq":1,"who":"me""#;
    let hash = sha256(&format!("{unsealed}}}"));
    fs::write(&path, format!("{unsealed},\"hash\":\"{hash}\"}}\n")).unwrap();
    assert!(matches!(broken(&path), (1, Damage::NotARecord(_))));
}

#[test]
fn a_record_replaced_with_its_hash_shows_in_the_next_line() {
    let (folder, path) = scratch();
    let mut forged = write(&path, &["a".into(), "b".into(), "c".into()]);
    let other = folder.path().join("other.jsonl");
    {
        let mut file = AuditFile::open(&other).unwrap();
        file.append(&[entry(0, "a"), entry(1, "nothing happened")]).unwrap();
    }
    forged[1] = lines(&other).remove(1);
    fs::write(&path, forged.concat()).unwrap();
    assert_eq!(broken(&path), (3, Damage::Chain));
}

#[test]
fn a_remembered_head_shows_a_cut_tail_and_a_file_written_anew() {
    let (folder, path) = scratch();
    let all = write(&path, &["a".into(), "b".into(), "c".into()]);
    let head = verify(&path, None).unwrap().head_hash;

    let mut file = AuditFile::open(&path).unwrap();
    file.append(&[entry(3, "d")]).unwrap();
    drop(file);
    assert_eq!(verify(&path, Some(&head)).unwrap().records, 4, "the file may have grown since");

    fs::write(&path, all[..2].concat()).unwrap();
    assert!(verify(&path, None).is_ok(), "the chain alone cannot show a cut tail");
    assert!(matches!(verify(&path, Some(&head)), Err(AuditError::HeadMissing { records: 2, .. })));

    let anew = folder.path().join("anew.jsonl");
    write(&anew, &["a".into(), "B".into(), "c".into()]);
    assert!(matches!(verify(&anew, Some(&head)), Err(AuditError::HeadMissing { records: 3, .. })));
}

#[test]
fn a_full_disk_is_a_clear_error() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("not run: this system has no /dev/full");
        return;
    }
    let mut file = AuditFile::open(full).unwrap();
    let error = file.append(&[entry(0, "a")]).unwrap_err().to_string();
    assert!(error.contains("/dev/full"), "{error}");
    assert_eq!((file.records(), file.head_hash()), (0, NO_HASH));
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any::<String>(), 2..12)
}

proptest! {
    #[test]
    fn any_changed_byte_is_found_in_its_line(texts in texts(), at in any::<Index>(), flip in 1_u8..=255) {
        let (_folder, path) = scratch();
        write(&path, &texts);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let line = 1 + line_feeds(&bytes[..at]) as u64;
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        prop_assert_eq!(broken(&path).0, line);
    }

    #[test]
    fn any_removed_line_is_found(texts in texts(), at in any::<Index>()) {
        let (_folder, path) = scratch();
        let mut lines = write(&path, &texts);
        let at = at.index(lines.len() - 1);
        lines.remove(at);
        fs::write(&path, lines.concat()).unwrap();
        let line = at as u64 + 1;
        prop_assert_eq!(broken(&path), (line, Damage::Sequence { expected: line, found: line + 1 }));
    }

    #[test]
    fn any_two_lines_that_change_places_are_found(texts in texts(), one in any::<Index>(), other in any::<Index>()) {
        let (_folder, path) = scratch();
        let mut lines = write(&path, &texts);
        let (one, other) = (one.index(lines.len()), other.index(lines.len()));
        prop_assume!(one != other);
        lines.swap(one, other);
        fs::write(&path, lines.concat()).unwrap();
        let (first, second) = (one.min(other) as u64 + 1, one.max(other) as u64 + 1);
        prop_assert_eq!(broken(&path), (first, Damage::Sequence { expected: first, found: second }));
    }

    #[test]
    fn any_inserted_line_is_found(
        texts in texts(),
        at in any::<Index>(),
        copy_of in proptest::option::of(any::<Index>()),
        foreign in "[^\n]{0,40}",
    ) {
        let (_folder, path) = scratch();
        let mut lines = write(&path, &texts);
        let at = at.index(lines.len() + 1);
        let copied = copy_of.map(|index| index.index(lines.len()));
        let inserted = copied.map_or_else(|| format!("{foreign}\n").into_bytes(), |copied| lines[copied].clone());
        lines.insert(at, inserted);
        fs::write(&path, lines.concat()).unwrap();
        // A copy put right before its original reads like the original, and the original like the copy.
        let line = if copied == Some(at) { at + 2 } else { at + 1 };
        prop_assert_eq!(broken(&path).0, line as u64);
    }

    #[test]
    fn a_torn_tail_is_repaired_and_the_chain_goes_on(texts in texts(), keep in any::<Index>()) {
        let (_folder, path) = scratch();
        let lines = write(&path, &texts);
        let bytes = lines.concat();
        let keep = keep.index(bytes.len());
        let whole = line_feeds(&bytes[..keep]);
        let whole_bytes = lines[..whole].concat().len();
        fs::write(&path, &bytes[..keep]).unwrap();
        if keep > whole_bytes {
            prop_assert_eq!(broken(&path), (whole as u64 + 1, Damage::Torn));
        }

        let mut file = AuditFile::open(&path).unwrap();
        prop_assert_eq!(file.repaired_bytes() as usize, keep - whole_bytes);
        prop_assert_eq!(file.records() as usize, whole);
        let rest: Vec<_> = texts.iter().enumerate().skip(whole).map(|(n, text)| entry(n, text)).collect();
        file.append(&rest).unwrap();
        file.sync().unwrap();
        prop_assert_eq!(fs::read(&path).unwrap(), bytes, "the same entries make the same file");
    }

    #[test]
    fn reopening_between_entries_changes_nothing(texts in texts()) {
        let (folder, path) = scratch();
        write(&path, &texts);
        let piecewise = folder.path().join("piecewise.jsonl");
        for (n, text) in texts.iter().enumerate() {
            let mut file = AuditFile::open(&piecewise).unwrap();
            prop_assert_eq!(file.records() as usize, n);
            file.append(&[entry(n, text)]).unwrap();
        }
        prop_assert_eq!(fs::read(&path).unwrap(), fs::read(&piecewise).unwrap());
        prop_assert_eq!(verify(&path, None).unwrap().records as usize, texts.len());
    }
}

/// Lines of a chain as objects of a folder, each with the lines from one number to the next.
fn objects(folder: &Path, run: &str, lines: &[Vec<u8>], firsts: &[(&str, usize)]) {
    for (n, (day, first)) in firsts.iter().enumerate() {
        let end = firsts.get(n + 1).map_or(lines.len(), |(_, next)| next - 1);
        let below = folder.join(day).join(run);
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("{first:020}.jsonl")), lines[first - 1..end].concat()).unwrap();
    }
}

fn chain(texts: usize) -> Vec<Vec<u8>> {
    let (_folder, path) = scratch();
    write(&path, &(0..texts).map(|n| format!("t{n}")).collect::<Vec<_>>())
}

#[test]
fn a_folder_of_objects_verifies_chain_by_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (chain(12), chain(3));
    objects(folder.path(), "w1-1", &one, &[("2024/08/31", 1), ("2024/08/31", 3), ("2024/09/01", 10)]);
    objects(folder.path(), "w2-1", &two, &[("2024/09/01", 1)]);
    fs::write(folder.path().join("notes.txt"), "no object").unwrap();
    let summary = verify_folder(folder.path(), None, false).unwrap();
    let shown: Vec<_> =
        summary.chains.iter().map(|chain| (&*chain.run, chain.objects, chain.from, chain.summary.records)).collect();
    assert_eq!(shown, [("w1-1", 3, 1, 12), ("w2-1", 1, 1, 3)]);
    assert_eq!(summary.records, 15);
    // A head of either chain may be remembered.
    for chain in &summary.chains {
        verify_folder(folder.path(), Some(&chain.summary.head_hash), false).unwrap();
    }
    let missing = verify_folder(folder.path(), Some(&"1".repeat(64)), false).unwrap_err();
    assert!(matches!(missing, AuditError::HeadMissing { records: 15, .. }), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(verify_folder(empty.path(), None, false), Err(AuditError::NoObjects(_))));
}

#[test]
fn an_object_that_is_missing_changed_or_moved_is_told() {
    let lines = chain(12);
    let stage = || {
        let folder = tempfile::tempdir().unwrap();
        objects(folder.path(), "w", &lines, &[("2024/08/31", 1), ("2024/08/31", 5), ("2024/09/01", 9)]);
        folder
    };
    let object = |folder: &TempDir, n: usize| match n {
        9 => folder.path().join(format!("2024/09/01/w/{n:020}.jsonl")),
        n => folder.path().join(format!("2024/08/31/w/{n:020}.jsonl")),
    };
    let told = |folder: &TempDir, partial| match verify_folder(folder.path(), None, partial) {
        Err(AuditError::Broken { path, line, damage }) => Some((path, line, damage)),
        Ok(_) => None,
        other => panic!("{other:?}"),
    };
    let folder = stage();
    fs::remove_file(object(&folder, 5)).unwrap();
    let gap = Damage::Sequence { expected: 5, found: 9 };
    for partial in [false, true] {
        assert_eq!(told(&folder, partial), Some((object(&folder, 9), 1, gap.clone())), "no gap in the middle");
    }

    let folder = stage();
    fs::remove_file(object(&folder, 1)).unwrap();
    let gap = Damage::Sequence { expected: 1, found: 5 };
    assert_eq!(told(&folder, false), Some((object(&folder, 5), 1, gap)));
    assert_eq!(verify_folder(folder.path(), None, true).unwrap().chains[0].from, 5);

    let folder = stage();
    let changed = fs::read_to_string(object(&folder, 9)).unwrap().replace("effect-9", "effect-0");
    fs::write(object(&folder, 9), changed).unwrap();
    assert_eq!(told(&folder, false), Some((object(&folder, 9), 2, Damage::Changed)));

    let folder = stage();
    let torn = fs::read(object(&folder, 5)).unwrap();
    fs::write(object(&folder, 5), &torn[..torn.len() - 3]).unwrap();
    assert_eq!(told(&folder, false), Some((object(&folder, 5), 4, Damage::Torn)));
}
