//! p

pub mod audit;
pub mod feed;
