//! Session Manager: which sessions are alive, and the end of one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_ssm::types::{AccessType, Session, SessionFilter, SessionFilterKey, SessionState, SessionStatus};
use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    session::{Described, Life},
};

use super::{AwsOrganization, Pages, errors::Failure, event_time, limits::Place, settings::Api};
use crate::ports::{CallError, Sessions};

/// The most that `DescribeSessions` gives at once.
const SESSIONS_PER_PAGE: i32 = 200;
/// Up to this many sessions are looked up in the history one by one, and more by reading it through.
const LOOKED_UP_MAX: usize = 20;

impl Sessions for AwsOrganization {
    /// What is listed as active is alive. The rest is looked for in the history, which AWS keeps for 30 days; what is in
    /// neither is [`Life::Unknown`], and so is what is in the history without the time of its end.
    async fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> Result<BTreeMap<SessionKey, Life>, CallError> {
        let place: Place = (account, Arc::from(region));
        let mut lives: BTreeMap<SessionKey, Life> = sessions.iter().map(|key| (key.clone(), Life::Unknown)).collect();
        let mut missing: BTreeMap<&str, &SessionKey> = sessions.iter().map(|key| (&*key.id, key)).collect();
        self.chain(&place, SessionState::Active, None, |session| {
            if let (Some(key), true) = (missing.get(session.session_id().unwrap_or_default()), is_alive(session)) {
                lives.insert((*key).clone(), described(session).map_or(Life::Unknown, Life::Alive));
            }
            true
        })
        .await?;
        missing.retain(|_, key| !matches!(lives.get(*key), Some(Life::Alive(_))));
        let wanted: Vec<Option<&str>> = match missing.len() {
            0 => Vec::new(),
            1..=LOOKED_UP_MAX => missing.keys().map(|id| Some(*id)).collect(),
            _ => vec![None],
        };
        for id in wanted {
            self.chain(&place, SessionState::History, id, |session| {
                if let Some(key) = missing.remove(session.session_id().unwrap_or_default()) {
                    let ended = session.end_date().and_then(event_time);
                    lives.insert(key.clone(), ended.map_or(Life::Unknown, Life::Ended));
                }
                !missing.is_empty()
            })
            .await?;
        }
        Ok(lives)
    }

    async fn active(&self, account: AccountId, region: &str) -> Result<Vec<(SessionKey, Described)>, CallError> {
        let place: Place = (account, Arc::from(region));
        let mut found = Vec::new();
        let mut broken = false;
        self.chain(&place, SessionState::Active, None, |session| {
            if is_alive(session) {
                match (session.session_id(), described(session)) {
                    (Some(id), Some(described)) => {
                        found
                            .push((SessionKey { account, region: Arc::clone(&place.1), id: Arc::from(id) }, described));
                    }
                    _ => broken = true,
                }
            }
            !broken
        })
        .await?;
        if broken { Err(CallError::Unknown) } else { Ok(found) }
    }

    async fn terminate(&self, session: &SessionKey) -> Result<(), CallError> {
        let place: Place = (session.account, Arc::clone(&session.region));
        let send = |means: &super::Means| {
            aws_sdk_ssm::Client::new(&means.config).terminate_session().session_id(&*session.id).send()
        };
        self.call(&place, Api::Terminate, "TerminateSession", send).await?;
        Ok(())
    }
}

impl AwsOrganization {
    /// Reads sessions page by page until `take` has enough.
    async fn chain(
        &self,
        place: &Place,
        state: SessionState,
        id: Option<&str>,
        mut take: impl FnMut(&Session) -> bool,
    ) -> Result<(), Failure> {
        let filter = |id: &str| SessionFilter::builder().key(SessionFilterKey::SessionId).value(id).build();
        let filters = id.map(filter).transpose().map_err(|_| Failure::unknown(false))?.map(|filter| vec![filter]);
        let mut pages = Pages::new();
        loop {
            let send = |means: &super::Means| {
                let call = aws_sdk_ssm::Client::new(&means.config).describe_sessions().state(state.clone());
                let call = call.set_filters(filters.clone()).set_next_token(pages.token.clone());
                call.max_results(SESSIONS_PER_PAGE).send()
            };
            let page = self.call(place, Api::Sessions, "DescribeSessions", send).await?;
            if !page.sessions().iter().all(&mut take) || !pages.go_on(page.next_token())? {
                return Ok(());
            }
        }
    }
}

/// A session that is listed as active but already over is not alive.
fn is_alive(session: &Session) -> bool {
    !matches!(session.status(), Some(SessionStatus::Terminated | SessionStatus::Failed))
}

/// `None` where AWS did not say when it started.
fn described(session: &Session) -> Option<Described> {
    let text = |text: Option<&str>| Arc::from(text.unwrap_or_default());
    Some(Described {
        started_at: session.start_date().and_then(event_time)?,
        owner: text(session.owner()),
        target: text(session.target()),
        document: text(session.document_name()),
        reason: session.reason().filter(|reason| !reason.is_empty()).map(Arc::from),
        access_type: text(session.access_type().map(AccessType::as_str)),
    })
}
