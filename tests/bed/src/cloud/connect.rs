//! How programs and SDK clients find it.

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use sessionwarden_machine::ids::AccountId;

use super::{Cloud, MANAGEMENT, REGION};

impl Cloud {
    /// The environment of a program that is to run in the management account: region, credentials, endpoints.
    pub fn variables(&self) -> Vec<(String, String)> {
        let fixed = [
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", MANAGEMENT),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // ministack does not read compressed requests.
            ("AWS_DISABLE_REQUEST_COMPRESSION", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        let endpoints = self.endpoints().map(|(service, url)| {
            let name = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
            (name, url.to_owned())
        });
        fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().chain(endpoints).collect()
    }

    /// A configuration whose calls are those of an account's root user.
    pub async fn config(&self, account: AccountId) -> SdkConfig {
        self.config_with(root(&account.to_string())).await
    }

    /// A configuration with these credentials.
    pub async fn config_with(&self, credentials: Credentials) -> SdkConfig {
        self.loader(credentials).load().await
    }

    /// A configuration with these credentials that is not loaded yet.
    pub fn loader(&self, credentials: Credentials) -> ConfigLoader {
        loader(&self.endpoints(), credentials)
    }

    fn endpoints(&self) -> [(&'static str, &str); 14] {
        let ministack = self.ministack.url.as_str();
        [
            ("kinesis", &self.kinesis.url),
            ("dynamodb", self.tables.url()),
            ("ssm", self.session_manager.url()),
            ("cloudwatch_logs", self.session_manager.url()),
            ("cloudwatch", ministack),
            ("ec2", ministack),
            ("ecs", ministack),
            ("iam", ministack),
            ("kms", ministack),
            ("organizations", ministack),
            ("s3", ministack),
            ("sns", ministack),
            ("sqs", ministack),
            ("sts", ministack),
        ]
    }
}

/// The root user of an account, as ministack knows it.
pub fn root(account: &str) -> Credentials {
    Credentials::new(account, "test", None, None, "test")
}

/// A configuration in which each service has its endpoint.
pub(super) async fn config(endpoints: &[(&str, &str)], credentials: Credentials) -> SdkConfig {
    loader(endpoints, credentials).load().await
}

fn loader(endpoints: &[(&str, &str)], credentials: Credentials) -> ConfigLoader {
    let mut profile = "[default]\nservices = bed\n[services bed]\n".to_owned();
    for (service, url) in endpoints {
        profile.extend([service, " =\n  endpoint_url = ", url, "\n"]);
    }
    let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, profile).build();
    aws_config::defaults(BehaviorVersion::latest())
        .profile_files(files)
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .disable_request_compression(true)
}
