//! What the preferences must say, and how those of an account differ.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    DocumentHash, IDLE_MINUTES_DEFAULT, Preferences, SCHEMA_VERSION, STANDARD_STREAM, SessionDocument,
    canonical::clipped, log_object_key, preferences as input,
};
use crate::ids::{AccountId, digest_128};

/// What a preferences document must say. A field that is `None` is left to the account, but for the shell profiles: a
/// profile runs commands in every session, so that where anything is wanted and no profile is, there must be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPreferences {
    /// The bucket; empty: none.
    pub s3_bucket: Option<Arc<str>>,
    /// The prefix in the bucket; `{account}` and `{region}` stand for the session's. Compared by the keys it makes.
    pub s3_prefix: Option<Arc<str>>,
    /// Whether the bucket must be encrypted.
    pub s3_encryption: Option<bool>,
    /// The log group; empty: none.
    pub log_group: Option<Arc<str>>,
    /// Whether the log group must be encrypted.
    pub log_group_encryption: Option<bool>,
    /// Whether the log is streamed.
    pub streaming: Option<bool>,
    /// The KMS key. An alias or id without an ARN is one of the document's account and region, as for KMS.
    pub kms_key: Option<Arc<str>>,
    /// Whether sessions run as a named OS user.
    pub run_as: Option<bool>,
    /// That user, where the principal's tag names no other.
    pub run_as_user: Option<Arc<str>>,
    /// The longest idle time, in minutes; a shorter one is as wanted.
    pub idle_minutes_max: Option<u32>,
    /// The longest duration, in minutes; a shorter one is as wanted, none is not.
    pub max_minutes_max: Option<u32>,
    /// The shell profile of Linux and macOS; `None` and empty: none.
    pub shell_linux: Option<Arc<str>>,
    /// The shell profile of Windows; `None` and empty: none.
    pub shell_windows: Option<Arc<str>>,
    /// Documents that are accepted as they stand, whatever the fields say.
    pub hashes: BTreeSet<DocumentHash>,
}

impl WantedPreferences {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The wanted S3 prefix with `{account}` and `{region}` filled in.
    pub fn prefix(&self, account: AccountId, region: &str) -> Option<String> {
        let prefix = self.s3_prefix.as_deref()?;
        Some(prefix.replace("{account}", &account.to_string()).replace("{region}", region))
    }

    /// How the preferences document of `account` in `region` differs from what is wanted: a sentence for each
    /// difference, with the field, what stands there and what is wanted. Values are clipped to 80 characters; a shell
    /// profile can hold secrets and is shown by its length and hash only.
    ///
    /// `None`: nothing is wanted, so that nothing can be said. An empty list: the document is as wanted.
    pub fn differences(&self, document: &SessionDocument, account: AccountId, region: &str) -> Option<Vec<String>> {
        if self.is_empty() {
            return None;
        }
        if self.hashes.contains(&document.hash) {
            return Some(Vec::new());
        }
        if (Self { hashes: BTreeSet::new(), ..self.clone() }).is_empty() {
            return Some(vec![format!("the document's hash is {}, which is none of those accepted", document.hash)]);
        }
        let have = &document.inputs;
        let mut differences = Differences { have, found: Vec::new() };
        differences.session_type(document.session_type.as_deref());
        differences.text(input::S3_BUCKET, &have.s3_bucket, self.s3_bucket.as_deref(), str::eq);
        let prefix = self.prefix(account, region);
        differences.text(input::S3_PREFIX, &have.s3_prefix, prefix.as_deref(), |have, wanted| {
            log_object_key(have, "") == log_object_key(wanted, "")
        });
        differences.flag(input::S3_ENCRYPTION, have.s3_encryption, self.s3_encryption);
        differences.text(input::LOG_GROUP, &have.log_group, self.log_group.as_deref(), str::eq);
        differences.flag(input::LOG_GROUP_ENCRYPTION, have.log_group_encryption, self.log_group_encryption);
        differences.flag(input::STREAMING, have.streaming, self.streaming);
        differences.text(input::KMS_KEY, &have.kms_key, self.kms_key.as_deref(), |have, wanted| {
            have == wanted || is_arn_of(have, wanted, account, region) || is_arn_of(wanted, have, account, region)
        });
        differences.flag(input::RUN_AS, have.run_as, self.run_as);
        let user = self.run_as_user.as_deref();
        differences.text(input::RUN_AS_USER, &have.run_as_user, user, str::eq);
        let idle = have.idle_minutes.or(Some(IDLE_MINUTES_DEFAULT));
        differences.minutes(input::IDLE_MINUTES, idle, self.idle_minutes_max);
        differences.minutes(input::SESSION_MINUTES, have.max_minutes, self.max_minutes_max);
        differences.shell(input::SHELL_LINUX, &have.shell_linux, self.shell_linux.as_deref());
        differences.shell(input::SHELL_WINDOWS, &have.shell_windows, self.shell_windows.as_deref());
        Some(differences.found)
    }

    /// The content of a preferences document that is as wanted, and else as near to the present one as can be. `None`
    /// where nothing is wanted, or only a hash that the present document does not have.
    pub fn restored(&self, present: Option<&str>, account: AccountId, region: &str) -> Option<Value> {
        let accepted = present.filter(|content| {
            let document = SessionDocument::parse(content);
            document.is_ok_and(|it| self.differences(&it, account, region).is_some_and(|found| found.is_empty()))
        });
        if let Some(content) = accepted {
            return serde_json::from_str(content).ok();
        }
        if (Self { hashes: BTreeSet::new(), ..self.clone() }).is_empty() {
            return None;
        }
        // What cannot be read is not kept.
        let read = present.and_then(|content| {
            let document = SessionDocument::parse(content).ok()?;
            let Value::Object(members) = serde_json::from_str(content).ok()? else { return None };
            Some((document.inputs, members))
        });
        let (have, mut members): (Preferences, Map<String, Value>) = read.unwrap_or_default();
        let open = &have.open;
        members.insert("schemaVersion".to_owned(), SCHEMA_VERSION.into());
        members.insert("sessionType".to_owned(), STANDARD_STREAM.into());
        members.entry("description").or_insert_with(|| "Session Manager preferences".into());
        let mut inputs = match members.remove("inputs") {
            Some(Value::Object(inputs)) => inputs,
            _ => Map::new(),
        };
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                inputs.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<Arc<str>>| text.as_deref().map(Value::from);
        set(input::S3_BUCKET, text(&self.s3_bucket));
        set(input::S3_PREFIX, self.prefix(account, region).map(Value::from));
        set(input::S3_ENCRYPTION, self.s3_encryption.map(Value::from));
        set(input::LOG_GROUP, text(&self.log_group));
        set(input::LOG_GROUP_ENCRYPTION, self.log_group_encryption.map(Value::from));
        set(input::STREAMING, self.streaming.map(Value::from));
        set(input::KMS_KEY, text(&self.kms_key));
        set(input::RUN_AS, self.run_as.map(Value::from));
        set(input::RUN_AS_USER, text(&self.run_as_user));
        // Minutes are texts in a document. A shorter time is as wanted.
        let minutes = |name: &str, have: Option<u32>, max: Option<u32>| {
            let max = max?;
            let kept = have.filter(|have| *have <= max && !open.contains(name));
            Some(Value::from(kept.unwrap_or(max).to_string()))
        };
        let idle = have.idle_minutes.or(Some(IDLE_MINUTES_DEFAULT));
        set(input::IDLE_MINUTES, minutes(input::IDLE_MINUTES, idle, self.idle_minutes_max));
        set(input::SESSION_MINUTES, minutes(input::SESSION_MINUTES, have.max_minutes, self.max_minutes_max));
        let profile = |profile: &Option<Arc<str>>| profile.as_deref().unwrap_or_default().to_owned();
        let profiles = json!({ "linux": profile(&self.shell_linux), "windows": profile(&self.shell_windows) });
        inputs.insert(input::SHELL_PROFILE.to_owned(), profiles);
        members.insert("inputs".to_owned(), inputs.into());
        Some(members.into())
    }
}

struct Differences<'a> {
    have: &'a Preferences,
    found: Vec<String>,
}

impl Differences<'_> {
    fn session_type(&mut self, have: Option<&str>) {
        if have != Some(STANDARD_STREAM) {
            let have = shown(have.unwrap_or_default());
            self.found.push(format!("sessionType is {have}, wanted {}", shown(STANDARD_STREAM)));
        }
    }

    fn text(&mut self, name: &str, have: &str, wanted: Option<&str>, same: impl Fn(&str, &str) -> bool) {
        if let Some(wanted) = wanted.filter(|wanted| !same(have, wanted)) {
            self.found.push(format!("{name} is {}, wanted {}", shown(have), shown(wanted)));
        }
    }

    fn flag(&mut self, name: &str, have: bool, wanted: Option<bool>) {
        let Some(wanted) = wanted else { return };
        if self.have.open.contains(name) {
            self.found.push(format!("{name} is what whoever starts the session chooses, wanted {wanted}"));
        } else if have != wanted {
            self.found.push(format!("{name} is {have}, wanted {wanted}"));
        }
    }

    fn minutes(&mut self, name: &str, have: Option<u32>, max: Option<u32>) {
        let Some(max) = max else { return };
        let have = match have {
            _ if self.have.open.contains(name) => "what whoever starts the session chooses".to_owned(),
            Some(have) if have <= max => return,
            Some(have) => format!("{have} minutes"),
            None => "not set".to_owned(),
        };
        self.found.push(format!("{name} is {have}, wanted at most {max} minutes"));
    }

    fn shell(&mut self, name: &str, have: &str, wanted: Option<&str>) {
        let wanted = wanted.unwrap_or_default();
        if have != wanted {
            let [have, wanted] = [have, wanted].map(|profile| match profile {
                "" => "empty".to_owned(),
                profile => format!("{} bytes with hash {:032x}", profile.len(), digest_128(profile.as_bytes())),
            });
            self.found.push(format!("{name}, which runs in every session, is {have}, wanted {wanted}"));
        }
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { "empty".to_owned() } else { format!("{:?}", clipped(text)) }
}

/// Whether `arn` is the KMS ARN of the bare alias (`alias/…`) or key id `short`. A bare name is always one of the
/// caller's account and region ("`DescribeKey`"), which a same-named key elsewhere is not.
fn is_arn_of(arn: &str, short: &str, account: AccountId, region: &str) -> bool {
    let account = account.to_string();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "kms", in_region, in_account, resource] = parts[..] else { return false };
    let named =
        if short.starts_with("alias/") { resource == short } else { resource.strip_prefix("key/") == Some(short) };
    named && in_region == region && in_account == account
}
