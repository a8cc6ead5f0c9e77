//! Policy files and settings, from the configuration to what the core takes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessionwarden_machine::{
    compliance::{Judge, PolicyErrors, PolicyRole, PolicySource, shipped_sources},
    settings::{QuarantineSettings, Settings},
};

use crate::config::Config;

/// Why the policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyLoadError {
    /// A file or folder cannot be read.
    #[error("cannot read policy {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder holds no policy.
    #[error("no policy file (*.cedar) in {0}")]
    Empty(PathBuf),
    /// Files, but no control in them: everything would pass.
    #[error("no control in the policy files of {0}; nothing could ever violate it")]
    NoControl(PathBuf),
    /// Mistakes in the files, all of them.
    #[error("{0}")]
    Mistakes(PolicyErrors),
}

/// Loads the policy: the files of `dir`, or the shipped controls without one; `waivers_dir` adds waivers.
///
/// In `dir`, files in a folder named `waivers` hold waivers, all other `*.cedar` files hold controls.
pub fn load(dir: Option<&Path>, waivers_dir: Option<&Path>) -> Result<Arc<Judge>, PolicyLoadError> {
    let mut sources = Vec::new();
    match dir {
        None => sources.extend(shipped_sources()),
        Some(dir) => {
            read_folder(dir, PolicyRole::Controls, &mut sources)?;
            if sources.is_empty() {
                return Err(PolicyLoadError::Empty(dir.to_owned()));
            }
        }
    }
    if let Some(dir) = waivers_dir {
        read_folder(dir, PolicyRole::Waivers, &mut sources)?;
    }
    let judge = Judge::load(&sources).map_err(PolicyLoadError::Mistakes)?;
    match dir {
        Some(dir) if judge.controls().is_empty() => Err(PolicyLoadError::NoControl(dir.to_owned())),
        Some(_) | None => Ok(Arc::new(judge)),
    }
}

fn read_folder(dir: &Path, role: PolicyRole, sources: &mut Vec<PolicySource>) -> Result<(), PolicyLoadError> {
    let failed = |source| PolicyLoadError::Read { path: dir.to_owned(), source };
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            let waivers = path.file_name().is_some_and(|name| name == "waivers");
            read_folder(&path, if waivers { PolicyRole::Waivers } else { role }, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "cedar") {
            let text =
                fs::read_to_string(&path).map_err(|source| PolicyLoadError::Read { path: path.clone(), source })?;
            sources.push(PolicySource { file: path.display().to_string(), text, role });
        }
    }
    Ok(())
}

/// The core's settings, as the configuration gives them.
pub fn settings_of(config: &Config) -> Settings {
    let defaults = Settings::default();
    let ms = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let seconds = |value: u64| ms(value.saturating_mul(1_000));
    fn texts(values: &[String]) -> impl Iterator<Item = Arc<str>> {
        values.iter().map(|value| Arc::from(value.as_str()))
    }
    let organization = &config.organization;
    let own = [&organization.own_names, &organization.log_buckets, &organization.log_keys];
    Settings {
        mode: config.service.mode,
        organization: true,
        activity: config.feed.activity,
        recheck_ms: ms(config.recheck.period_ms),
        settle_ms: defaults.settle_ms.min(ms(config.recheck.period_ms)),
        log_first_look_ms: ms(config.recheck.log_first_look_ms),
        log_wait_ms_max: ms(config.recheck.log_wait_ms_max),
        evidence_unknown_ms_max: ms(config.recheck.evidence_unknown_ms_max),
        terminate_confirm_ms_max: ms(config.recheck.terminate_confirm_ms_max),
        allowed_regions: texts(&organization.allowed_regions).collect(),
        management_account: organization.management_account,
        units: organization.units.iter().map(|(account, unit)| (*account, Arc::from(unit.as_str()))).collect(),
        own_names: own.into_iter().flat_map(|names| texts(names)).collect(),
        quarantine: QuarantineSettings {
            enabled: config.quarantine.enabled,
            sessions_min: config.threshold.sessions as usize,
            window_ms: seconds(config.threshold.window_seconds),
            principals_min: config.threshold.principals_min as usize,
            duration_ms: seconds(config.quarantine.duration_seconds),
            exempt: organization.exempt_accounts.iter().chain(&organization.log_archive_account).copied().collect(),
            concurrent_max: config.quarantine.concurrent_max as usize,
            hourly_max: config.quarantine.hourly_max as usize,
            share_percent_max: config.quarantine.share_max_percent as usize,
        },
    }
}
