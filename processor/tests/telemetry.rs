//! Logs, and traces and metrics as a collector receives them.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::Uri, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{metric::Data, number_data_point::Value},
};
use prost::Message;
use sessionwarden::{
    config::{LogFormat, Telemetry},
    telemetry::{SHUTDOWN_SECONDS_MAX, build},
};
use tracing_subscriber::fmt::MakeWriter;

type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

async fn keep(State(received): State<Received>, uri: Uri, body: Bytes) -> &'static str {
    received.lock().unwrap().push((uri.path().to_owned(), body));
    ""
}

async fn collector() -> (SocketAddr, Received) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(post(keep)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, received)
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn settings(endpoint: Option<String>) -> Telemetry {
    Telemetry { otlp_endpoint: endpoint, log_format: LogFormat::Json, log_level: "info".to_owned() }
}

#[tokio::test]
async fn a_collector_receives_spans_and_metrics() {
    let (address, received) = collector().await;
    let (subscriber, metrics, guard) =
        build(&settings(Some(format!("http://{address}/base"))), Lines::default(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(target: "sessionwarden::handle", "handle", subject = "session#1");
        span.in_scope(|| tracing::info!(target: "sessionwarden::handle", "judged"));
        tracing::info_span!(target: "hyper::client", "not ours").in_scope(|| {});
    });
    metrics.records_read(41);
    metrics.termination("done");
    tokio::task::spawn_blocking(|| guard.shutdown()).await.unwrap();

    let received = received.lock().unwrap();
    let body = |path: &str| &received.iter().find(|(at, _)| at == path).unwrap_or_else(|| panic!("{path}")).1;
    let traces = ExportTraceServiceRequest::decode(body("/base/v1/traces").clone()).unwrap();
    let service = &traces.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert!(service.iter().any(|pair| pair.key == "service.name" && format!("{pair:?}").contains("\"sessionwarden\"")));
    let spans: Vec<_> = traces
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["handle"]);
    assert!(spans[0].attributes.iter().any(|pair| pair.key == "subject"));
    assert_eq!(spans[0].events[0].name, "judged");

    let measures = ExportMetricsServiceRequest::decode(body("/base/v1/metrics").clone()).unwrap();
    let read = measures
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .find(|metric| metric.name == "sessionwarden_records_read_total")
        .unwrap();
    let Some(Data::Sum(sum)) = &read.data else { panic!("{read:?}") };
    assert_eq!((sum.is_monotonic, sum.data_points[0].value), (true, Some(Value::AsInt(41))));
}

#[tokio::test]
async fn the_guard_flushes_when_dropped_inside_a_runtime() {
    let (address, received) = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, received) = runtime.block_on(collector());
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        (address, received)
    })
    .await
    .unwrap();
    let (subscriber, metrics, guard) =
        build(&settings(Some(format!("http://{address}"))), Lines::default(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!(target: "sessionwarden", "last")));
    metrics.records_read(1);
    drop(guard);
    let paths: Vec<String> = received.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert!(paths.contains(&"/v1/traces".to_owned()) && paths.contains(&"/v1/metrics".to_owned()), "{paths:?}");
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_stop() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (subscriber, metrics, guard) = build(&settings(Some(endpoint)), Lines::default(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!(target: "sessionwarden", "lost")));
    metrics.records_read(1);
    let began = Instant::now();
    guard.shutdown();
    assert!(began.elapsed() < Duration::from_secs(SHUTDOWN_SECONDS_MAX + 1), "{:?}", began.elapsed());
}

#[test]
fn https_speaks_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let first_bytes = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 6];
        io::Read::read_exact(&mut stream, &mut bytes).unwrap();
        bytes
    });
    let (_subscriber, metrics, guard) = build(&settings(Some(endpoint)), Lines::default(), false).unwrap();
    metrics.records_read(1);
    drop(guard);
    let bytes = first_bytes.join().unwrap();
    assert_eq!((bytes[0], bytes[1], bytes[5]), (0x16, 0x03, 0x01), "not a TLS ClientHello: {bytes:?}");
}

#[test]
fn json_lines_are_json_and_follow_the_level() {
    let lines = Lines::default();
    let (subscriber, _metrics, _guard) = build(&settings(None), lines.clone(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(account = "123456789012", "throttled");
        tracing::debug!("not asked for");
    });
    let text = lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["level"], &line["message"], &line["account"]),
        (&"WARN".into(), &"throttled".into(), &"123456789012".into())
    );
}

#[test]
fn human_lines_do_not_steer_the_terminal() {
    let lines = Lines::default();
    let human =
        Telemetry { log_format: LogFormat::Human, log_level: "warn,telemetry=debug".to_owned(), ..settings(None) };
    let (subscriber, _metrics, _guard) = build(&human, lines.clone(), false).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!(target: "telemetry", session = "\u{1b}[2J", "resumed");
        tracing::info!(target: "elsewhere", "not asked for");
    });
    let text = lines.text();
    assert!(text.contains("DEBUG telemetry: resumed session=") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
