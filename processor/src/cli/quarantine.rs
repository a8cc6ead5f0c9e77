//! `sessionwarden quarantine`.

use anyhow::anyhow;
use clap::{Args as ClapArgs, Subcommand};
use comfy_table::{Cell, CellAlignment, Color};
use serde_json::{Value, json};
use sessionwarden_machine::{
    account::{Act, Decision, Episode, EpisodePhase},
    effect::Order,
    ids::AccountId,
    register::Register,
};

use super::{
    Failure,
    control::{self, Whom, at, facts, table},
};
use crate::control::{AccountView, ControlReply, ControlRequest};

/// See which accounts are locked or to be locked, and decide about it.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every account whose window was full, and what came of it.
    List {
        #[command(flatten)]
        whom: Whom,
    },
    /// Show one account's latest episode, with its reasons.
    Show {
        /// The account, twelve digits.
        account: AccountId,
        #[command(flatten)]
        whom: Whom,
    },
    /// Approve a lock that waits for people, or a higher tier that does.
    Approve(Decide),
    /// Refuse a lock that is not granted yet.
    Deny(Decide),
    /// End a lock before its time.
    Release(Decide),
}

#[derive(Debug, ClapArgs)]
struct Decide {
    /// The account, twelve digits.
    account: AccountId,
    /// Why; stands in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::List { whom } => list(whom),
        Command::Show { account, whom } => show(*account, whom),
        Command::Approve(decide) => order(Order::Approve, decide),
        Command::Deny(decide) => order(Order::Deny, decide),
        Command::Release(decide) => order(Order::Release, decide),
    }
}

fn all(whom: &Whom) -> Result<(Vec<AccountView>, Register), Failure> {
    match control::ask(whom, ControlRequest::Accounts)?.reply {
        ControlReply::Accounts(accounts, register) => Ok((accounts, *register)),
        _ => Err(Failure::failed(anyhow!("the service answered another question"))),
    }
}

fn list(whom: &Whom) -> Result<u8, Failure> {
    let (mut accounts, register) = all(whom)?;
    accounts.sort_by_key(|view| std::cmp::Reverse(view.account.episode.as_ref().map(|episode| episode.decided_at)));
    let rows: Vec<Value> = accounts.iter().map(object).collect();
    let text = || {
        if accounts.is_empty() {
            return "No account's window was ever full.\n".to_owned();
        }
        let mut table = table(&["account", "#", "phase", "tier", "sessions", "principals", "since", "until", "why"]);
        for (view, episode) in accounts.iter().filter_map(|it| Some((it, it.account.episode.as_ref()?))) {
            let right = |number: usize| Cell::new(number).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(view.account.account),
                right(episode.number as usize),
                phase_cell(view.phase),
                Cell::new(episode.tier.as_str()),
                right(episode.sessions),
                right(episode.principals.len()),
                Cell::new(episode.crossed_at),
                Cell::new(at(view.until)),
                Cell::new(why(episode)),
            ]);
        }
        let breaker = register
            .opened_at
            .map(|at| format!("The circuit breaker is open since {}: each lock needs a person.\n", at.as_event_time()));
        format!("{table}\n{}", breaker.unwrap_or_default())
    };
    control::print(whom.format, text, &json!({ "accounts": rows, "breaker_open_since": at(register.opened_at) }))
}

fn show(account: AccountId, whom: &Whom) -> Result<u8, Failure> {
    let (accounts, _) = all(whom)?;
    let found = accounts.into_iter().find(|known| known.account.account == account);
    let found = found.ok_or_else(|| Failure::failed(anyhow!("the window of account {account} was never full")))?;
    print_one(&found, whom)
}

fn print_one(view: &AccountView, whom: &Whom) -> Result<u8, Failure> {
    let text = || match &view.account.episode {
        Some(episode) => format!("{}\n", facts(rows(view, episode))),
        None => String::new(),
    };
    control::print(whom.format, text, &object(view))
}

fn order(order: Order, decide: &Decide) -> Result<u8, Failure> {
    let subject = format!("account#{}", decide.account);
    let request = ControlRequest::Order { order, subject, reason: decide.reason.clone() };
    match control::ask(&decide.whom, request)?.reply {
        ControlReply::Account(view) => print_one(&view, &decide.whom),
        _ => Err(Failure::failed(anyhow!("the service answered another question"))),
    }
}

/// Why it stands where it stands, in few words.
fn why(episode: &Episode) -> String {
    match (&episode.decision, &episode.failure, &episode.waits_for) {
        (Decision::Refused(rule), ..) => rule.to_string(),
        (_, Some(failure), _) => failure.to_string(),
        (_, _, Some(rule)) => format!("waits: {rule}"),
        _ if !episode.approved() => format!("{} of {} approvals", episode.approvals.len(), episode.approvals_needed),
        _ => String::new(),
    }
}

fn phase_cell(phase: EpisodePhase) -> Cell {
    let cell = Cell::new(phase.as_str());
    match phase {
        EpisodePhase::Enforced | EpisodePhase::Sweeping | EpisodePhase::Attaching => cell.fg(Color::Red),
        EpisodePhase::Escalated | EpisodePhase::Drifted => cell.fg(Color::Magenta),
        EpisodePhase::Proposed | EpisodePhase::Approved | EpisodePhase::Releasing => cell.fg(Color::Yellow),
        EpisodePhase::Observed | EpisodePhase::Refused | EpisodePhase::Released => cell,
    }
}

fn rows(view: &AccountView, episode: &Episode) -> Vec<(&'static str, String)> {
    let listed = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join("\n");
    let act = |act: &Act| format!("{} at {} {}", act.who, act.at.as_event_time(), act.reason).trim_end().to_owned();
    let raise = episode.raise.map(|tier| format!("; {} once a person approves", tier.as_str())).unwrap_or_default();
    vec![
        ("account", view.account.account.to_string()),
        ("episode", episode.number.to_string()),
        ("phase", view.phase.as_str().to_owned()),
        ("tier", format!("{}{raise}", episode.tier.as_str())),
        ("why", why(episode)),
        ("window was full", episode.crossed_at.to_string()),
        (
            "sessions",
            format!("{}\n{}", episode.sessions, listed(&mut episode.named.iter().map(|it| it.id.to_string()))),
        ),
        ("principals", listed(&mut episode.principals.iter().map(ToString::to_string))),
        ("controls", listed(&mut episode.controls.iter().map(ToString::to_string))),
        ("approvals", listed(&mut episode.approvals.iter().map(act))),
        ("denied", episode.denied.as_ref().map(act).unwrap_or_default()),
        ("granted", at(episode.granted_at)),
        ("attached", at(episode.locked_at)),
        ("bites since", at(episode.bites_at)),
        ("sweeps", format!("{}, the last {} clean", episode.sweeps, episode.clean_passes)),
        ("ended by sweeps", listed(&mut episode.swept.iter().map(|it| it.id.to_string()))),
        ("changed by others", if episode.drifts > 0 { format!("{} times", episode.drifts) } else { String::new() }),
        ("until", at(view.until)),
        ("release asked", episode.release.as_ref().map(act).unwrap_or_default()),
        ("detached", at(episode.detached_at)),
        ("released", at(episode.released_at)),
    ]
}

fn object(view: &AccountView) -> Value {
    let AccountView { account, phase, until } = view;
    let why = account.episode.as_ref().map(why);
    json!({ "account": account.account, "phase": phase, "until": at(*until), "why": why, "episode": account.episode })
}
