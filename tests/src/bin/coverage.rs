//! Renews or checks `docs/coverage.md`, the page that shows which promise is tested where.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sessionwarden_tests::coverage::{PAGE_PATH, RENEW_COMMAND, first_difference, page_of, repository_root};

/// Write docs/coverage.md from docs/requirements.toml and the requirement ids in tests.
#[derive(Parser)]
struct Args {
    /// Write nothing; fail when the page is stale.
    #[arg(long)]
    check: bool,
    /// Root of the repository [default: the one around the current directory]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coverage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let root = args.root.clone().map_or_else(repository_root, Ok)?;
    let path = root.join(PAGE_PATH);
    let page = page_of(&root)?;
    let summary = page.lines().find(|line| line.starts_with("**")).unwrap_or_default().replace("**", "");
    if args.check {
        // A page that cannot be read is a page to renew.
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some((line, old, new)) = first_difference(&old, &page) {
            anyhow::bail!(
                "{PAGE_PATH} is stale, first in line {line}\n  it says:   {old}\n  should be: {new}\nRenew it with: {RENEW_COMMAND}"
            );
        }
        println!("{PAGE_PATH} is up to date: {summary}");
    } else {
        std::fs::write(&path, page)?;
        println!("{PAGE_PATH} written: {summary}");
    }
    Ok(())
}
