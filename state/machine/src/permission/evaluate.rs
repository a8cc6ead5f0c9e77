//! From statements to a decision.

use std::sync::Arc;

use super::{
    Answer, Caller, Decision, Request, arn,
    context::Facts,
    policy::{Policy, head},
    principal::{Kind as Who, Principal},
    reason::{Found, Place},
    statement::{Asked, Kind},
    truth::{Truth, Why},
};
use crate::ids::AccountId;

/// How many policies one role or user may have here. AWS lets at most 20 managed policies be attached, and the inline
/// policies of a role share 10,240 characters ("IAM and AWS STS quotas").
pub const IDENTITY_POLICIES_MAX: usize = 128;
/// How many characters without white space a policy of a role, session or SCP may have (inline policies of a role and
/// SCPs: 10,240).
pub const IDENTITY_POLICY_CHARS_MAX: usize = 10_240;
/// How many characters without white space a policy of a bucket, key, endpoint or other resource may have (key
/// policies: 32 KiB).
pub const RESOURCE_POLICY_CHARS_MAX: usize = 32 * 1024;
/// How many levels of SCPs or RCPs there may be (root, five levels of units, account), and policies at each.
pub const LEVELS_MAX: usize = 16;
/// How long action, resource and each context value may be, in bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// How many context values there may be.
pub const CONTEXT_VALUES_MAX: usize = 4096;
/// How many bytes all context values may have together.
pub const CONTEXT_BYTES_MAX: usize = 64 * 1024;

/// Decides a request.
///
/// An explicit Deny anywhere goes before all else. Then SCPs and RCPs must allow at every level, and the endpoint's
/// policy; then, within one account, identity policies or the resource's policy; between accounts both. An implicit
/// deny stays a deny when a Deny is only possible; anything that might turn the answer makes it Unknown.
///
/// The time is bounded: every character of a policy is compared with every byte of the action, the resource and the
/// context values a few times at most, and all of these have bounds. What exceeds one is Unknown.
///
/// Sources: "Policy evaluation logic"; "Policy evaluation for requests within a single account"; "Cross-account policy
/// evaluation logic"; "Permissions boundaries for IAM entities"; "Key policies in AWS KMS".
pub fn evaluate(request: &Request<'_>) -> Decision {
    let caller = request.caller;
    let unknown = |reason: &str| Decision { answer: Answer::Unknown, explicit: false, reason: reason.to_owned() };
    let action = request.action.to_ascii_lowercase();
    let Some((service, name)) = action.split_once(':') else { return unknown("the action has no service") };
    let plain =
        |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
    if !plain(service) || !plain(name) {
        return unknown("the action is not understood");
    }
    let resource = request.target.resource.as_str();
    let longest = action.len().max(resource.len()).max(request.context.value_bytes_max());
    let (values, bytes) = request.context.size();
    if longest > TEXT_BYTES_MAX || values > CONTEXT_VALUES_MAX || bytes > CONTEXT_BYTES_MAX {
        return unknown("the request is larger than is evaluated");
    }
    let owner = match request.target.owner(&caller.principal) {
        Ok(owner) => owner,
        Err(problem) => return unknown(problem),
    };
    let facts = Facts::new(request.context, &caller.principal, service, owner);
    let asked = Asked {
        action: &action,
        head: head(&action),
        resource,
        principal: &caller.principal,
        bounded: caller.boundary.is_some(),
        facts: &facts,
    };
    let layers = Layers::of(request, &asked);
    layers.decide(request, owner, needs_resource_policy(service, name, resource))
}

/// What one kind of policies says.
#[derive(Clone, Copy, Debug)]
struct Layer<'a> {
    deny: Found<'a>,
    /// By how strong the statement names the caller; all three where a policy names nobody.
    directly: Found<'a>,
    as_role: Found<'a>,
    as_account: Found<'a>,
}

impl<'a> Layer<'a> {
    fn of(policies: &'a [Arc<Policy>], kind: Kind, level: Option<usize>, asked: &Asked<'a>) -> Self {
        let nothing = Found::nothing(kind, level);
        let mut layer = Self { deny: nothing, directly: nothing, as_role: nothing, as_account: nothing };
        let policies_max = match kind {
            Kind::Identity | Kind::Session => IDENTITY_POLICIES_MAX,
            Kind::Scp | Kind::Rcp => LEVELS_MAX,
            Kind::Boundary | Kind::Resource | Kind::Endpoint => 1,
        };
        if policies.len() > policies_max {
            layer.add_unclear("there are more policies than AWS can attach", Place::layer(kind, level));
            return layer;
        }
        for (index, policy) in policies.iter().enumerate() {
            layer.add(
                policy,
                Place { kind, level, policy: Some((index, policy.name.as_deref())), statement: None },
                asked,
            );
        }
        layer
    }

    fn add(&mut self, policy: &'a Policy, place: Place<'a>, asked: &Asked<'a>) {
        let chars_max = match place.kind {
            Kind::Identity | Kind::Boundary | Kind::Session | Kind::Scp | Kind::Rcp => IDENTITY_POLICY_CHARS_MAX,
            Kind::Resource | Kind::Endpoint => RESOURCE_POLICY_CHARS_MAX,
        };
        if let Some(problem) = &policy.problem {
            return self.add_unclear(problem, place);
        }
        if policy.chars > chars_max {
            return self.add_unclear("it is larger than AWS accepts", place);
        }
        for (index, statement) in policy.statements.iter().enumerate() {
            let Some(effective) = statement.judge(place.kind, asked) else { continue };
            let place = Place { statement: Some((index, statement.sid.as_deref())), ..place };
            self.deny = self.deny.or(Found::at(effective.deny, place));
            self.directly = self.directly.or(Found::at(effective.allow.directly, place));
            self.as_role = self.as_role.or(Found::at(effective.allow.as_role, place));
            self.as_account = self.as_account.or(Found::at(effective.allow.as_account, place));
        }
    }

    fn add_unclear(&mut self, problem: &'a str, place: Place<'a>) {
        let maybe = Found::at(Truth::Maybe(Why::Unclear(problem)), place);
        self.deny = self.deny.or(maybe);
        self.directly = self.directly.or(maybe);
    }

    fn allow(&self) -> Found<'a> {
        self.directly.or(self.as_role).or(self.as_account)
    }
}

/// All that is said about a request.
struct Layers<'a> {
    identity: Layer<'a>,
    boundary: Option<Layer<'a>>,
    session: Option<Layer<'a>>,
    resource: Layer<'a>,
    endpoint: Option<Layer<'a>>,
    /// Level by level.
    scps: Vec<Layer<'a>>,
    rcps: Vec<Layer<'a>>,
}

impl<'a> Layers<'a> {
    fn of(request: &Request<'a>, asked: &Asked<'a>) -> Self {
        let (caller, target) = (request.caller, request.target);
        let one = |policy: &'a Option<Arc<Policy>>, kind| {
            policy.as_ref().map(|policy| Layer::of(std::slice::from_ref(policy), kind, None, asked))
        };
        let levels = |levels: &'a [Vec<Arc<Policy>>], kind| -> Vec<_> {
            let numbered = levels.iter().enumerate();
            let mut layers: Vec<_> =
                numbered.take(LEVELS_MAX).map(|(at, policies)| Layer::of(policies, kind, Some(at), asked)).collect();
            if let (true, Some(last)) = (levels.len() > LEVELS_MAX, layers.last_mut()) {
                let unclear = Truth::Maybe(Why::Unclear("there are more levels than AWS has"));
                last.deny = last.deny.or(Found::at(unclear, Place::layer(kind, None)));
            }
            layers
        };
        let linked = caller.principal.is_service_linked_role();
        let is_service = caller.principal.kind == Who::Service;
        Self {
            identity: Layer::of(&caller.identity, Kind::Identity, None, asked),
            boundary: one(&caller.boundary, Kind::Boundary),
            session: session_bounds(caller).then(|| Layer::of(&caller.session, Kind::Session, None, asked)),
            resource: one(&target.policy, Kind::Resource)
                .unwrap_or_else(|| Layer::of(&[], Kind::Resource, None, asked)),
            endpoint: one(&target.endpoint, Kind::Endpoint),
            scps: if linked || is_service { Vec::new() } else { levels(&caller.scps, Kind::Scp) },
            rcps: if linked { Vec::new() } else { levels(&target.rcps, Kind::Rcp) },
        }
    }

    fn decide(&self, request: &Request<'a>, owner: Option<AccountId>, needs_policy: bool) -> Decision {
        let principal = &request.caller.principal;
        let denied = self.denied();
        if denied.truth == Truth::Yes {
            return Decision { answer: Answer::Deny, explicit: true, reason: denied.reason("denies", request.action) };
        }
        let core = if principal.kind == Who::Service {
            self.resource.directly
        } else {
            let same = principal.account == owner;
            self.core(principal, same, same && needs_policy)
        };
        let guards =
            self.scps.iter().map(Layer::allow).chain(self.rcps.iter().zip(&request.target.rcps).map(rcp_allows));
        let guards = guards.chain(self.endpoint.iter().map(Layer::allow));
        let granted = guards.fold(core, Found::and);
        match (granted.truth, denied.truth) {
            (Truth::No, _) => {
                Decision { answer: Answer::Deny, explicit: false, reason: granted.reason("allows", request.action) }
            }
            (Truth::Maybe(_), _) => {
                Decision { answer: Answer::Unknown, explicit: false, reason: granted.reason("allows", request.action) }
            }
            (Truth::Yes, Truth::Maybe(_)) => {
                Decision { answer: Answer::Unknown, explicit: false, reason: denied.reason("denies", request.action) }
            }
            (Truth::Yes, _) => {
                Decision { answer: Answer::Allow, explicit: false, reason: granted.reason("allows", request.action) }
            }
        }
    }

    /// A Deny in any policy that applies.
    fn denied(&self) -> Found<'a> {
        let optional = [self.boundary, self.session, self.endpoint].into_iter().flatten();
        let others = optional.chain(self.scps.iter().chain(&self.rcps).copied()).map(|layer| layer.deny);
        others.fold(self.identity.deny.or(self.resource.deny), Found::or)
    }

    /// What the caller is granted before SCPs, RCPs and the endpoint's policy.
    ///
    /// Within an account a grant to the session or user itself, or to everyone, is limited by no implicit deny; a
    /// grant to the role by boundary and session policy ("Policy evaluation for requests within a single account").
    /// The root user needs no identity policy.
    fn core(&self, principal: &Principal, same_account: bool, needs_resource_policy: bool) -> Found<'a> {
        let limits = [self.boundary, self.session].into_iter().flatten().map(|layer| layer.allow());
        let limited = |found: Found<'a>| limits.clone().fold(found, Found::and);
        let root = principal.kind == Who::Root;
        let own = if root { Found::root() } else { self.identity.allow() };
        if !same_account {
            return limited(own.and(self.resource.allow()));
        }
        let by_resource = self.resource.directly.or(limited(self.resource.as_role));
        if needs_resource_policy {
            return by_resource.or(limited(own.and(self.resource.as_account)));
        }
        limited(own).or(by_resource)
    }
}

/// A session policy bounds a session where one was given; a federated user without one has no permission of its own
/// ("Policies and permissions in IAM", session policies; "`GetFederationToken`").
fn session_bounds(caller: &Caller) -> bool {
    !caller.session.is_empty() || matches!(caller.principal.kind, Who::Federated { .. })
}

/// Keys and roles open to nobody whom their own policy does not name, be it through the account ("Key policies in AWS
/// KMS", "Policy evaluation for requests within a single account"). A few actions of KMS ask for no key ("Actions,
/// resources, and condition keys for AWS Key Management Service").
fn needs_resource_policy(service: &str, name: &str, resource: &str) -> bool {
    match service {
        "kms" => {
            let keyless = ["createkey", "listkeys", "listaliases", "generaterandom"].contains(&name);
            let is_alias = arn::split(resource).is_some_and(|parts| parts[4].starts_with("alias/"));
            let of_alias = is_alias && name.ends_with("alias");
            !keyless && !of_alias && !name.contains("customkeystore")
        }
        "sts" => name.starts_with("assumerole"),
        _ => false,
    }
}

/// An RCP level always holds `RCPFullAWSAccess`, which cannot be detached: where none of the given policies has an
/// Allow, it is understood ("Resource control policies", Organizations guide).
fn rcp_allows<'a>((layer, policies): (&Layer<'a>, &'a Vec<Arc<Policy>>)) -> Found<'a> {
    let only_denies = policies.iter().all(|policy| policy.only_denies());
    if only_denies { Found::at(Truth::Yes, Place::layer(Kind::Rcp, None)) } else { layer.allow() }
}
