//! Where a session's log belongs.

use std::{collections::BTreeSet, sync::Arc};

use super::{Asked, Document};
use crate::{
    document::{SessionDocument, log_object_keys, log_stream_name},
    ids::SessionKey,
    settings::Settings,
};

pub(super) const S3_BUCKET: &str = "s3BucketName";
pub(super) const S3_PREFIX: &str = "s3KeyPrefix";
pub(super) const LOG_GROUP: &str = "cloudWatchLogGroupName";
pub(super) const KMS_KEY: &str = "kmsKeyId";

/// Where a session's log belongs and what protects it: what the shell has to ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The bucket; `None` where none is used, or none is known.
    pub bucket: Option<Arc<str>>,
    /// The keys under which the log may lie in the bucket, the wanted one first; empty without a bucket.
    pub object_keys: Vec<String>,
    /// The keys that encrypt the session's traffic, as named: an alias, an id or an ARN. The bucket's own key is not
    /// among them: the bucket tells it.
    pub keys: BTreeSet<Arc<str>>,
    /// The log group; `None` where none is used, or none is known.
    pub log_group: Option<Arc<str>>,
    /// The stream in the log group; `None` without one.
    pub stream: Option<String>,
}

/// Where the log of `key` belongs: what is wanted where that is configured, else what the account's preferences
/// document says. What the document leaves to whoever starts the session is not known.
pub fn places(settings: &Settings, preferences: &Asked<Document>, key: &SessionKey) -> Places {
    let document = preferences.as_ref().ok().and_then(|document| SessionDocument::parse(&document.content).ok());
    places_of(settings, document.as_ref(), key)
}

pub(super) fn places_of(settings: &Settings, document: Option<&SessionDocument>, key: &SessionKey) -> Places {
    let wanted = &settings.posture.preferences;
    let chosen = |wanted: &Option<Arc<str>>, name: &str, read: fn(&SessionDocument) -> &Arc<str>| {
        let said = document.filter(|document| !document.inputs.open.contains(name)).map(read);
        wanted.as_ref().or(said).filter(|text| !text.is_empty()).map(Arc::clone)
    };
    let bucket = chosen(&wanted.s3_bucket, S3_BUCKET, |document| &document.inputs.s3_bucket);
    let log_group = chosen(&wanted.log_group, LOG_GROUP, |document| &document.inputs.log_group);
    let session_key = chosen(&wanted.kms_key, KMS_KEY, |document| &document.inputs.kms_key);
    let object_keys = || log_object_keys(wanted, document, key.account, &key.region, &key.id);
    Places {
        object_keys: bucket.as_ref().map(|_| object_keys()).unwrap_or_default(),
        keys: session_key.into_iter().collect(),
        stream: log_group.as_ref().map(|_| log_stream_name(&key.id)),
        bucket,
        log_group,
    }
}
