//! Records of a stream that cannot be read: each is kept under its own number, and none is passed over unkept.

use sessionwarden::{
    input::RecordAt,
    run::{Candidate, Ingest, IngestError, Look, Origin, Position},
    stream::Record,
};
use sessionwarden_machine::{
    lease::{SequenceNumber, ShardId},
    settings::Settings,
};
use sessionwarden_store::Memory;

use crate::{
    hands::Hands,
    stage::{START, Stage, lines},
};

const SHARD: &str = "shardId-000000000003";

fn record(number: u32, data: &[u8]) -> Record {
    let sequence = SequenceNumber::parse(&number.to_string()).unwrap();
    Record { sequence, partition_key: "key".into(), arrived: None, data: data.to_vec() }
}

async fn take(
    stage: &mut Stage<Memory, Hands>,
    ingest: &mut Ingest,
    records: &[Record],
) -> Result<Position, IngestError> {
    let candidate = |(number, record): (u64, &Record)| {
        let at = RecordAt { record: number, byte: 0 };
        Candidate { bytes: record.data.clone(), at, look: Look::Whole, known: false }
    };
    let candidates: Vec<Candidate> = (1..).zip(records).map(candidate).collect();
    let origin = Origin::Shard { stream: "events", shard: &ShardId::from(SHARD), records };
    let mut position = Position::default();
    ingest.take(&mut stage.handler, origin, &candidates, &mut position, START).await?;
    Ok(position)
}

/// I12
#[tokio::test]
async fn each_parked_record_of_a_batch_names_its_own_sequence_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), Memory::new(), None, Settings::default());
    let good = br#"{"eventName":"DescribeInstances","eventSource":"ec2.amazonaws.com"}"#;
    let batch = [record(11, good), record(12, b"no json"), record(13, good), record(14, b"\xff\x00")];
    let other = folder.path().join("others.jsonl");
    let mut ingest = Ingest::new(sessionwarden::input::ParkedFile::append(&other).unwrap());
    let position = take(&mut stage, &mut ingest, &batch).await.unwrap();
    let parked = lines(&other);
    let places: Vec<&str> = parked.iter().map(|one| one["file"].as_str().unwrap()).collect();
    let place = |number| format!("events/{SHARD}/{number}");
    assert_eq!(places, [place(12), place(14)]);
    assert_eq!((&parked[0]["content"], &parked[1]["content_hex"]), (&"no json".into(), &"ff00".into()));
    assert_eq!((position.poison, position.ignored), (2, 2));
}

/// I12: what cannot be parked is not passed over. I2: its batch is not taken.
#[cfg(feature = "aws")]
#[tokio::test]
async fn a_batch_whose_poison_cannot_be_parked_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage: Stage<Memory, Hands> = Stage::new(folder.path(), Memory::new(), None, Settings::default());
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
    let mut ingest = Ingest::new(queue);
    let error = take(&mut stage, &mut ingest, &[record(12, b"no json")]).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot park events/{SHARD}/12 in the queue: ")), "{error}");
}
