//! The audit trail in a file of this machine.

use std::path::Path;

use super::{AuditEntry, AuditError, Head, LINE_BYTES_MAX, Tail, verify};
use crate::feed::lines::LineFile;

/// The audit file of the service. One writer at a time.
#[derive(Debug)]
pub struct AuditFile {
    lines: LineFile,
    head: Head,
    buffer: Vec<u8>,
}

impl AuditFile {
    /// Opens or creates the file, cuts off a torn last line, and checks the last two records.
    ///
    /// # Errors
    /// The file cannot be used, or its end does not verify: nothing is ever appended to a broken chain.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let lines = LineFile::open(path)?;
        let last = lines.last_lines(2, 2 * LINE_BYTES_MAX as u64)?;
        let mut tail = Tail::default();
        for (at, line) in last.iter().enumerate() {
            let first_in_file = at == 0 && last.len() < 2;
            let opened = if at == 0 && !first_in_file { tail.adopt(line) } else { tail.follow(line) };
            if let Err(damage) = opened {
                verify(path, None)?;
                return Err(AuditError::Broken { path: path.to_owned(), line: tail.head.records + 1, damage });
            }
        }
        Ok(Self { lines, head: tail.head, buffer: Vec::new() })
    }

    /// How many records the file has.
    pub fn records(&self) -> u64 {
        self.head.records
    }

    /// The last record's hash, [`NO_HASH`] for an empty file.
    pub fn head_hash(&self) -> &str {
        &self.head.hash
    }

    /// How many bytes of a torn last line were cut off at opening.
    pub fn repaired_bytes(&self) -> u64 {
        self.lines.repaired_bytes()
    }

    /// Appends the entries in one write: all of them or, on an error, none.
    ///
    /// # Errors
    /// An entry is too long, or the write failed, for example on a full disk. The entries can be appended again.
    pub fn append(&mut self, entries: &[AuditEntry]) -> Result<(), AuditError> {
        self.buffer.clear();
        let head = self.head.seal(&mut self.buffer, entries)?;
        self.lines.append(&self.buffer)?;
        self.head = head;
        Ok(())
    }

    /// Returns once everything appended is on the disk.
    ///
    /// # Errors
    /// The disk refused. What was appended since the last sync may be lost, so the file takes nothing more until it is
    /// opened again.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        Ok(self.lines.sync()?)
    }
}
