//! Asks a running service, wherever it runs, and prints what several commands print alike.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args as ClapArgs;
use comfy_table::{Attribute, Cell, Table, presets};
use sessionwarden_machine::settings::Settings;

use super::{FAILED, Failure, Format, OK, write_result};
use crate::{
    config::{BackendKind, Config, settings_of},
    control::{self, ControlReply, ControlRequest},
};

/// Which service, and how its answer is printed.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct Whom {
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of the service, where it runs on this machine.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// An answer, with what it is to be read by.
pub(super) struct Answered {
    pub(super) reply: ControlReply,
    pub(super) settings: Settings,
}

/// Asks the service. A refusal is a failure.
pub(super) fn ask(whom: &Whom, request: ControlRequest) -> Result<Answered, Failure> {
    let mut config = super::config(whom.config.as_ref())?;
    if let Some(dir) = &whom.data_dir {
        config.service.data_dir.clone_from(dir);
    }
    let settings = settings_of(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_stack_size(super::run::STACK_BYTES)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
        .map_err(Failure::failed)?;
    let reply = runtime.block_on(async {
        match config.backend.kind {
            BackendKind::Local => control::ask(&config.service.data_dir, &request).await.map_err(Failure::failed),
            BackendKind::Aws => Box::pin(ask_state(&config, request)).await,
        }
    })?;
    match reply {
        ControlReply::Refused(why) => Err(Failure { code: FAILED, error: anyhow!("not done: {why}") }),
        reply => Ok(Answered { reply, settings }),
    }
}

#[cfg(feature = "aws")]
async fn ask_state(config: &Config, request: ControlRequest) -> Result<ControlReply, Failure> {
    super::fleet::answer(config, request).await
}

#[cfg(not(feature = "aws"))]
async fn ask_state(_: &Config, _: ControlRequest) -> Result<ControlReply, Failure> {
    let text = "`backend.kind` is \"aws\", but this program was built without the feature `aws`";
    Err(Failure::usage(anyhow!(text)))
}

/// A table with these columns.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Two columns: what, and its value; without those that have none.
pub(super) fn facts(rows: impl IntoIterator<Item = (&'static str, String)>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([Cell::new(name).add_attribute(Attribute::Bold), Cell::new(value)]);
    }
    table
}

/// Prints text for people, or an object for machines.
pub(super) fn print(format: Format, text: impl FnOnce() -> String, object: &serde_json::Value) -> Result<u8, Failure> {
    match format {
        Format::Human => write_result(&text())?,
        Format::Json => write_result(&format!("{object}\n"))?,
    }
    Ok(OK)
}

/// A time as tables write it; nothing where there is none.
pub(super) fn at(time: Option<sessionwarden_machine::ids::Now>) -> String {
    time.map(|at| at.as_event_time().to_string()).unwrap_or_default()
}
