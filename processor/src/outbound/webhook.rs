//! A route over HTTP: the message's object, signed, to somebody who asked for it.
//!
//! `Sessionwarden-Signature: t=<seconds since 1970>,v1=<hex>`, where the second part is HMAC-SHA256 (RFC 2104) of the
//! first part's number, a full stop and the body. `Sessionwarden-Id` is the message's id. Redirects are not followed.

use std::{fmt::Write, io, net::IpAddr, sync::Arc, time::Duration};

use axum::http::{HeaderValue, StatusCode, Uri, header};
use futures_util::{FutureExt, future::BoxFuture};
use hmac::{Hmac, KeyInit, Mac};
use opentelemetry_http::{Bytes, HttpClient, Request};
use sessionwarden_machine::ids::Now;
use sha2::Sha256;

use super::{Deliver, Message, Secret, Undelivered, message::ID_BYTES_MAX};
use crate::telemetry::http_client;

/// How long one request may take, from the connection to the end of the answer.
pub const REQUEST_MAX: Duration = Duration::from_secs(3);
/// How much of a failure's text is kept, in bytes.
const REASON_BYTES_MAX: usize = 300;

/// A webhook.
pub struct Webhook {
    client: Arc<dyn HttpClient>,
    url: Uri,
    secret: Secret,
}

impl std::fmt::Debug for Webhook {
    /// Leaves out the address, of which parts can be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// Why a webhook cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address.
    #[error("the address of the webhook {0}")]
    Url(&'static str),
    /// The certificates of this machine.
    #[error("webhooks cannot be called: {0}")]
    Client(#[from] io::Error),
}

/// The address of a webhook: `https`, or `http` on this machine.
///
/// # Errors
/// What is wrong with it, without the text, of which parts can be secret.
pub fn webhook_url(text: &str) -> Result<Uri, &'static str> {
    let url: Uri = text.parse().map_err(|_| "is not a URL")?;
    let host = url.host().unwrap_or_default();
    if url.authority().is_none_or(|authority| authority.as_str().contains('@')) || host.is_empty() {
        return Err("must have a host, and must not hold credentials");
    }
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if is_here(host) => Ok(url),
        Some("http") => Err("must begin with https://: messages leave this machine"),
        _ => Err("must begin with https://"),
    }
}

fn is_here(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// The signature of a body at a time in seconds since 1970.
pub fn signature(key: &Secret, seconds: i64, body: &str) -> String {
    let mut signed = format!("t={seconds},v1=");
    for byte in mac(key.bytes(), &[seconds.to_string().as_bytes(), b".", body.as_bytes()]) {
        let _ = write!(signed, "{byte:02x}");
    }
    signed
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // A key of any length is one (RFC 2104).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// An id as a header's value: what is no visible ASCII as `%XX`, at most 1,024 characters.
fn header_id(id: &str) -> Option<HeaderValue> {
    let mut value = String::new();
    for byte in id.bytes() {
        if value.len() + 3 > ID_BYTES_MAX {
            break;
        }
        if byte.is_ascii_graphic() {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&value).ok()
}

/// What an answer's status means. That somebody has too much to do, or took too long to read, is no refusal.
fn meaning(status: StatusCode) -> Result<(), Undelivered> {
    let text = format!("status {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Undelivered::Later(text)),
        status if status.is_client_error() => Err(Undelivered::Refused(text)),
        _ => Err(Undelivered::Later(text)),
    }
}

/// An error with what caused it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

impl Webhook {
    /// A webhook at `url`, whose messages are signed with `secret`. One request takes at most `request_max`.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub fn new(url: &str, secret: Secret, request_max: Duration) -> Result<Self, WebhookError> {
        let url = webhook_url(url).map_err(WebhookError::Url)?;
        let client = http_client(url.scheme_str() == Some("https"), request_max)?;
        Ok(Self { client, url, secret })
    }

    async fn send(&self, message: &Message, now: Now) -> Result<(), Undelivered> {
        let body = message.json();
        let signed = signature(&self.secret, now.0.div_euclid(1_000), &body);
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("sessionwarden/", env!("CARGO_PKG_VERSION")))
            .header("sessionwarden-signature", signed);
        if let Some(id) = header_id(&message.id.0) {
            request = request.header("sessionwarden-id", id);
        }
        let request = request.body(Bytes::from(body));
        let request = request.map_err(|_| Undelivered::Refused("it cannot be sent over HTTP".to_owned()))?;
        match self.client.send_bytes(request).await {
            Ok(answer) => meaning(answer.status()),
            Err(error) if error.is::<tokio::time::error::Elapsed>() => {
                Err(Undelivered::Later("no answer in time".to_owned()))
            }
            Err(error) => Err(Undelivered::Later(format!("no answer: {}", causes(&*error)))),
        }
    }
}

impl Deliver for Webhook {
    fn deliver<'a>(&'a self, message: &'a Message, now: Now) -> BoxFuture<'a, Result<(), Undelivered>> {
        self.send(message, now).boxed()
    }
}

#[cfg(test)]
mod tests;
