//! Logs on standard error, and traces and metrics over OTLP where a collector is configured.
//!
//! Traces carry only spans and events of Sessionwarden's own modules, so that sending them never causes more of them.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::{Handle, Runtime};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::Targets,
    fmt::{MakeWriter, writer::BoxMakeWriter},
    layer::SubscriberExt,
};

use crate::{
    config::{LogFormat, Telemetry as Settings},
    metrics::{Metrics, MetricsError},
};

/// How long one request to the collector may take.
pub const EXPORT_SECONDS_MAX: u64 = 3;

/// How long [`Guard::shutdown`] waits at most for what is left to be sent.
pub const SHUTDOWN_SECONDS_MAX: u64 = 5;

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// Appended to a file, while the status view has the terminal.
    File(PathBuf),
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log level is no filter.
    #[error("`telemetry.log_level` is not a filter: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The log file cannot be opened.
    #[error("log file {path} cannot be opened: {source}")]
    LogFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The threads that send, or the certificates of this machine.
    #[error("traces and metrics cannot be sent to `telemetry.otlp_endpoint`: {0}")]
    Client(#[from] io::Error),
    /// The exporter refuses the endpoint.
    #[error("traces and metrics cannot be sent to `telemetry.otlp_endpoint`: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A subscriber is already there.
    #[error("logging is already set up: {0}")]
    Installed(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Keeps telemetry running; sends what is left when it is shut down or dropped.
#[derive(Debug)]
pub struct Guard {
    sender: Option<Sender>,
}

#[derive(Debug)]
struct Sender {
    tracer: SdkTracerProvider,
    metrics: Metrics,
    runtime: Background,
}

/// A runtime that may be dropped anywhere, also inside another one.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    fn handle(&self) -> io::Result<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(|| io::Error::other("stopped"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Sets up logging for the whole process, the metrics, and the exporters where an endpoint is configured.
///
/// # Errors
/// See [`TelemetryError`]. A collector that does not answer is no error: what cannot be sent is dropped.
pub fn init(settings: &Settings, log_to: &LogTo) -> Result<(Metrics, Guard), TelemetryError> {
    let (subscriber, metrics, guard) = match log_to {
        LogTo::Stderr => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
            build(settings, BoxMakeWriter::new(io::stderr), colours)?
        }
        LogTo::File(path) => build(settings, BoxMakeWriter::new(open(path)?), false)?,
    };
    tracing::subscriber::set_global_default(subscriber)?;
    Ok((metrics, guard))
}

fn open(path: &PathBuf) -> Result<Arc<File>, TelemetryError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(Arc::new).map_err(|source| TelemetryError::LogFile { path: path.clone(), source })
}

/// As [`init`], but writes log lines to `writer` and leaves it to the caller to install the subscriber.
///
/// # Errors
/// See [`TelemetryError`].
pub fn build<W>(
    settings: &Settings,
    writer: W,
    colours: bool,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Metrics, Guard), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The exporter's own life is no news; a level set for it by name still wins.
    let filter = EnvFilter::try_new(format!("opentelemetry_sdk=warn,{}", settings.log_level))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.log_format {
        LogFormat::Human => lines.with_ansi(colours).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let resource = Resource::builder()
        .with_service_name("sessionwarden")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sender = settings.otlp_endpoint.as_ref().map(|endpoint| Sender::new(endpoint, &resource)).transpose()?;
    let metrics = match &sender {
        Some(sender) => sender.metrics.clone(),
        None => Metrics::with_exporter(resource, None)?,
    };
    let traces = sender.as_ref().map(|sender| {
        let own = Targets::new().with_target("sessionwarden", tracing::Level::INFO);
        tracing_opentelemetry::layer().with_tracer(sender.tracer.tracer("sessionwarden")).with_filter(own)
    });
    Ok((Registry::default().with(lines).with(traces), metrics, Guard { sender }))
}

impl Sender {
    fn new(endpoint: &str, resource: &Resource) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()?;
        let runtime = Background(Some(runtime));
        let client = Arc::new(Client::new(endpoint, runtime.handle()?)?);
        let timeout = Duration::from_secs(EXPORT_SECONDS_MAX);
        let spans = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(client.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(timeout)
            .build()?;
        let measures = MetricExporter::builder()
            .with_http()
            .with_shared_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/metrics"))
            .with_timeout(timeout)
            .build()?;
        let metrics = Metrics::with_exporter(resource.clone(), Some(measures))?;
        let tracer = SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
        Ok(Self { tracer, metrics, runtime })
    }
}

impl Guard {
    /// Sends what is left and stops. Blocks the thread, but not for longer than [`SHUTDOWN_SECONDS_MAX`].
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(Sender { tracer, metrics, runtime }) = self.sender.take() else { return };
        let (done, waits) = mpsc::channel();
        let spans_done = done.clone();
        std::thread::spawn(move || spans_done.send(tracer.shutdown().err()));
        std::thread::spawn(move || done.send(metrics.shutdown().err()));
        let deadline = std::time::Instant::now() + Duration::from_secs(SHUTDOWN_SECONDS_MAX);
        for _ in 0..2 {
            match waits.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
                Ok(None) => {}
                Ok(Some(error)) => tracing::warn!(%error, "the last traces or metrics could not be sent"),
                Err(_) => tracing::warn!("the last traces or metrics could not be sent in time"),
            }
        }
        drop(runtime);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client over TLS alone, with the certificates of this machine, or without TLS. One request takes at most `timeout`.
/// Redirects are not followed.
///
/// # Errors
/// This machine's certificates cannot be read.
pub(crate) fn http_client(tls: bool, timeout: Duration) -> io::Result<Arc<dyn HttpClient>> {
    if !tls {
        return Ok(Arc::new(HyperClient::with_default_connector(timeout, None)));
    }
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_only()
        .enable_http1()
        .build();
    Ok(Arc::new(HyperClient::new(connector, timeout, None)))
}

/// Sends requests from the exporters' own threads, which have no runtime, on the telemetry runtime.
#[derive(Debug)]
struct Client {
    runtime: Handle,
    inner: Arc<dyn HttpClient>,
}

impl Client {
    fn new(endpoint: &str, runtime: Handle) -> io::Result<Self> {
        let inner = http_client(endpoint.starts_with("https://"), Duration::from_secs(EXPORT_SECONDS_MAX))?;
        Ok(Self { runtime, inner })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let inner = Arc::clone(&self.inner);
        self.runtime.spawn(async move { inner.send_bytes(request).await }).await?
    }
}
