//! Policies, tests and explanations as people and programs read them.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use sessionwarden_machine::{
    compliance::{Control, EvidenceKind, Judge, Tri, Waiver},
    effect::{Response, Severity},
    ids::EventTime,
};

use crate::policy::{
    cases::{Expected, Failed, Tested},
    explain::{ControlVerdict, EvidenceKnown, Explanation, Said},
};

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
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

fn response(control: &Control) -> String {
    let name = match control.response {
        Response::Report => "report",
        Response::Incident => "incident",
        Response::Terminate => "terminate",
    };
    if control.quarantine { format!("{name}, counts") } else { name.to_owned() }
}

fn joined<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

fn excused<'j>(judge: &'j Judge, waiver: &'j Waiver) -> impl Iterator<Item = &'j str> {
    waiver.controls.iter().map(|control| &*judge.control(*control).id)
}

/// Controls and waivers as tables.
pub(super) fn policies(judge: &Judge, cases: usize, now: EventTime) -> String {
    let mut controls = table(&["control", "severity", "response", "evidence", "requirements", "what it means"]);
    for control in judge.controls() {
        controls.add_row([
            Cell::new(&control.id),
            severity(control.severity),
            Cell::new(response(control)),
            Cell::new(joined(control.evidence.iter().map(|kind| kind.as_str()))),
            Cell::new(joined(&control.requirements)),
            Cell::new(&control.title),
        ]);
    }
    let mut out = format!("{controls}\n");
    if !judge.waivers().is_empty() {
        let mut waivers = table(&["waiver", "excuses", "expires", "owner", "ticket"]);
        for waiver in judge.waivers() {
            let expires = if waiver.valid_at(now) {
                Cell::new(waiver.expires)
            } else {
                Cell::new(format!("{} (expired)", waiver.expires)).fg(Color::Red)
            };
            waivers.add_row([
                Cell::new(&waiver.id),
                Cell::new(joined(excused(judge, waiver))),
                expires,
                Cell::new(&waiver.owner),
                Cell::new(&waiver.ticket),
            ]);
        }
        let _ = writeln!(out, "\nWaivers\n{waivers}");
    }
    let (controls, waivers) = (judge.controls().len(), judge.waivers().len());
    let _ = writeln!(out, "\npolicy {}: {controls} controls, {waivers} waivers, {cases} cases", judge.policy_hash());
    out
}

/// Controls and waivers for programs.
pub(super) fn policies_json(judge: &Judge, cases: usize, now: EventTime) -> Value {
    let controls = judge.controls().iter().map(|control| {
        json!({
            "id": control.id, "title": control.title, "severity": control.severity, "response": control.response,
            "quarantine": control.quarantine, "evidence": control.evidence, "requirements": control.requirements,
            "techniques": control.techniques, "session": control.session, "event": control.event,
            "file": control.file, "line": control.line,
        })
    });
    let waivers = judge.waivers().iter().map(|waiver| {
        json!({
            "id": waiver.id, "controls": excused(judge, waiver).collect::<Vec<_>>(), "owner": waiver.owner,
            "ticket": waiver.ticket, "expires": waiver.expires.to_string(), "expired": !waiver.valid_at(now),
            "file": waiver.file, "line": waiver.line,
        })
    });
    json!({
        "policy": judge.policy_hash(), "controls": controls.collect::<Vec<_>>(),
        "waivers": waivers.collect::<Vec<_>>(), "cases": cases, "mistakes": [],
    })
}

/// Failed cases as a table, and which controls lack cases.
pub(super) fn tested(tested: &Tested) -> String {
    let mut out = String::new();
    if !tested.failed.is_empty() {
        let mut failed = table(&["failed case", "expected", "found"]);
        for case in &tested.failed {
            let place = format!("{}\n{}:{}", case.name, case.file, case.line);
            failed.add_row([
                Cell::new(place),
                Cell::new(wanted(case)),
                Cell::new(expected(&case.found)).fg(Color::Red),
            ]);
        }
        let _ = writeln!(out, "{failed}\n");
    }
    let _ = writeln!(out, "{} cases, {} failed", tested.cases, tested.failed.len());
    let _ = writeln!(out, "{} of {} controls have cases on both sides", tested.both_sides, tested.controls);
    for control in &tested.one_sided {
        let lacks = match (control.no_violation, control.no_clear) {
            (true, true) => "no case is about it",
            (true, false) => "no case violates it",
            (false, _) => "no case names it under `clear`",
        };
        let _ = writeln!(out, "  {}: {lacks}", control.control);
    }
    out
}

fn wanted(case: &Failed) -> String {
    let wanted = expected(&case.expected);
    if case.clear.is_empty() { wanted } else { format!("{wanted}\nclear {}", case.clear.join(", ")) }
}

fn expected(expected: &Expected) -> String {
    let lines = [("violated", &expected.violated), ("undecided", &expected.undecided), ("waived", &expected.waived)];
    let lines: Vec<String> = lines
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(name, ids)| format!("{name} {}", joined(ids)))
        .collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

/// One explanation for people.
pub(super) fn explanation(explained: &Explanation) -> String {
    let mut out = format!("{}\n", explained.subject);
    let width = explained.known.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in &explained.known {
        let _ = writeln!(out, "  {name:<width$}  {value}");
    }
    let mut verdicts = table(&["control", "severity", "verdict", "why", "what it means"]);
    let is_clear = |control: &&ControlVerdict| control.verdict == Said::Clear;
    for control in explained.controls.iter().filter(|control| !is_clear(control)) {
        let (verdict, why) = said(&control.verdict);
        verdicts.add_row([
            Cell::new(&control.id),
            severity(control.severity),
            verdict,
            Cell::new(why),
            Cell::new(&control.title),
        ]);
    }
    if verdicts.row_count() > 0 {
        let _ = writeln!(out, "\n{verdicts}");
    }
    let clear = joined(explained.controls.iter().filter(is_clear).map(|control| &*control.id));
    let _ = writeln!(out, "\nClear: {}", if clear.is_empty() { "none" } else { &clear });
    if !explained.evidence.is_empty() {
        let _ = writeln!(out, "\n{}", evidence(&explained.evidence));
    }
    for kept in &explained.kept {
        let _ = writeln!(
            out,
            "\nKept: {} violated since {} under policy {}: {}",
            kept.id, kept.since, kept.policy, kept.title
        );
    }
    let _ = writeln!(out, "\npolicy {}", explained.policy);
    out
}

fn said(said: &Said) -> (Cell, String) {
    match said {
        Said::Violated { since, event } => {
            let by = event.as_ref().map(|event| format!(" by event {event}")).unwrap_or_default();
            (Cell::new("violated").fg(Color::Red), format!("since {since}{by}"))
        }
        Said::Undecided { needs } if needs.is_empty() => {
            (Cell::new("undecided").fg(Color::Yellow), "it cannot be evaluated".to_owned())
        }
        Said::Undecided { needs } => (Cell::new("undecided").fg(Color::Yellow), format!("needs {}", needs.join(", "))),
        Said::Waived { waiver, until } => (Cell::new("waived"), format!("by {waiver} until {until}")),
        Said::Clear => (Cell::new("clear"), String::new()),
    }
}

fn evidence(rows: &[EvidenceKnown]) -> Table {
    let mut table = table(&["evidence", "value", "answered at", "source", "reason"]);
    for row in rows {
        let value = match row.value {
            Tri::Yes => Cell::new("yes").fg(Color::Green),
            Tri::No => Cell::new("no").fg(Color::Red),
            Tri::Unknown => Cell::new("unknown").fg(Color::Yellow),
        };
        let at = row.told_at.as_ref().or(row.answered_at.as_ref());
        table.add_row([
            Cell::new(EvidenceKind::as_str(row.kind)),
            value,
            Cell::new(at.map_or("", String::as_str)),
            Cell::new(row.source.as_deref().unwrap_or_default()),
            Cell::new(row.reason.as_deref().unwrap_or_default()),
        ]);
    }
    table
}
