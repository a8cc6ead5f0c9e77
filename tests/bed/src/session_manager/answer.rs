//! One call: whose it is, which fault is due, who answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_sdk_organizations::types::PolicyType;
use aws_sdk_sts::config::{BehaviorVersion, Region};
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use sessionwarden_machine::{ids::AccountId, scp::PROBE_DOCUMENT};

use super::{Fault, Inner};
use crate::cloud::MANAGEMENT;

/// What a call cannot be answered with.
pub(super) type Code = &'static str;

/// Which account a key is of, and whether a quarantine policy is attached to it.
pub(super) struct Accounts {
    sts: Option<aws_sdk_sts::Client>,
    organizations: Option<aws_sdk_organizations::Client>,
    by_key: Mutex<BTreeMap<String, AccountId>>,
}

impl Accounts {
    pub(super) fn new(sts: Option<&str>) -> Self {
        let client = |url: &str| {
            let config = aws_sdk_sts::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new("test", "test", None, None, "test"))
                .endpoint_url(url);
            aws_sdk_sts::Client::from_conf(config.build())
        };
        let organizations = |url: &str| {
            let config = aws_sdk_organizations::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new(MANAGEMENT, "test", None, None, "test"))
                .endpoint_url(url);
            aws_sdk_organizations::Client::from_conf(config.build())
        };
        Self { sts: sts.map(client), organizations: sts.map(organizations), by_key: Mutex::default() }
    }

    /// Whether an account carries a policy whose content denies the probe. Nobody else here evaluates such policies: as
    /// soon as one is attached it holds.
    async fn locked(&self, account: AccountId) -> Option<bool> {
        let organizations = self.organizations.as_ref()?;
        let call = organizations.list_policies_for_target().target_id(account.to_string());
        let attached = call.filter(PolicyType::ServiceControlPolicy).send().await.ok()?;
        for policy in attached.policies() {
            let found = organizations.describe_policy().policy_id(policy.id()?).send().await.ok()?;
            if found.policy()?.content()?.contains(PROBE_DOCUMENT) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The account of a key: one of twelve digits is an account's own; of other keys, STS tells it (`GetAccessKeyInfo`),
    /// or the digits in the keys that are given out here.
    async fn of(&self, key: &str) -> Option<AccountId> {
        if key.len() == 12 {
            return key.parse().ok();
        }
        let Some(sts) = &self.sts else {
            return key.get(4..16).and_then(|digits| digits.parse().ok());
        };
        let known = self.by_key.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        if known.is_some() {
            return known;
        }
        let told = sts.get_access_key_info().access_key_id(key).send().await.ok()?;
        let account = told.account()?.parse().ok()?;
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), account);
        Some(account)
    }
}

/// A call in the JSON protocol, which has a target, or in the query protocol.
struct Call {
    target: Option<String>,
    action: String,
    form: String,
}

impl Call {
    fn read(headers: &HeaderMap, body: &Bytes) -> Self {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
        let form = String::from_utf8_lossy(body).into_owned();
        let mut call = Self { target, action: String::new(), form };
        call.action = match call.target.as_deref().and_then(|target| target.split_once('.')) {
            Some((_, action)) => action.to_owned(),
            None => call.parameter("Action"),
        };
        call
    }

    fn parameter(&self, name: &str) -> String {
        let pair = self.form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
    }

    /// An error in the protocol of the call: JSON, STS's XML, or EC2's.
    fn failure(&self, status: u16, code: &str) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = format!("<Error><Code>{code}</Code><Message>a test</Message></Error>");
        let body = match (&self.target, &*self.action) {
            (Some(_), _) => json!({ "__type": format!("com.amazonaws#{code}"), "message": "a test" }).to_string(),
            (None, "AssumeRole" | "GetCallerIdentity") => format!("<ErrorResponse>{error}</ErrorResponse>"),
            (None, _) => format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"),
        };
        (status, body).into_response()
    }
}

pub(super) async fn answer(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call::read(&headers, &body);
    let (number, fault) = {
        let mut told = inner.told();
        let number = told.calls.entry(call.action.clone()).or_default();
        *number += 1;
        (*number, told.faults.get_mut(call.action.as_str()).and_then(VecDeque::pop_front))
    };
    match fault {
        Some(Fault::Silence) => tokio::time::sleep(Duration::from_mins(10)).await,
        Some(Fault::Nonsense) => return (StatusCode::OK, "{}").into_response(),
        Some(Fault::Long(bytes)) => return (StatusCode::OK, " ".repeat(bytes)).into_response(),
        Some(Fault::Code(status, code)) => return call.failure(status, code),
        None => {}
    }
    match (&call.target, &*call.action) {
        (None, "GetCallerIdentity") => return caller(inner.settings.own),
        (None, "AssumeRole") => return role(&inner, &call, number),
        (None, "DescribeVpcEndpoints") => return endpoint(&call),
        (None, _) => return call.failure(400, "InvalidAction"),
        (Some(_), _) => {}
    }
    let Some((key, region)) = signer(&headers) else {
        return call.failure(400, "IncompleteSignature");
    };
    let account = match (inner.accounts.of(key).await, &inner.settings.sts) {
        (Some(account), _) => account,
        (None, None) => inner.settings.own,
        (None, Some(_)) => return call.failure(400, "UnrecognizedClientException"),
    };
    let Ok(input) = serde_json::from_slice::<Value>(&body) else {
        return call.failure(400, "SerializationException");
    };
    if call.action == "GetDocument" && input["Name"] == PROBE_DOCUMENT {
        return match inner.accounts.locked(account).await {
            Some(true) => denied(),
            Some(false) => call.failure(400, "InvalidDocument"),
            None => call.failure(500, "InternalServerError"),
        };
    }
    match (inner.model(&call.action, account, region, &input), &inner.forward) {
        (Some(answered), _) => {
            let shown = answered.map(|answer| answer.to_string().into_response());
            shown.unwrap_or_else(|code| call.failure(400, code))
        }
        (None, Some(forward)) => forward.send(account, &headers, &body).await,
        (None, None) => call.failure(400, "UnknownOperationException"),
    }
}

/// What AWS says where a service control policy denies a call ("Troubleshoot access denied error messages").
fn denied() -> Response {
    let message =
        "User is not authorized to perform: ssm:GetDocument with an explicit deny in a service control policy";
    let body = json!({ "__type": "com.amazonaws#AccessDeniedException", "message": message });
    (StatusCode::BAD_REQUEST, body.to_string()).into_response()
}

/// The key and region that a request is signed for.
fn signer(headers: &HeaderMap) -> Option<(&str, &str)> {
    let signature = headers.get("authorization")?.to_str().ok()?;
    let (_, scope) = signature.split_once("Credential=")?;
    let mut parts = scope.split('/');
    Some((parts.next()?, parts.nth(1)?))
}

fn caller(own: AccountId) -> Response {
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{own}</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    )
    .into_response()
}

/// `AssumeRole`, with a key that tells its account; the one External ID that counts is `right`.
fn role(inner: &Inner, call: &Call, number: u32) -> Response {
    let role = call.parameter("RoleArn");
    let account = role.split(':').nth(4).unwrap_or_default();
    if call.parameter("ExternalId") != "right" {
        return call.failure(403, "AccessDenied");
    }
    let expiry = jiff::Timestamp::now() + inner.settings.lifetime;
    format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{account}{number}</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{expiry}</Expiration>\
         </Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    .into_response()
}

/// `DescribeVpcEndpoints`: two pages with one gateway.
fn endpoint(call: &Call) -> Response {
    let item = "<item><vpcEndpointId>vpce-1</vpcEndpointId><vpcEndpointType>Gateway</vpcEndpointType>\
                <serviceName>com.amazonaws.eu-west-1.s3</serviceName><state>available</state></item>";
    let next = if call.form.contains("NextToken=") { "" } else { "a%2Fb" };
    format!("<R><vpcEndpointSet>{item}</vpcEndpointSet><nextToken>{next}</nextToken></R>").into_response()
}
