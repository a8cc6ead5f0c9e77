//! Starts the binary, and writes the events it reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sessionwarden");
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done`, for at most 20 s.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("run").arg("--data-dir").arg(data).args(args);
    command.env_clear().env("SESSIONWARDEN_CONSOLE__LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to its end.
pub(crate) fn run(data: &Path, args: &[&str]) -> Output {
    finish(command(data, args))
}

pub(crate) fn finish(mut command: Command) -> Output {
    Running::start(&mut command).end()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The summary, and the exit code.
pub(crate) fn summary(output: &Output) -> (Value, i32) {
    let code = output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", text(&output.stderr)));
    let summary = serde_json::from_slice(&output.stdout);
    (summary.unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr))), code)
}

pub(crate) fn json_run(data: &Path, source: &str) -> (Value, i32) {
    summary(&run(data, &["--source", source, "--format", "json"]))
}

pub(crate) fn replayed(paths: &[&str]) -> Value {
    let output =
        Command::new(BINARY).env_clear().arg("replay").args(paths).args(["--format", "json"]).output().unwrap();
    summary(&output).0
}

/// What `run` and `replay` must agree on.
pub(crate) fn shared(summary: &Value) -> Value {
    json!({
        "bytes": summary["bytes"],
        "events": summary["events"],
        "sessions": summary["sessions"],
        "over_threshold": summary["accounts"]["over_threshold"],
        "incidents": summary["incidents"],
        "incidents_by_cause": summary["incidents_by_cause"],
        "refused_calls": summary["refused_calls"],
        "not_evaluated": summary["not_evaluated"],
        "policy": summary["policy"],
    })
}

/// A process of its own; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    address: std::sync::mpsc::Receiver<SocketAddr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, address) = std::sync::mpsc::channel();
        let mut out = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut all = Vec::new();
            out.read_to_end(&mut all).unwrap();
            all
        });
        let err = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut all = Vec::new();
            for line in BufReader::new(err).split(b'\n') {
                let line = line.unwrap();
                if let Some((_, address)) = text(&line).split_once("address=") {
                    let _ = sender.send(address.trim().parse().unwrap());
                }
                all.extend_from_slice(&line);
                all.push(b'\n');
            }
            all
        });
        Self { child, stdout: Some(stdout), stderr: Some(stderr), address }
    }

    /// Where its console listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.recv_timeout(PATIENCE).expect("the console's address")
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        wait_for("the end of the process", || self.has_ended());
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Output { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request; the status line and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Records of the feed by id; a record that comes again under its id must be the same.
pub(crate) fn feed(path: &Path) -> BTreeMap<String, Value> {
    let mut records: BTreeMap<String, Value> = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let uid = record["metadata"]["uid"].as_str().unwrap().to_owned();
        if let Some(known) = records.insert(uid, record.clone()) {
            assert_eq!(known, record);
        }
    }
    records
}

pub(crate) fn verify_audit(data: &Path) {
    let verified = Command::new(BINARY).args(["audit", "verify"]).arg(data.join("audit.jsonl")).output().unwrap();
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

fn uuid(number: usize) -> String {
    format!("{number:08x}-aaaa-4bbb-8ccc-{:012x}", number * 7 + 1)
}

/// The second `number` since eight o'clock of a day.
fn time(number: usize) -> String {
    format!("2026-05-04T{:02}:{:02}:{:02}Z", 8 + number / 3_600, number / 60 % 60, number % 60)
}

fn record(number: usize, name: &str, request: &Value, response: &Value) -> Value {
    let account = format!("{:012}", 100_000_000_000 + number % 5);
    json!({
        "eventVersion": "1.08", "eventID": uuid(number), "eventTime": time(number),
        "eventSource": if name == "GetObject" { "s3.amazonaws.com" } else { "ssm.amazonaws.com" },
        "eventName": name, "awsRegion": "eu-central-1", "recipientAccountId": account,
        "userIdentity": {"type": "IAMUser", "arn": format!("arn:aws:iam::{account}:user/u{}", number % 3)},
        "requestParameters": request, "responseElements": response,
        "userAgent": "x".repeat(200),
    })
}

/// `count` events: sessions that start and end, every fourth with a port document, commands, calls that matter to
/// nobody, refused calls, and each twentieth event repeated.
pub(crate) fn events(count: usize) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    let (mut number, mut starts) = (0, Vec::new());
    while events.len() < count {
        number += 1;
        let session = |of: usize| format!("u{}-{of:017x}", of % 3);
        let event = match number % 10 {
            1 | 4 => {
                let document = if number % 4 == 0 { json!("AWS-StartPortForwardingSession") } else { Value::Null };
                let request = json!({"target": format!("i-{:017x}", number % 40), "documentName": document});
                record(number, "StartSession", &request, &json!({"sessionId": session(number)}))
            }
            // Ten later than it began, so that account and session are those of the start.
            2 if number > 20 => {
                let of = json!({"sessionId": session(number - 11)});
                let mut record = record(number, "TerminateSession", &of, &of);
                record["recipientAccountId"] = format!("{:012}", 100_000_000_000 + (number - 11) % 5).into();
                record
            }
            3 if number % 50 == 3 => {
                let request = json!({"documentName": "AWS-RunShellScript", "instanceIds": ["i-0123"]});
                record(number, "SendCommand", &request, &json!({"command": {"commandId": uuid(number)}}))
            }
            5 if number % 30 == 5 => {
                let mut refused = record(number, "StartSession", &Value::Null, &Value::Null);
                refused["errorCode"] = "AccessDenied".into();
                refused
            }
            _ => record(number, "GetObject", &json!({"bucketName": "b", "key": "StartSession"}), &Value::Null),
        };
        if number % 10 == 1 {
            starts.push(events.len());
        }
        events.push(event.to_string());
        if number % 20 == 0 {
            events.push(events[starts[starts.len() * 3 / 4]].clone());
        }
    }
    events.truncate(count);
    events
}

pub(crate) fn write_lines(path: &Path, events: &[String]) {
    fs::write(path, events.join("\n") + "\n").unwrap();
}

/// Ids in the feed of one uninterrupted run over `source`.
pub(crate) fn expected_feed(source: &str) -> BTreeMap<String, Value> {
    let data = tempfile::tempdir().unwrap();
    let (_, code) = json_run(data.path(), source);
    assert_eq!(code, 0);
    feed(&data.path().join("feed.ocsf.jsonl"))
}

pub(crate) fn keys(feed: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    feed.keys().map(String::as_str).collect()
}
