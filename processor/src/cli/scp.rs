//! `sessionwarden scp`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use anyhow::anyhow;
use clap::{Args as ClapArgs, Subcommand, builder::PossibleValuesParser};
use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};
use sessionwarden_machine::scp::{QUOTA_CHARS, Scp, ScpError, ScpName, ScpSettings, render};

use super::{Failure, Format, OK, write_result};
use crate::config::scp_settings_of;

/// Whom the list's row of a policy for given principals is measured with: one session.
const SAMPLE_PRINCIPAL: &str = "assumed-role/ExampleAdministrator/ann@example.com";

/// Render service control policies.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the policies there are, and how much of the quota each takes.
    List(List),
    /// Print one policy as Organizations takes it: without white space, and nothing else on standard output.
    ///
    /// The size against the quota goes to standard error. For `create-policy` of the AWS CLI:
    /// --content "$(sessionwarden scp render protection)"
    Render(Render),
}

#[derive(Debug, ClapArgs)]
struct List {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, ClapArgs)]
struct Render {
    /// The policy.
    #[arg(value_parser = PossibleValuesParser::new(ScpName::ALL.map(ScpName::as_str)))]
    name: String,
    /// A user, a role or a session of a role that quarantine-principal holds for, by ARN; may be repeated.
    #[arg(long = "principal", value_name = "ARN")]
    principals: Vec<String>,
    /// Indent it for reading. It counts more characters then than are shown.
    #[arg(long)]
    pretty: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policy alone, or one JSON object with its text, hash and size.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Render(args) => print(args),
    }
}

fn settings(config: Option<&PathBuf>) -> Result<ScpSettings, Failure> {
    super::config(config).map(|config| scp_settings_of(&config))
}

fn print(args: &Render) -> Result<u8, Failure> {
    let name: ScpName = args.name.parse().map_err(Failure::usage)?;
    if !name.names_principals() && !args.principals.is_empty() {
        return Err(Failure::usage(anyhow!("{name} holds for whole accounts and takes no --principal")));
    }
    let principals = args.principals.iter().map(|arn| Arc::from(arn.as_str())).collect();
    let scp = render(name, &settings(args.config.as_ref())?, &principals).map_err(Failure::usage)?;
    let text = match args.format {
        Format::Human if args.pretty => pretty(&parsed(&scp)?)?,
        Format::Human => scp.text.clone(),
        Format::Json => {
            let object = json!({
                "name": name.as_str(), "hash": scp.hash, "chars": scp.chars, "quota_chars": QUOTA_CHARS,
                "policy": parsed(&scp)?, "text": scp.text,
            });
            if args.pretty { pretty(&object)? } else { object.to_string() }
        }
    };
    write_result(&(text + "\n"))?;
    eprintln!("{name}: {} of {QUOTA_CHARS} characters ({} %), sha256 {}", scp.chars, percent(scp.chars), scp.hash);
    Ok(OK)
}

fn parsed(scp: &Scp) -> Result<Value, Failure> {
    serde_json::from_str(&scp.text).map_err(Failure::failed)
}

fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(Failure::failed)
}

fn list(args: &List) -> Result<u8, Failure> {
    let settings = settings(args.config.as_ref())?;
    let rendered: BTreeMap<ScpName, Result<Scp, ScpError>> =
        ScpName::ALL.into_iter().map(|name| (name, render(name, &settings, &sample(name, &settings)))).collect();
    match args.format {
        Format::Human => write_result(&format!("{}\n", table(&rendered)))?,
        Format::Json => {
            let rows: Vec<Value> = rendered.iter().map(|(name, scp)| row(*name, scp)).collect();
            write_result(&format!("{}\n", json!({ "quota_chars": QUOTA_CHARS, "policies": rows })))?;
        }
    }
    let failed: Vec<String> = rendered.values().filter_map(|scp| scp.as_ref().err()).map(ToString::to_string).collect();
    if failed.is_empty() { Ok(OK) } else { Err(Failure::usage(anyhow!("{}", failed.join("\n")))) }
}

fn sample(name: ScpName, settings: &ScpSettings) -> BTreeSet<Arc<str>> {
    let arn = format!("arn:{}:sts::111111111111:{SAMPLE_PRINCIPAL}", settings.partition);
    name.names_principals().then(|| Arc::from(arn)).into_iter().collect()
}

fn table(rendered: &BTreeMap<ScpName, Result<Scp, ScpError>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let header = ["policy", "characters", "of the quota", "what for"];
    table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for (name, scp) in rendered {
        let [chars, share] = match scp {
            Ok(scp) => [scp.chars.to_string(), format!("{} %", percent(scp.chars))],
            Err(ScpError::TooLong { chars, .. }) => [chars.to_string(), "too long".to_owned()],
            Err(_) => [String::new(), "none".to_owned()],
        };
        let one = if name.names_principals() { " (measured with one)" } else { "" };
        table.add_row([Cell::new(name), right(chars), right(share), Cell::new(format!("{}{one}", name.purpose()))]);
    }
    table
}

fn row(name: ScpName, scp: &Result<Scp, ScpError>) -> Value {
    let (chars, hash, problem) = match scp {
        Ok(scp) => (Some(scp.chars), Some(&scp.hash), None),
        Err(error @ ScpError::TooLong { chars, .. }) => (Some(*chars), None, Some(error.to_string())),
        Err(error) => (None, None, Some(error.to_string())),
    };
    // The hash of a policy for given principals is another for others.
    let hash = hash.filter(|_| !name.names_principals());
    json!({
        "name": name.as_str(), "purpose": name.purpose(), "chars": chars, "hash": hash, "problem": problem,
    })
}

/// The share of the quota, rounded up.
fn percent(chars: usize) -> usize {
    (chars * 100).div_ceil(QUOTA_CHARS)
}
