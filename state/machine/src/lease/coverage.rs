//! Whether the leases cover all hash keys.

use std::collections::BTreeSet;

use super::{HashRange, Lease, Leases};

/// What is wrong with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoleKind {
    /// No leaf covers it: its records are read by nobody.
    Uncovered,
    /// Two leaves cover it.
    Overlap,
}

/// A range of hash keys that is not covered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// The keys, both ends included.
    pub range: HashRange,
    /// What is wrong.
    pub kind: HoleKind,
}

/// Holes and overlaps of 0 to 2^128 − 1 among the leaf leases: those that no other row has as a parent.
///
/// While the children of a shard are being created one after the other, the missing one is a hole; whoever reports
/// holes asks twice, with [`super::sync_shards`] in between. Ranges that end before they start cover nothing.
pub fn coverage(leases: &Leases) -> Vec<Hole> {
    let of_children = leases.values().flat_map(|lease| &lease.parents);
    let with_rows = leases.values().filter(|lease| lease.children.iter().any(|child| leases.contains_key(child)));
    let parents: BTreeSet<_> = of_children.chain(with_rows.map(|lease| &lease.shard)).collect();
    let leaf = |lease: &&Lease| !parents.contains(&lease.shard) && lease.range.start <= lease.range.end;
    let mut ranges: Vec<HashRange> = leases.values().filter(leaf).map(|lease| lease.range).collect();
    ranges.sort_unstable();

    let mut holes = Vec::new();
    // The first key that no range so far covers; `None` once the last key is covered.
    let mut next = Some(0_u128);
    for HashRange { start, end } in ranges {
        match next {
            Some(free) if start > free => {
                holes.push(Hole { range: HashRange { start: free, end: start - 1 }, kind: HoleKind::Uncovered });
            }
            Some(free) if start < free => {
                let range = HashRange { start, end: end.min(free - 1) };
                holes.push(Hole { range, kind: HoleKind::Overlap });
            }
            Some(_) => {}
            None => holes.push(Hole { range: HashRange { start, end }, kind: HoleKind::Overlap }),
        }
        next = next.and_then(|free| end.checked_add(1).map(|after| free.max(after)));
    }
    if let Some(start) = next {
        holes.push(Hole { range: HashRange { start, end: u128::MAX }, kind: HoleKind::Uncovered });
    }
    holes
}
