use std::time::Duration;

use sessionwarden::{
    console::{Console, ConsoleError, Health, Status},
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

struct Running {
    address: std::net::SocketAddr,
    status: watch::Sender<Status>,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ConsoleError>>,
}

async fn start() -> Running {
    let console = Console::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (status, seen) = watch::channel(super::busy());
    let (health, metrics, stop) = (Health::new(), Metrics::new().unwrap(), CancellationToken::new());
    let address = console.address();
    let served = tokio::spawn(console.serve(seen, health.clone(), metrics.clone(), stop.clone()));
    Running { address, status, health, metrics, stop, served }
}

impl Running {
    /// The whole answer to a GET: status line, headers and body.
    async fn get_as(&self, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.get_as(&self.address.to_string(), path).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn ready_only_while_every_loop_makes_progress() {
    let running = start().await;
    assert_eq!(running.get("/healthz").await, (200, "ok\n".to_owned()));
    let (code, body) = running.get("/readyz").await;
    assert_eq!((code, body.contains("starting")), (503, true), "{body}");

    let shards = running.health.watch("shards", Duration::from_mins(1));
    let rechecks = running.health.watch("rechecks", Duration::from_millis(20));
    assert_eq!(running.get("/readyz").await.0, 200);
    sleep(Duration::from_millis(40)).await;
    let (code, body) = running.get("/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("\"name\":\"rechecks\"") && !body.contains("shards"), "{body}");
    assert_eq!(running.get("/healthz").await.0, 200);

    rechecks.beat();
    assert_eq!(running.get("/readyz").await.0, 200);
    rechecks.finish();
    sleep(Duration::from_millis(40)).await;
    assert_eq!(running.get("/readyz").await.0, 200);

    drop(shards);
    let (code, body) = running.get("/readyz").await;
    assert_eq!((code, body.contains("\"ended\":true")), (503, true), "{body}");

    let again = running.health.watch("shards", Duration::from_mins(1));
    let newest = running.health.watch("shards", Duration::from_mins(1));
    drop(again);
    assert_eq!(running.get("/readyz").await.0, 200);
    newest.finish();
}

#[tokio::test]
async fn status_is_json_and_follows_the_service() {
    let running = start().await;
    let (code, body) = running.get("/status").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(json["mode"], "enforce");
    assert_eq!(json["counts"]["records_poison"], 1);
    assert_eq!(json["quarantined"][0], "210987654321");
    assert_eq!(json["sessions"][0]["verdict"], "terminating");
    assert_eq!(json["recent"][2]["kind"], "violated");

    running.status.send_modify(|status| status.counts.terminations = 77);
    let (_, body) = running.get("/status").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["counts"]["terminations"], 77);
}

#[tokio::test]
async fn the_page_shows_the_status_and_escapes_it() {
    let running = start().await;
    running.status.send_modify(|status| {
        status.sessions[0].principal = "<script>alert(1)</script>".into();
        status.sessions[0].target = "\" onmouseover='x'".into();
    });
    let (code, body) = running.get("/").await;
    assert_eq!(code, 200);
    assert!(body.contains("1,234,567") && body.contains("port-forwarding") && body.contains("210987654321"));
    assert!(!body.contains("<script"), "{body}");
    assert!(!body.contains("onmouseover='x'"), "{body}");
    for outside in ["src=", "//", "url("] {
        assert!(!body.contains(outside), "the page asks for something else: {outside}");
    }
}

#[tokio::test]
async fn metrics_are_in_prometheus_text() {
    let running = start().await;
    running.metrics.records_read(42);
    let answer = running.get_as("localhost", "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(
        answer.contains("# TYPE sessionwarden_records_read_total counter\nsessionwarden_records_read_total 42\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_loopback_console_answers_to_no_other_name() {
    let running = start().await;
    for host in ["localhost:7878", "127.0.0.1", "[::1]:7878", "LOCALHOST"] {
        assert!(running.get_as(host, "/status").await.starts_with("HTTP/1.1 200"), "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:7878", "127.0.0.1.evil.example", "10.0.0.1", ""] {
        assert!(running.get_as(host, "/status").await.starts_with("HTTP/1.1 403"), "{host}");
    }
}

#[tokio::test]
async fn a_taken_port_names_address_and_setting() {
    let first = Console::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let told = Console::bind(first.address()).await.unwrap_err().to_string();
    for part in [&first.address().to_string(), "in use", "[console]", "SESSIONWARDEN_CONSOLE__LISTEN"] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn it_stops_when_told_even_with_a_half_asked_question() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /status HTTP/1.1\r\nHost: loc").await.unwrap();
    assert_eq!(running.get("/healthz").await.0, 200);
    running.stop.cancel();
    timeout(Duration::from_secs(4), running.served).await.expect("stopped in time").unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
