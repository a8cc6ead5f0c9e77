//! The `sessionwarden` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sessionwarden::cli::main()
}
