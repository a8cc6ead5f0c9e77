//! What a session rests on.

use std::collections::BTreeSet;

use super::{CallError, Facts, Memory, RoleFrom, assess::account_of};
use crate::{
    decode::PREFERENCES,
    ids::{AccountId, Thing, ThingKind},
    session::thing_id,
};

/// The setting of Default Host Management, as `UpdateServiceSetting` names it.
const HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";
/// The services whose endpoints carry a session and its log.
pub(super) const SERVICES: [&str; 4] = ["kms", "logs", "s3", "ssmmessages"];

/// What the session rests on, by the ids under which CloudTrail names a change of it, in the account that owns it.
/// A key or bucket of which nobody knows the owner is left out, as are the managed policies of AWS, which no account
/// changes. The caller bounds the number: sessions keep [`DEPENDS_MAX`](crate::session::DEPENDS_MAX).
pub fn rests_on(facts: &Facts<'_>, memory: &mut Memory) -> BTreeSet<Thing> {
    let mut things = Things { things: BTreeSet::new(), account: facts.key.account };
    things.of_node(facts);
    things.of_document(facts);
    things.of_log(facts, memory);
    things.of_organization(facts);
    things.things
}

struct Things {
    things: BTreeSet<Thing>,
    account: AccountId,
}

impl Things {
    fn add(&mut self, kind: ThingKind, account: AccountId, id: &str) {
        if !id.is_empty() {
            self.things.insert(Thing { kind, account, id: thing_id(kind, id).into() });
        }
    }

    fn of_node(&mut self, facts: &Facts<'_>) {
        let account = self.account;
        if facts.node.is_some() {
            self.add(ThingKind::Node, account, &facts.described.target);
        }
        if let Some(Ok(node)) = facts.node {
            // The calls that swap a profile name only the association.
            self.add(ThingKind::Node, account, node.association.as_deref().unwrap_or_default());
            if let Some((role, from)) = &node.role {
                self.add(ThingKind::Role, account, role);
                match from {
                    RoleFrom::InstanceProfile(profile) => self.add(ThingKind::InstanceProfile, account, profile),
                    RoleFrom::Activation => {}
                    RoleFrom::DefaultHostManagement => {
                        let arn = format!("arn:aws:ssm:{}:{account}:servicesetting{HOST_MANAGEMENT}", facts.key.region);
                        self.add(ThingKind::ServiceSetting, account, HOST_MANAGEMENT);
                        self.add(ThingKind::ServiceSetting, account, &arn);
                    }
                }
            }
        }
        if let Some(Ok(role)) = facts.role {
            let boundary = role.boundary.iter().filter_map(|boundary| policy_arn(&boundary.name));
            for arn in role.attached.iter().map(|arn| &**arn).chain(boundary) {
                if let Some(owner) = account_of(arn) {
                    self.add(ThingKind::Policy, owner, arn);
                }
            }
        }
        if let Some(Ok(network)) = facts.network {
            for endpoint in SERVICES.iter().filter_map(|service| network.endpoints.get(*service)) {
                self.add(ThingKind::Network, account, &endpoint.id);
            }
        }
    }

    fn of_document(&mut self, facts: &Facts<'_>) {
        let document = match &*facts.described.document {
            "" => PREFERENCES,
            document => document,
        };
        let account = self.account;
        self.add(ThingKind::Document, account_of(document).unwrap_or(account), document);
        // The documents of AWS take their logging from the preferences.
        if facts.document.is_none() && facts.cluster.is_none() {
            self.add(ThingKind::Document, account, PREFERENCES);
        }
    }

    fn of_log(&mut self, facts: &Facts<'_>, memory: &mut Memory) {
        for (name, key) in facts.keys {
            let arn = key.as_ref().map_or(&**name, |key| &*key.arn);
            match account_of(arn) {
                Some(owner) => self.add(ThingKind::Key, owner, arn),
                // A bare id is one of the session's own account.
                None if !name.starts_with("alias/") => self.add(ThingKind::Key, self.account, name),
                None => {}
            }
        }
        let settings = facts.settings;
        let bucket = super::places::bucket(settings, facts.preferences, memory);
        let told = match facts.bucket {
            Some(Ok(bucket)) => Some(bucket.account),
            Some(Err(CallError::Throttled | CallError::Denied | CallError::Gone | CallError::Unknown)) | None => None,
        };
        if let (Some(bucket), Some(owner)) = (bucket, told.or(settings.posture.log_archive_account)) {
            self.add(ThingKind::Bucket, owner, &bucket);
        }
        if let Some(Ok(bucket)) = facts.bucket {
            let key = bucket.key.as_deref().filter(|key| !key.contains(":alias/")).unwrap_or_default();
            self.add(ThingKind::Key, account_of(key).unwrap_or(bucket.account), key);
        }
    }

    /// The account's place, and the policies over it whose names hold their ids.
    fn of_organization(&mut self, facts: &Facts<'_>) {
        let Some(management) = facts.settings.management_account else { return };
        let account = self.account.to_string();
        self.add(ThingKind::Organization, management, &account);
        for guards in [Some(facts.guards), facts.bucket_guards].into_iter().flatten().flatten() {
            for policy in guards.scps.iter().chain(&guards.rcps).flatten() {
                self.add(ThingKind::Organization, management, policy_id(&policy.name).unwrap_or_default());
            }
        }
    }
}

/// The ARN in a policy's name, which may end in its version.
fn policy_arn(name: &str) -> Option<&str> {
    let arn = name.split_whitespace().next().filter(|arn| arn.starts_with("arn:") && arn.contains(":policy/"))?;
    Some(arn.rsplit_once(":v").map_or(arn, |(arn, _)| arn))
}

/// The id of an organisation's policy, `p-…`, in its name; those of AWS itself never change.
fn policy_id(name: &str) -> Option<&str> {
    let mut words = name.split(|it: char| !it.is_ascii_alphanumeric() && it != '-');
    words.find(|word| word.starts_with("p-") && *word != "p-FullAWSAccess" && *word != "p-RCPFullAWSAccess")
}
