//! Where a session's log is.

use super::{SessionDocument, WantedPreferences, preferences::S3_PREFIX};
use crate::ids::AccountId;

/// The key of the object that the agent writes a session's log to: the prefix and `<session id>.log`, joined and
/// cleaned as Go's `path.Join` does, colons of the name left out. R-G7.
pub fn log_object_key(prefix: &str, session_id: &str) -> String {
    let name = session_id.replace(':', "") + ".log";
    clean(&if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

/// The name of the CloudWatch stream that the agent writes a session's log to: the session's id. R-G8.
pub fn log_stream_name(session_id: &str) -> String {
    session_id.to_owned()
}

/// The keys under which a session's log may be found, the likeliest first, none twice:
/// 1. under the wanted prefix;
/// 2. under the document's own, unless whoever starts the session decides on it;
/// 3. under `<account>`;
/// 4. under `<prefix>/<account>/<region>`, the prefix being the wanted one up to its first part with a placeholder.
///
/// Only a log under the first is where it is wanted; the document's own prefix can be anything, another account's
/// place included.
pub fn log_object_keys(
    wanted: &WantedPreferences,
    document: Option<&SessionDocument>,
    account: AccountId,
    region: &str,
    session_id: &str,
) -> Vec<String> {
    let own = document.filter(|document| !document.inputs.open.contains(S3_PREFIX));
    let own = own.map(|document| document.inputs.s3_prefix.to_string());
    let parts = wanted.s3_prefix.as_deref().unwrap_or_default().split('/');
    let base = parts.take_while(|part| !part.contains('{')).collect::<Vec<_>>().join("/");
    let by_region = format!("{account}/{region}");
    let by_region = if base.is_empty() { by_region } else { format!("{base}/{by_region}") };
    let prefixes = [wanted.prefix(account, region), own, Some(account.to_string()), Some(by_region)];
    let mut keys = Vec::with_capacity(prefixes.len());
    for prefix in prefixes.into_iter().flatten() {
        let key = log_object_key(&prefix, session_id);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// What Go's `path.Clean` makes of a path that is not empty.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    if rooted {
        return format!("/{path}");
    }
    if path.is_empty() { ".".to_owned() } else { path }
}
