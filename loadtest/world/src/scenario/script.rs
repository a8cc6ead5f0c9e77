//! What scenarios are made of.

use std::sync::Arc;

use super::{Expected, Scenario, shared};
use crate::{
    act::Act,
    change::Change,
    cloudtrail::Caller,
    estate::customer_policy,
    organisation::{Account, Node, NodeKind},
    session::{LogFate, StartSession},
    texts::LOG_POLICY,
    world::World,
};

/// When the session of a scenario begins, something is changed, and the session is left, in milliseconds.
pub(super) const BEGIN: i64 = 1_000;
pub(super) const CHANGE: i64 = 5_000;
pub(super) const LEAVE: i64 = 15_000;

pub(super) type Acts = Vec<(i64, Act)>;

pub(super) const fn scenario(
    threat: &'static str,
    name: &'static str,
    acts: fn(&World) -> Acts,
    expected: Expected,
) -> Scenario {
    Scenario { name, threat, expected, acts }
}

/// A script while it is written: an ordinary account with a node, and the account of the logs.
pub(super) struct Script<'w> {
    pub(super) world: &'w World,
    pub(super) account: &'w Account,
    pub(super) archive: &'w Account,
    pub(super) node: &'w Node,
    pub(super) acts: Acts,
}

impl<'w> Script<'w> {
    /// On the first node of the first ordinary account, or of the only account there is.
    pub(super) fn new(world: &'w World) -> Self {
        let accounts = world.accounts();
        let account = accounts.iter().find(|account| account.ordinary()).unwrap_or(&accounts[0]);
        let archive = world.account(world.log_archive()).unwrap_or(account);
        Self { world, account, archive, node: &account.nodes[0], acts: Vec::new() }
    }

    /// On another node of the account: 4 is a hybrid one, 5 has no profile, the last is a container.
    pub(super) fn at_node(mut self, at: usize) -> Self {
        self.node = self.account.nodes.get(at).unwrap_or(self.node);
        self
    }

    /// On a machine in this region.
    pub(super) fn in_region(mut self, region: &str) -> Self {
        self.node = self.account.machines().find(|node| &*node.region == region).unwrap_or(self.node);
        self
    }

    pub(super) fn at_container(mut self) -> Self {
        let container = self.account.nodes.iter().find(|node| node.kind == NodeKind::Container);
        self.node = container.unwrap_or(self.node);
        self
    }

    pub(super) fn in_account(mut self, account: &'w Account) -> Self {
        (self.account, self.node) = (account, &account.nodes[0]);
        self
    }

    pub(super) fn request(&self) -> StartSession {
        let (region, target) = (Arc::clone(&self.node.region), Arc::clone(&self.node.id));
        StartSession { region, target, reason: Some(shared("OPS-7 look around")), ..StartSession::default() }
    }

    pub(super) fn starts(mut self, at: i64, caller: &Arc<Caller>, request: StartSession) -> Self {
        self.acts.push((at, Act::Start { slot: 0, caller: Arc::clone(caller), request }));
        self.acts.push((LEAVE.max(at + 10_000), Act::Exit { slot: 0 }));
        self
    }

    /// Somebody works in a shell from [`BEGIN`] to [`LEAVE`].
    pub(super) fn shell(self, log: LogFate) -> Self {
        let (caller, request) = (&self.account.users[0], StartSession { log, ..self.request() });
        self.starts(BEGIN, caller, request)
    }

    pub(super) fn with_document(self, at: i64, document: &str) -> Self {
        let (caller, request) = (&self.account.users[0], self.request());
        self.starts(at, caller, StartSession { document: Some(shared(document)), ..request })
    }

    pub(super) fn then(mut self, at: i64, act: Act) -> Self {
        self.acts.push((at, act));
        self
    }

    pub(super) fn by(self, at: i64, caller: &Arc<Caller>, change: Change) -> Self {
        let (caller, region) = (Arc::clone(caller), Arc::clone(&self.node.region));
        self.then(at, Act::Change { caller, region, change })
    }

    /// The account's administrator changes something.
    pub(super) fn change(self, at: i64, change: Change) -> Self {
        let admin = &self.account.admin;
        self.by(at, admin, change)
    }

    /// The log archive's administrator changes something.
    pub(super) fn archived(self, at: i64, change: Change) -> Self {
        let admin = &self.archive.admin;
        self.by(at, admin, change)
    }

    /// Calls that change nothing the model knows, one second apart.
    pub(super) fn calls(mut self, source: &'static str, names: &[&'static str]) -> Self {
        let node = Arc::clone(&self.node.id);
        for (at, name) in (0..).zip(names) {
            self = self.change(CHANGE + 1_000 * at, Change::Other(source, name, Arc::clone(&node)));
        }
        self
    }

    pub(super) fn role(&self) -> Arc<str> {
        Arc::clone(&self.node.role)
    }

    pub(super) fn policy(&self) -> Arc<str> {
        customer_policy(self.account.id, LOG_POLICY)
    }

    pub(super) fn key(&self) -> Arc<str> {
        let bucket = self.world.bucket(self.world.bucket_name()).ok();
        bucket.and_then(|bucket| bucket.key).unwrap_or_default()
    }
}

/// A shell whose log comes in another way.
pub(super) fn with_log(world: &World, log: LogFate) -> Acts {
    Script::new(world).shell(log).acts
}

/// A shell during which something is changed in its account.
pub(super) fn while_open(world: &World, change: impl FnOnce(&Script<'_>) -> Change) -> Acts {
    let script = Script::new(world).shell(LogFate::Usual);
    let change = change(&script);
    script.change(CHANGE, change).acts
}
