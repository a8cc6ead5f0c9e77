//! Lease tables and streams that fail.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use sessionwarden::stream::WorkerSettings;
use sessionwarden_machine::lease::{HoleKind, LeaseSettings, ShardId, WorkerId};

use super::{
    bed::{Bed, Memory, SOON, STREAM, quick, start, until},
    ports::{FaultyStream, FaultyTable, StreamFaults, TableFaults},
};

/// I3, and TOOLBOX "design out": a checkpoint written after the lease was lost. The lease loop itself hangs, so that the
/// readers have only the clock to go by.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_reach_its_leases_stops_before_another_begins() {
    let fail_over_ms = 1_500;
    let bed = Bed::new(1).await;
    let faults = Arc::<TableFaults>::default();
    let cut_off = Memory::new();
    let table = FaultyTable(bed.leases.clone(), Arc::clone(&faults));
    let a = start("a", quick(fail_over_ms), bed.stream(), table, &cut_off).await;
    bed.put(0, 10, 5).await;
    until("ten records", SOON, || cut_off.got().len() == 10).await;
    faults.hangs.store(true, Ordering::Relaxed);
    let sink = Memory::new();
    let b = bed.start("b", quick(fail_over_ms), &sink).await;
    let begun = Instant::now();
    let mut number = 10;
    while begun.elapsed() < Duration::from_millis(fail_over_ms + 2_500) {
        bed.put(number, 1, 5).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = || cut_off.numbers().union(&sink.numbers()).copied().collect::<BTreeSet<u64>>().len() as u64 == number;
    until("all records", SOON, all).await;
    let last = cut_off.got().iter().map(|got| got.at).max().unwrap();
    let first = sink.got().iter().map(|got| got.at).min().unwrap();
    assert!(last < first, "both read at the same time");
    assert!(last - begun > Duration::from_millis(fail_over_ms / 4), "it stopped at the first sign of trouble");
    b.stop().await;
    a.kill();
}

/// TOOLBOX "design out": a retried write whose answer was lost read as a lost lease; memory updated although the write
/// failed.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_throttled_writes_lose_no_shard() {
    let bed = Bed::new(2).await;
    let faults = Arc::<TableFaults>::default();
    // The rows are created, and both are taken, by writes whose answers are lost.
    faults.answers_lost.store(2, Ordering::Relaxed);
    let sink = Memory::new();
    let table = FaultyTable(bed.leases.clone(), Arc::clone(&faults));
    let a = start("a", quick(3_000), bed.stream(), table, &sink).await;
    until("both shards", SOON, || a.shards().len() == 2).await;
    for batch in 0..20 {
        bed.put(batch * 20, 20, 5).await;
        faults.answers_lost.store(1, Ordering::Relaxed);
        faults.throttled.store(2, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    until("all records", SOON, || sink.got().len() >= 400).await;
    assert_eq!(sink.numbers(), (0..400).collect());
    assert_eq!(sink.got().len(), 400);
    assert_eq!(a.status.borrow().movements.lost, 0);
    a.stop().await;
}

/// TOOLBOX "design out": a deleted lease row never read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_is_created_again_where_it_was() {
    let bed = Bed::new(2).await;
    bed.put(0, 200, 20).await;
    let sink = Memory::new();
    let a = bed.start("a", quick(2_000), &sink).await;
    until("200 records", SOON, || sink.got().len() == 200).await;
    let shard = "shardId-000000000000";
    // The checkpoint is written within two rounds.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let delete = bed.rows.delete_item().table_name(&bed.table);
    delete.key("leaseKey", AttributeValue::S(shard.to_owned())).send().await.unwrap();
    until("the loss is seen", SOON, || a.status.borrow().movements.lost == 1).await;
    bed.put(200, 200, 20).await;
    until("200 more", SOON, || sink.numbers().len() == 400).await;
    assert!(a.shards().contains(&ShardId::from(shard)));
    assert_eq!(sink.got().len(), 400, "it was read from the beginning");
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_ends_the_worker_with_a_reason() {
    let bed = Bed::new(1).await;
    bed.put(0, 10, 5).await;
    let sink = Memory::new();
    let a = bed.start("a", quick(2_000), &sink).await;
    until("ten records", SOON, || sink.got().len() == 10).await;
    bed.kinesis.delete_stream().stream_name(STREAM).send().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), a.task).await.unwrap().unwrap();
    assert!(ended.unwrap_err().to_string().starts_with("the stream does not exist: ResourceNotFoundException"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_was_ends_the_worker_with_a_reason() {
    let bed = Bed::new(0).await;
    let a = bed.start("a", quick(2_000), &Memory::new()).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), a.task).await.unwrap().unwrap();
    assert!(ended.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_keys_that_nobody_covers_are_told_and_covered_once_the_shard_is_listed() {
    let bed = Bed::new(2).await;
    let faults = Arc::<StreamFaults>::default();
    *faults.unlisted.lock().unwrap() = Some(ShardId::from("shardId-000000000001"));
    let settings = WorkerSettings { coverage_ms: 200, ..quick(2_000) };
    let stream = FaultyStream(bed.stream(), Arc::clone(&faults));
    let sink = Memory::new();
    let a = start("a", settings, stream, bed.leases.clone(), &sink).await;
    until("a hole", SOON, || a.status.borrow().holes.len() == 1).await;
    let hole = a.status.borrow().holes[0];
    assert_eq!((hole.kind, hole.range.end), (HoleKind::Uncovered, u128::MAX));
    *faults.unlisted.lock().unwrap() = None;
    until("no hole", SOON, || a.status.borrow().holes.is_empty() && a.shards().len() == 2).await;
    a.stop().await;
}

#[test]
fn settings_out_of_their_bounds_are_refused() {
    let me = || WorkerId::from("a");
    let refused = |settings| sessionwarden::stream::Worker::new(me(), settings).map(drop).unwrap_err().to_string();
    let leases = LeaseSettings { fail_over_ms: 10, ..LeaseSettings::default() };
    assert!(refused(WorkerSettings { leases, ..quick(1_000) }).contains("fail-over time is 10 ms"));
    assert!(refused(WorkerSettings { round_ms: 2_000, ..quick(1_000) }).contains("2000 ms"));
    assert!(refused(WorkerSettings { poll_ms: 500, ..quick(1_000) }).contains("500 and 100 ms"));
    assert!(refused(WorkerSettings { batch_max: 0, ..quick(1_000) }).contains("records handed on at once"));
    assert!(refused(WorkerSettings { retry_ms_max: 0, ..quick(1_000) }).contains("at least 1"));
}
