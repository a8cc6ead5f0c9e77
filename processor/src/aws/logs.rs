//! Session logs: objects in the log bucket, and streams in log groups.

use std::sync::Arc;

use aws_sdk_s3::Client;
use serde::Deserialize;
use sessionwarden_machine::{
    ids::{AccountId, EventTime},
    posture::{LogObject, LogStream},
};

use super::{
    AwsOrganization, Means, PAGES_MAX,
    errors::Failure,
    event_time,
    limits::Place,
    settings::Api,
    signed::{self, LOGS},
};
use crate::ports::{CallError, Logs};

/// The part of `DescribeLogStreams` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Streams {
    #[serde(default)]
    log_streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    log_stream_name: String,
    creation_time: i64,
    last_event_timestamp: Option<i64>,
}

impl Logs for AwsOrganization {
    /// From the list of versions alone, which also says that there is none: `HeadObject` cannot tell that to whoever may
    /// not list the bucket.
    async fn object(&self, bucket: &str, key: &str) -> Result<Option<LogObject>, CallError> {
        Ok(self.versions(bucket, key).await?)
    }

    /// The time of the last event may lag: AWS promises no more than that it is usually right within an hour
    /// ("`LogStream`").
    async fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> Result<Option<LogStream>, CallError> {
        let place: Place = (account, Arc::from(region));
        // Streams come by name, so that the one whose whole name this is comes first.
        let input = serde_json::json!({ "logGroupName": group, "logStreamNamePrefix": stream, "limit": 5 });
        let send = |means: &Means| signed::json::<Streams>(&LOGS, means.clone(), "DescribeLogStreams", input.clone());
        let found = self.call(&place, Api::Logs, "DescribeLogStreams", send).await?;
        let found = found.log_streams.into_iter().find(|it| it.log_stream_name == stream);
        Ok(found.map(|it| LogStream {
            created_at: EventTime(it.creation_time),
            last_event_at: it.last_event_timestamp.map(EventTime),
        }))
    }
}

impl AwsOrganization {
    async fn versions(&self, bucket: &str, key: &str) -> Result<Option<LogObject>, Failure> {
        let place = self.bucket_place(bucket).await?;
        let owner = place.0.to_string();
        let mut latest = None;
        let mut versions: u32 = 0;
        let mut markers = (None, None);
        for _ in 0..PAGES_MAX {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_object_versions().bucket(bucket).prefix(key);
                let call = call.set_key_marker(markers.0.clone()).set_version_id_marker(markers.1.clone());
                call.expected_bucket_owner(&owner).send()
            };
            let page = self.call(&place, Api::S3, "ListObjectVersions", send).await;
            let page = self.forget_bucket(bucket, page)?;
            let own = page.versions().iter().filter(|it| it.key() == Some(key));
            let deletions = page.delete_markers().iter().filter(|it| it.key() == Some(key)).count();
            for version in own {
                versions = versions.saturating_add(1);
                if version.is_latest() == Some(true) {
                    let size = version.size().and_then(|size| u64::try_from(size).ok());
                    let written = version.last_modified().and_then(event_time);
                    latest = Some(size.zip(written).ok_or_else(|| Failure::unknown(false))?);
                }
            }
            versions = versions.saturating_add(u32::try_from(deletions).unwrap_or(u32::MAX));
            // Keys come in their order, so that after the key itself only longer ones follow.
            let next = page.next_key_marker().filter(|next| page.is_truncated() == Some(true) && *next == key);
            let Some(next) = next else {
                let object = |(size_bytes, written_at)| LogObject { size_bytes, written_at, versions, writer: None };
                return Ok(latest.map(object));
            };
            markers = (Some(next.to_owned()), page.next_version_id_marker().map(str::to_owned));
        }
        Err(Failure::unknown(false))
    }
}
