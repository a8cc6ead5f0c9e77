//! The core's settings, as the configuration gives them.

use std::sync::Arc;

use sessionwarden_machine::settings::{PostureSettings, QuarantineSettings, Settings};

use super::{Config, scp_settings_of};

/// How far the clocks of two workers may be apart, in milliseconds.
const CLOCKS_APART_MS_MAX: i64 = 10_000;

/// The core's settings. What `[preferences]` names belongs to the guardrail as well as what fits `own_names` does: a
/// change of the log bucket, the log group or the key is a change of the guardrail (TH22 to TH24).
pub fn settings_of(config: &Config) -> Settings {
    let recheck = &config.recheck;
    let organization = &config.organization;
    let mut settings = Settings {
        mode: config.service.mode,
        organization: true,
        activity: config.feed.activity,
        // Set where there is somebody to tell.
        notify: false,
        recheck_ms: ms(recheck.period_ms),
        recheck_ms_max: ms(recheck.period_ms_max),
        rest_ms_max: ms(recheck.rest_ms_max),
        call_ms_max: ms(recheck.call_ms_max),
        settle_ms: Settings::default().settle_ms.min(ms(recheck.period_ms)),
        log_first_look_ms: ms(recheck.log_first_look_ms),
        log_wait_ms_max: ms(recheck.log_wait_ms_max),
        evidence_unknown_ms_max: ms(recheck.evidence_unknown_ms_max),
        terminate_confirm_ms_max: ms(recheck.terminate_confirm_ms_max),
        escalate_critical_ms: seconds(config.incidents.escalate_critical_seconds),
        escalate_high_ms: seconds(config.incidents.escalate_high_seconds),
        restore: config.incidents.restore.iter().copied().collect(),
        allowed_regions: texts(&organization.allowed_regions),
        management_account: organization.management_account,
        units: organization.units.iter().map(|(account, unit)| (*account, Arc::from(unit.as_str()))).collect(),
        own_names: own_names(config),
        quarantine: quarantine(config),
        posture: posture(config),
    };
    settings.quarantine.settle_ms = settings.change_ms_max() + CLOCKS_APART_MS_MAX;
    settings
}

fn quarantine(config: &Config) -> QuarantineSettings {
    let (quarantine, organization, default) = (&config.quarantine, &config.organization, QuarantineSettings::default());
    let by_unit = quarantine.approvals_by_unit.iter().map(|(unit, count)| (Arc::from(unit.as_str()), *count));
    let scp = scp_settings_of(config);
    let spared = [&scp.break_glass_roles, &scp.responder_roles, &scp.own_roles];
    QuarantineSettings {
        enabled: quarantine.enabled,
        mode: quarantine.mode,
        units: texts(&quarantine.units),
        sessions_min: config.threshold.sessions as usize,
        window_ms: seconds(config.threshold.window_seconds),
        principals_min: config.threshold.principals_min as usize,
        access_principals_min: quarantine.access_principals_min as usize,
        tier_max: quarantine.tier_max,
        duration_ms: seconds(quarantine.duration_seconds),
        exempt: organization.exempt_accounts.iter().chain(&organization.log_archive_account).copied().collect(),
        exempt_units: texts(&quarantine.exempt_units),
        // Events name a role without its path.
        exempt_roles: spared
            .into_iter()
            .flatten()
            .map(|role| role.rsplit('/').next().map_or_else(|| Arc::clone(role), Arc::from))
            .collect(),
        concurrent_max: quarantine.concurrent_max as usize,
        hourly_max: quarantine.hourly_max as usize,
        share_percent_max: quarantine.share_max_percent as usize,
        breaker_accounts: quarantine.breaker_accounts as usize,
        breaker_ms: seconds(quarantine.breaker_seconds),
        wait_ms_max: seconds(quarantine.wait_seconds_max),
        approvals: quarantine.approvals,
        approvals_by_unit: by_unit.collect(),
        maintenance: quarantine.maintenance.clone(),
        ..default
    }
}

fn posture(config: &Config) -> PostureSettings {
    let sessions = &config.sessions;
    PostureSettings {
        preferences: config.preferences.clone(),
        log_archive_account: config.organization.log_archive_account,
        log_bytes_min: config.logs.bytes_min,
        stream_grace_ms: ms(config.logs.stream_grace_ms),
        stream_gap_ms_max: ms(config.logs.stream_gap_ms_max),
        node_tags: sessions.node_tags.iter().map(|(key, values)| (Arc::from(key.as_str()), texts(values))).collect(),
        third_party_roles: texts(&sessions.third_party_roles),
        third_party_tag: sessions.third_party_tag.as_str().into(),
        run_as_roles: texts(&sessions.run_as_roles),
        run_as_users: texts(&sessions.run_as_users),
        reason_units: texts(&sessions.reason_units),
    }
}

fn own_names(config: &Config) -> Vec<Arc<str>> {
    let wanted = &config.preferences;
    // Events name a key by its ARN or by its id alone.
    let key_id = wanted.kms_key.as_deref().and_then(|key| key.rsplit_once(":key/")).map(|(_, id)| Arc::from(id));
    let mut names: Vec<Arc<str>> = texts(&config.organization.own_names);
    let wanted = [wanted.s3_bucket.clone(), wanted.log_group.clone(), wanted.kms_key.clone(), key_id];
    // An empty name, which wants that there is none, would fit events that name nothing.
    names.extend(wanted.into_iter().flatten().filter(|name| !name.is_empty()));
    names
}

fn texts<'a, C: FromIterator<Arc<str>>>(values: impl IntoIterator<Item = &'a String>) -> C {
    values.into_iter().map(|value| Arc::from(value.as_str())).collect()
}

fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds(value: u64) -> i64 {
    ms(value.saturating_mul(1_000))
}
