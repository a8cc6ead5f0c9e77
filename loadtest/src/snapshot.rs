//! What the sessions of an organisation rest on, line by line, as `replay --snapshot` reads it.

use std::{collections::BTreeSet, sync::Arc};

use sessionwarden_machine::posture::{
    CallError, Who,
    snapshot::{Line, Named},
};
use sessionwarden_world::{Account, NodeKind, World, session::DEFAULT_DOCUMENT};

/// The custom documents of every account and region.
const CUSTOM_DOCUMENTS: [&str; 3] = ["database-tunnel", "debug-shell", "process-list"];

/// The posture of all accounts as it is now: the time, the log bucket and its key, and for each account what is laid on
/// it, its people, nodes and roles, and its documents, keys, networks and clusters.
pub(crate) fn lines(world: &World) -> impl Iterator<Item = Line> {
    let name = world.bucket_name();
    let bucket = world.bucket(name);
    let key = bucket.as_ref().ok().and_then(|bucket| bucket.key.clone().zip(Some(bucket.account)));
    let key = key.map(|(arn, account)| {
        let region = arn.split(':').nth(3).unwrap_or_default();
        let answer = world.key(account, region, &arn).into();
        Line::Key(Named { account, region: region.into(), id: Arc::clone(&arn) }, answer)
    });
    let shared = [Line::Taken(world.now().as_event_time()), Line::Bucket(Arc::clone(name), bucket.into())];
    let accounts = world.accounts().iter().flat_map(|account| of_account(world, account));
    shared.into_iter().chain(key).chain(accounts)
}

fn of_account(world: &World, account: &Account) -> Vec<Line> {
    let id = account.id;
    let mut lines = vec![Line::Guards(id, world.guards(id).into())];
    let callers = account.users.iter().chain([&account.admin, &account.third_party]);
    let mut whose: BTreeSet<Who> = callers.filter_map(|caller| who(&caller.arn)).collect();
    for node in &account.nodes {
        let named = |id: Arc<str>| Named { account: account.id, region: Arc::clone(&node.region), id };
        whose.insert(Who::Role(Arc::clone(&node.role)));
        if node.kind == NodeKind::Container {
            lines.extend(cluster(&node.id).map(|cluster| {
                let answer = world.cluster(id, &node.region, &cluster).into();
                Line::Cluster(named(cluster), answer)
            }));
            continue;
        }
        let found = world.node(id, &node.region, &node.id);
        whose.extend(found.iter().filter_map(|node| Some(Who::Role(Arc::clone(&node.role.as_ref()?.0)))));
        lines.push(Line::Node(named(Arc::clone(&node.id)), found.ok_or(CallError::Gone).into()));
    }
    lines.extend(whose.into_iter().map(|who| {
        let answer = world.identity(id, &who).into();
        Line::Identity(id, who, answer)
    }));
    lines.extend(world.regions().iter().flat_map(|region| of_region(world, account, region)));
    lines
}

fn of_region(world: &World, account: &Account, region: &Arc<str>) -> Vec<Line> {
    let id = account.id;
    let named = |name: &str| Named { account: id, region: Arc::clone(region), id: name.into() };
    let documents = CUSTOM_DOCUMENTS.iter().chain([&DEFAULT_DOCUMENT]);
    let documents = documents.map(|name| Line::Document(named(name), world.document(id, region, name).into()));
    let key = world.wanted_preferences().kms_key;
    let key = key.map(|name| Line::Key(named(&name), world.key(id, region, &name).into()));
    let here = account.machines().filter(|node| node.region == *region);
    let networks: BTreeSet<Arc<str>> = here.filter_map(|node| world.node(id, region, &node.id)?.network).collect();
    let networks = networks.iter().map(|network| Line::Network(named(network), world.network(network).into()));
    documents.chain(key).chain(networks).collect()
}

/// The role or user in a caller's ARN.
fn who(arn: &str) -> Option<Who> {
    let mut parts = arn.splitn(6, ':').nth(5)?.split('/');
    match (parts.next()?, parts.next()?) {
        ("assumed-role", role) => Some(Who::Role(role.into())),
        ("user", user) => Some(Who::User(user.into())),
        _ => None,
    }
}

/// The cluster in `ecs:<cluster>_<task>_<runtime>`.
fn cluster(target: &str) -> Option<Arc<str>> {
    let cluster = target.strip_prefix("ecs:")?.rsplitn(3, '_').nth(2)?;
    Some(cluster.into())
}
