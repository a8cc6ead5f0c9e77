//! A subject's state, and how it is stored.

use std::sync::Arc;

use sessionwarden_machine::{
    account::Account,
    ids::{AccountId, Now, Subject},
    incident::Incident,
    place::Place,
    register::Register,
    session::Session,
};
use sessionwarden_store::{Item, ItemError};

/// How long a session is kept after it was last saved, in milliseconds: 35 days, where AWS keeps a session's history
/// for 30. What lives is saved much more often.
const KEPT_MS: i64 = 35 * 24 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;

/// A subject's state.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// A session.
    Session(Box<Session>),
    /// An account.
    Account(Box<Account>),
    /// An incident; nothing before its first event.
    Incident(Option<Box<Incident>>),
    /// The register of locks.
    Register(Box<Register>),
    /// The looks at an account and region.
    Place(Place),
}

pub(super) fn fresh(subject: &Subject, now: Now) -> State {
    match subject {
        Subject::Session(key) => State::Session(Box::new(Session::new(key.clone(), now))),
        Subject::Account(account) => State::Account(Box::new(Account::new(*account))),
        Subject::Incident(_) => State::Incident(None),
        Subject::Register => State::Register(Box::default()),
        Subject::Place(..) => State::Place(Place::default()),
    }
}

/// Reads a stored item as the state of its subject.
pub fn read(subject: &Subject, item: &Item) -> Result<State, ItemError> {
    Ok(match subject {
        Subject::Session(_) => State::Session(item.decode()?),
        Subject::Account(_) => State::Account(item.decode()?),
        Subject::Incident(_) => State::Incident(item.decode()?),
        Subject::Register => State::Register(item.decode()?),
        Subject::Place(..) => State::Place(item.decode()?),
    })
}

/// In whole hours, so that a save seldom moves the entry by which a store finds what expired.
pub(super) fn kept_until(now: Now) -> Now {
    let until = now.plus_ms(KEPT_MS);
    until.plus_ms(HOUR_MS - until.0.rem_euclid(HOUR_MS))
}

/// The round of looks of what changes the organisation: accounts' locks and their register.
pub(crate) const ORGANIZATION: &str = "organization";

/// Whose round of looks a subject belongs to.
pub(crate) fn partition(subject: &Subject) -> Arc<str> {
    match subject {
        Subject::Session(key) => format!("{}#{}", key.account, key.region).into(),
        Subject::Place(account, region) => format!("{account}#{region}").into(),
        Subject::Account(_) | Subject::Register => ORGANIZATION.into(),
        Subject::Incident(_) => "incident".into(),
    }
}

/// What the names of partitions end with in which sessions rest.
const RESTING: &str = "~";

/// The partition of the sessions that rest in an account and region.
pub(crate) fn resting_in(account: AccountId, region: &str) -> Arc<str> {
    format!("{account}#{region}{RESTING}").into()
}

/// Whether an item rests: its place is looked at in its stead.
pub(super) fn rests(item: &Item) -> bool {
    item.due.as_ref().is_some_and(|due| due.partition.ends_with(RESTING))
}
