//! Generates CloudTrail streams and measures Sessionwarden against floors and peers.

pub mod bench;
pub mod casting;
pub mod generate;
pub mod plan;
pub mod scenarios;
pub mod sink;
mod snapshot;
pub mod stores;
pub mod stream;
