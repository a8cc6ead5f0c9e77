//! `sessionwarden run` on an emulated AWS, from outside: the built program, with documented settings only.
//!
//! Kinesis, DynamoDB, SQS, SNS, STS, IAM, Organizations, S3 and CloudWatch are servers that nobody here wrote. For the
//! session calls of Systems Manager no such server exists: the project's own model is served over HTTP.

mod end_to_end;
mod quarantine;
mod settings;
mod wanted;
mod workers;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sessionwarden_testbed::{Cloud, CloudShape, Worker, or_say};
use tokio::sync::{Semaphore, SemaphorePermit};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sessionwarden");
const SOON: Duration = Duration::from_secs(40);

/// So many tests at a time: each has half a dozen servers of its own.
static TURNS: Semaphore = Semaphore::const_new(2);

/// An emulated AWS, and the turn in which it is used; `None` with a note where it cannot be had.
async fn cloud(shape: CloudShape) -> Option<(Cloud, SemaphorePermit<'static>)> {
    let turn = TURNS.acquire().await.unwrap();
    Some((or_say(Cloud::start(shape).await)?, turn))
}

fn start(cloud: &Cloud, configuration: &str) -> Worker {
    Worker::start(Path::new(PROGRAM), &cloud.variables(), configuration).unwrap()
}

/// Waits until it holds, and returns how long that took.
async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}
