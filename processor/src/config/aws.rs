//! `[aws]`: the services that the backend `aws` uses.

use std::sync::Arc;

use sessionwarden_machine::ids::AccountId;

use super::{BackendKind, check, reader::Reader};

/// `[aws]`: where events come from, where state lies, and how members are reached. Region, credentials and endpoints are
/// the SDK's own business: `AWS_REGION`, profiles, the role of the machine, `AWS_ENDPOINT_URL_<SERVICE>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The Kinesis stream of events. Required.
    pub stream: String,
    /// The name of a registered consumer: the stream is read by enhanced fan-out. Absent: by polling.
    pub consumer: Option<String>,
    /// Where a stream without leases is begun. Default: oldest.
    pub start: StreamStart,
    /// The DynamoDB table of state. Default: `sessionwarden-state`.
    pub state_table: String,
    /// The DynamoDB table of dependencies and positions. Default: `sessionwarden-index`.
    pub index_table: String,
    /// The DynamoDB table of leases. Default: `sessionwarden-leases`.
    pub lease_table: String,
    /// Tables that are missing are created at the start. Default: false.
    pub create_tables: bool,
    /// The URL of the SQS queue of wake-ups, a standard queue. Required.
    pub wake_queue: String,
    /// The URL of the SQS queue for what cannot be read. Required.
    pub parked_queue: String,
    /// The name of the role in member accounts, with its path. Required.
    pub role: String,
    /// The External ID that the role's trust policy asks for. AWS does not count it as a secret. Required.
    pub external_id: String,
    /// The regions in which sessions can run. Default: those enabled in the own account.
    pub regions: Vec<String>,
    /// The account through which Organizations is called: the management account or a delegated administrator. Default:
    /// the own account.
    pub organization_account: Option<AccountId>,
    /// The ARN of the SNS topic for all accounts (R-G11). Absent: none is told.
    pub central_topic: Option<String>,
    /// The ARN of the SNS topic in each member account, with `{account}` and perhaps `{region}` (R-G10). Absent: no
    /// member is told.
    pub member_topic: Option<String>,
    /// Under which names terminated sessions are counted in CloudWatch (R-G9). Default: own.
    pub metric_names: MetricNaming,
    /// The worker's name in the lease table; each process needs its own. Default: the machine's name and the process's
    /// number.
    pub worker: Option<String>,
    /// How long a lease lasts that is not renewed, in milliseconds, 1,000 to 300,000. Default: 10,000.
    pub fail_over_ms: u64,
    /// The time between two readings of a shard by polling, in milliseconds, 20 to 10,000. Default: 200, which is what one
    /// reader of a shard may use up.
    pub poll_ms: u64,
    /// The time between two comparisons with what AWS shows in every account and region, in seconds, 1 to 86,400. Default:
    /// 300.
    pub reconcile_seconds: u64,
}

/// Where a stream without leases is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamStart {
    /// At the oldest record that is kept.
    #[default]
    Oldest,
    /// At what comes next.
    Newest,
}

/// Under which names terminated sessions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricNaming {
    /// Namespace `Sessionwarden`.
    #[default]
    Own,
    /// Those of the guardrail that Sessionwarden replaces, for alarms that are there already.
    Original,
    /// Nothing is sent to CloudWatch.
    Off,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            stream: String::new(),
            consumer: None,
            start: StreamStart::Oldest,
            state_table: "sessionwarden-state".to_owned(),
            index_table: "sessionwarden-index".to_owned(),
            lease_table: "sessionwarden-leases".to_owned(),
            create_tables: false,
            wake_queue: String::new(),
            parked_queue: String::new(),
            role: String::new(),
            external_id: String::new(),
            regions: Vec::new(),
            organization_account: None,
            central_topic: None,
            member_topic: None,
            metric_names: MetricNaming::Own,
            worker: None,
            fail_over_ms: 10_000,
            poll_ms: 200,
            reconcile_seconds: 300,
        }
    }
}

impl Aws {
    pub(super) fn read(reader: &mut Reader<'_>, backend: BackendKind) -> Self {
        let mut section = reader.section("aws");
        let mut required = |key: &'static str, check: fn(&str) -> check::Checked<String>, what: &str| {
            let errors = section.errors();
            let value = section.text(key, check);
            if value.is_none() && backend == BackendKind::Aws && section.errors() == errors {
                let place = section.place(key);
                let problem = format!("`aws.{key}` is missing; it is {what}");
                section.error(place, problem, Some("the backend \"aws\" needs it".to_owned()));
            }
            value.unwrap_or_default()
        };
        let stream = required("stream", check::stream, "the name of the Kinesis stream");
        let wake_queue = required("wake_queue", check::queue_url, "the URL of the SQS queue of wake-ups");
        let parked_queue =
            required("parked_queue", check::queue_url, "the URL of the SQS queue for unreadable records");
        let role = required("role", check::role_path, "the name of the role in member accounts");
        let external_id = required("external_id", check::external_id, "the External ID of that role");
        let default = Self::default();
        Self {
            stream,
            consumer: section.text("consumer", check::stream),
            start: section.word(
                "start",
                &[("oldest", StreamStart::Oldest), ("newest", StreamStart::Newest)],
                default.start,
            ),
            state_table: section.text("state_table", check::table).unwrap_or(default.state_table),
            index_table: section.text("index_table", check::table).unwrap_or(default.index_table),
            lease_table: section.text("lease_table", check::table).unwrap_or(default.lease_table),
            create_tables: section.flag("create_tables").unwrap_or(default.create_tables),
            wake_queue,
            parked_queue,
            role,
            external_id,
            regions: section.list("regions", check::region).unwrap_or_default(),
            organization_account: section.text("organization_account", check::account),
            central_topic: section.text("central_topic", check::topic),
            member_topic: section.text("member_topic", check::member_topic),
            metric_names: section.word(
                "metric_names",
                &[("own", MetricNaming::Own), ("original", MetricNaming::Original), ("off", MetricNaming::Off)],
                default.metric_names,
            ),
            worker: section.text("worker", check::worker),
            fail_over_ms: section.whole("fail_over_ms", 1_000..=300_000).unwrap_or(default.fail_over_ms),
            poll_ms: section.whole("poll_ms", 20..=10_000).unwrap_or(default.poll_ms),
            reconcile_seconds: section.whole("reconcile_seconds", 1..=86_400).unwrap_or(default.reconcile_seconds),
        }
    }

    /// The regions, as the core names them.
    pub fn regions(&self) -> Vec<Arc<str>> {
        self.regions.iter().map(|region| Arc::from(region.as_str())).collect()
    }
}
