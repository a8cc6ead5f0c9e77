//! The organisation as it lives: sessions begin and end, logs arrive, events are delivered.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, EventTime, Now, SessionKey},
    permission::Policy,
    posture::{Agent, LogObject, PolicyText},
};

pub use sessionwarden_machine::posture::CallError;

use crate::{
    cloudtrail::{Caller, Record},
    control_plane::{GuardTexts, Stored},
    dice::{BASE36, Dice},
    estate::Estate,
    organisation::{Account, NodeKind, OrganisationShape, lay_out},
    session::{
        DEFAULT_DOCUMENT, LogFate, SessionDescription, SessionStatus, StartSession, push_session_id,
        push_session_response, push_start_request,
    },
    stream::Streams,
    upload::Destination,
};

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) description: SessionDescription,
    last_used: EventTime,
    pub(crate) log: LogFate,
    /// Where its log goes; `None` for one that is not logged.
    pub(crate) destination: Option<Destination>,
    /// The object that was written.
    pub(crate) log_key: Option<Arc<str>>,
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
    pub(crate) estate: Estate,
    pub(crate) guard_texts: GuardTexts,
    pub(crate) quarantined: BTreeMap<AccountId, (Now, Lock)>,
    pub(crate) dice: Dice,
    pub(crate) sessions: BTreeMap<SessionKey, Session>,
    /// Objects of the log bucket, by key.
    pub(crate) objects: BTreeMap<Arc<str>, Stored>,
    pub(crate) streams: Streams,
    /// Policies as they were read, by their texts.
    pub(crate) policies: RefCell<BTreeMap<PolicyText, Arc<Policy>>>,
    pub(crate) uploads: BTreeSet<(Now, SessionKey)>,
    live: BTreeSet<SessionKey>,
    /// No session that is alive was last used before.
    used_since: EventTime,
    ended: VecDeque<(EventTime, SessionKey)>,
    events: VecDeque<Vec<u8>>,
}

impl World {
    /// An organisation of this shape at the time `start`, with every guardrail in place and no session.
    pub fn new(shape: OrganisationShape, seed: u64, start: Now) -> Self {
        Self::of_accounts(&[], shape, seed, start)
    }

    /// [`World::new`] with the ids of its accounts: the management account, the log archive, then the ordinary ones.
    /// Accounts of the shape that have no id here get one by chance.
    pub fn of_accounts(ids: &[AccountId], shape: OrganisationShape, seed: u64, start: Now) -> Self {
        let mut dice = Dice::new(seed);
        let accounts = lay_out(&shape, ids, start, &mut dice);
        let archive = accounts[1].id;
        Self {
            estate: Estate::new(&shape, &accounts, archive, &mut Dice::new(seed ^ 0x6573_7461_7465)),
            guard_texts: GuardTexts::new(),
            indexes_by_account: accounts.iter().enumerate().map(|(at, account)| (account.id, at)).collect(),
            accounts,
            shape,
            now: start,
            dice,
            quarantined: BTreeMap::new(),
            sessions: BTreeMap::new(),
            live: BTreeSet::new(),
            used_since: start.as_event_time(),
            ended: VecDeque::new(),
            uploads: BTreeSet::new(),
            objects: BTreeMap::new(),
            streams: Streams::default(),
            policies: RefCell::default(),
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
        if self.used_since <= idle {
            let over: Vec<SessionKey> =
                self.live.iter().filter(|key| self.sessions[*key].last_used <= idle).cloned().collect();
            for key in over {
                let at = self.sessions[&key].last_used.plus_ms(self.shape.idle_timeout_ms);
                self.end(&key, at);
            }
            let used = self.live.iter().map(|key| self.sessions[key].last_used);
            self.used_since = used.min().unwrap_or(self.now.as_event_time());
        }
        while let Some((due, key)) = self.uploads.first().cloned().filter(|(due, _)| *due <= self.now) {
            self.uploads.pop_first();
            self.upload(&key, due);
        }
        let oldest = EventTime(self.now.0.saturating_sub(self.shape.history_ms));
        while let Some((_, key)) = self.ended.pop_front_if(|(at, _)| *at < oldest) {
            self.forget(&key);
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
        let Some(kind) = known.map(|node| node.kind).filter(|_| self.agent_lives(&request.target)) else {
            self.emit_failure(caller, &call, "TargetNotConnected", &format!("{} is not connected.", request.target));
            return Err(CallError::Gone);
        };
        let named = request.document.as_deref().unwrap_or(DEFAULT_DOCUMENT);
        let content = self.document(caller.account, &request.region, named).map(|document| document.content);
        if content.is_err() && named != DEFAULT_DOCUMENT {
            self.emit_failure(caller, &call, "InvalidDocument", &format!("Document with name {named} does not exist."));
            return Err(CallError::Gone);
        }
        // A container that is addressed directly is not logged (TH8), nor is anybody without preferences (TH26).
        let logged = content.ok().filter(|_| kind != NodeKind::Container);
        let destination = logged.and_then(|content| Destination::of(&content));
        let mut id = format!("{}-", caller.name);
        self.dice.push(&mut id, BASE36, 26);
        let mut response = String::new();
        push_session_response(&mut response, &id, &request.region, &mut self.dice);
        self.emit(caller, &call, &response);
        let key = SessionKey { account: caller.account, region: Arc::clone(&request.region), id: id.into() };
        self.open(caller, &key, request, Arc::from(named), destination);
        Ok(key)
    }

    pub(crate) fn open(
        &mut self,
        caller: &Caller,
        key: &SessionKey,
        request: &StartSession,
        document: Arc<str>,
        destination: Option<Destination>,
    ) {
        let started = self.now.as_event_time();
        let description = SessionDescription {
            key: key.clone(),
            target: Arc::clone(&request.target),
            document,
            owner: Arc::clone(&caller.arn),
            reason: request.reason.clone(),
            just_in_time: request.just_in_time,
            started,
            ended: None,
            status: SessionStatus::Connected,
        };
        let silent = matches!(request.log, LogFate::Forged(_) | LogFate::Unstreamed);
        if let Some(to) = destination.as_ref().filter(|to| !silent && !to.log_group.is_empty()) {
            self.open_stream(key, &request.target, &to.log_group);
        }
        self.live.insert(key.clone());
        let session = Session { description, last_used: started, log: request.log, destination, log_key: None };
        self.sessions.insert(key.clone(), session);
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

    /// All sessions that are alive, by account, region and id.
    pub fn live(&self) -> impl Iterator<Item = &SessionKey> {
        self.live.iter()
    }

    /// The session's log, once it is written, with its key in the bucket.
    pub fn session_log(&self, key: &SessionKey) -> Option<(Arc<str>, LogObject)> {
        let name = self.sessions.get(key)?.log_key.as_ref()?;
        let stored = self.objects.get(name).filter(|stored| !stored.deleted)?;
        Some((Arc::clone(name), stored.object.clone()))
    }

    /// The agent of a node dies, or is registered with somebody else's account, while the machine runs. AWS emits nothing.
    pub fn lose_agent(&mut self, node: &str) {
        let since = self.now.as_event_time();
        self.set_agent(node, Agent::Lost(since));
    }

    /// The agent of a node answers again. AWS emits nothing that is watched.
    pub fn find_agent(&mut self, node: &str) {
        self.set_agent(node, Agent::Online);
    }

    /// The machine of a node is stopped. AWS emits nothing that is watched.
    pub fn stop_machine(&mut self, node: &str) {
        self.set_agent(node, Agent::Stopped);
    }

    fn set_agent(&mut self, node: &str, agent: Agent) {
        self.settle_streams(None);
        if let Some(state) = self.estate.nodes.get_mut(node) {
            state.agent = agent;
        }
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
        let (log, group) = (session.log, session.destination.as_ref().map(|to| Arc::clone(&to.log_group)));
        self.ended.push_back((at, key.clone()));
        let Some(group) = group else { return };
        self.close_stream(key, &group, at);
        let (shortest, longest) = self.shape.log_delay_ms;
        let delay_ms = match log {
            LogFate::Never => return,
            LogFate::After(delay_ms) => delay_ms,
            LogFate::Usual
            | LogFate::Empty
            | LogFate::Small
            | LogFate::Twice
            | LogFate::Misplaced
            | LogFate::Unstreamed
            | LogFate::Forged(_) => self.dice.between(shortest, longest),
        };
        self.uploads.insert((Now(at.0).plus_ms(delay_ms), key.clone()));
    }

    fn forget(&mut self, key: &SessionKey) {
        let Some(session) = self.sessions.remove(key) else {
            return;
        };
        if let Some(name) = session.log_key {
            self.objects.remove(&name);
        }
        if let Some(to) = session.destination {
            self.forget_stream(key, &to.log_group);
        }
    }

    fn no_session(&mut self, caller: &Caller, call: &Call<'_>) -> CallError {
        self.emit_failure(caller, call, "DoesNotExistException", "Session does not exist.");
        CallError::Gone
    }

    /// Emits the refusal where a quarantine that bites denies the call.
    pub(crate) fn permitted(&mut self, caller: &Caller, call: &Call<'_>) -> Result<(), CallError> {
        if caller.exempt || !self.quarantine_denies(caller.account, &caller.arn) {
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

    pub(crate) fn emit_failure(&mut self, caller: &Caller, call: &Call<'_>, code: &str, message: &str) {
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
