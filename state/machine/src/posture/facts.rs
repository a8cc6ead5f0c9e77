//! Everything that is known about one session when its evidence is judged.

use std::{collections::BTreeMap, sync::Arc};

use super::{Asked, Bucket, CallError, Cluster, Document, Guards, Identity, Key, LogStream, Network, Node};
use crate::{
    ids::{Now, SessionKey},
    session::Described,
    settings::Settings,
};

/// What the shell was told about one session that is alive, and about what it rests on. `None` stands for a question
/// that does not arise; a question without an answer is an error.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which session.
    pub key: &'a SessionKey,
    /// AWS's description of it.
    pub described: &'a Described,
    /// When.
    pub now: Now,
    /// What is wanted.
    pub settings: &'a Settings,
    /// The node; `None` where the target is none.
    pub node: Option<&'a Asked<Node>>,
    /// The role behind the node; `None` where the node has none or is not known.
    pub role: Option<&'a Asked<Identity>>,
    /// What the organisation lays on the session's account.
    pub guards: &'a Asked<Guards>,
    /// The account's preferences document in the session's region.
    pub preferences: &'a Asked<Document>,
    /// The session's own document, where that is neither the preferences document nor one of AWS's own.
    pub document: Option<&'a Asked<Document>>,
    /// The bucket the log goes to; `None` where none is used.
    pub bucket: Option<&'a Asked<Bucket>>,
    /// What the organisation lays on the bucket's account.
    pub bucket_guards: Option<&'a Asked<Guards>>,
    /// The keys in use, by the names under which they are used: an alias, an id or an ARN.
    pub keys: &'a BTreeMap<Arc<str>, Asked<Key>>,
    /// The node's network; `None` where it is in none or not known.
    pub network: Option<&'a Asked<Network>>,
    /// Who opened the session; `None` where that is neither a role nor a user.
    pub caller: Option<&'a Asked<Identity>>,
    /// The cluster of an ECS Exec session.
    pub cluster: Option<&'a Asked<Cluster>>,
    /// The session's log stream; `None` where nothing is streamed.
    pub stream: Option<&'a Result<Option<LogStream>, CallError>>,
}
