//! `[quarantine]`: how an account is locked, and what bounds the harm of a mistake.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    effect::Mode,
    ids::Now,
    settings::{Maintenance, Tier},
};

use super::{
    check::{self, Checked},
    reader::Reader,
};

/// The most people who can be asked to approve a lock.
const APPROVALS_MAX: u8 = 2;

/// `[quarantine]`: how an account is locked, and the caps that bound the harm of a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Whether locks are considered at all. Default: true.
    pub enabled: bool,
    /// Whether accounts are locked where the service enforces. Default: observe, which says what would be done.
    pub mode: Mode,
    /// Organisational units whose accounts may be locked. Default: empty, which means all.
    pub units: Vec<String>,
    /// Organisational units whose accounts are never locked. Default: none.
    pub exempt_units: Vec<String>,
    /// How long a lock lasts, 60 to 2,592,000 s. Default: 3,600.
    pub duration_seconds: u64,
    /// Distinct principals from which on an account as a whole is locked, 1 to 1,000; with fewer only they are. Default:
    /// 2.
    pub access_principals_min: u32,
    /// The highest tier that is reached without a person. Default: access.
    pub tier_max: Tier,
    /// Accounts locked at one time, 1 to 1,000. Default: 3.
    pub concurrent_max: u32,
    /// Accounts locked within one hour, 1 to 1,000. Default: 5.
    pub hourly_max: u32,
    /// Share of the organisation's accounts locked at one time, 1 to 100 %. Default: 10.
    pub share_max_percent: u32,
    /// Accounts over the threshold within `breaker_seconds`, 2 to 1,000, from which on each lock needs a person. Default:
    /// 8.
    pub breaker_accounts: u32,
    /// The time over which the circuit breaker counts, 60 to 86,400 s. Default: 600.
    pub breaker_seconds: u64,
    /// How long a lock waits for people or for room before it is refused, 60 to 2,592,000 s. Default: 3,600.
    pub wait_seconds_max: u64,
    /// Different people who must approve a lock, 0 to 2. Default: 0.
    pub approvals: u8,
    /// The same by organisational unit, `[quarantine.approvals_by_unit]`. Default: none.
    pub approvals_by_unit: BTreeMap<String, u8>,
    /// Planned work, as `FROM/UNTIL` or `FROM/UNTIL UNIT`, in RFC 3339: each lock needs at least one person meanwhile.
    /// Default: none.
    pub maintenance: Vec<Maintenance>,
    /// The id of the policy that denies access, `p-…`. Needed to lock accounts on the backend `aws`.
    pub access_policy: Option<String>,
    /// The id of the policy that closes the agents' channel too, `p-…`. Absent: this tier cannot be reached.
    pub channel_policy: Option<String>,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::Observe,
            units: Vec::new(),
            exempt_units: Vec::new(),
            duration_seconds: 3_600,
            access_principals_min: 2,
            tier_max: Tier::Access,
            concurrent_max: 3,
            hourly_max: 5,
            share_max_percent: 10,
            breaker_accounts: 8,
            breaker_seconds: 600,
            wait_seconds_max: 3_600,
            approvals: 0,
            approvals_by_unit: BTreeMap::new(),
            maintenance: Vec::new(),
            access_policy: None,
            channel_policy: None,
        }
    }
}

impl Quarantine {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("quarantine");
        let modes = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
        let tiers = Tier::ALL.map(|tier| (tier.as_str(), tier));
        Self {
            enabled: section.flag("enabled").unwrap_or(default.enabled),
            mode: section.word("mode", &modes, default.mode),
            units: section.list("units", check::not_empty).unwrap_or_default(),
            exempt_units: section.list("exempt_units", check::not_empty).unwrap_or_default(),
            duration_seconds: section.whole("duration_seconds", 60..=2_592_000).unwrap_or(default.duration_seconds),
            access_principals_min: section
                .whole("access_principals_min", 1..=1_000)
                .unwrap_or(default.access_principals_min),
            tier_max: section.word("tier_max", &tiers, default.tier_max),
            concurrent_max: section.whole("concurrent_max", 1..=1_000).unwrap_or(default.concurrent_max),
            hourly_max: section.whole("hourly_max", 1..=1_000).unwrap_or(default.hourly_max),
            share_max_percent: section.whole("share_max_percent", 1..=100).unwrap_or(default.share_max_percent),
            breaker_accounts: section.whole("breaker_accounts", 2..=1_000).unwrap_or(default.breaker_accounts),
            breaker_seconds: section.whole("breaker_seconds", 60..=86_400).unwrap_or(default.breaker_seconds),
            wait_seconds_max: section.whole("wait_seconds_max", 60..=2_592_000).unwrap_or(default.wait_seconds_max),
            approvals: section.whole("approvals", 0..=APPROVALS_MAX).unwrap_or(default.approvals),
            approvals_by_unit: section
                .map("approvals_by_unit", |unit, count| Ok((check::not_empty(unit)?, approvals(count)?))),
            maintenance: section.list("maintenance", maintenance).unwrap_or_default(),
            access_policy: section.text("access_policy", policy_id),
            channel_policy: section.text("channel_policy", policy_id),
        }
    }
}

fn approvals(text: &str) -> Checked<u8> {
    let found = text.parse().ok().filter(|count| *count <= APPROVALS_MAX);
    found.ok_or_else(|| (format!("has \"{text}\", but a number of people is from 0 to {APPROVALS_MAX}"), None))
}

fn policy_id(text: &str) -> Checked<String> {
    let fits =
        |rest: &str| (8..=128).contains(&rest.len()) && rest.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    if text.strip_prefix("p-").is_some_and(fits) {
        return Ok(text.to_owned());
    }
    let hint = "`aws organizations list-policies --filter SERVICE_CONTROL_POLICY` shows the ids".to_owned();
    Err((format!("is \"{text}\", but the id of a policy is p- and 8 to 128 letters and digits"), Some(hint)))
}

fn maintenance(text: &str) -> Checked<Maintenance> {
    let wrong = || {
        let hint = "for example `2026-12-01T20:00:00Z/2026-12-01T23:00:00Z prod`".to_owned();
        (format!("has \"{text}\", but planned work is FROM/UNTIL, and perhaps a unit"), Some(hint))
    };
    let (times, unit) = text.split_once(' ').map_or((text, None), |(times, unit)| (times, Some(unit.trim())));
    let at = |text: &str| text.parse::<jiff::Timestamp>().map(|at| Now(at.as_millisecond())).map_err(|_| wrong());
    let (from, until) = times.split_once('/').ok_or_else(wrong)?;
    let (from, until) = (at(from)?, at(until)?);
    if from >= until || unit == Some("") {
        return Err(wrong());
    }
    Ok(Maintenance { from, until, units: unit.map(Arc::from).into_iter().collect() })
}
