//! The configuration: what is accepted, and how mistakes are told.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessionwarden::{
    config::{Config, ConfigErrors, LogFormat, Place, ROUTES_MAX, scp_settings_of, settings_of},
    outbound::{DeskLimits, Destination, Kind, Route, SecretRef, TRIES_MAX},
};
use sessionwarden_machine::{
    document::WantedPreferences,
    effect::{Mode, Severity},
    ids::ThingKind,
    scp::{Guarded, ScpSettings},
    settings::{PostureSettings, Settings},
};

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
        let own = format!("[{section}.");
        let end = rest.match_indices("\n[").find(|(at, _)| !rest[at + 1..].starts_with(&own));
        let end = end.map_or(rest.len(), |(at, _)| at);
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
        let changed = format!("{key} = {wrong}");
        let broken = text.lines().enumerate().map(|(number, line)| if number == at { &changed } else { line });
        let broken = broken.collect::<Vec<_>>().join("\n");
        let errors = load(&broken, &[]).expect_err(line);
        let place = errors.0[0].place.to_string();
        assert!(place.contains(&format!(":{}:", at + 1)), "{line}: {errors}");
    }
}

#[test]
fn what_the_example_leaves_out_can_be_set_as_it_says() {
    let text = fs::read_to_string(example()).unwrap();
    let settings = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => setting,
        _ => line,
    });
    let config = load(&settings.collect::<Vec<_>>().join("\n"), &[]).unwrap();
    let WantedPreferences {
        s3_bucket,
        s3_prefix,
        s3_encryption,
        log_group,
        log_group_encryption,
        streaming,
        kms_key,
        run_as,
        run_as_user,
        idle_minutes_max,
        max_minutes_max,
        shell_linux,
        shell_windows,
        hashes,
    } = &config.preferences;
    let texts = [s3_bucket, s3_prefix, log_group, kms_key, run_as_user, shell_linux, shell_windows];
    assert!(texts.iter().all(|text| text.is_some()), "{texts:?}");
    assert_eq!([s3_encryption, log_group_encryption, streaming, run_as], [&Some(true); 4]);
    assert_eq!((*idle_minutes_max, *max_minutes_max, hashes.len()), (Some(20), Some(60), 1));
    assert_eq!(config.sessions.node_tags["Stage"], ["prod", "test"].map(str::to_owned).into());
}

#[test]
fn the_core_gets_what_was_configured() {
    assert_eq!(settings_of(&Config::default()), Settings::default());

    let toml = r#"
        [organization]
        log_archive_account = "222222222222"
        [recheck]
        period_ms = 1_000
        period_ms_max = 2_000
        call_ms_max = 300
        [preferences]
        s3_bucket = "logs"
        s3_prefix = "{account}"
        streaming = false
        idle_minutes_max = 60
        [sessions]
        third_party_roles = ["Party*"]
        third_party_tag = "Party"
        run_as_roles = ["Ops"]
        run_as_users = ["ops"]
        reason_units = ["*"]
        [sessions.node_tags]
        Stage = ["prod", "test", "prod"]
        Team = [""]
        [logs]
        bytes_min = 7
        stream_grace_ms = 8_000
        stream_gap_ms_max = 9_000
    "#;
    let settings = settings_of(&load(toml, &[]).unwrap());
    assert_eq!((settings.recheck_ms, settings.recheck_ms_max, settings.call_ms_max), (1_000, 2_000, 300));
    assert_eq!(
        settings.posture,
        PostureSettings {
            preferences: WantedPreferences {
                s3_bucket: Some("logs".into()),
                s3_prefix: Some("{account}".into()),
                streaming: Some(false),
                idle_minutes_max: Some(60),
                ..WantedPreferences::default()
            },
            log_archive_account: Some("222222222222".parse().unwrap()),
            log_bytes_min: 7,
            stream_grace_ms: 8_000,
            stream_gap_ms_max: 9_000,
            node_tags: [("Stage".into(), ["prod".into(), "test".into()].into()), ("Team".into(), ["".into()].into()),]
                .into(),
            third_party_roles: vec!["Party*".into()],
            third_party_tag: "Party".into(),
            run_as_roles: vec!["Ops".into()],
            run_as_users: ["ops".into()].into(),
            reason_units: ["*".into()].into(),
        }
    );
    let tags = [("SESSIONWARDEN_SESSIONS__NODE_TAGS", "Stage=prod, Team=,Stage=test")];
    assert_eq!(settings_of(&load("", &tags).unwrap()).posture.node_tags, settings.posture.node_tags);
}

#[test]
fn what_the_preferences_name_is_the_guardrails_own() {
    let key = "11111111-2222-3333-4444-555555555555";
    let toml = format!(
        r#"
        [preferences]
        s3_bucket = "logs"
        log_group = "/session-logs"
        kms_key = "arn:aws:kms:eu-central-1:222222222222:key/{key}"
        "#
    );
    let settings = settings_of(&load(&toml, &[]).unwrap());
    // TH22, TH23, TH24
    for (kind, id) in [
        (ThingKind::Key, key),
        (ThingKind::Key, &format!("arn:aws:kms:eu-central-1:222222222222:key/{key}")),
        (ThingKind::Bucket, "logs"),
        (ThingKind::LogGroup, "/session-logs"),
        (ThingKind::Rule, "sessionwarden-watch"),
    ] {
        assert!(settings.owns(kind, id), "{id}");
        assert_eq!(Settings::default().owns(kind, id), kind == ThingKind::Rule, "{id}");
    }
    for (kind, id) in [(ThingKind::Key, "other"), (ThingKind::Bucket, "logs-2"), (ThingKind::LogGroup, "")] {
        assert!(!settings.owns(kind, id), "{id}");
    }

    let none = settings_of(&load("[preferences]\ns3_bucket = \"\"\nlog_group = \"\"\n", &[]).unwrap());
    assert_eq!(none.posture.preferences.s3_bucket.as_deref(), Some(""));
    assert!(!none.owns(ThingKind::Bucket, ""));
}

#[test]
fn service_control_policies_spare_and_guard_what_was_configured() {
    assert_eq!(scp_settings_of(&Config::default()), ScpSettings::default());

    let toml = r#"
        [organization]
        own_names = ["guard-*"]
        [preferences]
        s3_bucket = "logs"
        log_group = "/session-logs"
        kms_key = "arn:aws:kms:eu-central-1:222222222222:key/11111111-2222"
        [aws]
        role = "guard/sessionwarden"
        [scp]
        partition = "aws-cn"
        break_glass_roles = ["aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_BreakGlass_*"]
        responder_roles = ["Responder"]
        own_roles = ["warden"]
        deployer_roles = []
        session_documents = ["SSM-SessionManagerRunShell", "AWS-StartSSHSession"]
        [scp.names]
        trail = ["organization-trail", "other-trail"]
        bucket = ["archive"]
    "#;
    let settings = scp_settings_of(&load(toml, &[]).unwrap());
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<BTreeSet<Arc<str>>>();
    assert_eq!(&*settings.partition, "aws-cn");
    assert_eq!(settings.break_glass_roles, names(&["aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_BreakGlass_*"]));
    assert_eq!(settings.responder_roles, names(&["Responder"]));
    assert_eq!(settings.deployer_roles, names(&[]));
    assert_eq!(settings.own_roles, names(&["guard/sessionwarden", "warden"]));
    assert_eq!(settings.session_documents, names(&["AWS-StartSSHSession", "SSM-SessionManagerRunShell"]));
    for (kind, wanted) in [
        (Guarded::Topic, names(&["guard-*"])),
        (Guarded::Trail, names(&["organization-trail", "other-trail"])),
        (Guarded::Bucket, names(&["archive", "logs"])),
        (Guarded::LogGroup, names(&["/session-logs", "guard-*"])),
        (Guarded::Alias, names(&["guard-*"])),
        (Guarded::Key, names(&["11111111-2222"])),
    ] {
        assert_eq!(settings.names[&kind], wanted, "{kind}");
    }
    for (key, kind, name) in [
        ("alias/session/logs", Guarded::Alias, "session/logs"),
        ("arn:aws:kms:eu-central-1:222222222222:alias/logs", Guarded::Alias, "logs"),
        ("mrk-1234", Guarded::Key, "mrk-1234"),
    ] {
        let settings = scp_settings_of(&load(&format!("[preferences]\nkms_key = \"{key}\"\n"), &[]).unwrap());
        assert!(settings.names[&kind].contains(name), "{key}: {:?}", settings.names);
    }
    let none = scp_settings_of(&load("[preferences]\ns3_bucket = \"\"\nlog_group = \"\"\n", &[]).unwrap());
    assert_eq!(none, ScpSettings::default());
}

#[test]
fn what_cannot_stand_in_a_service_control_policy_is_told() {
    let toml = r#"
[scp]
partition = "AWS"
break_glass_roles = ["*", "arn:aws:iam::111111111111:role/x", "/guard/x"]
own_roles = "sessionwarden"
session_documents = ["arn:aws:ssm:::document/x"]
[scp.names]
trial = ["x-trail"]
topic = ["*a*"]
"#;
    insta::assert_snapshot!(told(&load(toml, &[]).unwrap_err()), @r#"
    sessionwarden.toml:3:13: `scp.partition` has "AWS", which is no partition such as aws, aws-cn or aws-us-gov
    sessionwarden.toml:4:22: `scp.break_glass_roles` has "*", which begins with a wildcard and would spare roles of any name
    sessionwarden.toml:4:27: `scp.break_glass_roles` has "arn:aws:iam::111111111111:role/x", which is no role's name; write the path and the name without ARN
    sessionwarden.toml:4:63: `scp.break_glass_roles` has "/guard/x", which has a slash too many; write the path and the name like guard/sessionwarden
    sessionwarden.toml:5:13: `scp.own_roles` is a string, but must be a list of strings
    sessionwarden.toml:6:22: `scp.session_documents` has "arn:aws:ssm:::document/x", which is no document's name; write the name alone, without ARN
    sessionwarden.toml:8:10: `scp.names` has "trial", but there are role, policy, document, topic, queue, table, stream, alarm, rule, trail, function, state-machine, stack, log-group, bucket, alias, key (did you mean `trail`?)
    sessionwarden.toml:9:10: `scp.names` has "*a*", which has fewer than three letters or digits, and would take in what is not the guardrail's
    "#);
    insta::assert_snapshot!(told(&load("[scp]\nsession_documents = []\n", &[]).unwrap_err()), @"sessionwarden.toml:2:21: `scp.session_documents` is empty, which would forbid every session (name `SSM-SessionManagerRunShell` at least)");
}

#[test]
fn preferences_that_cannot_be_meant_are_told() {
    let told_of = |toml: &str| told(&load(&format!("[preferences]\n{toml}"), &[]).unwrap_err());
    let wrong = [
        "s3_prefix = \"{account}\"",
        "s3_bucket = \"\"\ns3_prefix = \"{account}\"",
        "streaming = true",
        "log_group = \"\"\nstreaming = true",
        "run_as = false\nrun_as_user = \"ops\"",
        // R-W23
        "s3_bucket = \"logs\"\ns3_prefix = \"logs\"",
        "s3_bucket = \"logs\"\ns3_prefix = \"{account}/..\"",
        "s3_bucket = \"logs\"\ns3_prefix = \"{account}/{unit}\"",
        // What follows from a wrong bucket is not told too.
        "s3_bucket = \"s3://logs\"\ns3_prefix = \"{account}\"",
    ];
    insta::assert_snapshot!(wrong.map(told_of).join("\n"), @r#"
    sessionwarden.toml:2:13: `preferences.s3_prefix` is set, but `preferences.s3_bucket` names no bucket (set `s3_bucket` too)
    sessionwarden.toml:3:13: `preferences.s3_prefix` is set, but `preferences.s3_bucket` names no bucket (set `s3_bucket` too)
    sessionwarden.toml:2:13: `preferences.streaming` is true, but `preferences.log_group` names no log group (set `log_group` too)
    sessionwarden.toml:3:13: `preferences.streaming` is true, but `preferences.log_group` names no log group (set `log_group` too)
    sessionwarden.toml:3:15: `preferences.run_as_user` is set, but `preferences.run_as` is false (set `run_as = true`, or name no user)
    sessionwarden.toml:3:13: `preferences.s3_prefix` is "logs", which mixes the logs of all accounts (write where the account's number stands, for example `session-logs/{account}/{region}`)
    sessionwarden.toml:3:13: `preferences.s3_prefix` is "{account}/..", which is not a prefix (leave out `.`, `..` and control characters)
    sessionwarden.toml:3:13: `preferences.s3_prefix` is "{account}/{unit}", which has a placeholder of another name or a single brace (write `{account}` or `{region}`)
    sessionwarden.toml:2:13: `preferences.s3_bucket` is "s3://logs", which is not a bucket's name (write the bucket's name alone, without `s3://`, ARN and prefix)
    "#);
    let long = format!("s3_bucket = \"logs\"\ns3_prefix = \"{{account}}{}\"", "x".repeat(900));
    assert_eq!(told_of(&long), "sessionwarden.toml:3:13: `preferences.s3_prefix` has 909 bytes, more than 900");
    let profile = told_of(&format!("shell_linux = \"{}\"", "hunter2 ".repeat(9_000)));
    assert!(profile.contains("has 72000 bytes, more than the 65536 of a document"), "{profile}");
    assert!(!profile.contains("hunter2"));
}

#[test]
fn keys_are_given_as_aws_takes_them() {
    for (key, fits) in [
        ("1a2b3c4d", true),
        ("mrk-1234abcd12ab34cd56ef1234567890ab", true),
        ("alias/session/logs_1", true),
        ("arn:aws-cn:kms:cn-north-1:222222222222:alias/logs", true),
        ("arn:aws:kms:eu-central-1:222222222222:key/1a2b3c4d", true),
        ("", false),
        ("alias/", false),
        ("alias/*", false),
        ("key/1a2b3c4d", false),
        ("arn:aws:kms:eu-central-1:2222:key/1a2b3c4d", false),
        ("arn:aws:kms:eu-central-1:222222222222:1a2b3c4d", false),
        ("arn:aws:s3:::logs", false),
    ] {
        let read = load(&format!("[preferences]\nkms_key = \"{key}\"\n"), &[]);
        assert_eq!(read.is_ok(), fits, "{key}: {read:?}");
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
window_seconds = 3
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
kind = "cloud"
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
period_ms_max = 14_999
call_ms_max = 99
[preferences]
idle_minutes_max = 0
max_minutes_max = 1_441
streaming = "yes"
kms_key = "key/x"
run_as_user = "root"
log_group = "arn:aws:logs"
hashes = ["0123"]
[sessions]
third_party_roles = ["arn:aws:iam::111111111111:role/party"]
third_party_tag = ""
run_as_users = ["two users"]
reason_units = [""]
node_tag = {}
node_tags = { Stage = "prod", Team = [], Owner = ["a", 7], "" = ["x"] }
[logs]
bytes_min = 0
stream_grace_ms = 99
stream_gap_ms_max = 86_400_001
[telemetry]
log_level = "inof"
otlp_endpoint = "https://user:hunter2@collector.example"
"#;
    let env = [
        ("SESSIONWARDEN_SERVICE__MOD", "enforce"),
        ("SESSIONWARDEN_SERVICE__MODE", "enforced"),
        ("SESSIONWARDEN_RECHECK_PERIOD_MS", "1"),
        ("SESSIONWARDEN_SERVICE__DRAIN_SECONDS_MAX", "soon"),
        ("SESSIONWARDEN_PREFERENCES__S3_BUCKET", ""),
    ];
    let told = told(&load(toml, &env).unwrap_err());
    assert!(!told.contains("hunter2"));
    insta::assert_snapshot!(told, @r#"
    sessionwarden.toml:2:1: unknown section or key `window_seconds` (`window_seconds` belongs under `[threshold]`)
    sessionwarden.toml:4:1: unknown key `threshold.windw_seconds` (did you mean `window_seconds`?)
    sessionwarden.toml:5:12: `threshold.sessions` is a string, but must be a whole number
    sessionwarden.toml:6:1: unknown key `threshold.period_ms` (`period_ms` belongs under `[recheck]`)
    sessionwarden.toml:7:2: unknown section or key `quarantin` (did you mean `quarantine`?)
    sessionwarden.toml:10:21: `quarantine.share_max_percent` is 101, but must be between 1 and 100
    sessionwarden.toml:11:11: `quarantine.enabled` is an integer, but must be true or false
    sessionwarden.toml:13:8: `backend.kind` is "cloud", but must be "local" or "aws"
    sessionwarden.toml:15:36: `organization.exempt_accounts` has "12", but an account id is twelve digits
    sessionwarden.toml:16:22: `organization.management_account` is an integer, but must be a string (write it in quotes)
    sessionwarden.toml:17:36: `organization.allowed_regions` has "Frankfurt", which is not a region's name (a region is written like `eu-central-1`)
    sessionwarden.toml:19:1: `organization.units` has "1234", but an account id is twelve digits
    sessionwarden.toml:20:1: `organization.units` has an empty text
    sessionwarden.toml:22:10: `console.listen` is "localhost", which is not an address (write an IP address and a port, for example `127.0.0.1:7878`)
    sessionwarden.toml:24:21: `recheck.log_wait_ms_max` (900000) is below `recheck.log_first_look_ms` (1000000) (a log must be looked for before it can be missing)
    sessionwarden.toml:25:13: `recheck.period_ms` is -1, but must be between 100 and 86400000
    sessionwarden.toml:26:17: `recheck.period_ms_max` (14999) is below `recheck.period_ms` (15000) (evidence that cannot be had is not asked for more often than other evidence)
    sessionwarden.toml:27:15: `recheck.call_ms_max` is 99, but must be between 100 and 60000
    sessionwarden.toml:29:20: `preferences.idle_minutes_max` is 0, but must be between 1 and 60
    sessionwarden.toml:30:19: `preferences.max_minutes_max` is 1441, but must be between 1 and 1440
    sessionwarden.toml:31:13: `preferences.streaming` is a string, but must be true or false
    sessionwarden.toml:32:11: `preferences.kms_key` is "key/x", which is not a KMS key (write a key's id or ARN, or an alias as `alias/name` or ARN)
    sessionwarden.toml:33:15: `preferences.run_as_user` is "root" (name an unprivileged user: all sessions run as it whose principal has no tag `SSMSessionRunAs`)
    sessionwarden.toml:34:13: `preferences.log_group` is "arn:aws:logs", which is not a log group's name (write the log group's name alone, without ARN)
    sessionwarden.toml:35:11: `preferences.hashes` has "0123", but a document's hash is 32 hexadecimal digits
    sessionwarden.toml:37:22: `sessions.third_party_roles` has "arn:aws:iam::111111111111:role/party", which is not a role's name (write the role's name alone, without ARN and path; `*` stands for any characters)
    sessionwarden.toml:38:19: `sessions.third_party_tag` has "", but a tag's key has 1 to 128 characters
    sessionwarden.toml:39:17: `sessions.run_as_users` has "two users", which is not an operating system user
    sessionwarden.toml:40:17: `sessions.reason_units` has an empty text
    sessionwarden.toml:41:1: unknown key `sessions.node_tag` (did you mean `node_tags`?)
    sessionwarden.toml:42:23: `sessions.node_tags` has a string, but each value must be a list of strings (write it in brackets: `["one", "two"]`)
    sessionwarden.toml:42:38: `sessions.node_tags` has no value for "Team"
    sessionwarden.toml:42:56: `sessions.node_tags` is an integer, but must be a string (write it in quotes)
    sessionwarden.toml:42:66: `sessions.node_tags` has "", but a tag's key has 1 to 128 characters
    sessionwarden.toml:44:13: `logs.bytes_min` is 0, but must be between 1 and 1048576
    sessionwarden.toml:45:19: `logs.stream_grace_ms` is 99, but must be between 100 and 86400000
    sessionwarden.toml:46:21: `logs.stream_gap_ms_max` is 86400001, but must be between 100 and 86400000
    sessionwarden.toml:48:13: `telemetry.log_level` has "inof", but a level is off, error, warn, info, debug, trace (did you mean `info`?)
    sessionwarden.toml:49:17: `telemetry.otlp_endpoint` must not hold credentials, a query or a fragment (set headers in the variable OTEL_EXPORTER_OTLP_HEADERS)
    environment variable SESSIONWARDEN_RECHECK_PERIOD_MS: is not a setting (section and key are joined by two underscores: `SESSIONWARDEN_RECHECK__PERIOD_MS`)
    environment variable SESSIONWARDEN_SERVICE__DRAIN_SECONDS_MAX: `service.drain_seconds_max` is not a whole number: `soon`
    environment variable SESSIONWARDEN_SERVICE__MOD: is not a setting (did you mean `SESSIONWARDEN_SERVICE__MODE`?)
    environment variable SESSIONWARDEN_SERVICE__MODE: `service.mode` is "enforced", but must be "observe" or "enforce" (did you mean `enforce`?)
    "#);
}

const ROUTES: &str = r#"
[backend]
kind = "aws"
[aws]
stream = "events"
wake_queue = "https://sqs.eu-central-1.amazonaws.com/111111111111/wake-ups"
parked_queue = "https://sqs.eu-central-1.amazonaws.com/111111111111/parked"
role = "sessionwarden"
external_id = "an-id"
[routes.pager]
to = "webhook"
url = "https://hooks.example/sessionwarden"
secret = "env:PAGER_KEY"
severity_min = "high"
accounts = ["111111111111"]
units = ["prod", "pr*"]
controls = ["SW-ROLE-*"]
kinds = ["incident", "finding"]
burst = 3
refill_ms = 30_000
digest_ms = 120_000
tries_max = 4
[routes.bus]
to = "eventbridge"
bus = "arn:aws:events:eu-central-1:111111111111:event-bus/security"
[routes.topic]
to = "sns"
topic = "arn:aws:sns:eu-central-1:111111111111:security"
[routes.a-file]
to = "file"
path = "told.jsonl"
"#;

// R-G10, R-G11
#[test]
fn routes_are_read_by_name() {
    let config = load(ROUTES, &[]).unwrap();
    let texts = |texts: &[&str]| texts.iter().map(|text| std::sync::Arc::from(*text)).collect();
    let bus = "arn:aws:events:eu-central-1:111111111111:event-bus/security".to_owned();
    let topic = "arn:aws:sns:eu-central-1:111111111111:security".to_owned();
    let webhook = Destination::Webhook {
        url: "https://hooks.example/sessionwarden".to_owned(),
        secret: SecretRef::Environment("PAGER_KEY".to_owned()),
    };
    let pager = Route {
        name: "pager".into(),
        to: webhook,
        severity_min: Severity::High,
        accounts: ["111111111111".parse().unwrap()].into(),
        units: texts(&["prod", "pr*"]),
        controls: texts(&["SW-ROLE-*"]),
        kinds: [Kind::Finding, Kind::Incident].into(),
        limits: DeskLimits { burst: 3, refill_ms: 30_000, digest_ms: 120_000 },
        tries_max: 4,
    };
    let wanted = [
        Route::new("a-file", Destination::File { path: "told.jsonl".into() }),
        Route::new("bus", Destination::EventBridge { bus }),
        pager,
        Route::new("topic", Destination::Sns { topic }),
    ];
    assert_eq!(config.routes, wanted);
    assert_eq!((wanted[0].severity_min, wanted[0].tries_max), (Severity::Info, TRIES_MAX));
    assert_eq!(load("[routes]\n", &[]).unwrap().routes, []);
}

#[test]
fn routes_that_cannot_be_meant_are_told() {
    let toml = r#"
[routes]
loose = "file"
[routes.nowhere]
severity_min = "high"
[routes."two words"]
to = "file"
path = "f"
[routes.carrier]
to = "pigeon"
[routes.hook]
to = "webhook"
url = "http://hooks.example/hunter2"
secret = "hunter2"
severity_mn = "high"
accounts = ["12"]
kinds = ["findings"]
burst = 0
[routes.half]
to = "webhook"
secret = "file:/run/secrets/key"
[routes.mixed]
to = "file"
path = "f"
bus = "security"
[routes.bus]
to = "eventbridge"
bus = "arn:aws:events:eu-central-1:1111:event-bus/x"
[routes.topic]
to = "sns"
"#;
    let told = told(&load(toml, &[]).unwrap_err());
    assert!(!told.contains("hunter2"), "{told}");
    insta::assert_snapshot!(told, @r#"
    sessionwarden.toml:3:1: `routes.loose` is a string, but must be a section (write `[routes.NAME]`, with settings below it)
    sessionwarden.toml:4:9: `routes.nowhere.to` is missing; it is one of "sns", "eventbridge", "webhook", "file"
    sessionwarden.toml:6:9: `routes` has "two words", which is not a route's name (a name has 1 to 64 letters, digits, `-` and `_`)
    sessionwarden.toml:10:6: `routes.carrier.to` is "pigeon", but must be "sns" or "eventbridge" or "webhook" or "file"
    sessionwarden.toml:13:7: `routes.hook.url` must begin with https://: messages leave this machine (write it like `https://hooks.example/sessionwarden`; plain http:// goes to this machine only)
    sessionwarden.toml:14:10: `routes.hook.secret` does not say where a secret is (write `env:NAME` or `file:PATH`; the secret itself has no place in the configuration)
    sessionwarden.toml:15:1: unknown key `routes.hook.severity_mn` (did you mean `severity_min`?)
    sessionwarden.toml:16:13: `routes.hook.accounts` has "12", but an account id is twelve digits
    sessionwarden.toml:17:10: `routes.hook.kinds` has "findings", but a kind is "finding", "incident" or "remedy" (did you mean `finding`?)
    sessionwarden.toml:18:9: `routes.hook.burst` is 0, but must be between 1 and 10000
    sessionwarden.toml:19:9: `routes.half.url` is missing; it is where messages are sent
    sessionwarden.toml:25:7: `routes.mixed.bus` is set, but `to` is "file" (it belongs to "eventbridge")
    sessionwarden.toml:27:6: `routes.bus.to` is "eventbridge", which needs the backend "aws" (set `kind = "aws"` under `[backend]`)
    sessionwarden.toml:28:7: `routes.bus.bus` is "arn:aws:events:eu-central-1:1111:event-bus/x", which is not an event bus (write its name, or `arn:aws:events:eu-central-1:111111111111:event-bus/security`)
    sessionwarden.toml:29:9: `routes.topic.topic` is missing; it is the ARN of a topic
    sessionwarden.toml:30:6: `routes.topic.to` is "sns", which needs the backend "aws" (set `kind = "aws"` under `[backend]`)
    "#);
    let variable = load("", &[("SESSIONWARDEN_ROUTES__PAGER", "x")]).unwrap_err().to_string();
    assert!(variable.contains("SESSIONWARDEN_ROUTES__PAGER: is not a setting"), "{variable}");

    let one = |at| format!("[routes.r{at}]\nto = \"file\"\npath = \"f\"\n");
    let many = (0..=ROUTES_MAX).map(one).collect::<Vec<_>>().concat();
    assert!(load(&many, &[]).unwrap_err().to_string().contains("`routes` has more than 64 tables"));
}

/// Routes have names of their own, so that the example shows them as comments, indented.
#[test]
fn the_routes_of_the_example_are_read() {
    let text = fs::read_to_string(example()).unwrap();
    let shown: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    let base = ROUTES.split_once("[routes").unwrap().0;
    let config = load(&format!("{base}{}", shown.join("\n")), &[]).unwrap();
    let mut names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["archive", "pager", "security-bus", "security-topic"]);
    // Every key is shown.
    let pager = config.routes.iter().find(|route| &*route.name == "pager").unwrap();
    let plain = Route::new("pager", pager.to.clone());
    assert!(!pager.accounts.is_empty() && !pager.units.is_empty() && !pager.controls.is_empty());
    assert!(!pager.kinds.is_empty() && pager.severity_min > plain.severity_min);
    for key in ["burst", "refill_ms", "digest_ms", "tries_max"] {
        assert!(shown.iter().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
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
