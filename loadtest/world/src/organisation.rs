//! Accounts in organisational units, their nodes, roles and users, laid out from a shape and a seed.

use std::{collections::BTreeSet, sync::Arc};

use sessionwarden_machine::ids::{AccountId, Now};

use crate::{
    cloudtrail::Caller,
    dice::{Dice, HEX},
    texts::THIRD_PARTY_ROLE,
};

/// The role that Default Host Management gives to instances without a profile: each account's sixth node, for one.
pub const HOST_MANAGEMENT_ROLE: &str = "data-node-role";

/// How large an organisation is, and how fast things happen in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganisationShape {
    /// Ordinary accounts; the management account and the log archive come on top.
    pub accounts: usize,
    /// EC2 and hybrid nodes in each account, at least one; a container target comes on top.
    pub nodes_per_account: usize,
    /// People in each account, at least one.
    pub users_per_account: usize,
    /// Regions in use; nodes are spread over them in turn. At least one.
    pub regions: Vec<Arc<str>>,
    /// How long after its end a session's log is written, in milliseconds: shortest and longest.
    pub log_delay_ms: (i64, i64),
    /// How long an attached quarantine policy takes to bite, in milliseconds.
    pub quarantine_delay_ms: i64,
    /// After how long a session that nobody resumes ends by itself, in milliseconds.
    pub idle_timeout_ms: i64,
    /// How long AWS still describes an ended session, in milliseconds. Its log is forgotten with it.
    pub history_ms: i64,
}

impl Default for OrganisationShape {
    /// Eight accounts that behave as AWS does: logs after 30–90 s, an idle timeout of 20 min, a history of 30 days.
    fn default() -> Self {
        Self {
            accounts: 8,
            nodes_per_account: 6,
            users_per_account: 4,
            regions: vec![Arc::from("eu-central-1"), Arc::from("us-east-1")],
            log_delay_ms: (30_000, 90_000),
            quarantine_delay_ms: 60_000,
            idle_timeout_ms: 20 * 60_000,
            history_ms: 30 * 24 * 3_600_000,
        }
    }
}

impl OrganisationShape {
    /// The default organisation in quick motion: logs after 2–4 s, quarantine after 1 s, a history of one hour.
    pub fn quick() -> Self {
        Self { log_delay_ms: (2_000, 4_000), quarantine_delay_ms: 1_000, history_ms: 3_600_000, ..Self::default() }
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// An EC2 instance, `i-…`.
    Instance,
    /// A hybrid node, `mi-…`.
    Hybrid,
    /// A container, `ecs:<cluster>_<task>_<runtime>`.
    Container,
}

/// Something a session can be opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The target as `StartSession` takes it.
    pub id: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// Where it runs.
    pub region: Arc<str>,
    /// The name of the role behind it in the untouched organisation.
    pub role: Arc<str>,
}

/// An account of the organisation.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: Arc<str>,
    /// The path of its organisational unit, for example `workloads/production`; `root` for the management account.
    pub unit: Arc<str>,
    /// The management account: service control policies do not bind it.
    pub management: bool,
    /// The account that keeps the session logs.
    pub log_archive: bool,
    /// Its nodes; the container target is the last.
    pub nodes: Vec<Node>,
    /// The people who use it.
    pub users: Vec<Arc<Caller>>,
    /// Somebody with administrator's rights.
    pub admin: Arc<Caller>,
    /// A third party with its own role.
    pub third_party: Arc<Caller>,
    /// Sessionwarden's own role, which the quarantine policy does not bind.
    pub warden: Arc<Caller>,
}

impl Account {
    /// Neither the management account nor the log archive.
    pub fn ordinary(&self) -> bool {
        !self.management && !self.log_archive
    }

    /// The node with this id in `region`.
    pub fn node(&self, region: &str, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| &*node.id == id && &*node.region == region)
    }

    /// The EC2 and hybrid nodes.
    pub fn machines(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.kind != NodeKind::Container)
    }
}

const PEOPLE: [&str; 16] = [
    "alice", "bruno", "chandra", "dmitri", "elena", "farid", "grace", "hiroshi", "ines", "jonas", "kofi", "lena",
    "marta", "nikhil", "olga", "pedro",
];
const UNITS: [&str; 4] = ["workloads/production", "workloads/staging", "workloads/development", "sandbox"];
const ROLES: [&str; 3] = ["web-node-role", "batch-node-role", "data-node-role"];
const HYBRID_ROLE: &str = "hybrid-node-role";
const TASK_ROLE: &str = "ecs-task-role";

/// The accounts of an organisation, the management account and the log archive first. Those without an id in `given`
/// get one by chance.
pub(crate) fn lay_out(shape: &OrganisationShape, given: &[AccountId], start: Now, dice: &mut Dice) -> Vec<Account> {
    let mut taken: BTreeSet<AccountId> = given.iter().copied().collect();
    let mut parties = Dice::new(0x0070_6172_7469_6573);
    (0..shape.accounts + 2)
        .map(|at| {
            let chance = |taken: &mut BTreeSet<AccountId>, dice: &mut Dice| loop {
                let id = AccountId::new(dice.between(100_000_000_000, 999_999_999_999) as u64);
                if let Some(id) = id.filter(|id| taken.insert(*id)) {
                    break id;
                }
            };
            let id = given.get(at).copied().unwrap_or_else(|| chance(&mut taken, dice));
            account(shape, id, at, start, dice, &mut parties)
        })
        .collect()
}

fn account(
    shape: &OrganisationShape,
    id: AccountId,
    at: usize,
    start: Now,
    dice: &mut Dice,
    parties: &mut Dice,
) -> Account {
    let (name, unit) = match at {
        0 => ("management".to_owned(), "root"),
        1 => ("log-archive".to_owned(), "security"),
        _ => {
            let unit = UNITS[(at - 2) % UNITS.len()];
            (format!("{}-{:03}", unit.rsplit('/').next().unwrap_or(unit), at - 1), unit)
        }
    };
    let since = start.plus_ms(-20 * 60_000).as_event_time();
    let users = (0..shape.users_per_account.max(1))
        .map(|user| {
            let person = PEOPLE[(at + user) % PEOPLE.len()];
            let turn = user / PEOPLE.len();
            let name = if turn == 0 { person.to_owned() } else { format!("{person}{turn}") };
            Arc::new(if user % 4 == 3 {
                Caller::iam_user(id, &name, dice)
            } else {
                let mail = format!("{name}@example.com");
                Caller::assumed_role(id, "AWSReservedSSO_Operator_4f1c8e2b9a7d6035", &mail, since, dice)
            })
        })
        .collect();
    let admin =
        Caller::assumed_role(id, "AWSReservedSSO_Administrator_9b3e7a1d5c2f8046", "admin@example.com", since, dice);
    let warden = Caller::assumed_role(id, "SessionwardenMember", "sessionwarden", since, dice).exempted();
    Account {
        id,
        name: name.into(),
        unit: Arc::from(unit),
        management: at == 0,
        log_archive: at == 1,
        nodes: nodes(shape, dice),
        users,
        admin: Arc::new(admin),
        third_party: Arc::new(Caller::assumed_role(id, THIRD_PARTY_ROLE, "acme", since, parties)),
        warden: Arc::new(warden),
    }
}

fn nodes(shape: &OrganisationShape, dice: &mut Dice) -> Vec<Node> {
    let count = shape.nodes_per_account.max(1);
    let region = |at: usize| match shape.regions.len() {
        0 => Arc::from("us-east-1"),
        regions => Arc::clone(&shape.regions[at % regions]),
    };
    let mut nodes: Vec<Node> = (0..count)
        .map(|at| {
            let hybrid = at % 5 == 4;
            let mut id = String::from(if hybrid { "mi-0" } else { "i-0" });
            dice.push(&mut id, HEX, 16);
            let role = if hybrid { HYBRID_ROLE } else { ROLES[at % ROLES.len()] };
            let kind = if hybrid { NodeKind::Hybrid } else { NodeKind::Instance };
            Node { id: id.into(), kind, region: region(at), role: Arc::from(role) }
        })
        .collect();
    let mut id = String::from("ecs:apps_");
    dice.push(&mut id, HEX, 32);
    id.push('_');
    dice.push(&mut id, HEX, 32);
    id.push_str("-0179205828");
    nodes.push(Node { id: id.into(), kind: NodeKind::Container, region: region(0), role: Arc::from(TASK_ROLE) });
    nodes
}
