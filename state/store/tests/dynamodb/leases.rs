use std::collections::BTreeSet;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use proptest::prelude::*;
use sessionwarden_machine::{
    ids::EventTime,
    lease::{
        Answer, Applied, Checkpoint, HandOffChange, HashRange, Lease, Position, SequenceNumber, ShardId, Version,
        WorkerId, Write,
    },
};
use sessionwarden_store::{DynamoDbLeases, StoreError};

use super::{
    proxy::{Fault, Proxy},
    servers::{config, in_process, local, settings},
};

async fn fresh(url: &str) -> DynamoDbLeases {
    let leases = DynamoDbLeases::new(&config(url), settings().index_table, 10_000);
    leases.ensure_table().await.unwrap();
    leases
}

fn lease(shard: &str) -> Lease {
    let sequence = SequenceNumber::parse("49600000000000000000000000000000000000000000000000000001").unwrap();
    Lease {
        shard: ShardId::from(shard),
        owner: Some(WorkerId::from("worker-a")),
        counter: 7,
        owner_switches: 2,
        checkpoint: Checkpoint::Sequence(Position { sequence, sub_sequence: 3 }),
        parents: BTreeSet::from([ShardId::from("shardId-000000000001"), ShardId::from("shardId-000000000002")]),
        children: BTreeSet::new(),
        range: HashRange { start: 0, end: u128::MAX },
        fence: 5,
        hand_off_to: None,
    }
}

fn renewal(lease: &Lease) -> Write {
    Write {
        shard: lease.shard.clone(),
        expected: lease.version(),
        becomes: Version { counter: lease.counter + 1, ..lease.version() },
        owner_switches: lease.owner_switches,
        checkpoint: None,
        children: None,
        hand_off: HandOffChange::Keep,
    }
}

fn any_worker() -> impl Strategy<Value = Option<WorkerId>> {
    proptest::option::of(prop_oneof!["a", "b"].prop_map(|id| WorkerId::from(id.as_str())))
}

fn any_version() -> impl Strategy<Value = Version> {
    (any_worker(), 0_u64..2, 0_u64..2).prop_map(|(owner, counter, fence)| Version { owner, counter, fence })
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let sequence = ("[1-9][0-9]{0,60}", any::<u64>()).prop_map(|(digits, sub_sequence)| {
        Checkpoint::Sequence(Position { sequence: SequenceNumber::parse(&digits).unwrap(), sub_sequence })
    });
    prop_oneof![
        Just(Checkpoint::TrimHorizon),
        Just(Checkpoint::Latest),
        any::<i64>().prop_map(|at| Checkpoint::AtTimestamp(EventTime(at))),
        Just(Checkpoint::ShardEnd),
        sequence,
    ]
}

fn any_shards() -> impl Strategy<Value = BTreeSet<ShardId>> {
    proptest::collection::btree_set("[pq]{1,2}".prop_map(|id| ShardId::from(id.as_str())), 0..3)
}

prop_compose! {
    fn any_lease()(
        version in any_version(),
        owner_switches in any::<u64>(),
        checkpoint in any_checkpoint(),
        parents in any_shards(),
        children in any_shards(),
        (start, end) in any::<(u128, u128)>(),
        hand_off_to in any_worker(),
    ) -> Lease {
        let Version { owner, counter, fence } = version;
        let (shard, range) = (ShardId::from("s"), HashRange { start, end });
        Lease { shard, owner, counter, owner_switches, checkpoint, parents, children, range, fence, hand_off_to }
    }
}

prop_compose! {
    fn any_write(row: Lease)(
        expected in prop_oneof![3 => Just(row.version()), 1 => any_version()],
        becomes in any_version(),
        owner_switches in any::<u64>(),
        checkpoint in proptest::option::of(any_checkpoint()),
        children in proptest::option::of(any_shards()),
        taker in any_worker(),
        clear in any::<bool>(),
    ) -> Write {
        let hand_off = match taker {
            Some(taker) => HandOffChange::Request(taker),
            None if clear => HandOffChange::Clear,
            None => HandOffChange::Keep,
        };
        Write { shard: ShardId::from("s"), expected, becomes, owner_switches, checkpoint, children, hand_off }
    }
}

/// Every row and write: stored, refused and changed as the pure core says.
fn rows_and_writes_are_as_the_core_says(url: &str, runtime: &tokio::runtime::Runtime, cases: u32) {
    let leases = runtime.block_on(fresh(url));
    let strategy = any_lease().prop_flat_map(|row| (Just(row.clone()), any_write(row)));
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    proptest!(config, |((row, write) in strategy)| {
        runtime.block_on(async {
            assert_eq!(leases.write(&write).await.unwrap(), Answer::Refused(None));
            assert!(leases.create(&row).await.unwrap());
            assert!(!leases.create(&lease("s")).await.unwrap());
            assert_eq!(leases.list().await.unwrap(), std::slice::from_ref(&row));
            let answer = leases.write(&write).await.unwrap();
            let after = if write.holds_for(&row) {
                assert_eq!(answer, Answer::Done);
                write.apply_to(&row)
            } else {
                assert_eq!(answer, Answer::Refused(Some(row.clone())));
                row
            };
            assert_eq!(leases.list().await.unwrap(), std::slice::from_ref(&after));
            // Only what has ended is deleted, and only under its fence.
            assert!(!leases.delete(&after.shard, after.fence + 1).await.unwrap());
            assert_eq!(leases.delete(&after.shard, after.fence).await.unwrap(), after.ended());
            if !after.ended() {
                let end = Write { checkpoint: Some(Checkpoint::ShardEnd), hand_off: HandOffChange::Keep, ..renewal(&after) };
                assert_eq!(leases.write(&end).await.unwrap(), Answer::Done);
                assert!(leases.delete(&after.shard, after.fence).await.unwrap());
            }
        });
    });
}

#[test]
fn leases_in_process_are_as_the_core_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = in_process();
    rows_and_writes_are_as_the_core_says(&server.url, &runtime, 64);
}

#[test]
fn leases_in_dynamodb_local_are_as_the_core_says() {
    let Some(local) = local() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rows_and_writes_are_as_the_core_says(&local.url, &runtime, 64);
}

/// A renewal whose answer was lost is refused when it is sent again, and the row shows that it was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_whose_answer_was_lost_is_no_lost_lease() {
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    let leases = fresh(&proxy.url).await;
    let row = lease("shardId-000000000003");
    assert!(leases.create(&row).await.unwrap());
    let write = renewal(&row);
    proxy.script("UpdateItem", [Fault::LostAnswer]);
    let answer = leases.write(&write).await.unwrap();
    assert_eq!(write.judge(&answer), Applied::DoneEarlier { counter: 8, complete: true });

    let stolen =
        Write { becomes: Version { owner: Some(WorkerId::from("worker-b")), counter: 9, fence: 6 }, ..renewal(&row) };
    let stolen = Write { expected: Version { counter: 8, ..row.version() }, ..stolen };
    assert_eq!(leases.write(&stolen).await.unwrap(), Answer::Done);
    let late = Write { expected: Version { counter: 8, ..row.version() }, ..renewal(&row) };
    assert_eq!(late.judge(&leases.write(&late).await.unwrap()), Applied::Lost);

    proxy.script("UpdateItem", [Fault::LostAnswer; 9]);
    assert!(matches!(leases.write(&late).await, Err(StoreError::Unavailable { .. })));
}

/// The library's own rows have no fence, hold attributes that are not ours, and keep them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_the_kinesis_client_library_are_read_and_what_is_theirs_stays() {
    let server = in_process();
    let table = settings().index_table;
    let leases = DynamoDbLeases::new(&config(&server.url), &table, 10_000);
    let error = leases.check_table().await.unwrap_err().to_string();
    assert!(error.ends_with("there is no such table in this account and region"), "{error}");
    leases.ensure_table().await.unwrap();
    let client = Client::from_conf(config(&server.url));
    let (s, n) = (|text: &str| AttributeValue::S(text.into()), |number: &str| AttributeValue::N(number.into()));
    let row = client
        .put_item()
        .table_name(&table)
        .item("leaseKey", s("shardId-000000000000"))
        .item("leaseCounter", n("12"))
        .item("leaseOwner", s("a-worker-of-theirs"))
        .item("checkpoint", s("TRIM_HORIZON"))
        .item("checkpointSubSequenceNumber", n("0"))
        .item("ownerSwitchesSinceCheckpoint", n("0"))
        .item("startingHashKey", s("0"))
        .item("endingHashKey", s("340282366920938463463374607431768211455"))
        .item("throughputKBps", n("17.5"));
    row.send().await.unwrap();
    let found = leases.list().await.unwrap();
    let [theirs] = &found[..] else { panic!("{found:?}") };
    assert_eq!((theirs.counter, theirs.fence, theirs.range.end), (12, 0, u128::MAX));
    let taken = Write {
        becomes: Version { owner: Some(WorkerId::from("ours")), counter: 13, fence: 1 },
        owner_switches: 1,
        ..renewal(theirs)
    };
    assert_eq!(leases.write(&taken).await.unwrap(), Answer::Done);
    let key = s("shardId-000000000000");
    let stored = client.get_item().table_name(&table).key("leaseKey", key).send().await.unwrap().item.unwrap();
    assert_eq!(stored["throughputKBps"], n("17.5"));
    assert_eq!((&stored["leaseOwner"], &stored["leaseCounter"]), (&s("ours"), &n("13")));

    // Of a row that cannot be read nothing is known, so that nothing is planned.
    let broken = client.put_item().table_name(&table).item("leaseKey", s("shardId-000000000009"));
    let broken = broken.item("leaseCounter", n("1")).item("checkpoint", s("SOON"));
    broken.send().await.unwrap();
    let error = leases.list().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    let wanted =
        "the lease of shardId-000000000009 cannot be read: the checkpoint is neither a known word nor a sequence";
    assert!(error.to_string().contains(wanted), "{error}");
}
