//! Whether logs arrive: judged by the policies that are in force at the moment of writing.

use std::sync::Arc;

use sessionwarden_machine::{
    document::{SessionDocument, log_object_key, log_stream_name},
    ids::{AccountId, EventTime, Now, SessionKey},
    permission::{ActionCheck, Answer, Caller, Context, LogTargets, Policy, Principal, Target, check_actions},
    posture::{Agent, Identity, LogObject, PolicyText, Who},
};

use crate::{control_plane::Stored, estate::InRegion, organisation::NodeKind, session::LogFate, world::World};

/// How many policies are remembered as they were read.
const POLICIES_MAX: usize = 4_096;

/// Where a session's agent writes its log: settled when the session begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Empty: no log in S3.
    pub(crate) bucket: Arc<str>,
    pub(crate) prefix: Arc<str>,
    /// The agent refuses a bucket that is not encrypted, and has to ask.
    pub(crate) encrypted: bool,
    /// Empty: no stream.
    pub(crate) log_group: Arc<str>,
    /// The key of the traffic; empty: none.
    pub(crate) key: Arc<str>,
}

impl Destination {
    /// What a document's content says; `None` for one that logs nothing.
    pub(crate) fn of(content: &str) -> Option<Self> {
        let document = SessionDocument::parse(content).ok()?;
        if document.session_type.as_deref() == Some("Port") {
            return None;
        }
        let inputs = document.inputs;
        let log_group = if inputs.streaming { inputs.log_group } else { Arc::from("") };
        let (bucket, prefix, encrypted) = (inputs.s3_bucket, inputs.s3_prefix, inputs.s3_encryption);
        let found = Self { bucket, prefix, encrypted, log_group, key: inputs.kms_key };
        (!found.bucket.is_empty() || !found.log_group.is_empty()).then_some(found)
    }
}

impl World {
    /// Every action that a logged session on this node needs, decided by the policies in force now; twelve in the
    /// untouched organisation. `None` where the node has no role or is not known. `id` is the session's.
    pub fn check_node(&self, account: AccountId, region: &str, node: &str, id: &str) -> Option<Vec<ActionCheck>> {
        let content = self.document(account, region, crate::session::DEFAULT_DOCUMENT).ok()?.content;
        let role = self.role_behind(account, region, node)?;
        Some(self.checks(account, region, node, &role, &Destination::of(&content)?, id))
    }

    fn role_behind(&self, account: AccountId, region: &str, node: &str) -> Option<Identity> {
        let laid_out = self.account(account)?.node(region, node)?;
        let role = match laid_out.kind {
            NodeKind::Container => Arc::clone(&laid_out.role),
            NodeKind::Instance | NodeKind::Hybrid => self.node(account, region, node)?.role?.0,
        };
        self.identity(account, &Who::Role(role)).ok()
    }

    fn checks(
        &self,
        account: AccountId,
        region: &str,
        node: &str,
        role: &Identity,
        to: &Destination,
        id: &str,
    ) -> Vec<ActionCheck> {
        let Some(caller) = self.caller(account, role) else { return Vec::new() };
        let network = self.node(account, region, node).and_then(|node| node.network);
        let network = network.and_then(|network| self.network(&network).ok()).unwrap_or_default();
        let endpoint = |service: &str| network.endpoints.get(service).map(|endpoint| self.parsed(&endpoint.policy));
        let key = |arn: &str| {
            let found = self.estate.keys.get(arn)?;
            let (policy, rcps) = (Some(self.parsed(&found.policy)), self.rcps(owner_of(arn)?));
            Some(Target { policy, rcps, endpoint: endpoint("kms"), ..Target::new(arn) })
        };
        let bucket = &self.estate.bucket;
        let in_bucket = |resource: String| Target {
            account: Some(bucket.account),
            policy: bucket.policy.as_ref().map(|policy| self.parsed(policy)),
            rcps: self.rcps(bucket.account),
            endpoint: endpoint("s3"),
            ..Target::new(resource)
        };
        let name = &to.bucket;
        let kept = *name == self.estate.texts.bucket_name;
        let session_key = self.key(account, region, &to.key).ok().map(|key| key.arn);
        let bucket_key = bucket.key.as_ref().filter(|_| kept);
        let keys = bucket_key.into_iter().chain(session_key.as_ref());
        let group = &to.log_group;
        let stream = format!("arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{}", log_stream_name(id));
        let stream = Target { endpoint: endpoint("logs"), rcps: self.rcps(account), ..Target::new(stream) };
        let object = format!("arn:aws:s3:::{name}/{}", log_object_key(&to.prefix, id));
        let targets = LogTargets {
            object: kept.then(|| in_bucket(object)),
            bucket: (kept && to.encrypted).then(|| in_bucket(format!("arn:aws:s3:::{name}"))),
            keys: keys.filter_map(|arn| key(arn)).collect(),
            stream: (!group.is_empty()).then_some(stream),
            channels: Target { endpoint: endpoint("ssmmessages"), ..Target::new("*") },
        };
        let context = Context::new()
            .with("aws:PrincipalOrgID", [&*self.estate.texts.organization])
            .with("aws:SecureTransport", ["true"]);
        check_actions(&caller, &targets, &context)
    }

    fn parsed(&self, policy: &PolicyText) -> Arc<Policy> {
        let mut known = self.policies.borrow_mut();
        if let Some(known) = known.get(policy) {
            return Arc::clone(known);
        }
        if known.len() >= POLICIES_MAX {
            known.clear();
        }
        let read = Arc::new(Policy::parse(&policy.text).named(&*policy.name));
        known.insert(policy.clone(), Arc::clone(&read));
        read
    }

    fn caller(&self, account: AccountId, role: &Identity) -> Option<Caller> {
        let mut caller = Caller::new(Principal::parse(&role.arn).ok()?);
        caller.identity = role.policies.iter().map(|policy| self.parsed(policy)).collect();
        caller.boundary = role.boundary.as_ref().map(|policy| self.parsed(policy));
        let levels = self.guards(account).ok()?.scps;
        caller.scps = levels.iter().map(|level| level.iter().map(|policy| self.parsed(policy)).collect()).collect();
        Some(caller)
    }

    fn rcps(&self, account: AccountId) -> Vec<Vec<Arc<Policy>>> {
        let levels = self.guards(account).map(|guards| guards.rcps).unwrap_or_default();
        levels.iter().map(|level| level.iter().map(|policy| self.parsed(policy)).collect()).collect()
    }

    /// Whether a role can write an object from a node. A key that is disabled opens to nobody.
    fn may_upload(&self, account: AccountId, key: &SessionKey, node: &str, to: &Destination) -> bool {
        let Some(home) = self.role_behind(key.account, &key.region, node) else { return false };
        let role = if account == key.account {
            home
        } else {
            let name = home.arn.rsplit('/').next().unwrap_or_default();
            let Ok(role) = self.identity(account, &Who::Role(Arc::from(name))) else { return false };
            role
        };
        let checks = self.checks(account, &key.region, node, &role, to, &key.id);
        let bucket_key = self.estate.bucket.key.as_deref();
        let needed = |check: &&ActionCheck| match check.action {
            "s3:PutObject" | "s3:GetEncryptionConfiguration" => true,
            "kms:GenerateDataKey" => bucket_key == Some(&*check.resource),
            _ => false,
        };
        let usable = bucket_key.is_none_or(|arn| self.estate.keys.get(arn).is_some_and(|key| key.enabled));
        to.bucket == self.estate.texts.bucket_name && usable && checks.iter().filter(needed).all(allowed)
    }

    /// Whether a node can write to the streams of a group. A group that is gone takes nothing.
    pub(crate) fn may_stream(&self, place: &InRegion, node: &str, id: &str) -> bool {
        let (account, region, group) = place;
        if !self.estate.log_groups.contains(place) || !self.agent_lives(node) {
            return false;
        }
        let Some(role) = self.role_behind(*account, region, node) else { return false };
        let to = Destination { log_group: Arc::clone(group), ..Destination::default() };
        let checks = self.checks(*account, region, node, &role, &to, id);
        checks.iter().filter(|check| check.action.starts_with("logs:")).all(allowed)
    }

    pub(crate) fn agent_lives(&self, node: &str) -> bool {
        // A container's agent lives as long as the container.
        self.estate.nodes.get(node).is_none_or(|node| node.agent == Agent::Online)
    }

    /// Writes a session's log to the bucket, if that is allowed now.
    pub(crate) fn upload(&mut self, key: &SessionKey, at: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let (Some(to), fate) = (session.destination.clone(), session.log) else { return };
        let target = Arc::clone(&session.description.target);
        let (writer, prefix): (_, Arc<str>) = match fate {
            LogFate::Forged(account) => (account, Arc::clone(&to.prefix)),
            LogFate::Misplaced => (key.account, format!("{}/elsewhere", key.account).into()),
            _ => (key.account, Arc::clone(&to.prefix)),
        };
        let to = Destination { prefix, ..to };
        let forged = writer != key.account;
        if !forged && !self.agent_lives(&target) || !self.may_upload(writer, key, &target, &to) {
            return;
        }
        let size_bytes = match fate {
            LogFate::Empty => 0,
            LogFate::Small => 8,
            _ => self.dice.between(200, 40_000) as u64,
        };
        let name = log_object_key(&to.prefix, &key.id);
        self.put_object(&name, size_bytes, at.as_event_time(), writer);
        if let Some(session) = self.sessions.get_mut(key) {
            session.log_key = Some(name.into());
            if fate == LogFate::Twice {
                session.log = LogFate::Usual;
                self.uploads.insert((at.plus_ms(1_000), key.clone()));
            }
        }
    }

    pub(crate) fn put_object(&mut self, name: &str, size_bytes: u64, written_at: EventTime, writer: AccountId) {
        let before = if self.estate.bucket.versioned { self.objects.get(name) } else { None };
        let versions = 1 + before.map_or(0, |stored| stored.object.versions);
        let object = LogObject { size_bytes, written_at, versions, writer: Some(writer) };
        self.objects.insert(name.into(), Stored { object, deleted: false });
    }
}

fn allowed(check: &ActionCheck) -> bool {
    check.decision.answer == Answer::Allow
}

fn owner_of(arn: &str) -> Option<AccountId> {
    arn.split(':').nth(4)?.parse().ok()
}
