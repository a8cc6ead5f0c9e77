//! Whether a reader still reads.

use super::{LeaseSettings, Mono};

/// When a reader last got on. A lease is renewed only while its reader does: a shard whose reader hangs has to go to
/// another worker.
///
/// An answer from the stream, with records or without, and a completed record count; an error or a throttled call does
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderProgress {
    last: Mono,
}

impl ReaderProgress {
    /// A reader that starts now.
    pub fn started(now: Mono) -> Self {
        Self { last: now }
    }

    /// The stream answered, or a record was completed.
    pub fn made(&mut self, now: Mono) {
        self.last = self.last.max(now);
    }

    /// Whether the reader has not got on for longer than the fail-over time.
    pub fn stalled(&self, settings: &LeaseSettings, now: Mono) -> bool {
        now.since_ms(self.last) > settings.fail_over_ms
    }
}
