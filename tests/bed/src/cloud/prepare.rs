//! The organisation in the servers, as the model has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_ssm::types::{DocumentFormat, DocumentType};
use serde_json::{Value, json};
use sessionwarden_machine::{
    ids::AccountId,
    posture::{Identity, Who},
    scp::{ScpName, render},
};
use sessionwarden_world::{Account, Caller, OrganisationShape, World, cloudtrail::CallerKind, texts};

use super::{Cloud, EXTERNAL_ID, MANAGEMENT, Member, QueueUrls, REGION, ROLE, TOPIC, connect, now, scp_settings};
use crate::python;

/// The profile and role of the instances that may write logs, as the model has them.
const LOGGING: (&str, &str) = ("web-node-profile", "web-node-role");
const SEED: u64 = 1;
/// The preferences, and a shell that logs nothing.
const DOCUMENTS: [&str; 2] = ["SSM-SessionManagerRunShell", "debug-shell"];
/// What the role in member accounts may do. Nobody here checks who may call Systems Manager or CloudWatch Logs.
const ACTIONS: [&str; 14] = [
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstances",
    "ec2:DescribeVpcEndpoints",
    "ecs:DescribeClusters",
    "iam:Get*",
    "iam:List*",
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:ListAliases",
    "s3:GetBucket*",
    "s3:GetEncryptionConfiguration",
    "s3:ListBucketVersions",
    "s3:ListBucket",
    "sns:Publish",
];

/// The policies that are prepared; that of principals is made when it is needed.
const QUARANTINE: [ScpName; 2] = [ScpName::QuarantineAccess, ScpName::QuarantineChannel];

/// What the servers made of it.
pub(super) struct Filled {
    pub(super) members: Vec<Member>,
    pub(super) queues: QueueUrls,
    pub(super) access_policy: String,
    pub(super) channel_policy: String,
}

/// An organisation with a log archive and so many members. Returns their ids, the management account's first.
pub(super) async fn create_accounts(ministack: &str, members: usize) -> anyhow::Result<Vec<AccountId>> {
    let config: SdkConfig = connect::config(&[("organizations", ministack)], connect::root(MANAGEMENT)).await;
    let organizations = aws_sdk_organizations::Client::new(&config);
    let mut ids = vec![MANAGEMENT.parse()?];
    let names = std::iter::once("log-archive".to_owned()).chain((0..members).map(|at| format!("member-{at}")));
    for name in names {
        let call = organizations.create_account().email(format!("{name}@example.com")).account_name(&name);
        let made = call.send().await.context("CreateAccount")?;
        let id = made.create_account_status().and_then(|status| status.account_id()).context("no account")?;
        ids.push(id.parse()?);
    }
    Ok(ids)
}

/// The model of these accounts. Its logs are written two to four seconds after the end of a session.
pub(super) fn organisation(ids: &[AccountId]) -> World {
    let shape = OrganisationShape {
        accounts: ids.len().saturating_sub(2),
        nodes_per_account: 1,
        regions: vec![Arc::from(REGION)],
        ..OrganisationShape::quick()
    };
    World::of_accounts(ids, shape, SEED, now())
}

/// Makes in ministack what the model has, and adds to the model the instances that came of it.
pub(super) async fn fill(ministack: &str, world: &mut World) -> anyhow::Result<Filled> {
    let asked = ask(ministack, world)?.to_string();
    let run = move || python::script("cloud.py", &[], asked.as_bytes());
    let told = tokio::task::spawn_blocking(run).await?.map_err(anyhow::Error::msg)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("the script told no such thing");
    let ordinary: Vec<AccountId> = world.accounts().iter().filter(|it| it.ordinary()).map(|it| it.id).collect();
    let mut members = Vec::new();
    for account in ordinary {
        let instances = &told["members"][account.to_string()];
        let mut add = |profile: &str| -> anyhow::Result<Arc<str>> {
            let id = text(&instances[profile])?;
            world.add_machine(account, REGION, &id, profile);
            Ok(Arc::from(id))
        };
        members.push(Member { account, logging: add(LOGGING.0)?, silent: add(texts::OPEN_PROFILE)? });
    }
    let queues = QueueUrls {
        wake_ups: text(&told["wake_ups"])?,
        parked: text(&told["parked"])?,
        notifications: text(&told["notifications"])?,
    };
    let [access_policy, channel_policy] = QUARANTINE.map(|name| text(&told["quarantine"][name.as_str()]));
    Ok(Filled { members, queues, access_policy: access_policy?, channel_policy: channel_policy? })
}

/// The documents of each member, sent to moto by way of the session manager.
pub(super) async fn documents(cloud: &Cloud) -> anyhow::Result<()> {
    for member in &cloud.members {
        let ssm = aws_sdk_ssm::Client::new(&cloud.config(member.account).await);
        for name in DOCUMENTS {
            let content = cloud.world().document(member.account, REGION, name)?.content;
            let call = ssm.create_document().name(name).content(&*content);
            let call = call.document_type(DocumentType::Session).document_format(DocumentFormat::Json);
            call.send().await.with_context(|| format!("CreateDocument {name}"))?;
        }
    }
    Ok(())
}

fn ask(ministack: &str, world: &World) -> anyhow::Result<Value> {
    let archive = world.log_archive();
    let bucket = world.bucket(world.bucket_name())?;
    let key = bucket.key.as_deref().context("the bucket has no key")?;
    let organization = world.guards(archive)?.organization.context("no organisation")?;
    let ordinary = world.accounts().iter().filter(|account| account.ordinary());
    let members: Vec<Value> = ordinary.map(|account| member(world, account)).collect::<anyhow::Result<_>>()?;
    let node_tags = BTreeMap::from([texts::NODE_TAG]);
    let mut quarantine = BTreeMap::new();
    for name in QUARANTINE {
        quarantine.insert(name.as_str(), render(name, &scp_settings(), &BTreeSet::new())?.text);
    }
    Ok(json!({
        "url": ministack,
        "region": REGION,
        "management": MANAGEMENT,
        "role": ROLE,
        "external_id": EXTERNAL_ID,
        "topic": TOPIC,
        "actions": ACTIONS,
        "quarantine": quarantine,
        "organization": organization,
        "key_alias": texts::SESSION_KEY,
        "node_tags": node_tags,
        "bucket": {
            "account": archive,
            "name": world.bucket_name(),
            "policy": bucket.policy.as_ref().map(|policy| &policy.text),
            "key": key,
            "key_policy": world.key(archive, REGION, key)?.policy.text,
        },
        "members": members,
    }))
}

fn member(world: &World, account: &Account) -> anyhow::Result<Value> {
    let nodes = [LOGGING.1, texts::OPEN_ROLE].map(|role| Who::Role(Arc::from(role)));
    let people = account.users.iter().chain([&account.admin, &account.third_party]).filter_map(|it| who(it));
    // Two people may have one role.
    let all: std::collections::BTreeSet<Who> = people.chain(nodes).collect();
    let known = |who: &Who| anyhow::Ok(identity(who, &world.identity(account.id, who)?));
    let identities: Vec<Value> = all.iter().map(known).collect::<anyhow::Result<_>>()?;
    Ok(json!({
        "account": account.id,
        "identities": identities,
        "profiles": { LOGGING.0: LOGGING.1, texts::OPEN_PROFILE: texts::OPEN_ROLE },
        "key_policy": world.key(account.id, REGION, texts::SESSION_KEY)?.policy.text,
    }))
}

fn who(caller: &Caller) -> Option<Who> {
    let name = Arc::from(caller.arn.split('/').nth(1)?);
    match caller.kind {
        CallerKind::IamUser => Some(Who::User(name)),
        CallerKind::AssumedRole => Some(Who::Role(name)),
        CallerKind::Service => None,
    }
}

fn identity(who: &Who, known: &Identity) -> Value {
    let (Who::Role(name) | Who::User(name)) = who;
    let (_, place) = known.arn.split_once('/').unwrap_or_default();
    let (path, _) = place.rsplit_once('/').map_or(("/".to_owned(), place), |(path, name)| (format!("/{path}/"), name));
    let policies: Vec<&str> = known.policies.iter().map(|policy| &*policy.text).collect();
    json!({
        "user": matches!(who, Who::User(_)),
        "name": name,
        "path": path,
        "policies": policies,
        "tags": known.tags,
    })
}
