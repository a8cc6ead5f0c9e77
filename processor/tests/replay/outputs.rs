//! Where results go: full disks, places that cannot be written, outputs that are inputs.

use crate::{Folder, command, forwarding, lines, start};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("in.json", lines(&[start(1), forwarding(2)]) + "{\n");
    folder
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_feed_costs_nothing_else() {
    let folder = folder();
    let answer = folder.replay("in.json --feed /dev/full --parked parked.jsonl");
    assert_eq!((answer.code, answer.events()), (1, [3, 2, 0, 0, 1]));
    assert!(answer.err.contains("sessionwarden: cannot write to /dev/full: No space left on device"), "{}", answer.err);
    assert_eq!(folder.lines("parked.jsonl").len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_parked_records_costs_nothing_else() {
    let folder = folder();
    let answer = folder.replay("in.json --feed feed.jsonl --parked /dev/full");
    assert_eq!((answer.code, answer.sessions("violating")), (1, 1));
    let message = "sessionwarden: cannot write parked records to /dev/full: No space left on device";
    assert!(answer.err.contains(message), "{}", answer.err);
    assert!(folder.lines("feed.jsonl").iter().any(|record| record["class_uid"] == 2004));
    let answer = folder.replay("in.json --feed /dev/full --parked /dev/../dev/full");
    assert_eq!((answer.code, answer.err.matches("sessionwarden: cannot write").count()), (1, 2), "{}", answer.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_result_is_an_error_not_a_crash() {
    let folder = folder();
    for format in ["json", "human"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let line = format!("replay in.json --format {format}");
        let done = command(folder.path("").as_path(), &line).stdout(full).output().unwrap();
        let err = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{err}");
        assert!(err.contains("cannot write the result: No space left on device"), "{err}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_read() {
    let folder = folder();
    for option in ["--feed", "--parked"] {
        let answer = folder.replay(&format!("in.json {option} no/such/folder.jsonl"));
        assert_eq!((answer.code, &*answer.out), (2, ""));
        assert!(answer.err.contains("no/such/folder.jsonl: No such file or directory"), "{}", answer.err);
    }
}

#[test]
fn no_output_overwrites_an_input_or_another_output() {
    let folder = folder();
    let before = folder.read("in.json");
    folder.write("sub/feed.jsonl", lines(&[start(3)]));
    for line in [
        "in.json --feed in.json",
        "in.json --parked ./in.json",
        ". --feed sub/feed.jsonl",
        "in.json --feed new.jsonl --parked new.jsonl",
    ] {
        let answer = folder.replay(line);
        assert_eq!((answer.code, &*answer.out), (2, ""), "{line}");
        assert!(answer.err.contains("would overwrite") || answer.err.contains("the same file"), "{}", answer.err);
    }
    assert_eq!((folder.read("in.json"), folder.read("sub/feed.jsonl")), (before, lines(&[start(3)])));
}

#[test]
fn a_feed_on_standard_output_has_it_for_itself() {
    let folder = folder();
    folder.replay("in.json --feed feed.jsonl");
    for format in ["json", "human"] {
        let answer = folder.run(&format!("replay in.json --feed - --format {format}"), b"");
        assert_eq!((answer.code, answer.out), (3, folder.read("feed.jsonl")));
        let result = if format == "json" { "\"violating\":1" } else { "sessions seen" };
        assert!(answer.err.contains(result), "{}", answer.err);
    }
}
