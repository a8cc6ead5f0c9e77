//! The hands in AWS, and the audit trail in S3, against servers.
//!
//! moto and ministack, which nobody here wrote, answer for STS, IAM, Organizations, S3, EC2, KMS, CloudWatch Logs, ECS
//! and Systems Manager documents. No server known plays Session Manager's sessions, so that for these the project's own
//! model is served over HTTP: it shows that the calls are made and read as their API reference says, and no more. What
//! AWS does beyond that, only AWS can show.

mod audit;
mod cloud;
mod credentials;
mod ministack;
mod moto;
mod repairs;
mod sessions;
mod signed;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use sessionwarden::aws::{AwsOrganization, AwsSettings};
use sessionwarden_machine::ids::AccountId;
use sessionwarden_testbed::{Server, python};

pub(crate) const REGION: &str = "eu-west-1";

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::new(number).expect("an account")
}

/// Settings with short waits, so that what must fail fails soon.
pub(crate) fn settings() -> AwsSettings {
    AwsSettings { attempt_max: Duration::from_secs(5), ..AwsSettings::new("sessionwarden", "right") }
}

/// Prepares a server with `prepare.py`, and returns what that tells.
pub(crate) fn prepare(kind: &str, server: &Server, input: &str) -> serde_json::Value {
    python::script("prepare.py", &[kind, &server.url], input.as_bytes()).unwrap()
}

/// Connects with a profile in which each service has its endpoint, all others being at the first one's.
pub(crate) async fn connect(key: &str, endpoints: &[(&str, &str)], settings: AwsSettings) -> AwsOrganization {
    let all = endpoints.first().map(|(_, url)| *url).unwrap_or_default();
    let mut profile = format!("[default]\nregion = {REGION}\nendpoint_url = {all}\nservices = test\n[services test]\n");
    for (service, url) in endpoints {
        profile.extend([service, " =\n  endpoint_url = ", url, "\n"]);
    }
    let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, profile).build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .profile_files(files)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(key, "test", None, None, "test"));
    AwsOrganization::connect_with(loader, settings).await.expect("the server answers")
}
