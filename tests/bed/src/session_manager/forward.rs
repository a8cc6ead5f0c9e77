//! Sending a call on to moto, in the account that it is of.

use std::{io, time::Duration};

use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use sessionwarden_machine::ids::AccountId;

const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What moto reads of a call.
const HEADERS: [&str; 4] = ["authorization", "content-type", "x-amz-date", "x-amz-target"];

/// The other server.
pub(super) struct Forward {
    url: String,
    connector: SharedHttpConnector,
}

impl Forward {
    pub(super) fn new(url: &str) -> io::Result<Self> {
        let settings = HttpConnectorSettings::builder().connect_timeout(ANSWER_MAX).read_timeout(ANSWER_MAX).build();
        let sleep = SharedAsyncSleep::new(TokioSleep::new());
        let connector = aws_smithy_http_client::default_connector(&settings, Some(sleep));
        let connector = connector.ok_or_else(|| io::Error::other("there is no HTTP client"))?;
        Ok(Self { url: format!("{url}/"), connector })
    }

    /// Sends it on; an answer that does not come is an internal error.
    pub(super) async fn send(&self, account: AccountId, headers: &HeaderMap, body: &Bytes) -> Response {
        let failed = || (StatusCode::INTERNAL_SERVER_ERROR, r#"{"__type":"InternalServerError"}"#).into_response();
        self.call(account, headers, body).await.unwrap_or_else(failed)
    }

    async fn call(&self, account: AccountId, headers: &HeaderMap, body: &Bytes) -> Option<Response> {
        let mut request = http::Request::post(&self.url).header("x-moto-account-id", account.to_string());
        for name in HEADERS {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(SdkBody::from(body.to_vec())).ok()?;
        let answer = self.connector.call(HttpRequest::try_from(request).ok()?).await.ok()?;
        let status = StatusCode::from_u16(answer.status().as_u16()).ok()?;
        let kind = answer.headers().get("content-type").unwrap_or("application/x-amz-json-1.1").to_owned();
        let told = ByteStream::new(answer.into_body()).collect().await.ok()?.into_bytes();
        Some((status, [("content-type", kind)], told).into_response())
    }
}
