//! Where feed lines go: a durable file for `run`, a plain stream for `replay`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use sessionwarden_machine::effect::Report;

use super::{
    lines::{FileError, LineFile},
    ocsf,
};

/// The feed file of the service: append-only, one OCSF record a line.
#[derive(Debug)]
pub struct FeedFile {
    lines: LineFile,
    buffer: Vec<u8>,
}

impl FeedFile {
    /// Opens or creates the file for one writer, and cuts off the torn last line that a crash in mid-write leaves.
    ///
    /// # Errors
    /// The file cannot be opened, locked or repaired, or somebody else is writing it.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self { lines: LineFile::open(path)?, buffer: Vec::new() })
    }

    /// How many bytes of a torn last line were cut off at opening.
    pub fn repaired_bytes(&self) -> u64 {
        self.lines.repaired_bytes()
    }

    /// Appends the reports in one write: all of them or, on an error, none.
    ///
    /// # Errors
    /// The write failed, for example on a full disk. The reports can be appended again.
    pub fn append(&mut self, reports: &[Report]) -> Result<(), FileError> {
        self.buffer.clear();
        for report in reports {
            ocsf::write_line(report, &mut self.buffer).map_err(|source| FileError::Io {
                doing: "write to",
                path: self.lines.path().to_owned(),
                source,
            })?;
        }
        self.lines.append(&self.buffer)
    }

    /// Returns once everything appended is on the disk: only then may the effects be acknowledged.
    ///
    /// # Errors
    /// The disk refused. What was appended since the last sync may be lost, so the file takes nothing more until it is
    /// opened again.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.lines.sync()
    }
}

/// The feed of one replay: buffered, to a new file or to standard output. Not durable until [`FeedSink::finish`].
pub struct FeedSink {
    path: PathBuf,
    out: BufWriter<Box<dyn Write + Send>>,
}

impl FeedSink {
    /// Creates or overwrites the file; `-` is standard output.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let (path, out): (PathBuf, Box<dyn Write + Send>) = if path.as_os_str() == "-" {
            ("standard output".into(), Box::new(io::stdout()))
        } else {
            let file = File::create(path).map_err(|source| FileError::Io {
                doing: "create",
                path: path.to_owned(),
                source,
            })?;
            (path.to_owned(), Box::new(file))
        };
        Ok(Self { path, out: BufWriter::with_capacity(64 * 1024, out) })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The write failed; a full disk may show only in [`FeedSink::finish`].
    pub fn write(&mut self, report: &Report) -> Result<(), FileError> {
        ocsf::write_line(report, &mut self.out).map_err(|source| self.error(source))
    }

    /// Writes out what is buffered. Must be called: dropping the sink hides errors.
    ///
    /// # Errors
    /// The write failed.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.out.flush().map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> FileError {
        FileError::Io { doing: "write to", path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use sessionwarden_machine::{
        effect::{Activity, ActivityKind, Principal},
        ids::{AccountId, EffectId, EventTime, SessionKey},
    };

    use super::*;

    fn report(n: usize) -> Report {
        let nothing: Arc<str> = "".into();
        Report::Activity(Box::new(Activity {
            id: EffectId(format!("activity-{n}").into()),
            kind: ActivityKind::Start,
            session: SessionKey {
                account: AccountId::new(42).unwrap(),
                region: "eu-central-1".into(),
                id: "alice-1".into(),
            },
            principal: Principal { arn: Arc::clone(&nothing), kind: Arc::clone(&nothing) },
            target: Arc::clone(&nothing),
            document: nothing,
            at: EventTime(n as i64),
            event: None,
        }))
    }

    fn expected(range: std::ops::Range<usize>) -> String {
        range.map(|n| ocsf::line(&report(n)) + "\n").collect()
    }

    #[test]
    fn a_torn_last_line_is_cut_off_wherever_the_crash_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        let whole = expected(0..3);
        let first_two = expected(0..2).len();
        for keep in first_two..whole.len() {
            fs::write(&path, &whole[..keep]).unwrap();
            let mut feed = FeedFile::open(&path).unwrap();
            assert_eq!(feed.repaired_bytes() as usize, keep - first_two);
            feed.append(&[report(2)]).unwrap();
            feed.sync().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_torn_line_longer_than_one_read_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        for before in [0, 2] {
            let whole = expected(0..before);
            fs::write(&path, whole.clone() + &"x".repeat(200_000)).unwrap();
            assert_eq!(FeedFile::open(&path).unwrap().repaired_bytes(), 200_000);
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        }
    }

    #[test]
    fn reopening_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        for n in 0..3 {
            let mut feed = FeedFile::open(&path).unwrap();
            feed.append(&[report(2 * n), report(2 * n + 1)]).unwrap();
            feed.append(&[]).unwrap();
            feed.sync().unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), expected(0..6));
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        let _first = FeedFile::open(&path).unwrap();
        assert!(matches!(FeedFile::open(&path), Err(FileError::InUse(_))));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no-such-folder").join("feed.jsonl");
        for error in [FeedFile::open(&path).err(), FeedSink::create(&path).err()] {
            assert!(error.unwrap().to_string().contains("no-such-folder/feed.jsonl"));
        }
    }

    #[test]
    fn a_full_disk_is_a_clear_error() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("not run: this system has no /dev/full");
            return;
        }
        let message = "cannot write to /dev/full: No space left on device";
        let mut feed = FeedFile::open(full).unwrap();
        let error = feed.append(&[report(0)]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");

        let mut sink = FeedSink::create(full).unwrap();
        sink.write(&report(0)).unwrap();
        let error = sink.finish().unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        let mut sink = FeedSink::create(full).unwrap();
        let error = (0..1000).find_map(|n| sink.write(&report(n)).err()).unwrap().to_string();
        assert!(error.starts_with(message), "{error}");
    }

    /// The system's limit on a file's size stands in for a disk that fills up in the middle of a write.
    #[test]
    fn a_write_that_fails_half_way_leaves_whole_lines_and_can_be_repeated() {
        const PATH: &str = "SESSIONWARDEN_TEST_LIMITED_FEED";
        if let Ok(path) = std::env::var(PATH) {
            let mut feed = FeedFile::open(Path::new(&path)).unwrap();
            feed.append(&[report(0)]).unwrap();
            let many: Vec<_> = (1..100).map(report).collect();
            assert!(matches!(feed.append(&many), Err(FileError::Io { doing: "write to", .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), expected(0..1));
            feed.append(&many[..1]).unwrap();
            feed.sync().unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        let this = "feed::file::tests::a_write_that_fails_half_way_leaves_whole_lines_and_can_be_repeated";
        let ran = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ && ulimit -f 16 && exec \"$0\" --exact \"$1\" --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(this)
            .env(PATH, &path)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(fs::read_to_string(&path).unwrap(), expected(0..2));
    }

    #[test]
    fn a_sink_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        for _ in 0..2 {
            let mut sink = FeedSink::create(&path).unwrap();
            (0..500).for_each(|n| sink.write(&report(n)).unwrap());
            sink.finish().unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), expected(0..500));
    }
}
