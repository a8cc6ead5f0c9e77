use aws_sdk_kinesis::{
    error::ErrorMetadata,
    primitives::Blob,
    types::{
        ChildShard, HashKeyRange, Record as Given,
        error::{InternalFailureException, KmsThrottlingException, ResourceInUseException, ResourceNotFoundException},
    },
};
use tokio::time::Instant;

use super::*;

fn place(from: ReadFrom) -> Subscription {
    let shard = ShardId::from("shardId-000000000000");
    Subscription { shard, from, last: None, behind_ms: 0, subscribed: Instant::now(), live: None }
}

fn number(digits: &str) -> SequenceNumber {
    SequenceNumber::parse(digits).unwrap()
}

/// As AWS sends it: without a number to go on at only where the shard is at its end.
fn event(records: &[&str], next: &str, children: usize) -> SubscribeToShardEvent {
    let record = |digits: &&str| {
        Given::builder().sequence_number(*digits).data(Blob::new("x")).partition_key("key").build().unwrap()
    };
    let range = HashKeyRange::builder().starting_hash_key("0").ending_hash_key("9").build().unwrap();
    let child = |at: usize| {
        let child = ChildShard::builder().shard_id(format!("shardId-{at}")).parent_shards("shardId-000000000000");
        child.hash_key_range(range.clone()).build().unwrap()
    };
    SubscribeToShardEvent::builder()
        .set_records(Some(records.iter().map(record).collect()))
        .continuation_sequence_number(next)
        .millis_behind_latest(5)
        .set_child_shards((children > 0).then(|| (1..=children).map(child).collect()))
        .build()
        .unwrap()
}

fn numbers(reading: &Reading) -> Vec<&str> {
    reading.records.iter().map(|record| record.sequence.as_str()).collect()
}

#[test]
fn a_place_goes_on_at_the_number_of_the_last_event_without_repeating_a_record() {
    let mut place = place(ReadFrom::TrimHorizon);
    let reading = place.take(event(&["8", "9"], "9", 0)).unwrap();
    assert_eq!((numbers(&reading), reading.ended, reading.behind_ms), (vec!["8", "9"], false, 5));
    assert_eq!(place.from, ReadFrom::At(number("9")));
    // Whether that number is the last record's or the next one's, none is lost and none comes twice.
    let reading = place.take(event(&["9", "10"], "11", 0)).unwrap();
    assert_eq!(numbers(&reading), ["10"]);
    let reading = place.take(event(&["11"], "12", 0)).unwrap();
    assert_eq!(numbers(&reading), ["11"]);
    // Progress without records.
    place.take(event(&[], "500", 0)).unwrap();
    assert_eq!(place.from, ReadFrom::At(number("500")));
}

#[test]
fn a_shard_ends_with_the_event_that_names_its_children() {
    let ends = |event| place(ReadFrom::TrimHorizon).take(event).map(|reading| (reading.ended, reading.children.len()));
    assert_eq!(ends(event(&["8"], "", 2)), Ok((true, 2)));
    assert_eq!(ends(event(&[], "", 1)), Ok((true, 1)));
    // Not AWS: children, but more to come.
    assert_eq!(ends(event(&["8"], "9", 2)), Ok((false, 2)));
    assert_eq!(ends(event(&[], "9", 2)), Ok((true, 2)));
    assert!(matches!(ends(event(&[], "", 0)), Err(StreamError::Unknown(_))));
    let mut place = place(ReadFrom::TrimHorizon);
    assert!(!place.take(event(&["8"], "", 0)).unwrap().ended);
    assert_eq!(place.from, ReadFrom::After(number("8")));
}

#[test]
fn a_subscription_that_fails_at_the_latest_record_does_not_begin_there_again() {
    let error = || StreamError::Throttled("why".to_owned());
    assert!(matches!(place(ReadFrom::Latest).lose(error()), StreamError::Expired(_)));
    assert!(matches!(place(ReadFrom::Latest).broken("why"), Err(StreamError::Expired(_))));
    assert_eq!(place(ReadFrom::TrimHorizon).lose(error()), error());
    // Nothing was heard.
    assert!(matches!(place(ReadFrom::TrimHorizon).broken("why"), Err(StreamError::Unknown(_))));
}

/// I11
#[test]
fn errors_inside_of_a_subscription_are_sorted() {
    let in_use = ResourceInUseException::builder().message("x").build();
    let gone = ResourceNotFoundException::builder().message("x").build();
    let throttled = KmsThrottlingException::builder().message("x").build();
    let failed = InternalFailureException::builder().meta(ErrorMetadata::builder().message("x").build()).build();
    assert!(matches!(told(&EventError::ResourceInUseException(in_use)), StreamError::Throttled(_)));
    assert!(matches!(told(&EventError::KmsThrottlingException(throttled)), StreamError::Throttled(_)));
    assert!(matches!(told(&EventError::ResourceNotFoundException(gone)), StreamError::Gone(_)));
    let unknown = StreamError::Unknown("InternalFailureException: x".to_owned());
    assert_eq!(told(&EventError::InternalFailureException(failed)), unknown);
}
