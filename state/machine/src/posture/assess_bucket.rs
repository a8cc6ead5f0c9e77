//! The bucket and the keys that a session's log rests on.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Bucket, CallError, Facts, Memory, PolicyText,
    assess::{no, partition_of, unanswered, unknown, yes},
    assess_ask::Asker,
    assess_role::{IAM, Known, base_of_object, ground_of, known_places, named_key, role_of},
    memory::Ground,
};
use crate::{
    compliance::EvidenceKind,
    document::log_object_key,
    ids::AccountId,
    permission::{Answer, Caller, Context, Principal, Request, Target, evaluate},
    session::Answered,
};

const S3: &str = "s3";
const KMS: &str = "kms";
/// A policy with which only the bucket's side decides.
const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
/// An organisation that none is.
const FOREIGN_ORGANIZATION: &str = "o-0000000000";

/// Every key in use is enabled (TH22): those of the session's traffic, and the bucket's.
pub(super) fn key_usable(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let Known { places, unknown: mut unclear, .. } = known_places(facts, memory);
    let mut names: BTreeSet<&Arc<str>> = places.keys.iter().chain(facts.keys.keys()).collect();
    if places.bucket.is_some() {
        match facts.bucket {
            Some(Ok(bucket)) => names.extend(&bucket.key),
            Some(Err(CallError::Gone)) => {}
            Some(Err(error)) => unclear = unclear.or_else(|| Some(format!("the bucket's key: {error}"))),
            None => unclear = unclear.or_else(|| Some("the bucket was not asked for".to_owned())),
        }
    }
    for name in &names {
        match named_key(facts, name).1 {
            Some(Ok(key)) if key.enabled => {}
            Some(Ok(_)) => return no(KMS, format_args!("the key {name} is not enabled")),
            Some(Err(CallError::Gone)) => return no(KMS, format_args!("the key {name} does not exist")),
            Some(Err(error)) => unclear = unclear.or_else(|| Some(format!("the key {name}: {error}"))),
            None => unclear = unclear.or_else(|| Some(format!("the key {name} was not asked for"))),
        }
    }
    match unclear {
        Some(reason) => unknown(KMS, reason),
        None if names.is_empty() => yes(KMS, "no key is in use"),
        None => yes(KMS, "every key in use is enabled"),
    }
}

/// The bucket is the organisation's own, keeps versions, encrypts with a KMS key, and is closed to plain HTTP, to
/// accounts that its policy does not name, and to this role under the prefix of another account (R-W23).
///
/// The last three are asked of the evaluator: a log put with `aws:SecureTransport` false must be denied whatever the
/// role's own policies say, and so must one of a foreign account in a foreign organisation; the role as it is must not
/// put one where the log of another account belongs. A prefix without `{account}` puts the logs of all accounts in one
/// place, which is a no, except in a bucket of the session's own account.
pub(super) fn bucket_as_wanted(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let known = known_places(facts, memory);
    let Some(name) = known.places.bucket.clone() else {
        return match known.unknown {
            Some(reason) => unknown("ssm", reason),
            None => yes("ssm", "no bucket is used"),
        };
    };
    let bucket = match facts.bucket {
        Some(Ok(bucket)) => bucket,
        Some(Err(CallError::Gone)) => return no(S3, format_args!("the bucket {name} does not exist")),
        Some(Err(error)) => return unanswered(S3, "the bucket", *error),
        None => return unknown("", "the bucket was not asked for"),
    };
    if let Some(archive) = facts.settings.posture.log_archive_account.filter(|archive| *archive != bucket.account) {
        return no(S3, format_args!("the bucket {name} belongs to {}, not to {archive}", bucket.account));
    }
    if !bucket.versioned {
        return no(S3, format_args!("the bucket {name} keeps no versions"));
    }
    if bucket.key.is_none() {
        return no(S3, format_args!("the bucket {name} does not encrypt with a KMS key"));
    }
    if let Some(reason) = known.unknown {
        return unknown("ssm", reason);
    }
    let other_key = match other_accounts_key(facts, &known, bucket) {
        Ok(key) => key,
        Err(reason) => return no(S3, reason),
    };
    let role = match role_of(facts) {
        Ok(role) => role,
        Err(answer) => return unknown(S3, answer.reason),
    };
    let partition = partition_of(&role.arn).to_owned();
    let arn = |key: &str| format!("arn:{partition}:s3:::{name}/{key}");
    let mut ground = ground_of(EvidenceKind::BucketAsWanted, facts, role, &known.places);
    ground.resources = vec![
        known.object_keys.first().map(|key| arn(key)).unwrap_or_default(),
        other_key.as_deref().map(arn).unwrap_or_default(),
    ];
    let bases = ground.resources.iter().map(|resource| base_of_object(resource).to_owned()).collect();
    memory.answer(ground, bases, check)
}

/// Where the session's log would lie if another account were its own; `None` where no other account shares the bucket.
fn other_accounts_key(facts: &Facts<'_>, known: &Known, bucket: &Bucket) -> Result<Option<String>, String> {
    let account = facts.key.account;
    if bucket.account == account {
        return Ok(None);
    }
    let other = another_account([account, bucket.account]);
    let wanted = &facts.settings.posture.preferences;
    let (own, others) = match (wanted.prefix(account, &facts.key.region), &known.document) {
        (Some(prefix), _) => (prefix, wanted.prefix(other, &facts.key.region).unwrap_or_default()),
        (None, Some(document)) => {
            let prefix = document.inputs.s3_prefix.to_string();
            let others = prefix.replace(&account.to_string(), &other.to_string());
            (prefix, others)
        }
        (None, None) => return Ok(None),
    };
    if own == others {
        return Err(format!("the prefix {own:?} is the same for all accounts, so each can write in another's place"));
    }
    Ok(Some(log_object_key(&others, &facts.key.id)))
}

/// An account that is none of these.
fn another_account(accounts: [AccountId; 2]) -> AccountId {
    let mut candidates = (0..=2).filter_map(AccountId::new).filter(|candidate| !accounts.contains(candidate));
    candidates.next().unwrap_or(accounts[0])
}

fn check(memory: &mut Memory, ground: &Ground, bases: &[String]) -> (Answered, bool) {
    let Some((name, Ok(bucket))) = &ground.bucket else { return (unknown("", "the bucket is not known"), false) };
    let mut asker = match Asker::new(memory, ground) {
        Ok(asker) => asker,
        Err(answer) => return (answer, false),
    };
    let [object, other] = [0, 1].map(|at| ground.resources.get(at).map_or("", String::as_str));
    let passes = asker.passes_endpoint(bucket).unwrap_or(false);
    let mut target = asker.bucket_target(memory, bucket, object);
    target.endpoint = target.endpoint.filter(|_| passes);
    // Plain HTTP and foreign accounts need not pass the node's endpoint.
    let outside = Target { endpoint: None, ..target.clone() };
    let put = asker.put_context(bucket, passes);
    let mut asked = Vec::new();
    let everything = memory.policy(&PolicyText { name: "everything".into(), text: EVERYTHING.into() });
    let mut may = |caller: &Caller, target: &Target, context: &Context, what: String| {
        let decision = evaluate(&Request { action: "s3:PutObject", caller, target, context });
        asked.push((what, decision));
    };

    let mut plain = Caller::new(asker.caller.principal.clone());
    plain.identity.push(Arc::clone(&everything));
    let context = put.clone().with("aws:SecureTransport", ["false"]);
    may(&plain, &outside, &context, format!("the bucket {name} can be written over plain HTTP"));

    let partition = partition_of(&ground.role.arn);
    let foreign = another_account([ground.account, bucket.account]);
    let principal = Principal::parse(&format!("arn:{partition}:iam::{foreign}:role/foreign"));
    if let Ok(principal) = principal {
        let mut caller = Caller::new(principal);
        caller.identity.push(everything);
        let context = put
            .clone()
            .with("aws:PrincipalOrgID", [FOREIGN_ORGANIZATION])
            .with("aws:PrincipalOrgPaths", [format!("{FOREIGN_ORGANIZATION}/r-0000/")])
            .without("aws:SourceVpce")
            .without("aws:SourceVpc");
        may(&caller, &outside, &context, format!("a foreign account can write to the bucket {name}"));
    }
    if !other.is_empty() {
        let target = Target { resource: other.to_owned(), ..target.clone() };
        let what = format!("{} can write in another account's place, {other}", ground.role.arn);
        may(&asker.caller, &target, &put, what);
    }
    let apart = memory.tells_apart(ground, &[ground.account, foreign], bases);
    (told(&asked, name), apart)
}

fn told(asked: &[(String, crate::permission::Decision)], name: &str) -> Answered {
    let first = |answer| asked.iter().find(|(_, decision)| decision.answer == answer);
    if let Some((what, decision)) = first(Answer::Allow) {
        return no(IAM, format_args!("{what}: {}", decision.reason));
    }
    match first(Answer::Unknown) {
        Some((what, decision)) => unknown(IAM, format_args!("perhaps {what}: {}", decision.reason)),
        None => yes(IAM, format_args!("the bucket {name} is as wanted")),
    }
}
