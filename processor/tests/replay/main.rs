//! `sessionwarden replay` from outside: what users type, and what they get back.

mod audit;
mod bad_files;
mod bad_input;
mod chunks;
mod options;
mod outputs;
mod policy;
mod snapshot;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PORT_FORWARDING: &str = "AWS-StartPortForwardingSession";

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Standard output as the one object it has to be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Read, relevant, ignored, duplicate, poison; checks that they add up.
    pub(crate) fn events(&self) -> [u64; 5] {
        let events = &self.json()["events"];
        let counts = ["read", "relevant", "ignored", "duplicate", "poison"].map(|key| events[key].as_u64().unwrap());
        assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{events}");
        counts
    }

    pub(crate) fn sessions(&self, key: &str) -> u64 {
        self.json()["sessions"][key].as_u64().unwrap()
    }
}

/// A folder for one test, in which commands run: messages then hold plain names.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `sessionwarden` with the words of `line` and `input` on its standard input.
    pub(crate) fn run(&self, line: &str, input: &[u8]) -> Answer {
        let mut child = command(self.0.path(), line).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let done = std::thread::scope(|scope| {
            // A command that refuses its arguments does not read its input.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer { code: done.status.code().expect("ended by itself"), out: text(done.stdout), err: text(done.stderr) }
    }

    /// Replays with JSON as the result.
    pub(crate) fn replay(&self, line: &str) -> Answer {
        self.run(&format!("replay --format json {line}"), b"")
    }

    /// The lines of a JSON lines file.
    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwarden"));
    command.current_dir(folder).args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SESSIONWARDEN_")) {
        command.env_remove(name);
    }
    command
}

/// The session `n`'s id.
pub(crate) fn session(n: u64) -> String {
    format!("alice-{n:017x}")
}

/// A session's start, `n` seconds after ten o'clock.
pub(crate) fn start(n: u64) -> Value {
    let at = jiff::Timestamp::from_second(1_777_888_800 + n as i64).unwrap();
    json!({
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": "arn:aws:sts::111122223333:assumed-role/Developer/alice",
            "accountId": "111122223333",
        },
        "eventTime": at.to_string(),
        "eventSource": "ssm.amazonaws.com",
        "eventName": "StartSession",
        "awsRegion": "eu-central-1",
        "requestParameters": { "target": "i-0123456789abcdef0" },
        "responseElements": { "sessionId": session(n), "tokenValue": "Value hidden due to security reasons." },
        "eventID": format!("00000000-0000-4000-8000-{n:012x}"),
        "recipientAccountId": "111122223333",
    })
}

/// A session's start with a forbidden document.
pub(crate) fn forwarding(n: u64) -> Value {
    let mut event = start(n);
    event["requestParameters"]["documentName"] = PORT_FORWARDING.into();
    event
}

/// The end of session `of`, `n` seconds after ten o'clock.
pub(crate) fn end(n: u64, of: u64) -> Value {
    let mut event = start(n);
    event["eventName"] = "TerminateSession".into();
    event["requestParameters"] = json!({ "sessionId": session(of) });
    event["responseElements"] = json!({ "sessionId": session(of) });
    event
}

/// A call that does not matter.
pub(crate) fn other(n: u64) -> Value {
    let mut event = start(n);
    event["eventName"] = "DescribeInstanceInformation".into();
    event["requestParameters"] = Value::Null;
    event["responseElements"] = Value::Null;
    event
}

/// One value in each line.
pub(crate) fn lines(values: &[Value]) -> String {
    values.iter().flat_map(|value| [value.to_string(), "\n".to_owned()]).collect()
}

/// A CloudTrail file.
pub(crate) fn records(values: &[Value]) -> String {
    json!({ "Records": values }).to_string()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
