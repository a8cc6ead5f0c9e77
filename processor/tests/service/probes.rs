//! What probes and people see during a run.

use serde_json::Value;

use crate::child::{Running, command, get, wait_for};

#[test]
fn the_console_answers_during_a_run() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(&mut command(data.path(), &["--format", "json"]));
    let address = running.address();
    wait_for("records", || {
        let (head, body) = get(address, "/status");
        assert_eq!(head, "HTTP/1.1 200 OK");
        let status: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status["mode"], "enforce");
        status["counts"]["sessions_live"].as_u64().unwrap() > 0
    });
    assert_eq!(get(address, "/healthz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    let (head, body) = get(address, "/readyz");
    assert_eq!((&*head, &*body), ("HTTP/1.1 200 OK", "{\"ready\":true}"));
    let (head, metrics) = get(address, "/metrics");
    assert_eq!(head, "HTTP/1.1 200 OK");
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.as_bytes()[name.len()] == b' ');
        line.unwrap_or_else(|| panic!("{name}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("sessionwarden_records_read_total") > 0.0);
    assert!(value("sessionwarden_records_relevant_total") > 0.0);
    assert!(value("sessionwarden_handle_seconds_count") > 0.0);
    assert!(!metrics.contains("sessionwarden_invariant_violations_total{"), "{metrics}");
    running.signal("TERM");
    assert_eq!(running.end().status.code(), Some(0));
}
