//! Sessions that are kept no more although they were never closed: the last net under rechecks, sweep and
//! reconciliation.

use std::sync::Arc;

use sessionwarden_machine::{ids::Subject, incident::Incident, session::Session};
use sessionwarden_store::{Item, ItemError};

/// The incident that the end of this item's time opens, with its cause; nothing for a closed session, and for what is
/// no session.
///
/// To be asked where an organisation is watched, about an item that is deleted, or about to be: without an organisation
/// sessions of which only the beginning was seen are kept for a while, and that is all.
///
/// # Errors
/// [`ItemError::Newer`]: only a newer version can tell. Of an item that nobody can read the incident says so.
pub fn forgotten(item: &Item) -> Result<Option<(Arc<str>, Incident)>, ItemError> {
    let Ok(Subject::Session(key)) = item.key.parse() else {
        return Ok(None);
    };
    let session = match item.decode::<Session>() {
        Ok(session) => Some(session),
        Err(error @ ItemError::Newer { .. }) => return Err(error),
        Err(_) => None,
    };
    let incident = Incident::of_forgotten(&key, session.as_ref(), item.expires);
    Ok(incident.map(|incident| (Arc::clone(&incident.cause), incident)))
}
