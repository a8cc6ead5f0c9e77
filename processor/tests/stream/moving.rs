//! How shards change hands and shapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sessionwarden::stream::WorkerSettings;
use sessionwarden_machine::lease::{Checkpoint, LeaseSettings, ShardId};

use super::bed::{Bed, Memory, SOON, STREAM, quick, until};

/// With the settings as they are by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_hands_its_shards_over_within_two_seconds() {
    let bed = Bed::new(2).await;
    let sink = Memory::new();
    let a = bed.start("a", WorkerSettings::default(), &sink).await;
    bed.put(0, 200, 10).await;
    until("200 records", SOON, || sink.got().len() == 200).await;
    let b = bed.start("b", WorkerSettings::default(), &sink).await;
    until("a shard each", SOON, || a.shards().len() == 1 && b.shards().len() == 1).await;
    let left = a.shards().into_iter().next().unwrap();

    let begun = Instant::now();
    assert!(a.stop().await.left_behind.is_empty());
    bed.put(200, 200, 10).await;
    let second = || sink.got().iter().filter(|got| got.number() >= 200).count() == 200;
    until("the other 200", Duration::from_secs(2).saturating_sub(begun.elapsed()), second).await;
    assert!(sink.got().iter().any(|got| got.shard == left && got.number() >= 200));
    assert_eq!(sink.got().len(), 400);
    sink.assert_ordered();
    assert_eq!(b.status.borrow().gaps, []);
    b.stop().await;
}

/// I8: what a killed worker had under way is read again.
#[tokio::test(flavor = "multi_thread")]
async fn shards_of_a_killed_worker_are_read_again_and_nothing_is_lost() {
    let fail_over_ms = 1_500;
    let bed = Bed::new(3).await;
    bed.put(0, 2_000, 10).await;
    // Each reader hangs in the middle of its records: no shard has as few as three batches.
    let doomed = Memory::hanging_after(3);
    let a = bed.start("a", quick(fail_over_ms), &doomed).await;
    until("it hangs", SOON, || doomed.calls.load(Ordering::Relaxed) == 6).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let sink = Memory::new();
    a.kill();
    let killed = Instant::now();
    let b = bed.start("b", quick(fail_over_ms), &sink).await;
    let all = || doomed.numbers().union(&sink.numbers()).copied().collect::<BTreeSet<u64>>().len() == 2_000;
    until("all shards again", Duration::from_millis(fail_over_ms + 5_000), || b.shards().len() == 3).await;
    until("all records", SOON, all).await;
    let first = sink.got().iter().map(|got| got.at).min().unwrap();
    assert!(first - killed < Duration::from_millis(fail_over_ms + 5_000));

    // Only what was not checkpointed came twice, and each shard's fence is a higher one.
    assert!(sink.got().len() < 2_000, "{} of 2,000 records were read again", sink.got().len());
    sink.assert_ordered();
    let mut fences: BTreeMap<ShardId, u64> = BTreeMap::new();
    for got in doomed.got().iter() {
        fences.insert(got.shard.clone(), got.fence);
    }
    assert!(sink.got().iter().all(|got| fences.get(&got.shard).is_none_or(|before| *before < got.fence)));
    b.stop().await;
}

/// Parents first, both halves of a merge first; no record lost, none twice.
#[tokio::test(flavor = "multi_thread")]
async fn shards_that_split_and_merge_under_load_are_read_parents_first() {
    let bed = Arc::new(Bed::new(2).await);
    let sink = Memory::new();
    let a = bed.start("a", quick(3_000), &sink).await;
    let b = bed.start("b", quick(3_000), &sink).await;
    let load = tokio::spawn({
        let bed = Arc::clone(&bed);
        async move {
            for batch in 0..60 {
                bed.put(batch * 50, 50, 25).await;
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (shard, begin, end) = bed.open_shards().await.remove(0);
    let middle = u128::midpoint(begin.parse().unwrap(), end.parse().unwrap());
    let split = bed.kinesis.split_shard().stream_name(STREAM).shard_to_split(&shard);
    split.new_starting_hash_key(middle.to_string()).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let open = bed.open_shards().await;
    assert_eq!(open.len(), 3);
    let merge = bed.kinesis.merge_shards().stream_name(STREAM);
    merge.shard_to_merge(&open[1].0).adjacent_shard_to_merge(&open[2].0).send().await.unwrap();
    load.await.unwrap();
    until("3,000 records", SOON, || sink.numbers().len() == 3_000).await;
    assert_eq!(sink.got().len(), 3_000, "records came twice");
    sink.assert_ordered();

    let listed = bed.kinesis.list_shards().stream_name(STREAM).send().await.unwrap();
    let got = sink.got().clone();
    let first = |id: &str| got.iter().position(|got| &*got.shard.0 == id);
    let last = |id: &str| got.iter().rposition(|got| &*got.shard.0 == id);
    let mut pairs = 0;
    for shard in listed.shards() {
        for parent in [shard.parent_shard_id(), shard.adjacent_parent_shard_id()].into_iter().flatten() {
            pairs += 1;
            if let (Some(parent), Some(child)) = (last(parent), first(shard.shard_id())) {
                assert!(parent < child, "{} was read before its parent had ended", shard.shard_id());
            }
        }
    }
    assert_eq!(pairs, 4);
    until("three parents ended", SOON, || a.status.borrow().movements.ended + b.status.borrow().movements.ended == 3)
        .await;
    for row in bed.leases.list().await.unwrap().iter().filter(|row| !row.children.is_empty()) {
        assert_eq!(row.checkpoint, Checkpoint::ShardEnd);
    }
    a.stop().await;
    b.stop().await;
}

/// TOOLBOX "design out": a consumer that stalls while its lease is still renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_reader_hangs_goes_to_another_worker() {
    let fail_over_ms = 1_200;
    let bed = Bed::new(1).await;
    bed.put(0, 100, 5).await;
    let hanging = Memory::hanging_after(0);
    let a = bed.start("a", quick(fail_over_ms), &hanging).await;
    until("it hangs", SOON, || hanging.calls.load(Ordering::Relaxed) == 1).await;
    let sink = Memory::new();
    let b = bed.start("b", quick(fail_over_ms), &sink).await;
    // The stall is noticed after the fail-over time, and the lease expires after another one.
    until("all records", Duration::from_millis(2 * fail_over_ms + 5_000), || sink.numbers().len() == 100).await;
    until("the loss is counted", SOON, || a.status.borrow().movements.lost == 1).await;
    assert_eq!(hanging.got().len(), 0);
    b.stop().await;
    a.kill();
}

/// TOOLBOX "design out": a hand-off that leaves the shard silent. The owner cannot drain; the taker forces it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_that_cannot_be_drained_is_forced() {
    let bed = Bed::new(2).await;
    bed.put(0, 100, 20).await;
    let sink = Memory::new();
    sink.failing.store(u32::MAX, Ordering::Relaxed);
    let leases = LeaseSettings { fail_over_ms: 8_000, hand_off_ms_max: 800, ..LeaseSettings::default() };
    let settings = WorkerSettings { leases, ..quick(8_000) };
    let a = bed.start("a", settings.clone(), &sink).await;
    until("both shards", SOON, || a.shards().len() == 2).await;
    let other = Memory::new();
    let b = bed.start("b", settings, &other).await;
    until("a shard moves", Duration::from_secs(5), || b.shards().len() == 1).await;
    let moved = b.shards();
    until("it is read", Duration::from_secs(3), || other.got().iter().any(|got| moved.contains(&got.shard))).await;
    until("the loss is seen", SOON, || a.status.borrow().movements.lost == 1).await;
    b.stop().await;
    a.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_cannot_drain_ends_in_time_and_says_what_it_left() {
    let bed = Bed::new(1).await;
    bed.put(0, 10, 5).await;
    let hanging = Memory::hanging_after(0);
    let settings = WorkerSettings { stop_ms_max: 300, ..quick(3_000) };
    let a = bed.start("a", settings, &hanging).await;
    until("it hangs", SOON, || hanging.calls.load(Ordering::Relaxed) == 1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(2), a.stop()).await.unwrap();
    assert_eq!(stopped.left_behind, BTreeSet::from([ShardId::from("shardId-000000000000")]));
    assert_eq!(bed.leases.list().await.unwrap()[0].checkpoint, Checkpoint::TrimHorizon);
}
