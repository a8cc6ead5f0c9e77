//! `sessionwarden incidents`.

use anyhow::anyhow;
use clap::{Args as ClapArgs, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use sessionwarden_machine::{
    account::Act,
    effect::{Order, Severity},
    ids::Now,
    incident::{Incident, IncidentPhase},
    settings::Settings,
};

use super::{
    Failure,
    control::{self, Answered, Whom, facts, table},
};
use crate::{
    control::{ControlReply, ControlRequest},
    run::now,
};

/// See what somebody has to look at, and say what became of it.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show incidents, the worst first.
    List {
        /// Those that are resolved as well.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Show one incident with its evidence.
    Show {
        /// Its id, or a beginning of it that no other has.
        id: String,
        #[command(flatten)]
        whom: Whom,
    },
    /// Say that somebody looks at it: people are not told again.
    Ack(Decide),
    /// Say that it is over, and why.
    Resolve(Decide),
}

#[derive(Debug, ClapArgs)]
struct Decide {
    /// Its id, or a beginning of it that no other has.
    id: String,
    /// Why; stands in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::List { all, whom } => list(*all, whom),
        Command::Show { id, whom } => {
            let (found, settings) = one(id, whom)?;
            print_one(&found, &settings, whom)
        }
        Command::Ack(decide) => order(Order::Acknowledge, decide),
        Command::Resolve(decide) => order(Order::Resolve, decide),
    }
}

fn known(whom: &Whom) -> Result<(Vec<Incident>, Settings), Failure> {
    let Answered { reply, settings } = control::ask(whom, ControlRequest::Incidents)?;
    match reply {
        ControlReply::Incidents(incidents) => Ok((incidents, settings)),
        _ => Err(Failure::failed(anyhow!("the service answered another question"))),
    }
}

fn one(id: &str, whom: &Whom) -> Result<(Incident, Settings), Failure> {
    let (incidents, settings) = known(whom)?;
    let mut found: Vec<Incident> = incidents.into_iter().filter(|known| known.cause.starts_with(id)).collect();
    if let Some(exact) = found.iter().position(|known| &*known.cause == id) {
        return Ok((found.swap_remove(exact), settings));
    }
    match found.len() {
        1 => Ok((found.remove(0), settings)),
        0 => Err(Failure::failed(anyhow!("there is no incident {id}"))),
        many => Err(Failure::failed(anyhow!("{many} incidents begin with {id}; write more of it"))),
    }
}

fn list(all: bool, whom: &Whom) -> Result<u8, Failure> {
    let (mut incidents, settings) = known(whom)?;
    let now = now();
    incidents.retain(|one| all || one.phase(now, &settings) != IncidentPhase::Resolved);
    incidents.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.first.at, one.cause.clone()));
    let rows: Vec<Value> = incidents.iter().map(|one| object(one, now, &settings)).collect();
    let text = || {
        if incidents.is_empty() {
            return "No incident is open.\n".to_owned();
        }
        let mut table = table(&["severity", "state", "account", "opened", "what", "id"]);
        for one in &incidents {
            table.add_row([
                severity_cell(one.severity),
                Cell::new(one.phase(now, &settings).as_str()),
                Cell::new(one.account),
                Cell::new(one.first.at),
                Cell::new(&one.title),
                Cell::new(&one.cause),
            ]);
        }
        format!("{table}\n")
    };
    control::print(whom.format, text, &json!({ "incidents": rows }))
}

fn order(order: Order, decide: &Decide) -> Result<u8, Failure> {
    let (found, _) = one(&decide.id, &decide.whom)?;
    let subject = format!("incident#{}", found.cause);
    let request = ControlRequest::Order { order, subject, reason: decide.reason.clone() };
    let Answered { reply, settings } = control::ask(&decide.whom, request)?;
    match reply {
        ControlReply::Incident(incident) => print_one(&incident, &settings, &decide.whom),
        _ => Err(Failure::failed(anyhow!("the service answered another question"))),
    }
}

fn print_one(incident: &Incident, settings: &Settings, whom: &Whom) -> Result<u8, Failure> {
    let now = now();
    let text = || format!("{}\n", facts(rows(incident, now, settings)));
    control::print(whom.format, text, &object(incident, now, settings))
}

fn severity_cell(severity: Severity) -> Cell {
    match severity {
        Severity::Critical => Cell::new("critical").fg(Color::Red),
        Severity::High => Cell::new("high").fg(Color::Magenta),
        Severity::Medium => Cell::new("medium").fg(Color::Yellow),
        Severity::Low => Cell::new("low"),
        Severity::Info => Cell::new("info"),
    }
}

fn rows(incident: &Incident, now: Now, settings: &Settings) -> Vec<(&'static str, String)> {
    let act = |act: &Act| format!("{} at {} {}", act.who, act.at.as_event_time(), act.reason).trim_end().to_owned();
    let note = incident.note();
    let evidence = note.evidence.iter().map(|it| format!("{}: {} ({}, {})", it.name, it.value, it.source, it.at));
    let over = incident.resolved.as_ref().map(|over| match &over.by {
        Some(by) => act(by),
        None => format!("its cause was gone at {}", over.at.as_event_time()),
    });
    vec![
        ("id", incident.cause.to_string()),
        ("what", incident.title.to_string()),
        ("control or cause", incident.control.to_string()),
        ("severity", format!("{:?}", incident.severity).to_lowercase()),
        ("state", incident.phase(now, settings).as_str().to_owned()),
        ("account", incident.account.to_string()),
        ("region", incident.region.to_string()),
        ("session", incident.session.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("on", incident.target.to_string()),
        ("by", incident.first.principal.arn.to_string()),
        ("opened", incident.first.at.to_string()),
        ("evidence", evidence.collect::<Vec<_>>().join("\n")),
        ("acknowledged", incident.acknowledged.as_ref().map(act).unwrap_or_default()),
        ("resolved", over.unwrap_or_default()),
    ]
}

fn object(incident: &Incident, now: Now, settings: &Settings) -> Value {
    let phase = incident.phase(now, settings);
    json!({
        "id": incident.cause, "state": phase, "note": incident.note(), "acknowledged": incident.acknowledged,
        "resolved": incident.resolved,
    })
}
