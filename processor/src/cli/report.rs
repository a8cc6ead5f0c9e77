//! Results for people.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use sessionwarden_machine::{compliance::Judge, effect::Severity};

use crate::replay::Summary;

/// The summary as tables.
pub(super) fn human(summary: &Summary, judge: &Judge) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", totals(summary));
    if !summary.sessions.by_control.is_empty() {
        let _ = writeln!(out, "\nViolating sessions by control\n{}", controls(summary, judge));
    }
    if !summary.incidents_by_cause.is_empty() {
        let _ = writeln!(out, "\nIncidents by cause\n{}", incidents(summary, judge));
    }
    if !summary.accounts.crossed.is_empty() {
        let _ = writeln!(out, "\nAccounts over the threshold\n{}", accounts(summary));
    }
    if !summary.not_evaluated.is_empty() {
        let _ = writeln!(out, "\nNot evaluated, because only an organisation could give the evidence:");
        for (control, needs) in &summary.not_evaluated {
            let _ = writeln!(out, "  {control} needs {}", needs.join(", "));
        }
    }
    let mib = summary.peak_rss_bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(out, "\npolicy {}, {:.2} CPU seconds, {mib:.0} MiB", summary.policy, summary.cpu_seconds);
    out
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    if !header.is_empty() {
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    }
    table
}

fn number(value: u64) -> Cell {
    let digits = value.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    Cell::new(shown).set_alignment(CellAlignment::Right)
}

fn alarming(value: u64, color: Color) -> Cell {
    if value > 0 { number(value).fg(color).add_attribute(Attribute::Bold) } else { number(value) }
}

fn totals(summary: &Summary) -> Table {
    let (events, sessions) = (&summary.events, &summary.sessions);
    let mut table = table(&[]);
    let name = |text: &str| Cell::new(text);
    table.add_row([name("events read"), number(events.read), name("sessions seen"), number(sessions.seen)]);
    table.add_row([name("  relevant"), number(events.relevant), name("  open"), number(sessions.open)]);
    table.add_row([
        name("  ignored"),
        number(events.ignored),
        name("  violating"),
        alarming(sessions.violating, Color::Red),
    ]);
    table.add_row([name("  duplicate"), number(events.duplicate), name("  waived"), number(sessions.waived)]);
    table.add_row([
        name("  not readable"),
        alarming(events.poison, Color::Yellow),
        name("refused session calls"),
        number(summary.refused_calls),
    ]);
    table.add_row([
        name("incidents"),
        alarming(summary.incidents, Color::Yellow),
        name("accounts over the threshold"),
        alarming(summary.accounts.over_threshold, Color::Red),
    ]);
    table
}

fn severity(severity: Severity) -> Cell {
    match severity {
        Severity::Critical => Cell::new("critical").fg(Color::Red).add_attribute(Attribute::Bold),
        Severity::High => Cell::new("high").fg(Color::Red),
        Severity::Medium => Cell::new("medium").fg(Color::Yellow),
        Severity::Low => Cell::new("low"),
        Severity::Info => Cell::new("info"),
    }
}

fn controls(summary: &Summary, judge: &Judge) -> Table {
    let mut table = table(&["control", "severity", "sessions", "what it means"]);
    for (id, sessions) in &summary.sessions.by_control {
        if let Some(control) = judge.controls().iter().find(|control| &*control.id == id.as_str()) {
            table.add_row([Cell::new(id), severity(control.severity), number(*sessions), Cell::new(&control.title)]);
        }
    }
    table
}

fn incidents(summary: &Summary, judge: &Judge) -> Table {
    let mut table = table(&["cause", "severity", "incidents", "what it means"]);
    for (id, incidents) in &summary.incidents_by_cause {
        let control = judge.controls().iter().find(|control| &*control.id == id.as_str());
        let (shown, meaning) = match (control, id.as_str()) {
            (Some(control), _) => (severity(control.severity), &*control.title),
            (None, "log-missing") => (severity(Severity::High), "A session ended, and its log did not arrive"),
            (None, "termination-unconfirmed") => {
                (severity(Severity::Critical), "A session was to be ended and stayed alive")
            }
            (None, "evidence-unknown") => (severity(Severity::Medium), "Evidence could not be had for too long"),
            (None, _) => (Cell::new(""), "A control of another policy"),
        };
        table.add_row([Cell::new(id), shown, number(*incidents), Cell::new(meaning)]);
    }
    table
}

fn accounts(summary: &Summary) -> Table {
    let mut table = table(&["account", "first full at", "sessions", "principals", "in enforce mode"]);
    for (account, crossed) in &summary.accounts.crossed {
        table.add_row([
            Cell::new(account),
            Cell::new(&crossed.at),
            number(crossed.sessions as u64),
            number(crossed.principals as u64),
            Cell::new(&crossed.decision),
        ]);
    }
    table
}
