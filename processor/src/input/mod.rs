//! Reading CloudTrail events from files, folders, patterns and standard input.

mod parked;
mod parking;
mod paths;
mod reader;

pub use parked::{Parked, ParkedError, ParkedFile, StreamPlace};
pub use parking::{Park, Parking};
pub use paths::{InputError, InputFile, expand};
pub use reader::{Chunk, Reader, RecordAt, Sink, Truncated, plan_chunks};
pub(crate) use reader::{GZIP_MAGIC, read_full};
