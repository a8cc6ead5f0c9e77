//! What changes do to the model.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    ids::AccountId,
    posture::{Key, PolicyText, Who},
};

use crate::{
    change::Change,
    estate::{Estate, Holder, NodeState, Versions},
    world::{CallError, World},
};

type Applied = Result<(), CallError>;

impl World {
    pub(crate) fn apply(&mut self, account: AccountId, region: &Arc<str>, change: &Change) -> Applied {
        if !self.indexes_by_account.contains_key(&account) {
            return Err(CallError::Gone);
        }
        match change {
            Change::DeleteLog { .. } | Change::OverwriteLog { .. } => self.apply_to_log(account, change),
            Change::DeleteLogGroup { group } => {
                let place = (account, Arc::clone(region), Arc::clone(group));
                self.forget_group(&place);
                self.estate.log_groups.remove(&place).then_some(()).ok_or(CallError::Gone)
            }
            Change::DetachQuarantine { account: target } => {
                let management = self.account(account).is_some_and(|account| account.management);
                if management { self.detach_quarantine(*target) } else { Err(CallError::Denied) }
            }
            Change::Tag { node, .. }
            | Change::Untag { node, .. }
            | Change::AssociateProfile { node, .. }
            | Change::ReplaceProfile { node, .. }
            | Change::DisassociateProfile { node } => {
                let known = self.account(account).is_some_and(|account| account.node(region, node).is_some());
                if !known {
                    return Err(CallError::Gone);
                }
                let serial = self.dice.bits();
                let (estate, profiles) = (&mut self.estate.nodes, &self.estate.profiles);
                let state = estate.get_mut(node).ok_or(CallError::Gone)?;
                let exists = |profile: &Arc<str>| profiles.contains_key(&(account, Arc::clone(profile)));
                apply_to_node(state, change, serial, &exists)
            }
            Change::Other(..) => Ok(()),
            _ => self.estate.apply(account, region, change),
        }
    }

    fn apply_to_log(&mut self, account: AccountId, change: &Change) -> Applied {
        if account != self.estate.bucket.account {
            return Err(CallError::Denied);
        }
        let now = self.now.as_event_time();
        match change {
            Change::OverwriteLog { key } => {
                let stored = self.objects.get(key).ok_or(CallError::Gone)?;
                let size_bytes = stored.object.size_bytes;
                self.put_object(key, size_bytes, now, account);
            }
            Change::DeleteLog { key } if self.estate.bucket.versioned => {
                let stored = self.objects.get_mut(key).ok_or(CallError::Gone)?;
                stored.deleted = true;
                stored.object.versions += 1;
            }
            Change::DeleteLog { key } => {
                self.objects.remove(key).ok_or(CallError::Gone)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn apply_to_node(state: &mut NodeState, change: &Change, serial: u64, exists: &dyn Fn(&Arc<str>) -> bool) -> Applied {
    let fresh = || Arc::from(format!("iip-assoc-0{serial:016x}"));
    match change {
        Change::Tag { key, value, .. } => {
            state.tags.insert(Arc::clone(key), Arc::clone(value));
        }
        Change::Untag { key, .. } => {
            state.tags.remove(key);
        }
        Change::AssociateProfile { profile, .. } if state.association.is_none() && exists(profile) => {
            state.association = Some((fresh(), Arc::clone(profile)));
        }
        Change::ReplaceProfile { profile, .. } if state.association.is_some() && exists(profile) => {
            state.association = Some((fresh(), Arc::clone(profile)));
        }
        Change::DisassociateProfile { .. } if state.association.is_some() => state.association = None,
        _ => return Err(CallError::Gone),
    }
    Ok(())
}

impl Estate {
    fn apply(&mut self, account: AccountId, region: &Arc<str>, change: &Change) -> Applied {
        match change {
            Change::AttachRolePolicy { role, policy } => {
                self.managed.get(policy).ok_or(CallError::Gone)?;
                self.role(account, role)?.attached.insert(Arc::clone(policy));
            }
            Change::DetachRolePolicy { role, policy } => {
                self.role(account, role)?.attached.remove(policy);
            }
            Change::PutRolePolicy { role, name, text } => {
                self.role(account, role)?.inline.insert(Arc::clone(name), Arc::clone(text));
            }
            Change::DeleteRolePolicy { role, name } => {
                self.role(account, role)?.inline.remove(name);
            }
            Change::PutBoundary { role, policy } => {
                self.managed.get(policy).ok_or(CallError::Gone)?;
                self.role(account, role)?.boundary = Some(Arc::clone(policy));
            }
            Change::DeleteBoundary { role } => self.role(account, role)?.boundary = None,
            Change::TagRole { role, key, value } => {
                self.role(account, role)?.tags.insert(Arc::clone(key), Arc::clone(value));
            }
            Change::DeleteRole { role } => return self.delete_role(account, role),
            Change::CreatePolicyVersion { policy, text } => {
                let policy = self.own_policy(account, policy)?;
                policy.default = policy.add(Arc::clone(text));
            }
            Change::SetDefaultPolicyVersion { policy, version } => {
                self.own_policy(account, policy)?.choose(*version)?;
            }
            Change::DeletePolicyVersion { policy } => {
                let policy = self.own_policy(account, policy)?;
                let newest = newest_idle(policy).ok_or(CallError::Gone)?;
                policy.texts.remove(&newest);
            }
            Change::AddRoleToProfile { profile, role } => {
                self.role(account, role)?;
                *self.profile(account, profile)? = Some(Arc::clone(role));
            }
            Change::RemoveRoleFromProfile { profile, .. } => *self.profile(account, profile)? = None,
            Change::SetHostManagement { role } => {
                self.host_management.insert((account, Arc::clone(region)), Arc::clone(role));
            }
            Change::ResetHostManagement => {
                self.host_management.remove(&(account, Arc::clone(region)));
            }
            Change::DisableKey { key } | Change::ScheduleKeyDeletion { key } => self.key(account, key)?.enabled = false,
            Change::EnableKey { key } => self.key(account, key)?.enabled = true,
            Change::PutKeyPolicy { key, text } => self.key(account, key)?.policy.text = Arc::clone(text),
            Change::SetClusterLogging { cluster, logging } => {
                let place = (account, Arc::clone(region), Arc::clone(cluster));
                self.clusters.get_mut(&place).ok_or(CallError::Gone)?.logging = Arc::clone(logging);
            }
            Change::PutEndpointPolicy { .. } | Change::DeleteEndpoint { .. } => {
                return self.apply_to_network(account, region, change);
            }
            Change::PutBucketPolicy { .. }
            | Change::DeleteBucketPolicy
            | Change::SuspendVersioning
            | Change::UseOwnEncryption => return self.apply_to_bucket(account, change),
            _ => return self.apply_to_document(account, region, change),
        }
        Ok(())
    }

    fn delete_role(&mut self, account: AccountId, role: &Arc<str>) -> Applied {
        let holder = self.role(account, role)?;
        let policies = !holder.attached.is_empty() || !holder.inline.is_empty();
        let held = self.profiles.iter().any(|((owner, _), held)| *owner == account && held.as_ref() == Some(role));
        if policies || held {
            return Err(CallError::Unknown);
        }
        self.holders.remove(&(account, Who::Role(Arc::clone(role))));
        Ok(())
    }

    fn apply_to_bucket(&mut self, account: AccountId, change: &Change) -> Applied {
        let bucket = &mut self.bucket;
        if account != bucket.account {
            return Err(CallError::Denied);
        }
        match change {
            Change::PutBucketPolicy { text } => {
                bucket.policy = Some(PolicyText { name: Arc::from("the bucket's policy"), text: Arc::clone(text) });
            }
            Change::DeleteBucketPolicy => bucket.policy = None,
            Change::SuspendVersioning => bucket.versioned = false,
            _ => bucket.key = None,
        }
        Ok(())
    }

    fn apply_to_network(&mut self, account: AccountId, region: &str, change: &Change) -> Applied {
        let network = self.networks.get_mut(&crate::estate::network_of(account, region)).ok_or(CallError::Gone)?;
        let before = network.endpoints.len();
        match change {
            Change::DeleteEndpoint { endpoint } => network.endpoints.retain(|_, known| known.id != *endpoint),
            Change::PutEndpointPolicy { endpoint, text } => {
                let found = network.endpoints.values_mut().find(|known| known.id == *endpoint);
                found.ok_or(CallError::Gone)?.policy.text = Arc::clone(text);
                return Ok(());
            }
            _ => {}
        }
        if network.endpoints.len() < before { Ok(()) } else { Err(CallError::Gone) }
    }

    fn apply_to_document(&mut self, account: AccountId, region: &Arc<str>, change: &Change) -> Applied {
        let place = |name: &Arc<str>| (account, Arc::clone(region), Arc::clone(name));
        match change {
            Change::CreateDocument { name, content } => match self.documents.entry(place(name)) {
                std::collections::btree_map::Entry::Occupied(_) => return Err(CallError::Unknown),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(Versions::new([Arc::clone(content)]));
                }
            },
            Change::UpdateDocument { name, content } => {
                existing(&mut self.documents, &place(name))?.add(Arc::clone(content));
            }
            Change::SetDocumentVersion { name, version } => {
                let document = existing(&mut self.documents, &place(name))?;
                document.choose(version.unwrap_or(document.newest()))?;
            }
            Change::DeleteDocument { name } => {
                self.documents.remove(&place(name)).ok_or(CallError::Gone)?;
            }
            Change::ShareDocument { name, with } => {
                existing(&mut self.documents, &place(name))?.shared_with.insert(*with);
            }
            _ => {}
        }
        Ok(())
    }

    fn role(&mut self, account: AccountId, role: &Arc<str>) -> Result<&mut Holder, CallError> {
        existing(&mut self.holders, &(account, Who::Role(Arc::clone(role))))
    }

    /// A managed policy that is not AWS's own.
    fn own_policy(&mut self, account: AccountId, arn: &Arc<str>) -> Result<&mut Versions, CallError> {
        if !arn.contains(&format!("::{account}:")) {
            return Err(CallError::Denied);
        }
        existing(&mut self.managed, arn)
    }

    fn profile(&mut self, account: AccountId, name: &Arc<str>) -> Result<&mut Option<Arc<str>>, CallError> {
        existing(&mut self.profiles, &(account, Arc::clone(name)))
    }

    fn key(&mut self, account: AccountId, arn: &Arc<str>) -> Result<&mut Key, CallError> {
        if !arn.contains(&format!(":{account}:")) {
            return Err(CallError::Denied);
        }
        existing(&mut self.keys, arn)
    }
}

impl Versions {
    fn choose(&mut self, version: u32) -> Applied {
        self.texts.get(&version).ok_or(CallError::Gone)?;
        self.default = version;
        Ok(())
    }
}

/// The newest version that is not the default one.
pub(crate) fn newest_idle(versions: &Versions) -> Option<u32> {
    versions.texts.keys().rev().copied().find(|version| *version != versions.default)
}

fn existing<'a, K: Ord, V>(map: &'a mut BTreeMap<K, V>, key: &K) -> Result<&'a mut V, CallError> {
    map.get_mut(key).ok_or(CallError::Gone)
}
