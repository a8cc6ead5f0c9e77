//! Where logs are kept, and what protects them: buckets and keys.

use std::sync::{Arc, PoisonError};

use aws_sdk_s3::{
    Client,
    types::{BucketVersioningStatus, ObjectLockEnabled, ServerSideEncryption},
};
use serde::Deserialize;
use sessionwarden_machine::{
    ids::AccountId,
    posture::{Bucket, Key, PolicyText},
};

use super::{
    AwsOrganization, Means, Pages,
    errors::Failure,
    limits::Place,
    partition,
    settings::Api,
    signed::{self, KMS},
};
use crate::ports::{CallError, LogPlaces};

/// How many buckets' regions are kept; beyond that all are asked for again.
const BUCKETS_MAX: usize = 1_024;

/// The part of `DescribeKey` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedKey {
    key_metadata: KeyMetadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyMetadata {
    arn: String,
    key_state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyPolicy {
    policy: String,
}

/// The part of `ListAliases` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Aliases {
    aliases: Vec<Alias>,
    next_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alias {
    alias_name: String,
}

impl LogPlaces for AwsOrganization {
    /// Asked for as the account that owns the log bucket, and with that account as the expected owner ("Verifying
    /// bucket ownership with bucket owner condition"): a bucket of anybody else is [`CallError::Denied`].
    async fn bucket(&self, bucket: &str) -> Result<Bucket, CallError> {
        Ok(self.log_bucket(bucket).await?)
    }

    /// A key in the account that owns the log bucket is asked for there, any other as `account`: only an account itself
    /// can read its keys' policies.
    async fn key(&self, account: AccountId, region: &str, key: &str) -> Result<Key, CallError> {
        let place = self.key_place(account, region, key);
        let input = serde_json::json!({ "KeyId": key });
        let send = |means: &Means| signed::json::<DescribedKey>(&KMS, means.clone(), "DescribeKey", input.clone());
        let found = self.call(&place, Api::Kms, "DescribeKey", send).await?.key_metadata;
        let input = serde_json::json!({ "KeyId": found.arn, "PolicyName": "default" });
        let send = |means: &Means| signed::json::<KeyPolicy>(&KMS, means.clone(), "GetKeyPolicy", input.clone());
        let policy = self.call(&place, Api::Kms, "GetKeyPolicy", send).await.map_err(Failure::of_part)?;
        Ok(Key {
            aliases: self.aliases(&place, &found.arn).await.ok(),
            arn: found.arn.into(),
            enabled: found.key_state == "Enabled",
            policy: PolicyText { name: Arc::from("the key's policy"), text: policy.policy.into() },
        })
    }
}

impl AwsOrganization {
    pub(super) fn log_account(&self) -> AccountId {
        self.settings.log_account.unwrap_or(self.own)
    }

    fn key_place(&self, account: AccountId, region: &str, key: &str) -> Place {
        let mut parts = key.strip_prefix("arn:").into_iter().flat_map(|arn| arn.splitn(5, ':')).skip(2);
        let (named, owner) = (parts.next().unwrap_or(region), parts.next().and_then(|owner| owner.parse().ok()));
        let owner = owner.filter(|owner| [self.log_account(), self.own].contains(owner)).unwrap_or(account);
        (owner, Arc::from(named))
    }

    async fn aliases(&self, place: &Place, key: &str) -> Result<Vec<Arc<str>>, Failure> {
        let mut found = Vec::new();
        let mut pages = Pages::new();
        loop {
            let mut input = serde_json::json!({ "KeyId": key });
            if let Some(marker) = &pages.token {
                input["Marker"] = marker.as_str().into();
            }
            let send = |means: &Means| signed::json::<Aliases>(&KMS, means.clone(), "ListAliases", input.clone());
            let page = self.call(place, Api::Kms, "ListAliases", send).await?;
            found.extend(page.aliases.into_iter().map(|alias| Arc::from(alias.alias_name)));
            if !pages.go_on(page.next_marker.as_deref())? {
                return Ok(found);
            }
        }
    }

    /// The account and region of a bucket. A bucket keeps its region as long as it exists.
    pub(super) async fn bucket_place(&self, bucket: &str) -> Result<Place, Failure> {
        let known = self.regions_by_bucket.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned();
        if let Some(region) = known {
            return Ok((self.log_account(), region));
        }
        let home = (self.log_account(), Arc::clone(&self.region));
        let send = |means: &Means| {
            let call = Client::new(&means.config).head_bucket().bucket(bucket).send();
            async { Ok::<_, Failure>(call.await) }
        };
        // The region stands in refusals and redirections, too ("HeadBucket").
        let named = match self.call(&home, Api::S3, "HeadBucket", send).await? {
            Ok(found) => found.bucket_region,
            Err(error) => {
                let region = error.raw_response().and_then(|it| it.headers().get("x-amz-bucket-region"));
                let region = region.map(str::to_owned);
                if region.is_none() && error.raw_response().is_none_or(|it| it.status().as_u16() != 404) {
                    return Err(error.into());
                }
                region
            }
        };
        // Without a region there is no such bucket, or nobody to say so: the next call tells.
        let Some(region) = named.filter(|region| !region.is_empty()).map(Arc::<str>::from) else {
            return Ok(home);
        };
        let mut regions = self.regions_by_bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.len() >= BUCKETS_MAX {
            regions.clear();
        }
        regions.insert(Arc::from(bucket), Arc::clone(&region));
        Ok((self.log_account(), region))
    }

    /// A call about a bucket; the bucket may have been made again in another region meanwhile.
    pub(super) fn forget_bucket<T>(&self, bucket: &str, answer: Result<T, Failure>) -> Result<T, Failure> {
        answer.inspect_err(|failure| {
            if failure.error == CallError::Gone || failure.code.ends_with("Redirect") {
                self.regions_by_bucket.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
            }
        })
    }

    async fn log_bucket(&self, bucket: &str) -> Result<Bucket, Failure> {
        let place = self.bucket_place(bucket).await?;
        let owner = place.0.to_string();
        let send = |means: &Means| {
            Client::new(&means.config).get_bucket_versioning().bucket(bucket).expected_bucket_owner(&owner).send()
        };
        let versioning = self.call(&place, Api::S3, "GetBucketVersioning", send).await;
        let versioning = self.forget_bucket(bucket, versioning)?;
        let send = |means: &Means| {
            Client::new(&means.config).get_bucket_policy().bucket(bucket).expected_bucket_owner(&owner).send()
        };
        let policy = self.call(&place, Api::S3, "GetBucketPolicy", send).await;
        let policy = unless(policy, "NoSuchBucketPolicy")?.and_then(|it| it.policy);
        let send = |means: &Means| {
            Client::new(&means.config).get_bucket_encryption().bucket(bucket).expected_bucket_owner(&owner).send()
        };
        let encryption = self.call(&place, Api::S3, "GetBucketEncryption", send).await;
        let encryption = unless(encryption, "ServerSideEncryptionConfigurationNotFoundError")?;
        let rules = encryption.and_then(|it| it.server_side_encryption_configuration);
        let default = rules.as_ref().and_then(|it| it.rules().first()?.apply_server_side_encryption_by_default());
        let by_kms = [ServerSideEncryption::AwsKms, ServerSideEncryption::AwsKmsDsse];
        let key = default.filter(|it| by_kms.contains(it.sse_algorithm())).and_then(|it| it.kms_master_key_id());
        let send = |means: &Means| {
            let call = Client::new(&means.config).get_object_lock_configuration();
            call.bucket(bucket).expected_bucket_owner(&owner).send()
        };
        let lock = self.call(&place, Api::S3, "GetObjectLockConfiguration", send).await;
        let lock = unless(lock, "ObjectLockConfigurationNotFoundError")?.and_then(|it| it.object_lock_configuration);
        Ok(Bucket {
            account: place.0,
            policy: policy.map(|text| PolicyText { name: Arc::from("the bucket's policy"), text: text.into() }),
            versioned: versioning.status() == Some(&BucketVersioningStatus::Enabled),
            key: key.map(|key| key_arn(key, &place)),
            locked: lock.is_some_and(|it| it.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled)),
        })
    }
}

/// An answer, or `None` where the code says that nothing is configured.
fn unless<T>(answer: Result<T, Failure>, nothing: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is(nothing) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The ARN of a key that a bucket names by its ARN, its id or its alias.
fn key_arn(key: &str, (account, region): &Place) -> Arc<str> {
    if key.starts_with("arn:") {
        return Arc::from(key);
    }
    let kind = if key.starts_with("alias/") { "" } else { "key/" };
    format!("arn:{}:kms:{region}:{account}:{kind}{key}", partition(region)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_get_their_arns() {
        let place: Place = ("111122223333".parse().unwrap(), Arc::from("eu-west-1"));
        for (key, wanted) in [
            ("arn:aws:kms:eu-west-1:999988887777:key/k", "arn:aws:kms:eu-west-1:999988887777:key/k"),
            ("k-1", "arn:aws:kms:eu-west-1:111122223333:key/k-1"),
            ("alias/logs", "arn:aws:kms:eu-west-1:111122223333:alias/logs"),
        ] {
            assert_eq!(&*key_arn(key, &place), wanted);
        }
    }

    #[test]
    fn only_the_code_for_it_means_that_nothing_is_configured() {
        let failed = |code| Err::<(), _>(Failure::answered(code, 404));
        assert_eq!(unless(failed("NoSuchBucketPolicy"), "NoSuchBucketPolicy"), Ok(None));
        assert_eq!(unless(failed("NoSuchBucket"), "NoSuchBucketPolicy").unwrap_err().error, CallError::Gone);
    }
}
