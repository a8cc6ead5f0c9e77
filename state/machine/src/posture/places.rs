//! Where a session's log belongs.

use std::{collections::BTreeSet, sync::Arc};

use super::{Asked, Document, Memory};
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
pub fn places(settings: &Settings, preferences: &Asked<Document>, key: &SessionKey, memory: &mut Memory) -> Places {
    places_of(settings, preferences_of(preferences, memory).as_deref(), key)
}

/// The bucket for logs, as [`places`] has it.
pub(super) fn bucket(settings: &Settings, preferences: &Asked<Document>, memory: &mut Memory) -> Option<Arc<str>> {
    bucket_of(settings, preferences_of(preferences, memory).as_deref())
}

/// The keys under which a session's log may lie in the bucket, the wanted one first; empty without a bucket.
pub fn object_keys(
    settings: &Settings,
    preferences: &Asked<Document>,
    key: &SessionKey,
    memory: &mut Memory,
) -> Vec<String> {
    object_keys_of(settings, preferences_of(preferences, memory).as_deref(), key)
}

pub(super) fn object_keys_of(settings: &Settings, document: Option<&SessionDocument>, key: &SessionKey) -> Vec<String> {
    let wanted = &settings.posture.preferences;
    let bucket = bucket_of(settings, document);
    bucket.map(|_| log_object_keys(wanted, document, key.account, &key.region, &key.id)).unwrap_or_default()
}

fn preferences_of(preferences: &Asked<Document>, memory: &mut Memory) -> Option<Arc<SessionDocument>> {
    memory.document(&preferences.as_ref().ok()?.content).ok()
}

/// What is wanted where that is configured, else what the document says.
fn chosen(
    wanted: Option<&Arc<str>>,
    document: Option<&SessionDocument>,
    name: &str,
    read: fn(&SessionDocument) -> &Arc<str>,
) -> Option<Arc<str>> {
    let said = document.filter(|document| !document.inputs.open.contains(name)).map(read);
    wanted.or(said).filter(|text| !text.is_empty()).map(Arc::clone)
}

fn bucket_of(settings: &Settings, document: Option<&SessionDocument>) -> Option<Arc<str>> {
    let wanted = settings.posture.preferences.s3_bucket.as_ref();
    chosen(wanted, document, S3_BUCKET, |document| &document.inputs.s3_bucket)
}

pub(super) fn places_of(settings: &Settings, document: Option<&SessionDocument>, key: &SessionKey) -> Places {
    let wanted = &settings.posture.preferences;
    let bucket = bucket_of(settings, document);
    let log_group = chosen(wanted.log_group.as_ref(), document, LOG_GROUP, |document| &document.inputs.log_group);
    let session_key = chosen(wanted.kms_key.as_ref(), document, KMS_KEY, |document| &document.inputs.kms_key);
    Places {
        keys: session_key.into_iter().collect(),
        stream: log_group.as_ref().map(|_| log_stream_name(&key.id)),
        bucket,
        log_group,
    }
}
