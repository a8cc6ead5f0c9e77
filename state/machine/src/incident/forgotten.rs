//! A session that is kept no more although it was never closed.

use std::{collections::BTreeSet, sync::Arc};

use super::Incident;
use crate::{
    effect::{EvidenceNote, Principal, Response, Severity},
    ids::{EventId, Now, SessionKey},
    session::{Mark, Session},
};

/// What the incident is called.
pub const FORGOTTEN: &str = "session-forgotten";

const TITLE: &str = "The session was never closed, and nothing was heard of it for so long that it is kept no more";
const UNREAD: &str = "A session is kept no more, and whether it was ever closed cannot be read";

impl Incident {
    /// The incident of a session that was kept until `expired` and is gone, unless it was closed. `session` is what was
    /// kept of it, `None` where that cannot be read. Only where an organisation can be asked is a session closed in
    /// this sense: without one nothing is lost.
    ///
    /// The cause is the session alone, so that whoever finds it gone opens the same incident.
    pub fn of_forgotten(key: &SessionKey, session: Option<&Session>, expired: Option<Now>) -> Option<Self> {
        if session.is_some_and(Session::was_closed) {
            return None;
        }
        let alive = session.and_then(|session| session.seen.as_ref()?.alive_at);
        let heard = session.map(|session| session.heard_at.as_event_time());
        let known = alive.or(heard);
        let at = expired.map(Now::as_event_time).or(known).unwrap_or_default();
        let mut evidence = session.map(Session::evidence_notes).unwrap_or_default();
        let mut note = |name: &str, value: &str, source: &str, at| {
            evidence.push(EvidenceNote { name: name.into(), value: value.into(), source: source.into(), at });
        };
        match (alive, heard) {
            (Some(alive), _) => note("last-alive", "shown alive", "describe-sessions", alive),
            (None, Some(heard)) => note("last-alive", "never shown alive; heard of", "cloudtrail", heard),
            (None, None) => {}
        }
        let nobody = || Principal { arn: Arc::default(), kind: Arc::default() };
        let opened = session.and_then(|session| session.start.as_ref()).map(|start| start.mark.event);
        Some(Self {
            cause: format!("{FORGOTTEN}/{key}").into(),
            control: FORGOTTEN.into(),
            title: if session.is_some() { TITLE } else { UNREAD }.into(),
            severity: Severity::High,
            response: Response::Incident,
            requirements: BTreeSet::new(),
            techniques: BTreeSet::new(),
            policy: Arc::default(),
            account: key.account,
            region: Arc::clone(&key.region),
            target: session.map(Session::target).unwrap_or_default().into(),
            first: Mark {
                at,
                event: opened.unwrap_or_else(|| EventId::of_content(key.to_string().as_bytes())),
                principal: session.map_or_else(nobody, Session::principal),
            },
            call: FORGOTTEN.into(),
            last_at: at,
            done: BTreeSet::new(),
            session: Some(key.clone()),
            evidence,
            note: None,
            heard_at: Now(0),
            acknowledged: None,
            resolved: None,
            round: 0,
            calls: BTreeSet::new(),
            attempt: false,
            restoring: super::Restoring::default(),
        })
    }
}
