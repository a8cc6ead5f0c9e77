//! Enhanced fan-out: what is pushed arrives once and in order, whatever becomes of the subscriptions.
//!
//! What the server cannot show: its events name the children of a closed shard while records are still to come, and never
//! lack the number to go on at; a merged shard's second parent is told a child without the first one; it is never behind;
//! it trims nothing; it never ends a subscription with an error or takes one over; it looks for records five times a
//! second, so that its latency is not that of AWS; it speaks HTTP/1.1. It has no limit of two subscriptions within five
//! seconds and drops the place to begin at: [`Gate`] mends both. The shapes of AWS's events have unit tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_kinesis::Config;
use ferrokinesis::store::StoreOptions;
use sessionwarden::stream::{
    EventStream as _, FanOutError, FanOutSettings, FanOutStream, Kinesis, KinesisSettings, ReadBy, StreamError,
    WorkerSettings,
};
use sessionwarden_machine::lease::{Checkpoint, ReadFrom, SequenceNumber, ShardId};

use super::{
    bed::{Bed, Got, Memory, Running, SOON, STREAM, options, quick, start, until},
    ports::{FaultyStream, StreamFaults},
    proxy::{Gate, Proxy, Subscribed},
};

const CONSUMER: &str = "sessionwarden";

fn settings() -> FanOutSettings {
    FanOutSettings { wait_ms: 500, ..FanOutSettings::new(CONSUMER) }
}

/// A bed whose subscriptions pass this gate.
async fn bed(shards: i32, gate: &Gate, options: StoreOptions) -> Bed {
    Bed::over(shards, gate.server(options)).await
}

async fn pushed(config: &Config, settings: FanOutSettings) -> FanOutStream {
    FanOutStream::register(config, KinesisSettings::new(STREAM), settings).await.unwrap()
}

/// A worker that is pushed to through this proxy.
async fn through(proxy: &Proxy, bed: &Bed, settings: FanOutSettings, sink: &Arc<Memory>) -> Running {
    let config = bed.config.to_builder().endpoint_url(&proxy.url).build();
    let stream = pushed(&config, settings).await;
    start("a", quick(10_000), stream, bed.leases.clone(), sink).await
}

/// A shard is subscribed to from its start once; all else goes on where it was.
fn assert_goes_on(gate: &Gate, times_min: usize) {
    let mut calls: BTreeMap<String, Vec<Subscribed>> = BTreeMap::new();
    for call in gate.calls().into_iter().filter(|call| !call.refused) {
        calls.entry(call.shard.clone()).or_default().push(call);
    }
    for (shard, calls) in calls {
        assert!(calls.len() >= times_min, "{shard}: {calls:?}");
        assert_eq!(calls[0].kind, "TRIM_HORIZON", "{shard}");
        assert!(calls[1..].iter().all(|call| call.kind == "AT_SEQUENCE_NUMBER"), "{calls:?}");
        assert!(calls.is_sorted_by(|one, next| one.number <= next.number), "{calls:?}");
    }
}

/// The setting chooses; subscriptions end every 1.5 s instead of 5 min, and an event has 50 records at the most.
#[tokio::test(flavor = "multi_thread")]
async fn all_pushed_records_of_two_shards_arrive_once_and_in_order() {
    let gate = Gate::default();
    let options =
        StoreOptions { subscribe_to_shard_session_ms: 1_500, subscribe_to_shard_event_record_limit: 50, ..options() };
    let bed = bed(2, &gate, options).await;
    bed.put(0, 1_000, 20).await;
    let sink = Memory::new();
    let mut workers = Vec::new();
    for name in ["a", "b"] {
        let by = ReadBy::FanOut(settings());
        let stream = Kinesis::connect(&bed.config, KinesisSettings::new(STREAM), by).await.unwrap();
        workers.push(start(name, quick(5_000), stream, bed.leases.clone(), &sink).await);
    }
    bed.put(1_000, 500, 20).await;
    until("1,500 records", SOON, || sink.got().len() >= 1_500).await;
    until("a shard each", SOON, || workers.iter().all(|worker| worker.shards().len() == 1)).await;
    bed.put(1_500, 500, 20).await;
    until("2,000 records", SOON, || sink.got().len() >= 2_000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sink.numbers(), (0..2_000).collect());
    assert_eq!(sink.got().len(), 2_000);
    sink.assert_ordered();
    let kinds: BTreeSet<String> = gate.calls().into_iter().map(|call| call.kind).collect();
    assert!(kinds.contains("AT_SEQUENCE_NUMBER"), "no subscription ended: {kinds:?}");
    for worker in workers {
        assert_eq!(worker.status.borrow().gaps, []);
        assert!(worker.stop().await.left_behind.is_empty());
    }
    let rows = bed.leases.list().await.unwrap();
    assert!(rows.iter().all(|row| matches!(row.checkpoint, Checkpoint::Sequence(_))));
}

/// TOOLBOX "design out": a shard's end that is not noticed, or taken for one too early.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_splits_under_load_ends_and_its_children_follow() {
    let options = StoreOptions { subscribe_to_shard_event_record_limit: 40, ..options() };
    let bed = Arc::new(bed(2, &Gate::default(), options).await);
    let sink = Memory::new();
    let worker = start("a", quick(5_000), pushed(&bed.config, settings()).await, bed.leases.clone(), &sink).await;
    let load = tokio::spawn({
        let bed = Arc::clone(&bed);
        async move {
            for batch in 0..40 {
                bed.put(batch * 50, 50, 25).await;
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (parent, begin, end) = bed.open_shards().await.remove(0);
    let middle = u128::midpoint(begin.parse().unwrap(), end.parse().unwrap());
    let split = bed.kinesis.split_shard().stream_name(STREAM).shard_to_split(&parent);
    split.new_starting_hash_key(middle.to_string()).send().await.unwrap();
    load.await.unwrap();
    until("2,000 records", SOON, || sink.got().len() >= 2_000).await;
    assert_eq!(sink.numbers(), (0..2_000).collect());
    assert_eq!(sink.got().len(), 2_000);
    sink.assert_ordered();
    until("the end", SOON, || worker.status.borrow().movements.ended == 1).await;
    let rows = bed.leases.list().await.unwrap();
    let row = rows.iter().find(|row| *row.shard.0 == *parent).unwrap();
    assert_eq!((&row.checkpoint, row.children.len()), (&Checkpoint::ShardEnd, 2));
    let got = sink.got().clone();
    let last = got.iter().rposition(|got| got.shard == row.shard).unwrap();
    for child in &row.children {
        let first = got.iter().position(|got| got.shard == *child).unwrap();
        assert!(last < first, "{child} was read before its parent had ended");
    }
    worker.stop().await;
}

/// TOOLBOX "design out": an interruption after which reading begins at the start position again.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_break_lose_and_repeat_nothing() {
    let gate = Gate::default();
    let bed = bed(2, &gate, options()).await;
    let proxy = Proxy::to(bed.address).await;
    let sink = Memory::new();
    let worker = through(&proxy, &bed, settings(), &sink).await;
    let mut number = 0;
    for round in 0..60 {
        bed.put(number, 25, 10).await;
        number += 25;
        if round % 15 == 14 {
            proxy.cut();
        }
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    until("all records", SOON, || sink.got().len() as u64 >= number).await;
    assert_eq!(sink.numbers(), (0..number).collect());
    assert_eq!(sink.got().len() as u64, number);
    sink.assert_ordered();
    assert_goes_on(&gate, 3);
    let status = worker.status.borrow().clone();
    assert_eq!((status.movements.lost, status.gaps), (0, vec![]));
    worker.stop().await;
}

/// A connection that is dead and does not say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_goes_silent_is_given_up() {
    let gate = Gate::default();
    let bed = bed(1, &gate, options()).await;
    let proxy = Proxy::to(bed.address).await;
    let sink = Memory::new();
    let settings = FanOutSettings { wait_ms: 300, silence_ms_max: 900, ..settings() };
    let worker = through(&proxy, &bed, settings, &sink).await;
    bed.put(0, 50, 5).await;
    until("50 records", SOON, || sink.got().len() >= 50).await;
    proxy.silence();
    bed.put(50, 50, 5).await;
    let took = until("50 more", SOON, || sink.got().len() >= 100).await;
    assert!(took > Duration::from_millis(500), "it was not silent");
    assert_eq!(sink.numbers(), (0..100).collect());
    assert_eq!(sink.got().len(), 100);
    assert_goes_on(&gate, 2);
    worker.stop().await;
}

/// `SubscribeToShard`: a second call within 5 s is refused. The lease outlives the wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_in_use_is_asked_for_again_until_it_is_free() {
    let gate = Gate::apart(Duration::from_secs(5));
    let bed = bed(1, &gate, options()).await;
    let proxy = Proxy::to(bed.address).await;
    let sink = Memory::new();
    let worker = through(&proxy, &bed, settings(), &sink).await;
    bed.put(0, 20, 5).await;
    until("20 records", SOON, || sink.got().len() >= 20).await;
    proxy.cut();
    bed.put(20, 20, 5).await;
    let told = || {
        let status = worker.status.borrow();
        status
            .shards
            .values()
            .any(|shard| shard.error.as_ref().is_some_and(|error| error.starts_with("throttled: Res")))
    };
    until("it is refused", SOON, told).await;
    until("20 more", SOON, || sink.got().len() >= 40).await;
    assert_eq!(sink.numbers(), (0..40).collect());
    assert_eq!(sink.got().len(), 40);
    assert!(gate.calls().iter().filter(|call| call.refused).count() >= 3);
    assert_goes_on(&gate, 2);
    assert_eq!(worker.status.borrow().movements.lost, 0);
    worker.stop().await;
}

/// TOOLBOX "design out": a checkpoint older than what is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_checkpoint_is_told_by_a_subscription_as_well() {
    let bed = bed(1, &Gate::default(), options()).await;
    bed.put(0, 10, 3).await;
    let stream = pushed(&bed.config, settings()).await;
    let shard = ShardId::from("shardId-000000000000");
    // Larger than any number of this server.
    let nowhere = ReadFrom::After(SequenceNumber::parse("1427247692705959881058285969449495136382746624").unwrap());
    assert!(matches!(stream.open(&shard, &nowhere).await, Err(StreamError::Trimmed(_))));

    let sink = Memory::new();
    let worker = start("a", quick(2_000), stream, bed.leases.clone(), &sink).await;
    until("ten records", SOON, || sink.got().len() == 10).await;
    worker.stop().await;
    let faults = Arc::<StreamFaults>::default();
    faults.opens_after.lock().unwrap().push_back(StreamError::Trimmed("gone".to_owned()));
    let stream = FaultyStream(pushed(&bed.config, settings()).await, faults);
    let worker = start("b", quick(2_000), stream, bed.leases.clone(), &sink).await;
    until("what is there", SOON, || sink.got().len() == 20).await;
    until("a gap", SOON, || worker.status.borrow().gaps.len() == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_registered_once_and_again_when_it_is_gone() {
    let options = StoreOptions { subscribe_to_shard_session_ms: 700, ..options() };
    let bed = bed(1, &Gate::default(), options).await;
    let (a, b, c) =
        tokio::join!(pushed(&bed.config, settings()), pushed(&bed.config, settings()), pushed(&bed.config, settings()));
    drop((b, c));
    let summary = bed.kinesis.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
    let arn = summary.stream_description_summary().unwrap().stream_arn().to_owned();
    let consumers = async || {
        let listed = bed.kinesis.list_stream_consumers().stream_arn(&arn).send().await.unwrap();
        listed.consumers().iter().map(|one| (one.consumer_name().to_owned(), one.consumer_arn().to_owned())).collect()
    };
    let before: Vec<(String, String)> = consumers().await;
    assert_eq!(before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [CONSUMER]);

    let sink = Memory::new();
    let worker = start("a", quick(5_000), a, bed.leases.clone(), &sink).await;
    bed.put(0, 10, 3).await;
    until("ten records", SOON, || sink.got().len() == 10).await;
    bed.kinesis.deregister_stream_consumer().consumer_arn(&before[0].1).send().await.unwrap();
    // Its subscriptions last on in this server; then it is missed.
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.put(10, 10, 3).await;
    until("ten more", SOON, || sink.got().len() >= 20).await;
    assert_eq!(sink.numbers(), (0..20).collect());
    assert_eq!(sink.got().len(), 20);
    let after: Vec<(String, String)> = consumers().await;
    assert!(after.len() == 1 && after != before, "{after:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_cannot_be_had_is_an_error_that_says_why() {
    let bed = Bed::new(1).await;
    let refused = async |stream: &str, settings| {
        let done = FanOutStream::register(&bed.config, KinesisSettings::new(stream), settings).await;
        done.map(drop).unwrap_err()
    };
    let missing = refused("nowhere", settings()).await;
    assert!(matches!(&missing, FanOutError::Refused { why: StreamError::Gone(_), .. }), "{missing}");
    let text = "the consumer sessionwarden cannot be registered with the stream nowhere: not found: Resource";
    assert!(missing.to_string().starts_with(text), "{missing}");

    let hasty = refused(STREAM, FanOutSettings { register_ms_max: 0, ..settings() }).await;
    let text = "the consumer sessionwarden of the stream events is not active after ";
    assert!(hasty.to_string().starts_with(text), "{hasty}");
    assert!(hasty.to_string().ends_with("it is being registered"), "{hasty}");

    let none = bed.config.to_builder().endpoint_url("http://127.0.0.1:1").build();
    let settings = FanOutSettings { register_ms_max: 800, ..settings() };
    let begun = Instant::now();
    let silent = FanOutStream::register(&none, KinesisSettings::new(STREAM), settings).await.unwrap_err();
    assert!(silent.to_string().contains("no usable answer"), "{silent}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Both ways, on this server, which looks for records every 200 ms by itself.
#[tokio::test(flavor = "multi_thread")]
async fn latency_is_measured() {
    for by in [ReadBy::Polling, ReadBy::FanOut(settings())] {
        let name = if by == ReadBy::Polling { "polling" } else { "fan-out" };
        let bed = bed(1, &Gate::default(), options()).await;
        let stream = Kinesis::connect(&bed.config, KinesisSettings::new(STREAM), by).await.unwrap();
        let sink = Memory::new();
        let worker = start(name, WorkerSettings::default(), stream, bed.leases.clone(), &sink).await;
        until("the shard", SOON, || worker.shards().len() == 1).await;
        let mut put = BTreeMap::new();
        for number in 0..100 {
            put.insert(number, Instant::now());
            bed.put(number, 1, 1).await;
            tokio::time::sleep(Duration::from_millis(37)).await;
        }
        until("all records", SOON, || sink.got().len() >= 100).await;
        let late = |got: &Got| got.at.saturating_duration_since(put[&got.number()]).as_millis();
        let mut late: Vec<u128> = sink.got().iter().map(late).collect();
        late.sort_unstable();
        println!("{name}: delivery p50 {} ms, p99 {} ms, max {} ms", late[50], late[98], late[99]);
        assert_eq!(late.len(), 100);
        assert!(late[99] < 5_000, "{late:?}");
        worker.stop().await;
    }
}
