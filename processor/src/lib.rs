//! Sessionwarden: the shell around the pure core. The way of a record: `input` or `run`, the core, `feed` and `audit`.

pub mod audit;
#[cfg(feature = "aws")]
pub mod aws;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod effects;
pub mod feed;
pub mod fleet;
pub mod forgotten;
pub mod handle;
pub mod host;
pub mod input;
pub mod local;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod ports;
pub mod recheck;
pub mod replay;
pub mod run;
pub mod snapshot;
pub mod stream;
pub mod telemetry;
