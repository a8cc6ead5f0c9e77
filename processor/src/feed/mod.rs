//! The SIEM feed: reports as OCSF 1.8.0 JSON lines, and where the lines go.

mod attack;
mod event;
mod file;
pub(crate) mod lines;
mod ocsf;

pub use file::{FeedFile, FeedSink};
pub use lines::FileError;
pub use ocsf::{OCSF_VERSION, line, record_uid, write_line};
