//! How each section is read.

use sessionwarden_machine::effect::Mode;

use super::{
    Audit, Aws, Backend, BackendKind, Config, Console, Feed, Incidents, LogFormat, Logs, Organization, Policy,
    Quarantine, Recheck, Scp, Service, Sessions, Telemetry, Threshold, check, posture, reader::Reader, routes,
};

impl Config {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let kinds = [("local", BackendKind::Local), ("aws", BackendKind::Aws)];
        let kind = reader.section("backend").word("kind", &kinds, BackendKind::Local);
        Self {
            service: Service::read(reader),
            backend: Backend { kind },
            aws: Aws::read(reader, kind),
            policy: Policy {
                dir: reader.section("policy").path("dir"),
                waivers_dir: reader.section("policy").path("waivers_dir"),
            },
            organization: Organization::read(reader),
            recheck: Recheck::read(reader),
            preferences: posture::preferences(reader),
            sessions: Sessions::read(reader),
            logs: Logs::read(reader),
            threshold: Threshold::read(reader),
            quarantine: Quarantine::read(reader),
            incidents: Incidents::read(reader),
            scp: Scp::read(reader),
            feed: Feed {
                file: reader.section("feed").path("file"),
                activity: reader.section("feed").flag("activity").unwrap_or(Feed::default().activity),
            },
            audit: Audit::read(reader),
            console: Console {
                listen: reader.section("console").text("listen", check::address).unwrap_or(Console::default().listen),
            },
            telemetry: Telemetry::read(reader),
            routes: routes::read(reader, kind),
        }
    }
}

impl Service {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("service");
        Self {
            mode: section.word("mode", &[("observe", Mode::Observe), ("enforce", Mode::Enforce)], default.mode),
            data_dir: section.path("data_dir").unwrap_or(default.data_dir),
            drain_seconds_max: section.whole("drain_seconds_max", 1..=300).unwrap_or(default.drain_seconds_max),
        }
    }
}

impl Audit {
    fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("audit");
        Self {
            file: section.path("file"),
            bucket: section.text("bucket", check::bucket).filter(|bucket| !bucket.is_empty()),
            prefix: section.text("prefix", check::key_prefix).unwrap_or(Self::default().prefix),
        }
    }
}

impl Organization {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("organization");
        Self {
            management_account: section.text("management_account", check::account),
            log_archive_account: section.text("log_archive_account", check::account),
            exempt_accounts: section.list("exempt_accounts", check::account).unwrap_or_default(),
            allowed_regions: section.list("allowed_regions", check::region).unwrap_or_default(),
            own_names: section.list("own_names", check::not_empty).unwrap_or(default.own_names),
            units: section.map("units", |account, unit| Ok((check::account(account)?, check::not_empty(unit)?))),
        }
    }
}

impl Recheck {
    fn read(reader: &mut Reader<'_>) -> Self {
        const RANGE: std::ops::RangeInclusive<u64> = 100..=86_400_000;
        let default = Self::default();
        let mut section = reader.section("recheck");
        let recheck = Self {
            period_ms: section.whole("period_ms", RANGE).unwrap_or(default.period_ms),
            period_ms_max: section.whole("period_ms_max", RANGE).unwrap_or(default.period_ms_max),
            rest_ms_max: section.whole("rest_ms_max", RANGE).unwrap_or(default.rest_ms_max),
            call_ms_max: section.whole("call_ms_max", 100..=60_000).unwrap_or(default.call_ms_max),
            log_first_look_ms: section.whole("log_first_look_ms", RANGE).unwrap_or(default.log_first_look_ms),
            log_wait_ms_max: section.whole("log_wait_ms_max", RANGE).unwrap_or(default.log_wait_ms_max),
            evidence_unknown_ms_max: section
                .whole("evidence_unknown_ms_max", RANGE)
                .unwrap_or(default.evidence_unknown_ms_max),
            terminate_confirm_ms_max: section
                .whole("terminate_confirm_ms_max", RANGE)
                .unwrap_or(default.terminate_confirm_ms_max),
        };
        section.check_order(
            ("period_ms", recheck.period_ms),
            ("period_ms_max", recheck.period_ms_max),
            "evidence that cannot be had is not asked for more often than other evidence",
        );
        section.check_order(
            ("log_first_look_ms", recheck.log_first_look_ms),
            ("log_wait_ms_max", recheck.log_wait_ms_max),
            "a log must be looked for before it can be missing",
        );
        recheck
    }
}

impl Threshold {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("threshold");
        Self {
            sessions: section.whole("sessions", 1..=1_000).unwrap_or(default.sessions),
            window_seconds: section.whole("window_seconds", 1..=86_400).unwrap_or(default.window_seconds),
            principals_min: section.whole("principals_min", 1..=1_000).unwrap_or(default.principals_min),
        }
    }
}

impl Incidents {
    fn read(reader: &mut Reader<'_>) -> Self {
        const RANGE: std::ops::RangeInclusive<u64> = 60..=604_800;
        let default = Self::default();
        let mut section = reader.section("incidents");
        let critical = section.whole("escalate_critical_seconds", RANGE);
        let high = section.whole("escalate_high_seconds", RANGE);
        Self {
            escalate_critical_seconds: critical.unwrap_or(default.escalate_critical_seconds),
            escalate_high_seconds: high.unwrap_or(default.escalate_high_seconds),
            restore: section.list("restore", check::restore).unwrap_or_default(),
            wanted: section.path("wanted"),
        }
    }
}

impl Telemetry {
    fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("telemetry");
        Self {
            otlp_endpoint: section.text("otlp_endpoint", check::endpoint),
            log_format: section.word(
                "log_format",
                &[("human", LogFormat::Human), ("json", LogFormat::Json)],
                default.log_format,
            ),
            log_level: section.text("log_level", check::log_level).unwrap_or(default.log_level),
        }
    }
}
