//! What Sessionwarden asks of an organisation, and does to it. No type of any SDK passes through here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    effect::Lock,
    ids::{AccountId, SessionKey},
    incident::Restore,
    posture::{Bucket, Cluster, Document, Guards, Identity, Key, LogObject, LogStream, Network, Node, Who},
    session::{Described, Life},
    settings::Tier,
};

pub use sessionwarden_machine::posture::CallError;

/// Session Manager.
pub trait Sessions: Send + Sync {
    /// Says of each session of one account and region whether it is alive, in one chain of calls for all of them.
    fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> impl Future<Output = Result<BTreeMap<SessionKey, Life>, CallError>> + Send;

    /// All sessions of one account and region that are alive.
    fn active(
        &self,
        account: AccountId,
        region: &str,
    ) -> impl Future<Output = Result<Vec<(SessionKey, Described)>, CallError>> + Send;

    /// Ends a session. Ending one that has ended is no error.
    fn terminate(&self, session: &SessionKey) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// Nodes, and what surrounds them.
pub trait Nodes: Send + Sync {
    /// What is known of each of these nodes of one account and region, in one chain of calls for all of them. A node
    /// that is missing in the answer does not exist.
    fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> impl Future<Output = Result<BTreeMap<Arc<str>, Node>, CallError>> + Send;

    /// The endpoints of a network.
    fn network(
        &self,
        account: AccountId,
        region: &str,
        network: &str,
    ) -> impl Future<Output = Result<Network, CallError>> + Send;

    /// How a cluster logs ECS Exec.
    fn cluster(
        &self,
        account: AccountId,
        region: &str,
        cluster: &str,
    ) -> impl Future<Output = Result<Cluster, CallError>> + Send;
}

/// Roles, users, and what the organisation lays on them.
pub trait Identities: Send + Sync {
    /// The policies and tags of a role or user.
    fn identity(&self, account: AccountId, who: &Who) -> impl Future<Output = Result<Identity, CallError>> + Send;

    /// The organisation's policies for an account.
    fn guards(&self, account: AccountId) -> impl Future<Output = Result<Guards, CallError>> + Send;
}

/// Systems Manager documents.
pub trait Documents: Send + Sync {
    /// The default version of a document, by its name or ARN.
    fn document(
        &self,
        account: AccountId,
        region: &str,
        document: &str,
    ) -> impl Future<Output = Result<Document, CallError>> + Send;
}

/// Where logs are kept, and what protects them.
pub trait LogPlaces: Send + Sync {
    /// A bucket.
    fn bucket(&self, bucket: &str) -> impl Future<Output = Result<Bucket, CallError>> + Send;

    /// A KMS key by its alias, id or ARN, as one account and region sees it.
    fn key(&self, account: AccountId, region: &str, key: &str) -> impl Future<Output = Result<Key, CallError>> + Send;
}

/// Session logs.
pub trait Logs: Send + Sync {
    /// The object of this name in a bucket; `None` where there is none.
    fn object(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Option<LogObject>, CallError>> + Send;

    /// The stream of this name in a log group; `None` where there is none.
    fn stream(
        &self,
        account: AccountId,
        region: &str,
        group: &str,
        stream: &str,
    ) -> impl Future<Output = Result<Option<LogStream>, CallError>> + Send;
}

/// The organisation as a whole.
pub trait Organization: Send + Sync {
    /// Its accounts, and the regions in which sessions can run.
    fn places(&self) -> impl Future<Output = Result<(Vec<AccountId>, Vec<Arc<str>>), CallError>> + Send;

    /// Attaches this quarantine policy to an account, and none but this; it is seen to be attached before this succeeds.
    /// To attach what is attached is no error.
    fn lock(&self, account: AccountId, lock: &Lock) -> impl Future<Output = Result<(), LockError>> + Send;

    /// Detaches all quarantine policies from an account, with nothing but the organisation's own means. To detach what is
    /// not attached is no error.
    fn unlock(&self, account: AccountId) -> impl Future<Output = Result<(), LockError>> + Send;

    /// All accounts to which a quarantine policy is attached, whoever attached it, each with the highest tier.
    fn locks(&self) -> impl Future<Output = Result<BTreeMap<AccountId, Tier>, CallError>> + Send;

    /// An event tells that the organisation's policies were changed: what is remembered of them may not be true any more.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Whether an account's quarantine policy is enforced: attached is not yet enforced.
    fn bites(&self, account: AccountId) -> impl Future<Output = Result<bool, CallError>> + Send;
}

/// Why an account is not locked, or not unlocked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// As with any other call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Somebody else changes the organisation at this time.
    #[error("the organisation is being changed by somebody else")]
    Conflict,
    /// A person has to put right what it says.
    #[error("{0}")]
    Hopeless(Arc<str>),
}

/// Changes that are put back.
pub trait Repairs: Send + Sync {
    /// Looks at a thing of which these parts were changed, and returns what is not as wanted. Where it may `act`, that is
    /// put back and seen to be so before this succeeds.
    fn restore(
        &self,
        account: AccountId,
        region: &str,
        restore: Restore,
        thing: &str,
        parts: &BTreeSet<&'static str>,
        act: bool,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, RestoreError>> + Send;
}

/// Why a change is not put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// As with any other call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It is for a person, for this reason.
    #[error("{0}")]
    Hopeless(Arc<str>),
}

/// Everything that can be asked and done.
pub trait Hands: Sessions + Nodes + Identities + Documents + LogPlaces + Logs + Organization + Repairs {}

impl<T: Sessions + Nodes + Identities + Documents + LogPlaces + Logs + Organization + Repairs> Hands for T {}

/// What many share answers as its content does.
mod shared {
    use super::{
        AccountId, Arc, BTreeMap, BTreeSet, Bucket, CallError, Cluster, Described, Document, Documents, Guards,
        Identities, Identity, Key, Life, Lock, LockError, LogObject, LogPlaces, LogStream, Logs, Network, Node, Nodes,
        Organization, Repairs, Restore, RestoreError, SessionKey, Sessions, Tier, Who,
    };

    type Answer<T> = Result<T, CallError>;

    impl<T: Sessions> Sessions for Arc<T> {
        async fn describe(
            &self,
            account: AccountId,
            region: &str,
            sessions: &BTreeSet<SessionKey>,
        ) -> Answer<BTreeMap<SessionKey, Life>> {
            T::describe(self, account, region, sessions).await
        }

        async fn active(&self, account: AccountId, region: &str) -> Answer<Vec<(SessionKey, Described)>> {
            T::active(self, account, region).await
        }

        async fn terminate(&self, session: &SessionKey) -> Answer<()> {
            T::terminate(self, session).await
        }
    }

    impl<T: Nodes> Nodes for Arc<T> {
        async fn nodes(
            &self,
            account: AccountId,
            region: &str,
            nodes: &BTreeSet<Arc<str>>,
        ) -> Answer<BTreeMap<Arc<str>, Node>> {
            T::nodes(self, account, region, nodes).await
        }

        async fn network(&self, account: AccountId, region: &str, network: &str) -> Answer<Network> {
            T::network(self, account, region, network).await
        }

        async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Answer<Cluster> {
            T::cluster(self, account, region, cluster).await
        }
    }

    impl<T: Identities> Identities for Arc<T> {
        async fn identity(&self, account: AccountId, who: &Who) -> Answer<Identity> {
            T::identity(self, account, who).await
        }

        async fn guards(&self, account: AccountId) -> Answer<Guards> {
            T::guards(self, account).await
        }
    }

    impl<T: Documents> Documents for Arc<T> {
        async fn document(&self, account: AccountId, region: &str, document: &str) -> Answer<Document> {
            T::document(self, account, region, document).await
        }
    }

    impl<T: LogPlaces> LogPlaces for Arc<T> {
        async fn bucket(&self, bucket: &str) -> Answer<Bucket> {
            T::bucket(self, bucket).await
        }

        async fn key(&self, account: AccountId, region: &str, key: &str) -> Answer<Key> {
            T::key(self, account, region, key).await
        }
    }

    impl<T: Logs> Logs for Arc<T> {
        async fn object(&self, bucket: &str, key: &str) -> Answer<Option<LogObject>> {
            T::object(self, bucket, key).await
        }

        async fn stream(
            &self,
            account: AccountId,
            region: &str,
            group: &str,
            stream: &str,
        ) -> Answer<Option<LogStream>> {
            T::stream(self, account, region, group, stream).await
        }
    }

    impl<T: Repairs> Repairs for Arc<T> {
        async fn restore(
            &self,
            account: AccountId,
            region: &str,
            restore: Restore,
            thing: &str,
            parts: &BTreeSet<&'static str>,
            act: bool,
        ) -> Result<Vec<Arc<str>>, RestoreError> {
            T::restore(self, account, region, restore, thing, parts, act).await
        }
    }

    impl<T: Organization> Organization for Arc<T> {
        async fn places(&self) -> Answer<(Vec<AccountId>, Vec<Arc<str>>)> {
            T::places(self).await
        }

        async fn lock(&self, account: AccountId, lock: &Lock) -> Result<(), LockError> {
            T::lock(self, account, lock).await
        }

        async fn unlock(&self, account: AccountId) -> Result<(), LockError> {
            T::unlock(self, account).await
        }

        async fn locks(&self) -> Answer<BTreeMap<AccountId, Tier>> {
            T::locks(self).await
        }

        async fn changed(&self) {
            T::changed(self).await;
        }

        async fn bites(&self, account: AccountId) -> Answer<bool> {
            T::bites(self, account).await
        }
    }
}
