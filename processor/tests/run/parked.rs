//! Records of a stream that cannot be read: each is kept under its own number, and none is passed over unkept.

use std::sync::Arc;

use sessionwarden::{
    handle::Handler,
    run::Ingest,
    stream::{IngestSink, Record, RecordSink as _, Unfit},
};
use sessionwarden_machine::{
    lease::{SequenceNumber, ShardId},
    settings::Settings,
};
use sessionwarden_store::Memory;

use crate::{
    hands::Hands,
    stage::{Stage, lines},
};

const SHARD: &str = "shardId-000000000003";

fn record(number: u32, data: &[u8]) -> Record {
    let sequence = SequenceNumber::parse(&number.to_string()).unwrap();
    Record { sequence, partition_key: "key".into(), arrived: None, data: data.to_vec() }
}

fn sink(
    handler: Handler<Memory, Hands>,
    ingest: Ingest,
) -> Arc<IngestSink<Memory, Hands, impl Fn(&mut Memory, u64) + Send + Sync + 'static>> {
    IngestSink::new("events", handler, ingest, |_: &mut Memory, _| {})
}

/// I12
#[tokio::test]
async fn each_parked_record_of_a_batch_names_its_own_sequence_number() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::new(folder.path(), Memory::new(), None, Settings::default());
    let sink = sink(stage.handler, stage.ingest);
    let shard = ShardId::from(SHARD);
    let good = br#"{"eventName":"DescribeInstances","eventSource":"ec2.amazonaws.com"}"#;
    let batch = [record(11, good), record(12, b"no json"), record(13, good), record(14, b"\xff\x00")];
    sink.take(&shard, 1, &batch).await.unwrap();
    let long = vec![b'x'; (1 << 20) + 5];
    sink.park(&shard, &record(15, &long), Unfit::TooLong).await.unwrap();
    let parked = lines(&folder.path().join("parked.jsonl"));
    let places: Vec<&str> = parked.iter().map(|one| one["file"].as_str().unwrap()).collect();
    let place = |number| format!("events/{SHARD}/{number}");
    assert_eq!(places, [place(12), place(14), place(15)]);
    assert_eq!((&parked[0]["content"], &parked[1]["content_hex"]), (&"no json".into(), &"ff00".into()));
    assert_eq!(parked[2]["content"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(parked[2]["bytes"], long.len());
    let position = sink.position().await;
    assert_eq!((position.poison, position.values, position.ignored), (3, 5, 2));
}

/// I12: what cannot be parked is not passed over. I2: its batch is not taken.
#[cfg(feature = "aws")]
#[tokio::test]
async fn a_batch_whose_poison_cannot_be_parked_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let stage: Stage<Memory, Hands> = Stage::new(folder.path(), Memory::new(), None, Settings::default());
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(
            aws_credential_types::Credentials::new("test", "test", None, None, "test"),
        ))
        .endpoint_url("http://127.0.0.1:1")
        .build();
    let queue = sessionwarden::outbound::ParkedQueue::new(&config, "http://127.0.0.1:1/000000000000/parked");
    let sink = sink(stage.handler, Ingest::new(queue));
    let shard = ShardId::from(SHARD);
    let error = sink.take(&shard, 1, &[record(12, b"no json")]).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot park events/{SHARD}/12 in the queue: ")), "{error}");
    assert!(sink.park(&shard, &record(13, b"x"), Unfit::Aggregated).await.is_err());
    assert_eq!(sink.position().await.values, 0);
}
