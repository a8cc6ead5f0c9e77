//! The audit trail in objects of S3, for workers that have no disk of their own.
//!
//! Each write is one object, `<prefix>/<yyyy>/<mm>/<dd>/<run>/<number of its first record>.jsonl`, of which nothing is
//! ever overwritten ("How to prevent object overwrites with conditional writes"); that nothing is deleted is the
//! bucket's Object Lock. A run of a worker has one chain, from its first record, which says whose it is.

use std::{sync::Arc, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client, config,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::ChecksumAlgorithm,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use sessionwarden_machine::ids::Now;

use super::{AuditEntry, AuditError, AuditKind, Head};

/// How often a write is sent again that met another one of the same key (`PutObject`: on a 409 retry the upload).
const CONFLICTS_MAX: u32 = 4;
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// The longest name of a worker in a key.
const WORKER_CHARS_MAX: usize = 128;

/// Where the objects are written, and with how much patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsSettings {
    /// The bucket.
    pub bucket: Arc<str>,
    /// What all keys begin with, without a slash at its end; may be empty.
    pub prefix: Arc<str>,
    /// The worker. What is no letter, digit, dot or hyphen becomes a hyphen.
    pub worker: Arc<str>,
    /// When this run began: no two runs of a worker begin in the same millisecond.
    pub begun: Now,
    /// How often one request is sent at the most, at least 1. Waits between attempts grow and are random.
    pub attempts_max: u32,
    /// How long one attempt may take, in milliseconds.
    pub attempt_ms_max: u64,
    /// How long a request may take with all its attempts, in milliseconds.
    pub request_ms_max: u64,
}

impl ObjectsSettings {
    /// These objects, with 6 attempts of 5 s within 20 s.
    pub fn new(
        bucket: impl Into<Arc<str>>,
        prefix: impl Into<Arc<str>>,
        worker: impl Into<Arc<str>>,
        begun: Now,
    ) -> Self {
        let (bucket, prefix, worker) = (bucket.into(), prefix.into(), worker.into());
        Self { bucket, prefix, worker, begun, attempts_max: 6, attempt_ms_max: 5_000, request_ms_max: 20_000 }
    }

    /// The name of the run.
    fn run(&self) -> String {
        let fit =
            |letter: char| if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-') { letter } else { '-' };
        let worker: String = self.worker.chars().take(WORKER_CHARS_MAX).map(fit).collect();
        format!("{worker}-{}", self.begun.0)
    }

    fn key(&self, day: &str, first: u64) -> String {
        let folder = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        format!("{folder}{day}/{}/{first:020}.jsonl", self.run())
    }
}

/// An object that is to be written, and where the chain goes on behind it.
#[derive(Debug)]
struct Object {
    key: String,
    body: Vec<u8>,
    head: Head,
}

/// The audit trail of one run of a worker.
#[derive(Debug)]
pub struct AuditObjects {
    client: Client,
    settings: ObjectsSettings,
    head: Head,
    /// The latest day of an entry, `yyyy/mm/dd`: the days of a chain's objects go up with their numbers.
    day: String,
    /// Sent, and not known to be there: it is sent again before anything else, so that the chain goes on behind it.
    unsettled: Option<Object>,
}

impl AuditObjects {
    /// A new chain. Nothing is sent yet. The credentials have to allow `s3:PutObject` and, to recognise a write whose
    /// answer was lost, `s3:GetObject`.
    pub fn new(config: &SdkConfig, settings: ObjectsSettings) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(settings.attempts_max.max(1));
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_millis(settings.attempt_ms_max))
            .operation_timeout(Duration::from_millis(settings.request_ms_max));
        let config = config::Builder::from(config).retry_config(retries).timeout_config(limits.build()).build();
        let (head, day) = (Head::default(), String::new());
        Self { client: Client::from_conf(config), settings, head, day, unsettled: None }
    }

    /// How many records are known to be in the trail.
    pub fn records(&self) -> u64 {
        self.head.records
    }

    /// The last one's hash, [`super::NO_HASH`] before the first.
    pub fn head_hash(&self) -> &str {
        &self.head.hash
    }

    /// Writes the entries as one object; durable on return. The first write of a run begins with a record of its own.
    ///
    /// # Errors
    /// [`AuditError::TooLong`], and nothing is written; [`AuditError::Object`], and the entries may be in the trail or
    /// come into it with the next write; [`AuditError::Taken`], and nothing can be written any more.
    pub async fn append(&mut self, entries: &[AuditEntry]) -> Result<(), AuditError> {
        self.settle().await?;
        let Some(first) = entries.first() else { return Ok(()) };
        let begin = if self.head.records == 0 { Some(self.begin()?) } else { None };
        let mut body = Vec::new();
        let head = self.head.seal(&mut body, begin.iter().chain(entries))?;
        let day = first.day();
        if self.day < day {
            self.day = day;
        }
        let key = self.settings.key(&self.day, self.head.records + 1);
        self.unsettled = Some(Object { key, body, head });
        self.settle().await
    }

    fn begin(&self) -> Result<AuditEntry, AuditError> {
        let run = self.settings.run();
        let body = serde_json::json!({ "begins": {
            "run": run, "bucket": self.settings.bucket, "prefix": self.settings.prefix,
            "version": env!("CARGO_PKG_VERSION"),
        } });
        AuditEntry::new(self.settings.begun, AuditKind::Service, format!("begin/{run}"), &body)
    }

    async fn settle(&mut self) -> Result<(), AuditError> {
        if let Some(object) = &self.unsettled {
            self.put(object).await?;
            self.head = object.head.clone();
            self.unsettled = None;
        }
        Ok(())
    }

    async fn put(&self, object: &Object) -> Result<(), AuditError> {
        let mut last = None;
        for conflicts in 0..CONFLICTS_MAX {
            let put = self.client.put_object().bucket(&*self.settings.bucket).key(&object.key);
            // A bucket with Object Lock takes nothing without a checksum ("PutObject").
            let put = put.if_none_match("*").checksum_algorithm(ChecksumAlgorithm::Sha256);
            let put = put.content_type("application/x-ndjson").body(ByteStream::from(object.body.clone()));
            match put.send().await {
                Ok(_) => return Ok(()),
                Err(error) if is(&error, "PreconditionFailed", 412) => return self.recognise(object).await,
                Err(error) if is(&error, "ConditionalRequestConflict", 409) => last = Some(failed(object, &error)),
                Err(error) => return Err(failed(object, &error)),
            }
            tokio::time::sleep(CONFLICT_PAUSE * (conflicts + 1)).await;
        }
        Err(last.unwrap_or_else(|| AuditError::Taken(object.key.clone())))
    }

    /// There is an object: this very one, whose write was answered to nobody, or another.
    async fn recognise(&self, object: &Object) -> Result<(), AuditError> {
        let get = self.client.get_object().bucket(&*self.settings.bucket).key(&object.key).send().await;
        let found = get.map_err(|error| failed(object, &error))?;
        let size = found.content_length().and_then(|size| usize::try_from(size).ok());
        if size.is_some_and(|size| size != object.body.len()) {
            return Err(AuditError::Taken(object.key.clone()));
        }
        let content = found.body.collect().await;
        let content =
            content.map_err(|error| AuditError::Object { key: object.key.clone(), why: error.to_string() })?;
        if content.to_vec() == object.body { Ok(()) } else { Err(AuditError::Taken(object.key.clone())) }
    }
}

fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, code: &str, status: u16) -> bool {
    let found = error.raw_response().map(|response| response.status().as_u16());
    error.code().map_or(found == Some(status), |found| found == code)
}

fn failed<E>(object: &Object, error: &SdkError<E, HttpResponse>) -> AuditError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let why = match error.as_service_error() {
        Some(said) => {
            let code = said.code().unwrap_or("an error without a code");
            format!("{code}: {}", said.message().unwrap_or("no message"))
        }
        None => DisplayErrorContext(error).to_string(),
    };
    AuditError::Object { key: object.key.clone(), why }
}
