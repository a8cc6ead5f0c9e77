//! Which promises of `docs/requirements.toml` are tested, and where, as the page `docs/coverage.md`.

mod requirements;
mod scan;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

pub use requirements::{Group, Requirements};
pub use scan::{Citation, rust_citations, text_citations};

/// Where the promises stand, from the root of the repository.
pub const REQUIREMENTS_PATH: &str = "docs/requirements.toml";
/// Where the page stands, from the root of the repository.
pub const PAGE_PATH: &str = "docs/coverage.md";
/// The command that renews the page.
pub const RENEW_COMMAND: &str = "cargo run --locked -p sessionwarden-tests --no-default-features --bin coverage";

/// Which tests cite each id, and where it is only mentioned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// File and test, by id.
    tests_by_id: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Files, by id.
    mentions_by_id: BTreeMap<String, BTreeSet<String>>,
}

impl Coverage {
    /// Adds what was found in `file`. Errors, one message for each, name ids that no requirement has.
    pub fn add(&mut self, requirements: &Requirements, file: &str, citations: Vec<Citation>) -> Vec<String> {
        let mut errors = Vec::new();
        for Citation { id, line, test } in citations {
            if !requirements.contains(&id) {
                errors.push(format!("{file}:{line}: {id} is no requirement of {REQUIREMENTS_PATH}"));
            } else if let Some(test) = test {
                self.tests_by_id.entry(id).or_default().insert((file.to_owned(), test));
            } else {
                self.mentions_by_id.entry(id).or_default().insert(file.to_owned());
            }
        }
        errors
    }

    /// The page in Markdown. The same input gives the same bytes.
    pub fn page(&self, requirements: &Requirements) -> String {
        let mut page = format!(
            "# Which promises are tested\n\n\
             Made from `{REQUIREMENTS_PATH}` and the ids that stand in tests; do not edit. Renew it with\n`{RENEW_COMMAND}`.\n\n\
             A test stands in a row when it cites the row's id: in its name, in its body's comments or directly above it.\n\
             It shows what its name says, which may be a part of the promise; a row without a test is shown by nothing.\n\n"
        );
        let total: usize = requirements.groups.iter().map(|group| group.rows.len()).sum();
        let tested: usize = requirements.groups.iter().map(|group| self.tested_in(group)).sum();
        let _ = writeln!(page, "**{tested} of {total} promises have a test.**");
        for group in &requirements.groups {
            let _ = write!(
                page,
                "\n## {}: {} ({} of {})\n\n| id | promise | tested by |\n|---|---|---|\n",
                group.prefix,
                group.title,
                self.tested_in(group),
                group.rows.len()
            );
            for (id, promise) in &group.rows {
                let _ = writeln!(page, "| {id} | {} | {} |", promise.replace('|', "\\|"), self.tests_cell(id));
            }
        }
        self.write_mentions(requirements, &mut page);
        page
    }

    fn tested_in(&self, group: &Group) -> usize {
        group.rows.iter().filter(|(id, _)| self.tests_by_id.contains_key(id)).count()
    }

    fn tests_cell(&self, id: &str) -> String {
        self.tests_by_id.get(id).map_or_else(
            || "not yet".to_owned(),
            |tests| tests.iter().map(|(file, test)| format!("{file}: `{test}`")).collect::<Vec<_>>().join("<br>"),
        )
    }

    fn write_mentions(&self, requirements: &Requirements, page: &mut String) {
        let mentioned = || requirements.ids().filter_map(|id| Some((id, self.mentions_by_id.get(id)?)));
        if mentioned().next().is_none() {
            return;
        }
        page.push_str("\n## Mentioned in\n\nIds in code outside tests. A mention shows nothing.\n\n| id | mentioned in |\n|---|---|\n");
        for (id, files) in mentioned() {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let _ = writeln!(page, "| {id} | {} |", files.join("<br>"));
        }
    }
}

/// The page for the repository at `root`: every Rust and Cedar file that git tracks there is read, as it stands in the work tree.
/// Errors: git or a file cannot be read, the requirements are malformed, or an id is unknown (with file and line).
pub fn page_of(root: &Path) -> anyhow::Result<String> {
    let requirements = Requirements::parse(&read(&root.join(REQUIREMENTS_PATH))?).context(REQUIREMENTS_PATH)?;
    let mut coverage = Coverage::default();
    let mut errors = Vec::new();
    for file in tracked_files(root)? {
        let Some(citations_in) = reader_of(&file) else { continue };
        let path = root.join(&file);
        if path.exists() {
            errors.extend(coverage.add(&requirements, &file, citations_in(&read(&path)?)));
        }
    }
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(coverage.page(&requirements))
}

/// The first line in which two pages differ, for a message: its number and both texts.
pub fn first_difference<'a>(old: &'a str, new: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let (mut old, mut new) = (old.lines(), new.lines());
    (1..).map(|n| (n, old.next(), new.next())).find_map(|(n, a, b)| match (a, b) {
        (None, None) => Some(None),
        _ if a == b => None,
        _ => Some(Some((n, a.unwrap_or_default(), b.unwrap_or_default()))),
    })?
}

fn reader_of(file: &str) -> Option<fn(&str) -> Vec<Citation>> {
    match Path::new(file).extension()?.to_str()? {
        "rs" => Some(rust_citations),
        "cedar" => Some(text_citations),
        _ => None,
    }
}

fn tracked_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed in {}: {}", root.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("git names a file that is not UTF-8")?;
    let files: BTreeSet<String> = names.split_terminator('\0').map(str::to_owned).collect();
    Ok(files.into_iter().collect())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The root of the git repository that holds the current directory.
pub fn repository_root() -> anyhow::Result<PathBuf> {
    let output = Command::new("git").args(["rev-parse", "--show-toplevel"]).output().context("cannot run git")?;
    ensure!(output.status.success(), "not inside a git repository; name one with --root");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIREMENTS: &str = r#"
        [[group]]
        prefix = "G"
        title = "Guardrail"
        [group.rows]
        G1 = "One."
        G2 = "Two | more."
        G10 = "Ten."
        [[group]]
        prefix = "TH"
        title = "Threats"
        [group.rows]
        TH1 = "A threat."
    "#;

    fn citation(id: &str, line: usize, test: Option<&str>) -> Citation {
        Citation { id: id.to_owned(), line, test: test.map(str::to_owned) }
    }

    #[test]
    fn the_page_shows_tests_mentions_and_gaps() {
        let requirements = Requirements::parse(REQUIREMENTS).unwrap();
        let mut coverage = Coverage::default();
        let in_b = vec![citation("G10", 3, Some("beta")), citation("G10", 4, Some("beta")), citation("G2", 9, None)];
        let in_a = vec![citation("G10", 7, Some("alpha")), citation("TH1", 1, Some("alpha"))];
        assert!(coverage.add(&requirements, "b.rs", in_b).is_empty());
        assert!(coverage.add(&requirements, "a.rs", in_a).is_empty());
        let page = coverage.page(&requirements);
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| G") || l.starts_with("| TH")).collect();
        assert_eq!(
            rows,
            [
                "| G1 | One. | not yet |",
                "| G2 | Two \\| more. | not yet |",
                "| G10 | Ten. | a.rs: `alpha`<br>b.rs: `beta` |",
                "| TH1 | A threat. | a.rs: `alpha` |",
                "| G2 | b.rs |",
            ]
        );
        assert!(page.contains("**2 of 4 promises have a test.**"), "{page}");
        assert!(page.contains("## G: Guardrail (1 of 3)"), "{page}");
    }

    #[test]
    fn an_unknown_id_is_named_with_file_and_line() {
        let requirements = Requirements::parse(REQUIREMENTS).unwrap();
        let errors = Coverage::default().add(&requirements, "a.rs", vec![citation("G99", 12, None)]);
        assert_eq!(errors, ["a.rs:12: G99 is no requirement of docs/requirements.toml"]);
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference("a\nb\n", "a\nc\nd"), Some((2, "b", "c")));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some((2, "", "b")));
        assert_eq!(first_difference("a\n", "a\n"), None);
    }
}
