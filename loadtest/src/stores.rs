//! Compares redb and fjall on the work of the embedded store: conditional writes of items with a due index.
//!
//! Both engines get the same rows, the same cache and the same promise: a batch is on disk, by `fdatasync`, when
//! `save` returns.

mod damage;

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fjall::{KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// How the comparison is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Items in the store before the measured writes
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    items: u64,
    /// Runs of every engine; the table shows the median of each cell
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// Folder on the disk to measure; the system's temporary folder by default
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Bytes each engine may keep in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const BODY_BYTES: usize = 1_000;
const DUE_SCAN_LIMIT: usize = 256;
const LOADS: u64 = 100_000;
const DUE_SCANS: u64 = 100;
/// Items in one batch, and how many such batches are measured.
const BATCHES: [(usize, usize); 3] = [(1, 1_000), (64, 100), (512, 40)];

/// Measures every engine and prints one table.
///
/// # Errors
/// The folder cannot be written, an engine fails, or an engine loses or invents a row.
pub fn run(args: &Args) -> Result<()> {
    let base = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    println!("one 4 KiB append + fdatasync: {:.0} µs", disk_sync(&base)?.as_secs_f64() * 1e6);
    let mut columns: [Vec<Vec<Cell>>; 2] = Default::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        columns[0].push(measure::<Redb>(&base, args.items)?);
        columns[1].push(measure::<Fjall>(&base, args.items)?);
    }
    println!("{:<48}{:>14}{:>14}", "", Redb::NAME, Fjall::NAME);
    for (row, first) in columns[0][0].iter().enumerate() {
        let value = |rounds: &[Vec<Cell>]| median(rounds.iter().map(|cells| cells[row].value).collect());
        println!("{:<48}{:>14.3}{:>14.3}", first.name, value(&columns[0]), value(&columns[1]));
    }
    for (redb, fjall) in damage::measure::<Redb>(&base)?.iter().zip(damage::measure::<Fjall>(&base)?) {
        println!("{:<48}{:>14}{:>14}", redb.name, redb.value, fjall.value);
    }
    Ok(())
}

/// One measured figure; the name carries the unit.
#[derive(Clone)]
struct Cell {
    name: String,
    value: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn disk_sync(base: &Path) -> Result<Duration> {
    let mut file = tempfile::tempfile_in(base).with_context(|| format!("no file in {}", base.display()))?;
    let syncs = 200;
    let start = Instant::now();
    for _ in 0..syncs {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
    }
    Ok(start.elapsed() / syncs)
}

/// A conditional write of one item.
struct Put {
    key: String,
    expected: u64,
    due: i64,
    body: Vec<u8>,
}

impl Put {
    fn row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(16 + self.body.len());
        row.extend_from_slice(&(self.expected + 1).to_le_bytes());
        row.extend_from_slice(&self.due.to_le_bytes());
        row.extend_from_slice(&self.body);
        row
    }
}

/// The revision and due time at the head of a row.
fn head(row: &[u8]) -> (u64, i64) {
    let number = |at: usize| row[at..at + 8].try_into().expect("eight bytes");
    (u64::from_le_bytes(number(0)), i64::from_le_bytes(number(8)))
}

/// Sorts by time, then key.
fn due_key(due: i64, key: &str) -> Vec<u8> {
    [&due.to_be_bytes()[..], key.as_bytes()].concat()
}

trait Engine: Sized {
    const NAME: &'static str;
    fn open(folder: &Path) -> Result<Self>;
    /// Opens and verifies whatever the engine can verify.
    fn open_checked(folder: &Path) -> Result<Self>;
    /// Saves all or fails: the benchmark never loses a race.
    fn save(&self, puts: &[Put]) -> Result<()>;
    fn load(&self, key: &str) -> Result<Option<(u64, usize)>>;
    fn due(&self, before: i64, limit: usize) -> Result<usize>;
}

const ITEMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("items");
const DUE: TableDefinition<'_, &[u8], ()> = TableDefinition::new("due");

struct Redb(Database);

impl Engine for Redb {
    const NAME: &'static str = "redb";

    fn open(folder: &Path) -> Result<Self> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join("store.redb"))?;
        let txn = db.begin_write()?;
        txn.open_table(ITEMS)?;
        txn.open_table(DUE)?;
        txn.commit()?;
        Ok(Self(db))
    }

    fn open_checked(folder: &Path) -> Result<Self> {
        let mut db = Self::open(folder)?;
        ensure!(db.0.check_integrity()?, "the file was damaged");
        Ok(db)
    }

    fn save(&self, puts: &[Put]) -> Result<()> {
        let mut txn = self.0.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut items = txn.open_table(ITEMS)?;
            let mut due = txn.open_table(DUE)?;
            for put in puts {
                let (rev, old_due) = items
                    .get(put.key.as_str())?
                    .map_or((0, None), |row| (head(row.value()).0, Some(head(row.value()).1)));
                check(put, rev)?;
                if let Some(old) = old_due {
                    due.remove(due_key(old, &put.key).as_slice())?;
                }
                due.insert(due_key(put.due, &put.key).as_slice(), ())?;
                items.insert(put.key.as_str(), put.row().as_slice())?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn load(&self, key: &str) -> Result<Option<(u64, usize)>> {
        let items = self.0.begin_read()?.open_table(ITEMS)?;
        Ok(items.get(key)?.map(|row| (head(row.value()).0, row.value().to_vec().len())))
    }

    fn due(&self, before: i64, limit: usize) -> Result<usize> {
        let due = self.0.begin_read()?.open_table(DUE)?;
        let end = before.to_be_bytes();
        let mut found = 0;
        for entry in due.range::<&[u8]>(..&end[..])?.take(limit) {
            found += usize::from(entry?.0.value().to_vec().len() > 8);
        }
        Ok(found)
    }
}

/// fjall; its single-writer transactions read their own writes, as the store's contract demands of a batch.
struct Fjall {
    db: SingleWriterTxDatabase,
    items: SingleWriterTxKeyspace,
    due: SingleWriterTxKeyspace,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(folder: &Path) -> Result<Self> {
        let db = SingleWriterTxDatabase::builder(folder).cache_size(CACHE_BYTES as u64).open()?;
        let items = db.keyspace("items", KeyspaceCreateOptions::default)?;
        let due = db.keyspace("due", KeyspaceCreateOptions::default)?;
        Ok(Self { db, items, due })
    }

    fn open_checked(folder: &Path) -> Result<Self> {
        Self::open(folder)
    }

    fn save(&self, puts: &[Put]) -> Result<()> {
        let mut txn = self.db.write_tx().durability(Some(PersistMode::SyncData));
        for put in puts {
            let (rev, old_due) =
                txn.get(&self.items, &put.key)?.map_or((0, None), |row| (head(&row).0, Some(head(&row).1)));
            check(put, rev)?;
            if let Some(old) = old_due {
                txn.remove(&self.due, due_key(old, &put.key));
            }
            txn.insert(&self.due, due_key(put.due, &put.key), "");
            txn.insert(&self.items, put.key.as_str(), put.row());
        }
        txn.commit()?;
        Ok(())
    }

    fn load(&self, key: &str) -> Result<Option<(u64, usize)>> {
        Ok(self.items.get(key)?.map(|row| (head(&row).0, row.to_vec().len())))
    }

    fn due(&self, before: i64, limit: usize) -> Result<usize> {
        let mut found = 0;
        for entry in self.db.read_tx().range(&self.due, ..before.to_be_bytes()).take(limit) {
            found += usize::from(entry.key()?.to_vec().len() > 8);
        }
        Ok(found)
    }
}

fn check(put: &Put, rev: u64) -> Result<()> {
    ensure!(rev == put.expected, "{}: revision {rev}, expected {}", put.key, put.expected);
    Ok(())
}

/// The items' revisions as the benchmark knows them, a clock, and a seeded stream of numbers.
struct Workload {
    revs: Vec<u64>,
    seed: u64,
    /// Writes so far: each takes a millisecond of the clock.
    writes: u64,
}

/// When the benchmark's clock starts, in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;

impl Workload {
    fn new(items: u64) -> Self {
        Self { revs: vec![0; items as usize], seed: 42, writes: 0 }
    }

    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.seed)
    }

    fn key(at: u64) -> String {
        format!("session#{:012}/eu-central-1/user-{:017x}", at % 100, mix(at))
    }

    /// The next write of item `at`: it is looked at again when every other item has had its turn.
    fn put(&mut self, at: u64) -> Put {
        let expected = self.revs[at as usize];
        self.revs[at as usize] += 1;
        self.writes += 1;
        let due = START_MS + (self.writes + self.revs.len() as u64) as i64;
        let mut body = format!(r#"{{"session":"{}","facts":["#, Self::key(at)).into_bytes();
        while body.len() < BODY_BYTES - 44 {
            let (event, time) = (self.next(), self.next() % 1_000_000);
            write!(body, r#"{{"event":"{event:016x}","at":{time}}},"#).expect("writing to memory");
        }
        body.extend_from_slice(b"null]}");
        body.resize(BODY_BYTES, b' ');
        Put { key: Self::key(at), expected, due, body }
    }

    /// The `size` items that have waited longest, as a recheck takes them.
    fn batch(&mut self, size: usize) -> Vec<Put> {
        (0..size).map(|_| self.put(self.writes % self.revs.len() as u64)).collect()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Processor time of the whole process and bytes it sent to the disk.
struct Usage {
    cpu_seconds: f64,
    written_bytes: f64,
    start: Instant,
}

impl Usage {
    fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            written_bytes: written.unwrap_or(f64::NAN),
            start: Instant::now(),
        }
    }

    fn cells(&self, what: impl fmt::Display, count: f64) -> [Cell; 2] {
        let (now, per) = (Self::now(), count / 1_000.0);
        [
            Cell { name: format!("{what}: CPU ms per 1,000"), value: (now.cpu_seconds - self.cpu_seconds) * 1e3 / per },
            Cell { name: format!("{what}: wall ms per 1,000"), value: self.start.elapsed().as_secs_f64() * 1e3 / per },
        ]
    }

    fn written_kb(&self, what: impl fmt::Display, count: f64) -> Cell {
        let kb = (Self::now().written_bytes - self.written_bytes) / 1e3;
        Cell { name: format!("{what}: KB to disk per write"), value: kb / count }
    }
}

fn measure<E: Engine>(base: &Path, items: u64) -> Result<Vec<Cell>> {
    let folder = tempfile::tempdir_in(base)?;
    let copy = tempfile::tempdir_in(base)?;
    let mut cells = Vec::new();
    let mut work = Workload::new(items);
    let all = Usage::now();
    let engine = E::open(folder.path())?;

    let start = Usage::now();
    for from in (0..items).step_by(512) {
        engine.save(&work.batch((items - from).min(512) as usize))?;
    }
    cells.extend(start.cells("fill, batches of 512", items as f64));

    for (size, batches) in BATCHES {
        let puts: Vec<Vec<Put>> = (0..batches).map(|_| work.batch(size)).collect();
        let start = Usage::now();
        for batch in &puts {
            engine.save(batch)?;
        }
        let writes = (size * batches) as f64;
        cells.extend(start.cells(format!("writes, batches of {size}"), writes));
        cells.push(start.written_kb(format!("writes, batches of {size}"), writes));
    }

    let start = Usage::now();
    for _ in 0..LOADS {
        let at = work.next() % items;
        let found = engine.load(&Workload::key(at))?.map(|(rev, _)| rev);
        ensure!(found == Some(work.revs[at as usize]), "item {at} has revision {found:?}");
    }
    cells.extend(start.cells("point loads", LOADS as f64));

    let start = Usage::now();
    for _ in 0..DUE_SCANS {
        let found = engine.due(i64::MAX, DUE_SCAN_LIMIT)?;
        ensure!(found == DUE_SCAN_LIMIT, "{found} due items");
    }
    cells.extend(start.cells(format!("due scans of {DUE_SCAN_LIMIT}"), DUE_SCANS as f64));

    // What is on disk now is what a kill would leave.
    let size = copy_files(folder.path(), copy.path())?;
    drop(engine);
    cells.push(Cell { name: "whole run: CPU s".into(), value: Usage::now().cpu_seconds - all.cpu_seconds });
    cells.push(Cell { name: "size of the files: MB".into(), value: size as f64 / 1e6 });
    for (name, folder) in [("open after a clean close: ms", &folder), ("open after a kill: ms", &copy)] {
        let start = Instant::now();
        let engine = E::open(folder.path())?;
        cells.push(Cell { name: name.into(), value: start.elapsed().as_secs_f64() * 1e3 });
        for (at, rev) in work.revs.iter().enumerate() {
            let found = engine.load(&Workload::key(at as u64))?;
            if found.map(|(rev, _)| rev) != Some(*rev) {
                bail!("{}: item {at} should have revision {rev}, has {found:?}", E::NAME);
            }
        }
        let due = engine.due(i64::MAX, usize::MAX)?;
        ensure!(due as u64 == items, "{}: {due} due entries for {items} items", E::NAME);
    }
    let start = Instant::now();
    drop(E::open_checked(folder.path())?);
    cells.push(Cell { name: "open and verify: ms".into(), value: start.elapsed().as_secs_f64() * 1e3 });
    Ok(cells)
}

/// Copies a folder and returns how many bytes its files take on disk.
fn copy_files(from: &Path, to: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            size += copy_files(&entry.path(), &target)?;
        } else {
            size += blocks(&entry.metadata()?);
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(size)
}

#[cfg(unix)]
fn blocks(file: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn blocks(file: &fs::Metadata) -> u64 {
    file.len()
}
