//! A file of lines that survives a crash: whole lines only, one writer at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const CHUNK_BYTES: u64 = 64 * 1024;

/// Why a file of lines cannot be used; every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write to` …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another process, or another part of this one, has it open for writing.
    #[error("{} is already being written by another process", .0.display())]
    InUse(PathBuf),
    /// An earlier failure left it unknown what is on the disk; opening the file again repairs it.
    #[error("{} is no longer safe to write after an earlier failure; open it again", .0.display())]
    Unsafe(PathBuf),
}

/// An append-only file of lines. A line is on the disk once [`LineFile::sync`] has returned.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines; unused for devices and pipes.
    len: u64,
    repaired_bytes: u64,
    /// A device or a pipe has no end to repair and nothing to sync.
    regular: bool,
    safe: bool,
}

impl LineFile {
    /// Opens or creates the file, takes its lock, and cuts off what follows the last line feed.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let fail = |doing| move |source| FileError::Io { doing, path: path.to_owned(), source };
        let regular = match path.metadata() {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(fail("open")(error)),
        };
        let created = regular && !path.exists();
        let file = OpenOptions::new().append(true).read(regular).create(true).open(path).map_err(fail("open"))?;
        let mut lines = Self { path: path.to_owned(), file, len: 0, repaired_bytes: 0, regular, safe: true };
        if !regular {
            return Ok(lines);
        }
        match lines.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(fail("lock")(error)),
        }
        if created {
            sync_parent(path).map_err(fail("create"))?;
        }
        lines.repair().map_err(fail("repair"))?;
        Ok(lines)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes of a torn last line were cut off at opening.
    pub(crate) fn repaired_bytes(&self) -> u64 {
        self.repaired_bytes
    }

    /// Appends `lines`, which end in a line feed. On failure the file is as it was before.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), FileError> {
        if !self.safe {
            return Err(FileError::Unsafe(self.path.clone()));
        }
        if let Err(source) = self.file.write_all(lines) {
            self.safe = !self.regular || self.file.set_len(self.len).is_ok();
            return Err(self.error("write to", source));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Returns once everything appended is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        if !self.safe {
            return Err(FileError::Unsafe(self.path.clone()));
        }
        if !self.regular {
            return Ok(());
        }
        self.file.sync_data().map_err(|source| {
            // After a failed fsync the kernel may have dropped the pages, so that the next one would succeed falsely.
            self.safe = false;
            self.error("sync", source)
        })
    }

    /// The last `count` lines, each without its line feed, in file order; fewer where the file has fewer.
    ///
    /// Reads at most `bytes_max`; a line that does not fit is answered cut at its front.
    pub(crate) fn last_lines(&self, count: usize, bytes_max: u64) -> Result<Vec<Vec<u8>>, FileError> {
        let (mut start, mut tail) = (self.len, Vec::new());
        while start > 0 && self.len - start < bytes_max && feeds(&tail) <= count {
            let from = start.saturating_sub(CHUNK_BYTES);
            let mut chunk = self.read(from, start).map_err(|source| self.error("read", source))?;
            chunk.append(&mut tail);
            (start, tail) = (from, chunk);
        }
        tail.pop();
        let mut lines: Vec<_> = tail.rsplit(|byte| *byte == b'\n').take(count).map(<[u8]>::to_vec).collect();
        lines.reverse();
        if self.len == 0 {
            lines.clear();
        }
        Ok(lines)
    }

    fn repair(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let mut end = size;
        while end > 0 {
            let from = end.saturating_sub(CHUNK_BYTES);
            if let Some(at) = self.read(from, end)?.iter().rposition(|byte| *byte == b'\n') {
                end = from + at as u64 + 1;
                break;
            }
            end = from;
        }
        if end < size {
            self.file.set_len(end)?;
            self.file.sync_all()?;
        }
        self.len = end;
        self.repaired_bytes = size - end;
        Ok(())
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = vec![0; (to - from) as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> FileError {
        FileError::Io { doing, path: self.path.clone(), source }
    }
}

impl Drop for LineFile {
    fn drop(&mut self) {
        // A child process that is just being started holds a copy of the descriptor, and with it the lock.
        let _ = self.file.unlock();
    }
}

fn feeds(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// A new file survives a power cut only once its folder is on the disk too.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
