//! Roles and users with their policies, as texts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_iam::{
    Client,
    types::{AttachedPolicy, Tag},
};
use sessionwarden_machine::{
    ids::AccountId,
    posture::{Guards, Identity, PolicyText, Tags, Who},
};

use super::{AwsOrganization, Means, Pages, errors::Failure, limits::Place, settings::Api};
use crate::ports::{CallError, Identities};

/// How many texts of policy versions are kept; beyond that all are asked for again.
const POLICY_VERSIONS_MAX: usize = 16_384;

/// Texts of versions of managed policies, which never change ("Versioning IAM policies"). By the policy's id and not by
/// its ARN, because a policy that is deleted and made again has the same ARN and begins again at `v1`.
#[derive(Debug, Default)]
pub(super) struct PolicyVersions(Mutex<BTreeMap<PolicyVersion, Arc<str>>>);

/// A policy's id and the version's.
type PolicyVersion = (Arc<str>, Arc<str>);

impl PolicyVersions {
    fn get(&self, key: &PolicyVersion) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: PolicyVersion, text: Arc<str>) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() >= POLICY_VERSIONS_MAX {
            texts.clear();
        }
        texts.insert(key, text);
    }
}

impl Identities for AwsOrganization {
    async fn identity(&self, account: AccountId, who: &Who) -> Result<Identity, CallError> {
        let place = self.iam_place(account);
        let identity = match who {
            Who::Role(name) => self.role(&place, name).await?,
            Who::User(name) => self.user(&place, name).await?,
        };
        Ok(identity)
    }

    async fn guards(&self, account: AccountId) -> Result<Guards, CallError> {
        Ok(self.organization_guards(account).await?)
    }
}

/// Reads one list of IAM to its end: the call's builder, and what is taken of each page.
macro_rules! listed {
    ($hands:expr, $place:expr, $name:literal, $call:expr, $take:ident) => {{
        let mut found = Vec::new();
        let mut pages = Pages::new();
        loop {
            let build = $call;
            let send = |means: &Means| build(Client::new(&means.config)).set_marker(pages.token.clone()).send();
            let page = $hands.call($place, Api::Iam, $name, send).await.map_err(Failure::of_part)?;
            let next = page.marker().filter(|_| page.is_truncated()).map(str::to_owned);
            found.extend(page.$take().iter().cloned());
            if !pages.go_on(next.as_deref())? {
                break found;
            }
        }
    }};
}

/// Asks for one inline policy.
macro_rules! inline {
    ($hands:expr, $place:expr, $api:literal, $policy:expr, $call:expr) => {{
        let build = $call;
        let send = |means: &Means| build(Client::new(&means.config)).send();
        let found = $hands.call($place, Api::Iam, $api, send).await.map_err(Failure::of_part)?;
        PolicyText { name: format!("inline policy {}", $policy).into(), text: decoded(found.policy_document())? }
    }};
}

impl AwsOrganization {
    /// IAM is one for all regions; its bucket is one for the account.
    pub(super) fn iam_place(&self, account: AccountId) -> Place {
        (account, Arc::clone(&self.region))
    }

    async fn role(&self, place: &Place, name: &str) -> Result<Identity, Failure> {
        let send = |means: &Means| Client::new(&means.config).get_role().role_name(name).send();
        let found = self.call(place, Api::Iam, "GetRole", send).await?;
        let role = found.role.ok_or_else(|| Failure::unknown(false))?;
        let attached = listed!(
            self,
            place,
            "ListAttachedRolePolicies",
            |iam: Client| iam.list_attached_role_policies().role_name(name),
            attached_policies
        );
        let names = listed!(
            self,
            place,
            "ListRolePolicies",
            |iam: Client| iam.list_role_policies().role_name(name),
            policy_names
        );
        let mut policies = Vec::new();
        for policy in &names {
            policies.push(inline!(self, place, "GetRolePolicy", policy, |iam: Client| iam
                .get_role_policy()
                .role_name(name)
                .policy_name(policy)));
        }
        let boundary = role.permissions_boundary().and_then(|it| it.permissions_boundary_arn());
        self.with_managed(place, role.arn(), policies, attached, boundary, role.tags()).await
    }

    async fn user(&self, place: &Place, name: &str) -> Result<Identity, Failure> {
        let send = |means: &Means| Client::new(&means.config).get_user().user_name(name).send();
        let found = self.call(place, Api::Iam, "GetUser", send).await?;
        let user = found.user.ok_or_else(|| Failure::unknown(false))?;
        let mut attached = listed!(
            self,
            place,
            "ListAttachedUserPolicies",
            |iam: Client| iam.list_attached_user_policies().user_name(name),
            attached_policies
        );
        let names = listed!(
            self,
            place,
            "ListUserPolicies",
            |iam: Client| iam.list_user_policies().user_name(name),
            policy_names
        );
        let mut policies = Vec::new();
        for policy in &names {
            policies.push(inline!(self, place, "GetUserPolicy", policy, |iam: Client| iam
                .get_user_policy()
                .user_name(name)
                .policy_name(policy)));
        }
        let groups =
            listed!(self, place, "ListGroupsForUser", |iam: Client| iam.list_groups_for_user().user_name(name), groups);
        for group in &groups {
            self.group(place, group.group_name(), &mut policies, &mut attached).await?;
        }
        let boundary = user.permissions_boundary().and_then(|it| it.permissions_boundary_arn());
        self.with_managed(place, user.arn(), policies, attached, boundary, user.tags()).await
    }

    async fn group(
        &self,
        place: &Place,
        group: &str,
        policies: &mut Vec<PolicyText>,
        attached: &mut Vec<AttachedPolicy>,
    ) -> Result<(), Failure> {
        attached.extend(listed!(
            self,
            place,
            "ListAttachedGroupPolicies",
            |iam: Client| iam.list_attached_group_policies().group_name(group),
            attached_policies
        ));
        let names = listed!(
            self,
            place,
            "ListGroupPolicies",
            |iam: Client| iam.list_group_policies().group_name(group),
            policy_names
        );
        for policy in &names {
            let named = format!("{policy} of the group {group}");
            policies.push(inline!(self, place, "GetGroupPolicy", named, |iam: Client| iam
                .get_group_policy()
                .group_name(group)
                .policy_name(policy)));
        }
        Ok(())
    }

    async fn with_managed(
        &self,
        place: &Place,
        arn: &str,
        mut policies: Vec<PolicyText>,
        attached: Vec<AttachedPolicy>,
        boundary: Option<&str>,
        tags: &[Tag],
    ) -> Result<Identity, Failure> {
        let mut arns: Vec<Arc<str>> = attached.iter().filter_map(|it| it.policy_arn()).map(Arc::from).collect();
        if arns.len() < attached.len() {
            return Err(Failure::unknown(false));
        }
        arns.sort_unstable();
        arns.dedup();
        for arn in &arns {
            policies.push(self.managed(place, arn).await?);
        }
        let boundary = match boundary {
            Some(arn) => Some(self.managed(place, arn).await?),
            None => None,
        };
        let tags: Tags = tags.iter().map(|tag| (Arc::from(tag.key()), Arc::from(tag.value()))).collect();
        Ok(Identity { arn: Arc::from(arn), policies, attached: arns, boundary, tags })
    }

    /// The default version of a managed policy.
    async fn managed(&self, place: &Place, arn: &str) -> Result<PolicyText, Failure> {
        let send = |means: &Means| Client::new(&means.config).get_policy().policy_arn(arn).send();
        let found = self.call(place, Api::Iam, "GetPolicy", send).await.map_err(Failure::of_part)?;
        let policy = found.policy().and_then(|policy| Some((policy.policy_id()?, policy.default_version_id()?)));
        let (id, version) = policy.ok_or_else(|| Failure::unknown(false))?;
        let key: PolicyVersion = (Arc::from(id), Arc::from(version));
        let text = match self.policy_versions.get(&key) {
            Some(text) => text,
            None => {
                let send = |means: &Means| {
                    Client::new(&means.config).get_policy_version().policy_arn(arn).version_id(version).send()
                };
                let found = self.call(place, Api::Iam, "GetPolicyVersion", send).await.map_err(Failure::of_part)?;
                let text = found.policy_version().and_then(|version| version.document()).unwrap_or_default();
                let text = decoded(text)?;
                self.policy_versions.keep(key, Arc::clone(&text));
                text
            }
        };
        Ok(PolicyText { name: format!("{arn} {version}").into(), text })
    }
}

/// A text as IAM gives it, percent-encoded ("The policy document … is URL-encoded compliant with RFC 3986").
pub(super) fn decoded(text: &str) -> Result<Arc<str>, Failure> {
    let bad = || Failure::unknown(false);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let (high, low) = digit(high).zip(digit(low)).ok_or_else(bad)?;
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            (b'%', _) => return Err(bad()),
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    if bytes.is_empty() {
        return Err(bad());
    }
    String::from_utf8(bytes).map(Arc::from).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded() {
        assert_eq!(&*decoded("%7B%22Sid%22%3A%20%22a%2Bb%C3%BC%22%7D").unwrap(), r#"{"Sid": "a+bü"}"#);
        assert_eq!(&*decoded(r#"{"Action":"s3:*+"}"#).unwrap(), r#"{"Action":"s3:*+"}"#);
        for broken in ["", "%", "%7", "%zz", "%FF"] {
            assert_eq!(decoded(broken).unwrap_err().error, CallError::Unknown, "{broken}");
        }
    }

    #[test]
    fn kept_texts_are_bounded() {
        let versions = PolicyVersions::default();
        for number in 0..=POLICY_VERSIONS_MAX {
            versions.keep((number.to_string().into(), Arc::from("v1")), Arc::from("{}"));
        }
        assert_eq!(versions.0.lock().unwrap().len(), 1);
    }
}
