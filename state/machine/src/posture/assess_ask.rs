//! Questions to the evaluator on behalf of a role, a user, or whoever else asks.

use std::sync::Arc;

use super::{
    Asked, Bucket, CallError, Endpoint, Guards, Identity, Key, Memory, Network,
    assess::{account_of, partition_of, unknown},
    assess_role::IAM,
    memory::{Ground, NamedKey},
};
use crate::{
    ids::AccountId,
    permission::{Answer, Caller, Context, Decision, Policy, Principal, Request, Target, evaluate},
    session::Answered,
};

/// Asks the evaluator on behalf of one role, and keeps the first deny and the first unknown.
pub(super) struct Asker<'a> {
    ground: &'a Ground,
    pub(super) caller: Caller,
    pub(super) denied: Option<String>,
    pub(super) unclear: Option<String>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(memory: &mut Memory, ground: &'a Ground) -> Result<Self, Answered> {
        let caller = caller_of(memory, &ground.role, &ground.guards)?;
        let guards = ground.guards.as_ref().err();
        let unclear = guards.map(|error| format!("the organisation's policies: {error}"));
        Ok(Self { ground, caller, denied: None, unclear })
    }

    /// The log object and its bucket, and the key that S3 encrypts it with.
    pub(super) fn bucket(&mut self, memory: &mut Memory, object: &str, partition: &str) {
        let Some((name, bucket)) = &self.ground.bucket else {
            return self.unclear("the bucket was not asked for".to_owned());
        };
        let arn = format!("arn:{partition}:s3:::{name}");
        match bucket {
            Err(CallError::Gone) => self.denied = Some(format!("the bucket {name} does not exist")),
            Err(error) => {
                self.unclear(format!("the bucket: {error}"));
                // Whose it is, is not known: only what the role's own side denies is decided.
                let policy = Some(Arc::new(Policy::unreadable(format!("the bucket: {error}"))));
                let context = self.context("", None);
                self.ask(&["s3:PutObject"], &Target { policy: policy.clone(), ..Target::new(object) }, &context);
                self.ask(&["s3:GetEncryptionConfiguration"], &Target { policy, ..Target::new(arn) }, &context);
            }
            Ok(bucket) => {
                let put = |it: &Self, passes| it.put_context(bucket, passes);
                let get = |it: &Self, passes| it.bucket_context(bucket, passes);
                let target = self.bucket_target(memory, bucket, object);
                self.ask_bucket("s3:PutObject", bucket, &target, put);
                let target = Target { resource: arn, ..target };
                self.ask_bucket("s3:GetEncryptionConfiguration", bucket, &target, get);
            }
        }
        if let Some(key) = &self.ground.bucket_key {
            self.key(memory, key, &["kms:GenerateDataKey", "kms:Decrypt"], true);
        }
    }

    /// Asks about a bucket with and without the endpoint, where it is not known whether the request passes it.
    fn ask_bucket(&mut self, action: &str, bucket: &Bucket, target: &Target, context: impl Fn(&Self, bool) -> Context) {
        let decide = |passes: bool| {
            let target = Target { endpoint: target.endpoint.clone().filter(|_| passes), ..target.clone() };
            evaluate(&Request { action, caller: &self.caller, target: &target, context: &context(self, passes) })
        };
        let decision = match self.passes_endpoint(bucket) {
            Some(passes) => decide(passes),
            None => {
                let (through, around) = (decide(true), decide(false));
                if through.answer == around.answer {
                    through
                } else {
                    let reason = format!("whether the bucket is in the node's region is not known: {}", through.reason);
                    Decision { answer: Answer::Unknown, explicit: false, reason }
                }
            }
        };
        self.take(decision);
    }

    /// A target in the bucket, reached through the node's endpoint.
    pub(super) fn bucket_target(&mut self, memory: &mut Memory, bucket: &Bucket, object: &str) -> Target {
        Target {
            account: Some(bucket.account),
            policy: bucket.policy.as_ref().map(|policy| memory.policy(policy)),
            rcps: self.rcps(memory, bucket.account),
            endpoint: self.endpoint(memory, "s3"),
            ..Target::new(object)
        }
    }

    /// Whether requests to the bucket pass the network's endpoint, where there is one: it carries them to buckets of its
    /// own region only ("Gateway endpoints for Amazon S3"). The region of a bucket shows in its key; `None`: not known.
    pub(super) fn passes_endpoint(&self, bucket: &Bucket) -> Option<bool> {
        if self.ground.network.is_none() {
            return Some(false);
        }
        region_of_bucket(bucket).map(|region| region == &*self.ground.region)
    }

    /// Keys belong to the account in their ARN.
    pub(super) fn key(&mut self, memory: &mut Memory, (name, key): &NamedKey, actions: &[&str], by_s3: bool) {
        let key: &Key = match key {
            Some(Ok(key)) => key,
            Some(Err(CallError::Gone)) => {
                self.denied.get_or_insert_with(|| format!("the key {name} does not exist"));
                return;
            }
            Some(Err(error)) => return self.unclear(format!("the key {name}: {error}")),
            None => return self.unclear(format!("the key {name} was not asked for")),
        };
        let Some(owner) = account_of(&key.arn) else {
            return self.unclear(format!("the ARN of the key {name} is not understood"));
        };
        let region = key.arn.split(':').nth(3).unwrap_or_default();
        let target = Target {
            account: Some(owner),
            policy: Some(memory.policy(&key.policy)),
            rcps: self.rcps(memory, owner),
            endpoint: if by_s3 { None } else { self.endpoint(memory, "kms") },
            ..Target::new(&*key.arn)
        };
        let context = if by_s3 {
            // What endpoint and network S3 shows to KMS is not known.
            let suffix = if partition_of(&key.arn) == "aws-cn" { ".cn" } else { "" };
            self.owner_context(Context::new(), owner)
                .with("aws:SecureTransport", ["true"])
                .with("aws:ViaAWSService", ["true"])
                .with("aws:RequestedRegion", [region])
                .with("kms:ViaService", [format!("s3.{region}.amazonaws.com{suffix}")])
        } else {
            self.owner_context(self.context("kms", Some(region)), owner).without("kms:ViaService")
        };
        let context = match &key.aliases {
            Some(aliases) if aliases.is_empty() => context.without("kms:ResourceAliases"),
            Some(aliases) => context.with("kms:ResourceAliases", aliases.iter().map(|alias| &**alias)),
            None => context,
        };
        self.ask(actions, &target, &context);
    }

    /// What the agent sends with the log. A bucket without a key of its own may still be encrypted by either of S3's.
    pub(super) fn put_context(&self, bucket: &Bucket, passes: bool) -> Context {
        let context = self.bucket_context(bucket, passes).with("s3:x-amz-acl", ["bucket-owner-full-control"]);
        match &bucket.key {
            Some(key) => context
                .with("s3:x-amz-server-side-encryption", ["aws:kms"])
                .with("s3:x-amz-server-side-encryption-aws-kms-key-id", [&**key]),
            None => context.without("s3:x-amz-server-side-encryption-aws-kms-key-id"),
        }
    }

    fn bucket_context(&self, bucket: &Bucket, passes: bool) -> Context {
        let service = if passes { "s3" } else { "" };
        self.owner_context(self.context(service, region_of_bucket(bucket)), bucket.account)
    }

    /// What is known of a request to a service, made by the agent itself: the region it goes to, where known, and the
    /// endpoint it passes, where there is one.
    pub(super) fn context(&self, service: &str, region: Option<&str>) -> Context {
        let mut context = Context::new();
        caller_context(&mut context, &self.ground.role, &self.ground.guards);
        for (key, value) in [("aws:SecureTransport", "true"), ("aws:ViaAWSService", "false")] {
            context.set(key, [value]);
        }
        if let Some(region) = region {
            context.set("aws:RequestedRegion", [region]);
        }
        if let Some((network, Some(Ok(endpoints)))) = &self.ground.network
            && let Some(endpoint) = endpoints.endpoints.get(service)
        {
            context.set("aws:SourceVpce", [&*endpoint.id]);
            context.set("aws:SourceVpc", [&**network]);
        }
        context
    }

    /// Whose organisation the role and the owner of the resource are in, where both are known, and the role's tags.
    pub(super) fn owner_context(&self, mut context: Context, owner: AccountId) -> Context {
        caller_context(&mut context, &self.ground.role, &self.ground.guards);
        if let Some(Ok(guards)) = self.guards_of(owner) {
            set_or_absent(&mut context, "aws:ResourceOrgID", guards.organization.as_deref());
        }
        context
    }

    /// What the organisation lays on an account.
    fn guards_of(&self, account: AccountId) -> Option<&Asked<Guards>> {
        let bucket = self.ground.bucket.as_ref().and_then(|(_, bucket)| bucket.as_ref().ok());
        if account == self.ground.account {
            return Some(&self.ground.guards);
        }
        bucket.filter(|bucket| bucket.account == account).and(self.ground.bucket_guards.as_ref())
    }

    fn rcps(&mut self, memory: &mut Memory, account: AccountId) -> Vec<Vec<Arc<Policy>>> {
        match self.guards_of(account) {
            Some(Ok(guards)) => memory.levels(&guards.rcps),
            Some(Err(error)) => unreadable_level(format!("the organisation's policies for {account}: {error}")),
            None => unreadable_level(format!("the organisation's policies for {account} were not asked for")),
        }
    }

    /// The policy of the endpoint that a request to `service` passes.
    pub(super) fn endpoint(&mut self, memory: &mut Memory, service: &str) -> Option<Arc<Policy>> {
        let (_, network) = self.ground.network.as_ref()?;
        let network: &Network = match network {
            Some(Ok(network)) => network,
            Some(Err(error)) => return Some(Arc::new(Policy::unreadable(format!("the node's network: {error}")))),
            None => return Some(Arc::new(Policy::unreadable("the node's network was not asked for"))),
        };
        network.endpoints.get(service).map(|Endpoint { policy, .. }| memory.policy(policy))
    }

    pub(super) fn ask(&mut self, actions: &[&str], target: &Target, context: &Context) {
        for action in actions {
            self.take(evaluate(&Request { action, caller: &self.caller, target, context }));
        }
    }

    fn take(&mut self, decision: Decision) {
        match decision.answer {
            Answer::Allow => {}
            Answer::Deny => {
                self.denied.get_or_insert(decision.reason);
            }
            Answer::Unknown => self.unclear(decision.reason),
        }
    }

    fn unclear(&mut self, reason: String) {
        self.unclear.get_or_insert(reason);
    }
}

fn region_of_bucket(bucket: &Bucket) -> Option<&str> {
    bucket.key.as_deref()?.split(':').nth(3).filter(|region| !region.is_empty())
}

/// A caller with all its policies; some session of it, where it is a role.
pub(super) fn caller_of(memory: &mut Memory, identity: &Identity, guards: &Asked<Guards>) -> Result<Caller, Answered> {
    let principal = Principal::parse(&identity.arn)
        .map_err(|_| unknown(IAM, format_args!("the ARN {:?} is not understood", identity.arn)))?;
    let mut caller = Caller::new(principal);
    caller.identity = identity.policies.iter().map(|policy| memory.policy(policy)).collect();
    caller.boundary = identity.boundary.as_ref().map(|boundary| memory.policy(boundary));
    caller.scps = match guards {
        Ok(guards) => memory.levels(&guards.scps),
        Err(error) => unreadable_level(format!("the organisation's policies: {error}")),
    };
    Ok(caller)
}

fn unreadable_level(why: String) -> Vec<Vec<Arc<Policy>>> {
    vec![vec![Arc::new(Policy::unreadable(why))]]
}

/// What a caller brings along: its organisation and its tags. A tag that it does not have is not set to be absent: tags
/// of a session are not known.
pub(super) fn caller_context(context: &mut Context, identity: &Identity, guards: &Asked<Guards>) {
    if let Ok(guards) = guards {
        set_or_absent(context, "aws:PrincipalOrgID", guards.organization.as_deref());
    }
    for (name, value) in &identity.tags {
        context.set(&format!("aws:PrincipalTag/{name}"), [&**value]);
    }
}

fn set_or_absent(context: &mut Context, key: &str, value: Option<&str>) {
    match value {
        Some(value) => context.set(key, [value]),
        None => context.set_absent(key),
    };
}
