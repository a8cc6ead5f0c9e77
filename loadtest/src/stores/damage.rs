//! What each engine makes of a commit torn by a power cut, and of a byte that changed on the disk.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, ensure};

use super::{Cell, Engine, Workload};

const ITEMS: u64 = 2_000;
const BATCH: usize = 64;
const TORN_IMAGES: usize = 200;
const FLIPPED_BITS: usize = 200;
/// More than one row.
const NEIGHBOURING_BYTES: usize = 1_300;
/// What a disk writes at once.
const BLOCK_BYTES: usize = 4_096;

/// The files of a folder.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// How often each outcome was seen.
#[derive(Default)]
struct Outcomes {
    whole: u32,
    refused: u32,
    wrong: u32,
    panicked: u32,
}

impl Outcomes {
    fn cells(&self, what: &str) -> Vec<Cell> {
        [
            ("all data read", self.whole),
            ("error", self.refused),
            ("panic", self.panicked),
            ("WRONG DATA, NO ERROR", self.wrong),
        ]
        .map(|(outcome, count)| Cell { name: format!("{what}: {outcome}"), value: f64::from(count) })
        .into()
    }
}

/// Damages copies of a small store in seeded ways and counts what reading them gives.
pub(super) fn measure<E: Engine>(base: &Path) -> Result<Vec<Cell>> {
    let folder = tempfile::tempdir_in(base)?;
    let mut work = Workload::new(ITEMS);
    let engine = E::open(folder.path())?;
    for _ in 0..ITEMS.div_ceil(BATCH as u64) {
        engine.save(&work.batch(BATCH))?;
    }
    let (mut before, old) = (Image::new(), work.revs.clone());
    read_files(folder.path(), folder.path(), &mut before)?;
    engine.save(&work.batch(BATCH))?;
    let mut after = Image::new();
    read_files(folder.path(), folder.path(), &mut after)?;
    drop(engine);
    let mut closed = Image::new();
    read_files(folder.path(), folder.path(), &mut closed)?;

    let mut sound = Outcomes::default();
    try_image::<E>(base, &closed, &[&work.revs], &mut sound)?;
    ensure!(sound.whole == 1, "{}: an undamaged copy cannot be read", E::NAME);

    let mut torn = Outcomes::default();
    let changed = changed_blocks(&before, &after);
    ensure!(!changed.is_empty(), "the commit changed no file");
    for _ in 0..TORN_IMAGES {
        let mut image = after.clone();
        let missing = work.next() % 4 + 1;
        for _ in 0..missing {
            let (file, start) = &changed[(work.next() % changed.len() as u64) as usize];
            let bytes = image.get_mut(file).ok_or_else(|| anyhow!("no {}", file.display()))?;
            let end = bytes.len().min(start + BLOCK_BYTES);
            let old = before.get(file).and_then(|old| old.get(*start..end));
            match old {
                Some(old) => bytes[*start..end].copy_from_slice(old),
                None => bytes[*start..end].fill(0),
            }
        }
        // The commit had not returned: all of it or nothing of it may be there.
        try_image::<E>(base, &image, &[&old, &work.revs], &mut torn)?;
    }

    let mut flipped = Outcomes::default();
    let used: Vec<(&PathBuf, usize)> = closed
        .iter()
        .flat_map(|(file, bytes)| bytes.iter().enumerate().filter(|(_, b)| **b != 0).map(move |(at, _)| (file, at)))
        .collect();
    for _ in 0..FLIPPED_BITS {
        let (file, at) = used[(work.next() % used.len() as u64) as usize];
        let image = with_flipped_bit(&closed, file, at, (work.next() % 8) as u32);
        try_image::<E>(base, &image, &[&work.revs], &mut flipped)?;
    }

    // Every part of some row, its first byte included, which scattered flips seldom meet.
    let mut neighbours = Outcomes::default();
    for (file, at) in &used[used.len() / 2..][..NEIGHBOURING_BYTES] {
        let image = with_flipped_bit(&closed, file, *at, 4);
        try_image::<E>(base, &image, &[&work.revs], &mut neighbours)?;
    }
    Ok([
        torn.cells(&format!("{TORN_IMAGES} torn commits")),
        flipped.cells(&format!("{FLIPPED_BITS} flipped bits")),
        neighbours.cells(&format!("a bit in each of {NEIGHBOURING_BYTES} bytes")),
    ]
    .concat())
}

fn with_flipped_bit(image: &Image, file: &Path, at: usize, bit: u32) -> Image {
    let mut image = image.clone();
    if let Some(bytes) = image.get_mut(file) {
        bytes[at] ^= 1 << bit;
    }
    image
}

fn try_image<E: Engine>(base: &Path, image: &Image, allowed: &[&Vec<u64>], outcomes: &mut Outcomes) -> Result<()> {
    let folder = tempfile::tempdir_in(base)?;
    for (file, bytes) in image {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
        fs::write(path, bytes)?;
    }
    let read = catch_unwind(AssertUnwindSafe(|| {
        let engine = E::open_checked(folder.path())?;
        (0..ITEMS)
            .map(|at| Ok(engine.load(&Workload::key(at))?.map_or(0, |(rev, _)| rev)))
            .collect::<Result<Vec<u64>>>()
    }));
    match read {
        Err(_) => outcomes.panicked += 1,
        Ok(Err(_)) => outcomes.refused += 1,
        Ok(Ok(revs)) if allowed.contains(&&revs) => outcomes.whole += 1,
        Ok(Ok(_)) => outcomes.wrong += 1,
    }
    Ok(())
}

fn read_files(root: &Path, folder: &Path, image: &mut Image) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_files(root, &path, image)?;
        } else {
            let mut bytes = fs::read(&path)?;
            // A preallocated file ends in nothing.
            bytes.truncate(
                bytes.iter().rposition(|b| *b != 0).map_or(0, |last| (last + 2 * BLOCK_BYTES).min(bytes.len())),
            );
            image.insert(path.strip_prefix(root)?.to_owned(), bytes);
        }
    }
    Ok(())
}

fn changed_blocks(before: &Image, after: &Image) -> Vec<(PathBuf, usize)> {
    let mut changed = Vec::new();
    for (file, bytes) in after {
        let old = before.get(file);
        for (at, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let start = at * BLOCK_BYTES;
            if old.and_then(|old| old.get(start..start + block.len())) != Some(block) && block.iter().any(|b| *b != 0) {
                changed.push((file.clone(), start));
            }
        }
    }
    changed
}
