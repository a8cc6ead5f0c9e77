//! What arrives: all of it, in order, and nothing passed over.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sessionwarden::stream::{StreamError, Unfit};
use sessionwarden_machine::lease::{Checkpoint, ReadFrom, ShardId};
use sessionwarden_testbed::{StoreOptions, quick_kinesis};

use super::{
    bed::{Bed, Got, Memory, SOON, quick, start, until},
    ports::{FaultyStream, StreamFaults},
};

#[tokio::test(flavor = "multi_thread")]
async fn all_records_of_several_shards_arrive_once_and_in_order() {
    let bed = Bed::new(4).await;
    bed.put(0, 3_000, 20).await;
    let sink = Memory::new();
    let a = bed.start("a", quick(5_000), &sink).await;
    let b = bed.start("b", quick(5_000), &sink).await;
    bed.put(3_000, 3_000, 20).await;
    until("6,000 records", SOON, || sink.got().len() >= 6_000).await;
    until("two shards each", SOON, || a.shards().len() == 2 && b.shards().len() == 2).await;
    bed.put(6_000, 500, 20).await;
    until("500 more", SOON, || sink.got().len() >= 6_500).await;

    // Hand-overs included: a shard is drained and checkpointed before it changes hands.
    assert_eq!(sink.numbers(), (0..6_500).collect());
    assert_eq!(sink.got().len(), 6_500);
    sink.assert_ordered();
    let shards: BTreeSet<ShardId> = sink.got().iter().map(|got| got.shard.clone()).collect();
    assert_eq!(shards.len(), 4);
    for running in [a, b] {
        until("no lag", SOON, || running.status.borrow().shards.values().all(|shard| shard.behind_ms == Some(0))).await;
        assert_eq!(running.status.borrow().holes, []);
        assert!(running.stop().await.left_behind.is_empty());
    }
    let rows = bed.leases.list().await.unwrap();
    assert!(rows.iter().all(|row| row.owner.is_none() && matches!(row.checkpoint, Checkpoint::Sequence(_))));
}

/// TOOLBOX "design out": records skipped when processing throws. I2: no checkpoint over what is not durable.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_given_the_same_records_again_and_nothing_is_checkpointed() {
    let bed = Bed::new(1).await;
    bed.put(0, 250, 3).await;
    let sink = Memory::new();
    sink.failing.store(u32::MAX, Ordering::Relaxed);
    let running = bed.start("a", quick(2_000), &sink).await;
    until("some attempts", SOON, || sink.calls.load(Ordering::Relaxed) >= 8).await;
    let rows = bed.leases.list().await.unwrap();
    assert_eq!(rows[0].checkpoint, Checkpoint::TrimHorizon);
    assert!(rows[0].owner.is_some());
    let shown = running.status.borrow().shards.values().next().cloned().unwrap();
    assert_eq!((shown.records, shown.outstanding), (0, 100));
    assert_eq!(shown.error.as_deref(), Some("as the test wants"));

    sink.failing.store(0, Ordering::Relaxed);
    until("all records", SOON, || sink.got().len() >= 250).await;
    let numbers: Vec<u64> = sink.got().iter().map(Got::number).collect();
    assert_eq!(numbers, (0..250).collect::<Vec<_>>());
    let last = sink.got().last().unwrap().sequence.clone();
    running.stop().await;
    let rows = bed.leases.list().await.unwrap();
    assert_eq!(rows[0].checkpoint.text(), last.as_str());
}

/// TOOLBOX "design out": an expired iterator restarted from the start position.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_iterator_goes_on_behind_the_last_record() {
    let options = StoreOptions { iterator_ttl_seconds: 1, ..quick_kinesis() };
    let bed = Bed::with(1, options).await;
    bed.put(0, 50, 3).await;
    let sink = Memory::new();
    sink.slow_ms.store(1_500, Ordering::Relaxed);
    let faults = Arc::<StreamFaults>::default();
    let stream = FaultyStream(bed.stream(), Arc::clone(&faults));
    let running = start("a", quick(10_000), stream, bed.leases.clone(), &sink).await;
    until("the first batch", SOON, || sink.got().len() == 50).await;
    sink.slow_ms.store(0, Ordering::Relaxed);
    bed.put(50, 50, 3).await;
    until("the second batch", SOON, || sink.got().len() >= 100).await;
    let last = sink.got()[49].sequence.clone();
    assert_eq!(sink.numbers(), (0..100).collect());
    assert_eq!(sink.got().len(), 100);
    let opened: Vec<ReadFrom> = faults.opened.lock().unwrap().iter().map(|(_, from)| from.clone()).collect();
    assert_eq!(opened, [ReadFrom::TrimHorizon, ReadFrom::After(last)]);
    running.stop().await;
}

/// TOOLBOX "design out": a checkpoint older than what is kept, read for ever without a record.
#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_checkpoint_is_told_and_reading_goes_on_at_the_oldest_record() {
    let bed = Bed::new(1).await;
    bed.put(0, 10, 3).await;
    let sink = Memory::new();
    let running = bed.start("a", quick(2_000), &sink).await;
    until("ten records", SOON, || sink.got().len() == 10).await;
    running.stop().await;
    let before = bed.leases.list().await.unwrap()[0].checkpoint.clone();

    let faults = Arc::<StreamFaults>::default();
    faults.opens_after.lock().unwrap().push_back(StreamError::Trimmed("gone".to_owned()));
    let stream = FaultyStream(bed.stream(), Arc::clone(&faults));
    let running = start("b", quick(2_000), stream, bed.leases.clone(), &sink).await;
    until("what is there", SOON, || sink.got().len() == 20).await;
    until("a gap", SOON, || running.status.borrow().gaps.len() == 1).await;
    assert_eq!(running.status.borrow().gaps[0].after, before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_and_unanswered_readings_are_tried_again() {
    let bed = Bed::new(1).await;
    bed.put(0, 300, 3).await;
    let faults = Arc::<StreamFaults>::default();
    let errors = (0..10).map(|number| match number % 3 {
        0 => StreamError::Throttled("too much".to_owned()),
        1 => StreamError::Unknown("no answer".to_owned()),
        _ => StreamError::Denied("not now".to_owned()),
    });
    faults.reads.lock().unwrap().extend(errors);
    let sink = Memory::new();
    let stream = FaultyStream(bed.stream(), Arc::clone(&faults));
    let running = start("a", quick(5_000), stream, bed.leases.clone(), &sink).await;
    until("all records", SOON, || sink.got().len() >= 300).await;
    assert_eq!(sink.numbers(), (0..300).collect());
    assert_eq!(sink.got().len(), 300);
    assert_eq!(faults.opened.lock().unwrap().len(), 1);
    running.stop().await;
}

/// Writers that Kinesis throttles lose nothing on the way to the sink.
#[tokio::test(flavor = "multi_thread")]
async fn throttled_puts_arrive_once_they_are_taken() {
    let options = StoreOptions { enforce_limits: true, ..quick_kinesis() };
    let bed = Bed::with(1, options).await;
    let sink = Memory::new();
    let running = bed.start("a", quick(5_000), &sink).await;
    let (mut number, mut throttled) = (0_u64, 0);
    while number < 1_500 {
        let entry = |number: u64| {
            let entry = aws_sdk_kinesis::types::PutRecordsRequestEntry::builder();
            let data = aws_sdk_kinesis::primitives::Blob::new(number.to_string());
            entry.data(data).partition_key("key").build().unwrap()
        };
        let entries: Vec<_> = (number..number + 250).map(entry).collect();
        let put = bed.kinesis.put_records().stream_name(super::bed::STREAM).set_records(Some(entries)).send().await;
        let refused = put.map_or(250, |put| u64::try_from(put.failed_record_count().unwrap_or(0)).unwrap());
        // The first ones of a call were taken; the rest is put again.
        number += 250 - refused;
        if refused > 0 {
            throttled += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(throttled > 0, "the server never throttled");
    until("all records", SOON, || sink.numbers().len() as u64 >= number).await;
    assert_eq!(sink.numbers(), (0..number).collect());
    running.stop().await;
}

/// I12
#[tokio::test(flavor = "multi_thread")]
async fn aggregated_and_oversized_records_are_parked_and_the_shard_goes_on() {
    let bed = Bed::new(1).await;
    bed.put_at(0, b"1").await;
    bed.put_at(0, &[0xF3, 0x89, 0x9A, 0xC2, 7, 7]).await;
    bed.put_at(0, b"2").await;
    let sink = Memory::new();
    let running = bed.start("a", quick(5_000), &sink).await;
    until("both records", SOON, || sink.got().len() == 2).await;
    assert_eq!(sink.parked(), [(ShardId::from("shardId-000000000000"), Unfit::Aggregated)]);
    until("counted", SOON, || {
        running.status.borrow().shards.values().all(|shard| (shard.records, shard.parked) == (3, 1))
    })
    .await;
    running.stop().await;
    let rows = bed.leases.list().await.unwrap();
    assert_eq!(rows[0].checkpoint.text(), sink.got()[1].sequence.as_str());
}
