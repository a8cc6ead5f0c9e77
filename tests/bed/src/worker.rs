//! A worker: the product's program as a process of its own, on the emulated AWS.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sessionwarden_machine::document::WantedPreferences;
use tempfile::TempDir;

use crate::cloud::{Cloud, EXTERNAL_ID, MANAGEMENT, REGION, ROLE, STREAM, TOPIC};

/// How long an answer of the console may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Cloud {
    /// The configuration of a worker in enforce mode, with short times; `more` is added to `[aws]`.
    pub fn configuration(&self, more: &str) -> String {
        let queues = self.queues();
        let (wanted, archive) = {
            let world = self.world();
            (world.wanted_preferences(), world.log_archive())
        };
        let aws = format!(
            "stream = {STREAM:?}\nwake_queue = {:?}\nparked_queue = {:?}\nrole = {ROLE:?}\nexternal_id = {EXTERNAL_ID:?}\n\
             create_tables = true\nregions = [{REGION:?}]\ncentral_topic = \"arn:aws:sns:{REGION}:{MANAGEMENT}:{TOPIC}\"\n\
             member_topic = \"arn:aws:sns:{{region}}:{{account}}:{TOPIC}\"\nmetric_names = \"original\"\n",
            queues.wake_ups, queues.parked,
        );
        format!(
            "[service]\nmode = \"enforce\"\ndrain_seconds_max = 5\n[backend]\nkind = \"aws\"\n[aws]\n{aws}{more}\n\
             [organization]\nmanagement_account = {MANAGEMENT:?}\nlog_archive_account = \"{archive}\"\n\
             [recheck]\nperiod_ms = 3000\nlog_first_look_ms = 1000\nlog_wait_ms_max = 20000\n{}\
             [telemetry]\nlog_format = \"json\"\n",
            preferences(&wanted),
        )
    }
}

/// The preferences that the organisation wants, as the configuration writes them; streams, which the model does not
/// carry into the servers, are left out.
fn preferences(wanted: &WantedPreferences) -> String {
    let mut text = "[preferences]\n".to_owned();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} = {value}");
        }
    };
    let quoted = |value: &Option<Arc<str>>| value.as_ref().map(|value| format!("{value:?}"));
    set("s3_bucket", quoted(&wanted.s3_bucket));
    set("s3_prefix", quoted(&wanted.s3_prefix));
    set("log_group", quoted(&wanted.log_group));
    set("kms_key", quoted(&wanted.kms_key));
    set("run_as_user", quoted(&wanted.run_as_user));
    set("s3_encryption", wanted.s3_encryption.map(|it| it.to_string()));
    set("log_group_encryption", wanted.log_group_encryption.map(|it| it.to_string()));
    set("run_as", wanted.run_as.map(|it| it.to_string()));
    set("idle_minutes_max", wanted.idle_minutes_max.map(|it| it.to_string()));
    set("max_minutes_max", wanted.max_minutes_max.map(|it| it.to_string()));
    text
}

/// A worker; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    folder: TempDir,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    /// Starts `program`, with these variables and no others.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, variables: &[(String, String)], configuration: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("sessionwarden.toml");
        fs::write(&file, configuration)?;
        let mut child = Command::new(program)
            .args(["run", "--format", "json", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("SESSIONWARDEN_CONSOLE__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (told, err) = (Arc::clone(&lines), child.stderr.take().context("no standard error")?);
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { child, folder, lines })
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn address(&self) -> Option<SocketAddr> {
        self.lines().iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        })
    }

    /// One answer of the console; empty where there is none (yet).
    pub fn get(&self, path: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(self.address()?).ok()?;
            stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        };
        ask().unwrap_or_default()
    }

    /// The sum of a metric over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let all = self.get("/metrics");
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let lines = all.lines().filter(named).filter(|line| line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until it reads so many shards.
    ///
    /// # Errors
    /// It ends, or does not within `within`; with what it wrote.
    pub async fn reads(&mut self, shards: u32, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while (self.metric("sessionwarden_shards", "") - f64::from(shards)).abs() > 0.1 {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}:\n{}", self.log());
            }
            ensure!(begun.elapsed() < within, "it does not read {shards} shards:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Everything it wrote to its audit trail.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("data/audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)?;
        Ok(())
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn ask_to_stop(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within `within`; with what it wrote.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < within, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
