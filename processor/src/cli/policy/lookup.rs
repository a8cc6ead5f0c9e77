//! Finds a session in the state of the data folder.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use sessionwarden_machine::{ids::Subject, session::Session, settings::Settings};
use sessionwarden_store::{Embedded, Store, StoreError};

use crate::{
    cli::Failure,
    config::{Config, settings_of},
};

/// Keys that are read at once.
const PAGE: usize = 1_000;
/// Sessions of one id that are named at the most.
const NAMED_MAX: usize = 10;

/// The session that `wanted` names (`account/region/id`, or an id) in the state of `config`, with the settings it is
/// judged by. The state of real events is looked through first, then that of the last demonstration.
pub(super) fn session(config: &Config, wanted: &str) -> Result<(Session, Settings), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("the runtime cannot be started")
        .map_err(Failure::failed)?;
    let data = &config.service.data_dir;
    let folders = [data.join("state"), data.join("demonstration")];
    // To open a folder that is not there would begin a state in it.
    let mut folders = folders.iter().filter(|folder| folder.is_dir()).peekable();
    if folders.peek().is_none() {
        return Err(Failure::usage(anyhow!(
            "there is no file {wanted}, and no state in {} that could hold a session of that name",
            data.display()
        )));
    }
    for folder in folders {
        if let Some(session) = runtime.block_on(find(folder, wanted))? {
            return Ok((session, settings_of(config)));
        }
    }
    Err(Failure::usage(anyhow!("no session {wanted} in the state of {}", data.display())))
}

async fn find(folder: &Path, wanted: &str) -> Result<Option<Session>, Failure> {
    let store = Embedded::open(folder).await.map_err(|error| match error {
        StoreError::Locked { path } => Failure::failed(anyhow!(
            "{}: the service has its state open, and only one process can; stop the service, or copy its data folder \
             and name the copy with --data-dir",
            path.display()
        )),
        error => Failure::failed(error),
    })?;
    let keys = matching(&store, wanted).await.map_err(Failure::failed)?;
    let key = match keys.as_slice() {
        [] => return Ok(None),
        [key] => key,
        several => {
            let names = several.iter().take(NAMED_MAX).map(|key| key.trim_start_matches("session#"));
            return Err(Failure::usage(anyhow!(
                "{} sessions have the id {wanted}; name one of them:\n  {}",
                several.len(),
                names.collect::<Vec<_>>().join("\n  ")
            )));
        }
    };
    let item = store.load(key).await.map_err(Failure::failed)?;
    item.map(|item| item.decode::<Session>()).transpose().map_err(Failure::failed)
}

/// Keys of the sessions that `wanted` names.
async fn matching(store: &Embedded, wanted: &str) -> Result<Vec<Arc<str>>, StoreError> {
    if format!("session#{wanted}").parse::<Subject>().is_ok() {
        let key: Arc<str> = format!("session#{wanted}").into();
        return Ok(store.load(&key).await?.map(|_| key).into_iter().collect());
    }
    let mut found = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = store.keys("session#", after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(Arc::clone(last));
        let named = page.iter().filter(|key| match key.parse() {
            Ok(Subject::Session(key)) => &*key.id == wanted,
            Ok(Subject::Account(_) | Subject::Incident(_) | Subject::Register | Subject::Place(..)) | Err(_) => false,
        });
        found.extend(named.cloned());
    }
}
