//! The coverage tool as its users call it, on a small repository of its own.

use std::path::Path;
use std::process::{Command, Output};

const REQUIREMENTS: &str = "[[group]]\nprefix = 'G'\ntitle = 'Guardrail'\nrows = { G1 = 'One.', G2 = 'Two.' }\n";

fn coverage(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coverage"));
    command.args(args).arg("--root").arg(root).output().expect("the tool starts")
}

fn git(root: &Path, args: &[&str]) {
    assert!(Command::new("git").arg("-C").arg(root).args(args).status().expect("git starts").success());
}

fn repository(source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("docs")).unwrap();
    std::fs::write(root.join("docs/requirements.toml"), REQUIREMENTS).unwrap();
    std::fs::write(root.join("lib.rs"), source).unwrap();
    git(root, &["init", "-q"]);
    git(root, &["add", "lib.rs"]);
    folder
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_stale_page_fails_the_check_until_it_is_renewed() {
    let repository = repository("// R-G1\n#[test]\nfn alpha() {}\n");
    let root = repository.path();

    let missing = coverage(root, &["--check"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(!root.join("docs/coverage.md").exists(), "the check writes nothing");

    let written = coverage(root, &[]);
    assert!(written.status.success(), "{}", stderr(&written));
    let page = std::fs::read_to_string(root.join("docs/coverage.md")).unwrap();
    assert!(page.contains("| G1 | One. | lib.rs: `alpha` |\n| G2 | Two. | not yet |"), "{page}");
    assert!(coverage(root, &["--check"]).status.success());

    std::fs::write(root.join("lib.rs"), "// R-G1, R-G2\n#[test]\nfn alpha() {}\n").unwrap();
    let stale = coverage(root, &["--check"]);
    assert_eq!(stale.status.code(), Some(1));
    let message = stderr(&stale);
    assert!(
        message.contains("cargo run --locked -p sessionwarden-tests --no-default-features --bin coverage"),
        "{message}"
    );
    assert!(coverage(root, &[]).status.success());
    assert!(coverage(root, &["--check"]).status.success());
}

#[test]
fn an_unknown_id_fails_with_file_and_line() {
    let repository = repository("fn a() {}\n// R-G9\n");
    let output = coverage(repository.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("lib.rs:2: G9 is no requirement"), "{}", stderr(&output));
}

#[test]
fn files_that_git_does_not_track_count_for_nothing() {
    let repository = repository("");
    let root = repository.path();
    std::fs::write(root.join("untracked.rs"), "// R-G1\n#[test]\nfn alpha() {}\n").unwrap();
    assert!(coverage(root, &[]).status.success());
    let page = std::fs::read_to_string(root.join("docs/coverage.md")).unwrap();
    assert!(page.contains("**0 of 2 promises have a test.**"), "{page}");
}
