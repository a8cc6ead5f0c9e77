//! Where a stream goes: a file or standard output, in one of the forms in which CloudTrail is delivered, gzipped or not.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

/// How records stand in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Bare CloudTrail records, one on each line
    #[default]
    Ndjson,
    /// EventBridge envelopes, one on each line
    Envelope,
    /// One object `{"Records":[…]}`, as CloudTrail writes its files
    Records,
    /// One JSON array of records
    Array,
}

enum Target {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(Box<GzEncoder<BufWriter<Box<dyn Write>>>>),
}

/// An open output.
pub struct Sink {
    target: Target,
    format: Format,
    empty: bool,
}

impl Sink {
    /// Creates `path`, or takes standard output for `-`. Gzipped where asked for or where the name ends in `.gz`.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path, format: Format, gzip: bool) -> io::Result<Self> {
        let out: Box<dyn Write> =
            if path.as_os_str() == "-" { Box::new(io::stdout()) } else { Box::new(File::create(path)?) };
        let out = BufWriter::with_capacity(1 << 20, out);
        let gzip = gzip || path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
        let target =
            if gzip { Target::Gzip(Box::new(GzEncoder::new(out, Compression::fast()))) } else { Target::Plain(out) };
        let mut sink = Self { target, format, empty: true };
        match format {
            Format::Ndjson | Format::Envelope => {}
            Format::Records => sink.put(b"{\"Records\":[")?,
            Format::Array => sink.put(b"[")?,
        }
        Ok(sink)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The file cannot be written, for example because the disk is full.
    pub fn record(&mut self, record: &str) -> io::Result<()> {
        let empty = std::mem::replace(&mut self.empty, false);
        match self.format {
            Format::Ndjson | Format::Envelope => {
                self.put(record.as_bytes())?;
                self.put(b"\n")
            }
            Format::Records | Format::Array => {
                if !empty {
                    self.put(b",")?;
                }
                self.put(record.as_bytes())
            }
        }
    }

    /// Writes what is still missing, down to the operating system.
    ///
    /// # Errors
    /// The file cannot be written, for example because the disk is full.
    pub fn finish(mut self) -> io::Result<()> {
        match self.format {
            Format::Ndjson | Format::Envelope => {}
            Format::Records => self.put(b"]}\n")?,
            Format::Array => self.put(b"]\n")?,
        }
        match self.target {
            Target::Plain(mut out) => out.flush(),
            Target::Gzip(out) => out.finish()?.flush(),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.target {
            Target::Plain(out) => out.write_all(bytes),
            Target::Gzip(out) => out.write_all(bytes),
        }
    }
}
