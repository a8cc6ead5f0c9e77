//! The organisation in AWS behind the ports: every account's APIs, called with a role of that account.
//!
//! Most services are called through their SDKs; EC2, KMS, CloudWatch Logs, ECS and EventBridge, of which a handful of
//! calls is needed, through [`signed`]. Nothing here logs a policy's text, a token or a message of AWS.

mod credentials;
mod documents;
mod ec2;
mod errors;
mod events;
mod guards;
mod identities;
mod limits;
mod locks;
mod logs;
mod nodes;
mod places;
mod repairs;
mod sessions;
mod settings;
mod signed;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use sessionwarden_machine::ids::AccountId;

use crate::{metrics::Metrics, ports::CallError};

use self::{
    credentials::Purse,
    errors::Failure,
    identities::PolicyVersions,
    limits::{Limits, Place},
};
pub use self::{
    events::{PutEvent, PutEventError},
    locks::LockSettings,
    settings::{Api, AwsSettings, Limit},
};

/// How many accounts' credentials are kept; beyond that all are asked for again.
const PURSES_MAX: usize = 65_536;
/// The longest time for which the own credentials are used without looking whether there are new ones.
const OWN_KEPT_MAX: Duration = Duration::from_hours(1);
/// How long the own credentials are not asked for again after they could not be had.
const OWN_REFUSAL_KEPT: Duration = Duration::from_secs(1);
/// How many pages one answer may have. A longer one is no answer.
const PAGES_MAX: usize = 500;

/// Why AWS cannot be reached at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The SDK's chain names no region.
    #[error("no AWS region is set; set AWS_REGION, or `region` in the profile")]
    Region,
    /// The SDK's chain has no credentials.
    #[error("no AWS credentials were found; give the machine a role, or set AWS_PROFILE")]
    Credentials,
    /// STS did not say whose credentials these are.
    #[error("STS did not say whose credentials these are: {0}")]
    Caller(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made")]
    Http,
}

/// An organisation in AWS.
pub struct AwsOrganization {
    settings: AwsSettings,
    config: SdkConfig,
    chain: SharedCredentialsProvider,
    own: AccountId,
    region: Arc<str>,
    connector: SharedHttpConnector,
    limits: Limits,
    purses: Mutex<BTreeMap<AccountId, Arc<Purse>>>,
    policy_versions: PolicyVersions,
    regions_by_bucket: Mutex<BTreeMap<Arc<str>, Arc<str>>>,
    metrics: Option<Metrics>,
    /// The last result of assuming the role of each account.
    reached: Mutex<BTreeMap<AccountId, bool>>,
    /// Organizations serialises changes and answers `ConcurrentModificationException` to whoever comes meanwhile.
    writing: tokio::sync::Mutex<()>,
    guards: tokio::sync::Mutex<guards::GuardMemory>,
}

impl fmt::Debug for AwsOrganization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsOrganization").field("own", &self.own).field("region", &self.region).finish_non_exhaustive()
    }
}

/// What a call is made with.
#[derive(Clone)]
struct Means {
    config: SdkConfig,
    credentials: Credentials,
    region: Arc<str>,
    connector: SharedHttpConnector,
    attempt_max: Duration,
}

impl AwsOrganization {
    /// Connects with what the SDK's own chain finds: environment, profile, role of the machine, `AWS_ENDPOINT_URL` and
    /// `AWS_ENDPOINT_URL_<SERVICE>`.
    ///
    /// # Errors
    /// [`ConnectError`] where the chain is incomplete or STS does not answer.
    pub async fn connect(settings: AwsSettings) -> Result<Self, ConnectError> {
        Self::connect_with(aws_config::defaults(BehaviorVersion::latest()), settings).await
    }

    /// [`Self::connect`] with a chain that was prepared: another profile file, say.
    ///
    /// # Errors
    /// [`ConnectError`] where the chain is incomplete or STS does not answer.
    pub async fn connect_with(loader: ConfigLoader, settings: AwsSettings) -> Result<Self, ConnectError> {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        // One client, and so one pool of connections, for all services and accounts.
        let client = aws_smithy_http_client::Builder::new().tls_provider(provider).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.attempt_max)
            .operation_attempt_timeout(settings.attempt_max)
            .build();
        let config = loader.http_client(client).timeout_config(timeouts).load().await;
        let region = config.region().map(|region| Arc::from(region.as_ref())).ok_or(ConnectError::Region)?;
        let chain = config.credentials_provider().ok_or(ConnectError::Credentials)?;
        chain.provide_credentials().await.map_err(|_| ConnectError::Credentials)?;
        let connector = signed::connector(settings.attempt_max).ok_or(ConnectError::Http)?;
        let own = own_account(&config).await?;
        Ok(Self {
            limits: Limits::new(&settings.limits, settings.turn_wait_max),
            settings,
            config,
            chain,
            own,
            region,
            connector,
            purses: Mutex::default(),
            policy_versions: PolicyVersions::default(),
            regions_by_bucket: Mutex::default(),
            metrics: None,
            reached: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            guards: tokio::sync::Mutex::default(),
        })
    }

    /// The same, counting its calls.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The configuration for services in the own account: region, endpoints, credentials that are renewed.
    pub fn own_config(&self) -> SdkConfig {
        self.config.clone()
    }

    /// The configuration for services in an account, with credentials that hold for a while.
    ///
    /// # Errors
    /// The account's role cannot be assumed.
    pub async fn config_of(&self, account: AccountId) -> Result<SdkConfig, CallError> {
        let place = (account, Arc::clone(&self.region));
        Ok(Box::pin(self.means(&place)).await?.config)
    }

    /// The account whose credentials the chain gives.
    pub fn own_account(&self) -> AccountId {
        self.own
    }

    /// The region that the chain names.
    pub fn own_region(&self) -> &str {
        &self.region
    }

    /// Makes one call. With credentials that turn out to be over it is made once again with new ones.
    async fn call<T, E, F>(
        &self,
        place: &Place,
        api: Api,
        name: &'static str,
        send: impl Fn(&Means) -> F,
    ) -> Result<T, Failure>
    where
        E: Into<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let mut renewed = false;
        loop {
            // On the heap: the futures of SDKs are large.
            let means = Box::pin(self.means(place)).await?;
            self.limits.turn(api, place).await?;
            let failure: Failure = match Box::pin(send(&means)).await {
                Ok(answer) => {
                    self.count(name, "ok");
                    return Ok(answer);
                }
                Err(error) => error.into(),
            };
            self.count(name, failure.error.as_str());
            let (account, region) = place;
            let (error, code) = (failure.error, &failure.code);
            tracing::debug!(%account, %region, call = name, %error, code, "a call failed");
            if failure.ahead_ms.is_some() {
                tracing::error!(call = name, "{}", failure.told());
            }
            if !failure.expired() || renewed {
                return Err(failure);
            }
            self.purse(*account).forget(&means.credentials).await;
            renewed = true;
        }
    }

    fn count(&self, name: &'static str, result: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.call(name, result);
        }
    }

    /// Notes whether an account's role could be assumed: where it could not, nothing is seen of its sessions.
    fn note_reached(&self, account: AccountId, result: Result<(), CallError>) {
        let refused = {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            reached.insert(account, result.is_ok());
            reached.values().filter(|reached| !**reached).count()
        };
        if let Some(metrics) = &self.metrics {
            metrics.role_assumed(result.err().map_or("ok", CallError::as_str), refused as u64);
        }
    }

    async fn means(&self, (account, region): &Place) -> Result<Means, Failure> {
        let credentials = if *account == self.own {
            self.own_credentials().await?
        } else {
            let asked_for = Duration::from_secs(u64::from(self.settings.credentials_seconds));
            let assume = self.assume(*account);
            self.purse(*account).get(asked_for, self.settings.refusal_kept, assume).await?
        };
        Ok(Means {
            config: self.config_with(region, &credentials),
            credentials,
            region: Arc::clone(region),
            connector: self.connector.clone(),
            attempt_max: self.settings.attempt_max,
        })
    }

    /// What the chain gives, which by itself keeps nothing.
    async fn own_credentials(&self) -> Result<Credentials, Failure> {
        let ask = async { self.chain.provide_credentials().await.map_err(|_| Failure::unknown(true)) };
        self.purse(self.own).get(OWN_KEPT_MAX, OWN_REFUSAL_KEPT, ask).await
    }

    fn config_with(&self, region: &str, credentials: &Credentials) -> SdkConfig {
        let builder = self.config.to_builder().region(Region::new(region.to_owned()));
        let builder = builder.identity_cache(aws_config::identity::IdentityCache::no_cache());
        builder.credentials_provider(SharedCredentialsProvider::new(credentials.clone())).build()
    }

    fn purse(&self, account: AccountId) -> Arc<Purse> {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        if purses.len() >= PURSES_MAX {
            purses.clear();
        }
        Arc::clone(purses.entry(account).or_insert_with(|| Arc::new(Purse::new())))
    }

    async fn assume(&self, account: AccountId) -> Result<Credentials, Failure> {
        let role = format!("arn:{}:iam::{account}:role/{}", partition(&self.region), self.settings.role);
        let own = self.own_credentials().await?;
        let assumed = aws_sdk_sts::Client::new(&self.config_with(&self.region, &own))
            .assume_role()
            .role_arn(&role)
            .role_session_name(&*self.settings.session_name)
            .external_id(&*self.settings.external_id)
            .duration_seconds(i32::try_from(self.settings.credentials_seconds).unwrap_or(3_600))
            .send();
        let lent = match assumed.await {
            Ok(assumed) => assumed.credentials.ok_or_else(|| Failure::unknown(false)),
            Err(error) => Err(Failure::from(error)),
        };
        self.note_reached(account, lent.as_ref().map(drop).map_err(|failure| failure.error));
        let lent = match lent {
            Ok(lent) => lent,
            Err(failure) => {
                let (error, code) = (failure.error, &failure.code);
                tracing::warn!(role, %error, code, "the role cannot be assumed");
                if failure.expired() {
                    self.purse(self.own).forget(&own).await;
                }
                return Err(failure);
            }
        };
        let expiry = SystemTime::try_from(lent.expiration).ok();
        let token = Some(lent.session_token);
        Ok(Credentials::new(lent.access_key_id, lent.secret_access_key, token, expiry, "sessionwarden"))
    }

    /// Where Organizations is called.
    fn organization_place(&self) -> Place {
        (self.settings.organization_account.unwrap_or(self.own), Arc::clone(&self.region))
    }
}

async fn own_account(config: &SdkConfig) -> Result<AccountId, ConnectError> {
    let identity = aws_sdk_sts::Client::new(config)
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| ConnectError::Caller(Failure::from(error).told()))?;
    let account = identity.account().and_then(|account| account.parse().ok());
    account.ok_or_else(|| ConnectError::Caller("it named no account".to_owned()))
}

/// The partition of a region ("Amazon Resource Names (ARNs)").
fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("eusc") => "aws-eusc",
        Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// A service's time in milliseconds since 1970.
fn event_time(at: &aws_smithy_types::DateTime) -> Option<sessionwarden_machine::ids::EventTime> {
    at.to_millis().ok().map(sessionwarden_machine::ids::EventTime)
}

/// Pages of a list: what goes on after the last one has no token, and neither has one that repeats itself.
struct Pages {
    token: Option<String>,
    left: usize,
}

impl Pages {
    fn new() -> Self {
        Self { token: None, left: PAGES_MAX }
    }

    /// Whether there is another page, given what the last one named as its successor.
    fn go_on(&mut self, next: Option<&str>) -> Result<bool, Failure> {
        let next = next.filter(|next| !next.is_empty()).map(str::to_owned);
        self.left -= 1;
        if next.is_some() && (self.left == 0 || next == self.token) {
            return Err(Failure::unknown(false));
        }
        self.token = next;
        Ok(self.token.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_by_region() {
        for (region, wanted) in [
            ("eu-west-1", "aws"),
            ("us-east-1", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(region), wanted, "{region}");
        }
    }

    #[test]
    fn a_list_without_an_end_is_no_answer() {
        let mut pages = Pages::new();
        assert_eq!(pages.go_on(Some("a")), Ok(true));
        assert!(pages.go_on(Some("a")).is_err());
        let mut pages = Pages::new();
        let tokens = 0..2 * PAGES_MAX;
        let asked = tokens.take_while(|number| pages.go_on(Some(&number.to_string())).is_ok()).count();
        assert_eq!(asked + 1, PAGES_MAX);
        let mut pages = Pages::new();
        assert_eq!(pages.go_on(Some("")), Ok(false));
    }
}
