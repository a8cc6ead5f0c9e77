//! The console: health, metrics and status over HTTP, and the terminal view.

#[path = "console/http.rs"]
mod http;
#[path = "console/metrics.rs"]
mod metrics;
#[path = "console/terminal.rs"]
mod terminal;

use std::sync::Arc;

use sessionwarden::console::{Counts, Happening, HappeningKind, LiveSession, Status, Verdict};
use sessionwarden_machine::{
    effect::Mode,
    ids::{AccountId, Now, SessionKey},
};

fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

fn session(number: u64, verdict: Verdict, controls: &[&str]) -> LiveSession {
    LiveSession {
        key: SessionKey {
            account: account(210_987_654_300 + number),
            region: "eu-central-1".into(),
            id: format!("alice-0a1b2c3d4e5f6{number:04}").into(),
        },
        principal: "developer/alice".into(),
        target: format!("i-0123456789abc{number:04}").into(),
        document: "SSM-SessionManagerRunShell".into(),
        age_ms: 61_000 * number,
        verdict,
        controls: controls.iter().map(|control| Arc::from(*control)).collect(),
    }
}

/// A service in the middle of its work.
fn busy() -> Status {
    let mut status = Status {
        now: Now(1_722_514_758_000),
        uptime_ms: 3_723_000,
        mode: Mode::Enforce,
        source: "demonstration".into(),
        counts: Counts {
            records_read: 1_234_567,
            records_relevant: 12_345,
            records_ignored: 1_222_200,
            records_duplicate: 21,
            records_poison: 1,
            sessions_live: 12,
            sessions_seen: 480,
            sessions_open: 13,
            sessions_violating: 31,
            sessions_awaiting_log: 4,
            sessions_verified: 431,
            terminations: 30,
            incidents_open: 2,
        },
        lag_ms: 1_250,
        oldest_overdue_ms: 0,
        sessions: vec![
            session(1, Verdict::Terminating, &["port-forwarding"]),
            session(2, Verdict::Violating, &["log-writable", "region"]),
            session(3, Verdict::Unknown, &[]),
            session(4, Verdict::Pending, &[]),
            session(5, Verdict::Compliant, &[]),
        ],
        quarantined: vec![account(210_987_654_321)],
        ..Status::default()
    };
    let happenings = [
        (HappeningKind::Started, "developer/alice on i-0123456789abc0005"),
        (HappeningKind::Changed, "role warden-node lost the session log bucket"),
        (HappeningKind::Violated, "port-forwarding is not allowed"),
        (HappeningKind::Terminated, "ended 1.2 s after the evidence"),
        (HappeningKind::Incident, "a log never came"),
        (HappeningKind::Quarantined, "10 sessions ended within 300 s"),
        (HappeningKind::Verified, "the log is in the archive"),
    ];
    for (at, (kind, text)) in happenings.into_iter().enumerate() {
        let mut happening = Happening::new(Now(1_722_514_750_000 + at as i64 * 1_000), kind, text);
        happening.account = Some(account(210_987_654_321));
        happening.session = Some("alice-0a1b2c3d4e5f60001".into());
        status.note(happening);
    }
    for rate in [0, 100, 900, 2_000, 1_500, 700, 400, 1_200] {
        status.note_rate(rate);
    }
    status
}
