//! What sessions rest on: roles, policies, profiles, documents, keys, the bucket, networks, clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    ids::AccountId,
    posture::{Agent, Bucket, Cluster, Endpoint, Key, Network, PolicyText, RoleFrom, Tags, Who},
};

use crate::{
    cloudtrail::{Caller, CallerKind},
    dice::{BASE36, Dice, HEX, push_uuid},
    organisation::{Account, HOST_MANAGEMENT_ROLE, Node, NodeKind, OrganisationShape},
    session::DEFAULT_DOCUMENT,
    texts::{
        AWS_POLICIES, CLUSTER, CUSTOM_DOCUMENTS, LOG_GROUP, LOG_POLICY, NODE_TAG, OPEN_PROFILE, OPEN_ROLE, SESSION_KEY,
        THIRD_PARTY_TAG, Texts, aws_policy,
    },
};

/// A role or user.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) arn: Arc<str>,
    /// ARNs of managed policies.
    pub(crate) attached: BTreeSet<Arc<str>>,
    /// Inline policies by name.
    pub(crate) inline: BTreeMap<Arc<str>, Arc<str>>,
    /// The ARN of the managed policy that is the boundary.
    pub(crate) boundary: Option<Arc<str>>,
    pub(crate) tags: Tags,
}

/// The versions of a managed policy or a document, from 1. The default one counts, not the newest.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    pub(crate) texts: BTreeMap<u32, Arc<str>>,
    pub(crate) default: u32,
    /// How many there ever were: numbers are not used again.
    pub(crate) last: u32,
    /// The accounts a document is shared with.
    pub(crate) shared_with: BTreeSet<AccountId>,
}

impl Versions {
    pub(crate) fn new(texts: impl IntoIterator<Item = Arc<str>>) -> Self {
        let texts: BTreeMap<u32, Arc<str>> = (1..).zip(texts).collect();
        let last = texts.len() as u32;
        Self { texts, default: last, last, shared_with: BTreeSet::new() }
    }

    pub(crate) fn current(&self) -> Option<&Arc<str>> {
        self.texts.get(&self.default)
    }

    pub(crate) fn add(&mut self, text: Arc<str>) -> u32 {
        self.last += 1;
        self.texts.insert(self.last, text);
        self.last
    }

    pub(crate) fn newest(&self) -> u32 {
        self.texts.last_key_value().map_or(self.default, |(version, _)| *version)
    }
}

/// What changes about a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    /// The association's id and the instance profile's name.
    pub(crate) association: Option<(Arc<str>, Arc<str>)>,
    /// The role of the hybrid activation.
    pub(crate) activation: Option<Arc<str>>,
    pub(crate) tags: Tags,
    pub(crate) agent: Agent,
    pub(crate) network: Option<Arc<str>>,
}

/// An account's thing in a region, by name.
pub(crate) type InRegion = (AccountId, Arc<str>, Arc<str>);

#[derive(Clone, Debug)]
pub(crate) struct Estate {
    pub(crate) texts: Texts,
    pub(crate) holders: BTreeMap<(AccountId, Who), Holder>,
    /// Managed policies by ARN.
    pub(crate) managed: BTreeMap<Arc<str>, Versions>,
    /// The role of each instance profile.
    pub(crate) profiles: BTreeMap<(AccountId, Arc<str>), Option<Arc<str>>>,
    /// By the node's id, which no two accounts have in common.
    pub(crate) nodes: BTreeMap<Arc<str>, NodeState>,
    /// The Default Host Management role of each account and region that has one.
    pub(crate) host_management: BTreeMap<(AccountId, Arc<str>), Arc<str>>,
    pub(crate) bucket: Bucket,
    /// Keys by ARN.
    pub(crate) keys: BTreeMap<Arc<str>, Key>,
    pub(crate) aliases: BTreeMap<InRegion, Arc<str>>,
    pub(crate) documents: BTreeMap<InRegion, Versions>,
    /// By the network's id, which no two accounts have in common.
    pub(crate) networks: BTreeMap<Arc<str>, Network>,
    pub(crate) clusters: BTreeMap<InRegion, Cluster>,
    pub(crate) log_groups: BTreeSet<InRegion>,
}

impl Estate {
    pub(crate) fn new(shape: &OrganisationShape, accounts: &[Account], archive: AccountId, dice: &mut Dice) -> Self {
        let mut organization = String::from("o-");
        dice.push(&mut organization, BASE36, 10);
        let home = shape.regions.first().map_or("us-east-1", |region| &**region);
        let bucket_key = key_arn(home, archive, dice);
        let texts = Texts::new(organization.into(), archive, &bucket_key);
        let policy = PolicyText { name: Arc::from("the bucket's policy"), text: Arc::clone(&texts.bucket) };
        let key = Some(Arc::clone(&bucket_key));
        let aws = AWS_POLICIES.iter().map(|(name, text)| (aws_policy(name), Versions::new([Arc::from(*text)])));
        let mut estate = Self {
            holders: BTreeMap::new(),
            managed: aws.collect(),
            profiles: BTreeMap::new(),
            nodes: BTreeMap::new(),
            host_management: BTreeMap::new(),
            bucket: Bucket { account: archive, policy: Some(policy), versioned: true, key, locked: true },
            keys: BTreeMap::new(),
            aliases: BTreeMap::new(),
            documents: BTreeMap::new(),
            networks: BTreeMap::new(),
            clusters: BTreeMap::new(),
            log_groups: BTreeSet::new(),
            texts,
        };
        estate.add_key(bucket_key, archive, Vec::new());
        let custom: Vec<(Arc<str>, Arc<str>)> =
            CUSTOM_DOCUMENTS.iter().map(|(name, text)| (Arc::from(*name), Arc::from(*text))).collect();
        for account in accounts {
            estate.add_identities(account);
            for region in &shape.regions {
                estate.add_region(account, region, &custom, dice);
            }
            for (at, node) in account.nodes.iter().enumerate() {
                estate.add_node(account, at, node, dice);
            }
        }
        estate
    }

    fn add_key(&mut self, arn: Arc<str>, account: AccountId, aliases: Vec<Arc<str>>) {
        let policy = PolicyText { name: Arc::from("the key's policy"), text: self.texts.key(account) };
        self.keys.insert(Arc::clone(&arn), Key { arn, enabled: true, aliases: Some(aliases), policy });
    }

    fn add_identities(&mut self, account: &Account) {
        let id = account.id;
        let log_policy = customer_policy(id, LOG_POLICY);
        let boundary = customer_policy(id, "NodeBoundary");
        let versions = [&self.texts.useless_log, &self.texts.log].map(Arc::clone);
        self.managed.insert(Arc::clone(&log_policy), Versions::new(versions));
        self.managed.insert(Arc::clone(&boundary), Versions::new([Arc::clone(&self.texts.boundary)]));
        let core = aws_policy("AmazonSSMManagedInstanceCore");
        for node in &account.nodes {
            let role = &node.role;
            let mut holder = Holder::role(id, "", role);
            holder.attached = BTreeSet::from([Arc::clone(&core), Arc::clone(&log_policy)]);
            holder.boundary = (&**role == "batch-node-role").then(|| Arc::clone(&boundary));
            self.holders.insert((id, Who::Role(Arc::clone(role))), holder);
            if node.kind == NodeKind::Instance {
                self.profiles.insert((id, profile_of(role)), Some(Arc::clone(role)));
            }
        }
        let mut open = Holder::role(id, "", OPEN_ROLE);
        open.attached.insert(core);
        self.holders.insert((id, Who::Role(Arc::from(OPEN_ROLE))), open);
        self.profiles.insert((id, Arc::from(OPEN_PROFILE)), Some(Arc::from(OPEN_ROLE)));
        let people = account.users.iter().map(|user| (user, &self.texts.operator));
        let others = [(&account.admin, None), (&account.third_party, Some(&self.texts.third_party))];
        for (caller, inline) in people.map(|(user, text)| (user, Some(text))).chain(others) {
            let Some((who, mut holder)) = Holder::of(caller) else { continue };
            match inline {
                Some(text) => {
                    holder.inline.insert(Arc::from("sessions"), Arc::clone(text));
                }
                None => {
                    holder.attached.insert(aws_policy("AdministratorAccess"));
                }
            }
            if Arc::ptr_eq(caller, &account.third_party) {
                holder.tags.insert(Arc::from(THIRD_PARTY_TAG.0), Arc::from(THIRD_PARTY_TAG.1));
                holder.tags.insert(Arc::from("SSMSessionRunAs"), Arc::from("acme-support"));
            }
            self.holders.insert((id, who), holder);
        }
    }

    fn add_region(&mut self, account: &Account, region: &Arc<str>, custom: &[(Arc<str>, Arc<str>)], dice: &mut Dice) {
        let named = |name: &str| -> InRegion { (account.id, Arc::clone(region), Arc::from(name)) };
        let arn = key_arn(region, account.id, dice);
        self.aliases.insert(named(SESSION_KEY), Arc::clone(&arn));
        self.add_key(arn, account.id, vec![Arc::from(SESSION_KEY)]);
        self.log_groups.insert(named(LOG_GROUP));
        let preferences = self.texts.preferences(account.id, region);
        self.documents.insert(named(DEFAULT_DOCUMENT), Versions::new([preferences]));
        for (name, text) in custom {
            let place = (account.id, Arc::clone(region), Arc::clone(name));
            self.documents.insert(place, Versions::new([Arc::clone(text)]));
        }
        let cluster = Cluster {
            logging: Arc::from("OVERRIDE"),
            bucket: Arc::clone(&self.texts.bucket_name),
            log_group: Arc::from(LOG_GROUP),
        };
        self.clusters.insert(named(CLUSTER), cluster);
        self.host_management.insert((account.id, Arc::clone(region)), Arc::from(HOST_MANAGEMENT_ROLE));
        let policy =
            PolicyText { name: Arc::from("the endpoint's policy"), text: Arc::clone(&self.texts.open_endpoint) };
        let services = ["ec2messages", "kms", "logs", "s3", "ssm", "ssmmessages"];
        let endpoints = services.map(|service| {
            let endpoint = Endpoint { id: tagged("vpce-0", 16, dice), policy: policy.clone() };
            (Arc::from(service), endpoint)
        });
        self.networks.insert(network_of(account.id, region), Network { endpoints: endpoints.into() });
    }

    fn add_node(&mut self, account: &Account, at: usize, node: &Node, dice: &mut Dice) {
        let mut tags = Tags::from([(Arc::from(NODE_TAG.0), Arc::from(NODE_TAG.1))]);
        let mut state =
            NodeState { association: None, activation: None, tags: Tags::new(), agent: Agent::Online, network: None };
        match node.kind {
            NodeKind::Container => return,
            NodeKind::Hybrid => state.activation = Some(Arc::clone(&node.role)),
            NodeKind::Instance => {
                state.network = Some(network_of(account.id, &node.region));
                if has_profile(account, node) {
                    state.association = Some((tagged("iip-assoc-0", 16, dice), profile_of(&node.role)));
                }
                if at == 0 {
                    tags.insert(Arc::from(THIRD_PARTY_TAG.0), Arc::from(THIRD_PARTY_TAG.1));
                }
            }
        }
        state.tags = tags;
        self.nodes.insert(Arc::clone(&node.id), state);
    }

    /// An instance with this profile, whose agent answers.
    pub(crate) fn add_machine(&mut self, account: AccountId, node: &Node, profile: Arc<str>, dice: &mut Dice) {
        let state = NodeState {
            association: Some((tagged("iip-assoc-0", 16, dice), profile)),
            activation: None,
            tags: Tags::from([(Arc::from(NODE_TAG.0), Arc::from(NODE_TAG.1))]),
            agent: Agent::Online,
            network: Some(network_of(account, &node.region)),
        };
        self.nodes.insert(Arc::clone(&node.id), state);
    }

    /// The role behind a node, and where it comes from.
    pub(crate) fn role_of(
        &self,
        account: AccountId,
        region: &Arc<str>,
        node: &NodeState,
    ) -> Option<(Arc<str>, RoleFrom)> {
        if let Some(role) = &node.activation {
            return Some((Arc::clone(role), RoleFrom::Activation));
        }
        if let Some((_, profile)) = &node.association {
            let role = self.profiles.get(&(account, Arc::clone(profile)))?.as_ref()?;
            return Some((Arc::clone(role), RoleFrom::InstanceProfile(Arc::clone(profile))));
        }
        let role = self.host_management.get(&(account, Arc::clone(region)))?;
        Some((Arc::clone(role), RoleFrom::DefaultHostManagement))
    }

    /// The default version of a managed policy.
    pub(crate) fn managed_text(&self, arn: &Arc<str>) -> Option<PolicyText> {
        let versions = self.managed.get(arn)?;
        let name = format!("{arn} v{}", versions.default).into();
        versions.current().map(|text| PolicyText { name, text: Arc::clone(text) })
    }
}

impl Holder {
    fn role(account: AccountId, path: &str, name: &str) -> Self {
        Self {
            arn: format!("arn:aws:iam::{account}:role/{path}{name}").into(),
            attached: BTreeSet::new(),
            inline: BTreeMap::new(),
            boundary: None,
            tags: Tags::new(),
        }
    }

    /// The role or user that a caller is.
    fn of(caller: &Caller) -> Option<(Who, Self)> {
        let mut parts = caller.arn.splitn(3, '/');
        let (_, name) = (parts.next()?, parts.next()?);
        Some(match caller.kind {
            CallerKind::IamUser => {
                let holder = Self { arn: Arc::clone(&caller.arn), ..Self::role(caller.account, "", name) };
                (Who::User(Arc::from(name)), holder)
            }
            CallerKind::AssumedRole => {
                let single_sign_on = name.starts_with("AWSReservedSSO_");
                let path = if single_sign_on { "aws-reserved/sso.amazonaws.com/" } else { "" };
                (Who::Role(Arc::from(name)), Self::role(caller.account, path, name))
            }
            CallerKind::Service => return None,
        })
    }
}

/// The ARN of an account's own managed policy.
pub fn customer_policy(account: AccountId, name: &str) -> Arc<str> {
    format!("arn:aws:iam::{account}:policy/{name}").into()
}

/// The version of the log policy that lets nodes write; an older one does not.
pub const LOG_VERSION: u32 = 2;

/// Whether an instance has its role from an instance profile, in the untouched organisation.
pub(crate) fn has_profile(account: &Account, node: &Node) -> bool {
    let at = account.nodes.iter().position(|other| other.id == node.id);
    node.kind == NodeKind::Instance && at.is_some_and(|at| at % 6 != 5)
}

/// The instance profile of a role, in the untouched organisation.
pub fn profile_of(role: &str) -> Arc<str> {
    role.replace("-role", "-profile").into()
}

/// The only network of an account in a region.
pub(crate) fn network_of(account: AccountId, region: &str) -> Arc<str> {
    let mut id = String::from("vpc-0");
    let digest = sessionwarden_machine::ids::EventId::of_content(format!("{account}/{region}").as_bytes());
    id.extend(digest.to_string().chars().filter(|digit| *digit != '-').take(16));
    id.into()
}

fn key_arn(region: &str, account: AccountId, dice: &mut Dice) -> Arc<str> {
    let mut arn = format!("arn:aws:kms:{region}:{account}:key/");
    push_uuid(&mut arn, dice.uuid());
    arn.into()
}

fn tagged(prefix: &str, digits: usize, dice: &mut Dice) -> Arc<str> {
    let mut id = String::from(prefix);
    dice.push(&mut id, HEX, digits);
    id.into()
}
