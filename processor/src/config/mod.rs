//! The configuration: a TOML file and the environment, checked as a whole.
//!
//! The environment wins: `SESSIONWARDEN_RECHECK__PERIOD_MS` stands for `period_ms` under `[recheck]`. Lists are
//! separated by commas there, tables are written `key=value,key=value`. An unknown key, a wrong type or a value out
//! of range is an error with its place; all of them are reported at once. No setting is a secret: what has to be
//! secret is referred to by name.

mod aws;
mod check;
mod error;
mod posture;
mod quarantine;
mod reader;
mod routes;
mod scp;
mod sections;
mod settings;
mod values;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use sessionwarden_machine::{document::WantedPreferences, effect::Mode, ids::AccountId, incident::Restore};
use toml::de::DeTable;

pub use aws::{Aws, MetricNaming, StreamStart};
pub use error::{ConfigError, ConfigErrors, Place};
pub use posture::{Logs, Sessions};
pub use quarantine::Quarantine;
pub use routes::ROUTES_MAX;
pub use scp::{Scp, scp_settings_of};
pub use settings::settings_of;

use crate::outbound::Route;
use reader::{File, Reader};

/// How large a configuration file may be, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that can be set. `Config::default()` is what holds without a file and without environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[service]`
    pub service: Service,
    /// `[backend]`
    pub backend: Backend,
    /// `[aws]`
    pub aws: Aws,
    /// `[policy]`
    pub policy: Policy,
    /// `[organization]`
    pub organization: Organization,
    /// `[recheck]`
    pub recheck: Recheck,
    /// `[preferences]`: what each account's preferences document must say ("Create a Session Manager preferences
    /// document (command line)"). The keys are the names of the fields. Default: nothing is wanted.
    ///
    /// `s3_bucket` and `log_group` may be empty, which wants that there is none. `s3_prefix` needs a bucket, holds
    /// `{account}`, may hold `{region}`, and has at most 900 bytes; `streaming = true` needs a log group;
    /// `run_as_user` is not `root` and does not go with `run_as = false`. `idle_minutes_max` is 1 to 60 minutes,
    /// `max_minutes_max` 1 to 1,440. A shell profile has at most 65,536 bytes.
    pub preferences: WantedPreferences,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[logs]`
    pub logs: Logs,
    /// `[threshold]`
    pub threshold: Threshold,
    /// `[quarantine]`
    pub quarantine: Quarantine,
    /// `[incidents]`
    pub incidents: Incidents,
    /// `[scp]`
    pub scp: Scp,
    /// `[feed]`
    pub feed: Feed,
    /// `[audit]`
    pub audit: Audit,
    /// `[console]`
    pub console: Console,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[routes.NAME]`: who is told what, by name; at most [`ROUTES_MAX`]. Only a file can name routes. Default: none.
    pub routes: Vec<Route>,
}

/// `[service]`: the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `"observe"` (decide and report, touch nothing) or `"enforce"`. Default: observe.
    pub mode: Mode,
    /// Folder for state, feed and audit trail, created when absent. Default: `./sessionwarden-data`.
    pub data_dir: PathBuf,
    /// How long a stop may take to finish what was begun, 1 to 300 s. Default: 20.
    pub drain_seconds_max: u64,
}

/// `[backend]`: where state lives and what answers for AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Default: local.
    pub kind: BackendKind,
}

/// The backends there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// One machine, without an AWS account: the embedded store and the demonstration organisation.
    #[default]
    Local,
    /// The services of AWS: Kinesis, DynamoDB, SQS, and calls into member accounts.
    Aws,
}

/// `[policy]`: which rules hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Folder of Cedar controls. Absent: the controls that ship with the product.
    pub dir: Option<PathBuf>,
    /// Folder of Cedar waivers. Absent: no waivers.
    pub waivers_dir: Option<PathBuf>,
}

/// `[organization]`: what is known about the AWS organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// The management account. Absent: unknown.
    pub management_account: Option<AccountId>,
    /// The log archive account, which the log bucket must belong to, and which is never quarantined. Absent: unknown.
    pub log_archive_account: Option<AccountId>,
    /// Accounts that are never quarantined. Default: none.
    pub exempt_accounts: Vec<AccountId>,
    /// Regions in which sessions are allowed, for example `eu-central-1`. Default: empty, which allows all.
    pub allowed_regions: Vec<String>,
    /// Name patterns (`*` stands for any text) of Sessionwarden's own resources. The bucket, log group and key of
    /// `[preferences]` count as such too. Default: `sessionwarden*`.
    pub own_names: Vec<String>,
    /// The organisational unit of each account, `[organization.units]`. Default: none known.
    pub units: BTreeMap<AccountId, String>,
}

/// `[recheck]`: how long a verdict lives. Each from 100 ms to one day, but for `call_ms_max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// Time between two looks at a live session. Default: 15,000.
    pub period_ms: u64,
    /// Longest time between two looks at a live session whose evidence cannot be had; not below `period_ms`. Default:
    /// 120,000.
    pub period_ms_max: u64,
    /// Longest time for which a live session is not written while looks at it learn nothing new; not above `period_ms`: each
    /// look is written. Default: 900,000.
    pub rest_ms_max: u64,
    /// Time that one question to AWS may take, 100 to 60,000 ms. Default: 5,000.
    pub call_ms_max: u64,
    /// Time from the end of a session to the first look for its log. Default: 30,000.
    pub log_first_look_ms: u64,
    /// Time after which an absent log is an incident; not below `log_first_look_ms`. Default: 900,000.
    pub log_wait_ms_max: u64,
    /// Time after which evidence that stays unknown is an incident. Default: 600,000.
    pub evidence_unknown_ms_max: u64,
    /// Time after which an unconfirmed termination is an incident. Default: 60,000.
    pub terminate_confirm_ms_max: u64,
}

/// `[threshold]`: when an account is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Distinct sessions with confirmed termination inside the window, 1 to 1,000. Default: 10.
    pub sessions: u32,
    /// The window, in event time, 1 to 86,400 s. Default: 300.
    pub window_seconds: u64,
    /// Distinct principals behind those sessions, 1 to 1,000. Default: 1.
    pub principals_min: u32,
}

/// `[incidents]`: when people are told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incidents {
    /// How long a critical incident may be open before people are told again, 60 to 604,800 s. Default: 900.
    pub escalate_critical_seconds: u64,
    /// The same for one of high severity. Default: 3,600.
    pub escalate_high_seconds: u64,
    /// Kinds of things that are put back without a person, in enforce mode, by the names of [`Restore::ALL`]. Default:
    /// none.
    pub restore: Vec<Restore>,
    /// The file that says what things are to be like, as `sessionwarden wanted take` writes it. Absent: nothing is wanted
    /// but what is known of the things themselves and of the preferences.
    pub wanted: Option<PathBuf>,
}

/// `[feed]`: the OCSF feed for a SIEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The file it is appended to. Absent: `feed.ocsf.jsonl` in the data folder, see [`Config::feed_file`].
    pub file: Option<PathBuf>,
    /// Whether session start, resume and end are reported too. Default: true.
    pub activity: bool,
}

/// `[audit]`: the hash-chained audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file it is appended to. Absent: `audit.jsonl` in the data folder, see [`Config::audit_file`].
    pub file: Option<PathBuf>,
    /// The bucket of the audit trail on the backend `aws`: objects that are never overwritten, one chain for each run of
    /// a worker. Absent: the file.
    pub bucket: Option<String>,
    /// What the keys in the bucket begin with. Default: `audit`.
    pub prefix: String,
}

/// `[console]`: health, metrics and status over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Address and port. It asks for no password: keep it on the loopback address, or behind something that asks.
    /// Default: `127.0.0.1:7878`.
    pub listen: SocketAddr,
}

/// `[telemetry]`: logs, traces and metrics of the service itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Base URL of an OpenTelemetry collector that speaks OTLP over HTTP, for example `http://127.0.0.1:4318`;
    /// `/v1/traces` and `/v1/metrics` are added. Credentials go into the variable `OTEL_EXPORTER_OTLP_HEADERS`.
    /// Absent: nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// `"human"` or `"json"`. Default: human.
    pub log_format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also by module: `info,sessionwarden::console=debug`.
    /// Default: info.
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object for each line.
    Json,
}

impl Default for Service {
    fn default() -> Self {
        Self { mode: Mode::Observe, data_dir: PathBuf::from("./sessionwarden-data"), drain_seconds_max: 20 }
    }
}

impl Default for Organization {
    fn default() -> Self {
        Self {
            management_account: None,
            log_archive_account: None,
            exempt_accounts: Vec::new(),
            allowed_regions: Vec::new(),
            own_names: vec!["sessionwarden*".to_owned()],
            units: BTreeMap::new(),
        }
    }
}

impl Default for Recheck {
    fn default() -> Self {
        Self {
            period_ms: 15_000,
            period_ms_max: 120_000,
            rest_ms_max: 900_000,
            call_ms_max: 5_000,
            log_first_look_ms: 30_000,
            log_wait_ms_max: 900_000,
            evidence_unknown_ms_max: 600_000,
            terminate_confirm_ms_max: 60_000,
        }
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self { sessions: 10, window_seconds: 300, principals_min: 1 }
    }
}

impl Default for Incidents {
    fn default() -> Self {
        Self { escalate_critical_seconds: 900, escalate_high_seconds: 3_600, restore: Vec::new(), wanted: None }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { file: None, activity: true }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, bucket: None, prefix: "audit".to_owned() }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7878)) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, log_format: LogFormat::Human, log_level: "info".to_owned() }
    }
}

impl Config {
    /// Reads `file`, where one is given, and the variables of `env` that begin with `SESSIONWARDEN_`.
    ///
    /// # Errors
    /// Everything that is wrong, at once: a file that cannot be read, is larger than [`FILE_BYTES_MAX`] or is no TOML;
    /// unknown keys; wrong types; values out of range.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let text = match file.map(check::read_file).transpose() {
            Ok(text) => text,
            Err(error) => {
                errors.push(error);
                None
            }
        };
        let parsed = text.as_deref().map(DeTable::parse_recoverable);
        let source = match (file, &text, &parsed) {
            (Some(path), Some(text), Some((table, _))) => Some(File { path, text, table: table.get_ref() }),
            _ => None,
        };
        let mut reader = Reader::new(source, env);
        let config = Self::read(&mut reader);
        let found = reader.finish();
        if let (Some(path), Some(text), Some((_, syntax))) = (file, &text, &parsed) {
            errors.extend(syntax.iter().map(|error| check::syntax_error(path, text, error)));
        }
        check::add_unless_same_line(&mut errors, found);
        if errors.is_empty() { Ok(config) } else { Err(check::sorted(errors)) }
    }

    /// Every key there is, as `section.key`, sorted.
    pub fn keys() -> Vec<String> {
        let mut reader = Reader::new(None, std::iter::empty());
        Self::read(&mut reader);
        reader.keys()
    }

    /// The file the OCSF feed is appended to.
    pub fn feed_file(&self) -> PathBuf {
        self.feed.file.clone().unwrap_or_else(|| self.service.data_dir.join("feed.ocsf.jsonl"))
    }

    /// The file the audit trail is appended to.
    pub fn audit_file(&self) -> PathBuf {
        self.audit.file.clone().unwrap_or_else(|| self.service.data_dir.join("audit.jsonl"))
    }
}
