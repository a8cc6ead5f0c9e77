//! One signed client for the services of which a few calls are needed. Their SDKs would take far longer to build: EC2's
//! alone more than everything else together.
//!
//! Signature Version 4, the SDK's connector, credentials and endpoints; attempts, waits and answers are bounded.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use aws_types::service_config::ServiceConfigKey;
use backon::{ExponentialBuilder, Retryable as _};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{Means, errors::Failure};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a call is made again.
const RETRIES_MAX: usize = 2;
/// The wait before the first repetition, at the least; it doubles, and up to as much again is added by chance.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);

/// A service.
pub(super) struct Service {
    /// Its id in the SDK's configuration, by which `AWS_ENDPOINT_URL_<SERVICE>` names it.
    id: &'static str,
    /// The first part of its host's name, which is also its name in signatures.
    host: &'static str,
    /// How it is spoken to.
    protocol: Protocol,
}

enum Protocol {
    /// The EC2 query protocol of this version: forms in, XML out.
    Query(&'static str),
    /// AWS JSON 1.1, with this prefix of operations.
    Json(&'static str),
    /// Methods on paths, XML both ways.
    Rest,
}

/// A request of S3's protocol.
pub(super) struct Rest {
    pub(super) method: &'static str,
    /// The bucket and a query of one word.
    pub(super) path: String,
    pub(super) body: String,
}

pub(super) const EC2: Service = Service { id: "EC2", host: "ec2", protocol: Protocol::Query("2016-11-15") };
pub(super) const KMS: Service = Service { id: "KMS", host: "kms", protocol: Protocol::Json("TrentService") };
pub(super) const LOGS: Service =
    // With an underscore, as profiles name it ("Service-specific endpoints"); the SDK would look for a hyphen.
    Service { id: "CloudWatch_Logs", host: "logs", protocol: Protocol::Json("Logs_20140328") };
pub(super) const ECS: Service =
    Service { id: "ECS", host: "ecs", protocol: Protocol::Json("AmazonEC2ContainerServiceV20141113") };
pub(super) const CLOUDTRAIL: Service = Service {
    id: "CloudTrail",
    host: "cloudtrail",
    protocol: Protocol::Json("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"),
};
pub(super) const EVENTS: Service = Service { id: "EventBridge", host: "events", protocol: Protocol::Json("AWSEvents") };
pub(super) const SSM: Service = Service { id: "SSM", host: "ssm", protocol: Protocol::Json("AmazonSSM") };
pub(super) const KINESIS: Service =
    Service { id: "Kinesis", host: "kinesis", protocol: Protocol::Json("Kinesis_20131202") };
const S3: Service = Service { id: "S3", host: "s3", protocol: Protocol::Rest };

/// The connector of all signed calls, with its pool of connections.
pub(super) fn connector(attempt_max: Duration) -> Option<SharedHttpConnector> {
    let settings = HttpConnectorSettings::builder().connect_timeout(attempt_max).read_timeout(attempt_max).build();
    aws_smithy_http_client::default_connector(&settings, Some(SharedAsyncSleep::new(TokioSleep::new())))
}

/// A call of the query protocol: parameters as pairs.
pub(super) async fn query<T: DeserializeOwned>(
    service: &Service,
    means: Means,
    action: &'static str,
    parameters: Vec<(String, String)>,
) -> Result<T, Failure> {
    let Protocol::Query(version) = service.protocol else {
        return Err(Failure::unknown(false));
    };
    let mut body = format!("Action={action}&Version={version}");
    for (name, value) in &parameters {
        body.extend(["&", &percent_encoded(name), "=", &percent_encoded(value)]);
    }
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned())];
    let answer = repeated(service, &means, POST, &headers, &body).await?;
    let answer = std::str::from_utf8(&answer).map_err(|_| Failure::unknown(false))?;
    quick_xml::de::from_str(answer).map_err(|_| Failure::unknown(false))
}

/// A call of AWS JSON 1.1.
pub(super) async fn json<T: DeserializeOwned>(
    service: &Service,
    means: Means,
    operation: &'static str,
    input: serde_json::Value,
) -> Result<T, Failure> {
    let answer = told(service, means, operation, input).await?;
    serde_json::from_slice(&answer).map_err(|_| Failure::unknown(false))
}

/// The same, of an operation that answers with nothing.
pub(super) async fn silent(
    service: &Service,
    means: Means,
    operation: &'static str,
    input: serde_json::Value,
) -> Result<(), Failure> {
    told(service, means, operation, input).await.map(drop)
}

async fn told(
    service: &Service,
    means: Means,
    operation: &'static str,
    input: serde_json::Value,
) -> Result<Vec<u8>, Failure> {
    let Protocol::Json(prefix) = service.protocol else {
        return Err(Failure::unknown(false));
    };
    let headers =
        [("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", format!("{prefix}.{operation}"))];
    repeated(service, &means, POST, &headers, &input.to_string()).await
}

/// A call of S3 about a bucket, by its name in the path. The answer is its text.
pub(super) async fn rest(means: &Means, rest: &Rest) -> Result<String, Failure> {
    // S3 wants a checksum of what it is told to keep ("Checking object integrity").
    let checksum = aws_smithy_types::base64::encode(Sha256::digest(&rest.body));
    let headers = [("content-type", "application/xml".to_owned()), ("x-amz-checksum-sha256", checksum)];
    let headers: &Headers<'_> = if rest.body.is_empty() { &[] } else { &headers };
    let answer = repeated(&S3, means, (rest.method, &rest.path), headers, &rest.body).await?;
    String::from_utf8(answer).map_err(|_| Failure::unknown(false))
}

type Headers<'a> = [(&'static str, String)];

/// A method, and a path without the slash before it.
type Target<'a> = (&'static str, &'a str);

const POST: Target<'_> = ("POST", "");

async fn repeated(
    service: &Service,
    means: &Means,
    target: Target<'_>,
    headers: &Headers<'_>,
    body: &str,
) -> Result<Vec<u8>, Failure> {
    let waits = ExponentialBuilder::default().with_min_delay(RETRY_DELAY_MIN).with_max_times(RETRIES_MAX).with_jitter();
    let attempt = async || {
        let once = once(service, means, target, headers, body);
        tokio::time::timeout(means.attempt_max, once).await.unwrap_or_else(|_| Err(Failure::unknown(true)))
    };
    attempt.retry(waits).when(|failure| failure.transient).await
}

async fn once(
    service: &Service,
    means: &Means,
    target: Target<'_>,
    headers: &Headers<'_>,
    body: &str,
) -> Result<Vec<u8>, Failure> {
    let request = request(service, means, target, headers, body).ok_or_else(|| Failure::unknown(false))?;
    let response = means.connector.call(request).await.map_err(|_| Failure::unknown(true))?;
    let status = response.status();
    let named = response.headers().get("x-amzn-errortype").map(str::to_owned);
    let date = response.headers().get("date").map(str::to_owned);
    let answer = read(response).await?;
    if status.is_success() {
        return Ok(answer);
    }
    let code = match service.protocol {
        Protocol::Query(_) => xml_code(&answer),
        Protocol::Rest => rest_code(&answer),
        Protocol::Json(_) => named.or_else(|| json_code(&answer)).map(|code| bare(&code).to_owned()),
    };
    Err(Failure::answered(&code.unwrap_or_default(), status.as_u16()).at(date.as_deref()))
}

/// The signed request; `None` where the endpoint or a header is none.
fn request(
    service: &Service,
    means: &Means,
    (method, path): Target<'_>,
    headers: &Headers<'_>,
    body: &str,
) -> Option<HttpRequest> {
    let url = endpoint(service, &means.config, &means.region) + path;
    let mut settings = SigningSettings::default();
    if matches!(service.protocol, Protocol::Rest) {
        // S3 reads paths as they are, and wants to see the hash of what is sent ("Signature calculations for the
        // authorization header").
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = means.credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&means.region)
        .name(service.host)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .ok()?
        .into();
    let signed_headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let signable = SignableRequest::new(method, &url, signed_headers, SignableBody::Bytes(body.as_bytes())).ok()?;
    let (instructions, _signature) = sign(signable, &parameters).ok()?.into_parts();
    let mut builder = http::Request::builder().method(method).uri(&url);
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    let mut request = builder.body(SdkBody::from(body)).ok()?;
    instructions.apply_to_request_http1x(&mut request);
    HttpRequest::try_from(request).ok()
}

/// Where a service is: what the SDK's configuration says, first of this service and then of all, or AWS's own endpoint.
fn endpoint(service: &Service, config: &SdkConfig, region: &str) -> String {
    let key =
        ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok();
    let named = key.and_then(|key| config.service_config()?.load_config(key));
    let named = named.or_else(|| config.endpoint_url().map(str::to_owned));
    if let Some(url) = named {
        return if url.ends_with('/') { url } else { format!("{url}/") };
    }
    let fips = if config.use_fips() == Some(true) { "-fips" } else { "" };
    let suffix = match super::partition(region) {
        "aws-cn" => "amazonaws.com.cn",
        "aws-eusc" => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("https://{}{fips}.{region}.{suffix}/", service.host)
}

async fn read(response: HttpResponse) -> Result<Vec<u8>, Failure> {
    let mut stream = ByteStream::new(response.into_body());
    let mut answer = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Failure::unknown(true))?;
        if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::unknown(false));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn xml_code(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(rename = "Errors")]
        errors: Errors,
    }
    #[derive(Deserialize)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "Code")]
        code: String,
    }
    let response: Response = quick_xml::de::from_str(std::str::from_utf8(answer).ok()?).ok()?;
    response.errors.error.into_iter().next().map(|error| error.code)
}

/// The code of S3's errors.
fn rest_code(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "Code")]
        code: String,
    }
    quick_xml::de::from_str::<Error>(std::str::from_utf8(answer).ok()?).ok().map(|error| error.code)
}

fn json_code(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "__type", alias = "code")]
        code: String,
    }
    serde_json::from_slice::<Error>(answer).ok().map(|error| error.code)
}

/// A code without the namespace before it and the address behind it.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code)
}

/// A text in a form: everything but letters, digits and `-_.~` as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(["%", &format!("{byte:02X}")]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read() {
        let xml = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>m</Message>\
                   </Error></Errors><RequestID>r</RequestID></Response>";
        assert_eq!(xml_code(xml.as_bytes()).as_deref(), Some("RequestLimitExceeded"));
        assert_eq!(xml_code(b"<html>no</html>"), None);
        let xml = b"<?xml version=\"1.0\"?><Error><Code>NoSuchBucketPolicy</Code><Message>m</Message></Error>";
        assert_eq!(rest_code(xml).as_deref(), Some("NoSuchBucketPolicy"));
        let code = json_code(br#"{"__type":"com.amazonaws.kms#NotFoundException","message":"m"}"#).unwrap();
        assert_eq!(bare(&code), "NotFoundException");
        assert_eq!(bare("AccessDeniedException:http://internal.amazon.com/coral/"), "AccessDeniedException");
        assert_eq!(json_code(b"no"), None);
    }

    #[test]
    fn endpoints_are_aws_own_unless_named() {
        let config = SdkConfig::builder().build();
        assert_eq!(endpoint(&EC2, &config, "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com/");
        assert_eq!(endpoint(&LOGS, &config, "cn-north-1"), "https://logs.cn-north-1.amazonaws.com.cn/");
        let fips = SdkConfig::builder().use_fips(true).build();
        assert_eq!(endpoint(&KMS, &fips, "us-gov-west-1"), "https://kms-fips.us-gov-west-1.amazonaws.com/");
        let named = SdkConfig::builder().endpoint_url("http://127.0.0.1:5000").build();
        assert_eq!(endpoint(&ECS, &named, "eu-west-1"), "http://127.0.0.1:5000/");
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(percent_encoded("a b&c=d/ü~"), "a%20b%26c%3Dd%2F%C3%BC~");
    }
}
