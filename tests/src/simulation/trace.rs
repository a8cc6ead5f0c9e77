//! What happened, in order: as a number by which two runs are compared, and as text where somebody wants to read it.

use std::fmt::{self, Write};

use sessionwarden_machine::ids::Now;

/// A trace that grows.
#[derive(Debug)]
pub struct Trace {
    hash: Hash,
    steps: u64,
    text: Option<String>,
}

/// FNV-1a, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash(u64);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// An empty trace; with its text if `text`.
    pub fn new(text: bool) -> Self {
        Self { hash: Hash(0xcbf2_9ce4_8422_2325), steps: 0, text: text.then(String::new) }
    }

    /// Adds a step: what `worker` does, or the world around where there is none.
    pub fn add(&mut self, at: Now, worker: Option<usize>, what: fmt::Arguments<'_>) {
        self.steps += 1;
        // Neither can fail: the one has no limit, the other no storage.
        let _ = writeln!(self.hash, "{} {worker:?} {what}", at.0);
        if let Some(text) = &mut self.text {
            let _ = match worker {
                Some(worker) => writeln!(text, "{at} worker {worker}: {what}"),
                None => writeln!(text, "{at} {what}"),
            };
        }
    }

    /// The number that two equal traces share, and how many steps there were.
    pub fn digest(&self) -> (u64, u64) {
        (self.hash.0, self.steps)
    }

    /// The text, where it was kept.
    pub fn into_text(self) -> Option<String> {
        self.text
    }
}
