//! Splits and merges under way, and rows that somebody deletes.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Split(prop::sample::Index),
    Merge(prop::sample::Index),
    Sync,
    Read(prop::sample::Index),
    End(prop::sample::Index),
    Delete(prop::sample::Index, bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let which = any::<prop::sample::Index>;
    let one = prop_oneof![
        1 => which().prop_map(Move::Split),
        1 => which().prop_map(Move::Merge),
        3 => Just(Move::Sync),
        4 => which().prop_map(Move::Read),
        3 => which().prop_map(Move::End),
        1 => (which(), any::<bool>()).prop_map(|(which, seen)| Move::Delete(which, seen)),
    ];
    prop::collection::vec(one, 0..120)
}

#[derive(Default)]
struct Stream {
    listed: BTreeMap<ShardId, ListedShard>,
    leases: Leases,
    vanished: Leases,
    ended: BTreeSet<ShardId>,
}

impl Stream {
    fn add(&mut self, parents: BTreeSet<ShardId>, range: HashRange) {
        let shard = ShardId::from(&*format!("shardId-{:012}", self.listed.len()));
        self.listed.insert(shard.clone(), ListedShard { shard, parents, range });
    }

    /// Shards without children, in the order of their keys.
    fn open(&self) -> Vec<ListedShard> {
        let closed: BTreeSet<&ShardId> = self.listed.values().flat_map(|listed| &listed.parents).collect();
        let mut open: Vec<_> = self.listed.values().filter(|listed| !closed.contains(&listed.shard)).cloned().collect();
        open.sort_by_key(|listed| listed.range);
        open
    }

    fn sync(&mut self) {
        for step in sync_shards(&self.leases, &self.vanished, &self.listed, Start::TrimHorizon) {
            match step {
                ShardStep::Create(lease) => {
                    self.vanished.remove(&lease.shard);
                    assert!(self.leases.insert(lease.shard.clone(), lease).is_none());
                }
                ShardStep::Delete { shard, .. } => self.vanish(&shard, true),
                ShardStep::Gap(gap) => panic!("{gap:?}"),
            }
        }
    }

    fn vanish(&mut self, shard: &ShardId, seen: bool) {
        if let Some(lease) = self.leases.remove(shard)
            && seen
        {
            self.vanished.insert(shard.clone(), lease);
        }
    }

    fn readable(&self) -> Vec<ShardId> {
        let may = |lease: &&Lease| readable(lease, &self.leases) == Readable::Yes;
        self.leases.values().filter(may).map(|lease| lease.shard.clone()).collect()
    }

    fn set(&mut self, shard: &ShardId, checkpoint: Checkpoint) -> Result<(), TestCaseError> {
        for parent in &self.listed[shard].parents {
            prop_assert!(self.ended.contains(parent), "{} before {}", shard, parent);
        }
        self.leases.get_mut(shard).unwrap().checkpoint = checkpoint;
        Ok(())
    }

    /// Ends a shard that is closed, once its children have rows.
    fn end(&mut self, shard: &ShardId) -> Result<(), TestCaseError> {
        let children = self.listed.values().filter(|listed| listed.parents.contains(shard));
        let children: BTreeSet<ShardId> = children.map(|listed| listed.shard.clone()).collect();
        if !children.is_empty() {
            self.sync();
            self.set(shard, Checkpoint::ShardEnd)?;
            self.ended.insert(shard.clone());
            self.leases.get_mut(shard).unwrap().children = children;
        }
        Ok(())
    }

    fn go(&mut self, step: &Move) -> Result<(), TestCaseError> {
        let (open, readable) = (self.open(), self.readable());
        match step {
            Move::Split(which) => {
                let HashRange { start, end } = open[which.index(open.len())].range;
                let parents = BTreeSet::from([open[which.index(open.len())].shard.clone()]);
                let middle = start + (end - start) / 2;
                self.add(parents.clone(), HashRange { start, end: middle });
                self.add(parents, HashRange { start: middle + 1, end });
            }
            Move::Merge(which) if open.len() > 1 => {
                let left = which.index(open.len() - 1);
                let parents = [open[left].shard.clone(), open[left + 1].shard.clone()].into();
                self.add(parents, HashRange { start: open[left].range.start, end: open[left + 1].range.end });
            }
            Move::Sync => self.sync(),
            Move::Read(which) if !readable.is_empty() => {
                self.set(&readable[which.index(readable.len())], Checkpoint::Sequence(at(1)))?;
            }
            Move::End(which) if !readable.is_empty() => self.end(&readable[which.index(readable.len())])?,
            Move::Delete(which, seen) if !self.leases.is_empty() => {
                let shard = self.leases.keys().nth(which.index(self.leases.len())).unwrap().clone();
                self.vanish(&shard, *seen);
            }
            Move::Merge(_) | Move::Read(_) | Move::End(_) | Move::Delete(..) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_shard_is_read_after_its_parents_whatever_is_split_merged_or_deleted(moves in moves()) {
        let mut stream = Stream::default();
        stream.add(BTreeSet::new(), HashRange { start: 0, end: u128::MAX });
        for step in &moves {
            stream.go(step)?;
        }
        for _ in 0..=stream.listed.len() {
            stream.sync();
            for shard in stream.readable() {
                stream.set(&shard, Checkpoint::Sequence(at(1)))?;
                stream.end(&shard)?;
            }
        }
        stream.sync();
        let open: BTreeSet<ShardId> = stream.open().into_iter().map(|listed| listed.shard).collect();
        prop_assert_eq!(stream.ended.len() + open.len(), stream.listed.len(), "a shard was never read to its end");
        let left: BTreeSet<ShardId> = stream.leases.keys().cloned().collect();
        prop_assert_eq!(left, open, "ended leases are gone, open shards have one");
        prop_assert_eq!(coverage(&stream.leases), []);
        let again = sync_shards(&stream.leases, &stream.vanished, &stream.listed, Start::TrimHorizon);
        prop_assert_eq!(again, []);
    }
}
