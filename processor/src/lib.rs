//! Sessionwarden: the shell around the pure core. The way of a record: `input` or `run`, the core, `feed` and `audit`.

pub mod audit;
pub mod cli;
pub mod config;
pub mod console;
pub mod feed;
pub mod input;
pub mod metrics;
pub mod policy;
pub mod replay;
pub mod telemetry;
