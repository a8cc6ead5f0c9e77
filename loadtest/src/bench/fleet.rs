//! On an emulated AWS: from a record's arrival in the stream to the call that ends its session.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sessionwarden_machine::ids::SessionKey;
use sessionwarden_testbed::{Cloud, CloudShape, Worker, cloud::REGION};
use sessionwarden_world::{LogFate, StartSession};

use super::{
    Bench,
    report::{Line, Section},
};

/// Records a second, and of these how many matter.
const RECORDS_PER_SECOND: usize = 1_000;
const RELEVANT_PER_SECOND: usize = 10;
/// How long records are put.
const SECONDS: usize = 30;
/// What is put first does not count: the program and the servers warm up.
const WARM_UP_SECONDS: usize = 5;
const PATIENCE: Duration = Duration::from_mins(1);

/// Where the bars of the histogram end, in milliseconds.
const BARS_MS: [u64; 10] = [25, 50, 100, 150, 200, 300, 500, 750, 1_000, 5_000];

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut lines = Vec::new();
    for (name, setting, targets) in
        [("polling", "", [300.0, 1_000.0]), ("fan-out", "consumer = \"bench\"\n", [150.0, f64::INFINITY])]
    {
        eprintln!("measuring: fleet, {name}");
        let run = runtime.block_on(run(bench, setting)).with_context(|| name.to_owned())?;
        lines.extend(run.lines(name, targets));
    }
    Ok(Section {
        title: "Fleet",
        method: format!(
            "One worker, the built program, for {SECONDS} s over {RECORDS_PER_SECOND} records a second of which \
             {RELEVANT_PER_SECOND} open a tunnel that must be ended, on servers of this machine: ferrokinesis, dynoxide \
             and ministack, and the project's own model for the calls of Session Manager. From before the record is put \
             until its `TerminateSession` comes in. Nothing is subtracted: by fan-out the stream's server alone delivers \
             at 106 ms in the middle and 200 ms at the 99th percentile (measured elsewhere). Processor time is the \
             worker's, with TLS-free HTTP to all these servers."
        ),
        lines,
    })
}

/// What one run gave.
struct Run {
    latencies: Vec<Duration>,
    records: usize,
    sessions: usize,
    cpu_seconds: f64,
    /// Read and write units of DynamoDB.
    units: [f64; 2],
}

impl Run {
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent).div_ceil(100).clamp(1, self.latencies.len());
        self.latencies[at - 1].as_secs_f64() * 1_000.0
    }

    fn lines(&self, name: &str, [p50, p99]: [f64; 2]) -> Vec<Line> {
        let ms = |ms: f64| format!("{ms:.0} ms");
        let held = |what: &str, value: f64, target: f64| {
            let what = format!("{name}: {what}");
            if target.is_finite() { Line::at_most(what, value, target, ms) } else { Line::shown(what, ms(value)) }
        };
        let mut lines = vec![
            held("half of the calls within", self.percentile(50), p50),
            held("99 of 100 within", self.percentile(99), p99),
            held("all within", self.percentile(100), f64::INFINITY),
        ];
        let mut below = 0;
        let most = self.bars().into_iter().max().unwrap_or(1).max(1);
        for (end, count) in BARS_MS.into_iter().zip(self.bars()) {
            let bar = "█".repeat((count * 30).div_ceil(most));
            lines.push(Line::shown(format!("{name}: {below} to {end} ms {bar}"), count.to_string()));
            below = end;
        }
        let rate = self.records as f64 / self.cpu_seconds;
        lines.push(Line::shown(
            format!("{name}: records for each second of the worker's processor time"),
            format!("{rate:.0}"),
        ));
        let [read, write] = self.units.map(|units| units / self.sessions as f64);
        let what = format!("{name}: DynamoDB units for each session of the run, read and write");
        lines.push(Line::shown(what, format!("{read:.1} and {write:.1}")));
        lines
    }

    /// How many calls came within each bar; those beyond the last count in it.
    fn bars(&self) -> Vec<usize> {
        let mut bars = vec![0; BARS_MS.len()];
        for latency in &self.latencies {
            let ms = latency.as_millis() as u64;
            let bar = BARS_MS.iter().position(|end| ms < *end).unwrap_or(BARS_MS.len() - 1);
            bars[bar] += 1;
        }
        bars
    }
}

async fn run(bench: &Bench, setting: &str) -> Result<Run> {
    let shape = CloudShape { shards: 2, members: 4, delivers: false, ..CloudShape::default() };
    let cloud = Cloud::start(shape).await?;
    let mut worker = Worker::start(&bench.binary, &cloud.variables(), &cloud.configuration(setting))?;
    worker.reads(2, PATIENCE).await?;
    let mut put_by_session: BTreeMap<SessionKey, Instant> = BTreeMap::new();
    let (begun, cpu_before) = (Instant::now(), cpu_seconds(worker.id())?);
    for tick in 0..SECONDS * RELEVANT_PER_SECOND {
        let due = begun + Duration::from_secs(1) / RELEVANT_PER_SECOND as u32 * tick as u32;
        tokio::time::sleep_until(due.into()).await;
        let member = &cloud.members()[tick % cloud.members().len()];
        let user = cloud.user(member.account)?;
        let opened = cloud.open(&user, &tunnel(&member.logging))?;
        let put = Instant::now();
        cloud.deliver().await?;
        if tick >= WARM_UP_SECONDS * RELEVANT_PER_SECOND {
            put_by_session.insert(opened, put);
        }
        cloud.put_many(irrelevant(tick, RECORDS_PER_SECOND / RELEVANT_PER_SECOND - 1)).await?;
    }
    let last = Instant::now();
    loop {
        let ended = cloud.session_manager().terminations();
        let found = put_by_session.keys().filter(|key| ended.contains_key(&*key.id)).count();
        if found == put_by_session.len() {
            let latency =
                |(key, put): (&SessionKey, &Instant)| Some(ended.get(&*key.id)?.saturating_duration_since(*put));
            let mut latencies: Vec<Duration> = put_by_session.iter().filter_map(latency).collect();
            latencies.sort_unstable();
            let cpu_seconds = cpu_seconds(worker.id())? - cpu_before;
            let units = ["read", "write"].map(|kind| worker.metric("sessionwarden_store_units_total", kind));
            let (records, sessions) = (SECONDS * RECORDS_PER_SECOND, SECONDS * RELEVANT_PER_SECOND);
            return Ok(Run { latencies, records, sessions, cpu_seconds, units });
        }
        ensure!(
            last.elapsed() < PATIENCE,
            "{} of {} sessions were not ended:\n{}",
            put_by_session.len() - found,
            put_by_session.len(),
            worker.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn tunnel(node: &Arc<str>) -> StartSession {
    StartSession {
        region: Arc::from(REGION),
        target: Arc::clone(node),
        document: Some(Arc::from("AWS-StartPortForwardingSession")),
        reason: Some(Arc::from("a ticket")),
        just_in_time: false,
        log: LogFate::Never,
    }
}

/// Events that matter to nobody, of the usual size, over many accounts.
fn irrelevant(tick: usize, count: usize) -> Vec<(String, Vec<u8>)> {
    let event = |number: usize| {
        let account = format!("{:012}", 100_000_000_000_u64 + number as u64 % 50);
        let text = format!(
            "{{\"version\":\"0\",\"id\":\"{tick}-{number}\",\"detail-type\":\"AWS API Call via CloudTrail\",\"source\":\"aws.s3\",\
             \"account\":\"{account}\",\"detail\":{{\"eventVersion\":\"1.11\",\"eventSource\":\"s3.amazonaws.com\",\
             \"eventName\":\"PutBucketTagging\",\"requestParameters\":{{\"filling\":\"{}\"}}}}}}",
            "x".repeat(1_300)
        );
        (account, text.into_bytes())
    };
    (0..count).map(event).collect()
}

/// Processor time of a process, user and system.
fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(") ").next().context("an unknown format of /proc")?;
    let field =
        |at: usize| after_name.split(' ').nth(at).and_then(|it| it.parse::<f64>().ok()).context("no such field");
    // utime and stime, in ticks of 10 ms.
    Ok((field(11)? + field(12)?) / 100.0)
}
