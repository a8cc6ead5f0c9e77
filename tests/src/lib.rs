//! What the tests of Sessionwarden as a whole share, and the page that shows which promises they cover.

pub mod coverage;
#[cfg(feature = "simulation")]
pub mod simulation;
