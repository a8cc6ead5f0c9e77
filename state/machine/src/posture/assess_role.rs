//! Whether the role behind a node can write the session's log.

use std::sync::Arc;

use super::{
    CallError, Facts, Identity, Memory,
    assess::{Read, is_container, no, partition_of, preferences, unanswered, unknown, yes},
    assess_ask::Asker,
    memory::{Ground, NamedKey},
    places::{KMS_KEY, LOG_GROUP, Places, S3_BUCKET, S3_PREFIX, object_keys_of, places_of},
};
use crate::{
    compliance::{EvidenceKind, Tri},
    document::SessionDocument,
    permission::Target,
    session::Answered,
};

pub(super) const IAM: &str = "iam";

/// The actions of the session's channels; they know no resource.
const CHANNEL_ACTIONS: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// Where the log belongs, as far as that is known.
pub(super) struct Known {
    pub(super) places: Places,
    /// As [`object_keys`](super::object_keys) has them, where the first is known to be the right one.
    pub(super) object_keys: Vec<String>,
    pub(super) document: Option<Arc<SessionDocument>>,
    /// Why some of it is not known.
    pub(super) unknown: Option<String>,
}

/// Where the log belongs. Each of the four inputs must be wanted, or said by a document that is known.
pub(super) fn known_places(facts: &Facts<'_>, memory: &mut Memory) -> Known {
    let wanted = &facts.settings.posture.preferences;
    let inputs = [
        (&wanted.s3_bucket, S3_BUCKET),
        (&wanted.s3_prefix, S3_PREFIX),
        (&wanted.log_group, LOG_GROUP),
        (&wanted.kms_key, KMS_KEY),
    ];
    let mut needed = inputs.iter().filter(|(wanted, _)| wanted.is_none()).map(|(_, name)| *name);
    let (document, mut unknown) = match preferences(facts, memory) {
        Read::Known(document) => {
            let open = needed.find(|name| document.inputs.open.contains(name));
            (Some(document), open.map(|name| format!("whoever starts the session chooses {name}")))
        }
        Read::Gone => (None, None),
        Read::Unknown(reason) => (None, needed.next().map(|_| reason)),
    };
    let places = places_of(facts.settings, document.as_deref(), facts.key);
    let mut object_keys = object_keys_of(facts.settings, document.as_deref(), facts.key);
    let says = document.as_ref().is_some_and(|document| !document.inputs.open.contains(S3_PREFIX));
    if places.bucket.is_some() && wanted.s3_prefix.is_none() && !says {
        // What is left are places to look at, not the place where the log belongs.
        object_keys.clear();
        unknown.get_or_insert_with(|| format!("no preferences document says {S3_PREFIX}"));
    }
    Known { places, object_keys, document, unknown }
}

/// The role may write the session's log and use the channels and keys for it: the layers of "Policy evaluation logic",
/// with bucket, key and endpoint policies (R-W8).
///
/// What the agent asks for, by its public source: it reads the bucket's encryption, and puts the log with the bucket's
/// key and the ACL `bucket-owner-full-control`; S3 then uses the bucket's key on the role's behalf ("Using server-side
/// encryption with AWS KMS keys"). The key of the session's traffic it only decrypts with: the data key is generated for
/// whoever starts the session ("Turn on KMS key encryption of session data").
pub(super) fn log_writable(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let role = match role_of(facts) {
        Ok(role) => role,
        Err(answer) => return answer,
    };
    let known = known_places(facts, memory);
    let places = &known.places;
    if places.bucket.is_none() && places.log_group.is_none() {
        return match known.unknown {
            Some(reason) => unknown("ssm", reason),
            None => no("ssm", "neither bucket nor log group is named, so nothing is logged"),
        };
    }
    let mut ground = ground_of(EvidenceKind::LogWritable, facts, role, places);
    let partition = partition_of(&ground.role.arn).to_owned();
    let object = places.bucket.as_ref().zip(known.object_keys.first());
    let object = object.map(|(bucket, key)| format!("arn:{partition}:s3:::{bucket}/{key}"));
    let (region, account) = (&facts.key.region, facts.key.account);
    let stream = places.log_group.as_ref().zip(places.stream.as_ref()).map(|(group, stream)| {
        format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:log-stream:{stream}")
    });
    ground.resources = [object.clone().unwrap_or_default(), stream.clone().unwrap_or_default()].into();
    let bases = vec![object.as_deref().map_or("", base_of_object).into(), stream.as_deref().map_or("", base).into()];
    let answer = memory.answer(ground, bases, check);
    match known.unknown {
        Some(reason) if answer.value != Tri::No => unknown("ssm", reason),
        _ => answer,
    }
}

/// The role behind the node, or the answer where it is not known.
pub(super) fn role_of(facts: &Facts<'_>) -> Result<Arc<Identity>, Answered> {
    let node = match facts.node {
        Some(Ok(node)) => node,
        Some(Err(error)) => return Err(unanswered("ssm", "the node", *error)),
        None if is_container(facts) => return Err(unknown("", "a container's log is written by another role")),
        None => return Err(unknown("", "the target is no node")),
    };
    let Some((name, _)) = &node.role else { return Err(no(IAM, "the node has no role")) };
    match facts.role {
        Some(Ok(role)) => Ok(Arc::clone(role)),
        Some(Err(CallError::Gone)) => Err(no(IAM, format_args!("the role {name} does not exist"))),
        Some(Err(error)) => Err(unanswered(IAM, "the role's policies", *error)),
        None => Err(unknown("", "the role's policies were not asked for")),
    }
}

pub(super) fn ground_of(kind: EvidenceKind, facts: &Facts<'_>, role: Arc<Identity>, places: &Places) -> Ground {
    let node = facts.node.and_then(|node| node.as_ref().ok());
    let bucket = places.bucket.as_ref().zip(facts.bucket);
    let key = facts.bucket.and_then(|bucket| bucket.as_ref().ok()?.key.as_ref());
    Ground {
        kind,
        account: facts.key.account,
        region: Arc::clone(&facts.key.region),
        role,
        guards: facts.guards.clone(),
        bucket: bucket.map(|(name, bucket)| (Arc::clone(name), bucket.clone())),
        bucket_guards: facts.bucket_guards.cloned(),
        bucket_key: key.map(|key| named_key(facts, key)),
        session_keys: places.keys.iter().map(|key| named_key(facts, key)).collect(),
        network: node.and_then(|node| node.network.clone()).map(|id| (id, facts.network.cloned())),
        resources: Vec::new(),
    }
}

/// A key as it is named, with what was told about it under this name or another.
pub(super) fn named_key(facts: &Facts<'_>, name: &Arc<str>) -> NamedKey {
    let by_arn = || facts.keys.values().find(|key| key.as_ref().is_ok_and(|key| key.arn == *name));
    (Arc::clone(name), facts.keys.get(name).or_else(by_arn).cloned())
}

/// What all objects beside this one have in common.
pub(super) fn base_of_object(object: &str) -> &str {
    object.rfind('/').map_or(object, |end| &object[..=end])
}

fn base(stream: &str) -> &str {
    stream.rfind(':').map_or(stream, |end| &stream[..=end])
}

/// Asks about every action. A Deny is decisive, whatever else is unknown.
fn check(memory: &mut Memory, ground: &Ground, bases: &[String]) -> (Answered, bool) {
    let mut asker = match Asker::new(memory, ground) {
        Ok(asker) => asker,
        Err(answer) => return (answer, false),
    };
    let partition = partition_of(&ground.role.arn).to_owned();
    let [object, stream] = [0, 1].map(|at| ground.resources.get(at).map_or("", String::as_str));
    if !object.is_empty() {
        asker.bucket(memory, object, &partition);
    }
    for key in &ground.session_keys {
        asker.key(memory, key, &["kms:Decrypt"], false);
    }
    if !stream.is_empty() {
        let target = Target { endpoint: asker.endpoint(memory, "logs"), ..Target::new(stream) };
        let context = asker.owner_context(asker.context("logs", Some(&ground.region)), ground.account);
        asker.ask(&["logs:CreateLogStream", "logs:PutLogEvents"], &target, &context);
    }
    let channels = Target { endpoint: asker.endpoint(memory, "ssmmessages"), ..Target::new("*") };
    let context = asker.context("ssmmessages", Some(&ground.region));
    asker.ask(&CHANNEL_ACTIONS, &channels, &context);
    let apart = memory.tells_apart(ground, &[ground.account], bases);
    let answer = match (asker.denied, asker.unclear) {
        (Some(reason), _) => no(IAM, reason),
        (None, Some(reason)) => unknown(IAM, reason),
        (None, None) => yes(IAM, format_args!("{} may write the log and use what it needs for it", ground.role.arn)),
    };
    (answer, apart)
}
