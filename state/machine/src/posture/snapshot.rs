//! One line of a snapshot: a fact about an organisation, written down so that history can be judged by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Bucket, CallError, Cluster, Document, Guards, Identity, Key, Network, Node, Who};
use crate::ids::{AccountId, EventTime};

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// It is so.
    Is(T),
    /// There was no answer.
    Error(CallError),
}

impl<T> From<Result<T, CallError>> for Answer<T> {
    fn from(asked: Result<T, CallError>) -> Self {
        match asked {
            Ok(fact) => Self::Is(fact),
            Err(error) => Self::Error(error),
        }
    }
}

impl<T: Clone> Answer<T> {
    /// The answer as the ports give it.
    ///
    /// # Errors
    /// What was written down instead of an answer.
    pub fn asked(&self) -> Result<T, CallError> {
        match self {
            Self::Is(fact) => Ok(fact.clone()),
            Self::Error(error) => Err(*error),
        }
    }
}

/// Something in one account and region, by its name or id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Named {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Arc<str>,
    /// The name or id under which it is asked for.
    pub id: Arc<str>,
}

/// One line of a snapshot, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// When the snapshot was taken, in milliseconds since 1970.
    Taken(EventTime),
    /// A node.
    Node(Named, Answer<Node>),
    /// A role or user.
    Identity(AccountId, Who, Answer<Identity>),
    /// What the organisation lays on an account.
    Guards(AccountId, Answer<Guards>),
    /// A document.
    Document(Named, Answer<Document>),
    /// A bucket, by its name.
    Bucket(Arc<str>, Answer<Bucket>),
    /// A key.
    Key(Named, Answer<Key>),
    /// A network.
    Network(Named, Answer<Network>),
    /// A cluster.
    Cluster(Named, Answer<Cluster>),
}
