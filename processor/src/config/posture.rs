//! What sessions must rest on: `[preferences]`, `[sessions]` and `[logs]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use sessionwarden_machine::document::{IDLE_MINUTES_MAX, SESSION_MINUTES_MAX, WantedPreferences};

use super::{
    check,
    reader::{Reader, Section},
};

/// `[sessions]`: on which nodes, by whom and as whom sessions may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Tags that a node must have, each with the values allowed, `[sessions.node_tags]`; keys of 1 to 128 characters,
    /// values of at most 256 ("Tag your Amazon EC2 resources"). Default: none, which allows all nodes.
    pub node_tags: BTreeMap<String, BTreeSet<String>>,
    /// Names of the roles of third parties, with `*` for any characters, without ARN and path. Default: none.
    pub third_party_roles: Vec<String>,
    /// The tag that a third party's role and the node must have in common, 1 to 128 characters. Default:
    /// `ExternalAccessGrantedTo`.
    pub third_party_tag: String,
    /// Names of the roles whose sessions must run as a prescribed user, with `*` for any characters, without ARN and
    /// path. Default: none.
    pub run_as_roles: Vec<String>,
    /// Operating system users they may run as. Default: empty, which allows any but `root` and `ssm-user`.
    pub run_as_users: Vec<String>,
    /// Organisational units in which each session needs a reason; `*` stands for all. Default: none.
    pub reason_units: Vec<String>,
}

/// `[logs]`: what counts as a session's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The smallest object that counts as a log, 1 to 1,048,576 bytes. Default: 1.
    pub bytes_min: u64,
    /// Time from the start of a session by which its log stream must exist, 100 ms to one day. Default: 120,000.
    pub stream_grace_ms: u64,
    /// Longest time between the last event of a stream and the end of its session, 100 ms to one day. Default: 600,000.
    pub stream_gap_ms_max: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            node_tags: BTreeMap::new(),
            third_party_roles: Vec::new(),
            third_party_tag: "ExternalAccessGrantedTo".to_owned(),
            run_as_roles: Vec::new(),
            run_as_users: Vec::new(),
            reason_units: Vec::new(),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { bytes_min: 1, stream_grace_ms: 120_000, stream_gap_ms_max: 600_000 }
    }
}

impl Sessions {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("sessions");
        Self {
            node_tags: section.lists("node_tags", |key, value| Ok((check::tag_key(key)?, check::tag_value(value)?))),
            third_party_roles: section.list("third_party_roles", check::role).unwrap_or_default(),
            third_party_tag: section.text("third_party_tag", check::tag_key).unwrap_or(default.third_party_tag),
            run_as_roles: section.list("run_as_roles", check::role).unwrap_or_default(),
            run_as_users: section.list("run_as_users", check::os_user).unwrap_or_default(),
            reason_units: section.list("reason_units", check::not_empty).unwrap_or_default(),
        }
    }
}

impl Logs {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const MS: RangeInclusive<u64> = 100..=86_400_000;
        let default = Self::default();
        let mut section = reader.section("logs");
        Self {
            bytes_min: section.whole("bytes_min", 1..=1_048_576).unwrap_or(default.bytes_min),
            stream_grace_ms: section.whole("stream_grace_ms", MS).unwrap_or(default.stream_grace_ms),
            stream_gap_ms_max: section.whole("stream_gap_ms_max", MS).unwrap_or(default.stream_gap_ms_max),
        }
    }
}

pub(super) fn preferences(reader: &mut Reader<'_>) -> WantedPreferences {
    let mut section = reader.section("preferences");
    let errors = section.errors();
    let wanted = WantedPreferences {
        s3_bucket: section.text("s3_bucket", check::bucket).map(Into::into),
        s3_prefix: section.text("s3_prefix", check::prefix).map(Into::into),
        s3_encryption: section.flag("s3_encryption"),
        log_group: section.text("log_group", check::log_group).map(Into::into),
        log_group_encryption: section.flag("log_group_encryption"),
        streaming: section.flag("streaming"),
        kms_key: section.text("kms_key", check::kms_key).map(Into::into),
        run_as: section.flag("run_as"),
        run_as_user: section.text("run_as_user", check::default_user).map(Into::into),
        idle_minutes_max: section.whole("idle_minutes_max", 1..=IDLE_MINUTES_MAX),
        max_minutes_max: section.whole("max_minutes_max", 1..=SESSION_MINUTES_MAX),
        shell_linux: section.text("shell_linux", check::shell).map(Into::into),
        shell_windows: section.text("shell_windows", check::shell).map(Into::into),
        hashes: section.list("hashes", check::document_hash).unwrap_or_default().into_iter().collect(),
    };
    // What follows from a wrong value is not told as well.
    if section.errors() == errors {
        check_together(&mut section, &wanted);
    }
    wanted
}

/// What is right each by itself, but cannot be meant together.
fn check_together(section: &mut Section<'_, '_>, wanted: &WantedPreferences) {
    let named = |name: &Option<_>| name.as_deref().is_some_and(|name: &str| !name.is_empty());
    let mut wrong = |key: &'static str, problem: &str, hint: &str| {
        let place = section.place(key);
        section.error(place, format!("`preferences.{key}` {problem}"), Some(hint.to_owned()));
    };
    if wanted.s3_prefix.is_some() && !named(&wanted.s3_bucket) {
        wrong("s3_prefix", "is set, but `preferences.s3_bucket` names no bucket", "set `s3_bucket` too");
    }
    if wanted.streaming == Some(true) && !named(&wanted.log_group) {
        wrong("streaming", "is true, but `preferences.log_group` names no log group", "set `log_group` too");
    }
    if wanted.run_as == Some(false) && wanted.run_as_user.is_some() {
        wrong("run_as_user", "is set, but `preferences.run_as` is false", "set `run_as = true`, or name no user");
    }
}
