use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{Health, Status, page};
use crate::metrics::Metrics;

const DRAIN_SECONDS_MAX: u64 = 2;

/// The console could not start, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The address cannot be listened on.
    #[error(
        "console cannot listen on {listen}: {source}; set `listen` under `[console]`, or the variable \
         SESSIONWARDEN_CONSOLE__LISTEN, to a free address and port"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It broke while running.
    #[error("console on {listen} broke: {source}")]
    Broken {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The console's socket, open but not yet served.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    address: SocketAddr,
}

struct Shared {
    status: watch::Receiver<Status>,
    health: Health,
    metrics: Metrics,
    loopback: bool,
}

impl Console {
    /// Opens the socket, so that a port in use is known before anything else starts.
    ///
    /// # Errors
    /// [`ConsoleError::Listen`], which names the address and the setting.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ConsoleError> {
        let bound = match TcpListener::bind(listen).await {
            Ok(listener) => listener.local_addr().map(|address| Self { listener, address }),
            Err(error) => Err(error),
        };
        bound.map_err(|source| ConsoleError::Listen { listen, source })
    }

    /// The address that is listened on, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled, and then for at most 2 s more.
    ///
    /// # Errors
    /// [`ConsoleError::Broken`].
    pub async fn serve(
        self,
        status: watch::Receiver<Status>,
        health: Health,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<(), ConsoleError> {
        let listen = self.address;
        let shared = Arc::new(Shared { status, health, metrics, loopback: listen.ip().is_loopback() });
        let serving = axum::serve(self.listener, router(shared)).with_graceful_shutdown(stop.clone().cancelled_owned());
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(DRAIN_SECONDS_MAX)).await;
        };
        tokio::select! {
            served = serving => served.map_err(|source| ConsoleError::Broken { listen, source }),
            () = too_late => Ok(()),
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guarded))
        .with_state(shared)
}

/// Refuses foreign names on a loopback address, so that no web page reads the console by DNS rebinding.
async fn guarded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.loopback && !local_host(&request) {
        return (StatusCode::FORBIDDEN, "only reachable as localhost\n").into_response();
    }
    let mut response = next.run(request).await;
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert::<HeaderName>(name, HeaderValue::from_static(value));
    }
    response
}

fn local_host(request: &Request) -> bool {
    let Some(host) = request.headers().get(header::HOST) else { return true };
    let host = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok());
    let Some(host) = host.as_ref().and_then(Uri::host) else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

async fn index(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(page::page(&shared.status.borrow()))
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(shared.status.borrow().clone())
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.health.stalled() {
        None => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "why": "starting" }))).into_response(),
        Some(stalled) if stalled.is_empty() => Json(json!({ "ready": true })).into_response(),
        Some(stalled) => {
            let why = "loops make no progress";
            let body = Json(json!({ "ready": false, "why": why, "stalled": stalled }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.prometheus_text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
