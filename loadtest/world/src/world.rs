//! The organisation as it lives: sessions begin and end, logs arrive, events are delivered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use sessionwarden_machine::ids::{AccountId, EventTime, Now, SessionKey};

use crate::{
    cloudtrail::{Caller, Record},
    dice::{BASE36, Dice},
    organisation::{Account, OrganisationShape, Role, lay_out, roles},
    session::{
        DEFAULT_DOCUMENT, LogFate, LogObject, SessionDescription, SessionStatus, StartSession, push_session_id,
        push_session_response, push_start_request,
    },
};

/// Why a call failed, sorted as the product sorts the errors of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallError {
    /// Too many calls; try later. The model itself never throttles.
    #[error("throttled")]
    Throttled,
    /// Not allowed.
    #[error("access denied")]
    Denied,
    /// What the call is about does not exist.
    #[error("no such thing")]
    Gone,
    /// Anything else; the call may have worked. The model itself never answers this.
    #[error("unknown error")]
    Unknown,
}

#[derive(Clone, Debug)]
struct Session {
    description: SessionDescription,
    last_used: EventTime,
    log: LogFate,
}

/// A deterministic organisation: equal shapes, seeds and calls give equal answers and equal events.
///
/// Time is what [`World::advance_to`] was last told; nothing happens in between.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) shape: OrganisationShape,
    pub(crate) now: Now,
    pub(crate) accounts: Vec<Account>,
    pub(crate) indexes_by_account: BTreeMap<AccountId, usize>,
    pub(crate) roles_by_account: BTreeMap<AccountId, BTreeMap<Arc<str>, Role>>,
    pub(crate) changed_preferences: BTreeSet<(AccountId, Arc<str>)>,
    pub(crate) quarantined_since: BTreeMap<AccountId, Now>,
    pub(crate) dice: Dice,
    sessions: BTreeMap<SessionKey, Session>,
    live: BTreeSet<SessionKey>,
    ended: VecDeque<(EventTime, SessionKey)>,
    uploads: BTreeSet<(Now, SessionKey)>,
    logs: BTreeMap<SessionKey, LogObject>,
    events: VecDeque<Vec<u8>>,
}

impl World {
    /// An organisation of this shape at the time `start`, with every guardrail in place and no session.
    pub fn new(shape: OrganisationShape, seed: u64, start: Now) -> Self {
        let mut dice = Dice::new(seed);
        let accounts = lay_out(&shape, start, &mut dice);
        Self {
            indexes_by_account: accounts.iter().enumerate().map(|(at, account)| (account.id, at)).collect(),
            roles_by_account: accounts.iter().map(|account| (account.id, roles(account))).collect(),
            accounts,
            shape,
            now: start,
            dice,
            changed_preferences: BTreeSet::new(),
            quarantined_since: BTreeMap::new(),
            sessions: BTreeMap::new(),
            live: BTreeSet::new(),
            ended: VecDeque::new(),
            uploads: BTreeSet::new(),
            logs: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// The time the world was last told.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Lets time pass: idle sessions end, logs that are due are written, old history is forgotten.
    /// A time before the world's own changes nothing.
    pub fn advance_to(&mut self, now: Now) {
        self.now = self.now.max(now);
        let idle = EventTime(self.now.0.saturating_sub(self.shape.idle_timeout_ms));
        let over: Vec<SessionKey> =
            self.live.iter().filter(|key| self.sessions[*key].last_used <= idle).cloned().collect();
        for key in over {
            let at = self.sessions[&key].last_used.plus_ms(self.shape.idle_timeout_ms);
            self.end(&key, at);
        }
        while let Some((due, key)) = self.uploads.first().cloned().filter(|(due, _)| *due <= self.now) {
            self.uploads.pop_first();
            self.upload(key, due);
        }
        let oldest = EventTime(self.now.0.saturating_sub(self.shape.history_ms));
        while let Some((_, key)) = self.ended.pop_front_if(|(at, _)| *at < oldest) {
            self.sessions.remove(&key);
            self.logs.remove(&key);
        }
    }

    /// `StartSession` in the caller's account. Emits the event, of a refused call too.
    ///
    /// # Errors
    /// [`CallError::Denied`] in quarantine, [`CallError::Gone`] where the target is no node of that region.
    pub fn start_session(&mut self, caller: &Caller, request: &StartSession) -> Result<SessionKey, CallError> {
        let mut parameters = String::new();
        push_start_request(&mut parameters, &request.target, request.document.as_deref(), request.reason.as_deref());
        let call = Call { source: "ssm", name: "StartSession", region: &request.region, request: &parameters };
        self.permitted(caller, &call)?;
        let known = self.account(caller.account).and_then(|account| account.node(&request.region, &request.target));
        if known.is_none() {
            self.emit_failure(caller, &call, "TargetNotConnected", &format!("{} is not connected.", request.target));
            return Err(CallError::Gone);
        }
        let mut id = format!("{}-", caller.name);
        self.dice.push(&mut id, BASE36, 26);
        let mut response = String::new();
        push_session_response(&mut response, &id, &request.region, &mut self.dice);
        self.emit(caller, &call, &response);
        let key = SessionKey { account: caller.account, region: Arc::clone(&request.region), id: id.into() };
        let started = self.now.as_event_time();
        let description = SessionDescription {
            key: key.clone(),
            target: Arc::clone(&request.target),
            document: request.document.clone().unwrap_or_else(|| Arc::from(DEFAULT_DOCUMENT)),
            owner: Arc::clone(&caller.arn),
            reason: request.reason.clone(),
            started,
            ended: None,
            status: SessionStatus::Connected,
        };
        self.live.insert(key.clone());
        self.sessions.insert(key.clone(), Session { description, last_used: started, log: request.log });
        Ok(key)
    }

    /// `ResumeSession`. Emits the event, of a refused call too.
    ///
    /// # Errors
    /// [`CallError::Denied`] in quarantine, [`CallError::Gone`] where the session is unknown or over.
    pub fn resume_session(&mut self, caller: &Caller, key: &SessionKey) -> Result<(), CallError> {
        let mut parameters = String::new();
        push_session_id(&mut parameters, &key.id);
        let call = Call { source: "ssm", name: "ResumeSession", region: &key.region, request: &parameters };
        self.permitted(caller, &call)?;
        let now = self.now.as_event_time();
        match self.sessions.get_mut(key).filter(|session| session.description.ended.is_none()) {
            Some(session) => {
                session.description.status = SessionStatus::Connected;
                session.last_used = now;
            }
            None => return Err(self.no_session(caller, &call)),
        }
        let mut response = String::new();
        push_session_response(&mut response, &key.id, &key.region, &mut self.dice);
        self.emit(caller, &call, &response);
        Ok(())
    }

    /// The client loses its connection. AWS emits nothing; a session that is unknown or over stays as it is.
    pub fn disconnect_session(&mut self, key: &SessionKey) {
        if let Some(session) = self.sessions.get_mut(key).filter(|session| session.description.ended.is_none()) {
            session.description.status = SessionStatus::Disconnected;
        }
    }

    /// Somebody types `exit`. AWS emits nothing; a session that is unknown or over stays as it is.
    pub fn exit_session(&mut self, key: &SessionKey) {
        self.end(key, self.now.as_event_time());
    }

    /// `TerminateSession`. Emits the event, of a failed call too; ending an ended session succeeds, as in AWS.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the session is unknown.
    pub fn terminate_session(&mut self, caller: &Caller, key: &SessionKey) -> Result<(), CallError> {
        let mut parameters = String::new();
        push_session_id(&mut parameters, &key.id);
        let call = Call { source: "ssm", name: "TerminateSession", region: &key.region, request: &parameters };
        if !self.sessions.contains_key(key) {
            return Err(self.no_session(caller, &call));
        }
        self.emit(caller, &call, &parameters);
        self.end(key, self.now.as_event_time());
        Ok(())
    }

    /// What `DescribeSessions` tells of one session; `None` once it left the history.
    pub fn describe_session(&self, key: &SessionKey) -> Option<SessionDescription> {
        self.sessions.get(key).map(|session| session.description.clone())
    }

    /// What `DescribeSessions` lists as active, by session id.
    pub fn active_sessions(&self, account: AccountId, region: &str) -> Vec<SessionDescription> {
        let first = SessionKey { account, region: Arc::from(region), id: Arc::from("") };
        let here = self.live.range(first..).take_while(|key| key.account == account && &*key.region == region);
        here.map(|key| self.sessions[key].description.clone()).collect()
    }

    /// The session's log, once it is written.
    pub fn session_log(&self, key: &SessionKey) -> Option<LogObject> {
        self.logs.get(key).cloned()
    }

    /// Takes the events that AWS has emitted since the last call: EventBridge envelopes in the order of delivery.
    pub fn drain_events(&mut self) -> Vec<Vec<u8>> {
        self.events.drain(..).collect()
    }

    fn end(&mut self, key: &SessionKey, at: EventTime) {
        if !self.live.remove(key) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.description.status = SessionStatus::Terminated;
        session.description.ended = Some(at);
        self.ended.push_back((at, key.clone()));
        let (shortest, longest) = self.shape.log_delay_ms;
        if &*session.description.document != DEFAULT_DOCUMENT {
            return;
        }
        let delay_ms = match session.log {
            LogFate::Never => return,
            LogFate::After(delay_ms) => delay_ms,
            LogFate::Usual | LogFate::Empty => self.dice.between(shortest, longest),
        };
        self.uploads.insert((Now(at.0).plus_ms(delay_ms), key.clone()));
    }

    fn upload(&mut self, key: SessionKey, at: Now) {
        let Some(session) = self.sessions.get(&key) else {
            return;
        };
        let (target, empty) = (&session.description.target, session.log == LogFate::Empty);
        if self.node_posture(key.account, &key.region, target).log_writable != Some(true) {
            return;
        }
        let size = if empty { 0 } else { self.dice.between(200, 40_000) as u64 };
        let log = LogObject { key: format!("{key}.log"), size, written_at: at.as_event_time() };
        self.logs.insert(key, log);
    }

    fn no_session(&mut self, caller: &Caller, call: &Call<'_>) -> CallError {
        self.emit_failure(caller, call, "DoesNotExistException", "Session does not exist.");
        CallError::Gone
    }

    /// Emits the refusal where a quarantine that bites denies the call.
    pub(crate) fn permitted(&mut self, caller: &Caller, call: &Call<'_>) -> Result<(), CallError> {
        if caller.exempt || !self.quarantine_bites(caller.account) {
            return Ok(());
        }
        let (source, name) = (call.source, call.name);
        let message = format!(
            "User: {} is not authorized to perform: {source}:{name} with an explicit deny in a service control policy",
            caller.arn
        );
        self.emit_failure(caller, &Call { request: "null", ..*call }, "AccessDenied", &message);
        Err(CallError::Denied)
    }

    pub(crate) fn emit(&mut self, caller: &Caller, call: &Call<'_>, response: &str) {
        self.emit_record(caller, call, response, None);
    }

    fn emit_failure(&mut self, caller: &Caller, call: &Call<'_>, code: &str, message: &str) {
        self.emit_record(caller, call, "null", Some((code, message)));
    }

    fn emit_record(&mut self, caller: &Caller, call: &Call<'_>, response: &str, error: Option<(&str, &str)>) {
        let record = Record {
            caller,
            time: self.now.as_event_time(),
            source: call.source,
            name: call.name,
            region: call.region,
            request: call.request,
            response,
            extra: "",
            error,
            read_only: false,
            data_event: false,
        };
        let mut line = String::with_capacity(2048);
        record.write_envelope(&mut self.dice, &mut line);
        self.deliver(line);
    }

    pub(crate) fn deliver(&mut self, envelope: String) {
        self.events.push_back(envelope.into_bytes());
    }
}

/// A call on its way: what its event says before the answer is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) source: &'a str,
    pub(crate) name: &'a str,
    pub(crate) region: &'a str,
    pub(crate) request: &'a str,
}
