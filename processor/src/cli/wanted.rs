//! `sessionwarden wanted`: the file that says what the guardrail's things are to be like.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::{Args as ClapArgs, Subcommand, builder::PossibleValuesParser};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use sessionwarden_machine::{
    ids::AccountId,
    incident::Restore,
    wanted::{PLACES, State, Wanted, WantedThing, differences},
};

use super::{FAILED, Failure, Format, OK, control};
use crate::{
    aws::AwsOrganization,
    config::{BackendKind, Config},
    ports::CallError,
};

/// Say what the guardrail's things are to be like, and see which are not.
///
/// A thing that was changed is put back as the file under `[incidents] wanted` says. Backend "aws" only.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write down what a thing is like now: look at it before you keep it.
    Take(Take),
    /// Compare every thing in the file with what it is like now; exit code 1 where one differs or cannot be seen.
    Check(Check),
}

#[derive(Debug, ClapArgs)]
struct Take {
    /// What kind of thing.
    #[arg(value_parser = PossibleValuesParser::new(Restore::ALL.map(Restore::as_str)))]
    kind: String,
    /// Its name, id or ARN, as CloudTrail writes it; the path of a service setting.
    name: String,
    /// The account it is in, twelve digits.
    #[arg(long)]
    account: AccountId,
    /// The region it is in; of IAM and the organisation us-east-1, where CloudTrail has their events.
    #[arg(long)]
    region: String,
    /// What it is like holds in every account and region; `{account}` and `{region}` are put where those stand.
    #[arg(long)]
    everywhere: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct Check {
    /// The account to look in for what holds in every account.
    #[arg(long)]
    account: Option<AccountId>,
    /// The region to look in for what holds in every region.
    #[arg(long)]
    region: Option<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    match &args.command {
        Command::Take(args) => runtime.block_on(Box::pin(take(args))),
        Command::Check(args) => runtime.block_on(Box::pin(check(args))),
    }
}

/// The file's content; nothing where none is named or there is none yet.
pub(super) fn read(file: Option<&Path>) -> Result<Wanted, Failure> {
    let Some(file) = file else { return Ok(Wanted::default()) };
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    Wanted::parse(&text.map_err(Failure::usage)?).with_context(|| file.display().to_string()).map_err(Failure::usage)
}

fn file(config: &Config) -> Result<&Path, Failure> {
    let none = || Failure::usage(anyhow!("no file of wanted states is named: set `wanted` under [incidents]"));
    config.incidents.wanted.as_deref().ok_or_else(none)
}

/// The configuration, which has to name an organisation on AWS.
fn configured(file: Option<&PathBuf>) -> Result<Config, Failure> {
    let config = super::config(file)?;
    if config.backend.kind == BackendKind::Aws {
        return Ok(config);
    }
    Err(Failure::usage(anyhow!("there is no organisation to look at: set kind = \"aws\" under [backend]")))
}

async fn take(args: &Take) -> Result<u8, Failure> {
    let mut config = configured(args.config.as_ref())?;
    let kind = Restore::ALL.into_iter().find(|kind| kind.as_str() == args.kind);
    let kind = kind.ok_or_else(|| Failure::usage(anyhow!("there is no kind {}", args.kind)))?;
    let path = file(&config)?.to_owned();
    let mut wanted = match path.try_exists() {
        Ok(false) => Wanted::default(),
        _ => read(Some(&path))?,
    };
    // It need not be there yet.
    config.incidents.wanted = None;
    let hands = super::fleet::connect(&config).await?;
    let found = hands.state_of(args.account, &args.region, kind, &args.name).await;
    let found = found.with_context(|| format!("the {} {} cannot be read", args.kind, args.name));
    let state = found.map_err(Failure::failed)?;
    let state = state.ok_or_else(|| Failure::failed(anyhow!("there is no {} {}", args.kind, args.name)))?;
    let thing = thing(args, kind, state)?;
    eprintln!("{thing}: {}", thing.state.keys().map(|part| &**part).collect::<Vec<_>>().join(", "));
    super::write_result(&(serde_json::to_string_pretty(&thing).map_err(Failure::failed)? + "\n"))?;
    wanted.put(thing);
    replace(&path, &wanted.text())
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(Failure::failed)?;
    Ok(OK)
}

fn thing(args: &Take, kind: Restore, state: State) -> Result<WantedThing, Failure> {
    if !args.everywhere {
        let (account, region) = (Some(args.account), Some(Arc::from(args.region.as_str())));
        return Ok(WantedThing { kind, account, region, name: args.name.as_str().into(), state });
    }
    let [of_account, of_region] = PLACES;
    let account = args.account.to_string();
    let held = |text: &str| text.replace(&account, of_account).replace(&args.region, of_region);
    let state = serde_json::to_string(&state).map_err(Failure::failed)?;
    let state = serde_json::from_str(&held(&state)).map_err(Failure::failed)?;
    Ok(WantedThing { kind, account: None, region: None, name: held(&args.name).into(), state })
}

/// Whoever reads it sees the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

/// How one thing stands.
enum Stands {
    AsWanted,
    Differs(Vec<Arc<str>>),
    Gone,
    Unseen(CallError),
}

async fn check(args: &Check) -> Result<u8, Failure> {
    let config = configured(args.config.as_ref())?;
    let wanted = read(Some(file(&config)?))?;
    let hands = super::fleet::connect(&config).await?;
    let mut rows = Vec::new();
    for thing in wanted.things() {
        let account = thing.account.or(args.account).unwrap_or_else(|| hands.own_account());
        let region = thing.region.as_deref().or(args.region.as_deref()).unwrap_or_else(|| hands.own_region());
        rows.push((thing, account, region.to_owned(), stands(&hands, &wanted, thing, account, region).await));
    }
    let objects: Vec<Value> = rows
        .iter()
        .map(|(thing, account, region, stands)| {
            json!({ "kind": thing.kind, "name": thing.name_in(*account, region), "account": account, "region": region,
                "result": stands.name(), "parts": stands.parts() })
        })
        .collect();
    let text = || {
        let mut table = control::table(&["thing", "name", "account", "region", "result"]);
        for (thing, account, region, stands) in &rows {
            table.add_row([
                Cell::new(thing.kind.as_str()),
                Cell::new(thing.name_in(*account, region)),
                Cell::new(account),
                Cell::new(region),
                stands.cell(),
            ]);
        }
        format!("{table}\n")
    };
    control::print(args.format, text, &json!({ "things": objects }))?;
    Ok(if rows.iter().all(|(.., stands)| matches!(stands, Stands::AsWanted)) { OK } else { FAILED })
}

async fn stands(
    hands: &AwsOrganization,
    wanted: &Wanted,
    thing: &WantedThing,
    account: AccountId,
    region: &str,
) -> Stands {
    let name = thing.name_in(account, region);
    match hands.state_of(account, region, thing.kind, &name).await {
        Ok(Some(have)) => {
            let differ = differences(thing.kind, &wanted.state(thing.kind, account, region, &name), &have);
            if differ.is_empty() { Stands::AsWanted } else { Stands::Differs(differ) }
        }
        Ok(None) => Stands::Gone,
        Err(error) => Stands::Unseen(error),
    }
}

impl Stands {
    fn name(&self) -> &'static str {
        match self {
            Self::AsWanted => "as-wanted",
            Self::Differs(_) => "differs",
            Self::Gone => "gone",
            Self::Unseen(_) => "unseen",
        }
    }

    fn parts(&self) -> &[Arc<str>] {
        if let Self::Differs(parts) = self { parts } else { &[] }
    }

    fn cell(&self) -> Cell {
        match self {
            Self::AsWanted => Cell::new("as wanted").fg(Color::Green),
            Self::Differs(parts) => Cell::new(format!("differs: {}", parts.join(", "))).fg(Color::Red),
            Self::Gone => Cell::new("does not exist").fg(Color::Red),
            Self::Unseen(error) => Cell::new(format!("cannot be seen: {error}")).fg(Color::Yellow),
        }
    }
}
