//! What the core needs to know of the configuration. Plain values; the shell reads them from file and environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    compliance::EvidenceKind,
    document::WantedPreferences,
    effect::Mode,
    ids::{AccountId, Now, ThingKind},
    incident::Restore,
};

/// The settings of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether effects touch anything.
    pub mode: Mode,
    /// An organisation can be asked: evidence is gathered and calls are made. Without one (history, a bare stream of
    /// events) evidence stays unknown and remedies are planned, not called.
    pub organization: bool,
    /// Session calls are reported as OCSF API Activity.
    pub activity: bool,
    /// People are told of findings, incidents and remedies. Default false.
    pub notify: bool,
    /// How long a verdict on a live session holds, in milliseconds. Default 15,000 (R-G3).
    pub recheck_ms: i64,
    /// The longest time between two looks at a live session whose evidence cannot be had, in milliseconds. Default
    /// 120,000 (R-W13).
    pub recheck_ms_max: i64,
    /// The longest time for which a live session is not written while looks at it learn nothing new, in milliseconds;
    /// not above `recheck_ms`: each look is written. Default 900,000.
    pub rest_ms_max: i64,
    /// How long one question to AWS may take, in milliseconds. Default 5,000.
    pub call_ms_max: i64,
    /// When a session is checked again after something it rests on changed, in milliseconds: IAM changes take seconds
    /// to bite. Default 5,000.
    pub settle_ms: i64,
    /// From the end of a session to the first look for its log, in milliseconds. Default 30,000 (R-W20).
    pub log_first_look_ms: i64,
    /// From the end of a session to the incident `log-missing`, in milliseconds. Default 900,000.
    pub log_wait_ms_max: i64,
    /// How long needed evidence may stay unknown before an incident says so, in milliseconds. Default 600,000.
    pub evidence_unknown_ms_max: i64,
    /// How long a termination may stay unconfirmed before an incident says so, in milliseconds. Default 60,000.
    pub terminate_confirm_ms_max: i64,
    /// How long a critical incident may be open before people are told again, in milliseconds. Default 900,000.
    pub escalate_critical_ms: i64,
    /// The same for one of high severity. Default 3,600,000.
    pub escalate_high_ms: i64,
    /// Changes that are put back without a person. Default: none.
    pub restore: BTreeSet<Restore>,
    /// Regions in which sessions may run; empty means all.
    pub allowed_regions: BTreeSet<Arc<str>>,
    /// The organisation's management account: watched, never quarantined (TH18).
    pub management_account: Option<AccountId>,
    /// Organisational unit of each account, where known.
    pub units: BTreeMap<AccountId, Arc<str>>,
    /// Things of the guardrail itself: names, with `*` for any characters.
    pub own_names: Vec<Arc<str>>,
    /// When an account is locked.
    pub quarantine: QuarantineSettings,
    /// What sessions must rest on.
    pub posture: PostureSettings,
}

/// What sessions must rest on: documents, logs, nodes, callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostureSettings {
    /// What each account's preferences document must say.
    pub preferences: WantedPreferences,
    /// The account of the log bucket, where known (R-G15).
    pub log_archive_account: Option<AccountId>,
    /// The smallest object that counts as a log, in bytes. Default 1.
    pub log_bytes_min: u64,
    /// From the start of a session to the time by which its log stream must exist, in milliseconds. Default 120,000.
    pub stream_grace_ms: i64,
    /// The longest time between the last event of a stream and the end of its session, in milliseconds. Default 600,000.
    pub stream_gap_ms_max: i64,
    /// Tags that a node must have for sessions to be allowed on it, each with the values allowed; empty allows all nodes.
    pub node_tags: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Names of the roles of third parties, with `*` for any characters (R-T1).
    pub third_party_roles: Vec<Arc<str>>,
    /// The tag that a third party's role and its nodes must have in common. Default `ExternalAccessGrantedTo` (R-T2).
    pub third_party_tag: Arc<str>,
    /// Names of the roles whose sessions must run as a prescribed user, with `*` for any characters (R-T3).
    pub run_as_roles: Vec<Arc<str>>,
    /// Operating system users they may run as; empty: any but `root` and `ssm-user`.
    pub run_as_users: BTreeSet<Arc<str>>,
    /// Organisational units in which each session needs a reason; `*` stands for all.
    pub reason_units: BTreeSet<Arc<str>>,
}

impl PostureSettings {
    /// The kinds of evidence that these settings ask nothing about: all sessions are as they should be in these.
    pub fn not_asked_for(&self) -> impl Iterator<Item = EvidenceKind> + use<> {
        use EvidenceKind as K;
        let streaming = self.preferences.streaming == Some(true);
        let asked_for = [
            (K::NodeAllowed, !self.node_tags.is_empty()),
            (K::TagMatches, !self.third_party_roles.is_empty()),
            (K::RunAsAsPrescribed, !self.run_as_roles.is_empty()),
            (K::ReasonGiven, !self.reason_units.is_empty()),
            (K::StreamingOn, streaming),
            (K::StreamPresent, streaming),
        ];
        asked_for.into_iter().filter(|(_, asked_for)| !asked_for).map(|(kind, _)| kind)
    }
}

impl Default for PostureSettings {
    fn default() -> Self {
        Self {
            preferences: WantedPreferences::default(),
            log_archive_account: None,
            log_bytes_min: 1,
            stream_grace_ms: 120_000,
            stream_gap_ms_max: 600_000,
            node_tags: BTreeMap::new(),
            third_party_roles: Vec::new(),
            third_party_tag: "ExternalAccessGrantedTo".into(),
            run_as_roles: Vec::new(),
            run_as_users: BTreeSet::new(),
            reason_units: BTreeSet::new(),
        }
    }
}

/// When an account is locked, and what stops that from running away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineSettings {
    /// Locking is considered at all.
    pub enabled: bool,
    /// Whether accounts are touched, where the service as a whole is in enforce mode. Default: observe.
    pub mode: Mode,
    /// Organisational units whose accounts may be locked; empty means all. In others it is only said what would be done.
    pub units: BTreeSet<Arc<str>>,
    /// Distinct sessions with confirmed termination inside the window. Default 10 (R-G12).
    pub sessions_min: usize,
    /// Length of the sliding window, event time, in milliseconds. Default 300,000 (R-G12).
    pub window_ms: i64,
    /// Distinct principals among those sessions for the window to be full at all. Default 1.
    pub principals_min: usize,
    /// Distinct principals from which on the account as a whole is locked; with fewer only these principals are. Default
    /// 2.
    pub access_principals_min: usize,
    /// The highest tier that is reached without a person. Default: access.
    pub tier_max: Tier,
    /// How long a lock lasts, in milliseconds. Default 3,600,000.
    pub duration_ms: i64,
    /// Accounts that are never locked.
    pub exempt: BTreeSet<AccountId>,
    /// Organisational units whose accounts are never locked.
    pub exempt_units: BTreeSet<Arc<str>>,
    /// Roles whose sessions are never ended by a sweep: names, with `*` for any characters.
    pub exempt_roles: Vec<Arc<str>>,
    /// Locks at one time, at the most. Default 3.
    pub concurrent_max: usize,
    /// Locks begun within an hour, at the most. Default 5.
    pub hourly_max: usize,
    /// Locks at one time, as a share of the organisation's accounts, in percent. Default 10.
    pub share_percent_max: usize,
    /// Accounts whose windows are full within [`Self::breaker_ms`], from which on each lock needs a person. Default 8.
    pub breaker_accounts: usize,
    /// The time over which the circuit breaker counts, in milliseconds. Default 600,000.
    pub breaker_ms: i64,
    /// Different people who must approve a lock. Default 0.
    pub approvals: u8,
    /// The same by organisational unit.
    pub approvals_by_unit: BTreeMap<Arc<str>, u8>,
    /// Times in which each lock needs at least one person.
    pub maintenance: Vec<Maintenance>,
    /// How long a lock waits for people, or for room, before it is refused, in milliseconds. Default 3,600,000.
    pub wait_ms_max: i64,
    /// The time between two comparisons of what is attached with what should be, in milliseconds. Default 60,000.
    pub compare_ms: i64,
    /// How long after a lock was detached it is looked at once more before it is over, in milliseconds: longer than an
    /// attempt to attach it, that a worker began without knowing of its end, can last ([`Settings::change_ms_max`]), and than
    /// the clocks of two workers can be apart. Default 40,000.
    pub settle_ms: i64,
    /// How long a lock may be attached without being seen to bite, in milliseconds. Default 600,000: attached is not yet
    /// enforced, minutes can pass.
    pub bite_ms_max: i64,
}

/// What a lock denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Sessions, and the ways around them, to the principals that broke the rules.
    Principal,
    /// The same to everybody in the account.
    Access,
    /// The channel of the agents as well.
    Channel,
}

impl Tier {
    /// All, from the mildest.
    pub const ALL: [Self; 3] = [Self::Principal, Self::Access, Self::Channel];

    /// Its name, as configuration and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Access => "access",
            Self::Channel => "channel",
        }
    }
}

/// Planned work, during which a rule may be broken by those who look after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Its beginning.
    pub from: Now,
    /// Its end, not included.
    pub until: Now,
    /// The organisational units it is in; empty means all.
    pub units: BTreeSet<Arc<str>>,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::Observe,
            units: BTreeSet::new(),
            sessions_min: 10,
            window_ms: 300_000,
            principals_min: 1,
            access_principals_min: 2,
            tier_max: Tier::Access,
            duration_ms: 3_600_000,
            exempt: BTreeSet::new(),
            exempt_units: BTreeSet::new(),
            exempt_roles: vec!["sessionwarden".into()],
            concurrent_max: 3,
            hourly_max: 5,
            share_percent_max: 10,
            breaker_accounts: 8,
            breaker_ms: 600_000,
            approvals: 0,
            approvals_by_unit: BTreeMap::new(),
            maintenance: Vec::new(),
            wait_ms_max: 3_600_000,
            compare_ms: 60_000,
            settle_ms: 40_000,
            bite_ms_max: 600_000,
        }
    }
}

impl QuarantineSettings {
    /// How many different people must approve a lock of an account of this unit at this time.
    pub fn approvals_needed(&self, unit: Option<&str>, now: Now) -> u8 {
        let usual = unit.and_then(|unit| self.approvals_by_unit.get(unit)).copied().unwrap_or(self.approvals);
        let here = |work: &&Maintenance| work.units.is_empty() || unit.is_some_and(|unit| work.units.contains(unit));
        let planned = self.maintenance.iter().filter(here).any(|work| work.from <= now && now < work.until);
        usual.max(u8::from(planned))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            organization: true,
            activity: true,
            notify: false,
            recheck_ms: 15_000,
            recheck_ms_max: 120_000,
            rest_ms_max: 900_000,
            call_ms_max: 5_000,
            settle_ms: 5_000,
            log_first_look_ms: 30_000,
            log_wait_ms_max: 900_000,
            evidence_unknown_ms_max: 600_000,
            terminate_confirm_ms_max: 60_000,
            escalate_critical_ms: 900_000,
            escalate_high_ms: 3_600_000,
            restore: BTreeSet::new(),
            allowed_regions: BTreeSet::new(),
            management_account: None,
            units: BTreeMap::new(),
            own_names: vec!["sessionwarden*".into()],
            quarantine: QuarantineSettings::default(),
            posture: PostureSettings::default(),
        }
    }
}

impl Settings {
    /// Settings for history and bare streams of events: nothing can be asked, nothing is called.
    #[must_use]
    pub fn without_organization(mut self) -> Self {
        self.organization = false;
        self
    }

    /// How long one change of the organisation may take, in milliseconds: AWS Organizations makes one after the other, and
    /// each is looked at afterwards.
    pub fn change_ms_max(&self) -> i64 {
        6 * self.call_ms_max
    }

    /// Whether sessions may run in `region` (TH17).
    pub fn allows_region(&self, region: &str) -> bool {
        self.allowed_regions.is_empty() || self.allowed_regions.contains(region)
    }

    /// The account's organisational unit, where known.
    pub fn unit(&self, account: AccountId) -> Option<&str> {
        self.units.get(&account).map(|unit| &**unit)
    }

    /// Whether a thing belongs to the guardrail: by its name, or because it is the preferences document or the account
    /// switch that no account has two of. An object in S3, `bucket/key`, belongs to its bucket (TH24).
    pub fn owns(&self, kind: ThingKind, id: &str) -> bool {
        let bucket = id.split('/').next().filter(|_| kind == ThingKind::LogObject);
        let id = bucket.unwrap_or(id);
        let name = id.rsplit(['/', ':']).next().unwrap_or(id);
        (kind == ThingKind::Document && name == crate::decode::PREFERENCES)
            || self.own_names.iter().any(|pattern| matches(pattern, name) || matches(pattern, id))
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn own_things_are_known_by_name_and_arn() {
        let settings = Settings::default();
        assert!(settings.owns(ThingKind::Rule, "sessionwarden-watch"));
        assert!(settings.owns(ThingKind::Topic, "arn:aws:sns:eu-central-1:111122223333:sessionwarden-central"));
        assert!(settings.owns(ThingKind::Document, "SSM-SessionManagerRunShell"));
        assert!(!settings.owns(ThingKind::Document, "other"));
        assert!(!settings.owns(ThingKind::Rule, "nightly"));
    }

    // TH24
    #[test]
    fn an_object_belongs_to_its_bucket() {
        let own_names = vec!["sessionwarden*".into(), "central-logs".into()];
        let settings = Settings { own_names, ..Settings::default() };
        for (object, own) in [
            ("sessionwarden-logs/111122223333/ann-0.log", true),
            ("central-logs/111122223333/ann-0.log", true),
            ("central-logs", true),
            ("pictures/sessionwarden-0.log", false),
            ("pictures/central-logs", false),
            ("central-logs-2/ann-0.log", false),
            ("/central-logs", false),
            ("", false),
        ] {
            assert_eq!(settings.owns(ThingKind::LogObject, object), own, "{object}");
        }
    }
}
