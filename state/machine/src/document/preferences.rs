//! The inputs of a session document.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value};

use super::{BadDocument, canonical};

/// After how many idle minutes a session ends where the preferences say nothing ("Specify an idle session timeout
/// value").
pub const IDLE_MINUTES_DEFAULT: u32 = 20;
/// The longest idle time, in minutes; the shortest is 1 ("Specify an idle session timeout value").
pub const IDLE_MINUTES_MAX: u32 = 60;
/// The longest duration of a session that can be set, in minutes; the shortest is 1 ("Specify maximum session
/// duration").
pub const SESSION_MINUTES_MAX: u32 = 1_440;

pub(super) const S3_BUCKET: &str = "s3BucketName";
pub(super) const S3_PREFIX: &str = "s3KeyPrefix";
pub(super) const S3_ENCRYPTION: &str = "s3EncryptionEnabled";
pub(super) const LOG_GROUP: &str = "cloudWatchLogGroupName";
pub(super) const LOG_GROUP_ENCRYPTION: &str = "cloudWatchEncryptionEnabled";
pub(super) const STREAMING: &str = "cloudWatchStreamingEnabled";
pub(super) const KMS_KEY: &str = "kmsKeyId";
pub(super) const RUN_AS: &str = "runAsEnabled";
pub(super) const RUN_AS_USER: &str = "runAsDefaultUser";
pub(super) const IDLE_MINUTES: &str = "idleSessionTimeout";
pub(super) const SESSION_MINUTES: &str = "maxSessionDuration";
pub(super) const SHELL_PROFILE: &str = "shellProfile";
pub(super) const SHELL_LINUX: &str = "shellProfile.linux";
pub(super) const SHELL_WINDOWS: &str = "shellProfile.windows";

const INPUTS: [&str; 12] = [
    S3_BUCKET,
    S3_PREFIX,
    S3_ENCRYPTION,
    LOG_GROUP,
    LOG_GROUP_ENCRYPTION,
    STREAMING,
    KMS_KEY,
    RUN_AS,
    RUN_AS_USER,
    IDLE_MINUTES,
    SESSION_MINUTES,
    SHELL_PROFILE,
];

/// What a session document's inputs say ("Session document schema"). A text that is empty is the same as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the schema has them, each on its own")]
pub struct Preferences {
    /// The bucket that gets the log after the session; empty: none.
    pub s3_bucket: Arc<str>,
    /// What stands before the log's name in the bucket.
    pub s3_prefix: Arc<str>,
    /// Whether the bucket must be encrypted, or no session starts.
    pub s3_encryption: bool,
    /// The CloudWatch log group that gets the log; empty: none.
    pub log_group: Arc<str>,
    /// Whether the log group must be encrypted, or no session starts.
    pub log_group_encryption: bool,
    /// Whether the log group gets the log while the session lives. Nothing said is no, as for the agent.
    pub streaming: bool,
    /// The KMS key of the session's traffic: an id, an alias or an ARN; empty: none.
    pub kms_key: Arc<str>,
    /// Whether the session runs as a named OS user.
    pub run_as: bool,
    /// That user, where the principal's tag names no other.
    pub run_as_user: Arc<str>,
    /// After how many idle minutes the session ends, 1 to [`IDLE_MINUTES_MAX`]; `None` stands for
    /// [`IDLE_MINUTES_DEFAULT`].
    pub idle_minutes: Option<u32>,
    /// After how many minutes the session ends in any case, 1 to [`SESSION_MINUTES_MAX`]; `None`: never.
    pub max_minutes: Option<u32>,
    /// The commands that each session on Linux and macOS begins with. May hold secrets.
    pub shell_linux: Arc<str>,
    /// The commands that each session on Windows begins with. May hold secrets.
    pub shell_windows: Arc<str>,
    /// The inputs in which a `{{ parameter }}` stands, by their names in the document: whoever starts the session
    /// decides on their value. A text stands above as it is written, a boolean as false, minutes as `None`.
    pub open: BTreeSet<&'static str>,
}

impl Preferences {
    /// Takes the known members out of a document's inputs, and puts back in their usual spelling those that say
    /// anything else than their absence.
    pub(super) fn take(inputs: &mut Map<String, Value>) -> Result<Self, BadDocument> {
        canonical::check_names(inputs, &INPUTS)?;
        let mut shell = match inputs.remove(SHELL_PROFILE) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(shell)) => shell,
            Some(other) => return Err(BadDocument::kind(SHELL_PROFILE, &other, "an object")),
        };
        canonical::check_names(&shell, &["linux", "windows"])?;
        let mut open = BTreeSet::new();
        let mut profiles = Taker { members: &mut shell, open: &mut open };
        let shell_linux = profiles.text(SHELL_LINUX)?;
        let shell_windows = profiles.text(SHELL_WINDOWS)?;
        if !shell.is_empty() {
            inputs.insert(SHELL_PROFILE.into(), Value::Object(shell));
        }
        let mut taker = Taker { members: inputs, open: &mut open };
        Ok(Self {
            s3_bucket: taker.text(S3_BUCKET)?,
            s3_prefix: taker.text(S3_PREFIX)?,
            s3_encryption: taker.flag(S3_ENCRYPTION)?,
            log_group: taker.text(LOG_GROUP)?,
            log_group_encryption: taker.flag(LOG_GROUP_ENCRYPTION)?,
            streaming: taker.flag(STREAMING)?,
            kms_key: taker.text(KMS_KEY)?,
            run_as: taker.flag(RUN_AS)?,
            run_as_user: taker.text(RUN_AS_USER)?,
            idle_minutes: taker.minutes(IDLE_MINUTES, IDLE_MINUTES_MAX, Some(IDLE_MINUTES_DEFAULT))?,
            max_minutes: taker.minutes(SESSION_MINUTES, SESSION_MINUTES_MAX, None)?,
            shell_linux,
            shell_windows,
            open,
        })
    }
}

struct Taker<'a> {
    members: &'a mut Map<String, Value>,
    open: &'a mut BTreeSet<&'static str>,
}

impl Taker<'_> {
    /// The text of the member with the last part of `name`.
    fn text(&mut self, name: &'static str) -> Result<Arc<str>, BadDocument> {
        let member = name.rsplit('.').next().unwrap_or(name);
        match self.members.remove(member) {
            None | Some(Value::Null) => Ok(Arc::default()),
            Some(Value::String(text)) => {
                let shared = Arc::from(text.as_str());
                if has_parameter(&text) {
                    self.open.insert(name);
                }
                if !text.is_empty() {
                    self.members.insert(member.into(), Value::String(text));
                }
                Ok(shared)
            }
            Some(other) => Err(BadDocument::kind(name, &other, "a string")),
        }
    }

    /// A boolean, or a text that the agent reads as one.
    fn flag(&mut self, name: &'static str) -> Result<bool, BadDocument> {
        let flag = match self.members.remove(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => flag,
            Some(Value::String(text)) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => {
                    self.keep_open(name, text, "true or false")?;
                    return Ok(false);
                }
            },
            Some(other) => return Err(BadDocument::kind(name, &other, "true or false")),
        };
        if flag {
            self.members.insert(name.into(), Value::Bool(true));
        }
        Ok(flag)
    }

    /// Minutes from 1 to `max`, as a text or a number; nothing said stands for `default`.
    fn minutes(&mut self, name: &'static str, max: u32, default: Option<u32>) -> Result<Option<u32>, BadDocument> {
        let wanted = "a whole number of minutes";
        let bounded = |minutes: Option<u32>| {
            let minutes = minutes.filter(|minutes| (1..=max).contains(minutes));
            minutes.map(Some).ok_or_else(|| BadDocument::field(name, format!("is not from 1 to {max} minutes")))
        };
        let minutes = match self.members.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => bounded(text.parse().ok())?,
            Some(Value::String(text)) => {
                self.keep_open(name, text, wanted)?;
                return Ok(None);
            }
            Some(Value::Number(number)) => {
                let whole = number.as_f64().filter(|minutes| minutes.fract() == 0.0);
                let Some(whole) = whole else {
                    return Err(BadDocument::field(name, format!("is {number}, not {wanted}")));
                };
                // A cast of a float saturates, so that what is out of bounds stays so.
                bounded(Some(whole as u32))?
            }
            Some(other) => return Err(BadDocument::kind(name, &other, wanted)),
        };
        if let Some(minutes) = minutes.filter(|_| minutes != default) {
            self.members.insert(name.into(), minutes.into());
        }
        Ok(minutes)
    }

    /// Keeps a text that is open because of a parameter in it; any other is no value of this member.
    fn keep_open(&mut self, name: &'static str, text: String, wanted: &str) -> Result<(), BadDocument> {
        if !has_parameter(&text) {
            let found = canonical::clipped(&text);
            return Err(BadDocument::field(name, format!("is {found:?}, not {wanted}")));
        }
        self.open.insert(name);
        self.members.insert(name.into(), Value::String(text));
        Ok(())
    }
}

fn has_parameter(text: &str) -> bool {
    text.split_once("{{").is_some_and(|(_, rest)| rest.contains("}}"))
}
