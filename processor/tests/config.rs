//! The configuration: what is accepted, and how mistakes are told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sessionwarden::config::{Config, ConfigErrors, LogFormat, Place};
use sessionwarden_machine::effect::Mode;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/sessionwarden.example.toml")
}

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessionwarden.toml");
    fs::write(&file, toml).unwrap();
    Config::load(Some(&file), pairs(env))
}

fn pairs(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

/// The errors as text, with the file's folder left out.
fn told(errors: &ConfigErrors) -> String {
    let lines = errors.0.iter().map(|error| {
        let place = match &error.place {
            Place::File { path, line, column } => {
                format!("{}:{line}:{column}", path.file_name().unwrap().to_string_lossy())
            }
            other => other.to_string(),
        };
        let hint = error.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
        format!("{place}: {}{hint}", error.problem)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_file_is_the_default() {
    assert_eq!(Config::load(Some(&example()), std::iter::empty()).unwrap(), Config::default());
    assert_eq!(Config::load(None, std::iter::empty()).unwrap(), Config::default());
}

#[test]
fn the_example_file_names_every_key() {
    let text = fs::read_to_string(example()).unwrap();
    for key in Config::keys() {
        let (section, key) = key.split_once('.').unwrap();
        let start = text.find(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("section {section}"));
        let rest = &text[start + 1..];
        let end = rest.find("\n\n[").filter(|_| section != "organization").unwrap_or(rest.len());
        let found = rest[..end].lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} = ")) || line == format!("[{section}.{key}]")
        });
        assert!(found, "{section}.{key} is not in the example file");
    }
}

#[test]
fn every_value_of_the_example_is_read() {
    let text = fs::read_to_string(example()).unwrap();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").unwrap();
        let wrong = if value.starts_with(['"', '[']) { "7" } else { "\"x\"" };
        let broken = text.replacen(line, &format!("{key} = {wrong}"), 1);
        let errors = load(&broken, &[]).expect_err(line);
        let place = errors.0[0].place.to_string();
        assert!(place.contains(&format!(":{}:", at + 1)), "{line}: {errors}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = load(
        "[service]\nmode = \"observe\"\n[recheck]\nperiod_ms = 5_000\n[organization.units]\n\"123456789012\" = \"prod\"\n",
        &[
            ("SESSIONWARDEN_SERVICE__MODE", "enforce"),
            ("SESSIONWARDEN_ORGANIZATION__EXEMPT_ACCOUNTS", "111111111111, 000000000022"),
            ("SESSIONWARDEN_QUARANTINE__ENABLED", "false"),
            ("SESSIONWARDEN_TELEMETRY__LOG_FORMAT", "json"),
            ("SESSIONWARDEN_TELEMETRY__OTLP_ENDPOINT", "https://collector.example:4318/"),
            ("SESSIONWARDEN_SERVICE_HOST", "10.0.0.1"),
            ("HOME", "/home/warden"),
        ],
    )
    .unwrap();
    assert_eq!(config.service.mode, Mode::Enforce);
    assert_eq!(config.recheck.period_ms, 5_000);
    let exempt: Vec<String> = config.organization.exempt_accounts.iter().map(ToString::to_string).collect();
    assert_eq!(exempt, ["111111111111", "000000000022"]);
    assert_eq!(config.organization.units[&"123456789012".parse().unwrap()], "prod");
    assert!(!config.quarantine.enabled);
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("https://collector.example:4318"));

    let units = [("SESSIONWARDEN_ORGANIZATION__UNITS", "123456789012=prod,210987654321=dev")];
    assert_eq!(load("", &units).unwrap().organization.units.len(), 2);
}

#[test]
fn files_follow_the_data_folder() {
    let config =
        load("[service]\ndata_dir = \"/srv/warden\"\n[audit]\nfile = \"/var/log/audit.jsonl\"\n", &[]).unwrap();
    assert_eq!(config.feed_file(), Path::new("/srv/warden/feed.ocsf.jsonl"));
    assert_eq!(config.audit_file(), Path::new("/var/log/audit.jsonl"));
}

#[test]
fn all_mistakes_are_told_at_once_with_place_and_suggestion() {
    let toml = r#"
sessions = 3
[threshold]
windw_seconds = 60
sessions = "ten"
period_ms = 4
[quarantin]
enabled = true
[quarantine]
share_max_percent = 101
enabled = 1
[backend]
kind = "aws"
[organization]
exempt_accounts = ["111111111111", "12"]
management_account = 123456789012
allowed_regions = ["eu-central-1", "Frankfurt"]
[organization.units]
"1234" = "prod"
"123456789012" = ""
[console]
listen = "localhost"
[recheck]
log_first_look_ms = 1_000_000
period_ms = -1
[telemetry]
log_level = "inof"
otlp_endpoint = "https://user:hunter2@collector.example"
"#;
    let env = [
        ("SESSIONWARDEN_SERVICE__MOD", "enforce"),
        ("SESSIONWARDEN_SERVICE__MODE", "enforced"),
        ("SESSIONWARDEN_RECHECK_PERIOD_MS", "1"),
        ("SESSIONWARDEN_SERVICE__DRAIN_SECONDS_MAX", "soon"),
        ("SESSIONWARDEN_ORGANIZATION__LOG_KEYS", ""),
    ];
    let told = told(&load(toml, &env).unwrap_err());
    assert!(!told.contains("hunter2"));
    insta::assert_snapshot!(told, @r#"
    sessionwarden.toml:2:1: unknown section or key `sessions` (`sessions` belongs under `[threshold]`)
    sessionwarden.toml:4:1: unknown key `threshold.windw_seconds` (did you mean `window_seconds`?)
    sessionwarden.toml:5:12: `threshold.sessions` is a string, but must be a whole number
    sessionwarden.toml:6:1: unknown key `threshold.period_ms` (`period_ms` belongs under `[recheck]`)
    sessionwarden.toml:7:2: unknown section or key `quarantin` (did you mean `quarantine`?)
    sessionwarden.toml:10:21: `quarantine.share_max_percent` is 101, but must be between 1 and 100
    sessionwarden.toml:11:11: `quarantine.enabled` is an integer, but must be true or false
    sessionwarden.toml:13:8: `backend.kind` is "aws", but must be "local"
    sessionwarden.toml:15:36: `organization.exempt_accounts` has "12", but an account id is twelve digits
    sessionwarden.toml:16:22: `organization.management_account` is an integer, but must be a string (write it in quotes)
    sessionwarden.toml:17:36: `organization.allowed_regions` has "Frankfurt", which is not a region's name (a region is written like `eu-central-1`)
    sessionwarden.toml:19:1: `organization.units` has "1234", but an account id is twelve digits
    sessionwarden.toml:20:1: `organization.units` has an empty text
    sessionwarden.toml:22:10: `console.listen` is "localhost", which is not an address (write an IP address and a port, for example `127.0.0.1:7878`)
    sessionwarden.toml:24:21: `recheck.log_wait_ms_max` (900000) is below `recheck.log_first_look_ms` (1000000) (a log must be looked for before it can be missing)
    sessionwarden.toml:25:13: `recheck.period_ms` is -1, but must be between 100 and 86400000
    sessionwarden.toml:27:13: `telemetry.log_level` has "inof", but a level is off, error, warn, info, debug, trace (did you mean `info`?)
    sessionwarden.toml:28:17: `telemetry.otlp_endpoint` must not hold credentials, a query or a fragment (set headers in the variable OTEL_EXPORTER_OTLP_HEADERS)
    environment variable SESSIONWARDEN_RECHECK_PERIOD_MS: is not a setting (section and key are joined by two underscores: `SESSIONWARDEN_RECHECK__PERIOD_MS`)
    environment variable SESSIONWARDEN_SERVICE__DRAIN_SECONDS_MAX: `service.drain_seconds_max` is not a whole number: `soon`
    environment variable SESSIONWARDEN_SERVICE__MOD: is not a setting (did you mean `SESSIONWARDEN_SERVICE__MODE`?)
    environment variable SESSIONWARDEN_SERVICE__MODE: `service.mode` is "enforced", but must be "observe" or "enforce" (did you mean `enforce`?)
    "#);
}

#[test]
fn syntax_errors_do_not_hide_the_rest() {
    let told =
        told(&load("[service]\nmode = \n[threshold]\nsesions = 1\nsessions = 1\nsessions = 2\n", &[]).unwrap_err());
    insta::assert_snapshot!(told, @r#"
    sessionwarden.toml:2:8: string values must be quoted, expected literal string
    sessionwarden.toml:4:1: unknown key `threshold.sesions` (did you mean `sessions`?)
    sessionwarden.toml:6:1: duplicate key
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Config::load(Some(Path::new("no-such-file.toml")), std::iter::empty()).unwrap_err();
    assert!(missing.to_string().starts_with("no-such-file.toml: cannot be read: "), "{missing}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("latin1.toml");
    fs::write(&file, b"[service]\nmode = \"\xff\"\n").unwrap();
    let errors = Config::load(Some(&file), std::iter::empty()).unwrap_err();
    assert_eq!(told(&errors), "latin1.toml:2:9: is not UTF-8 text");

    let large = dir.path().join("large.toml");
    fs::write(&large, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    let errors = Config::load(Some(&large), std::iter::empty()).unwrap_err();
    assert!(errors.to_string().contains("is larger than 1048576 bytes"), "{errors}");
}
